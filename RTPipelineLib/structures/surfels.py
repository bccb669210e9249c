"""The surface of a label as small elements with an area, and distances between two surfaces.

An element lies where eight neighbouring voxel centres (the corners of a cell) are not all inside or
all outside. Its place is the middle of the cell, its area that of the marching-cubes surface
through the cell with the edges cut in the middle (Lorensen and Cline, Comput Graph 21 (1987) 163),
on the physical spacing. That is the definition by which surface Dice and its relatives were
published (Nikolov et al., J Med Internet Res 23 (2021) e26151), so that values compare with theirs.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cache

import numpy as np

# Corner c of a cell lies at (k, j, i) = the bits of c.
_CORNERS = np.array([[(c >> 2) & 1, (c >> 1) & 1, c & 1] for c in range(8)])


@dataclass(frozen=True, eq=False)
class Surface:
    """Surface elements of one label: `points_mm` (n, 3) along k, j, i from the centre of voxel
    `[0, 0, 0]`, `areas_mm2` (n,)."""

    points_mm: np.ndarray
    areas_mm2: np.ndarray


@dataclass(frozen=True, eq=False)
class Distances:
    """From every element of one surface to the nearest of another, ascending: `mm` (n,) with the
    elements' `areas_mm2` (n,)."""

    mm: np.ndarray
    areas_mm2: np.ndarray

    @property
    def mean_mm(self) -> float:
        """Mean distance, weighted by area."""
        return float(np.average(self.mm, weights=self.areas_mm2))

    def percentile_mm(self, percent: float) -> float:
        """The distance that this share of the area does not exceed."""
        share = np.cumsum(self.areas_mm2) / self.areas_mm2.sum()
        place = int(np.searchsorted(share, percent / 100 * (1 - 1e-12)))
        return float(self.mm[min(place, len(self.mm) - 1)])

    def within_mm2(self, tolerance_mm: float) -> float:
        """Area that lies no farther than the tolerance from the other surface."""
        return float(self.areas_mm2[self.mm <= tolerance_mm + 1e-9].sum())


def surface_of(label: np.ndarray, k_mm: np.ndarray, spacing_mm: np.ndarray) -> Surface:
    """The surface of a boolean label `[k, j, i]`.

    `k_mm` (nk,) are the positions of the slices, `spacing_mm` (i, j, k) the voxel size, of which k
    is used for the areas beyond the first and the last slice. What lies outside the array is
    outside the structure.
    """
    padded = np.pad(label, 1).view(np.uint8)
    codes = np.zeros([n - 1 for n in padded.shape], dtype=np.uint8)
    for corner, (k, j, i) in enumerate(_CORNERS):
        nk, nj, ni = codes.shape
        codes |= padded[k : k + nk, j : j + nj, i : i + ni] << corner
    cell = np.nonzero((codes != 0) & (codes != 255))
    steps = np.concatenate([[spacing_mm[2]], np.diff(k_mm), [spacing_mm[2]]])
    middles = np.concatenate([[k_mm[0] - steps[0] / 2], k_mm + steps[1:] / 2])
    areas = np.empty(len(cell[0]))
    for step in np.unique(np.round(steps, 6)):  # one table for each thickness of a cell
        here = np.abs(steps[cell[0]] - step) <= 1e-6
        table = _areas((float(step), float(spacing_mm[1]), float(spacing_mm[0])))
        areas[here] = table[codes[tuple(axis[here] for axis in cell)]]
    in_plane = [(cell[axis] - 0.5) * spacing_mm[2 - axis] for axis in (1, 2)]
    points = np.stack([middles[cell[0]], *in_plane], axis=1)
    return Surface(points, areas)


def distances(one: Surface, other: Surface) -> Distances:
    """From every element of `one` to the nearest element of `other`; both have some."""
    from scipy.spatial import cKDTree

    mm, _ = cKDTree(other.points_mm).query(one.points_mm)
    order = np.argsort(mm, kind="stable")
    return Distances(mm[order], one.areas_mm2[order])


# -- areas of the 256 cells -----------------------------------------------------------------------


@cache
def _areas(size_mm: tuple[float, float, float]) -> np.ndarray:
    """(256,) surface area in a cell of this size (k, j, i) for every way to fill its corners; bit
    c of the code is corner c."""
    size = np.array(size_mm)
    return np.array([_area(triangles * size) for triangles in _cells()])


def _area(triangles: np.ndarray) -> float:
    a, b, c = triangles.transpose(1, 0, 2)
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()) / 2


@cache
def _cells() -> tuple[np.ndarray, ...]:
    """Triangles (n, 3, 3) in a cell of size 1 for each of the 256 codes; those of a code and of its
    complement are the same."""
    found = []
    for code in range(256):
        few = code if code.bit_count() <= 4 else 255 - code
        fans = [_widest_fan(loop) for loop in _loops(few)]
        found.append(np.concatenate(fans) if fans else np.empty((0, 3, 3)))
    return tuple(found)


def _widest_fan(loop: np.ndarray) -> np.ndarray:
    """The triangles (n, 3, 3) of a polygon from the vertex that gives the most area: bent polygons
    have several ways to be cut."""
    fans = []
    for start in range(len(loop)):
        points = np.roll(loop, -start, axis=0)
        fans.append(np.stack([points[[0, n, n + 1]] for n in range(1, len(loop) - 1)]))
    return max(fans, key=_area)


def _loops(code: int) -> list[np.ndarray]:
    """Closed polygons (n, 3) through the middles of the cell's edges that part inside from
    outside. On a face with two inside corners across, each is cut off alone."""
    follows: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for face in _faces():
        inside = [bool(code >> corner & 1) for corner in face]
        ends = [n for n in range(4) if inside[n] != inside[(n + 1) % 4]]
        edges = [_edge(face[n], face[(n + 1) % 4]) for n in ends]
        if len(ends) == 4 and not inside[ends[1]]:
            edges = edges[1:] + edges[:1]
        for first, second in zip(edges[::2], edges[1::2], strict=True):
            follows[first].append(second)
            follows[second].append(first)
    loops = []
    while follows:
        path = [next(iter(follows))]
        while following := follows[path[-1]]:
            path.append(following.pop())
            follows[path[-1]].remove(path[-2])
        follows = defaultdict(list, {edge: rest for edge, rest in follows.items() if rest})
        loops.append(np.array([_CORNERS[list(edge)].mean(axis=0) for edge in path[:-1]]))
    return loops


def _edge(a: int, b: int) -> tuple[int, int]:
    return (a, b) if a < b else (b, a)


def _faces() -> list[tuple[int, int, int, int]]:
    """The corners of the six faces, each in the order of its outline."""
    faces = []
    for axis in (1, 2, 4):
        u, v = (bit for bit in (1, 2, 4) if bit != axis)
        faces += [(base, base | u, base | u | v, base | v) for base in (0, axis)]
    return faces
