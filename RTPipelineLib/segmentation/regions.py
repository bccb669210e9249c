"""Which parts of a body an image shows, judged by the organs that were found in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..errors import UsageError

# Organs (names of TotalSegmentator's tasks total and total_mr) that stand for a region, and the
# volume in cc from which one counts: about a quarter of an adult's organ (ICRP Publication 89), so
# that a sliver at the image's border or a false finding does not.
MARKERS: dict[str, dict[str, float]] = {
    "head": {"brain": 350.0, "skull": 200.0},
    "neck": {"thyroid_gland": 4.0, "vertebrae_C4": 3.0, "vertebrae_C5": 3.0, "vertebrae_C6": 3.0},
    "thorax": {
        "heart": 150.0,
        "lung_upper_lobe_left": 150.0,
        "lung_lower_lobe_left": 150.0,
        "lung_upper_lobe_right": 150.0,
        "lung_lower_lobe_right": 150.0,
        "lung_left": 300.0,
        "lung_right": 300.0,
    },
    "abdomen": {
        "liver": 400.0,
        "spleen": 40.0,
        "kidney_left": 40.0,
        "kidney_right": 40.0,
        "pancreas": 30.0,
    },
    "pelvis": {"hip_left": 90.0, "hip_right": 90.0, "sacrum": 60.0, "urinary_bladder": 30.0},
    "thigh": {"femur_left": 150.0, "femur_right": 150.0},
}


class Judgement(NamedTuple):
    """Whether an image shows what a model needs, and the sentence that says why."""

    allowed: bool
    reason: str


def check_regions(regions: tuple[str, ...]) -> None:
    """Raise `UsageError` for a region that nobody knows."""
    from difflib import get_close_matches

    for name in regions:
        if name not in MARKERS:
            near = get_close_matches(name, MARKERS, 1)
            hint = f"did you mean {near[0]}?" if near else f"regions are {', '.join(MARKERS)}"
            raise UsageError(f"requires_region: there is no region {name!r}; {hint}")


def shown_regions(volumes_cc: Mapping[str, float]) -> dict[str, list[str]]:
    """The regions that an image shows, each with the organs that say so."""
    found = {
        region: [name for name, least in markers.items() if volumes_cc.get(name, 0.0) >= least]
        for region, markers in MARKERS.items()
    }
    return {region: organs for region, organs in found.items() if organs}


def judge(required: tuple[str, ...], volumes_cc: Mapping[str, float]) -> Judgement:
    """Whether an image with these organs shows all `required` regions."""
    shown = shown_regions(volumes_cc)
    missing = [region for region in required if region not in shown]
    if missing:
        seen = ", ".join(shown) or "no known region"
        return Judgement(
            False, f"the image does not show {' and '.join(missing)} (it shows {seen})"
        )
    proof = "; ".join(f"{region}: {', '.join(shown[region])}" for region in required)
    return Judgement(True, proof)
