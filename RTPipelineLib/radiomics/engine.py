"""Features of ROIs by pyradiomics: its names, its parameter files, its values to 1e-6.

What differs is the work: the image is cropped to what the filters need, a filtered image serves all
ROIs that lie close together, and grey levels are cut into bins once for all feature classes. One
thing is stricter than pyradiomics: filters always get the padding that they need, whatever
`padDistance` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from ..errors import DataError, GeometryError, UsageError
from ..model import Mask, Volume
from .filters import Filter, apply, filters_of
from .grouping import MAX_ROIS, grouped
from .lattice import Lattice
from .parameters import Parameters
from .roi import Box, Roi, roi_on, tight
from .texture import feature_values, shape_values

ENGINE = "pyradiomics"
Began = Callable[[str, int | None], None]
_DISTRIBUTIONS = ("pyradiomics-cuda", "pyradiomics")


@dataclass(frozen=True)
class RoiFeatures:
    """The features of one ROI: `values` by pyradiomics' names, `voxels` of the image and
    `analysed_voxels` (after resampling and resegmentation) that they rest on, and `notes` on what
    could not be computed."""

    values: Mapping[str, float]
    voxels: int
    analysed_voxels: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class PreparedRoi:
    """A ROI that is ready: its voxels on the image and on the lattice of its features, the box of
    that lattice that filters may look at, and the box whose largest value scales some of them."""

    name: str
    native: Roi
    lattice: Lattice
    roi: Roi
    extent: Box
    scale: Box


def features(image: Volume, mask: Mask, parameters: Parameters) -> RoiFeatures:
    """The features of one ROI of one image.

    `mask` lies on voxels of the image's grid (any part of it), where a covered half counts as
    inside. Raises `DataError` with the reason when the ROI has no features, `UsageError` when
    pyradiomics is not installed.
    """
    extraction = Extraction(image, parameters)
    ((_, found),) = extraction.run([extraction.prepare(mask)])
    if isinstance(found, DataError):
        raise found
    return found


def engine_version() -> str:
    """The package that computes, and its version. Raises `UsageError` when there is none."""
    for name in _DISTRIBUTIONS:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    try:
        from radiomics import __version__ as number
    except ImportError:
        raise UsageError(
            "radiomics needs the package pyradiomics: pip install 'slicer-rtpipeline[radiomics]' "
            "(it is compiled, so a C compiler is needed); in 3D Slicer install the extension "
            "SlicerRadiomics"
        ) from None
    return f"pyradiomics {number}"


def check_features(parameters: Parameters) -> None:
    """Raise `UsageError` for a feature that its class does not have, and for a filter that needs a
    package that is not there (pyradiomics would leave it out in silence)."""
    from importlib.util import find_spec

    from radiomics import getFeatureClasses

    if "LBP2D" in parameters.image_types and find_spec("skimage") is None:
        raise UsageError(
            f"{parameters.name}: imageType.LBP2D needs a package: pip install scikit-image"
        )
    for name, chosen in parameters.feature_classes.items():
        known = getFeatureClasses()[name].getFeatureNames()
        for feature in chosen or ():
            if feature not in known:
                raise UsageError(
                    f"{parameters.name}: featureClass.{name}: {feature} is not a feature; "
                    f"one of {', '.join(known)}"
                )


class Extraction:
    """One image under one parameter file."""

    def __init__(self, image: Volume, parameters: Parameters) -> None:
        """Raises `GeometryError` for unevenly spaced slices."""
        if not image.grid.is_uniform:
            raise GeometryError(
                "features need evenly spaced slices; resample the image first (stage load does)"
            )
        self.image = image
        self.parameters = parameters
        self.source = tuple(float(step) for step in image.grid.spacing_mm[::-1])

    @cached_property
    def array(self) -> np.ndarray:
        """The image's values, normalised where the file says so."""
        return _normalised(self.image.array, self.parameters)

    @cached_property
    def _top(self) -> float:
        return _largest(self.array)

    def prepare(self, mask: Mask) -> PreparedRoi:
        """The ROI on the voxels of its features.

        Raises `DataError` with the reason when it cannot have any.
        """
        native = roi_on(mask, self.image.grid)
        lattice = self._lattice(native)
        try:
            roi = lattice.roi(native, self.image.grid, self._padding)
        except DataError as error:
            raise DataError(f"{mask.name}: {error}") from None
        _check_size(mask.name, roi, self.parameters)
        limits = lattice.limits
        if lattice.is_native and not self._crops:
            return PreparedRoi(mask.name, native, lattice, roi, limits, limits)
        around = lattice.around(native.box)
        padding = self.parameters.widest_padding(lattice.spacing[::-1])[::-1]
        extent, scale = around.padded(padding, limits), around.padded((self._padding,) * 3, limits)
        return PreparedRoi(mask.name, native, lattice, roi, extent, scale)

    def groups(self, rois: Sequence[PreparedRoi], most: int = MAX_ROIS) -> list[list[int]]:
        """Numbers of the ROIs that had better be computed together, `most` at a time."""
        found = []
        for lattice in dict.fromkeys(roi.lattice for roi in rois):
            own = [n for n, roi in enumerate(rois) if roi.lattice == lattice]
            padding = self.parameters.widest_padding(lattice.spacing[::-1])[::-1]
            boxes = [rois[n].roi.box.padded(padding, lattice.limits) for n in own]
            found += [[own[n] for n in group] for group in grouped(boxes, most)]
        return found

    def run(
        self, rois: Sequence[PreparedRoi], began: Began = lambda what, number: None
    ) -> Iterator[tuple[int, RoiFeatures | DataError]]:
        """(number, features or why there are none) of these ROIs, which share their filters.

        They have one lattice, as `groups` puts them together. `began` hears of every step: what it
        is, and the number of the ROI when it is about one alone.
        """
        lattice = rois[0].lattice
        wanted = filters_of(self.parameters, lattice.spacing)
        padding = np.max([one.padding for one in wanted], axis=0, initial=0)
        boxes = [one.roi.box.padded(padding, one.extent) for one in rois]
        # A wavelet of a ROI at the image's edge looks at the other end of the image.
        boxes += [_wrapped(one, f) for f in wanted if f.wraps for one in rois]
        box = Box.around(boxes)
        interpolator = self.parameters.interpolator or "sitkBSpline"
        region = lattice.image(self.array, box, interpolator)
        shares = [_Share(one, region[one.roi.box.within(box)]) for one in rois]
        for each in wanted:
            began(each.image_type, None)
            self._filter(each, region, box, rois, shares)
        for number, share in enumerate(shares):
            began(share.one.name, number)
            try:
                yield number, share.features(self.parameters)
            except DataError as error:
                yield number, error
            except (ArithmeticError, ValueError, RuntimeError) as error:  # pyradiomics, ITK, NumPy
                yield number, DataError(f"{share.one.name}: pyradiomics failed: {error}")
            share.images.clear()

    def _filter(
        self,
        wanted: Filter,
        region: np.ndarray,
        box: Box,
        rois: Sequence[PreparedRoi],
        shares: Sequence[_Share],
    ) -> None:
        """Give every ROI its part of the filtered images."""
        spacing = rois[0].lattice.spacing
        for members in _together(wanted, rois):
            own = [rois[n] for n in members]
            target = Box.around([one.roi.box for one in own])
            needed = Box.around([_needed(one, wanted) for one in own])
            part = region[needed.within(box)]
            top = self._top_of(own[0]) if wanted.depends_on_image else 0.0
            names = []
            for name, values in apply(wanted, part, needed, target, spacing, top):
                names.append(name)
                for n, one in zip(members, own, strict=True):
                    cut = values[one.roi.box.within(target)]
                    shares[n].images.append((name, cut.copy(), wanted.settings))
            if not names:
                for n in members:
                    what = "the image is too small for it, or 0 everywhere"
                    shares[n].notes.append(f"no {wanted.image_type}: {what}")

    def _lattice(self, roi: Roi) -> Lattice:
        wanted = self.parameters.resampled_mm
        spacing = self.source
        if wanted is not None:
            # 0 keeps an axis, and so does a ROI of one slice: there is nothing to interpolate.
            spacing = tuple(
                old if new == 0 or size == 1 else new
                for new, old, size in zip(wanted[::-1], self.source, roi.box.size, strict=True)
            )
        return Lattice(self.source, spacing, self.image.array.shape)

    @property
    def _padding(self) -> int:
        return int(self.parameters.setting("padDistance", 5))

    @property
    def _crops(self) -> bool:
        resamples = self.parameters.resampled_mm is not None
        return resamples or bool(self.parameters.setting("preCrop", False))

    def _top_of(self, one: PreparedRoi) -> float:
        """The largest absolute value of what pyradiomics takes for the image: all of it, or what is
        left after cropping to the ROI with the file's padding."""
        if one.lattice.is_native and one.scale == one.lattice.limits:
            return self._top
        interpolator = self.parameters.interpolator or "sitkBSpline"
        return _largest(one.lattice.image(self.array, one.scale, interpolator))


