"""The voxels on which features are computed: those of the image, or finer or coarser ones.

The resampled lattice is pyradiomics' own: aligned with the corner of the image, so that all ROIs of
an image share it. Sizes and spacings are (x, y, z) where they come from a parameter file and
(k, j, i) everywhere else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DataError
from ..geometry import Grid
from .roi import Box, Roi, tight

# The cubic B-spline's prefilter dies away by 0.268 a voxel: after 40 nothing of a cut is left.
SPLINE_MARGIN = 40
# A value so near a whole number is that number, whatever the last bit of the sum says.
_WHOLE = 1e-8


@dataclass(frozen=True)
class Lattice:
    """Voxels of `spacing` (k, j, i) mm over an image whose voxels have `source` mm and whose array
    has the shape `shape`; equal spacings mean the image's own voxels."""

    source: tuple[float, float, float]
    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]

    @property
    def is_native(self) -> bool:
        """True when nothing is interpolated."""
        return bool(np.allclose(self.source, self.spacing))

    @property
    def limits(self) -> Box:
        """All voxels of the lattice that lie over the image."""
        if self.is_native:
            return Box((0, 0, 0), self.shape)
        sizes = (
            math.ceil(n * old / new)
            for n, old, new in zip(self.shape, self.source, self.spacing, strict=True)
        )
        return Box((0, 0, 0), tuple(sizes))

    def positions(self, axis: int, first: int, count: int) -> np.ndarray:
        """Where voxels `first` .. lie along an axis, in voxels of the image."""
        old, new = self.source[axis], self.spacing[axis]
        return 0.5 * (new - old) / old + np.arange(first, first + count) * (new / old)

    def around(self, box: Box) -> Box:
        """The voxels of this lattice over a box of the image, rounded outwards."""
        if self.is_native:
            return box
        ratio = np.divide(self.source, self.spacing)
        low = np.floor((np.array(box.low) - 0.5) * ratio)
        high = np.ceil((np.array(box.high) - 0.5) * ratio) + 1
        return Box.between(low, high).padded((0, 0, 0), self.limits)

    def roi(self, roi: Roi, grid: Grid, padding: int) -> Roi:
        """The ROI on this lattice: each voxel takes the nearest one of the image, on `grid`.

        Where a voxel lies half-way between two, rounding decides. ITK does here what it does for
        pyradiomics (the same positions, with the file's `padding` in voxels), to the last bit.
        Raises `DataError` when no voxel is left.
        """
        if self.is_native:
            return roi
        import SimpleITK

        whole = np.zeros(self.shape, dtype=np.uint8)
        whole[roi.box.within(Box((0, 0, 0), self.shape))] = roi.inside
        image = SimpleITK.GetImageFromArray(whole)
        image.SetOrigin(grid.origin_mm.tolist())
        image.SetSpacing(grid.spacing_mm.tolist())
        image.SetDirection(grid.direction.ravel().tolist())
        box = self.around(roi.box).padded((padding,) * 3, self.limits)
        old, new = np.array(self.source[::-1]), np.array(self.spacing[::-1])
        first = 0.5 * (new - old) / old + np.array(box.low[::-1]) / (old / new)
        resample = SimpleITK.ResampleImageFilter()
        resample.SetOutputOrigin(image.TransformContinuousIndexToPhysicalPoint(first.tolist()))
        resample.SetOutputSpacing(new.tolist())
        resample.SetOutputDirection(image.GetDirection())
        resample.SetSize(box.size[::-1])
        resample.SetInterpolator(SimpleITK.sitkNearestNeighbor)
        inside = SimpleITK.GetArrayFromImage(resample.Execute(image)).astype(bool)
        found = tight(inside, box)
        if found is None:
            raise DataError("no voxel is left of it after resampling")
        return found

    def image(self, array: np.ndarray, box: Box, interpolator: str) -> np.ndarray:
        """An image `[k, j, i]` on a box of this lattice, in its own type of number.

        As ITK has it, whole numbers are cut off behind the point, not rounded; and 0 lies beyond
        the image. Raises `DataError` for an interpolator that SimpleITK does not have.
        """
        if self.is_native:
            return array[box.within(Box((0, 0, 0), self.shape))]
        places = [self.positions(axis, box.low[axis], box.size[axis]) for axis in range(3)]
        cuts = []
        for place, size in zip(places, self.shape, strict=True):
            first = max(0, math.floor(place[0]) - SPLINE_MARGIN)
            cuts.append(slice(first, min(size, math.ceil(place[-1]) + SPLINE_MARGIN + 1)))
        part = array[tuple(cuts)]
        starts = [cut.start for cut in cuts]
        if interpolator == "sitkBSpline":
            found = _spline(part, [p - s for p, s in zip(places, starts, strict=True)])
        else:
            found = self._by_itk(part, places, starts, interpolator)
        for axis, (place, size) in enumerate(zip(places, self.shape, strict=True)):
            beyond = (place < -0.5) | (place > size - 0.5)
            if beyond.any():
                np.moveaxis(found, axis, 0)[beyond] = 0
        return _as_type(found, array.dtype)

    def _by_itk(
        self,
        part: np.ndarray,
        places: Sequence[np.ndarray],
        starts: Sequence[int],
        interpolator: str,
    ) -> np.ndarray:
        import SimpleITK

        kind = getattr(SimpleITK, interpolator, None)
        if kind is None:
            raise DataError(f"SimpleITK has no interpolator {interpolator}")
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(part, dtype=np.float64))
        image.SetSpacing(self.source[::-1])
        image.SetOrigin([s * d for s, d in zip(starts[::-1], self.source[::-1], strict=True)])
        resample = SimpleITK.ResampleImageFilter()
        resample.SetOutputSpacing(self.spacing[::-1])
        resample.SetSize([len(place) for place in reversed(places)])
        origin = [p[0] * d for p, d in zip(places, self.source, strict=True)]
        resample.SetOutputOrigin(origin[::-1])
        resample.SetInterpolator(kind)
        return SimpleITK.GetArrayFromImage(resample.Execute(image))


