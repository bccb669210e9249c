"""What was done to get the numbers of a cohort, as text for a paper, with its references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..config import Config
from .cells import counted, nothing, table
from .codebook import EQD2_SOURCE, ICRU83, PADDICK, PADDICK_GI, RTOG, TG263, VAN_HERK
from .html import page
from .markup import Markup, element, joined

BENCHMARK = "Nelms et al., Med Phys 42 (2015) 4435"
TOTALSEGMENTATOR = "Wasserthal et al., Radiol Artif Intell 5 (2023) e230024"
NNUNET = "Isensee et al., Nat Methods 18 (2021) 203"
DICOM = "DICOM PS3.3, C.8.8"


@dataclass(frozen=True)
class CohortMethods:
    """What the text is made from.

    `decisions`, `prescriptions` and `modalities` count courses by how their dose was settled, who
    states the prescription, and the modality of the planning image; `models` are those that
    segmented. `excluded` (what, why, courses) lists results that are missing. `versions` are
    (program, versions, courses). `features` is the text on image features with references of its
    own, a paragraph a line; empty without any. `own_eqd2` counts the courses whose EQD2 or a/b
    a user decided.
    """

    courses: int
    patients: int
    config: Config
    decisions: Mapping[str, int]
    prescriptions: Mapping[str, int]
    modalities: Mapping[str, int]
    models: Sequence[str]
    excluded: Sequence[tuple[str, str, int]]
    versions: Sequence[tuple[str, str, int]]
    features: str = ""
    own_eqd2: int = 0


def methods_page(facts: CohortMethods) -> str:
    """The page: text, references, what is missing and why, settings, versions."""
    cited: list[str] = []
    paragraphs = [
        _courses(facts),
        _doses(facts, cited),
        _structures(facts, cited),
        _dvh(facts, cited),
    ]
    settings = changed_settings(facts.config)
    sections = [
        _section("Text", *(element("p", text) for text in paragraphs), _references(cited)),
        *_features(facts.features),
        _section("What is missing, and why", _excluded(facts.excluded)),
        _section(
            "Settings other than the defaults",
            table("Settings", ["Key", "Value"], [list(pair) for pair in settings], long={1})
            if settings
            else nothing("all settings are the defaults"),
        ),
        _section(
            "Versions",
            table(
                "Versions",
                ["Program", "Version", "Courses"],
                [[name, version, f"{count:,}"] for name, version, count in facts.versions],
                numbers={2},
            )
            if facts.versions
            else nothing("no course has results"),
        ),
    ]
    head = [
        element("p", element("a", "All courses", href="report.html")),
        element("h1", "Methods"),
        element("p", "Made from the run. Read it against what you did before you publish it."),
    ]
    return page("Methods", head, sections)


def _features(text: str) -> list[Markup]:
    paragraphs = [element("p", line) for line in text.splitlines()]
    return [_section("Image features", *paragraphs)] if paragraphs else []


def changed_settings(config: Config) -> list[tuple[str, str]]:
    """The keys that differ from their default, with their value."""

    def walk(value: object, usual: object, name: str) -> list[tuple[str, str]]:
        if isinstance(value, dict) and isinstance(usual, dict):
            keys = [*usual, *(key for key in value if key not in usual)]
            return [
                pair
                for key in keys
                for pair in walk(value.get(key), usual.get(key), f"{name}.{key}".lstrip("."))
            ]
        return [] if value == usual else [(name, str(value))]

    return walk(config.model_dump(mode="json"), Config().model_dump(mode="json"), "")


# -- text -----------------------------------------------------------------------------------------


def _cite(cited: list[str], *sources: str) -> str:
    for source in sources:
        if source not in cited:
            cited.append(source)
    return "[" + ", ".join(str(cited.index(source) + 1) for source in sources) + "]"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name or 'none'} ({number:,})" for name, number in counts.items())


_MERGED = {
    "frame-of-reference-or-ct-study": "that share a frame of reference or a CT study",
    "frame-of-reference": "that share a frame of reference",
    "ct-study": "that share a CT study",
    "plan": "each for itself",
}


def _courses(facts: CohortMethods) -> str:
    near = facts.config.max_days_between_plans
    apart = f", at most {near} days apart" if near else ""
    return (
        f"{counted(facts.courses, 'course')} of {counted(facts.patients, 'patient')} were formed "
        "from DICOM objects by their unique identifiers (dose to plan to structure set to image), "
        "else by frame of reference or study, which is flagged. Plans "
        f"{_MERGED[facts.config.merge]}{apart} form one course. Planning images: "
        f"{_listed(facts.modalities)}."
    )


def _doses(facts: CohortMethods, cited: list[str]) -> str:
    keys = facts.config.dose
    text = (
        "The dose of a course is that of its plan, or the sum of its plans' doses where treatment "
        "records, relations between plans or a user's decision say that they were given one after "
        f"the other {_cite(cited, DICOM)}; doses were resampled by trilinear interpolation. How "
        f"it was settled: {_listed(facts.decisions)}. Prescriptions by: "
        f"{_listed(facts.prescriptions)}; none was assumed."
    )
    return text + (_eqd2(facts, cited) if keys.eqd2.enabled or facts.own_eqd2 else "")


def _eqd2(facts: CohortMethods, cited: list[str]) -> str:
    keys = facts.config.dose.eqd2
    ratios = (
        f", a/b {keys.alpha_beta.target:g} Gy for targets and {keys.alpha_beta.other:g} Gy for "
        "other structures unless listed otherwise"
    )
    own = (
        f" For {facts.own_eqd2} of {facts.courses} courses a user decided on EQD2 or its a/b; the "
        "a/b of every value stands beside it."
    )
    return (
        " Equieffective doses in 2 Gy fractions were calculated voxel by voxel with the "
        f"linear-quadratic model {_cite(cited, EQD2_SOURCE)}{ratios if keys.enabled else ''}."
        f"{own if facts.own_eqd2 else ''}"
    )


def _structures(facts: CohortMethods, cited: list[str]) -> str:
    keys = facts.config.structures
    text = f"Structures were named by AAPM TG-263 {_cite(cited, TG263)}; sides were never mixed."
    if keys.derived:
        names = ", ".join(item.name for item in keys.derived)
        text += f" Derived structures: {names}; margins by exact Euclidean distance."
    if facts.models:
        sources = [NNUNET]
        if any("total" in model.lower() for model in facts.models):
            sources.insert(0, TOTALSEGMENTATOR)
        text += f" Automatic contours: {', '.join(facts.models)} {_cite(cited, *sources)}."
    return text


_CAPS = {
    "half-slice": "half a slice beyond the first and the last contour",
    "none": "nothing beyond the first and the last contour",
    "adaptive": "a cap that follows the trend of the last contours, at most one slice",
}
_OUTSIDE = {
    "unknown": "is unknown dose: metrics that need it are empty",
    "zero": "counts as 0 Gy",
    "exclude": "is left out",
}


def _dvh(facts: CohortMethods, cited: list[str]) -> str:
    config = facts.config
    between = (
        "interpolated between contours"
        if config.structures.between_planes == "interpolate"
        else "as slabs around each contour"
    )
    text = (
        "Dose-volume histograms were calculated from the exact areas of the contours, "
        f"{between}, with {_CAPS[config.structures.end_caps]}, and trilinear dose at sub-voxel "
        f"elements weighted by their covered volume (accuracy after {_cite(cited, BENCHMARK)}). "
        f"Volume outside the dose grid {_OUTSIDE[config.dose.outside_dose]}. Metrics follow ICRU "
        f"Report 83 and TG-263 {_cite(cited, ICRU83, TG263)}, conformity and gradient indices "
        f"{_cite(cited, RTOG, PADDICK, PADDICK_GI)}."
    )
    bands = config.dvh.uncertainty
    if bands.enabled:
        text += (
            f" Set-up errors of {bands.systematic_mm:g} mm (systematic) and {bands.random_mm:g} mm "
            f"(random, one standard deviation) {_cite(cited, VAN_HERK)} were simulated by "
            f"{bands.method.replace('-', ' ')}."
        )
    if config.dvh.crosscheck:
        text += f" Second calculations: {', '.join(config.dvh.crosscheck)}."
    return text


# -- parts ----------------------------------------------------------------------------------------


def _section(title: str, *content: Markup) -> Markup:
    return element("section", element("h2", title), *content)


def _references(cited: Sequence[str]) -> Markup:
    return element("ol", joined(*(element("li", source) for source in cited)))


def _excluded(excluded: Sequence[tuple[str, str, int]]) -> Markup:
    if not excluded:
        return nothing("nothing is missing")
    rows = [[what, why, f"{count:,}"] for what, why, count in excluded]
    return table("Missing", ["What", "Why", "Courses"], rows, numbers={2}, long={1})
