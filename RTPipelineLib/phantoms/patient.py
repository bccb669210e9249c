"""A synthetic patient from a specification: CT, RTSTRUCT, RTPLAN and RTDOSE files and the truth.

Everything is made in the coordinates of the anatomy and moved by the course's `shift_mm` when it is
written, so that no frame of reference has its origin in the middle of the body.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import RTPlanStorage

from ..dicom.new_object import Reference, uid_from, write_dataset
from ..dicom.write import ImageReference, dose_dataset, structure_set_dataset
from ..geometry import Grid
from ..model import Contours, Dose, ImagePlanes, Volume
from .anatomy import Anatomy, Organ
from .ct import as_lying, ct_slices, paint, upright_grid
from .dose_field import plausible_dose
from .manifest import (
    ExpectedCourse,
    ExpectedDose,
    ExpectedPatient,
    ExpectedPlan,
    ExpectedRoi,
    ExpectedSeries,
)
from .plans import PrescribedTarget, plan_dataset

Size = tuple[int, int, int]
Millimetres = tuple[float, float, float]
# Systems export contours to a hundredth of a millimetre.
CONTOUR_DIGITS = 2


def dotted_name(kind: str, ds: Dataset) -> str:
    """A file name as most systems give it: `CT.<SOP Instance UID>.dcm`."""
    return f"{kind}.{ds.SOPInstanceUID}.dcm"


@dataclass(frozen=True)
class PlanSpec:
    """A plan with one dose: `levels` are (target name, Gy over all fractions) pairs."""

    label: str
    fractions: int
    levels: tuple[tuple[str, float], ...]
    created: datetime
    dose_size: Size = (88, 60, 52)
    dose_voxel_mm: Millimetres = (3.0, 3.0, 3.0)
    bits: int = 32
    links_structure_set: bool = True
    dose_links_plan: bool = True


@dataclass(frozen=True)
class CourseSpec:
    """Images, one structure set and plans in one frame of reference.

    `phases` are the anatomies of the CT series in turn (one, or the breathing phases of a 4D-CT);
    the structure set and the doses belong to `phases[planning_phase]`. `landmark` names the organ
    whose centre tests look up in the image.
    """

    name: str
    phases: tuple[Anatomy, ...]
    created: datetime
    landmark: str
    position: str = "HFS"
    plans: tuple[PlanSpec, ...] = ()
    planning_phase: int = 0
    phase_names: tuple[str, ...] = ("Planning CT",)
    image_size: Size = (128, 128, 50)
    image_voxel_mm: Millimetres = (3.5, 3.5, 4.0)
    shift_mm: Millimetres = (0.0, 0.0, 0.0)
    vertices: int = 72
    signed_pixels: bool = False


@dataclass(frozen=True)
class PatientSpec:
    """A patient and how the files are named; `file_name` gets a kind (CT, RS, RP, RD) and a dataset
    and returns a path within the patient's folder."""

    patient_id: str
    courses: tuple[CourseSpec, ...]
    name: str = ""
    sex: str = "O"
    birth_date: str = "19500101"
    file_name: Callable[[str, Dataset], str] = field(default=dotted_name)


def make_patient(folder: str | Path, spec: PatientSpec, *, seed: int = 0) -> ExpectedPatient:
    """Write a patient's files into `folder`/<patient ID> and return what is true of them.

    The same specification and seed make the same bytes. Raises `OutputError` when a file cannot be
    written.
    """
    root = Path(folder)
    courses = []
    for course in spec.courses:
        writer = _CourseWriter(root, spec, course, seed)
        courses.append(writer.run())
    return ExpectedPatient(spec.patient_id, tuple(courses))


