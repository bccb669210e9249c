"""The dose in the boxes that a structure is cut into.

A box is a cell of the lattice times the thickness of a layer. Of each box we want the mean of the
trilinear dose and its range in the three directions. Where the dose grid is parallel to the contour
planes the interpolation separates into one small matrix per axis, the cells are fractions of the
dose voxels, and the mean over a box is exact; otherwise the dose is taken at the corners.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..geometry import Grid
from ..model import Dose
from ..structures.coverage import Lattice

# Axes nearer than this (rad) are parallel: 0.015 mm over 300 mm.
PARALLEL_RAD = 5e-5


@dataclass(frozen=True, eq=False)
class BoxDose:
    """Dose in boxes `[layer, v, u]`, float32, in Gy.

    `mean`, and the differences `across_u`, `across_v`, `across_w` between opposite faces;
    `inside` (broadcasts to the same shape, booleans) tells which boxes lie in the dose grid.
    """

    mean: np.ndarray
    across_u: np.ndarray
    across_v: np.ndarray
    across_w: np.ndarray
    inside: np.ndarray

    def inside_flat(self, chosen: np.ndarray) -> np.ndarray:
        """`inside` of the boxes with these flat indices."""
        return np.broadcast_to(self.inside, self.mean.shape).ravel()[chosen]


class DoseSampler(Protocol):
    """Something that knows the dose in the coordinates of a contour frame."""

    def boxes(self, lattice: Lattice, low_mm: np.ndarray, high_mm: np.ndarray) -> BoxDose:
        """Dose in the boxes of `lattice` times the layers `low_mm`..`high_mm` (n,)."""
        ...

    def range_gy(self, lattice: Lattice, low_mm: float, high_mm: float) -> tuple[float, float]:
        """Bounds of the dose in a block."""
        ...


@dataclass(frozen=True, eq=False)
class AlignedDose:
    """Dose whose axes are those of the contour frame: `array` `[w, v, u]`, `centres` of its voxels
    along u, v, w (ascending, mm) and `reach`, the ends of the grid along each."""

    array: np.ndarray
    centres: tuple[np.ndarray, np.ndarray, np.ndarray]
    reach: tuple[tuple[float, float], ...]

    def boxes(self, lattice: Lattice, low_mm: np.ndarray, high_mm: np.ndarray) -> BoxDose:
        """See `DoseSampler`."""
        (u0, v0), (du, dv), (nv, nu) = lattice.origin_mm, lattice.step_mm, lattice.shape
        u, v = u0 + du * np.arange(nu + 1), v0 + dv * np.arange(nv + 1)
        block, (cu, cv, cw) = self._crop((u[0], u[-1]), (v[0], v[-1]), (low_mm[0], high_mm[-1]))
        mean_w, rise_w = _along_layers(block, cw, low_mm, high_mm)
        inside = (
            _within(low_mm, high_mm, self.reach[2])[:, None, None]
            & _within(v[:-1], v[1:], self.reach[1])[:, None]
            & _within(u[:-1], u[1:], self.reach[0])
        )
        return _from_corners(
            _lerp(_lerp(mean_w, cu, u, 2), cv, v, 1),
            _lerp(_lerp(rise_w, cu, u, 2), cv, v, 1),
            inside,
        )

    def range_gy(self, lattice: Lattice, low_mm: float, high_mm: float) -> tuple[float, float]:
        """See `DoseSampler`."""
        (u0, v0), (du, dv), (nv, nu) = lattice.origin_mm, lattice.step_mm, lattice.shape
        block, _ = self._crop((u0, u0 + du * nu), (v0, v0 + dv * nv), (low_mm, high_mm))
        return float(block.min()), float(block.max())

    def _crop(
        self, *spans: tuple[float, float]
    ) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The voxels that the spans along u, v, w need, and their centres."""
        parts = []
        for centres, (low, high) in zip(self.centres, spans, strict=True):
            first = max(int(np.searchsorted(centres, low + 1e-9, side="right")) - 1, 0)
            last = min(int(np.searchsorted(centres, high - 1e-9)) + 1, len(centres))
            first = min(first, len(centres) - 1)
            parts.append(slice(first, max(last, first + 1)))
        block = np.ascontiguousarray(self.array[parts[2], parts[1], parts[0]], dtype=np.float32)
        u, v, w = (c[p] for c, p in zip(self.centres, parts, strict=True))
        return block, (u, v, w)


