"""The same ROI drawn by another hand: where its surface might lie just as well.

A ROI is a level: `[k, j, i]` signed distances in mm of the voxel centres from its surface, positive
inside, so that moving, growing and varying it are not rounded to voxels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..errors import DataError
from ..structures.distance import surface_gauge
from ..structures.lattice_boxes import filled_box
from ..structures.surface import INSIDE

Spacing = tuple[float, float, float]  # mm, in the order of array axes

# A supervoxel's edge as a part of the diameter of the sphere that is as large as the ROI, and the
# range that it stays within: a tumour's outline is uncertain by a few mm.
_EDGE_OF_DIAMETER = 0.15
_EDGE_MM = (2.0, 5.0)
# Weight of one supervoxel edge against the image's range of values in the ROI and its rim (SLIC's
# compactness), and how far the image is smoothed first, in supervoxel edges: with less of either,
# supervoxels follow noise, with more they cut through what is to be seen.
_COMPACTNESS = 0.5
_SMOOTHING = 0.2
_ITERATIONS = 10
# Supervoxels that the ROI covers by at least the second share belong to every drawing, those by
# less than the first to none; between them the share is the probability.
_RANDOM_SHARES = (0.2, 0.9)
# How deep, in voxels, a voxel lies at least inside or outside.
_LEAST_LEVEL = 0.05
# How far a bump of the surface reaches along it.
_BUMP_MM = 10.0


def level_of(share: np.ndarray, spacing_mm: Spacing, reach_mm: float) -> np.ndarray:
    """The level of a ROI `[k, j, i]` (shares 0..1 or booleans), float32, within `reach_mm`: above
    0 in the voxels that it covers by half, below 0 in the others.

    Raises `DataError` for a ROI without a voxel that it covers by half.
    """
    box = filled_box(share >= INSIDE)
    if box is None:
        raise DataError("the ROI covers no voxel by half")
    room = [math.ceil(reach_mm / s) + 2 for s in spacing_mm]
    pad = [(room[a], room[a]) for a in range(3)]
    near = np.pad(np.clip(share[box].astype(np.float32), 0, 1), pad)
    pair = (reach_mm, reach_mm)
    gauge = surface_gauge(near, spacing_mm, (1, 1, 1), (pair, pair, pair))
    part = np.clip(-gauge, -1, 1) * np.float32(reach_mm)
    level = np.full(share.shape, -reach_mm, dtype=np.float32)
    inside, source = [], []
    for axis, own in enumerate(box):
        low, high = own.start - room[axis], own.stop + room[axis]
        inside.append(slice(max(low, 0), min(high, share.shape[axis])))
        source.append(slice(inside[-1].start - low, inside[-1].stop - low))
    level[tuple(inside)] = part[tuple(source)]
    # The surface is smoother than the steps of a label, but the ROI is what was given.
    least = np.float32(_LEAST_LEVEL * min(spacing_mm))
    return np.where(share >= INSIDE, np.maximum(level, least), np.minimum(level, -least))


def bumps_mm(
    shape: tuple[int, int, int], spacing_mm: Spacing, sigma_mm: float, random: np.random.Generator
) -> np.ndarray:
    """`[k, j, i]` smooth random field: how far the surface moves outwards at each place.

    Normal with this standard deviation, at most three of them, correlated over 10 mm.
    """
    widths = [_BUMP_MM / 2 / s for s in spacing_mm]
    field = ndimage.gaussian_filter(random.standard_normal(shape), widths, mode="wrap")
    spread = float(field.std())
    if spread == 0:  # a single voxel
        return np.zeros(shape)
    return np.clip(field / spread, -3, 3) * sigma_mm


@dataclass(frozen=True, eq=False)
class Supervoxels:
    """A ROI's surroundings divided into supervoxels, from which it can be drawn anew.

    SLIC (Achanta et al., IEEE Transactions on Pattern Analysis and Machine Intelligence 34 (2012)
    2274) makes supervoxels that follow edges. Those that the ROI covers almost wholly stay in,
    those that it hardly touches stay out, the others are in with the covered share as their
    probability (after Zwanenburg et al., Scientific Reports 9 (2019) 614; sizes and weights are
    ours). `labels` `[k, j, i]` number the supervoxels in the part `box` of an array of `shape`,
    `covered` is their covered share.
    """

    shape: tuple[int, int, int]
    box: tuple[slice, slice, slice]
    labels: np.ndarray
    covered: np.ndarray

    @classmethod
    def about(cls, image: np.ndarray, share: np.ndarray, spacing_mm: Spacing) -> Supervoxels:
        """Those about a ROI. Raises `DataError` for one without a voxel that it covers by half."""
        inside = share >= INSIDE
        box = filled_box(inside)
        if box is None:
            raise DataError("the ROI covers no voxel by half")
        volume_mm3 = np.count_nonzero(inside) * math.prod(spacing_mm)
        diameter_mm = (6 * volume_mm3 / math.pi) ** (1 / 3)
        edge_mm = float(np.clip(_EDGE_OF_DIAMETER * diameter_mm, *_EDGE_MM))
        steps = [max(2, round(edge_mm / s)) for s in spacing_mm]
        k, j, i = (
            slice(max(part.start - 3 * n, 0), part.stop + 3 * n)
            for part, n in zip(box, steps, strict=True)
        )
        labels = _supervoxels(image[k, j, i], inside[k, j, i], steps)
        covered = np.bincount(labels.ravel(), weights=inside[k, j, i].ravel())
        return cls(share.shape, (k, j, i), labels, covered / np.bincount(labels.ravel()))

    def drawn(self, random: np.random.Generator) -> np.ndarray:
        """`[k, j, i]` booleans: the ROI put together anew."""
        least, most = _RANDOM_SHARES
        chosen = random.random(len(self.covered)) < self.covered
        chosen = (self.covered >= most) | ((self.covered >= least) & chosen)
        if not chosen.any():
            chosen[self.covered.argmax()] = True
        closed = ndimage.binary_closing(np.pad(chosen[self.labels], 1), np.ones((3, 3, 3)))
        result = np.zeros(self.shape, dtype=bool)
        result[self.box] = closed[1:-1, 1:-1, 1:-1]
        return result


def _supervoxels(image: np.ndarray, inside: np.ndarray, steps: list[int]) -> np.ndarray:
    """`[k, j, i]` number of the supervoxel of each voxel."""
    import SimpleITK as sitk  # noqa: N813

    # The values that matter are those of the ROI and its rim; bone beyond would flatten them.
    rim = ndimage.binary_dilation(inside, np.ones((3, 3, 3)), iterations=2)
    smooth = ndimage.gaussian_filter(image.astype(np.float32), [_SMOOTHING * n for n in steps])
    low, high = np.percentile(smooth[rim], (1, 99))
    scaled = np.clip((smooth - low) / max(high - low, 1e-12), 0, 1).astype(np.float32)
    slic = sitk.SLICImageFilter()
    slic.SetSuperGridSize([min(n, size) for n, size in zip(steps, image.shape, strict=True)][::-1])
    slic.SetSpatialProximityWeight(_COMPACTNESS)
    slic.SetMaximumNumberOfIterations(_ITERATIONS)
    slic.SetEnforceConnectivity(True)
    slic.SetNumberOfThreads(1)  # ROIs are what runs side by side
    labels = sitk.GetArrayFromImage(slic.Execute(sitk.GetImageFromArray(scaled)))
    return np.unique(labels, return_inverse=True)[1].reshape(image.shape)
