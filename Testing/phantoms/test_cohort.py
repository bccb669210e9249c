"""The demonstration cohort: what its manifest says is what pydicom finds in the files."""

import numpy as np
import pydicom
import pytest

from RTPipelineLib.errors import UsageError
from RTPipelineLib.phantoms.cohort import COHORT, make_cohort
from RTPipelineLib.phantoms.solids import polygon_area


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cohort")


@pytest.fixture(scope="module")
def cohort(folder):
    return {patient.patient_id: patient for patient in make_cohort(folder)}


@pytest.fixture(scope="module")
def headers(folder, cohort):
    """Every readable DICOM header by its path relative to the cohort."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".txt":
            found[path.relative_to(folder).as_posix()] = pydicom.dcmread(
                path, stop_before_pixels=True
            )
    return found


def courses(cohort):
    return [(patient, course) for patient in cohort.values() for course in patient.courses]


def test_the_cohort_is_complete_and_small(folder, cohort, headers):
    assert list(cohort) == list(COHORT)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 60e6
    assert len(files) == len(headers) + 1  # the note
    assert not [path for path in files if path.name.endswith(".part")]
    slices = sum(series.n_slices for _, course in courses(cohort) for series in course.series)
    kinds = [ds.Modality for ds in headers.values()]
    assert kinds.count("CT") == slices + 1  # and the duplicate
    assert kinds.count("RTSTRUCT") == len(courses(cohort)) == 7
    assert kinds.count("RTPLAN") == 7
    assert kinds.count("RTDOSE") == 7 + 1  # and the truncated one
    assert {ds.PatientID for ds in headers.values()} == set(COHORT)
    assert all(str(ds.PatientName).startswith("Demo^") for ds in headers.values())
    assert {course.position for _, course in courses(cohort)} == {"HFS", "HFP", "FFS"}


def test_objects_of_a_course_refer_to_each_other(cohort, headers):
    uids = {str(ds.SOPInstanceUID) for ds in headers.values()}
    assert len(uids) == len(headers) - 1  # the duplicate
    for patient, course in courses(cohort):
        structures = headers[course.structure_set_path]
        assert structures.SOPInstanceUID == course.structure_set_uid
        frame = structures.ReferencedFrameOfReferenceSequence[0]
        assert frame.FrameOfReferenceUID == course.frame_uid
        series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
        assert series.SeriesInstanceUID == course.planning_series_uid
        assert {i.ReferencedSOPInstanceUID for i in series.ContourImageSequence} <= uids
        broken = patient.patient_id == "DEMO-BROKEN"
        for plan in course.plans:
            ds = headers[plan.path]
            referenced = ds.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID
            assert referenced == plan.structure_set_uid
            assert (referenced in uids) == (not broken)
            for expected in plan.doses:
                dose = headers[expected.path]
                plans = [
                    p.ReferencedSOPInstanceUID for p in dose.get("ReferencedRTPlanSequence", [])
                ]
                assert plans == ([] if broken else [plan.sop_uid])
                assert tuple(plans) == expected.plan_uids
                assert dose.FrameOfReferenceUID == ds.FrameOfReferenceUID == course.frame_uid
                assert dose.StudyInstanceUID == ds.StudyInstanceUID == course.study_uid
                assert dose.PatientID == ds.PatientID == patient.patient_id


def test_courses_of_one_patient_share_nothing(cohort):
    first, second = cohort["DEMO-TWICE"].courses
    assert first.frame_uid != second.frame_uid
    assert first.study_uid != second.study_uid
    assert first.plans[0].date < second.plans[0].date
    assert (first.position, second.position) == ("HFS", "HFP")


def test_plans_prescribe_what_the_manifest_says(cohort, headers):
    for _, course in courses(cohort):
        names = {roi.number: roi.name for roi in course.rois}
        for plan in course.plans:
            ds = headers[plan.path]
            levels = [
                (names[r.ReferencedROINumber], float(r.TargetPrescriptionDose))
                for r in ds.DoseReferenceSequence
            ]
            assert levels == list(plan.levels)
            assert (ds.RTPlanLabel, ds.RTPlanDate) == (plan.label, plan.date)
            group = ds.FractionGroupSequence[0]
            assert group.NumberOfFractionsPlanned == plan.fractions
            beams = sum(float(b.BeamDose) for b in group.ReferencedBeamSequence)
            assert beams * plan.fractions == pytest.approx(levels[0][1], rel=1e-9)
            assert len(ds.BeamSequence) == group.NumberOfBeams
    head = cohort["DEMO-HEADNECK"].courses[0].plans[0]
    assert head.levels == (("PTV_70", 70.0), ("PTV_60", 60.0), ("PTV_54", 54.0))
    assert head.fractions == 33
    base, boost = cohort["DEMO-PELVIS"].courses[0].plans
    assert base.levels + boost.levels == (("PTV_45", 45.0), ("PTV_25", 25.0))


def test_targets_receive_their_doses(folder, cohort):
    for patient, course in courses(cohort):
        spec = next(c for c in COHORT[patient.patient_id]().courses if c.name == course.name)
        anatomy = spec.phases[spec.planning_phase]
        for plan in course.plans:
            ds = pydicom.dcmread(folder / plan.doses[0].path)
            gy = ds.pixel_array * float(ds.DoseGridScaling)
            assert gy.max() == pytest.approx(plan.doses[0].max_gy, rel=1e-6)
            assert gy.max() < 1.08 * plan.levels[0][1]
            row, column = np.array(ds.ImageOrientationPatient, dtype=float).reshape(2, 3)
            for name, dose in plan.levels:
                solid = anatomy[name].solid
                low, high = solid.bounds_mm
                points = np.random.default_rng(5).uniform(low, high, (4000, 3))
                points = points[solid.inside(*points.T)] + spec.shift_mm
                offset = points - np.array(ds.ImagePositionPatient, dtype=float)
                steps = ds.PixelSpacing[0], np.diff(ds.GridFrameOffsetVector)[0]
                k, j, i = (
                    np.rint(offset @ axis / step).astype(int)
                    for axis, step in (
                        (np.cross(row, column), steps[1]),
                        (column, steps[0]),
                        (row, steps[0]),
                    )
                )
                inside = gy[k, j, i]
                assert np.percentile(inside, 5) >= 0.95 * dose, (patient.patient_id, name)


def test_contours_have_the_volumes_of_the_manifest(folder, cohort, headers):
    for patient, course in courses(cohort):
        ds = headers[course.structure_set_path]
        assert len(ds.ROIContourSequence) == len(course.rois)
        for item, roi in zip(ds.ROIContourSequence, course.rois, strict=True):
            loops = [
                np.array(c.ContourData, dtype=float).reshape(-1, 3) for c in item.ContourSequence
            ]
            assert len(loops) == roi.n_contours
            if roi.name == "Lungs-GTV":
                continue  # nested loops: below
            cc = sum(polygon_area(loop[:, :2]) for loop in loops) * course.slice_mm / 1000
            # A solid of n slices loses or gains some 1 / n^2 of its volume by where they fall.
            n = len({float(loop[0, 2]) for loop in loops})
            tolerance = max(0.005, 1.5 / n**2)
            assert cc == pytest.approx(roi.volume_cc, rel=tolerance), (patient, roi.name)


def test_a_tumour_is_a_hole_in_the_lungs(cohort, headers):
    course = cohort["DEMO-LUNG"].courses[0]
    number = {roi.name: n for n, roi in enumerate(course.rois)}
    items = headers[course.structure_set_path].ROIContourSequence
    gtv = {tuple(c.ContourData) for c in items[number["GTV"]].ContourSequence}
    lungs = {tuple(c.ContourData) for c in items[number["Lungs-GTV"]].ContourSequence}
    assert gtv < lungs
    volumes = {roi.name: roi.volume_cc for roi in course.rois}
    whole = volumes["Lung_L"] + volumes["Lung_R"]
    assert volumes["Lungs-GTV"] == pytest.approx(whole - volumes["GTV"], rel=1e-6)


def test_breathing_moves_the_tumour_through_the_phases(cohort, headers):
    course = cohort["DEMO-THORAX4D"].courses[0]
    assert [series.description for series in course.series] == ["4D 0%", "4D 30%", "4D 60%"]
    assert course.planning_series_uid == course.series[1].series_uid
    assert len({ds.FrameOfReferenceUID for p, ds in headers.items() if "THORAX" in p}) == 1
    assert course.plans == ()
    phases = COHORT["DEMO-THORAX4D"]().courses[0].phases
    heights = [phase["GTV"].solid.centre_mm[2] for phase in phases]
    itv = phases[1]["ITV"].solid
    assert len(set(heights)) == 3
    for phase in phases:
        for z in (-20, 0, 10, 26, 40, 60):
            for loop in phase["GTV"].solid.outlines(float(z), 48):
                shrunk = loop.mean(axis=0) + 0.995 * (loop - loop.mean(axis=0))
                assert itv.inside(*shrunk.T, np.full(48, float(z))).all()


def test_planted_faults_are_there(folder, cohort, headers):
    kinds = {fault.kind: fault for patient in cohort.values() for fault in patient.faults}
    truncated = pydicom.dcmread(folder / kinds["truncated-dose"].path)
    with pytest.raises((ValueError, AttributeError)):
        _ = truncated.pixel_array
    assert truncated.SOPInstanceUID not in {
        dose.sop_uid for _, c in courses(cohort) for plan in c.plans for dose in plan.doses
    }
    assert "ReferencedRTPlanSequence" not in headers[kinds["dose-without-plan-reference"].path]
    copy = folder / kinds["duplicate"].path
    assert copy.read_bytes() == (copy.parent.parent / copy.name).read_bytes()
    with pytest.raises(pydicom.errors.InvalidDicomError):
        pydicom.dcmread(folder / kinds["not-dicom"].path)
    plan = headers[kinds["missing-structure-set"].path]
    missing = plan.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID
    assert missing not in {ds.SOPInstanceUID for ds in headers.values()}


def test_part_of_the_cohort_is_the_same_and_an_unknown_patient_is_said(tmp_path, folder, cohort):
    (lung,) = make_cohort(tmp_path, patients=["DEMO-LUNG"])
    assert lung == cohort["DEMO-LUNG"]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 64 + 3
    for path in files:
        assert path.read_bytes() == (folder / path.relative_to(tmp_path)).read_bytes()
    with pytest.raises(UsageError, match="DEMO-PELVIS"):
        make_cohort(tmp_path, patients=["DEMO-NOBODY"])
