"""The box around structures, in patient space."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..model import Contours, Mask


def box_of(structures: Iterable[Contours | Mask]) -> tuple[np.ndarray, np.ndarray] | None:
    """Lowest and highest corner (3,) in LPS mm of all vertices and covered voxels; None where
    nothing is drawn."""
    corners = [points for structure in structures if len(points := _extreme_points(structure))]
    if not corners:
        return None
    every = np.concatenate(corners)
    return every.min(axis=0), every.max(axis=0)


def _extreme_points(structure: Contours | Mask) -> np.ndarray:
    """Points (n, 3) with the same box as the structure."""
    if isinstance(structure, Contours):
        return structure.points_mm[np.isfinite(structure.points_mm).all(axis=1)]
    filled = structure.array > 0
    spans = [np.flatnonzero(filled.any(axis=axes)) for axes in ((0, 1), (0, 2), (1, 2))]
    if not all(span.size for span in spans):
        return np.empty((0, 3))
    i, j, k = (slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    return structure.grid.crop(k, j, i).corners_mm(edges=True)
