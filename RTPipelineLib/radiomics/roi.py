"""A ROI on the voxels of an image: which it covers, and the box around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DataError, GeometryError
from ..geometry import Grid
from ..model import Mask

INSIDE = 0.5  # covered share from which a voxel belongs to a ROI


@dataclass(frozen=True)
class Box:
    """A box of voxels of a lattice: `low` its first voxel and `size`, both (k, j, i)."""

    low: tuple[int, int, int]
    size: tuple[int, int, int]

    @property
    def high(self) -> tuple[int, int, int]:
        """One beyond the last voxel."""
        return tuple(a + b for a, b in zip(self.low, self.size, strict=True))

    @property
    def voxels(self) -> int:
        """How many there are."""
        return int(np.prod(self.size))

    def padded(self, by: Sequence[int], limits: Box) -> Box:
        """This box with `by` (k, j, i) more voxels on either side, as far as `limits` has them."""
        low = np.maximum(np.subtract(self.low, by), limits.low)
        high = np.minimum(np.add(self.high, by), limits.high)
        return Box.between(low, high)

    def within(self, other: Box) -> tuple[slice, slice, slice]:
        """Slices of this box in an array of the other one."""
        return tuple(
            slice(a - b, a - b + n) for a, b, n in zip(self.low, other.low, self.size, strict=True)
        )

    @classmethod
    def between(cls, low: Sequence[int], high: Sequence[int]) -> Box:
        """From the first voxel to one beyond the last."""
        sizes = (int(b) - int(a) for a, b in zip(low, high, strict=True))
        return cls(tuple(int(a) for a in low), tuple(sizes))

    @classmethod
    def around(cls, boxes: Sequence[Box]) -> Box:
        """The smallest box that holds all of these."""
        return cls.between(
            np.min([box.low for box in boxes], axis=0), np.max([box.high for box in boxes], axis=0)
        )


@dataclass(frozen=True, eq=False)
class Roi:
    """The voxels of a ROI: `inside` boolean `[k, j, i]` over `box` of the image's lattice, which
    is the tightest that holds them."""

    box: Box
    inside: np.ndarray

    @property
    def voxels(self) -> int:
        """How many voxels belong to it."""
        return int(np.count_nonzero(self.inside))


def roi_on(mask: Mask, grid: Grid) -> Roi:
    """The voxels of an image grid that a mask covers by half or more.

    Raises `GeometryError` when the mask lies on other voxels than the image, `DataError` when it
    covers none or lies outside.
    """
    offset = mask.grid.offset_in(grid)
    if offset is None:
        raise GeometryError(
            f"{mask.name}: the mask lies on other voxels than the image; resample it onto the image"
        )
    whole = mask.array if mask.array.dtype == bool else np.asarray(mask.array) >= INSIDE
    if not whole.any():
        raise DataError(f"{mask.name} covers no voxel of the image by half or more")
    there = Box(offset, whole.shape)
    image = Box((0, 0, 0), grid.shape)
    low, high = np.maximum(there.low, image.low), np.minimum(there.high, image.high)
    if np.any(high <= low):
        raise DataError(f"{mask.name} lies outside the image")
    here = Box.between(low, high)
    found = tight(whole[here.within(there)], here)
    if found is None:
        raise DataError(f"{mask.name} lies outside the image")
    return found


def tight(inside: np.ndarray, box: Box) -> Roi | None:
    """A ROI in its tightest box; None when nothing is inside."""
    spans = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        filled = np.flatnonzero(inside.any(axis=others))
        if filled.size == 0:
            return None
        spans.append((int(filled[0]), int(filled[-1]) + 1))
    part = inside[tuple(slice(*span) for span in spans)]
    low = tuple(a + span[0] for a, span in zip(box.low, spans, strict=True))
    return Roi(Box(low, part.shape), part)
