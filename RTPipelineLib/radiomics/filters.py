"""Filtered images of a region, by pyradiomics' names and definitions.

Each filter sees no more of the image than it needs for the box that is wanted, so that one region
serves all ROIs in it. The functions that work voxel by voxel but depend on the largest value of the
image get that value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from . import spherical_patterns
from .parameters import LOG_SIGMAS, SCALED_BY_IMAGE, Parameters, log_padding
from .roi import Box

Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Filter:
    """One filter to apply: its image type, the settings for it and the features of its images, and
    the voxels (k, j, i) that it needs around a box."""

    image_type: str
    settings: Mapping[str, object]
    padding: tuple[int, int, int]

    @property
    def depends_on_image(self) -> bool:
        """True when a value depends on the largest one of the image, and so on its extent."""
        return self.image_type in SCALED_BY_IMAGE

    @property
    def wraps(self) -> bool:
        """True when the ends of the image count as neighbours."""
        return self.image_type == "Wavelet"


def filters_of(parameters: Parameters, spacing: Spacing) -> list[Filter]:
    """The filters of a parameter file, a Laplacian of Gaussian for each sigma; `spacing` (k, j, i)
    in mm."""
    found = []
    for name in parameters.image_types:
        settings = parameters.of_image_type(name)
        if name != "LoG":
            padding = parameters.padding(name, spacing[::-1])[::-1]
            found.append(Filter(name, settings, padding))
            continue
        for sigma in settings.get("sigma") or ():
            padding = log_padding(float(sigma), spacing[::-1])[::-1]
            found.append(Filter(name, {**settings, "sigma": [sigma]}, padding))
    return found


def apply(
    wanted: Filter, region: np.ndarray, box: Box, target: Box, spacing: Spacing, top: float
) -> Iterator[tuple[str, np.ndarray]]:
    """(image name, values `[k, j, i]` over `target`) of a filter.

    `region` are the voxels of `box`, which holds `target` and its padding; `top` is the largest
    absolute value of the image, for filters that are scaled by it. A filter that the image is too
    small for, or that would divide by zero, gives nothing.
    """
    if wanted.image_type == "Original":
        yield "original", region[target.within(box)]
    elif wanted.depends_on_image:
        values = _SCALED[wanted.image_type](region[target.within(box)].astype(np.float64), top)
        if values is not None:
            yield wanted.image_type.lower(), values
    elif wanted.wraps and not _several_levels(wanted.settings):
        yield from _wavelets(wanted.settings, region, target.within(box))
    elif wanted.image_type == "LBP3D":
        yield from spherical_patterns.patterns(wanted.settings, region, target.within(box))
    else:
        yield from _by_pyradiomics(wanted, region, target.within(box), spacing)


def _by_pyradiomics(
    wanted: Filter, region: np.ndarray, part: tuple[slice, ...], spacing: Spacing
) -> Iterator[tuple[str, np.ndarray]]:
    import SimpleITK
    from radiomics import imageoperations

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(region))
    image.SetSpacing(spacing[::-1])
    make = getattr(imageoperations, f"get{wanted.image_type}Image")
    for filtered, name, _ in make(image, None, **wanted.settings):
        # SimpleITK's array belongs to the filtered image, which ends with this step.
        yield name, SimpleITK.GetArrayViewFromImage(filtered)[part].copy()


# -- scaled by the largest value ------------------------------------------------------------------


def _square(values: np.ndarray, top: float) -> np.ndarray | None:
    return None if top <= 0 else (1 / np.sqrt(top) * values) ** 2


def _square_root(values: np.ndarray, top: float) -> np.ndarray | None:
    return np.sign(values) * np.sqrt(np.abs(values) * top)


def _logarithm(values: np.ndarray, top: float) -> np.ndarray | None:
    if top <= 0:
        return None
    return np.sign(values) * np.log(np.abs(values) + 1) * (top / np.log(top + 1))


def _exponential(values: np.ndarray, top: float) -> np.ndarray | None:
    return None if top <= 0 else np.exp(np.log(top) / top * values)


_SCALED: dict[str, Callable[[np.ndarray, float], np.ndarray | None]] = {
    "Square": _square,
    "SquareRoot": _square_root,
    "Logarithm": _logarithm,
    "Exponential": _exponential,
}

# -- wavelets -------------------------------------------------------------------------------------


def _several_levels(settings: Mapping[str, object]) -> bool:
    return (settings.get("level") or 1) != 1 or (settings.get("start_level") or 0) != 0


def _wavelets(
    settings: Mapping[str, object], region: np.ndarray, part: tuple[slice, ...]
) -> Iterator[tuple[str, np.ndarray]]:
    """The stationary wavelet transform of the first level, an axis at a time: what the next axis
    does not need is dropped at once. The first letter is that of the fastest axis (x)."""
    import pywt

    wavelet = pywt.Wavelet(str(settings.get("wavelet") or "coif1"))
    axes = [2, 1, 0]
    if settings.get("force2D"):
        axes.remove(int(settings.get("force2Ddimension") or 0))
        idle = tuple(slice(None) if axis in axes else part[axis] for axis in range(3))
        region = region[idle]
    yield from _along(axes, "", region, part, wavelet)


def _along(
    axes: list[int], name: str, values: np.ndarray, part: tuple[slice, ...], wavelet: object
) -> Iterator[tuple[str, np.ndarray]]:
    import pywt

    if not axes:
        yield f"wavelet-{name}", values
        return
    axis, size = axes[0], values.shape[axes[0]]
    if size % 2:  # the transform needs an even number: the first voxel stands behind the last
        padding = [(0, 1 if other == axis else 0) for other in range(3)]
        values = np.pad(values, padding, "wrap")
    ((low, high),) = pywt.swt(values, wavelet, level=1, start_level=0, axis=axis)
    cut = tuple(part[axis] if other == axis else slice(None) for other in range(3))
    for letter, band in (("L", low), ("H", high)):
        yield from _along(axes[1:], name + letter, band[cut], part, wavelet)


__all__ = ["LOG_SIGMAS", "Filter", "apply", "filters_of"]
