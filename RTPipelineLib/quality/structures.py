"""Checks of structures: where they lie, how large they are, what they are called."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..geometry import Grid
from ..model import EDITED
from ..structures.name_words import LEFT, RIGHT, read_words
from .model import ERROR, INFO, WARNING, Check, CourseFacts, Finding, RoiFacts

# A side is only judged where the centre is clearly on the other one.
MIDLINE_MM = 10.0
TINY_CC = 0.03


def empty(facts: CourseFacts) -> Iterator[Finding]:
    """A structure without contours."""
    for roi in facts.rois:
        if roi.low_mm is None:
            severity = WARNING if roi.is_target else INFO
            yield Finding(severity, f"{roi.name} has no contours", roi.name, roi.source)


def tiny(facts: CourseFacts) -> Iterator[Finding]:
    """A structure below the least volume that is reported (D0.03cc)."""
    for roi in facts.rois:
        if roi.volume_cc is not None and 0 < roi.volume_cc < TINY_CC:
            yield Finding(
                WARNING,
                f"{roi.name} has {1000 * roi.volume_cc:.2g} mm3: a slip of the drawing tool, or a "
                "marker that is no volume",
                roi.name,
                roi.source,
            )


def outside_image(facts: CourseFacts) -> Iterator[Finding]:
    """A structure lies beyond the planning image."""
    for roi, grid in _with_grids(facts):
        low, high = _index_box(roi, grid)
        size = np.array(grid.size_ijk)
        beyond = np.maximum(-0.5 - low, high - (size - 0.5))
        worst = float((beyond * grid.spacing_mm).max())
        if np.any((high < -0.5) | (low > size - 0.5)):
            yield Finding(
                ERROR,
                f"{roi.name} lies wholly outside the planning image: was it drawn on another one?",
                roi.name,
                roi.source,
            )
        elif worst > 1.0:
            yield Finding(
                WARNING,
                f"{roi.name} reaches {worst:.0f} mm beyond the planning image",
                roi.name,
                roi.source,
            )


def at_border(facts: CourseFacts) -> Iterator[Finding]:
    """A structure touches the image's border, so that part of it may be missing."""
    for roi, grid in _with_grids(facts):
        low, high = _index_box(roi, grid)
        size = np.array(grid.size_ijk)
        if np.any((low < -0.5) | (high > size - 0.5)):
            continue  # it reaches beyond: `outside_image` says so
        touches = (low < 0.5) | (high > size - 1.5)
        if touches[:2].any():
            sentence = f"{roi.name} touches the side of the planning image: part of it is cut off"
            yield Finding(WARNING, sentence, roi.name, roi.source)
        elif touches[2] and not roi.is_external:
            yield Finding(
                INFO,
                f"{roi.name} reaches the first or last slice of the planning image: part of it may "
                "be missing",
                roi.name,
                roi.source,
            )


def laterality(facts: CourseFacts) -> Iterator[Finding]:
    """A structure lies on the other side than its name says (LPS: the patient's left is +x)."""
    drawn = [roi for roi in facts.rois if roi.centre_mm is not None]
    for roi in drawn:
        side = _side(roi)
        if side not in (LEFT, RIGHT):
            continue
        midline = _midline(roi, drawn, facts)
        if midline is None:
            continue
        to_left = float(roi.centre_mm[0]) - midline
        if abs(to_left) > MIDLINE_MM and (to_left > 0) != (side == LEFT):
            says, lies = ("left", "right") if side == LEFT else ("right", "left")
            yield Finding(
                ERROR,
                f"{roi.name} says {says} and lies {abs(to_left):.0f} mm {lies} of the middle of "
                "the patient: are the names of a pair swapped?",
                roi.name,
                roi.source,
            )


def _side(roi: RoiFacts) -> str:
    """The side that the structure's name states. Targets are named after plans and sites as well,
    and a target may reach across."""
    return "" if roi.is_target else read_words(roi.standard_name or roi.name).side


def _midline(roi: RoiFacts, drawn: list[RoiFacts], facts: CourseFacts) -> float | None:
    """x of the patient's middle: the outline's, else halfway between the pair; else unknown."""
    same = [r for r in drawn if r.frame_uid == roi.frame_uid]
    for other in same:
        if other.is_external and other.low_mm is not None and other.high_mm is not None:
            return float(other.low_mm[0] + other.high_mm[0]) / 2
    words = read_words(roi.standard_name or roi.name)
    for other in same:
        pair = read_words(other.standard_name or other.name)
        if pair.words == words.words and {pair.side, words.side} == {LEFT, RIGHT}:
            return float(other.centre_mm[0] + roi.centre_mm[0]) / 2  # type: ignore[index]
    return None


def names(facts: CourseFacts) -> Iterator[Finding]:
    """A name that two rules match, or a standard name that several structures have."""
    for row in facts.names:
        for conflict in row.get("conflicts") or ():
            yield Finding(
                WARNING, f"{row['roi_name']}: {conflict}", str(row["roi_name"]), str(row["source"])
            )


def agreement(facts: CourseFacts) -> Iterator[Finding]:
    """What a person and a program drew under one name differs widely."""
    limits = facts.limits
    for row in facts.agreement:
        if row.get("source_b") == EDITED:  # a person made it differ
            continue
        dice, far = row.get("dice"), row.get("hausdorff95_mm")
        poor = isinstance(dice, float) and dice < limits.min_dice
        away = isinstance(far, float) and far > limits.max_hd95_mm
        if poor or away:
            yield Finding(
                WARNING,
                f"{row['roi_standard_name']}: {row['source_a']} and {row['source_b']} differ (Dice "
                f"{dice:.2f}, 95 % Hausdorff distance {far:.0f} mm); one of them is wrong or cut",
                str(row["roi_standard_name"]),
                str(row["source_b"]),
            )


def _with_grids(facts: CourseFacts) -> Iterator[tuple[RoiFacts, Grid]]:
    """Drawn structures whose frame of reference is that of a planning image."""
    for roi in facts.rois:
        if roi.low_mm is not None and roi.frame_uid in facts.grids:
            yield roi, facts.grids[roi.frame_uid]


def _index_box(roi: RoiFacts, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest index (i, j, k) of the corners of the box around a structure."""
    ends = np.stack([roi.low_mm, roi.high_mm])  # type: ignore[list-item]
    corners = ends[np.indices((2, 2, 2)).reshape(3, -1).T, np.arange(3)]
    index = grid.to_index(corners)
    return index.min(axis=0), index.max(axis=0)


CHECKS = (
    Check("roi-empty", "structures without contours", "the structure sets", empty),
    Check("roi-tiny", "structures below 0.03 cc", "structures/structures.json", tiny),
    Check("roi-outside-image", "structures inside the image", "the structure sets", outside_image),
    Check("roi-at-image-border", "structures cut by the image", "the structure sets", at_border),
    Check("laterality", "left and right", "the structure sets", laterality),
    Check("structure-names", "unambiguous names", "structures/structures.json", names),
    Check("agreement", "people against programs", "structures/agreement.parquet", agreement),
)
