"""Our DVH beside another program's: what differs, and by more than the methods explain.

Two sound programs differ in the ends of a structure (half a slice or none), in how finely they
draw its outline, and by the width of their bins. The tolerances allow for that and no more:

- volume: 3 % for the outline, and one mean slice (1 / number of contour planes) for both ends;
- mean dose: 1 % of the structure's maximum and one bin, and what that slice changes if its dose
  lay half the structure's range away;
- D95, D50, D2: the same 1 % and bin along the dose, or 1 % of the volume and that slice along the
  volume, whichever fits (a difference in a flat part of the curve is one of volume, not of dose).

1 % of dose and volume is what commercial systems are held to (Ebert et al., Phys Med Biol 55 (2010)
N337; Nelms et al., Med Phys 42 (2015) 4435).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..model import DVH, Contours, Mask

VOLUME_SHARE = 0.03
CURVE_SHARE = 0.01
DOSES = ("95%", "50%", "2%")


@dataclass(frozen=True)
class Difference:
    """One metric from both sides; `tolerance` is in its unit, None where it could not be judged."""

    metric: str
    unit: str
    ours: float | None
    theirs: float | None
    tolerance: float | None
    agrees: bool | None

    def row(self) -> dict[str, object]:
        """The columns of the comparison tables."""
        known = self.ours is not None and self.theirs is not None
        return {
            "metric": self.metric,
            "unit": self.unit,
            "value": self.ours,
            "other_value": self.theirs,
            "difference": self.theirs - self.ours if known else None,
            "tolerance": self.tolerance,
            "agrees": self.agrees,
        }


def compare(
    ours: DVH, theirs: DVH, *, planes: int, bin_gy: float = 0.0, with_volume: bool = True
) -> list[Difference]:
    """Volume, mean dose, D95 %, D50 % and D2 % of a structure by us and by another program.

    `planes` is the number of contour planes (0: none), `bin_gy` the width of the other program's
    bins. Nothing is judged where a part of the structure has no known dose; `with_volume` is false
    where their volume is not in cc.
    """
    slice_share = 1 / planes if planes else 0.0
    judged = ours.known_cc > 0 and not ours.is_partial and theirs.known_cc > 0
    found = []
    if with_volume:
        allowed = (VOLUME_SHARE + slice_share) * ours.volume_cc
        fits = abs(ours.volume_cc - theirs.volume_cc) <= allowed if ours.volume_cc > 0 else None
        found.append(_difference("volume", "cc", ours.volume_cc, theirs.volume_cc, allowed, fits))
    dose_gy = CURVE_SHARE * ours.max_gy + bin_gy
    mean_gy = dose_gy + slice_share * (ours.max_gy - ours.min_gy) / 2
    fits = abs(ours.mean_gy - theirs.mean_gy) <= mean_gy if judged else None
    found.append(_difference("Dmean", "Gy", ours.mean_gy, theirs.mean_gy, mean_gy, fits))
    for volume in DOSES:
        mine, other = ours.D(volume), theirs.D(volume)
        fits = None
        if judged:
            share = 100 * (CURVE_SHARE + slice_share)
            along_volume = abs(_volume_at(ours, other, float(volume[:-1])))
            fits = abs(mine - other) <= dose_gy or along_volume <= share
        found.append(_difference(f"D{volume}", "Gy", mine, other, dose_gy, fits))
    return found


def contour_planes(structure: Contours | Mask) -> int:
    """How many planes a structure is drawn on; 0 where it is a mask."""
    if not isinstance(structure, Contours) or not len(structure):
        return 0
    first = structure.points_mm[structure.starts[:-1][np.diff(structure.starts) > 0]]
    loops = [loop for loop in structure.loops() if len(loop) > 2]
    if not loops:
        return 0
    normal = _normal(max(loops, key=len))
    return len(np.unique(np.round(first @ normal, 1)))


def _normal(loop: np.ndarray) -> np.ndarray:
    """Unit normal of a planar loop (n, 3)."""
    return np.linalg.svd(loop - loop.mean(axis=0), full_matrices=False)[2][-1]


def _volume_at(dvh: DVH, dose_gy: float, percent: float) -> float:
    """How far our volume at this dose lies from `percent`, in percent of the volume."""
    return dvh.V(f"{max(dose_gy, 0.0)!r}Gy") - percent


def _difference(
    metric: str, unit: str, ours: float, theirs: float, tolerance: float, agrees: bool | None
) -> Difference:
    known = [value if math.isfinite(value) else None for value in (ours, theirs, tolerance)]
    if known[0] is None or known[1] is None:
        agrees = None
    return Difference(metric, unit, *known, None if agrees is None else bool(agrees))
