"""Masks that share one lattice of voxels but each hold their own part of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import GeometryError
from ..geometry import Grid
from ..model import Mask

# Lattices are the same when their voxels fit onto each other to this share of a voxel.
SAME_VOXEL = 1e-3


@dataclass(frozen=True)
class Box:
    """Voxels low (k, j, i) to just before high, counted from the first voxel of some grid."""

    low: tuple[int, int, int]
    high: tuple[int, int, int]

    @property
    def is_empty(self) -> bool:
        """True when no voxel lies inside."""
        return any(a >= b for a, b in zip(self.low, self.high, strict=True))

    def __and__(self, other: Box) -> Box:
        return Box(
            tuple(max(a, b) for a, b in zip(self.low, other.low, strict=True)),
            tuple(min(a, b) for a, b in zip(self.high, other.high, strict=True)),
        )

    def __or__(self, other: Box) -> Box:
        return Box(
            tuple(min(a, b) for a, b in zip(self.low, other.low, strict=True)),
            tuple(max(a, b) for a, b in zip(self.high, other.high, strict=True)),
        )

    def wider(self, voxels: Sequence[int]) -> Box:
        """The box with so many voxels more at both ends of each axis."""
        return Box(
            tuple(a - n for a, n in zip(self.low, voxels, strict=True)),
            tuple(b + n for b, n in zip(self.high, voxels, strict=True)),
        )


def box_of(mask: Mask, base: Grid) -> Box:
    """Where a mask lies on the lattice of `base`. Raises `GeometryError` when it does not fit."""
    grid = mask.grid
    offset = base.to_index(grid.origin_mm)
    low = np.rint(offset)
    far = base.to_index(grid.to_lps(np.array(grid.size_ijk, dtype=float) - 1))
    misfit = np.abs(far - low - np.array(grid.size_ijk) + 1).max()
    if max(misfit, np.abs(offset - low).max()) > SAME_VOXEL:
        raise GeometryError(
            f"{mask.name} has voxels of its own; resample it to the grid of the other masks first"
        )
    k, j, i = (int(n) for n in low[::-1])
    nk, nj, ni = grid.shape
    return Box((k, j, i), (k + nk, j + nj, i + ni))


def on_box(mask: Mask, base: Grid, box: Box) -> Mask:
    """A mask cut and filled up with nothing to a box of the lattice of `base`, as float32."""
    own = box_of(mask, base)
    shape = tuple(b - a for a, b in zip(box.low, box.high, strict=True))
    array = np.zeros(shape, dtype=np.float32)
    shared = own & box
    if not shared.is_empty:
        source = _slices(shared, own)
        array[_slices(shared, box)] = mask.array[source]
    origin = base.to_lps(np.array(box.low[::-1], dtype=np.float64))
    return replace(mask, array=array, grid=Grid(origin, base.direction, base.spacing_mm, shape))


def _slices(box: Box, of: Box) -> tuple[slice, ...]:
    return tuple(
        slice(a - start, b - start) for a, b, start in zip(box.low, box.high, of.low, strict=True)
    )


def filled_box(array: np.ndarray) -> tuple[slice, slice, slice] | None:
    """The smallest part of an array that holds all its voxels above 0; None when there is none."""
    filled = array > 0
    parts = []
    for axis in range(3):
        used = np.flatnonzero(filled.any(axis=tuple(a for a in range(3) if a != axis)))
        if not used.size:
            return None
        parts.append(slice(int(used[0]), int(used[-1]) + 1))
    return parts[0], parts[1], parts[2]


def cropped(mask: Mask) -> Mask:
    """The filled part of a mask; one empty voxel when there is none."""
    box = filled_box(mask.array)
    if box is None:
        one = mask.grid.crop(slice(0, 1), slice(0, 1), slice(0, 1))
        return replace(mask, array=np.zeros((1, 1, 1), np.float32), grid=one)
    return replace(mask, array=np.ascontiguousarray(mask.array[box]), grid=mask.grid.crop(*box))
