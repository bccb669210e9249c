"""One structure as sections: planes, their exact coverage, and the way between them.

Contours and masks become the same thing here, so that all that follows (DVH, volumes) is one code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..model import Contours, ImagePlanes, Mask
from .coverage import Coverage, Lattice, clipped, cover, crooked_planes
from .interpolation import BetweenPlanes, EndCaps, Layers, make_layers
from .planes import PlaneStack, closed_loops, plane_stack
from .polygons import loop_edges, plane_region, reversed_edges, robust_region, signed_areas

# Planes are handled in blocks of so many edges and cells at most, or one by one.
BLOCK_EDGES, BLOCK_CELLS = 12000, 4_000_000


class NoSections(NamedTuple):
    """Why a structure has no volume: its flags, and 0 where nothing is drawn or nan where the
    volume cannot be known."""

    flags: tuple[str, ...]
    volume_cc: float


@dataclass(frozen=True, eq=False)
class ContourSections:
    """The regions of a contour stack: `edges` (n, 4) in mm and the plane of each, ascending.

    `area_mm2` (p,) are the areas of the sections (of crossing loops: before they are resolved).
    """

    stack: PlaneStack
    edges: np.ndarray
    plane: np.ndarray
    area_mm2: np.ndarray
    flags: tuple[str, ...]

    @property
    def axes(self) -> np.ndarray:
        """(3, 3) rows u, v, w."""
        return self.stack.axes

    @property
    def bounds_mm(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper corner (u, v) of all sections."""
        columns = self.stack.points_mm.T
        return np.array([c.min() for c in columns]), np.array([c.max() for c in columns])

    def coverage(self, lattice: Lattice, *, moments: bool = True) -> Coverage:
        """Exact coverage of every plane; loops that cross themselves are resolved on the way."""
        coverage = Coverage.empty((len(self.stack.w_mm), *lattice.shape), moments=moments)
        inside = lattice.contains(*self.bounds_mm)

        def part(edges_mm: np.ndarray, plane: np.ndarray, planes: int) -> Coverage:
            edges = lattice.to_cells(edges_mm)
            if not inside:
                edges, plane = clipped(edges, plane, lattice.shape)
            return cover(edges, plane, (planes, *lattice.shape), moments=moments)

        first_edge = np.searchsorted(self.plane, np.arange(len(self.stack.w_mm) + 1))
        most = max(1, BLOCK_CELLS // (lattice.shape[0] * lattice.shape[1]))
        for a, b in _plane_blocks(first_edge, most):
            own = slice(first_edge[a], first_edge[b])
            coverage.write(slice(a, b), part(self.edges[own], self.plane[own] - a, b - a))
        for number in crooked_planes(coverage):
            region = self.resolved(int(number))
            one = part(region, np.zeros(len(region), dtype=np.int64), 1)
            coverage.write(slice(number, number + 1), one)
        return coverage

    def resolved(self, plane: int) -> np.ndarray:
        """(n, 4) edges in mm of a plane whose loops may cross themselves."""
        members = np.flatnonzero(self.stack.plane == plane)
        return robust_region(
            [self.stack.loop(m) for m in members], self.stack.xor[members].tolist()
        )

    def layers(
        self,
        area_mm2: np.ndarray,
        end_caps: EndCaps,
        between_planes: BetweenPlanes,
        max_mm: float,
        cuts_mm: tuple[float, ...],
    ) -> Layers:
        """Layers between and beyond the planes; `area_mm2` as covered."""
        return make_layers(
            self.stack.w_mm,
            area_mm2,
            self.stack.hole_after,
            self.stack.lone_mm,
            end_caps=end_caps,
            between_planes=between_planes,
            max_mm=max_mm,
            cuts_mm=cuts_mm,
        )


def frame_axes(normal: np.ndarray, preferred: np.ndarray) -> np.ndarray:
    """(3, 3) rows u, v, w of a frame whose w is `normal`.

    Columns of `preferred` (the dose grid's directions) become the axes where they fit, so that the
    dose can be sampled axis by axis.
    """
    along = preferred.T @ normal
    nearest = int(np.argmax(np.abs(along)))
    if abs(along[nearest]) > 1 - 1e-9:
        u, v = (a for a in range(3) if a != nearest)
        return preferred.T[[u, v, nearest]]
    w = normal * np.sign(along[nearest])
    start = preferred[:, (nearest + 1) % 3]
    u = start - (start @ w) * w
    u /= np.linalg.norm(u)
    return np.stack([u, np.cross(w, u), w])


def contour_sections(contours: Contours, preferred: np.ndarray) -> ContourSections | NoSections:
    """The regions of an ROI's contours; `preferred` is explained at `frame_axes`."""
    loops = closed_loops(contours)
    if not len(loops):
        return NoSections(("structure-empty", *loops.flags), 0.0)
    normal = _snapped(loops.normal, contours.image_planes, preferred)
    stack = plane_stack(loops, frame_axes(normal, preferred), contours.image_planes)
    if len(stack.w_mm) == 1 and not stack.lone_mm > 0:
        return NoSections(stack.flags, math.nan)
    edges, plane, flags = _regions(stack)
    count = len(stack.w_mm)
    moment = (edges[:, 0] + edges[:, 2]) / 2 * (edges[:, 3] - edges[:, 1])
    area = np.abs(np.bincount(plane, moment, count))
    return ContourSections(stack, edges, plane, area, tuple(dict.fromkeys([*stack.flags, *flags])))


def _snapped(
    normal: np.ndarray, image_planes: ImagePlanes | None, preferred: np.ndarray
) -> np.ndarray:
    """The normal, replaced by that of the image or a grid axis when it differs by rounding only."""
    candidates = [] if image_planes is None else [image_planes.normal]
    for candidate in [*candidates, *preferred.T]:
        if np.linalg.norm(np.cross(normal, candidate)) < 1e-4:
            return candidate
    return normal


def _regions(stack: PlaneStack) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Oriented edges of all planes. Planes of one loop are turned in one go; the others, one by
    one, are combined by the rules of `polygons`."""
    edges = loop_edges(stack.points_mm, stack.starts)
    areas = signed_areas(edges, stack.starts)
    plane = np.repeat(stack.plane, np.diff(stack.starts))
    clockwise = np.repeat(areas < 0, np.diff(stack.starts))
    edges = np.where(clockwise[:, None], reversed_edges(edges), edges)
    loops_in_plane = np.bincount(stack.plane, minlength=len(stack.w_mm))
    shared = np.flatnonzero(loops_in_plane > 1)
    if not shared.size:
        return edges, plane, ()
    alone = loops_in_plane[plane] == 1
    parts, planes, flags = [edges[alone]], [plane[alone]], []
    for number in shared:
        members = np.flatnonzero(stack.plane == number)
        region, found = plane_region([stack.loop(m) for m in members], stack.xor[members].tolist())
        parts.append(region)
        planes.append(np.full(len(region), number))
        flags.extend(found)
    plane = np.concatenate(planes)
    order = np.argsort(plane, kind="stable")
    return np.concatenate(parts)[order], plane[order], tuple(dict.fromkeys(flags))


def _plane_blocks(first_edge: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Runs of at most so many planes, with so few edges that the work on them stays in the
    processor's cache."""
    begin = 0
    for end in range(1, len(first_edge)):
        enough = first_edge[end] - first_edge[begin] >= BLOCK_EDGES or end - begin >= most
        if end == len(first_edge) - 1 or enough:
            yield begin, end
            begin = end


@dataclass(frozen=True, eq=False)
class MaskSections:
    """The voxels of a mask: every slice is a plane that fills its own thickness."""

    mask: Mask  # cropped to what is covered

    @property
    def axes(self) -> np.ndarray:
        """(3, 3) rows u, v, w: the mask's own axes."""
        return self.mask.grid.direction.T

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags of the mask."""
        return self.mask.flags

    def lattice(self, divide: tuple[int, int]) -> Lattice:
        """The voxels' outlines, each side divided in `divide` (u, v) parts."""
        grid = self.mask.grid
        u, v, _ = self.axes @ grid.origin_mm
        du, dv = grid.spacing_mm[:2]
        nu, nv = divide
        size = grid.shape[1] * nv, grid.shape[2] * nu
        return Lattice((u - du / 2, v - dv / 2), (du / nu, dv / nv), size)

    def coverage(self, lattice: Lattice) -> Coverage:
        """Covered share of every cell."""
        share = self.mask.array.astype(np.float32)
        nv, nu = (a // b for a, b in zip(lattice.shape, self.mask.grid.shape[1:], strict=True))
        return Coverage(share.repeat(nv, axis=1).repeat(nu, axis=2) if nu * nv > 1 else share)

    def layers(self, max_mm: float, cuts_mm: tuple[float, ...]) -> Layers:
        """Layers of the slices, each from the middle to its neighbours."""
        grid = self.mask.grid
        w = self.axes[2] @ grid.origin_mm + grid.k_positions_mm
        return make_layers(
            w,
            np.ones(len(w)),
            np.zeros(max(len(w) - 1, 0), dtype=bool),
            float(grid.spacing_mm[2]),
            between_planes="slab",
            max_mm=max_mm,
            cuts_mm=cuts_mm,
        )


def mask_sections(mask: Mask) -> MaskSections | NoSections:
    """The covered part of a mask."""
    filled = mask.array > 0
    parts = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        used = np.flatnonzero(filled.any(axis=others))
        if not used.size:
            return NoSections(("structure-empty", *mask.flags), 0.0)
        parts.append(slice(int(used[0]), int(used[-1]) + 1))
    k, j, i = parts
    return MaskSections(replace(mask, array=mask.array[k, j, i], grid=mask.grid.crop(k, j, i)))
