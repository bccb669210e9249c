"""Exact area coverage of polygonal regions on a lattice of cells.

The signed-area method of font rasterisers: every edge is cut at the cell borders; a piece inside a
cell covers part of this cell and all of the cells to its right, with the sign of its direction.
Summed over a closed boundary that gives the exact covered share of each cell, with no sampling at
all. First moments come from the same pass, so that the centre of the covered part is exact too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..kernels import coverage_kernel

# Pieces of edges handled at once: bounds the memory, and keeps the work in the processor's cache.
PIECES = 200_000
BLOCK_EDGES, BLOCK_CELLS = 12_000, 1 << 19
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
        cells = edges_mm - np.tile(self.origin_mm, 2)
        cells /= np.tile(self.step_mm, 2)
        return cells


class Coverage(NamedTuple):
    """Covered share of the cells of several planes.

    share : (p, nv, nu), 0..1.
    moment_u, moment_v : (p, nv, nu), share times the offset of the centre of the covered
        part from the centre of the cell, in cells; None where all offsets are zero.
    """

    share: np.ndarray
    moment_u: np.ndarray | None = None
    moment_v: np.ndarray | None = None


def cover(
    edges: np.ndarray,
    plane: np.ndarray,
    shape: tuple[int, int, int],
    *,
    moments: bool = True,
    compiled: bool = False,
) -> Coverage:
    """Coverage of `shape` (planes, nv, nu) cells by regions given as edges, as float32.

    `edges` (n, 4) are x0, y0, x1, y1 in cell units; `plane` (n,), ascending, is the plane of each.
    The winding number of each region must be 1 inside and 0 outside. What lies beyond the lattice
    is cut off. Without `moments` only the share is calculated. `compiled`: by numba where it is
    installed, equal to 1e-6 of a cell.
    """
    count = 3 if moments or compiled else 1
    tables = [np.empty(shape, dtype=np.float32) for _ in range(count)]
    first = np.searchsorted(plane, np.arange(shape[0] + 1))
    kernel = coverage_kernel() if compiled else None
    if kernel is not None:
        kernel(np.ascontiguousarray(edges, dtype=np.float64), first, *tables)
        return Coverage(*tables)
    for planes in _plane_blocks(first, shape[1] * shape[2]):
        part = slice(first[planes.start], first[planes.stop])
        block = (planes.stop - planes.start, *shape[1:])
        found = _cover_block(edges[part], plane[part] - planes.start, block, count)
        for into, table in zip(tables, found, strict=True):
            into[planes] = table
    return Coverage(*tables)


def _plane_blocks(first_edge: np.ndarray, cells: int) -> Iterator[slice]:
    """Runs of planes whose edges and cells stay in the processor's cache."""
    begin, planes = 0, len(first_edge) - 1
    while begin < planes:
        by_edges = int(np.searchsorted(first_edge, first_edge[begin] + BLOCK_EDGES))
        end = min(by_edges, begin + BLOCK_CELLS // cells, planes)
        end = max(end, begin + 1)
        yield slice(begin, end)
        begin = end


def _cover_block(
    edges: np.ndarray, plane: np.ndarray, shape: tuple[int, int, int], count: int
) -> Iterator[np.ndarray]:
    """Share, moment u and moment v of `cover` (the first `count` of them), as float64."""
    planes, rows, columns = shape
    width = columns + 2  # spare columns take what edges on the last border hand to their right
    sums = [np.zeros(planes * rows * width) for _ in range(count)]
    for part in _parts(edges, rows, columns):
        for table, changes in zip(sums, _changes(edges[part], plane[part], shape), strict=False):
            table += changes
    for number, table in enumerate(sums):
        table = table.reshape(planes, rows, width)
        if number != 1:
            np.cumsum(table, axis=2, out=table)
        yield table[:, :, :columns]


def _parts(edges: np.ndarray, rows: int, columns: int) -> Iterator[slice]:
    """Runs of edges that are cut into about PIECES pieces."""
    if len(edges) * (rows + columns + 2) <= PIECES:
        yield slice(0, len(edges))
        return
    long = np.minimum(np.abs(edges[:, 3] - edges[:, 1]), rows) + 2
    long += np.minimum(np.abs(edges[:, 2] - edges[:, 0]), columns)
    pieces = np.cumsum(long)
    begin = 0
    while begin < len(edges):
        done = pieces[begin - 1] if begin else 0.0
        end = max(int(np.searchsorted(pieces, done + PIECES)), begin + 1)
        yield slice(begin, end)
        begin = end


def _changes(
    edges: np.ndarray, plane: np.ndarray, shape: tuple[int, int, int]
) -> Iterator[np.ndarray]:
    """Flat tables (planes, nv, nu + 2) of what edges add: to the share and to the moment along v of
    a cell and all to its right, to the moment along u of a cell alone (in the order share, moment
    u, moment v)."""
    planes, rows, columns = shape
    width = columns + 2
    row, xa, xb, ya, yb, sign = _cut_rows(edges, plane, rows)
    if xa.size and (min(xa.min(), xb.min()) < 0 or max(xa.max(), xb.max()) > columns):
        row, xa, xb, ya, yb, sign = _within_columns(row, xa, xb, ya, yb, sign, columns)
    row, column, xa, xb, ya, yb, sign = _cut_columns(row, xa, xb, ya, yb, sign)
    cell = row * width + column
    height = sign * (yb - ya)
    middle = (xa + xb) / 2
    dx, dy = xb - xa, yb - ya
    # Inside the cell: area right of the piece, and its moments about the cell's centre.
    area = height * (1 - middle)
    both = np.concatenate([cell, cell + 1])
    size = planes * rows * width
    yield np.bincount(both, np.concatenate([area, height - area]), size)
    moment_u = height * (middle - (xa * xa + xa * xb + xb * xb) / 3) / 2
    yield np.bincount(cell, moment_u, size)
    lever = ya - 0.5
    moment_v = height * (lever * (1 - xa) + (dy * (1 - xa) - lever * dx) / 2 - dx * dy / 3)
    # All cells to the right: area `height`, centred in u, moment in v `height * (lever + dy / 2)`.
    onward = height * (lever + dy / 2)
    yield np.bincount(both, np.concatenate([moment_v, onward - moment_v]), size)


def crooked_planes(coverage: Coverage) -> np.ndarray:
    """Indices of planes in which some cell is covered less than not at all or more than once: their
    loops cross themselves or run twice around."""
    share = coverage.share.reshape(len(coverage.share), -1)
    low, high = share.min(axis=1), share.max(axis=1)
    return np.flatnonzero((low < -WINDING_TOLERANCE) | (high > 1 + WINDING_TOLERANCE))


def _cut_rows(
    edges: np.ndarray, plane: np.ndarray, rows: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cut edges at whole y, and off outside the rows.

    Returns global row, x and local y (0..1) at the lower and the upper end of every piece, and the
    sign: +1 for edges that run downwards (the inside lies to the right).
    """
    low = np.clip(np.minimum(edges[:, 1], edges[:, 3]), 0, rows)
    high = np.clip(np.maximum(edges[:, 1], edges[:, 3]), 0, rows)
    rises = low < high
    if not rises.all():
        edges, plane, low, high = edges[rises], plane[rises], low[rises], high[rises]
    x0, y0, x1, y1 = edges.T
    falls = y1 < y0
    sign = np.where(falls, 1.0, -1.0)
    x_low, x_high = np.where(falls, x1, x0), np.where(falls, x0, x1)
    y_low, y_high = np.where(falls, y1, y0), np.where(falls, y0, y1)
    first = low.astype(np.int64)
    counts = np.ceil(high).astype(np.int64) - first
    slope = (x_high - x_low) / (y_high - y_low)
    index, step = runs(counts)
    row = first[index] + step
    ya = np.maximum(low[index] - row, 0.0)
    yb = np.minimum(high[index] - row, 1.0)
    base, steep = x_low[index], slope[index]
    rise = row - y_low[index]
    left, right = np.minimum(x0, x1)[index], np.maximum(x0, x1)[index]
    xa = np.clip(base + (rise + ya) * steep, left, right)
    xb = np.clip(base + (rise + yb) * steep, left, right)
    return plane[index] * rows + row, xa, xb, ya, yb, sign[index]


def _within_columns(
    row: np.ndarray,
    xa: np.ndarray,
    xb: np.ndarray,
    ya: np.ndarray,
    yb: np.ndarray,
    sign: np.ndarray,
    columns: int,
) -> tuple[np.ndarray, ...]:
    """The pieces of `_cut_rows` with what lies beyond the columns moved onto their border: on the
    left it covers all of its row as before, on the right nothing."""
    pieces = [row, xa, xb, ya, yb, sign]
    for border in (0.0, float(columns)):
        row, xa, xb, ya, yb, sign = pieces
        crosses = np.flatnonzero((np.minimum(xa, xb) < border) & (np.maximum(xa, xb) > border))
        if crosses.size:
            a, b = xa[crosses], xb[crosses]
            y = ya[crosses] + (border - a) / (b - a) * (yb[crosses] - ya[crosses])
            at = np.full(len(crosses), border)
            rest = [row[crosses], at, b, y, yb[crosses], sign[crosses]]
            xb, yb = xb.copy(), yb.copy()
            xb[crosses], yb[crosses] = border, y
            pieces = [
                np.concatenate(pair) for pair in zip([row, xa, xb, ya, yb, sign], rest, strict=True)
            ]
    row, xa, xb, ya, yb, sign = pieces
    return row, np.clip(xa, 0, columns), np.clip(xb, 0, columns), ya, yb, sign


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
