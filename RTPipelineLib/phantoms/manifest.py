"""What is true of a synthetic cohort: the facts that tests and `rtpipeline validate` compare
with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ExpectedRoi:
    """An ROI of a structure set.

    `volume_cc` is the exact volume of the solid between the outer faces of the end slabs (half a
    slice beyond the first and last contour plane where the image cuts the solid). Contours on
    slices of `slice_mm` come within a few per cent for small organs, 0.5 % for large ones.
    """

    number: int
    name: str
    interpreted_type: str
    volume_cc: float
    n_contours: int


@dataclass(frozen=True)
class ExpectedDose:
    """An RTDOSE file. `point_mm` (LPS) is a voxel centre where `point_gy` was planned before
    rounding to the stored steps of `scaling_gy`."""

    path: str
    sop_uid: str
    plan_uids: tuple[str, ...]
    bits: int
    max_gy: float
    scaling_gy: float
    point_mm: tuple[float, float, float]
    point_gy: float


@dataclass(frozen=True)
class ExpectedPlan:
    """An RTPLAN file: its prescription as (ROI name, Gy) pairs, highest first."""

    path: str
    sop_uid: str
    label: str
    date: str
    fractions: int
    levels: tuple[tuple[str, float], ...]
    structure_set_uid: str
    doses: tuple[ExpectedDose, ...]


@dataclass(frozen=True)
class ExpectedSeries:
    """A CT series. `landmark_mm` (LPS) lies inside an organ of `landmark_hu`."""

    folder: str
    series_uid: str
    description: str
    n_slices: int
    landmark_mm: tuple[float, float, float]
    landmark_hu: float


@dataclass(frozen=True)
class ExpectedCourse:
    """One frame of reference with everything in it; `planning_series_uid` is the series that the
    structure set references."""

    name: str
    study_uid: str
    frame_uid: str
    position: str
    series: tuple[ExpectedSeries, ...]
    planning_series_uid: str
    structure_set_path: str
    structure_set_uid: str
    slice_mm: float
    rois: tuple[ExpectedRoi, ...]
    plans: tuple[ExpectedPlan, ...]


@dataclass(frozen=True)
class PlantedFault:
    """Something wrong on purpose: `kind` is `truncated-dose`, `missing-structure-set`,
    `dose-without-plan-reference`, `duplicate` or `not-dicom`; `path` is the file."""

    kind: str
    path: str
    says: str


@dataclass(frozen=True)
class ExpectedPatient:
    """All that is true of one patient; paths are relative to the cohort's folder, posix."""

    patient_id: str
    courses: tuple[ExpectedCourse, ...]
    faults: tuple[PlantedFault, ...] = ()

    def course(self, name: str) -> ExpectedCourse:
        """The course of that name."""
        return next(course for course in self.courses if course.name == name)
