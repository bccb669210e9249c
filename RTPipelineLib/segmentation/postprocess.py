"""What is done to a model's output: connected parts are kept or removed, structures confined.

Parts are connected through faces, edges and corners (26 neighbours).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True, eq=False)
class Rules:
    """What is done to one structure, in this order; arrays are booleans `[k, j, i]`.

    within : what lies outside is removed.
    min_voxels : smaller parts are removed.
    nearest_to : of the parts, the nearest to this structure stays.
    largest : of the parts, the largest stays.
    """

    within: np.ndarray | None = None
    min_voxels: int = 0
    nearest_to: np.ndarray | None = None
    largest: bool = False


def apply_rules(mask: np.ndarray, spacing_mm: np.ndarray, rules: Rules) -> np.ndarray:
    """The structure `mask` (`[k, j, i]`, booleans) after the rules; `spacing_mm` is x, y, z.

    `nearest_to` an empty structure removes nothing: there is nothing to be near to.
    """
    mask = mask if rules.within is None else mask & rules.within
    if not mask.any() or not (rules.min_voxels or rules.largest or rules.nearest_to is not None):
        return mask
    from scipy import ndimage

    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    part = mask[box]
    parts, count = ndimage.label(part, _NEIGHBOURS)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    keep = sizes >= rules.min_voxels
    keep[0] = False
    if rules.nearest_to is not None and rules.nearest_to.any() and keep.any():
        keep &= _nearest(parts, keep, rules.nearest_to, box, spacing_mm)
    if rules.largest and keep.any():
        keep &= np.arange(count + 1) == np.argmax(np.where(keep, sizes, 0))
    result = np.zeros_like(mask)
    result[box] = keep[parts]
    return result


def _nearest(
    parts: np.ndarray,
    keep: np.ndarray,
    anchor: np.ndarray,
    box: tuple[slice, ...],
    spacing_mm: np.ndarray,
) -> np.ndarray:
    """Which of the parts comes nearest to the anchor (Euclidean, mm); the larger one of equals."""
    from scipy import ndimage
    from scipy.spatial import cKDTree

    shell = anchor & ~ndimage.binary_erosion(anchor, border_value=1)
    scale = np.asarray(spacing_mm)[::-1]
    tree = cKDTree(np.argwhere(shell if shell.any() else anchor) * scale)
    corner = np.array([s.start for s in box])
    numbers = np.flatnonzero(keep)
    sizes = np.bincount(parts.ravel(), minlength=len(keep))
    distance = {
        n: float(tree.query((np.argwhere(parts == n) + corner) * scale)[0].min()) for n in numbers
    }
    best = min(numbers, key=lambda n: (round(distance[n], 6), -sizes[n]))
    return np.arange(len(keep)) == best
