"""Trilinear resampling between oriented grids, streamed slab by slab.

A grid reaches half a voxel beyond its outer voxel centres; there the outermost values stand. Beyond
that it gives nothing, and says so by its coverage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from .geometry import Grid

# Axes count as parallel when following the wrong one across the grid misses by less than this.
PARALLEL_MM = 1e-6
# Rounding at the outer edge, in voxels: a position there belongs to the grid.
EDGE = 1e-6
# Positions that miss a voxel centre by rounding only, in voxels, take its value as it is.
SNAP = 1e-9


def resample_onto(
    array: np.ndarray,
    source: Grid,
    target: Grid,
    *,
    out: np.ndarray | None = None,
    weight: float = 1.0,
    compiled: bool = False,
) -> np.ndarray:
    """Add `weight` times the trilinear values of `array` at the voxel centres of `target` to `out`.

    Parameters
    ----------
    array : `[k, j, i]` values on `source`, whose slices may be uneven.
    out : floating array of the target's shape; zeros when not given. Voxels that the source does
        not reach are left as they are.
    compiled : use numba where it is installed, on all cores: the same values to the last bit. Worth
        its start for many large arrays.

    Returns `out`. Values are calculated in the array's floating type (float32 for float32), exact
    for linear fields to its rounding. Needs memory for a few slabs. Raises `ValueError` for arrays
    that do not fit their grids.
    """
    if array.shape != source.shape:
        raise ValueError(f"array of shape {array.shape} on a grid of shape {source.shape}")
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float64)
    if out is None:
        out = np.zeros(target.shape, dtype=array.dtype)
    elif out.shape != target.shape:
        raise ValueError(f"output of shape {out.shape} for a grid of shape {target.shape}")
    if source.same_as(target):
        for values, into in zip(array, out, strict=True):
            into += array.dtype.type(weight) * values
        return out
    axes = _parallel_axes(source, target)
    if axes is None:
        _add_oblique(array, source, target, out, weight)
        return out
    lookups = [_lookup(source, target, axis, axes[axis]) for axis in range(3)]
    if all(len(lookup.low) for lookup in lookups):
        order = [2 - axes[axis] for axis in (2, 1, 0)]  # the array's axes that become k, j, i
        add = _compiled() if compiled and array.flags.c_contiguous and order == [0, 1, 2] else None
        (add or _add_separable)(array.transpose(order), lookups, out, weight)
    return out


def coverage_of(source: Grid, target: Grid) -> np.ndarray:
    """`[k, j, i]` booleans: which voxel centres of `target` the source reaches."""
    axes = _parallel_axes(source, target)
    covered = np.zeros(target.shape, dtype=bool)
    if axes is not None:
        i, j, k = (_lookup(source, target, axis, axes[axis]) for axis in range(3))
        covered[k.window, j.window, i.window] = True
        return covered
    for slab, inside, _ in _oblique_slabs(source, target):
        covered[slab] = inside
    return covered


# -- parallel axes: three one-dimensional interpolations


@dataclass(frozen=True, eq=False)
class _Lookup:
    """Where the positions `window` of a target axis lie on a source axis: between its planes `low`
    and `high`, at `share` of the way. Positions outside the window are beyond the source."""

    window: slice
    low: np.ndarray
    high: np.ndarray
    share: np.ndarray


def _parallel_axes(source: Grid, target: Grid) -> tuple[int, int, int] | None:
    """The source axis along each target axis (0 = i), or None when the grids are oblique."""
    turn = source.direction.T @ target.direction
    axes = np.argmax(np.abs(turn), axis=0)
    if len(set(axes.tolist())) < 3:
        return None
    extents = np.array(target.size_ijk) * target.spacing_mm
    turn[axes, np.arange(3)] = 0.0
    if np.max(np.abs(turn) @ extents) > PARALLEL_MM:
        return None
    return int(axes[0]), int(axes[1]), int(axes[2])


def _lookup(source: Grid, target: Grid, axis: int, source_axis: int) -> _Lookup:
    index = np.zeros((target.size_ijk[axis], 3))
    index[:, axis] = np.arange(len(index))
    position = source.to_index(target.to_lps(index))[:, source_axis]
    last = source.size_ijk[source_axis] - 1
    inside = np.flatnonzero((position >= -0.5 - EDGE) & (position <= last + 0.5 + EDGE))
    if not inside.size:
        empty = np.empty(0, dtype=np.intp)
        return _Lookup(slice(0, 0), empty, empty, np.empty(0))
    window = slice(int(inside[0]), int(inside[-1]) + 1)
    position = np.clip(position[window], 0, last)
    centre = np.rint(position)
    position = np.where(np.abs(position - centre) < SNAP, centre, position)
    low = position.astype(np.intp)
    return _Lookup(window, low, np.minimum(low + 1, last), position - low)


def _add_separable(
    source: np.ndarray, lookups: list[_Lookup], out: np.ndarray, weight: float
) -> None:
    """Add the interpolated source, whose axes are already in the target's order.

    Each source slice is interpolated within its plane once and kept while a target slab needs it.
    All work happens in a handful of buffers the size of a slab, which stay in the cache.
    """
    i, j, k = lookups
    dtype = source.dtype.type
    rows = np.empty((2, len(j.low), source.shape[2]), source.dtype)
    spare, part, first, second = np.empty((4, len(j.low), len(i.low)), source.dtype)
    kept: dict[int, np.ndarray] = {}

    def in_plane(number: int, needed: tuple[int, int]) -> np.ndarray:
        if number not in kept:
            for old in kept.keys() - set(needed):
                del kept[old]
            free = second if any(plane is first for plane in kept.values()) else first
            _between(source[number], j, 0, rows[0], rows[1])
            kept[number] = _between(rows[0], i, 1, free, spare)
        return kept[number]

    slabs = range(k.window.start, k.window.stop)
    for slab, low, high, share in zip(
        slabs, k.low.tolist(), k.high.tolist(), k.share.tolist(), strict=True
    ):
        values = in_plane(low, (low, high))
        if share:
            np.subtract(in_plane(high, (low, high)), values, out=part)
            part *= dtype(share)
            part += values
            values = part
        if weight != 1:
            values = np.multiply(values, dtype(weight), out=part)
        out[slab, j.window, i.window] += values


def _between(
    plane: np.ndarray, lookup: _Lookup, axis: int, out: np.ndarray, spare: np.ndarray
) -> np.ndarray:
    """The plane at the lookup's positions along one of its axes, in `out`."""
    np.take(plane, lookup.low, axis=axis, out=out, mode="clip")
    if lookup.share.any():
        share = lookup.share.astype(out.dtype)
        np.take(plane, lookup.high, axis=axis, out=spare, mode="clip")
        spare -= out
        spare *= share if axis else share[:, None]
        out += spare
    return out


