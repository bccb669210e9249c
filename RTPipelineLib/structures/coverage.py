"""Exact area coverage of polygonal regions on a lattice of cells.

The signed-area method of font rasterisers: every edge is cut at the cell borders; a piece inside a
cell covers part of this cell and all of the cells to its right, with the sign of its direction.
Summed over a closed boundary that gives the exact covered share of each cell, with no sampling at
all. First moments come from the same pass, so that the centre of the covered part is exact too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Coverage outside 0..1 by more than this means a winding number other than 0 and 1.
WINDING_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Lattice:
    """Square cells in a plane: cell `[j, i]` spans `origin + (i, j) * step` and one step more.

    `origin_mm` (u, v) is the lower corner of the first cell, `step_mm` (u, v) the cell size,
    `shape` (nv, nu).
    """

    origin_mm: tuple[float, float]
    step_mm: tuple[float, float]
    shape: tuple[int, int]

    @property
    def cell_mm2(self) -> float:
        """Area of one cell."""
        return self.step_mm[0] * self.step_mm[1]

    def contains(self, low_mm: np.ndarray, high_mm: np.ndarray) -> bool:
        """True when everything between two corners (u, v) lies inside the lattice."""
        size = np.multiply(self.step_mm, self.shape[::-1])
        return bool(np.all(low_mm >= self.origin_mm) and np.all(high_mm <= self.origin_mm + size))

    def to_cells(self, edges_mm: np.ndarray) -> np.ndarray:
        """Edges (n, 4) in mm to cell units, where whole numbers are cell borders."""
        return (edges_mm - np.tile(self.origin_mm, 2)) / np.tile(self.step_mm, 2)


@dataclass(frozen=True, eq=False)
class Coverage:
    """Covered share of the cells of several planes.

    share : (p, nv, nu), 0..1.
    moment_u, moment_v : (p, nv, nu), share times the offset of the centre of the covered
        part from the centre of the cell, in cells; None where all offsets are zero.
    """

    share: np.ndarray
    moment_u: np.ndarray | None = None
    moment_v: np.ndarray | None = None

    @classmethod
    def empty(cls, shape: tuple[int, int, int], *, moments: bool = True) -> Coverage:
        """Room for the coverage of `shape` (planes, nv, nu) cells."""
        return cls(*(np.empty(shape, dtype=np.float32) for _ in range(3 if moments else 1)))

    def write(self, planes: slice, part: Coverage) -> None:
        """Set some planes."""
        for own, new in (
            (self.share, part.share),
            (self.moment_u, part.moment_u),
            (self.moment_v, part.moment_v),
        ):
            if own is not None and new is not None:
                own[planes] = new


def cover(
    edges: np.ndarray, plane: np.ndarray, shape: tuple[int, int, int], *, moments: bool = True
) -> Coverage:
    """Coverage of `shape` (planes, nv, nu) cells by regions given as edges.

    `edges` (n, 4) are x0, y0, x1, y1 in cell units, inside the lattice (`clipped`); `plane` (n,) is
    the plane of each. The winding number of each region must be 1 inside and 0 outside. Without
    `moments` only the share is calculated.
    """
    planes, rows, columns = shape
    width = columns + 2  # spare columns take what edges on the last border hand to their right
    row, xa, xb, ya, yb, sign = _cut_rows(edges, plane, rows)
    row, column, xa, xb, ya, yb, sign = _cut_columns(row, xa, xb, ya, yb, sign)
    cell = row * width + column
    height = sign * (yb - ya)
    middle = (xa + xb) / 2
    dx, dy = xb - xa, yb - ya
    both = np.concatenate([cell, cell + 1])
    size = planes * rows * width

    def grid(values: np.ndarray) -> np.ndarray:
        return values.reshape(planes, rows, width)[:, :, :columns]

    def swept(values: np.ndarray) -> np.ndarray:
        table = values.reshape(planes, rows, width)
        return np.cumsum(table, axis=2, out=table)

    # Inside the cell: area right of the piece, and its moments about the cell's centre.
    area = height * (1 - middle)
    share = swept(np.bincount(both, np.concatenate([area, height - area]), size))
    if not moments:
        return Coverage(grid(share))
    moment_u = height * (middle - (xa * xa + xa * xb + xb * xb) / 3) / 2
    lever = ya - 0.5
    moment_v = height * (lever * (1 - xa) + (dy * (1 - xa) - lever * dx) / 2 - dx * dy / 3)
    # All cells to the right: area `height`, centred in u, moment in v `height * (lever + dy / 2)`.
    onward = height * (lever + dy / 2)
    vertical = np.bincount(both, np.concatenate([moment_v, onward - moment_v]), size)
    horizontal = np.bincount(cell, moment_u, size)
    return Coverage(grid(share), grid(horizontal), grid(swept(vertical)))


def clipped(
    edges: np.ndarray, plane: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Edges (n, 4) in cell units so that they lie inside a lattice of `shape` (nv, nu) and cover
    its cells as before; with their planes (n,).

    Edges are cut at the borders; what lies beyond the upper or lower one is dropped, what lies
    beyond the left or right one is moved onto it.
    """
    for axis, border in ((0, 0), (0, shape[1]), (1, 0), (1, shape[0])):
        begin, end = edges[:, axis] - border, edges[:, axis + 2] - border
        across = begin * end < 0
        cut = edges[across]
        t = (begin[across] / (begin[across] - end[across]))[:, None]
        point = cut[:, :2] + t * (cut[:, 2:] - cut[:, :2])
        point[:, axis] = border
        near, far = np.hstack([cut[:, :2], point]), np.hstack([point, cut[:, 2:]])
        edges = np.concatenate([edges[~across], near, far])
        plane = np.concatenate([plane[~across], plane[across], plane[across]])
    beyond = (edges[:, [1, 3]] <= 0).all(axis=1) | (edges[:, [1, 3]] >= shape[0]).all(axis=1)
    edges, plane = edges[~beyond], plane[~beyond]
    edges[:, [0, 2]] = np.clip(edges[:, [0, 2]], 0, shape[1])
    return edges, plane


