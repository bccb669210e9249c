"""The flags of objects, images, doses and structures as findings.

Readers and stages raise flags where they meet something; here each belongs to a check, has a
severity and a sentence. A flag that nobody listed is shown as it is: nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from ..dose.sentences import SENTENCES
from .model import ERROR, INFO, WARNING, Check, CourseFacts, Finding, RaisedFlag


class Meaning(NamedTuple):
    """What a flag says: `{}` in the sentence is the detail behind the flag's colon. An empty
    sentence: the flag comes with its own."""

    severity: str
    sentence: str = ""


def _doses(severity: str, *flags: str) -> dict[str, Meaning]:
    """Flags of the decision about the dose, which have their sentence already."""
    return {flag: Meaning(severity, SENTENCES[flag]) for flag in flags}


_DRAWN_AGAIN = "correct the contour where it was drawn"
# Check -> flag -> meaning.
FLAGS: Mapping[str, Mapping[str, Meaning]] = {
    "links": {
        "fallback-link": Meaning(WARNING),
        "broken-link": Meaning(WARNING),
        "ambiguous-link": Meaning(WARNING),
        "plan-undated": Meaning(WARNING),
        "plan-not-referenced-by-dose": Meaning(INFO),
        "planning-image-by-size": Meaning(WARNING),
        "structure-set-by-frame-of-reference": Meaning(
            WARNING, "the structures and the dose were joined by their frame of reference alone"
        ),
        "structure-set-by-study": Meaning(
            WARNING, "the structures and the dose were joined by their study alone"
        ),
    },
    "patient": {
        "patient-id-mismatch": Meaning(WARNING),
        "label-contains-name": Meaning(
            INFO, "a label holds the patient's name and was dropped from the course's name"
        ),
    },
    "duplicate-uid": {
        "duplicate-instances": Meaning(
            INFO, "the same file is there more than once and was read once; nothing is to be done"
        ),
        "duplicate-uid-different-content": Meaning(
            ERROR, "files with one SOP Instance UID differ, and none was used; keep the right one"
        ),
    },
    "header": {
        "bad-value": Meaning(WARNING, "{} holds what is no value of its type and was left out"),
        "missing-uid": Meaning(WARNING, "a UID is missing ({}); export the object again"),
        "modality-contradicts-class": Meaning(
            WARNING, "the Modality contradicts the SOP Class, which counts"
        ),
        "series-uid-missing": Meaning(WARNING, "the Series Instance UID is missing or empty"),
        "study-uid-missing": Meaning(WARNING, "the Study Instance UID is missing or empty"),
        "sop-uid-missing": Meaning(WARNING, "the SOP Instance UID is missing or empty"),
        "sop-uid-from-file-meta": Meaning(
            INFO, "the SOP Instance UID is that of the file's header"
        ),
        "sop-class-missing": Meaning(WARNING, "the SOP Class UID is missing; the Modality counts"),
        "sop-class-from-file-meta": Meaning(INFO, "the SOP Class UID is that of the file's header"),
    },
    "frame-of-reference": {
        "frame-of-reference-missing": Meaning(
            WARNING, "the frame of reference is missing, so that nothing tells where it lies"
        ),
        "roi-frame-missing": Meaning(WARNING, "the frame of reference of the ROI is missing"),
        "several-frames": Meaning(WARNING, "the slices name several frames of reference"),
        **_doses(WARNING, "frames-differ", "registration-unapproved"),
        "registered": Meaning(INFO, "a dose was brought here through a registration"),
        "registered-deformably": Meaning(
            WARNING,
            "a dose was brought here through a deformable registration; look at it before use",
        ),
        "several-matrices": Meaning(
            WARNING, "a registration chains matrices; check that the structures meet the anatomy"
        ),
    },
    "slices": {
        "missing-slices": Meaning(WARNING, "{} slices are missing from the stack"),
        "duplicate-slices": Meaning(WARNING, "{} slices stand at a place that another has"),
        "several-stacks": Meaning(WARNING, "the series holds {} stacks; the longest was used"),
        "non-uniform-slices": Meaning(WARNING, "the distances between the slices differ"),
        "positions-repeat": Meaning(WARNING, "slices repeat their positions"),
        "frames-sorted": Meaning(INFO, "the frames were out of order and were sorted"),
        "thickness-assumed": Meaning(WARNING, "a single slice without thickness counts as 1 mm"),
    },
    "gantry-tilt": {
        "gantry-tilt": Meaning(WARNING, "the slices are tilted by {} degrees and were resampled"),
        "displaced-slices": Meaning(
            WARNING, "the slices are displaced sideways and were resampled upright"
        ),
    },
    "image-values": {
        "rescale-missing": Meaning(WARNING, "Rescale Slope and Intercept are missing"),
        "unit-unknown": Meaning(WARNING, "the unit of the image's values is unknown"),
        "pixel-data-missing": Meaning(ERROR, "there are no pixels"),
    },
    "dose-values": {
        "negative-dose": Meaning(WARNING, "some dose is negative"),
        "signed-dose": Meaning(WARNING, "the dose is stored with a sign, as only ERROR doses are"),
        "non-uniform-frames": Meaning(INFO, "the distances between the dose planes differ"),
        "normalised-by-user": Meaning(INFO, "a relative dose became Gy by the user's number"),
        "dose-scale-suspect": Meaning(
            WARNING,
            "its near-maximum is about one fraction of the prescription, or many times it; "
            "nothing was scaled, check what was exported",
        ),
        "stack-of-frames": Meaning(INFO, "the dose was joined from single frames"),
        "stack-gap": Meaning(WARNING, "frames of the dose are missing"),
        "truncated-dose": Meaning(ERROR, "the file of the dose is cut off; copy it again"),
    },
    "dose-type": {
        **_doses(WARNING, "dose-type-missing", "dose-types-differ"),
        **_doses(INFO, "dose-type-chosen"),
    },
    "dose-summation": {
        **_doses(WARNING, "plan-sum-term", "accumulated"),
        **_doses(INFO, "duplicate-dose", "sum-of-parts", "user-decision"),
        **_doses(WARNING, "dose-without-plan"),
        "summation-type-plan-sum": Meaning(WARNING, SENTENCES["plan-sum-term"]),
        "summation-type-missing": Meaning(WARNING, "DoseSummationType is missing"),
        "sum-grid-coarsened": Meaning(
            WARNING, "the grid of the sum was coarsened to stay below dose.max_grid_voxels"
        ),
        "dose-sum-incomplete": Meaning(
            WARNING, "part of it lies where not every dose of the sum reaches"
        ),
    },
    "plan-choice": {
        **_doses(
            WARNING, "alternative-plans", "alternatives-both-delivered", "plan-rejected",
        ),
        **_doses(INFO, "plan-excluded", "unapproved-plan-left-out"),
    },
    "delivery": _doses(
        WARNING, "delivered-differs-from-planned", "more-fractions-than-planned",
        "fraction-recorded-twice", "record-incomplete", "uneven-delivery",
    ),
    "prescription-choice": {
        "rx-needs-decision": Meaning(
            WARNING,
            "which prescription holds for a target is not settled, so that metrics relative to it "
            "are empty; give a table (prescription.file)",
        ),
    },
    "contours": {
        "contours-unreadable": Meaning(ERROR, "its contours cannot be read; export it again"),
        "contour-broken": Meaning(WARNING, "contours {} are cut off or hold no numbers"),
        "contour-nonfinite": Meaning(WARNING, "contours {} hold coordinates that are no numbers"),
        "contour-not-finite": Meaning(WARNING, "contours hold coordinates that are no numbers"),
        "contour-count": Meaning(WARNING, "contours {} hold other numbers of points than they say"),
        "contour-empty": Meaning(INFO, "contours {} are empty"),
        "contour-separator": Meaning(INFO, "contours {} have stray separators"),
        "contour-type-assumed": Meaning(INFO, "contours {} have no type and count as closed"),
        "contours-split": Meaning(INFO, "its contours stand in several items, which were joined"),
        "roi-undeclared": Meaning(WARNING, "it has contours, and no name in the structure set"),
        "roi-number-missing": Meaning(WARNING, "it has no ROI Number"),
        "duplicate-roi-number": Meaning(WARNING, "another ROI has the same number"),
        "contour-overlap": Meaning(WARNING, "loops of one plane overlap in part and were united"),
        "contour-xor-cancels": Meaning(WARNING, f"loops cancel each other; {_DRAWN_AGAIN}"),
        "contour-crosses-itself": Meaning(WARNING, f"a contour crosses itself; {_DRAWN_AGAIN}"),
        "contour-too-tangled": Meaning(ERROR, f"a contour cannot be resolved; {_DRAWN_AGAIN}"),
        "contour-duplicate": Meaning(INFO, "a contour is there twice and counts once"),
        "contour-off-plane": Meaning(WARNING, f"a contour lies beside its plane; {_DRAWN_AGAIN}"),
        "contour-not-planar": Meaning(WARNING, f"a contour lies in no plane; {_DRAWN_AGAIN}"),
        "contour-too-few-points": Meaning(INFO, "a contour of less than three points was left out"),
        "contour-without-area": Meaning(INFO, "a contour without area was left out"),
        "open-or-point-contour": Meaning(INFO, "open or point contours carry no volume"),
        "no-closed-contour": Meaning(INFO, "it has only open or point contours, and no volume"),
        "contour-gap-filled": Meaning(
            WARNING, "contours are missing on some planes, which were filled"
        ),
        "contour-gap-hole": Meaning(
            WARNING, "contours are missing on some image planes, which count as a hole"
        ),
        "single-plane-no-thickness": Meaning(
            WARNING, "one contour without image slices: its volume is unknown"
        ),
        "margin-too-thin": Meaning(
            WARNING, "it has no surface that a margin could be added to: it is too thin"
        ),
        "structure-tiny": Meaning(INFO, "it is smaller than 0.03 cc"),
        "no-dvh": Meaning(WARNING, "it has no DVH; its row says why"),
        "internal-error": Meaning(ERROR, "a mistake in the program cost its DVH; please report it"),
    },
    "segmentation": {
        "segmentation-partial": Meaning(WARNING, "its model did not give all that was expected"),
    },
    "stored-dvh": {
        "dvh-data-broken": Meaning(INFO, "the planning system's curve cannot be read"),
        "dvh-data-missing": Meaning(INFO, "the planning system's curve has no data"),
        "dvh-rises": Meaning(INFO, "the planning system's cumulative curve rises"),
        "dvh-statistics-contradict-curve": Meaning(
            INFO, "the planning system's minimum, maximum or mean contradict its own curve"
        ),
        "dvh-roi-missing": Meaning(INFO, "a stored curve names no ROI of the structure set"),
    },
}  # fmt: skip
# Said by a check of its own, or no more than a note on the row.
ELSEWHERE = frozenset(
    {
        *("plan-unapproved", "outside-dose-grid", "max-may-lie-outside", "structure-empty"),
        *("isodose-shared-by-targets", "isodose-reaches-grid-edge", "rx-from-beam-dose"),
    }
)
_ELSEWHERE_PREFIXES = ("outside-dose-", "tps-dvh-", "crosscheck-", "inferred-", "alpha-beta-")


def raised(text: str, sentence: str = "", item: str = "", source: str = "") -> RaisedFlag:
    """A flag as it stands in a table or file, `id` or `id:detail`."""
    flag, _, detail = text.partition(":")
    return RaisedFlag(flag, detail, sentence, item, source)


def _find(check: str, flags: Mapping[str, Meaning]) -> Callable[[CourseFacts], Iterator[Finding]]:
    def find(facts: CourseFacts) -> Iterator[Finding]:
        for flag in facts.flags:
            if flag.id in flags:
                yield _finding(flag, flags[flag.id])

    return find


def _finding(flag: RaisedFlag, meaning: Meaning) -> Finding:
    """Its own sentence where there is one that tells more, else the sentence of the meaning."""
    sentence = meaning.sentence.format(flag.detail) if meaning.sentence else flag.sentence
    if flag.item and meaning.sentence:
        sentence = f"{flag.item}: {sentence}"
    return Finding(meaning.severity, sentence or flag.id, flag.item, flag.source)


def _others(facts: CourseFacts) -> Iterator[Finding]:
    """Flags that belong to no check."""
    known = {flag for flags in FLAGS.values() for flag in flags} | ELSEWHERE
    for flag in facts.flags:
        if flag.id not in known and not flag.id.startswith(_ELSEWHERE_PREFIXES):
            words = flag.sentence or " ".join(filter(None, (flag.id, flag.detail)))
            yield Finding(INFO, f"{flag.item}: {words}" if flag.item else words, flag.item)


CHECKS = (
    *(
        Check(
            name,
            f"flags: {', '.join(sorted(flags))}",
            "flags of objects and rows",
            _find(name, flags),
        )
        for name, flags in FLAGS.items()
    ),
    Check("other-flags", "flags that belong to no check", "flags of objects and rows", _others),
)
