"""Which contour stands for a slice: the slabs of a stack, for rules that do not interpolate."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .interpolation import EndCaps
from .planes import PLANE_TOLERANCE_MM, PlaneStack

# Positions that miss the border of a slab by less are on it.
ON_BORDER_MM = 1e-4


def own_planes(stack: PlaneStack, w_mm: np.ndarray, end_caps: EndCaps) -> np.ndarray:
    """(n,) number of the plane that stands for each position along the normal, -1 for none.

    A contour stands for the slab between the midpoints to its neighbours (a midpoint belongs to the
    upper one); at an end of the stack for half a slice beyond it, or with `end_caps = none` for the
    plane alone. `adaptive` ends have half a slice too: a label cannot hold less of a section.
    """
    low, high = _slabs(stack, end_caps)
    at = np.asarray(w_mm, dtype=np.float64) + ON_BORDER_MM
    plane = np.searchsorted(low, at, side="right") - 1
    return np.where((plane >= 0) & (at < high[plane]), plane, -1)


def _slabs(stack: PlaneStack, end_caps: EndCaps) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper border of every plane's slab."""
    w = stack.w_mm
    middle = (w[:-1] + w[1:]) / 2
    low, high = np.concatenate([w[:1], middle]), np.concatenate([middle, w[-1:]])
    bounds = [0, *(np.flatnonzero(stack.hole_after) + 1).tolist(), len(w)]
    for a, b in pairwise(bounds):
        if b - a == 1:
            low[a], high[a] = w[a] - stack.lone_mm / 2, w[a] + stack.lone_mm / 2
        elif end_caps == "none":
            low[a], high[b - 1] = w[a] - PLANE_TOLERANCE_MM, w[b - 1] + PLANE_TOLERANCE_MM
        else:
            low[a], high[b - 1] = (3 * w[a] - w[a + 1]) / 2, (3 * w[b - 1] - w[b - 2]) / 2
    return low, high
