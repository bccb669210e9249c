"""Contours as a solid with a surface of its own between the planes, for margins.

For volumes a section may fade from one contour to the next (`interpolation.py`), but a margin needs
to know where the surface is. Here the signed distance to the outline of each plane, exact to a
fraction of a pixel, is interpolated along the stack (shape-based interpolation: Raya and Udupa,
IEEE Transactions on Medical Imaging 9 (1990) 32), by the cubic that follows the slopes of its
neighbours; what is above 0 is inside. Beyond the end planes the last section goes on as it does for
volumes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..geometry import Grid
from ..model import Contours, Mask
from .caps import Cap, adaptive_cap, half_slice_cap
from .coverage import Lattice
from .distance import surface_gauge
from .interpolation import BetweenPlanes, EndCaps
from .lattice_boxes import cropped
from .level_set import coarse_mean, share_in_level_set
from .sections import ContourSections, NoSections, contour_sections

FINE_MM = 1.0  # fine voxels are at most so long
PAD = 2  # voxels around the structure
# Distances are taken up to so many gaps between planes, and at least so far; an outline that moves
# further from one plane to the next becomes a step halfway between them.
REACH_GAPS, REACH_MM = 4.0, 10.0
# The cubic leaves the straight line by no more than this share of a gap: a flat end may be near.
MOST_BULGE = 0.25


def solid(
    contours: Contours,
    grid: Grid,
    *,
    end_caps: EndCaps = "half-slice",
    between_planes: BetweenPlanes = "interpolate",
) -> Mask | None:
    """Covered shares (float32) of an ROI on the lattice of `grid`, cropped; may reach beyond it.

    None when the grid's slices are not parallel to the contours or not evenly spaced. A structure
    without volume gives one empty voxel and its flags.
    """
    sections = contour_sections(contours, grid.direction)
    if not grid.is_uniform:
        return None
    flags = sections.flags
    if isinstance(sections, NoSections):
        one = grid.crop(slice(0, 1), slice(0, 1), slice(0, 1))
        return _mask(contours, np.zeros((1, 1, 1), np.float32), one, flags)
    if not np.allclose(sections.axes, grid.direction.T, atol=1e-9):
        return None
    stack = _Stack.of(sections, grid, end_caps, between_planes)
    parts = [stack.shares(first, last) for first, last in stack.chunks()]
    return cropped(_mask(contours, np.concatenate(parts), stack.grid, flags))


def _mask(contours: Contours, array: np.ndarray, grid: Grid, flags: tuple[str, ...]) -> Mask:
    return Mask(
        contours.name,
        array,
        grid,
        number=contours.number,
        frame_uid=contours.frame_uid,
        colour_rgb=contours.colour_rgb,
        interpreted_type=contours.interpreted_type,
        structure_set_uid=contours.structure_set_uid,
        source=contours.source,
        flags=flags,
    )


@dataclass(frozen=True, eq=False)
class _Run:
    """Planes that hang together: positions, signed distances (p, v, u) and their slopes along w,
    the caps below and above."""

    w: np.ndarray
    inside_mm: np.ndarray
    slope: np.ndarray
    caps: tuple[Cap, Cap]
    slab: bool

    def level(self, w: np.ndarray) -> np.ndarray:
        """(n, v, u) signed distances at other positions, positive inside."""
        segment = np.clip(np.searchsorted(self.w, w, side="right") - 1, 0, max(len(self.w) - 2, 0))
        result = np.empty((len(w), *self.inside_mm.shape[1:]), dtype=np.float32)
        low, high = self.w[0] - self.caps[0].length_mm, self.w[-1] + self.caps[1].length_mm
        for into, at, first in zip(result, w, segment, strict=True):
            if at < self.w[0]:
                into[...] = self._cap(0, self.w[0] - at)
            elif at >= self.w[-1]:
                into[...] = self._cap(1, at - self.w[-1])
            else:
                into[...] = self._between(at, int(first))
            np.minimum(into, np.float32(min(at - low, high - at)), out=into)
        return result

    def _cap(self, end: int, beyond: float) -> np.ndarray:
        plane, cap = self.inside_mm[-end], self.caps[end]
        if len(cap.scale) == 1 or not cap.length_mm > 0:
            return plane
        place = (np.arange(len(cap.scale)) + 0.5) * cap.length_mm / len(cap.scale)
        scale = np.interp(beyond, np.append(0.0, place), np.append(1.0, cap.scale))
        return plane - np.float32((1 - math.sqrt(scale)) * float(plane.max()))

    def _between(self, at: float, first: int) -> np.ndarray:
        gap = self.w[first + 1] - self.w[first]
        t = (at - self.w[first]) / gap
        a, b = self.inside_mm[first], self.inside_mm[first + 1]
        if self.slab:
            return a if t < 0.5 else b
        straight = np.float32(1 - t) * a + np.float32(t) * b
        rise = b - a
        bulge = (self.slope[first] * np.float32(gap) - rise) * np.float32(t * (1 - t) ** 2)
        bulge -= (self.slope[first + 1] * np.float32(gap) - rise) * np.float32(t * t * (1 - t))
        most = np.float32(MOST_BULGE * gap)
        return straight + np.clip(bulge, -most, most)


@dataclass(frozen=True, eq=False)
class _Stack:
    """A structure on its part of a lattice, ready to be evaluated slice by slice."""

    grid: Grid
    divide: tuple[int, int, int]
    runs: tuple[_Run, ...]

    @classmethod
    def of(
        cls, sections: ContourSections, grid: Grid, end_caps: EndCaps, between: BetweenPlanes
    ) -> _Stack:
        spacing = grid.spacing_mm
        divide = tuple(max(1, math.ceil(s / FINE_MM - 0.05)) for s in spacing[::-1])
        w = sections.stack.w_mm
        gaps = np.append(np.diff(w), np.nan_to_num(sections.stack.lone_mm))
        (u0, v0), (u1, v1) = sections.bounds_mm
        start = grid.direction.T @ grid.origin_mm
        ends = np.array([[u0, v0, w[0] - gaps.max()], [u1, v1, w[-1] + gaps.max()]])
        index = (ends - start) / spacing
        low = np.floor(index[0]).astype(int) - PAD
        size = np.ceil(index[1]).astype(int) + PAD + 1 - low
        part = Grid(grid.to_lps(low.astype(float)), grid.direction, spacing, tuple(size[::-1]))
        corner = start + (low - 0.5) * spacing
        cell = spacing / np.array(divide[::-1])
        shape = (int(size[1]) * divide[1], int(size[0]) * divide[2])
        lattice = Lattice((corner[0], corner[1]), (cell[0], cell[1]), shape)
        inside = _signed_distance(sections, lattice, max(REACH_GAPS * gaps.max(), REACH_MM))
        return cls(part, divide, tuple(_runs(sections, inside, end_caps, between)))

    def chunks(self, slices: int = 8) -> Iterator[tuple[int, int]]:
        """Runs of slices that are evaluated together."""
        for first in range(0, self.grid.shape[0], slices):
            yield first, min(first + slices, self.grid.shape[0])

    def shares(self, first: int, last: int) -> np.ndarray:
        """Covered shares of slices first..last - 1."""
        step = self.grid.spacing_mm[2] / self.divide[0]
        start = float(self.grid.direction[:, 2] @ self.grid.origin_mm) - self.grid.spacing_mm[2] / 2
        number = np.arange(first * self.divide[0] - 1, last * self.divide[0] + 1)
        w = start + (number + 0.5) * step
        level = self.runs[0].level(w)
        for run in self.runs[1:]:
            np.maximum(level, run.level(w), out=level)
        fine = tuple(
            float(s) / d for s, d in zip(self.grid.spacing_mm[::-1], self.divide, strict=True)
        )
        return coarse_mean(share_in_level_set(level, fine)[1:-1], self.divide)


def _signed_distance(sections: ContourSections, lattice: Lattice, reach_mm: float) -> np.ndarray:
    """(p, v, u) distance of each cell's centre to the outline of its plane, positive inside, at
    most `reach_mm`."""
    share = np.clip(sections.coverage(lattice, moments=False).share, 0, 1)
    step_u, step_v = lattice.step_mm
    pair = (reach_mm, reach_mm)
    gauge = surface_gauge(share, (1.0, step_v, step_u), (1, 1, 1), (pair, pair, pair), axes=(1, 2))
    return -np.clip(gauge, -1, 1) * np.float32(reach_mm)


def _runs(
    sections: ContourSections, inside: np.ndarray, end_caps: EndCaps, between: BetweenPlanes
) -> Iterator[_Run]:
    stack = sections.stack
    bounds = [0, *(np.flatnonzero(stack.hole_after) + 1).tolist(), len(stack.w_mm)]
    for a, b in pairwise(bounds):
        w, planes = stack.w_mm[a:b], inside[a:b]
        if b - a == 1:
            if stack.lone_mm > 0:
                caps = (half_slice_cap(stack.lone_mm),) * 2
                yield _Run(w, planes, np.zeros_like(planes), caps, between == "slab")
            continue
        slope = np.gradient(planes, w, axis=0, edge_order=2 if b - a > 2 else 1)
        slope = slope.astype(np.float32, copy=False)
        caps = tuple(
            _cap(distance, area, end_caps)
            for distance, area in (
                (w - w[0], sections.area_mm2[a:b]),
                (w[-1] - w[::-1], sections.area_mm2[a:b][::-1]),
            )
        )
        yield _Run(w, planes, slope, caps, between == "slab")


def _cap(distance_mm: np.ndarray, area_mm2: np.ndarray, end_caps: EndCaps) -> Cap:
    if end_caps == "none":
        return Cap(0.0, np.ones(1))
    if end_caps == "adaptive":
        return adaptive_cap(distance_mm, area_mm2)
    return half_slice_cap(float(distance_mm[1]))
