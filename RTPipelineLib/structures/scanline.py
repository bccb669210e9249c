"""Which pixel centres lie inside regions: even-odd along the rows of a pixel lattice.

This is how most programs turn contours into labels. A centre exactly on an outline, within
`ON_OUTLINE` of a pixel, counts as inside where the outline runs across its row (both ends of a run
belong to it); of outlines that run along a row of centres, the one with the lower row index is
inside and the other is not.
"""

from __future__ import annotations

import numpy as np

from .coverage import runs

# In pixels. The image stencils of VTK take the same 2^-17.
ON_OUTLINE = 2.0**-17


def centres_inside(edges: np.ndarray, plane: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """`[plane, row, column]` booleans of `shape`: which pixel centres lie inside.

    `edges` (n, 4) are x0, y0, x1, y1 in pixels, where whole numbers are pixel centres; they may
    reach beyond the lattice. `plane` (n,) is the plane of each. Boundaries are closed; those of
    regions (`polygons.py`) are oriented, which only matters on the outline itself.
    """
    _, rows, columns = shape
    x0, y0, x1, y1 = edges.T
    low, high = np.minimum(y0, y1), np.maximum(y0, y1)
    first = np.clip(np.ceil(low), 0, rows).astype(np.int64)
    counts = np.clip(np.ceil(high), 0, rows).astype(np.int64) - first
    index, step = runs(counts)
    row = first[index] + step
    with np.errstate(divide="ignore", invalid="ignore"):  # edges along a row cross none
        slope = (x1 - x0) / (y1 - y0)
    x = x0[index] + (row - y0[index]) * slope[index]
    # The inside lies to the right of edges that run downwards, and to the left of the others.
    falls = (y1 < y0)[index]
    column = np.where(falls, np.ceil(x - ON_OUTLINE), np.floor(x + ON_OUTLINE) + 1)
    column = np.clip(column, 0, columns).astype(np.int64)
    turns = np.sort((plane[index] * rows + row) * columns + column)
    # Between two turns all pixels are alike; each row has an even number of them.
    lengths = np.diff(turns, prepend=0, append=int(np.prod(shape)))
    alike = np.zeros(len(lengths), dtype=bool)
    alike[1::2] = True
    return np.repeat(alike, lengths).reshape(shape)


def points_inside(
    edges: np.ndarray, plane: np.ndarray, points: np.ndarray, points_plane: np.ndarray
) -> np.ndarray:
    """(m,) booleans: which points (m, 2) lie inside the region of their plane, even-odd.

    `edges` (n, 4) and `points` in the same units; `plane` (n,), `points_plane` (m,) integers.
    """
    if not len(points) or not len(edges):
        return np.zeros(len(points), dtype=bool)
    # All planes at once: each lies above the one before it.
    base = min(points[:, 1].min(), edges[:, [1, 3]].min())
    step = max(points[:, 1].max(), edges[:, [1, 3]].max()) - base + 1.0
    height = points[:, 1] - base + points_plane * step
    order = np.argsort(height, kind="stable")
    height = height[order]
    x0, y0, x1, y1 = edges.T
    low = np.searchsorted(height, np.minimum(y0, y1) - base + plane * step)
    high = np.searchsorted(height, np.maximum(y0, y1) - base + plane * step)
    index, offset = runs(high - low)
    point = order[low[index] + offset]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (x1 - x0) / (y1 - y0)
    x = x0[index] + (points[point, 1] - y0[index]) * slope[index]
    crossed = np.bincount(point[x > points[point, 0]], minlength=len(points))
    return crossed % 2 == 1
