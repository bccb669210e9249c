"""What an extraction is to do: the settings of a pyradiomics parameter file, and the room around a
ROI that its filters need."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import UsageError
from . import spherical_patterns

# A recursive Gaussian has died away, to 1e-6 of its features, ten standard deviations from a cut.
LOG_SIGMAS = 10
# The stationary wavelet of the default family needs fewer; longer families need more.
WAVELET_VOXELS = 10
GRADIENT_VOXELS = 2

# Their result at a voxel depends on the largest value of the whole image.
SCALED_BY_IMAGE = ("Square", "SquareRoot", "Logarithm", "Exponential")
IMAGE_TYPES = ("Original", "LoG", "Wavelet", *SCALED_BY_IMAGE, "Gradient", "LBP2D", "LBP3D")
_GREY_LEVEL_MATRICES = ("glcm", "glrlm", "glszm", "gldm", "ngtdm")
FEATURE_CLASSES = ("firstorder", "shape", "shape2D", *_GREY_LEVEL_MATRICES)


@dataclass(frozen=True)
class Parameters:
    """A pyradiomics parameter file as the engine takes it.

    `settings` are those of the key `setting`, `image_types` the enabled filters with settings of
    their own, `feature_classes` the enabled classes with the names of their features (none: all of
    them). `name` and `sha256` say which file it was, byte by byte. Raises `UsageError` for a filter
    or class that does not exist.
    """

    name: str
    sha256: str
    settings: Mapping[str, object] = field(default_factory=dict)
    image_types: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    feature_classes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        types = self.image_types or {"Original": {}}
        classes = self.feature_classes or dict.fromkeys(FEATURE_CLASSES, ())
        for key, names, known in (
            ("imageType", types, IMAGE_TYPES),
            ("featureClass", classes, FEATURE_CLASSES),
        ):
            for name in names:
                if name not in known:
                    raise UsageError(
                        f"{self.name}: {key}.{name} is not known; one of {', '.join(known)}"
                    )
        object.__setattr__(self, "image_types", types)
        object.__setattr__(self, "feature_classes", classes)

    def setting(self, name: str, default: object = None) -> object:
        """A general setting; null in the file means the default."""
        value = self.settings.get(name)
        return default if value is None else value

    def of_image_type(self, name: str) -> dict[str, object]:
        """The settings under which one filter and the features of its images are computed."""
        return {**self.settings, **self.image_types[name]}

    @property
    def resampled_mm(self) -> tuple[float, float, float] | None:
        """Voxel size (x, y, z) to resample to, 0 to keep an axis; None without resampling."""
        spacing = self.settings.get("resampledPixelSpacing")
        if spacing is None or self.interpolator is None:
            return None
        return tuple(float(value) for value in spacing)

    @property
    def interpolator(self) -> str | None:
        """SimpleITK's name of the interpolator; None when the file switches resampling off."""
        value = self.settings.get("interpolator", "sitkBSpline")
        return None if value is None else str(value)

    def padding(self, image_type: str, spacing_mm: Sequence[float]) -> tuple[int, int, int]:
        """Voxels (x, y, z) around a ROI that a filter needs, for values equal to those of the whole
        image within 1e-6."""
        settings = self.of_image_type(image_type)
        if image_type == "LoG":
            widest = max([float(sigma) for sigma in settings.get("sigma") or ()], default=0.0)
            return log_padding(widest, spacing_mm)
        if image_type == "Wavelet":
            return (self._wavelet_reach(settings),) * 3
        if image_type == "Gradient":
            return (GRADIENT_VOXELS,) * 3
        if image_type == "LBP2D":
            return (math.ceil(float(settings.get("lbp2DRadius") or 1)) + 1,) * 3
        if image_type == "LBP3D":
            return (spherical_patterns.reach(settings),) * 3
        return (0, 0, 0)

    def widest_padding(self, spacing_mm: Sequence[float]) -> tuple[int, int, int]:
        """Voxels (x, y, z) that the image around a ROI has: the file's `padDistance`, or more where
        a filter needs more."""
        needs = [self.padding(name, spacing_mm) for name in self.image_types]
        own = int(self.setting("padDistance", 5))
        return tuple(max(own, *(need[axis] for need in needs)) for axis in range(3))

    def _wavelet_reach(self, settings: Mapping[str, object]) -> int:
        import pywt

        length = pywt.Wavelet(str(settings.get("wavelet") or "coif1")).dec_len
        levels = int(settings.get("start_level") or 0) + int(settings.get("level") or 1)
        # Every level is the first one applied to the last approximation: one filter further.
        return max(WAVELET_VOXELS, length * levels)


def log_padding(sigma_mm: float, spacing_mm: Sequence[float]) -> tuple[int, int, int]:
    """Voxels (x, y, z) around a ROI that a Laplacian of Gaussian needs."""
    return tuple(math.ceil(LOG_SIGMAS * sigma_mm / float(step)) for step in spacing_mm)
