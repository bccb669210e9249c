"""The dose in the boxes that a structure is cut into.

A box is a cell of the lattice times the thickness of a layer. Of each box we want the mean of the
trilinear dose and its range in the three directions. Where the dose grid is parallel to the contour
planes the interpolation separates into one small matrix per axis, the cells are fractions of the
dose voxels, and the mean over a box is exact; otherwise the dose is taken at the corners.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

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

    def reach_mm(self, axis: int) -> tuple[float, float]:
        """Between which positions along u, v or w (0, 1, 2) all of the dose grid lies."""
        ...


class AxisTable(NamedTuple):
    """Linear interpolation along u or v at the borders of cells: voxel on the left, share (0..1,
    float32) of the way to the one on the right; and which cells (one fewer) lie in the grid."""

    left: np.ndarray
    share: np.ndarray
    inside: np.ndarray


class LayerTable(NamedTuple):
    """Layers (n,) from the voxels `voxel` (n, k) along w: the mean dose over a layer, and the rise
    from its lower to its upper face, are sums over k with these weights (float32); and which layers
    lie in the grid."""

    voxel: np.ndarray
    for_mean: np.ndarray
    for_rise: np.ndarray
    inside: np.ndarray


@dataclass(frozen=True, eq=False)
class AlignedDose:
    """Dose whose axes are those of the contour frame: `array` `[w, v, u]`, `centres` of its voxels
    along u, v, w (ascending, mm) and `reach`, the ends of the grid along each."""

    array: np.ndarray
    centres: tuple[np.ndarray, np.ndarray, np.ndarray]
    reach: tuple[tuple[float, float], ...]

    def boxes(self, lattice: Lattice, low_mm: np.ndarray, high_mm: np.ndarray) -> BoxDose:
        """See `DoseSampler`."""
        block, along_u, along_v, layers = self.tables(lattice, low_mm, high_mm)
        inside = layers.inside[:, None, None] & along_v.inside[:, None] & along_u.inside
        corners = [
            _lerp(_lerp(summed, along_u, 2), along_v, 1) for summed in _along_layers(block, layers)
        ]
        return _from_corners(corners[0], corners[1], inside)

    def tables(
        self, lattice: Lattice, low_mm: np.ndarray, high_mm: np.ndarray
    ) -> tuple[np.ndarray, AxisTable, AxisTable, LayerTable]:
        """The voxels `[w, v, u]` around these boxes, and how their dose follows from them."""
        (u0, v0), (du, dv), (nv, nu) = lattice.origin_mm, lattice.step_mm, lattice.shape
        u, v = u0 + du * np.arange(nu + 1), v0 + dv * np.arange(nv + 1)
        block, (cu, cv, cw) = self._crop((u[0], u[-1]), (v[0], v[-1]), (low_mm[0], high_mm[-1]))
        axes = []
        for centres, borders, reach in ((cu, u, self.reach[0]), (cv, v, self.reach[1])):
            left, share = _place(centres, borders)
            inside = _within(borders[:-1], borders[1:], reach)
            axes.append(AxisTable(left, share.astype(np.float32), inside))
        layers = _layer_table(cw, low_mm, high_mm, _within(low_mm, high_mm, self.reach[2]))
        return block, axes[0], axes[1], layers

    def reach_mm(self, axis: int) -> tuple[float, float]:
        """See `DoseSampler`."""
        return self.reach[axis]

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

    def reach_mm(self, axis: int) -> tuple[float, float]:
        """See `DoseSampler`."""
        along = self.grid.corners_mm(edges=True) @ self.axes[axis]
        return float(along.min()), float(along.max())

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


def _layer_table(
    centres: np.ndarray, low: np.ndarray, high: np.ndarray, inside: np.ndarray
) -> LayerTable:
    first = _place(centres, low)[0]
    reach = int((_place(centres, high)[0] - first).max()) + 2  # voxels that a layer depends on
    voxel = np.minimum(first[:, None] + np.arange(reach), len(centres) - 1)
    new = np.diff(voxel, axis=1, prepend=-1) > 0  # beyond the end the last voxel counts once
    mean = np.where(new, _mean_weights(centres, voxel, low, high), 0.0)
    ends = _point_weights(centres, voxel, high) - _point_weights(centres, voxel, low)
    rise = np.where(new, ends, 0.0)
    return LayerTable(voxel, mean.astype(np.float32), rise.astype(np.float32), inside)


def _along_layers(block: np.ndarray, layers: LayerTable) -> tuple[np.ndarray, np.ndarray]:
    """Mean over each layer, and rise from its lower to its upper face, of `block` `[w, v, u]`."""
    shape = (len(layers.voxel), *block.shape[1:])
    mean, rise = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    for step in range(layers.voxel.shape[1]):
        values = block[layers.voxel[:, step]]
        mean += values * layers.for_mean[:, step, None, None]
        values *= layers.for_rise[:, step, None, None]
        rise += values
    return mean, rise


def _lerp(block: np.ndarray, table: AxisTable, axis: int) -> np.ndarray:
    """Linear interpolation along one axis, constant beyond the ends."""
    last = block.shape[axis] - 1
    shape = [1, 1, 1]
    shape[axis] = len(table.left)
    near = np.take(block, table.left, axis=axis)
    if not table.share.any():
        return near
    far = np.take(block, np.minimum(table.left + 1, last), axis=axis)
    far -= near
    far *= table.share.reshape(shape)
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


def _point_weights(centres: np.ndarray, voxel: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(n, k) weights of the voxels (n, k) in the linear interpolation at x (n,)."""
    left, fraction = _place(centres, x)
    right = np.minimum(left + 1, len(centres) - 1)
    weights = np.where(voxel == left[:, None], 1 - fraction[:, None], 0.0)
    return weights + np.where(voxel == right[:, None], fraction[:, None], 0.0)


def _mean_weights(
    centres: np.ndarray, voxel: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """(n, k) weights of the voxels (n, k) in the mean of the interpolation over low..high."""
    last = len(centres) - 1
    steps = np.diff(centres, prepend=-np.inf, append=np.inf)  # before the first, after the last

    def integral(x: np.ndarray) -> np.ndarray:
        """Integral of the voxels' hat functions from the first centre to x."""
        offset = x[:, None] - centres[voxel]
        before, after = steps[voxel], steps[voxel + 1]
        with np.errstate(invalid="ignore"):
            up, down = np.clip(1 + offset / before, 0, 1), np.clip(offset / after, 0, 1)
            rising = np.where(voxel > 0, before * up**2 / 2, np.minimum(offset, 0.0))
            falling = np.where(voxel < last, after * (down - down**2 / 2), np.maximum(offset, 0.0))
        return rising + falling

    return (integral(high) - integral(low)) / (high - low)[:, None]


def _within(low: np.ndarray, high: np.ndarray, reach: tuple[float, float]) -> np.ndarray:
    """Which intervals have their middle inside `reach`. One that crosses an end in its middle holds
    a structure that ends before (`layout._cells`), and counts as inside."""
    middle = (low + high) / 2
    return (middle > reach[0] - 1e-6) & (middle < reach[1] + 1e-6)