def crooked_planes(coverage: Coverage) -> np.ndarray:
    """Indices of planes in which some cell is covered less than not at all or more than once: their
    loops cross themselves or run twice around."""
    share = coverage.share.reshape(len(coverage.share), -1)
    low, high = share.min(axis=1), share.max(axis=1)
    return np.flatnonzero((low < -WINDING_TOLERANCE) | (high > 1 + WINDING_TOLERANCE))


def _cut_rows(
    edges: np.ndarray, plane: np.ndarray, rows: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cut edges at whole y. Returns global row, x and local y (0..1) at the lower and the upper end
    of every piece, and the sign: +1 for edges that run downwards (the inside lies to the right)."""
    level = edges[:, 1] != edges[:, 3]
    if not level.all():
        edges, plane = edges[level], plane[level]
    x0, y0, x1, y1 = edges.T
    falls = y1 < y0
    sign = np.where(falls, 1.0, -1.0)
    x_low, x_high = np.where(falls, x1, x0), np.where(falls, x0, x1)
    y_low, y_high = np.where(falls, y1, y0), np.where(falls, y0, y1)
    first = np.floor(y_low).astype(np.int64)
    counts = np.maximum(np.ceil(y_high).astype(np.int64) - first, 1)
    slope = (x_high - x_low) / (y_high - y_low)
    index, step = runs(counts)
    row = first[index] + step
    ya = np.maximum(y_low[index] - row, 0.0)
    yb = np.minimum(y_high[index] - row, 1.0)
    base, steep = x_low[index], slope[index]
    rise = row - y_low[index]
    left, right = np.minimum(x0, x1)[index], np.maximum(x0, x1)[index]
    xa = np.clip(base + (rise + ya) * steep, left, right)
    xb = np.clip(base + (rise + yb) * steep, left, right)
    return plane[index] * rows + row, xa, xb, ya, yb, sign[index]


def _cut_columns(
    row: np.ndarray,
    xa: np.ndarray,
    xb: np.ndarray,
    ya: np.ndarray,
    yb: np.ndarray,
    sign: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """Cut the pieces of `_cut_rows` at whole x as well; x becomes local (0..1) too."""
    left, right = np.minimum(xa, xb), np.maximum(xa, xb)
    first = np.floor(left).astype(np.int64)
    counts = np.maximum(np.ceil(right).astype(np.int64) - first, 1)
    single = counts == 1
    many = np.flatnonzero(~single)
    one = [row[single], first[single]]
    one += [xa[single] - one[1], xb[single] - one[1], ya[single], yb[single], sign[single]]
    if not many.size:
        return tuple(one)
    index, step = runs(counts[many])
    index = many[index]
    column = first[many].repeat(counts[many]) + step
    near, far = np.maximum(left[index], column), np.minimum(right[index], column + 1)
    rising = xb[index] > xa[index]
    x_low, x_high = np.where(rising, near, far), np.where(rising, far, near)
    tilt = (yb[index] - ya[index]) / (xb[index] - xa[index])
    y_low = ya[index] + (x_low - xa[index]) * tilt
    y_high = ya[index] + (x_high - xa[index]) * tilt
    cut = [row[index], column, x_low - column, x_high - column, y_low, y_high, sign[index]]
    return tuple(np.concatenate(pair) for pair in zip(one, cut, strict=True))


def runs(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For runs of the given lengths (n,): the run of every element, and its place in the run."""
    index = np.repeat(np.arange(len(counts)), counts)
    ends = np.cumsum(counts)
    return index, np.arange(len(index)) - np.repeat(ends - counts, counts)
