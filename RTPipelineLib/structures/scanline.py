"""Which pixel centres lie inside regions: even-odd along the rows of a pixel lattice.

This is how most programs turn contours into labels. A centre on the outline, within `ON_OUTLINE`
of a pixel, counts as inside.
"""

from __future__ import annotations

import numpy as np

from .coverage import runs

# In pixels. The image stencils of VTK take the same 2^-17.
ON_OUTLINE = 2.0**-17


def centres_inside(edges: np.ndarray, plane: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """`[plane, row, column]` booleans of `shape`: which pixel centres lie inside.

    `edges` (n, 4) are x0, y0, x1, y1 in pixels, where whole numbers are pixel centres; they may
    reach beyond the lattice. `plane` (n,) is the plane of each. Boundaries are closed.
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
    line = plane[index] * rows + row
    column = np.clip(np.ceil(x), 0, columns).astype(np.int64)
    turns = np.sort(line * columns + column)
    # Between two turns all pixels are alike; each row has an even number of them.
    lengths = np.diff(turns, prepend=0, append=int(np.prod(shape)))
    alike = np.zeros(len(lengths), dtype=bool)
    alike[1::2] = True
    label = np.repeat(alike, lengths)
    nearest = np.rint(x)
    on = (np.abs(x - nearest) <= ON_OUTLINE) & (nearest >= 0) & (nearest < columns)
    label[line[on] * columns + nearest[on].astype(np.int64)] = True
    label = label.reshape(shape)
    _add_along_rows(label, edges, plane)
    return label


def _add_along_rows(label: np.ndarray, edges: np.ndarray, plane: np.ndarray) -> None:
    """Set the centres on edges that run along a row of centres, and on first vertices of edges:
    the rows that these touch are not always crossed."""
    _, rows, columns = label.shape
    row = np.rint(edges[:, 1])
    there = (np.abs(edges[:, 1] - row) <= ON_OUTLINE) & (row >= 0) & (row < rows)
    x0, _, x1, y1 = edges[there].T
    row, plane = row[there], plane[there]
    end = np.where(np.abs(y1 - row) <= ON_OUTLINE, x1, x0)
    first = np.clip(np.ceil(np.minimum(x0, end) - ON_OUTLINE), 0, columns).astype(np.int64)
    last = np.clip(np.floor(np.maximum(x0, end) + ON_OUTLINE) + 1, 0, columns).astype(np.int64)
    index, step = runs(np.maximum(last - first, 0))
    label[plane[index], row[index].astype(np.int64), first[index] + step] = True


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
