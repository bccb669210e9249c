"""Level lines of pixel values, as closed loops of sub-pixel points: marching squares.

A line crosses the edge between two pixel centres where their values, interpolated linearly, reach
the level (Lorensen and Cline 1987, in the plane). All slices of a block are handled at once, each
at its own level; values of exactly the level count as inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .polygons import loop_edges

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
# Cases in which a line goes straight through a cell: along the row, against and with x, and along
# the column, against and with y.
_STRAIGHT = (3, 12, 6, 9)
# Which of the corners a, b, c, d are inside, by a + 2 b + 4 d + 8 c.
_CORNERS = ((np.arange(16)[:, None] >> [0, 1, 3, 2]) & 1).astype(np.float64)
# Where an edge begins (column, row), and the two corners (of a, b, c, d) that it joins.
_EDGE_BEGIN = np.array([[0, 0], [1, 0], [0, 1], [0, 0]])
_EDGE_ALONG = np.array([[1, 0], [0, 1], [1, 0], [0, 1]])
_EDGE_CORNERS = np.array([[0, 1], [1, 2], [3, 2], [0, 3]])
# Loops are straight at a point that lies nearer than this, in pixels, to its neighbours' line.
STRAIGHT = 1e-6


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells between four pixel centres each in which a level line may run.

    `corners` (n, 4) are the values at a, b, c, d; `place` (n, 3) slice, row and column of a, in
    their order in the block, of shape `size`. `are_labels`: all values are 0 or 1.
    """

    corners: np.ndarray
    place: np.ndarray
    size: tuple[int, int, int]
    are_labels: bool = False

    @classmethod
    def of(cls, values: np.ndarray) -> Cells:
        """The cells of a block `[slice, row, column]`, labels (booleans) or shares, whose outermost
        rows and columns are 0."""
        if values.dtype == bool:
            return cls(*_label_cells(values), values.shape, are_labels=True)
        a, b = values[:, :-1, :-1], values[:, :-1, 1:]
        c, d = values[:, 1:, 1:], values[:, 1:, :-1]
        place = np.nonzero((a != b) | (a != c) | (a != d))
        corners = np.stack([corner[place] for corner in (a, b, c, d)], axis=1)
        return cls(corners.astype(np.float64), np.stack(place, axis=1), values.shape)


