"""Level lines of pixel values, as closed loops of sub-pixel points: marching squares.

A line crosses the edge between two pixel centres where their values, interpolated linearly, reach
the level (Lorensen and Cline 1987, in the plane). All slices of a block are handled at once, each
at its own level; values of exactly the level count as inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Edges of a cell: 0 between its corners a and b (row j), 1 b and c, 2 d and c (row j + 1), 3 a and
# d. For each of the 16 cases (a + 2 b + 4 c + 8 d inside): from which edge to which, twice; -1 for
# none. The inside lies to the left when x points right and y points up. In the cases 5 and 10 the
# mean of the corners says whether the two inside corners are joined (16 and 17) or not.
_SEGMENTS = np.array(
    [
        *([-1, -1, -1, -1], [0, 3, -1, -1], [1, 0, -1, -1], [1, 3, -1, -1]),
        *([2, 1, -1, -1], [0, 3, 2, 1], [2, 0, -1, -1], [2, 3, -1, -1]),
        *([3, 2, -1, -1], [0, 2, -1, -1], [1, 0, 3, 2], [1, 2, -1, -1]),
        *([3, 1, -1, -1], [0, 1, -1, -1], [3, 0, -1, -1], [-1, -1, -1, -1]),
        *([0, 1, 2, 3], [3, 0, 1, 2]),
    ]
)
# Where an edge begins (column, row), and the two corners (of a, b, c, d) that it joins.
_EDGE_BEGIN = np.array([[0, 0], [1, 0], [0, 1], [0, 0]])
_EDGE_ALONG = np.array([[1, 0], [0, 1], [1, 0], [0, 1]])
_EDGE_CORNERS = np.array([[0, 1], [1, 2], [3, 2], [0, 3]])
# Loops are straight at a point that lies nearer than this, in pixels, to its neighbours' line.
STRAIGHT = 1e-6


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells between four pixel centres each in which a level line may run.

    `corners` (n, 4) are the values at a, b, c, d; `place` (n, 3) slice, row and column of a; `size`
    the shape of the block.
    """

    corners: np.ndarray
    place: np.ndarray
    size: tuple[int, int, int]

    @classmethod
    def of(cls, values: np.ndarray) -> Cells:
        """The cells of a block `[slice, row, column]` whose outermost rows and columns are 0."""
        a, b = values[:, :-1, :-1], values[:, :-1, 1:]
        c, d = values[:, 1:, 1:], values[:, 1:, :-1]
        mixed = (a != b) | (a != c) | (a != d)
        corners = np.stack([corner[mixed] for corner in (a, b, c, d)], axis=1).astype(np.float64)
        return cls(corners, np.argwhere(mixed), values.shape)


@dataclass(frozen=True, eq=False)
class Segments:
    """Pieces of level lines: points `begin` and `end` (n, 2) as x, y in pixels (0 is the centre of
    the first), the lattice edges that they lie on, and the slice of each."""

    begin: np.ndarray
    end: np.ndarray
    begin_edge: np.ndarray
    end_edge: np.ndarray
    slices: np.ndarray

    def areas(self, slices: int) -> np.ndarray:
        """(slices,) enclosed area in pixels; holes count negative."""
        x0, y0 = self.begin.T
        x1, y1 = self.end.T
        return np.bincount(self.slices, x0 * y1 - x1 * y0, slices) / 2


class LabelAreas:
    """The area that the level lines of labels (values 0 and 1) enclose, by the counts of the cells
    of each kind, without drawing the lines."""

    def __init__(self, labels: np.ndarray) -> None:
        inside = labels > 0
        a, b = inside[:, :-1, :-1], inside[:, :-1, 1:]
        c, d = inside[:, 1:, 1:], inside[:, 1:, :-1]
        corners = a.astype(np.uint8) + b + c + d
        self._whole, self._one, self._two, self._three = (
            np.count_nonzero(corners == n, axis=(1, 2)) for n in (4, 1, 2, 3)
        )
        self._opposite = np.count_nonzero((corners == 2) & (a == c), axis=(1, 2))
        self._two = self._two - self._opposite

    def at(self, level: np.ndarray) -> np.ndarray:
        """(slices,) area in pixels at each slice's `level`."""
        beyond = 1 - level  # how far a line runs from the corner inside
        opposite = np.where(level <= 0.5, 1 - level**2, beyond**2)
        return (
            self._whole
            + self._one * beyond**2 / 2
            + self._two * beyond
            + self._three * (1 - level**2 / 2)
            + self._opposite * opposite
        )


def level_lines(cells: Cells, level: np.ndarray) -> Segments:
    """The lines at `level` (slices,), each above 0."""
    own = level[cells.place[:, 0]]
    inside = cells.corners >= own[:, None]
    case = inside @ np.array([1, 2, 4, 8])
    saddle = np.flatnonzero((case == 5) | (case == 10))
    joined = cells.corners[saddle].mean(axis=1) >= own[saddle]
    case[saddle[joined]] = np.where(case[saddle[joined]] == 5, 16, 17)
    ends, cell = [], []
    for first in (0, 2):
        edges = _SEGMENTS[case, first : first + 2]
        there = np.flatnonzero(edges[:, 0] >= 0)
        ends.append(edges[there])
        cell.append(there)
    edges, cell = np.concatenate(ends), np.concatenate(cell)
    begin, begin_edge = _crossings(cells, own, cell, edges[:, 0])
    end, end_edge = _crossings(cells, own, cell, edges[:, 1])
    return Segments(begin, end, begin_edge, end_edge, cells.place[cell, 0])


def _crossings(
    cells: Cells, level: np.ndarray, cell: np.ndarray, edge: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where the line crosses one edge of each cell: points (n, 2), and the edge's number in the
    block, by which the segments of two neighbouring cells find each other."""
    low, high = (cells.corners[cell, _EDGE_CORNERS[edge, end]] for end in (0, 1))
    share = (level[cell] - low) / (high - low)
    k, j, i = cells.place[cell].T
    column, row = i + _EDGE_BEGIN[edge, 0], j + _EDGE_BEGIN[edge, 1]
    along = _EDGE_ALONG[edge]
    points = np.stack([column, row], axis=1) + share[:, None] * along
    _, rows, columns = cells.size
    return points, 2 * ((k * rows + row) * columns + column) + along[:, 1]


def closed_loops(segments: Segments) -> list[tuple[int, np.ndarray]]:
    """The slice and the points (n, 2) of every loop: counter-clockwise around the inside (x right,
    y up), clockwise around holes. Points on a straight line are left out."""
    order = np.argsort(segments.begin_edge)
    following = order[np.searchsorted(segments.begin_edge[order], segments.end_edge)].tolist()
    seen = bytearray(len(following))
    loops = []
    for start in range(len(following)):
        members = []
        at = start
        while not seen[at]:
            seen[at] = 1
            members.append(at)
            at = following[at]
        if members:
            points = _without_straight(segments.begin[members])
            if len(points) >= 3:
                loops.append((int(segments.slices[start]), points))
    return loops


def _without_straight(loop: np.ndarray) -> np.ndarray:
    before, after = loop - np.roll(loop, 1, axis=0), np.roll(loop, -1, axis=0) - loop
    bend = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0])
    length = np.hypot(*(before + after).T)
    return loop[bend > STRAIGHT * np.maximum(length, STRAIGHT)]
