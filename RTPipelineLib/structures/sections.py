"""One structure as sections: planes, their exact coverage, and the way between them.

Contours and masks become the same thing here, so that all that follows (DVH, volumes) is one code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..model import Contours, ImagePlanes, Mask
from .coverage import Coverage, Lattice, cover, crooked_planes
from .interpolation import BetweenPlanes, EndCaps, Layers, make_layers
from .planes import PlaneStack, closed_loops, plane_stack
from .polygons import (
    TangledError,
    loop_edges,
    plane_region,
    reversed_edges,
    robust_region,
    signed_areas,
)

TANGLED = "contour-too-tangled"
CROSSING = "contour-crosses-itself"
# Cells of several planes that are held at once (12 bytes each).
WINDOW_CELLS = 1 << 22


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
        """Exact coverage of every plane; loops that cross themselves are resolved on the way.

        All planes at once: `PlaneCoverage` needs less memory. Raises `TangledError`.
        """
        coverage = self.cover(lattice, slice(0, len(self.area_mm2)), moments=moments)
        crooked = crooked_planes(coverage).tolist()
        resolved = self.resolved(crooked) if crooked else self
        for plane in crooked:
            here = slice(plane, plane + 1)
            one = resolved.cover(lattice, here, moments=moments)
            for into, table in zip(coverage, one, strict=True):
                if into is not None:
                    into[here] = table
        return coverage

    def cover(
        self, lattice: Lattice, planes: slice, *, moments: bool = True, compiled: bool = False
    ) -> Coverage:
        """Exact coverage of some planes; see `coverage.cover`."""
        bounds = np.searchsorted(self.plane, [planes.start, planes.stop])
        part = slice(int(bounds[0]), int(bounds[1]))
        edges, plane = lattice.to_cells(self.edges[part]), self.plane[part] - planes.start
        shape = (planes.stop - planes.start, *lattice.shape)
        return cover(edges, plane, shape, moments=moments, compiled=compiled)

    def resolved(self, planes: Sequence[int]) -> ContourSections:
        """The same with the loops of some planes, which cross themselves, resolved and flagged.
        Raises `TangledError`."""
        keep = ~np.isin(self.plane, planes)
        edges, numbers = [self.edges[keep]], [self.plane[keep]]
        for plane in planes:
            members = np.flatnonzero(self.stack.plane == plane)
            loops = [self.stack.loop(member) for member in members]
            region = robust_region(loops, self.stack.xor[members].tolist())
            edges.append(region)
            numbers.append(np.full(len(region), plane))
        plane = np.concatenate(numbers)
        order = np.argsort(plane, kind="stable")
        edges, plane = np.concatenate(edges)[order], plane[order]
        area = _areas(edges, plane, len(self.area_mm2))
        flags = tuple(dict.fromkeys([*self.flags, CROSSING]))
        return replace(self, edges=edges, plane=plane, area_mm2=area, flags=flags)

    def layers(
        self,
        area_mm2: np.ndarray,
        end_caps: EndCaps,
        between_planes: BetweenPlanes,
        max_mm: float,
        cuts_mm: tuple[float, ...],
        within_mm: tuple[float, float] = (-np.inf, np.inf),
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
            within_mm=within_mm,
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
    try:
        edges, plane, flags = _regions(stack)
    except TangledError:
        return NoSections((*stack.flags, TANGLED), math.nan)
    count = len(stack.w_mm)
    area = _areas(edges, plane, count)
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
    edges[clockwise] = reversed_edges(edges[clockwise])
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


def _areas(edges: np.ndarray, plane: np.ndarray, count: int) -> np.ndarray:
    """Area of the region in each of `count` planes."""
    moment = (edges[:, 0] + edges[:, 2]) / 2 * (edges[:, 3] - edges[:, 1])
    return np.abs(np.bincount(plane, moment, count))


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

    @property
    def area_mm2(self) -> np.ndarray:
        """(p,) covered area of each slice."""
        du, dv = self.mask.grid.spacing_mm[:2]
        return self.mask.array.sum(axis=(1, 2), dtype=np.float64) * du * dv

    def cover(self, lattice: Lattice, planes: slice, *, compiled: bool = False) -> Coverage:
        """Covered share of every cell in some slices; there is nothing to compile."""
        share = self.mask.array[planes].astype(np.float32)
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


class PlaneCoverage:
    """Coverage of the planes of `sections` on a lattice, calculated as they are asked for; a window
    of some planes is kept, so that memory stays bounded however many there are."""

    def __init__(
        self, sections: ContourSections | MaskSections, lattice: Lattice, *, compiled: bool = False
    ) -> None:
        self.sections, self.lattice, self.compiled = sections, lattice, compiled
        cells = lattice.shape[0] * lattice.shape[1]
        self.count = len(sections.area_mm2)
        self._planes = max(WINDOW_CELLS // cells, 2)
        self._begin, self._kept = 0, Coverage(np.empty((0, *lattice.shape), np.float32))

    def window(self, first: int, last: int) -> tuple[int, Coverage]:
        """Coverage that holds planes `first`..`last`, and the plane with which it begins."""
        if not self._begin <= first <= last < self._begin + len(self._kept.share):
            end = min(max(first + self._planes, last + 1), self.count)
            planes = slice(first, end)
            self._kept = self.sections.cover(self.lattice, planes, compiled=self.compiled)
            self._begin = first
        return self._begin, self._kept

    def crooked(self) -> list[int]:
        """Planes whose loops cross themselves or run twice around."""
        found: list[int] = []
        first = 0
        while first < self.count:
            begin, coverage = self.window(first, first)
            found += (begin + crooked_planes(coverage)).tolist()
            first = begin + len(coverage.share)
        return found