@dataclass(frozen=True, eq=False)
class ObliqueDose:
    """Dose on a grid that is turned against the contour frame `axes` (rows u, v, w)."""

    array: np.ndarray
    grid: Grid
    axes: np.ndarray

    def boxes(self, lattice: Lattice, low_mm: np.ndarray, high_mm: np.ndarray) -> BoxDose:
        """See `DoseSampler`."""
        (u0, v0), (du, dv), (nv, nu) = lattice.origin_mm, lattice.step_mm, lattice.shape
        u, v = u0 + du * np.arange(nu + 1), v0 + dv * np.arange(nv + 1)
        low, high = self._at(u, v, low_mm), self._at(u, v, high_mm)
        centres = self._points(u[:-1] + du / 2, v[:-1] + dv / 2, (low_mm + high_mm) / 2)
        return _from_corners((low + high) / 2, high - low, self.grid.contains(centres))

    def range_gy(self, lattice: Lattice, low_mm: float, high_mm: float) -> tuple[float, float]:
        """See `DoseSampler`."""
        return float(self.array.min()), float(self.array.max())

    def _points(self, u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        plane = u[None, :, None] * self.axes[0] + v[:, None, None] * self.axes[1]
        return plane + (w[:, None] * self.axes[2])[:, None, None, :]

    def _at(self, u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        from scipy.ndimage import map_coordinates

        index = self.grid.to_index(self._points(u, v, w))
        order = np.moveaxis(index, -1, 0)[::-1]  # i, j, k -> k, j, i
        return map_coordinates(self.array, order, order=1, mode="nearest", output=np.float32)


def dose_sampler(dose: Dose, axes: np.ndarray) -> AlignedDose | ObliqueDose:
    """The sampler of a dose in the frame whose unit vectors u, v, w are the rows of `axes`."""
    grid = dose.grid
    cosines = axes @ grid.direction  # [frame axis, grid axis]
    match = np.argmax(np.abs(cosines), axis=1)
    parallel = np.abs(cosines[np.arange(3), match]) > 1 - PARALLEL_RAD**2 / 2
    if not parallel.all() or len(set(match.tolist())) != 3:
        return ObliqueDose(dose.array_gy, grid, axes)
    array = dose.array_gy.transpose([2 - match[2], 2 - match[1], 2 - match[0]])
    centres, reach = [], []
    for frame_axis, grid_axis in enumerate(match):
        if grid_axis == 2:
            offsets = grid.k_positions_mm
        else:
            offsets = np.arange(grid.size_ijk[grid_axis]) * grid.spacing_mm[grid_axis]
        sign = np.sign(cosines[frame_axis, grid_axis])
        position = axes[frame_axis] @ grid.origin_mm + sign * offsets
        if sign < 0:
            position = position[::-1]
            array = np.flip(array, axis=2 - frame_axis)
        single = grid.spacing_mm[grid_axis]
        steps = np.diff(position) if len(position) > 1 else np.array([single])
        centres.append(position)
        reach.append((position[0] - steps[0] / 2, position[-1] + steps[-1] / 2))
    return AlignedDose(array, (centres[0], centres[1], centres[2]), tuple(reach))


def _from_corners(mean_w: np.ndarray, rise_w: np.ndarray, inside: np.ndarray) -> BoxDose:
    """Boxes from the values at their edges along w, `[layer, v line, u line]`: the mean dose along
    the edge and the rise along it."""
    along_u = mean_w[:, :, :-1] + mean_w[:, :, 1:]
    rise_u = mean_w[:, :, 1:] - mean_w[:, :, :-1]
    sum_w = rise_w[:, :, :-1] + rise_w[:, :, 1:]
    mean = along_u[:, :-1] + along_u[:, 1:]
    across_u = rise_u[:, :-1] + rise_u[:, 1:]
    across_v = along_u[:, 1:] - along_u[:, :-1]
    across_w = sum_w[:, :-1] + sum_w[:, 1:]
    for values, share in ((mean, 0.25), (across_u, 0.5), (across_v, 0.5), (across_w, 0.25)):
        values *= np.float32(share)
    return BoxDose(mean, across_u, across_v, across_w, inside)


def _along_layers(
    block: np.ndarray, centres: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean over each layer, and rise from its lower to its upper face, of `block` `[w, v, u]`."""
    first = _place(centres, low)[0]
    reach = int((_place(centres, high)[0] - first).max()) + 2  # voxels that a layer depends on
    voxel = np.minimum(first[:, None] + np.arange(reach), len(centres) - 1)
    new = np.diff(voxel, axis=1, prepend=-1) > 0  # beyond the end the last voxel counts once
    rows = np.arange(len(low))[:, None]
    for_mean = np.where(new, _mean_weights(centres, low, high)[rows, voxel], 0.0)
    ends = _point_weights(centres, high) - _point_weights(centres, low)
    for_rise = np.where(new, ends[rows, voxel], 0.0)
    mean, rise = (np.zeros((len(low), *block.shape[1:]), dtype=np.float32) for _ in range(2))
    for step in range(reach):
        values = block[voxel[:, step]]
        mean += values * for_mean[:, step, None, None].astype(np.float32)
        values *= for_rise[:, step, None, None].astype(np.float32)
        rise += values
    return mean, rise


def _lerp(block: np.ndarray, centres: np.ndarray, x: np.ndarray, axis: int) -> np.ndarray:
    """Linear interpolation along one axis, constant beyond the ends."""
    if len(x) == len(centres) and np.abs(x - centres).max() < 1e-7:
        return block
    left, fraction = _place(centres, x)
    right = np.minimum(left + 1, len(centres) - 1)
    shape = [1, 1, 1]
    shape[axis] = len(x)
    near = np.take(block, left, axis=axis)
    far = np.take(block, right, axis=axis)
    far -= near
    far *= fraction.astype(np.float32).reshape(shape)
    near += far
    return near


def _place(centres: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Left neighbour of each x among `centres`, and how far (0..1) it lies from there to the right
    one."""
    if len(centres) == 1:
        return np.zeros(len(x), dtype=np.int64), np.zeros(len(x))
    left = np.clip(np.searchsorted(centres, x, side="right") - 1, 0, len(centres) - 2)
    fraction = (x - centres[left]) / (centres[left + 1] - centres[left])
    return left, np.clip(fraction, 0.0, 1.0)


def _point_weights(centres: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(n, k) weights of the voxels in the linear interpolation at x (n,)."""
    left, fraction = _place(centres, x)
    weights = np.zeros((len(x), len(centres)))
    rows = np.arange(len(x))
    weights[rows, left] = 1 - fraction
    weights[rows, np.minimum(left + 1, len(centres) - 1)] += fraction
    return weights


def _mean_weights(centres: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(n, k) weights of the voxels in the mean of the linear interpolation over low..high."""

    def integral(x: np.ndarray) -> np.ndarray:
        """Integral of every voxel's hat function from the first centre to x."""
        table = np.zeros((len(x), len(centres)))
        table[:, 0] += np.minimum(x - centres[0], 0.0)
        table[:, -1] += np.maximum(x - centres[-1], 0.0)
        steps = np.diff(centres)
        if steps.size:
            part = np.clip((x[:, None] - centres[:-1]) / steps, 0.0, 1.0)
            table[:, :-1] += steps * (part - part**2 / 2)
            table[:, 1:] += steps * part**2 / 2
        return table

    return (integral(high) - integral(low)) / (high - low)[:, None]


def _within(low: np.ndarray, high: np.ndarray, reach: tuple[float, float]) -> np.ndarray:
    """Which intervals have their middle inside `reach`. One that crosses an end in its middle holds
    a structure that ends before (`engine._cells`), and counts as inside."""
    middle = (low + high) / 2
    return (middle > reach[0] - 1e-6) & (middle < reach[1] + 1e-6)