class _Share:
    """What belongs to one ROI of a group: its cropped images, and what could not be made."""

    def __init__(self, one: PreparedRoi, values: np.ndarray) -> None:
        self.one = one
        self.values = values.copy()
        self.images: list[tuple[str, np.ndarray, Mapping[str, object]]] = []
        self.notes: list[str] = []

    def features(self, parameters: Parameters) -> RoiFeatures:
        """All features. Raises `DataError` with the reason when there can be none."""
        one, inside = self.one, self.one.roi.inside
        unknown = int(np.count_nonzero(~np.isfinite(self.values[inside])))
        if unknown:
            raise DataError(f"{one.name}: {unknown} of its voxels have no number in the image")
        analysed = _resegmented(one.name, self.values, inside, parameters)
        kept = tight(analysed, Box((0, 0, 0), analysed.shape))
        if kept is None:
            raise DataError(f"{one.name}: no voxel is left after resegmentation")
        _check_size(one.name, kept, parameters)
        part = kept.box.within(Box((0, 0, 0), analysed.shape))
        classes, spacing = parameters.feature_classes, one.lattice.spacing
        # As pyradiomics: the shape is that of the ROI before resegmentation, in the box after it.
        shape = kept.inside if parameters.setting("resegmentShape", False) else inside[part]
        values = shape_values(shape, spacing, classes, parameters.settings)
        for name, image, settings in self.images:
            cut = image[part]
            if not np.isfinite(cut[kept.inside]).all():
                self.notes.append(f"no {name}: voxels near the ROI have no number in the image")
                continue
            values |= feature_values(name, cut, kept.inside, spacing, classes, settings)
        notes = tuple(dict.fromkeys(self.notes))
        return RoiFeatures(values, one.native.voxels, kept.voxels, notes)


