"""Masks from one grid to another. A mask's voxels are boxes: what they cover is kept exactly where
the axes are parallel, whatever the spacings, and to a fraction of a voxel where they are not."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
from scipy import sparse

from ..geometry import Grid
from ..model import Mask

# Following the wrong axis across the grid misses by less than this: the axes are parallel.
PARALLEL_MM = 1e-3
# A structure reaches beyond the grid when it does so by more than this.
BEYOND_MM = 1e-3
# Samples along each edge of a voxel on an oblique grid, at most.
MOST_SAMPLES = 6


def slice_borders(grid: Grid) -> np.ndarray:
    """(nk + 1,) borders of the slices along k, from the origin: midway between the slices, and half
    a step beyond the first and the last."""
    k = grid.k_positions_mm
    if len(k) == 1:
        return np.array([-0.5, 0.5]) * grid.spacing_mm[2]
    middle = (k[:-1] + k[1:]) / 2
    return np.concatenate([[2 * k[0] - middle[0]], middle, [2 * k[-1] - middle[-1]]])


def cropped(mask: Mask) -> Mask:
    """The part of a mask that is covered; of an empty one, its first voxel."""
    parts = []
    filled = mask.array > 0
    for axis in range(3):
        used = np.flatnonzero(filled.any(axis=tuple(a for a in range(3) if a != axis)))
        parts.append(slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 1))
    k, j, i = parts
    return replace(mask, array=mask.array[k, j, i], grid=mask.grid.crop(k, j, i))


def beyond(grid: Grid, points_mm: np.ndarray) -> bool:
    """True when one of the points (n, 3) lies outside the outer borders of the grid's voxels."""
    index = grid.to_index(points_mm)
    slack = BEYOND_MM / grid.spacing_mm
    return bool(
        np.any(index < -0.5 - slack) or np.any(index > np.array(grid.size_ijk) - 0.5 + slack)
    )


def resample_mask(mask: Mask, grid: Grid, *, nearest: bool = False, whole: bool = False) -> Mask:
    """The mask on `grid`, or with `whole = False` on the part of it that the mask touches.

    On the same lattice the values are kept as they are. Else the array is float32: the share of
    each voxel that the mask covers or, with `nearest`, the mask's value at its centre. What lies
    outside the grid is lost and flagged `outside-grid`.
    """
    found = _same_lattice(mask, grid)
    if found is None:
        mask = cropped(mask)
        found = _along_axes(mask, grid, nearest)
    if found is None:
        found = _oblique(mask, grid, nearest)
    array, window = found
    if not array.size:
        array, window = np.zeros((1, 1, 1), dtype=array.dtype), (slice(0, 1),) * 3
    flags = mask.flags
    if beyond(grid, mask.grid.corners_mm(edges=True)) and _is_beyond(mask, grid):
        flags = tuple(dict.fromkeys([*flags, "outside-grid"]))
    if not whole:
        return replace(mask, array=array, grid=grid.crop(*window), flags=flags)
    all_of_it = np.zeros(grid.shape, dtype=array.dtype)
    all_of_it[window] = array
    return replace(mask, array=all_of_it, grid=grid, flags=flags)


def _is_beyond(mask: Mask, grid: Grid) -> bool:
    """True when a covered voxel lies outside the grid."""
    part = cropped(mask)
    return bool(part.array.any()) and beyond(grid, part.grid.corners_mm(edges=True))


_Part = tuple[np.ndarray, tuple[slice, slice, slice]]  # values `[k, j, i]` and where they belong


def _same_lattice(mask: Mask, grid: Grid) -> _Part | None:
    """The overlap of a mask that lies on the lattice of the grid; None when it does not."""
    offset = mask.grid.offset_in(grid)
    if offset is None:
        return None
    into, of = [], []
    for first, own, size in zip(offset, mask.grid.shape, grid.shape, strict=True):
        start = max(first, 0)
        stop = max(min(first + own, size), start)
        into.append(slice(start, stop))
        of.append(slice(start - first, stop - first))
    return mask.array[tuple(of)], (into[0], into[1], into[2])


