"""The demonstration cohort: six synthetic patients with the features and faults of real exports."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from ..dicom.new_object import uid_from
from ..errors import UsageError
from .anatomy import (
    BLUE,
    ORANGE,
    PROSTATE,
    RED,
    TUMOUR_HU,
    VIOLET,
    head_and_neck,
    lungs_minus,
    pelvis,
    target,
    thorax,
)
from .manifest import ExpectedPatient, PlantedFault
from .patient import CourseSpec, PatientSpec, PlanSpec, make_patient
from .solids import Compound, Pile, Profile

DEFAULT_SEED = 1


def make_cohort(
    folder: str | Path, *, seed: int = DEFAULT_SEED, patients: Sequence[str] | None = None
) -> list[ExpectedPatient]:
    """Write the cohort into `folder` (made when missing) and return what is true of it.

    `patients` limits it to some patient IDs. The same seed makes the same bytes. Raises
    `UsageError` for an unknown patient and `OutputError` when a file cannot be written.
    """
    wanted = list(COHORT) if patients is None else list(patients)
    unknown = sorted(set(wanted) - set(COHORT))
    if unknown:
        raise UsageError(
            f"the demo cohort has no patient {', '.join(unknown)}; it has {', '.join(COHORT)}"
        )
    root = Path(folder)
    made = []
    for patient_id in wanted:
        expected = make_patient(root, COHORT[patient_id](), seed=seed)
        plant = FAULTS.get(patient_id)
        made.append(replace(expected, faults=plant(root, expected)) if plant else expected)
    return made


# -- patients --------------------------------------------------------------------------------------


def _pelvis() -> PatientSpec:
    """Prostate: 45 Gy / 25 to the pelvis and a boost of 25 Gy / 10, two plans and two doses."""
    anatomy = pelvis().adding(
        target("CTV_25", PROSTATE, ORANGE),
        target("PTV_25", Pile((0, 7, -12), (33, 28, 30)), RED),
        target("PTV_45", Pile((0, 6, 16), (76, 54, 66), power=2.3), BLUE),
    )
    created = datetime(2024, 3, 4, 9, 30)
    plans = tuple(
        PlanSpec(label, fractions, ((name, gy),), when, dose_size=(126, 84, 70), bits=bits)
        for label, fractions, name, gy, when, bits in (
            ("Prostate_Base", 25, "PTV_45", 45.0, datetime(2024, 3, 6, 14, 0), 32),
            ("Prostate_Boost", 10, "PTV_25", 25.0, datetime(2024, 3, 7, 11, 15), 16),
        )
    )
    course = CourseSpec(
        "Prostate", (anatomy,), created, "Bladder", plans=plans, shift_mm=(3.5, -212.0, 611.0)
    )
    return PatientSpec("DEMO-PELVIS", (course,), "Demo^Pelvis", "M")


def _head_and_neck() -> PatientSpec:
    """Oropharynx: three levels 70 / 60 / 54 Gy at once in 33 fractions."""
    elective = Compound(
        (
            Pile((27, 6, -14), (29, 31, 55), power=2.3),
            Pile((-36, 10, -20), (17, 26, 46), power=2.3),
        )
    )
    anatomy = head_and_neck().adding(
        target("GTV_70", Pile((20, -8, 4), (13, 14, 17)), VIOLET, TUMOUR_HU),
        target("PTV_70", Pile((20, -6, 4), (20, 20, 25)), RED),
        target("PTV_60", Pile((24, 0, -6), (26, 26, 41)), ORANGE),
        target("PTV_54", elective, BLUE),
    )
    plan = PlanSpec(
        "OPX_SIB",
        33,
        (("PTV_70", 70.0), ("PTV_60", 60.0), ("PTV_54", 54.0)),
        datetime(2023, 10, 12, 16, 20),
        dose_size=(132, 84, 70),
    )
    course = CourseSpec(
        "Oropharynx",
        (anatomy,),
        datetime(2023, 10, 9, 8, 15),
        "Brainstem",
        plans=(plan,),
        image_size=(128, 128, 70),
        image_voxel_mm=(3.0, 3.0, 3.0),
        shift_mm=(-1.2, 34.0, -402.0),
    )
    return PatientSpec(
        "DEMO-HEADNECK", (course,), "Demo^Headneck", "F", file_name=_numbered_without_extension
    )


def _thorax_4d() -> PatientSpec:
    """A 4D-CT of three phases with a structure set on one of them; no plan, no dose."""
    travel = {0: -7.0, 30: 0.0, 60: 7.0}
    # A ball that moves 14 mm sweeps out a capsule.
    itv = Pile((-84, 14, 26), (14, 14, 21), Profile.ROUNDED, cap_mm=14)
    phases = []
    for down in travel.values():
        gtv = Pile((-84, 14, 26 - down), (14, 14, 14))
        anatomy = thorax(breath_mm=down + 7.0)
        phases.append(
            anatomy.adding(
                target("GTV", gtv, VIOLET, TUMOUR_HU),
                target("ITV", itv, ORANGE),
                lungs_minus(anatomy, gtv),
            )
        )
    course = CourseSpec(
        "Lung4D",
        tuple(phases),
        datetime(2024, 5, 21, 10, 5),
        "Heart",
        planning_phase=1,
        phase_names=tuple(f"4D {percent}%" for percent in travel),
        image_size=(128, 128, 64),
        image_voxel_mm=(3.4, 3.4, 4.0),
        shift_mm=(0.0, -150.0, 100.5),
    )
    return PatientSpec(
        "DEMO-THORAX4D", (course,), "Demo^Thorax", "F", file_name=_folder_for_each_series
    )


def _twice() -> PatientSpec:
    """Two courses of one patient, three years apart; the second one lies head first prone."""
    chest = thorax()
    gtv = Pile((90, 2, 55), (10, 10, 11))
    first = CourseSpec(
        "LungUL",
        (
            chest.adding(
                target("GTV", gtv, VIOLET, TUMOUR_HU),
                target("PTV_55", Pile((90, 2, 55), (17, 17, 19)), RED),
                lungs_minus(chest, gtv),
            ),
        ),
        datetime(2021, 2, 8, 13, 40),
        "Heart",
        plans=(
            PlanSpec("LUL_55", 20, (("PTV_55", 55.0),), datetime(2021, 2, 10, 9, 0), (130, 84, 64)),
        ),
        image_size=(128, 128, 62),
        image_voxel_mm=(3.4, 3.4, 4.0),
        shift_mm=(0.0, 0.0, -80.0),
    )
    prone = pelvis().adding(
        target("PTV_50", Pile((0, 44, 14), (62, 40, 70), power=2.3), RED),
    )
    second = CourseSpec(
        "RectumProne",
        (prone,),
        datetime(2024, 6, 17, 7, 50),
        "Bladder",
        position="HFP",
        plans=(
            PlanSpec(
                "Rectum_50",
                25,
                (("PTV_50", 50.0),),
                datetime(2024, 6, 19, 15, 30),
                (124, 84, 60),
                bits=16,
            ),
        ),
        shift_mm=(12.0, 41.0, 950.0),
        signed_pixels=True,
    )
    return PatientSpec("DEMO-TWICE", (first, second), "Demo^Twice", "M", file_name=_study_folders)


def _broken() -> PatientSpec:
    """Feet first; the plan names a structure set that nobody has, the dose names no plan."""
    anatomy = pelvis().adding(
        target("PTV_66", Pile((0, 12, -6), (36, 28, 38), power=2.3), RED),
    )
    plan = PlanSpec(
        "ProstateBed",
        33,
        (("PTV_66", 66.0),),
        datetime(2022, 11, 30, 12, 0),
        dose_size=(124, 84, 50),
        links_structure_set=False,
        dose_links_plan=False,
    )
    course = CourseSpec(
        "ProstateBed",
        (anatomy,),
        datetime(2022, 11, 28, 10, 10),
        "Bladder",
        position="FFS",
        plans=(plan,),
        shift_mm=(-4.0, -190.0, -1320.0),
    )
    return PatientSpec("DEMO-BROKEN", (course,), "Demo^Broken", "M")


def _lung() -> PatientSpec:
    """Stereotactic lung, 54 Gy in 3 fractions; a fine dose grid that does not reach the whole
    body."""
    chest = thorax()
    gtv = Pile((-82, 26, 22), (11, 10, 12))
    anatomy = chest.adding(
        target("GTV", gtv, VIOLET, TUMOUR_HU),
        target("ITV", Pile((-82, 26, 22), (12, 11, 16)), ORANGE),
        target("PTV_54", Pile((-82, 26, 22), (17, 16, 21)), RED),
        lungs_minus(chest, gtv),
    )
    plan = PlanSpec(
        "SABR_RML",
        3,
        (("PTV_54", 54.0),),
        datetime(2024, 1, 25, 17, 45),
        dose_size=(110, 96, 64),
        dose_voxel_mm=(2.5, 2.5, 2.5),
        bits=16,
    )
    course = CourseSpec(
        "SABR",
        (anatomy,),
        datetime(2024, 1, 22, 11, 0),
        "Heart",
        plans=(plan,),
        image_size=(128, 128, 64),
        image_voxel_mm=(3.4, 3.4, 4.0),
        shift_mm=(0.0, -120.0, 42.0),
    )
    return PatientSpec("DEMO-LUNG", (course,), "Demo^Lung", "F", file_name=_bare_uid)


COHORT: dict[str, Callable[[], PatientSpec]] = {
    "DEMO-PELVIS": _pelvis,
    "DEMO-HEADNECK": _head_and_neck,
    "DEMO-THORAX4D": _thorax_4d,
    "DEMO-TWICE": _twice,
    "DEMO-BROKEN": _broken,
    "DEMO-LUNG": _lung,
}


# -- file names, as different systems give them ----------------------------------------------------


def _numbered_without_extension(kind: str, ds: Dataset) -> str:
    return f"S{int(ds.SeriesNumber):04d}/{kind}{int(ds.InstanceNumber):06d}"


def _folder_for_each_series(kind: str, ds: Dataset) -> str:
    series = str(ds.get("SeriesDescription", kind)).replace(" ", "_").rstrip("%")
    return f"{series}/{int(ds.InstanceNumber):04d}.dcm"


def _study_folders(kind: str, ds: Dataset) -> str:
    return f"{ds.StudyDate}/{kind}.{ds.SOPInstanceUID}.dcm"


def _bare_uid(kind: str, ds: Dataset) -> str:
    return f"{kind}/{ds.SOPInstanceUID}"


# -- faults ----------------------------------------------------------------------------------------


def _plant_note(root: Path, patient: ExpectedPatient) -> tuple[PlantedFault, ...]:
    path = f"{patient.patient_id}/notes.txt"
    (root / path).write_text("Exported for demonstration. This file is no DICOM.\n", "utf-8")
    return (PlantedFault("not-dicom", path, "a text file among the images"),)


def _plant_damage(root: Path, patient: ExpectedPatient) -> tuple[PlantedFault, ...]:
    course = patient.courses[0]
    plan = course.plans[0]
    dose = plan.doses[0]
    truncated = f"{patient.patient_id}/RD.truncated.dcm"
    ds = pydicom.dcmread(root / dose.path)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid_from(
        dose.sop_uid, "truncated"
    )
    ds.save_as(root / truncated)
    content = (root / truncated).read_bytes()
    (root / truncated).write_bytes(content[: len(content) * 3 // 5])
    image = min((root / course.series[0].folder).glob("CT.*"))
    copy = f"{patient.patient_id}/copy/{image.name}"
    (root / copy).parent.mkdir(exist_ok=True)
    shutil.copyfile(image, root / copy)
    return (
        PlantedFault("missing-structure-set", plan.path, "its structure set is not in the cohort"),
        PlantedFault("dose-without-plan-reference", dose.path, "linked by frame of reference only"),
        PlantedFault("truncated-dose", truncated, "three fifths of a dose, the pixels cut off"),
        PlantedFault("duplicate", copy, "the same CT slice, byte by byte, a second time"),
    )


FAULTS: dict[str, Callable[[Path, ExpectedPatient], tuple[PlantedFault, ...]]] = {
    "DEMO-PELVIS": _plant_note,
    "DEMO-BROKEN": _plant_damage,
}
