"""A pyradiomics parameter file, read with the line and the key of everything that is wrong in it,
and the presets that come with RT Pipeline.

The keys are pyradiomics' own, so that the same file runs there:
https://pyradiomics.readthedocs.io/en/latest/customization.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from ..errors import ConfigError
from ..radiomics.parameters import FEATURE_CLASSES, IMAGE_TYPES, Parameters
from .reading import read_section
from .section import PositiveFloat, PositiveInt, Section, Text, nearest, parameter_presets

Axis = Annotated[int, Field(ge=0, le=2)]
NotNegative = Annotated[float, Field(ge=0)]
NotNegativeInt = Annotated[int, Field(ge=0)]
Three = Annotated[tuple[NotNegative, ...], Field(min_length=3, max_length=3)]
Weighting = Literal["manhattan", "euclidean", "infinity", "no_weighting"]
Interpolator = Literal[
    "sitkNearestNeighbor",
    "sitkLinear",
    "sitkBSpline",
    "sitkGaussian",
    "sitkLabelGaussian",
    "sitkHammingWindowedSinc",
    "sitkCosineWindowedSinc",
    "sitkWelchWindowedSinc",
    "sitkLanczosWindowedSinc",
    "sitkBlackmanWindowedSinc",
]


def _wavelet(name: str) -> str:
    """Wavelets are known where PyWavelets is; elsewhere the engine says it."""
    try:
        import pywt
    except ImportError:
        return name
    known = pywt.wavelist(kind="discrete")
    if name not in known:
        close = nearest(name, known)
        hint = f"; did you mean {close}?" if close else ""
        raise ValueError(f"{name!r} is not a wavelet of PyWavelets{hint}")
    return name


class Settings(Section):
    """The keys of `setting` and of a single image type."""

    minimumROIDimensions: Annotated[int, Field(ge=1, le=3)] | None = None
    minimumROISize: PositiveInt | None = None
    geometryTolerance: PositiveFloat | None = None
    correctMask: bool | None = None
    additionalInfo: bool | None = None
    label: PositiveInt | None = None
    label_channel: NotNegativeInt | None = None
    binWidth: PositiveFloat | None = None
    binCount: PositiveInt | None = None
    normalize: bool | None = None
    normalizeScale: PositiveFloat | None = None
    removeOutliers: PositiveFloat | None = None
    resampledPixelSpacing: Three | None = None
    interpolator: Interpolator | None = "sitkBSpline"
    padDistance: NotNegativeInt | None = None
    distances: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] | None = None
    force2D: bool | None = None
    force2Ddimension: Axis | None = None
    resegmentRange: Annotated[tuple[float, ...], Field(min_length=1, max_length=2)] | None = None
    resegmentMode: Literal["absolute", "relative", "sigma"] | None = None
    resegmentShape: bool | None = None
    preCrop: bool | None = None
    sigma: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] | None = None
    start_level: NotNegativeInt | None = None
    level: PositiveInt | None = None
    wavelet: Annotated[Text, AfterValidator(_wavelet)] | None = None
    gradientUseSpacing: bool | None = None
    lbp2DRadius: PositiveFloat | None = None
    lbp2DSamples: PositiveInt | None = None
    lbp2DMethod: Literal["default", "ror", "uniform", "var"] | None = None
    lbp3DLevels: PositiveInt | None = None
    lbp3DIcosphereRadius: PositiveFloat | None = None
    lbp3DIcosphereSubdivision: NotNegativeInt | None = None
    voxelArrayShift: int | None = None
    symmetricalGLCM: bool | None = None
    weightingNorm: Weighting | None = None
    gldm_a: NotNegativeInt | None = None

    def as_written(self) -> dict[str, object]:
        """The settings that the file gives, lists as lists."""
        given = ((key, getattr(self, key)) for key in sorted(self.model_fields_set))
        return {key: list(v) if isinstance(v, tuple) else v for key, v in given}


# The whole image is prepared once, under these; a filter cannot have its own.
_OF_THE_IMAGE = ("resampledPixelSpacing", "interpolator", "normalize", "resegmentRange")


class ParameterFile(Section):
    """The whole file."""

    setting: Settings = Settings()
    imageType: Mapping[Text, Settings | None] = {}
    featureClass: Mapping[Text, tuple[Text, ...] | None] = {}

    @field_validator("imageType")
    @classmethod
    def _known_types(cls, value: Mapping[str, object]) -> Mapping[str, object]:
        return _known(value, IMAGE_TYPES, "an image type")

    @field_validator("featureClass")
    @classmethod
    def _known_classes(cls, value: Mapping[str, object]) -> Mapping[str, object]:
        return _known(value, FEATURE_CLASSES, "a feature class")

    @model_validator(mode="after")
    def _complete(self) -> ParameterFile:
        for name, settings in self.imageType.items():
            for key in _OF_THE_IMAGE:
                if settings is not None and key in settings.model_fields_set:
                    raise ValueError(
                        f"imageType.{name}.{key}: this holds for the whole image and belongs under "
                        "setting"
                    )
        log = self.imageType.get("LoG")
        own = log.sigma if log is not None else None
        if "LoG" in self.imageType and own is None and self.setting.sigma is None:
            raise ValueError("imageType.LoG needs the key sigma, such as sigma: [1.0, 3.0] (mm)")
        return self


def _known(value: Mapping[str, object], names: tuple[str, ...], what: str) -> Mapping[str, object]:
    for name in value:
        if name not in names:
            close = nearest(name, names)
            hint = f"did you mean {close}?" if close else f"one of {', '.join(names)}"
            raise ValueError(f"{name!r} is not {what}; {hint}")
    return value


def read_parameters(path: Path) -> Parameters:
    """The parameters of a file, or of a preset by its name.

    Raises `ConfigError` with line and key of everything that is wrong in it.
    """
    path = Path(path)
    if not path.is_file():
        path = parameter_presets().get(str(path), path)
    content = read_section(path, ParameterFile)
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    types = {
        name: {} if settings is None else settings.as_written()
        for name, settings in content.imageType.items()
    }
    classes = {name: features or () for name, features in content.featureClass.items()}
    return Parameters(path.name, digest, content.setting.as_written(), types, classes)