def _along_axes(mask: Mask, grid: Grid, nearest: bool) -> _Part | None:
    """Overlaps of intervals, axis by axis; None when the grids are oblique."""
    turn = mask.grid.direction.T @ grid.direction
    axes = np.argmax(np.abs(turn), axis=0)
    rest = np.abs(turn)
    rest[axes, np.arange(3)] = 0.0
    extent = np.array(mask.grid.size_ijk) * mask.grid.spacing_mm
    if len(set(axes.tolist())) < 3 or np.max(rest.T @ extent) > PARALLEL_MM:
        return None
    array = mask.array.transpose([2 - axes[axis] for axis in (2, 1, 0)]).astype(np.float32)
    start = (mask.grid.origin_mm - grid.origin_mm) @ grid.direction
    window = []
    for number, axis in enumerate((2, 1, 0)):
        sign = float(np.sign(turn[axes[axis], axis]))
        source = start[axis] + sign * _borders(mask.grid, int(axes[axis]))
        if sign < 0:
            source, array = source[::-1], np.flip(array, number)
        target = _borders(grid, axis)
        first = max(int(np.searchsorted(target, source[0], side="right")) - 1, 0)
        last = min(int(np.searchsorted(target, source[-1])), len(target) - 1)
        window.append(slice(first, max(last, first)))
        part = target[first : max(last, first) + 1]
        weights = _nearest(source, part) if nearest else _overlaps(source, part)
        moved = np.moveaxis(array, number, 0)
        shape = (weights.shape[0], *moved.shape[1:])
        array = np.moveaxis((weights @ moved.reshape(len(moved), -1)).reshape(shape), 0, number)
    return np.ascontiguousarray(array), (window[0], window[1], window[2])


def _borders(grid: Grid, axis: int) -> np.ndarray:
    """Borders of the voxels along an axis (0 = i), from the origin."""
    if axis == 2:
        return slice_borders(grid)
    return (np.arange(grid.size_ijk[axis] + 1) - 0.5) * grid.spacing_mm[axis]


def _overlaps(source: np.ndarray, target: np.ndarray) -> sparse.csr_array:
    """(targets, sources) share of each target interval that each source interval covers."""
    cuts = np.unique(np.concatenate([source, target]))
    middle = (cuts[:-1] + cuts[1:]) / 2
    row = np.searchsorted(target, middle) - 1
    column = np.searchsorted(source, middle) - 1
    targets, sources = max(len(target) - 1, 0), len(source) - 1
    use = (row >= 0) & (row < targets) & (column >= 0) & (column < sources)
    row, column = row[use], column[use]
    share = (np.diff(cuts)[use] / np.diff(target)[row]).astype(np.float32)
    return sparse.csr_array((share, (row, column)), shape=(targets, sources))


def _nearest(source: np.ndarray, target: np.ndarray) -> sparse.csr_array:
    """The same with 1 for the source interval that the middle of the target lies in."""
    middle = (target[:-1] + target[1:]) / 2
    column = np.searchsorted(source, middle, side="right") - 1
    targets, sources = len(middle), len(source) - 1
    row = np.flatnonzero((column >= 0) & (column < sources))
    ones = np.ones(len(row), dtype=np.float32)
    return sparse.csr_array((ones, (row, column[row])), shape=(targets, sources))


def _oblique(mask: Mask, grid: Grid, nearest: bool) -> _Part:
    """Means over samples in each voxel, each looked up in the mask."""
    index = grid.to_index(mask.grid.corners_mm(edges=True))
    window = []
    for axis in (2, 1, 0):
        first = max(math.floor(index[:, axis].min()), 0)
        last = min(math.ceil(index[:, axis].max()) + 1, grid.size_ijk[axis])
        window.append(slice(first, max(last, first)))
    k, j, i = window
    shape = (k.stop - k.start, j.stop - j.start, i.stop - i.start)
    array = np.zeros(shape, dtype=np.float32)
    finest, coarsest = mask.grid.spacing_mm.min(), grid.spacing_mm.max()
    samples = 1 if nearest else min(max(math.ceil(2 * coarsest / finest), 2), MOST_SAMPLES)
    offsets = (np.arange(samples) + 0.5) / samples - 0.5
    if not array.size:
        return array, (k, j, i)
    columns, rows = np.arange(i.start, i.stop, dtype=np.float64), np.arange(j.start, j.stop)
    for number, into in enumerate(array):
        for dk, dj, di in product(offsets, repeat=3):
            at = np.empty((*shape[1:], 3))
            at[..., 0], at[..., 1], at[..., 2] = (
                columns + di,
                rows[:, None] + dj,
                k.start + number + dk,
            )
            into += _value_at(mask, grid.to_lps(at))
    return array / np.float32(samples**3), (k, j, i)


def _value_at(mask: Mask, points_mm: np.ndarray) -> np.ndarray:
    """The mask's voxel at each point, 0 outside."""
    index = np.floor(mask.grid.to_index(points_mm) + 0.5).astype(np.intp)
    inside = np.all((index >= 0) & (index < mask.grid.size_ijk), axis=-1)
    values = np.zeros(inside.shape, dtype=np.float32)
    i, j, k = index[inside].T
    values[inside] = mask.array[k, j, i]
    return values