def _spline(part: np.ndarray, places: Sequence[np.ndarray]) -> np.ndarray:
    """Cubic B-spline interpolation, an axis at a time (Unser, IEEE Signal Process Mag 16 (1999)
    22), mirrored at the ends as ITK mirrors it."""
    from scipy.ndimage import spline_filter1d

    values = np.asarray(part, dtype=np.float64)
    for axis in (2, 1, 0):
        size = values.shape[axis]
        if size > 1:
            values = spline_filter1d(values, order=3, axis=axis, mode="mirror")
        first = np.floor(places[axis]).astype(np.int64)
        t = places[axis] - first
        weights = (
            (1 - t) ** 3 / 6,
            (4 - 6 * t**2 + 3 * t**3) / 6,
            (1 + 3 * t + 3 * t**2 - 3 * t**3) / 6,
            t**3 / 6,
        )
        shape = [1, 1, 1]
        shape[axis] = -1
        total = None
        for step, weight in enumerate(weights):
            index = _mirrored(first + step - 1, size)
            term = np.take(values, index, axis=axis)
            term *= weight.reshape(shape)
            total = term if total is None else np.add(total, term, out=total)
        values = total
    return values


def _mirrored(index: np.ndarray, size: int) -> np.ndarray:
    if size == 1:
        return np.zeros_like(index)
    period = 2 * (size - 1)
    index = np.abs(index) % period
    return np.where(index < size, index, period - index)


def _as_type(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if not np.issubdtype(dtype, np.integer):
        return values.astype(dtype)
    whole = np.rint(values)
    cut = np.where(np.abs(values - whole) < _WHOLE, whole, np.trunc(values))
    limits = np.iinfo(dtype)
    return np.clip(cut, limits.min, limits.max).astype(dtype)
