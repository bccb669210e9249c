"""What a course consists of and what was decided about it, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..config import Config, load_config
from ..course import Course, read_course
from ..errors import ConfigError
from ..overrides import Overrides, parse_overrides, read_course_overrides
from ..stages.facts import read_facts

DOSE_FILE, STRUCTURES_FILE, QUALITY_FILE = (
    "dose/dose.json",
    "structures/structures.json",
    "quality/quality.json",
)
CONFIG_FILE = "config.yaml"
HOW = {
    "referenced": "which it refers to",
    "frame-of-reference": "by the same frame of reference",
    "study": "by the same study",
    "user": "as you decided",
}


@dataclass(frozen=True)
class Fact:
    """A line of the tree: what it is, what is to be said of it, and the lines below it."""

    name: str
    text: str = ""
    below: tuple[Fact, ...] = ()


@dataclass(frozen=True)
class AlphaBetas:
    """a/b ratios in Gy as texts: whether EQD2 is reported, for targets, for everything else, and
    for single structures."""

    enabled: bool
    target: str
    other: str
    structures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Decisions:
    """What a person can decide about a course, as it stands now.

    plans : (UID, label, weight as a person wrote it or nothing)
    levels : (name, ROI, Gy, fractions) of the prescription
    names : (ROI, standard name) of structures
    ratios : a/b of the course, those of the configuration where nobody decided
    """

    plans: tuple[tuple[str, str, str], ...]
    levels: tuple[tuple[str, str, str, str], ...]
    names: tuple[tuple[str, str], ...]
    ratios: AlphaBetas


def course_facts(folder: Path) -> tuple[Fact, ...]:
    """Images, objects with their links, the dose's decision, and what quality control found. Raises
    `DataError` for a course that cannot be read."""
    course = read_course(folder)
    images = tuple(
        Fact(f"{i.modality} {i.description}".strip(), f"{len(i.files)} files, {i.role}")
        for i in course.images
    )
    kinds = ("rtplan", "rtdose", "rtstruct", "record", "reg", "seg")
    objects = tuple(_object(course, entry) for kind in kinds for entry in course.of_kind(kind))
    facts = [Fact("Images", f"{len(images)}", images), Fact("Objects", f"{len(objects)}", objects)]
    dose = read_facts(folder, DOSE_FILE)
    if dose:
        facts.append(_dose(dose))
    checks = read_facts(folder, QUALITY_FILE).get("checks") or ()
    found = tuple(
        Fact(str(row["severity"]), str(row["sentence"]))
        for row in checks
        if row["severity"] != "info"
    )
    if checks or found:
        facts.append(Fact("Warnings", f"{len(found)}", found))
    return tuple(facts)


def _object(course: Course, entry) -> Fact:
    links = []
    for kind in ("rtplan", "rtstruct", "rtdose", "image"):
        for target, how in course.targets_of(entry.sop_uid, kind):
            label = getattr(target, "label", "") or getattr(target, "description", "") or kind
            links.append(Fact(f"belongs to {label}", HOW.get(how, how)))
    return Fact(f"{entry.kind.upper()} {entry.label}".strip(), entry.path, tuple(links))


def _dose(dose: Mapping) -> Fact:
    decision = dose.get("decision") or {}
    status = str(decision.get("status") or "")
    reasons = tuple(Fact("because", str(text)) for text in decision.get("evidence") or ())
    made = tuple(
        Fact(f"dose {source['name']}", f"{source['role']}, highest {source['max_gy']:.2f} Gy")
        for source in dose.get("sources") or ()
    )
    words = {"needs-decision": "waits for your decision", "decided": "decided"}
    return Fact("Dose", words.get(status, status), reasons + made)


def decisions_of(folder: Path) -> Decisions:
    """What stands in `overrides.yaml` and, where nobody decided, what the run found. Raises
    `ConfigError` where that file or the configuration cannot be read."""
    course, own = read_course(folder), read_course_overrides(folder)
    weights = own.dose.get("plans") or {}
    plans = tuple(
        (
            entry.sop_uid,
            entry.label or entry.sop_uid,
            str(weights.get(entry.sop_uid, weights.get(entry.label, ""))),
        )
        for entry in course.of_kind("rtplan")
    )
    found = (read_facts(folder, DOSE_FILE).get("prescription") or {}).get("levels") or ()
    levels = tuple(
        (
            str(level.get("name") or ""),
            str(level.get("roi") or level.get("roi_name") or ""),
            f"{level['dose_gy']:g}",
            str(level.get("fractions") or ""),
        )
        for level in own.prescription or found
    )
    rois = read_facts(folder, STRUCTURES_FILE).get("rois") or ()
    names = {str(r["roi_name"]): str(r.get("roi_standard_name") or "") for r in rois}
    names |= own.names
    ratios = _ratios(own.applied_to(_configuration(folder)))
    return Decisions(plans, levels, tuple(names.items()), ratios)


def usual_ratios(folder: Path) -> AlphaBetas:
    """What the configuration says of a/b, for all courses beside this one. Raises `ConfigError`."""
    return _ratios(_configuration(folder))


def _configuration(folder: Path) -> Config:
    path = folder.parent.parent / CONFIG_FILE
    return load_config(path if path.is_file() else None)


def _ratios(config: Config) -> AlphaBetas:
    keys = config.dose.eqd2
    ratios = keys.alpha_beta
    single = tuple((name, f"{value:g}") for name, value in ratios.structures.items())
    return AlphaBetas(keys.enabled, f"{ratios.target:g}", f"{ratios.other:g}", single)


def changes_of(
    before: Decisions, after: Decisions, own: Overrides, usual: AlphaBetas
) -> dict[str, object]:
    """The keys of `overrides.yaml` that make `after` of `before`; `own` is what stands in the file,
    of which only what was changed goes, and `usual` are the ratios that need no decision. Texts
    that are no numbers stay texts, so that `problems_of` can say what is wrong."""
    changes: dict[str, object] = {}
    if after.plans != before.plans:
        weights = {uid: _number(text) for uid, _, text in after.plans if text.strip()}
        others = {key: value for key, value in own.dose.items() if key != "plans"}
        changes["dose"] = {**others, "plans": weights} if weights else others
    if after.levels != before.levels:
        changes["prescription"] = [_level(level) for level in after.levels if any(level)]
    if after.names != before.names:
        usual = dict(before.names)
        touched = {roi: name for roi, name in after.names if name != usual.get(roi)}
        names = {**own.names, **touched}
        changes["names"] = {roi: name for roi, name in names.items() if name}
    if after.ratios != before.ratios:
        changes["eqd2"] = {} if after.ratios == usual else _eqd2(after.ratios)
    return changes


def problems_of(changes: Mapping[str, object]) -> dict[str, str]:
    """What is wrong with changes, a sentence by key; keys that are right have none."""
    found = {}
    for key, value in changes.items():
        try:
            parse_overrides({key: value} if value else {}, "")
        except ConfigError as error:
            found[key] = "\n".join(line.lstrip(": ") for line in str(error).splitlines())
    dose = changes.get("dose") or {}
    if dose.get("doses") and dose.get("plans"):
        found["dose"] = (
            "overrides.yaml of this course names the doses of the total itself (dose: doses:), "
            "which weights of plans cannot change; delete that key there first"
        )
    return found


def _eqd2(ratios: AlphaBetas) -> dict[str, object]:
    single = {name: _number(text) for name, text in ratios.structures if name or text}
    alpha_beta = {"target": _number(ratios.target), "other": _number(ratios.other)}
    return {"enabled": ratios.enabled, "alpha_beta": {**alpha_beta, "structures": single}}


def _level(level: tuple[str, str, str, str]) -> dict[str, object]:
    name, roi, dose_gy, fractions = (text.strip() for text in level)
    found: dict[str, object] = {"name": name} if name else {}
    found |= {"roi": roi} if roi else {}
    found["dose_gy"] = _number(dose_gy)
    return found | ({"fractions": _number(fractions)} if fractions else {})


def _number(text: str) -> float | int | str:
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return text
    return int(value) if value.is_integer() else value
