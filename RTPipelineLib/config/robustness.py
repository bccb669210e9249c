"""The keys of `radiomics.robustness`: how much features change under perturbation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from .section import Names, PositiveFloat, PositiveInt, Section, unique

if TYPE_CHECKING:
    from ..radiomics.perturbation import Chain

# A course whose every ROI takes hours is a slip of the pen.
MOST_POINTS = 1000

_Strength = Annotated[float, Field(ge=0, le=10)]
_Shift = Annotated[float, Field(ge=-2, le=2)]
_Angle = Annotated[float, Field(ge=-45, le=45)]
_Change = Annotated[float, Field(ge=-50, le=100)]


class RobustnessKeys(Section):
    """How much features change under perturbation."""

    enabled: bool = Field(
        False,
        description="extract features of perturbed images and ROIs too: every noise with every "
        "translation, rotation, contour and volume, 81 times for each ROI as it stands here",
    )
    rois: Names = Field(
        (), description="only these of the structures of radiomics.rois; empty: all of them"
    )
    seed: Annotated[int, Field(ge=0)] = Field(1, description="of all that is drawn at random")
    noise: Annotated[tuple[_Strength, ...], Field(min_length=1), AfterValidator(unique)] = Field(
        (0.0, 0.5, 1.0),
        description="normal noise that is added, in standard deviations of the image's own noise",
    )
    translation: Annotated[tuple[_Shift, ...], Field(min_length=1), AfterValidator(unique)] = Field(
        (0.0, 0.333, 0.667),
        description="shares of a voxel along all axes; image and ROI move together",
    )
    rotation_deg: Annotated[tuple[_Angle, ...], Field(min_length=1), AfterValidator(unique)] = (
        Field((0.0,), description="degrees about the axis of the slices; image and ROI turn")
    )
    contours: PositiveInt = Field(3, description="outlines of the ROI, the drawn one included")
    contour_method: Literal["supervoxels", "margin"] = Field(
        "supervoxels",
        description="how others would draw it: put together from supervoxels of the image "
        "(Zwanenburg et al., Sci Rep 9 (2019) 614), or with smooth random bumps",
    )
    contour_mm: PositiveFloat = Field(1.0, description="mm; standard deviation of bumps (margin)")
    volume_percent: Annotated[tuple[_Change, ...], Field(min_length=1), AfterValidator(unique)] = (
        Field((-10.0, 0.0, 10.0), description="change of the volume by an even margin")
    )

    rescans: Literal["images", "courses"] | None = Field(
        None,
        description="what the cohort's tables compare as two scans of one patient: the first two "
        "images of one modality in a course, or the first two courses of a patient; null: nothing",
    )

    @property
    def points(self) -> int:
        """Perturbations of one ROI."""
        factors = (self.noise, self.translation, self.rotation_deg, self.volume_percent)
        return self.contours * math.prod(map(len, factors))

    @property
    def chain(self) -> Chain:
        """The perturbations themselves."""
        from ..radiomics.perturbation import Chain

        return Chain(
            noise=self.noise,
            translation=self.translation,
            rotation_deg=self.rotation_deg,
            contours=self.contours,
            volume_percent=self.volume_percent,
            contour_method=self.contour_method,
            contour_mm=self.contour_mm,
            seed=self.seed,
        )

    @model_validator(mode="after")
    def _not_too_many(self) -> RobustnessKeys:
        if self.points > MOST_POINTS:
            raise ValueError(
                f"{self.points} perturbations of every ROI; at most {MOST_POINTS} are possible, "
                "shorten noise, translation, rotation_deg, contours or volume_percent"
            )
        return self