# -- the same, compiled


def _compiled() -> Callable[[np.ndarray, list[_Lookup], np.ndarray, float], None] | None:
    """`_add_separable` by numba; None where numba is not installed."""
    try:
        kernel = _kernel()
    except ImportError:
        return None

    def add(source: np.ndarray, lookups: list[_Lookup], out: np.ndarray, weight: float) -> None:
        window = tuple(lookup.window for lookup in reversed(lookups))
        tables = [
            table
            for lookup in reversed(lookups)
            for table in (
                lookup.low.astype(np.uint64),
                lookup.high.astype(np.uint64),
                lookup.share.astype(source.dtype),
            )
        ]
        kernel(source, np.asarray(out)[window], *tables, source.dtype.type(weight))

    return add


@cache
def _kernel() -> Callable[..., None]:
    """The separable interpolation compiled by numba; `ImportError` where that is not installed.

    Equal to NumPy's to the last bit: every value goes through the same single operations in the
    same order, and the compiler may not fuse or reorder them. Called with source `[k, j, i]`,
    output window `[k, j, i]`, then for k, j and i the lower planes, the upper planes (both
    unsigned, so that no negative index is looked for) and the shares between them, and the weight.
    It runs on all cores that numba may use.
    """
    import numba

    def add(source, out, k0, k1, kw, j0, j1, jw, i0, i1, iw, weight):  # type: ignore[no-untyped-def]
        width = source.shape[2]
        for k in numba.prange(len(k0)):
            low = np.empty(width, source.dtype)
            high = np.empty(width, source.dtype)
            for j in range(len(j0)):
                share, into = jw[j], out[k, j]
                a, b = source[k0[k], j0[j]], source[k0[k], j1[j]]
                for x in range(width):
                    low[x] = a[x] + (b[x] - a[x]) * share
                if kw[k] == 0:
                    for i in range(len(i0)):
                        first = low[i0[i]]
                        into[i] += (first + (low[i1[i]] - first) * iw[i]) * weight
                    continue
                a, b = source[k1[k], j0[j]], source[k1[k], j1[j]]
                for x in range(width):
                    high[x] = a[x] + (b[x] - a[x]) * share
                for i in range(len(i0)):
                    first, second = low[i0[i]], high[i0[i]]
                    first += (low[i1[i]] - first) * iw[i]
                    second += (high[i1[i]] - second) * iw[i]
                    into[i] += (first + (second - first) * kw[k]) * weight

    try:
        return numba.njit(parallel=True, cache=True)(add)
    except RuntimeError:  # neither the package's folder nor the user's can hold compiled code
        return numba.njit(parallel=True)(add)