def _needed(one: PreparedRoi, wanted: Filter) -> Box:
    """What a filter has to see for one ROI."""
    return _wrapped(one, wanted) if wanted.wraps else one.roi.box.padded(wanted.padding, one.extent)


def _wrapped(one: PreparedRoi, wanted: Filter) -> Box:
    """The ROI's box with a filter's padding; where the image ends, all of the image along that
    axis, because a filter that wraps around sees its other end."""
    box, extent = one.roi.box.padded(wanted.padding, one.extent), one.extent
    low, high = list(box.low), list(box.high)
    for axis in range(3):
        short = one.roi.box.low[axis] - wanted.padding[axis] < extent.low[axis]
        short |= one.roi.box.high[axis] + wanted.padding[axis] > extent.high[axis]
        if short:
            low[axis], high[axis] = extent.low[axis], extent.high[axis]
    return Box.between(low, high)


def _together(wanted: Filter, rois: Sequence[PreparedRoi]) -> list[list[int]]:
    """Which ROIs one run of a filter serves: each its own where the result depends on the extent of
    its image, or where one region for all would be larger than one for each."""
    numbers = list(range(len(rois)))
    boxes = [_needed(one, wanted) for one in rois]
    open_ends = [one.roi.box.padded(wanted.padding, one.extent) for one in rois]
    own_scale = len({one.scale for one in rois}) > 1
    alone = [
        n
        for n in numbers
        if (wanted.depends_on_image and own_scale) or (wanted.wraps and boxes[n] != open_ends[n])
    ]
    shared = [n for n in numbers if n not in alone]
    groups = [[n] for n in alone]
    if shared:
        union = Box.around([boxes[n] for n in shared]).voxels
        apart = sum(boxes[n].voxels for n in shared)
        groups += [shared] if union <= apart else [[n] for n in shared]
    return groups


def _check_size(name: str, roi: Roi, parameters: Parameters) -> None:
    """Raise `DataError` for a ROI with fewer dimensions or voxels than the file asks for."""
    if roi.voxels == 1:
        raise DataError(f"{name} has a single voxel")
    least = int(parameters.setting("minimumROIDimensions", 2))
    dimensions = sum(size > 1 for size in roi.box.size)
    if dimensions < least:
        raise DataError(
            f"{name} extends along {dimensions} axes; minimumROIDimensions asks for {least}"
        )
    smallest = parameters.setting("minimumROISize")
    if smallest is not None and roi.voxels <= int(smallest):
        raise DataError(
            f"{name} has {roi.voxels} voxels; minimumROISize asks for more than {smallest}"
        )


def _normalised(array: np.ndarray, parameters: Parameters) -> np.ndarray:
    """Values minus their mean over their standard deviation, of the whole image."""
    if not parameters.setting("normalize", False):
        return array
    import SimpleITK

    image = SimpleITK.Normalize(SimpleITK.GetImageFromArray(array))
    values = SimpleITK.GetArrayFromImage(image)
    outliers = parameters.setting("removeOutliers")
    if outliers is not None:
        np.clip(values, -float(outliers), float(outliers), out=values)
    return values * float(parameters.setting("normalizeScale", 1))


def _resegmented(
    name: str, values: np.ndarray, inside: np.ndarray, parameters: Parameters
) -> np.ndarray:
    """The part of a ROI whose values lie in the range of the file (none: all of it)."""
    limits = parameters.setting("resegmentRange")
    if limits is None:
        return inside
    chosen = values[inside]
    mode = parameters.setting("resegmentMode", "absolute")
    ordered = sorted(float(limit) for limit in limits)
    if mode == "relative":
        ordered = [chosen.max() * limit for limit in ordered]
    elif mode == "sigma":
        ordered = [chosen.mean() + chosen.std() * limit for limit in ordered]
    kept = chosen >= ordered[0]
    if len(ordered) == 2:
        kept &= chosen <= ordered[1]
    if np.count_nonzero(kept) <= 1:
        raise DataError(
            f"{name}: {np.count_nonzero(kept)} voxels are left after resegmentation "
            f"(resegmentRange {list(limits)}, {mode})"
        )
    found = np.zeros_like(inside)
    found[inside] = kept
    return found


def _largest(values: np.ndarray) -> float:
    """The largest absolute value."""
    return float(max(abs(float(values.min())), abs(float(values.max()))))