class _CourseWriter:
    """Writes one course; holds what its objects share."""

    def __init__(self, root: Path, patient: PatientSpec, course: CourseSpec, seed: int) -> None:
        self.root, self.patient, self.course = root, patient, course
        self.key = ("phantom", seed, patient.patient_id, course.name)
        self.study = _study(patient, course, uid_from(*self.key, "study"))
        self.frame_uid = uid_from(*self.key, "frame")
        self.shift = np.array(course.shift_mm)

    def run(self) -> ExpectedCourse:
        spec = self.course
        series, references = [], []
        for number, anatomy in enumerate(spec.phases):
            expected, reference = self._write_images(number, anatomy)
            series.append(expected)
            references.append(reference)
        image = references[spec.planning_phase]
        anatomy = spec.phases[spec.planning_phase]
        rois = self._rois(anatomy, image)
        structure_set = structure_set_dataset(
            rois,
            patient_from=self.study,
            image=image,
            label=spec.name,
            sop_uid=uid_from(*self.key, "structure set"),
            series_number=100,
            created=spec.created,
        )
        structure_set_path = self._write("RS", structure_set)
        plans = tuple(
            self._write_plan(plan, anatomy, rois, str(structure_set.SOPInstanceUID))
            for plan in spec.plans
        )
        return ExpectedCourse(
            name=spec.name,
            study_uid=str(self.study.StudyInstanceUID),
            frame_uid=self.frame_uid,
            position=spec.position,
            series=tuple(series),
            planning_series_uid=image.series_uid,
            structure_set_path=structure_set_path,
            structure_set_uid=str(structure_set.SOPInstanceUID),
            slice_mm=spec.image_voxel_mm[2],
            rois=tuple(
                self._expected_roi(organ, roi)
                for organ, roi in zip(anatomy.drawn, rois, strict=True)
            ),
            plans=plans,
        )

    def _write(self, kind: str, ds: FileDataset) -> str:
        relative = f"{self.patient.patient_id}/{self.patient.file_name(kind, ds)}"
        path = self.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        write_dataset(path, ds)
        return relative

    def _rng(self, *parts: object) -> np.random.Generator:
        digest = hashlib.sha256(repr((*self.key, *parts)).encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "big"))

    def _write_images(self, number: int, anatomy: Anatomy) -> tuple[ExpectedSeries, ImageReference]:
        spec = self.course
        upright = upright_grid(np.zeros(3), spec.image_size, spec.image_voxel_mm)
        hu = paint(anatomy, upright, spec.position, self._rng("ct", number))
        array, grid = as_lying(hu, _moved(upright, self.shift), spec.position)
        series_uid = uid_from(*self.key, "ct", number)
        volume = Volume(array, grid, "CT", "HU", self.frame_uid, series_uid)
        description = spec.phase_names[number]
        slices = ct_slices(
            volume,
            self.study,
            position=spec.position,
            body_part=anatomy.body_part,
            description=description,
            series_number=number + 1,
            signed=spec.signed_pixels,
        )
        uids, paths = [], []
        for ds in slices:
            paths.append(self._write("CT", ds))
            uids.append(str(ds.SOPInstanceUID))
        landmark = anatomy[spec.landmark]
        centre = landmark.solid.bounds_mm.mean(axis=0)
        expected = ExpectedSeries(
            folder=str(Path(paths[0]).parent.as_posix()),
            series_uid=series_uid,
            description=description,
            n_slices=len(uids),
            landmark_mm=_triple(centre + self.shift),
            landmark_hu=float(landmark.hu),
        )
        planes = ImagePlanes.from_grid(grid)
        study_uid = str(self.study.StudyInstanceUID)
        return expected, ImageReference(
            study_uid, series_uid, self.frame_uid, tuple(uids), planes=planes
        )

    # -- structures -------------------------------------------------------------------------------

    def _rois(self, anatomy: Anatomy, image: ImageReference) -> list[Contours]:
        sign = round(float(image.planes.normal[2]))
        heights = np.sort(image.planes.positions_mm * sign) - self.shift[2]
        return [
            self._contours(organ, number, heights)
            for number, organ in enumerate(anatomy.drawn, start=1)
        ]

    def _contours(self, organ: Organ, number: int, heights: np.ndarray) -> Contours:
        low, high = organ.solid.bounds_mm[:, 2]
        loops = []
        for z in heights[(heights >= low) & (heights <= high)]:
            for outline in organ.solid.outlines(float(z), self.course.vertices):
                loop = np.hstack([outline, np.full((len(outline), 1), z)]) + self.shift
                loops.append(np.round(loop, CONTOUR_DIGITS))
        return Contours.from_loops(
            organ.name,
            loops,
            number=number,
            frame_uid=self.frame_uid,
            colour_rgb=organ.colour,
            interpreted_type=organ.interpreted_type,
            generation_algorithm="MANUAL",
        )

    def _expected_roi(self, organ: Organ, roi: Contours) -> ExpectedRoi:
        reach = (self.course.image_size[2] / 2) * self.course.image_voxel_mm[2]
        volume = organ.solid.volume_between_mm3(-reach, reach)
        return ExpectedRoi(roi.number, organ.name, organ.interpreted_type, volume / 1000, len(roi))

    # -- plans and doses --------------------------------------------------------------------------

    def _write_plan(
        self, plan: PlanSpec, anatomy: Anatomy, rois: Sequence[Contours], structure_set_uid: str
    ) -> ExpectedPlan:
        numbers = {roi.name: roi.number for roi in rois}
        levels = sorted(plan.levels, key=lambda level: -level[1])
        if not plan.links_structure_set:
            structure_set_uid = uid_from(*self.key, "a structure set that nobody has")
        isocentre = anatomy[levels[-1][0]].solid.bounds_mm.mean(axis=0)
        ds = plan_dataset(
            self.study,
            label=plan.label,
            fractions=plan.fractions,
            targets=[PrescribedTarget(name, numbers[name], gy) for name, gy in levels],
            structure_set_uid=structure_set_uid,
            frame_uid=self.frame_uid,
            position=self.course.position,
            isocentre_mm=isocentre + self.shift,
            created=plan.created,
        )
        path = self._write("RP", ds)
        dose = self._write_dose(plan, anatomy, isocentre, str(ds.SOPInstanceUID))
        return ExpectedPlan(
            path,
            str(ds.SOPInstanceUID),
            plan.label,
            f"{plan.created:%Y%m%d}",
            plan.fractions,
            tuple(levels),
            structure_set_uid,
            (dose,),
        )

    def _write_dose(
        self, plan: PlanSpec, anatomy: Anatomy, isocentre: np.ndarray, plan_uid: str
    ) -> ExpectedDose:
        # Off the image lattice, as dose grids are.
        upright = upright_grid(np.round(isocentre) + 0.7, plan.dose_size, plan.dose_voxel_mm)
        levels = [(anatomy[name].solid, gy) for name, gy in plan.levels]
        position = self.course.position
        gy = plausible_dose(anatomy, levels, upright, self._rng("dose", plan.label), position)
        array, grid = as_lying(gy, _moved(upright, self.shift), position)
        plan_uids = (plan_uid,) if plan.dose_links_plan else ()
        ds = dose_dataset(
            Dose(array, grid, self.frame_uid),
            patient_from=self.study,
            plans=[Reference(RTPlanStorage, uid) for uid in plan_uids],
            bits=plan.bits,
            comment=plan.label,
            derivation="Synthetic dose of RT Pipeline, for demonstration and tests",
            sop_uid=uid_from(*self.key, "dose", plan.label),
            series_number=300,
            created=plan.created,
        )
        path = self._write("RD", ds)
        top = np.unravel_index(int(array.argmax()), array.shape)
        return ExpectedDose(
            path=path,
            sop_uid=str(ds.SOPInstanceUID),
            plan_uids=plan_uids,
            bits=plan.bits,
            max_gy=float(array.max()),
            scaling_gy=float(ds.DoseGridScaling),
            point_mm=_triple(grid.to_lps(np.array(top[::-1], dtype=np.float64))),
            point_gy=float(array[top]),
        )


def _study(patient: PatientSpec, course: CourseSpec, uid: str) -> Dataset:
    study = Dataset()
    study.PatientID = patient.patient_id
    study.PatientName = patient.name or f"Demo^{patient.patient_id.title()}"
    study.PatientBirthDate, study.PatientSex = patient.birth_date, patient.sex
    study.StudyInstanceUID = uid
    study.StudyDate, study.StudyTime = f"{course.created:%Y%m%d}", f"{course.created:%H%M%S}"
    study.StudyID = course.name[:16]
    study.StudyDescription = f"Synthetic {course.name}"[:64]
    study.ReferringPhysicianName = study.AccessionNumber = ""
    return study


def _moved(grid: Grid, shift: np.ndarray) -> Grid:
    return replace(grid, origin_mm=grid.origin_mm + shift)


def _triple(values: np.ndarray) -> Millimetres:
    x, y, z = (float(v) for v in values)
    return x, y, z