# -- oblique grids: eight neighbours of every voxel, one target slab at a time


def _oblique_slabs(
    source: Grid, target: Grid
) -> Iterator[tuple[int, np.ndarray, list[np.ndarray]]]:
    """For each target slab: its number, which voxels `[j, i]` the source reaches, and the
    continuous source indices i, j, k of those voxels, clamped to the outer centres."""
    turn = source.direction.T @ target.direction
    start = source.direction.T @ (target.origin_mm - source.origin_mm)
    along_i = np.outer(turn[:, 0], np.arange(target.shape[2]) * target.spacing_mm[0])
    along_j = np.outer(turn[:, 1], np.arange(target.shape[1]) * target.spacing_mm[1])
    for slab, height in enumerate(target.k_positions_mm):
        inside = np.ones(target.shape[1:], dtype=bool)
        index = []
        for axis in range(3):
            offset = start[axis] + turn[axis, 2] * height
            local = along_i[axis][None, :] + (along_j[axis] + offset)[:, None]
            position, within = _index_along(source, axis, local)
            inside &= within
            index.append(position)
        yield slab, inside, [position[inside] for position in index]


def _index_along(grid: Grid, axis: int, local_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Clamped indices of positions along one axis of a grid, and whether the grid reaches them."""
    last = grid.size_ijk[axis] - 1
    if axis == 2 and grid.k_offsets_mm is not None:
        steps = np.diff(grid.k_offsets_mm)
        low, high = -steps[0] * (0.5 + EDGE), grid.k_offsets_mm[-1] + steps[-1] * (0.5 + EDGE)
        within = (local_mm >= low) & (local_mm <= high)
        return np.interp(local_mm, grid.k_offsets_mm, np.arange(last + 1.0)), within
    position = local_mm / grid.spacing_mm[axis]
    within = (position >= -0.5 - EDGE) & (position <= last + 0.5 + EDGE)
    return np.clip(position, 0, last, out=position), within


def _add_oblique(
    array: np.ndarray, source: Grid, target: Grid, out: np.ndarray, weight: float
) -> None:
    flat = np.ascontiguousarray(array).reshape(-1)
    last = np.array(source.size_ijk) - 1
    strides = (1, source.shape[2], source.shape[2] * source.shape[1])
    for slab, inside, index in _oblique_slabs(source, target):
        if not index[0].size:
            continue
        corner = np.zeros(index[0].size, dtype=np.intp)
        shares = []
        for axis in range(3):
            low = np.minimum(index[axis].astype(np.intp), max(last[axis] - 1, 0))
            shares.append((index[axis] - low).astype(array.dtype))
            corner += low * strides[axis]
        steps = [stride if n else 0 for stride, n in zip(strides, last, strict=True)]
        values = _trilinear(flat, corner, steps, shares)
        out[slab][inside] += array.dtype.type(weight) * values


def _trilinear(
    flat: np.ndarray, corner: np.ndarray, steps: list[int], shares: list[np.ndarray]
) -> np.ndarray:
    """Values between the eight neighbours that begin at flat index `corner`."""
    if not steps:
        return flat[corner]
    low = _trilinear(flat, corner, steps[:-1], shares[:-1])
    high = _trilinear(flat, corner + steps[-1], steps[:-1], shares[:-1])
    high -= low
    high *= shares[-1]
    low += high
    return low
