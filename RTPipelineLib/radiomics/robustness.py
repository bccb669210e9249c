"""Features of perturbed images and ROIs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ..errors import DataError
from ..model import Mask, Volume
from .engine import Extraction, PreparedRoi, RoiFeatures
from .parameters import Parameters
from .perturbation import Chain, Perturbation, PerturbedImage, perturbed

Began = Callable[[str, Perturbation | None], None]
# Voxels of the image from which a resampled one is interpolated: beyond, a cubic spline has died
# away to 1e-5.
_SPLINE_VOXELS = 9


def perturbed_features(
    image: Volume,
    mask: Mask,
    parameters: Parameters,
    chain: Chain,
    course: str,
    points: Sequence[Perturbation] = (),
    began: Began = lambda what, point: None,
) -> Iterator[tuple[Perturbation, RoiFeatures | DataError]]:
    """The features of one ROI at these points of the grid (none: all of them), or why there are
    none, as they come.

    `mask` lies on voxels of the image's grid (any part of it). ROIs on one perturbed image share
    its filters; `began` hears of every step, and of its point when it is about one alone. The point
    without perturbation has the features of the ROI as it is. Raises `DataError` for a ROI that
    cannot be perturbed at all.
    """
    began("outlines", None)
    prepared = Extraction(image, parameters).prepare(mask)
    room = _room(prepared, parameters)
    for one in perturbed(image, mask, chain, course, room, points):
        yield from _of_image(one, parameters, began)
        began("perturbation", None)


def _room(prepared: PreparedRoi, parameters: Parameters) -> tuple[int, int, int]:
    """Voxels (k, j, i) of the image that filters see beyond the ROI."""
    lattice = prepared.lattice
    padding = np.array(parameters.widest_padding(lattice.spacing[::-1])[::-1])
    if not lattice.is_native:
        padding = np.ceil(padding * np.divide(lattice.spacing, lattice.source)) + _SPLINE_VOXELS
    k, j, i = (int(n) for n in padding)
    return k, j, i


def _of_image(
    one: PerturbedImage, parameters: Parameters, began: Began
) -> Iterator[tuple[Perturbation, RoiFeatures | DataError]]:
    extraction = Extraction(one.image, parameters)
    points, ready = [], []
    for point, roi in one.rois:
        if isinstance(roi, str):
            yield point, DataError(roi)
            continue
        try:
            ready.append(extraction.prepare(roi))
            points.append(point)
        except DataError as error:
            yield point, error
    for group in extraction.groups(ready):
        own = [points[n] for n in group]

        def heard(what: str, number: int | None, own: Sequence[Perturbation] = own) -> None:
            began(what, None if number is None else own[number])

        for number, found in extraction.run([ready[n] for n in group], heard):
            yield own[number], found