def _label_cells(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners and place of the cells of labels, slice by slice: a slice stays in the cache."""
    columns = labels.shape[2] - 1
    found, kinds = [], []
    for plane in labels.view(np.uint8):
        row = plane[:, :-1] + 2 * plane[:, 1:]
        kind = (row[:-1] + 4 * row[1:]).ravel()
        found.append(np.flatnonzero(kind - 1 < 14))  # neither 0 nor 15
        kinds.append(kind[found[-1]])
    k = np.repeat(np.arange(len(found)), [len(cells) for cells in found])
    j, i = np.divmod(np.concatenate(found), columns)
    return _CORNERS[np.concatenate(kinds)], np.stack([k, j, i], axis=1)


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
    """The area that the level lines of labels (`cells` of booleans, `pixels` (slices,) inside)
    enclose, by the counts of the cells of each kind, without drawing the lines."""

    def __init__(self, cells: Cells, pixels: np.ndarray) -> None:
        inside = cells.corners.sum(axis=1)
        opposite = (inside == 2) & (cells.corners[:, 0] == cells.corners[:, 2])

        def count(of_kind: np.ndarray) -> np.ndarray:
            return np.bincount(cells.place[of_kind, 0], minlength=len(pixels))

        self._one, self._three, self._opposite = (
            count(kind) for kind in (inside == 1, inside == 3, opposite)
        )
        self._two = count(inside == 2) - self._opposite
        # Every pixel inside is a corner of four cells.
        mixed = self._one + 2 * (self._two + self._opposite) + 3 * self._three
        self._whole = pixels - mixed / 4

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
    # The cells in which pieces begin and end: the same one, but for the straight runs of labels.
    single = np.isin(case, _STRAIGHT, invert=True) if cells.are_labels else np.ones(len(case), bool)
    cell = np.flatnonzero(single & (_SEGMENTS[case, 0] >= 0))
    second = cell[_SEGMENTS[case[cell], 2] >= 0]
    runs = _straight_runs(cells, case) if cells.are_labels else np.empty((0, 2), np.int64)
    ways = [(cell, cell, 0), (runs[:, 0], runs[:, 1], 0), (second, second, 2)]
    from_cell, to_cell = (np.concatenate([way[n] for way in ways]) for n in (0, 1))
    edges = np.concatenate([_SEGMENTS[case[first], n : n + 2] for first, _, n in ways])
    begin, begin_edge = _crossings(cells, own, from_cell, edges[:, 0])
    end, end_edge = _crossings(cells, own, to_cell, edges[:, 1])
    return Segments(begin, end, begin_edge, end_edge, cells.place[from_cell, 0])


def _straight_runs(cells: Cells, case: np.ndarray) -> np.ndarray:
    """(n, 2) first and last cell of every straight run of cells, in the direction of the line."""
    k, j, i = cells.place.T
    _, rows, columns = cells.size
    runs = []
    for pair, position in (
        (_STRAIGHT[:2], (k * rows + j) * columns + i),
        (_STRAIGHT[2:], (k * columns + i) * rows + j),
    ):
        members = np.flatnonzero((case == pair[0]) | (case == pair[1]))
        members = members[np.argsort(position[members], kind="stable")]
        where, kind = position[members], case[members]
        new = np.flatnonzero((np.diff(where) != 1) | (np.diff(kind) != 0)) + 1
        low = members[np.concatenate([[0], new])[: len(members)]]
        high = members[np.concatenate([new, [len(members)]])[: len(members)] - 1]
        against = case[low] == pair[0]
        runs.append(np.where(against, [high, low], [low, high]).T)
    return np.concatenate(runs)


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


@dataclass(frozen=True, eq=False)
class Loops:
    """Closed loops one after another: `points` (n, 2) as x, y in pixels, `starts` (m + 1,) where
    each begins (the last entry is n), `slices` (m,)."""

    points: np.ndarray
    starts: np.ndarray
    slices: np.ndarray

    def __len__(self) -> int:
        return len(self.slices)

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        """Slice and points (n, 2) of every loop."""
        ends = pairwise(self.starts.tolist())
        for number, (first, last) in zip(self.slices.tolist(), ends, strict=True):
            yield number, self.points[first:last]


def closed_loops(segments: Segments) -> Loops:
    """The loops of level lines, counter-clockwise around the inside (x right, y up), clockwise
    around holes. Points on a straight line are left out."""
    order = np.argsort(segments.begin_edge)
    following = order[np.searchsorted(segments.begin_edge, segments.end_edge, sorter=order)]
    members, starts = _rounds(following.tolist())
    points = segments.begin[members]
    bends = _bends(points, starts)
    counts = np.diff(np.concatenate([[0], np.cumsum(bends)])[starts])
    kept = counts >= 3  # others have no area
    bends &= np.repeat(kept, np.diff(starts))
    return Loops(
        points[bends],
        np.concatenate([[0], np.cumsum(counts[kept])]),
        segments.slices[members[starts[:-1]]][kept],
    )


def _rounds(following: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The cycles of a permutation, one after another, and where each begins (the last entry is the
    length). One step a member: sorting would take longer."""
    seen = bytearray(len(following))
    members: list[int] = []
    starts = []
    for first in range(len(following)):
        if seen[first]:
            continue
        starts.append(len(members))
        at = first
        while not seen[at]:
            seen[at] = 1
            members.append(at)
            at = following[at]
    return np.array(members, dtype=np.int64), np.array([*starts, len(members)], dtype=np.int64)


def _bends(points: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(n,) whether a loop changes its direction at a point."""
    x0, y0, x1, y1 = loop_edges(points, starts).T
    after_x, after_y = x1 - x0, y1 - y0
    before_x, before_y = np.empty_like(after_x), np.empty_like(after_y)
    for before, after in ((before_x, after_x), (before_y, after_y)):
        before[1:] = after[:-1]
        before[starts[:-1]] = after[starts[1:] - 1]
    bend = np.abs(before_x * after_y - before_y * after_x)
    length = np.hypot(before_x + after_x, before_y + after_y)
    return bend > STRAIGHT * np.maximum(length, STRAIGHT)
