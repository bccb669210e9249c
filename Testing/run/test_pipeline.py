"""The main job on the demonstration cohort: every course, every row, resume, and hard kills."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pydicom
import pytest

from RTPipelineLib.cli import main
from RTPipelineLib.course import Course, course_folders, read_course
from RTPipelineLib.phantoms.cohort import make_cohort
from RTPipelineLib.phantoms.manifest import ExpectedPatient
from RTPipelineLib.run.ledger import read_record

LIBRARY = Path(__file__).resolve().parents[2]
SMALL = ["DEMO-BROKEN"]


@dataclass(frozen=True)
class Cohort:
    """The demonstration cohort, run once for all tests of this file."""

    patients: dict[str, ExpectedPatient]
    dicom: Path
    out: Path
    status: int

    def course(self, patient: str) -> Course:
        return self.courses(patient)[0]

    def courses(self, patient: str) -> list[Course]:
        found = [read_course(folder) for folder in course_folders(self.out)]
        return [course for course in found if course.patient_id == patient]

    def metrics(self, patient: str) -> pd.DataFrame:
        frame = pd.read_parquet(self.out / "results" / "dvh_metrics.parquet")
        return frame[frame.patient_id == patient]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    folder = tmp_path_factory.mktemp("cohort")
    patients = {p.patient_id: p for p in make_cohort(folder / "dicom")}
    status = main(["run", str(folder / "dicom"), str(folder / "out"), "--quiet"])
    return Cohort(patients, folder / "dicom", folder / "out", status)


def snapshot(out: Path) -> dict[str, str]:
    """When each stage of each course was run last."""
    return {
        f"{folder.parent.name}/{folder.name}/{path.stem}": json.loads(
            path.read_text(encoding="utf-8")
        )["started"]
        for folder in course_folders(out)
        for path in sorted((folder / "stages").glob("*.json"))
    }


def tables(out: Path) -> dict[str, pd.DataFrame]:
    return {p.stem: pd.read_parquet(p) for p in sorted((out / "results").glob("*.parquet"))}


# -- what comes out -------------------------------------------------------------------------------


def test_the_only_failure_is_the_planted_one(cohort):
    assert cohort.status == 3
    failures = pd.read_csv(cohort.out / "results" / "failures.csv")
    assert failures.file.tolist() == ["DEMO-BROKEN/RD.truncated.dcm"]
    assert failures.stage.tolist() == ["index"]


def test_every_course_is_there(cohort):
    for patient in cohort.patients.values():
        assert len(cohort.courses(patient.patient_id)) == len(patient.courses)
    courses = pd.read_parquet(cohort.out / "results" / "courses.parquet")
    assert len(courses) == sum(len(p.courses) for p in cohort.patients.values())
    twice = courses[courses.patient_id == "DEMO-TWICE"].course_id.tolist()
    assert twice == sorted(twice) and len(set(twice)) == 2


def test_planning_image_and_objects_are_linked_as_planted(cohort):
    for patient in cohort.patients.values():
        linked = {c.planning_image.key: c for c in cohort.courses(patient.patient_id)}
        for expected in patient.courses:
            course = linked[expected.planning_series_uid]
            assert len(course.images) == len(expected.series)
            assert {p.sop_uid for p in course.of_kind("rtplan")} == {
                p.sop_uid for p in expected.plans
            }
            assert {d.sop_uid for d in course.of_kind("rtdose")} == {
                d.sop_uid for p in expected.plans for d in p.doses
            }


def test_every_structure_has_a_row_under_every_dose(cohort):
    for patient in cohort.patients.values():
        rows = cohort.metrics(patient.patient_id)
        expected = sum(
            len(course.rois) * sum(len(plan.doses) for plan in course.plans)
            for course in patient.courses
        )
        assert len(rows) == expected, patient.patient_id


def test_volumes_are_those_of_the_solids(cohort):
    """Within 3 % or 0.3 cc: what contours every few millimetres can tell of the smallest organs."""
    for patient in cohort.patients.values():
        rows = cohort.metrics(patient.patient_id)
        for course in patient.courses:
            for roi in course.rois if course.plans else ():
                found = rows[
                    (rows.roi_name == roi.name)
                    & (rows.structure_set_uid == course.structure_set_uid)
                ].volume_cc
                assert len(found) and found.sub(roi.volume_cc).abs().max() < max(
                    0.03 * roi.volume_cc, 0.3
                ), (patient.patient_id, roi.name, roi.volume_cc, found.tolist())


def test_two_phases_without_evidence_wait_for_a_decision(cohort):
    """Base and boost are not recognised by their labels: each plan's dose is reported alone."""
    courses = pd.read_parquet(cohort.out / "results" / "courses.parquet")
    row = courses[courses.patient_id == "DEMO-PELVIS"].iloc[0]
    assert row.dose_decision == "needs-decision"
    rows = cohort.metrics("DEMO-PELVIS")
    assert set(rows.dose_source) == {"plan:Prostate_Base", "plan:Prostate_Boost"}
    target = rows[rows.roi_name == "PTV_25"].set_index("dose_source")
    assert target.loc["plan:Prostate_Boost", "Dmean_Gy"] == pytest.approx(25, rel=0.03)
    assert target.loc["plan:Prostate_Base", "Dmean_Gy"] == pytest.approx(45, rel=0.03)


def test_three_levels_of_one_plan(cohort):
    rows = cohort.metrics("DEMO-HEADNECK").set_index("roi_name")
    for name, dose in (("PTV_70", 70), ("PTV_60", 60), ("PTV_54", 54), ("Parotid_L", 70)):
        assert rows.loc[name, "rx_gy"] == dose
        assert rows.loc[name, "rx_source"] == "dose-reference"
    assert rows.loc["PTV_70", "Dmean_Gy"] == pytest.approx(70, rel=0.03)


def test_without_a_dose_the_dvh_is_skipped_with_the_reason(cohort):
    course = cohort.course("DEMO-THORAX4D")
    folder = next(f for f in course_folders(cohort.out) if read_course(f) == course)
    for stage in ("dose", "dvh"):
        record = read_record(folder, stage)
        assert record.status == "skipped" and "dose" in record.reason
    assert read_record(folder, "load").status == "done"


def test_the_broken_links_are_flagged_and_the_dvh_is_there(cohort):
    course = cohort.course("DEMO-BROKEN")
    assert {"broken-link", "fallback-link"} <= {flag.id for flag in course.flags}
    rows = cohort.metrics("DEMO-BROKEN")
    assert rows["flags"].str.contains("structure-set-by-frame-of-reference").all()
    assert rows[rows.roi_name == "PTV_66"].Dmean_Gy.iloc[0] == pytest.approx(66, rel=0.03)


def test_doses_of_all_positions_lie_on_their_targets(cohort):
    """A mirrored or turned dose would miss the target: head first prone and feet first too."""
    for patient, roi, dose in (("DEMO-TWICE", "PTV_50", 50), ("DEMO-BROKEN", "PTV_66", 66)):
        rows = cohort.metrics(patient)
        found = rows[rows.roi_name.str.startswith(roi[:4]) & (rows.rx_gy == dose)]
        assert len(found) and (found["D95%_Gy"] > 0.9 * dose).all(), (patient, found)


def test_no_name_or_birth_date_in_any_output(cohort):
    """The generator's names look like Demo^Pelvis; DICOM that we write copies the patient
    module."""
    for path in cohort.out.rglob("*"):
        assert "^" not in path.name
        if path.is_file() and path.suffix != ".dcm":
            content = path.read_bytes()
            assert b"Demo^" not in content and b"DEMO^" not in content, path


def test_the_columns_begin_and_end_as_agreed(cohort):
    columns = list(pd.read_parquet(cohort.out / "results" / "dvh_metrics.parquet").columns)
    first = """patient_id course_id source roi_number roi_name roi_standard_name volume_cc
    dose_coverage_percent rx_gy rx_level rx_source dose_source Dmean_Gy Dmin_Gy Dmax_Gy D99%_Gy
    D98%_Gy D95%_Gy D50%_Gy D5%_Gy D2%_Gy D1%_Gy D0.03cc_Gy D0.1cc_Gy D1cc_Gy D2cc_Gy"""
    assert columns[:26] == first.split()
    assert columns[-4:] == ["flags", "dose_uids", "structure_set_uid", "plan_uids"]


def test_workbook_and_codebook_cover_every_table(cohort):
    results = cohort.out / "results"
    sheets = pd.read_excel(results / "results.xlsx", sheet_name=None)
    assert {"courses", "dvh_metrics", "failures", "codebook"} <= set(sheets)
    book = sheets["codebook"]
    for name, frame in tables(cohort.out).items():
        known = set(book[book.table == name].column)
        assert set(frame.columns) <= known, set(frame.columns) - known
        assert book[book.table == name].definition.notna().all()


# -- running again --------------------------------------------------------------------------------


def run_again(cohort: Cohort, *options: str) -> tuple[set[str], int]:
    """Stages that ran once more, and the exit status."""
    before = snapshot(cohort.out)
    status = main(["run", str(cohort.dicom), str(cohort.out), "--quiet", *options])
    after = snapshot(cohort.out)
    return {name for name in after if after[name] != before.get(name)}, status


def test_an_unchanged_cohort_runs_nothing(cohort):
    old = tables(cohort.out)
    ran, status = run_again(cohort)
    assert not ran and status == 3
    for name, frame in tables(cohort.out).items():
        pd.testing.assert_frame_equal(frame, old[name])


def test_a_new_setting_reruns_what_depends_on_it(cohort, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("dvh: {metrics: ['D0.5cc[Gy]']}\n")
    ran, _ = run_again(cohort, "--config", str(config))
    assert {name.split("/")[-1] for name in ran} <= {"dvh", "quality", "report"}
    assert sum(name.endswith("/dvh") for name in ran) >= 6
    assert "D0.5cc_Gy" in tables(cohort.out)["dvh_metrics"].columns
    run_again(cohort)


def test_touched_files_rerun_nothing_and_a_lost_output_is_made_anew(cohort):
    for path in cohort.dicom.rglob("RD*"):
        os.utime(path)
    assert run_again(cohort)[0] == set()
    lost = next(cohort.out.glob("DEMO-HEADNECK/*/dvh/metrics.parquet"))
    lost.unlink()
    ran, _ = run_again(cohort)
    assert {name.split("/")[-1] for name in ran} <= {"dvh", "quality", "report"} and ran
    assert lost.exists()


def test_a_decision_of_a_person_is_read_back(cohort):
    """Both plans count: the sum becomes the course's dose, with 70 Gy in the boost volume."""
    folder = next(cohort.out.glob("DEMO-PELVIS/*"))
    decisions = folder / "overrides.yaml"
    template = decisions.read_text(encoding="utf-8")
    decisions.write_text("dose: {plans: {Prostate_Base: 1, Prostate_Boost: 1}}\n")
    ran, _ = run_again(cohort)
    stages = {name.split("/")[-1] for name in ran}
    assert stages == {"dose", "dvh", "radiomics", "quality", "report"}
    rows = cohort.metrics("DEMO-PELVIS")
    total = rows[rows.dose_source.str.startswith("sum:")].set_index("roi_name")
    assert total.loc["PTV_25", "Dmean_Gy"] == pytest.approx(70, rel=0.03)
    assert {"plan:Prostate_Base", "plan:Prostate_Boost"} < set(rows.dose_source)
    decisions.write_text(template)
    run_again(cohort)


def test_a_new_dose_leaves_no_dvh_of_the_old_one(cohort):
    folder = next(cohort.out.glob("DEMO-HEADNECK/*"))
    decisions = folder / "overrides.yaml"
    template = decisions.read_text(encoding="utf-8")
    decisions.write_text("dose: {plans: {OPX_SIB: 0.5}}\n")
    run_again(cohort, "--stages", "dose")
    assert cohort.metrics("DEMO-HEADNECK").empty
    courses = tables(cohort.out)["courses"].set_index("patient_id")
    assert courses.loc["DEMO-HEADNECK", "stage_dvh"] == "not run"
    decisions.write_text(template)
    run_again(cohort)
    rows = cohort.metrics("DEMO-HEADNECK").set_index("roi_name")
    assert rows.loc["PTV_70", "Dmean_Gy"] == pytest.approx(70, rel=0.03)


def test_a_new_series_runs_only_what_looks_at_images(cohort):
    """Volumes and DVHs look at the slices between contours; the dose does not."""
    source = next(cohort.dicom.glob("DEMO-THORAX4D/**/*.dcm")).parent
    added = cohort.dicom / "DEMO-THORAX4D" / "late"
    added.mkdir()
    uid = pydicom.uid.generate_uid()
    for path in sorted(source.glob("*.dcm"))[:5]:
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID = uid
        dataset.SOPInstanceUID = pydicom.uid.generate_uid()
        dataset.save_as(added / path.name)
    ran, _ = run_again(cohort)
    stages = {name.split("/")[-1] for name in ran}
    looking = {"load", "segment", "structures", "radiomics", "dvh", "quality", "report"}
    assert stages == looking
    assert all(name.startswith("DEMO-THORAX4D/") for name in ran)
    assert len(cohort.course("DEMO-THORAX4D").images) == 4
    shutil.rmtree(added)
    run_again(cohort)


def test_one_damaged_course_costs_that_course_only(cohort, tmp_path):
    plan = next(cohort.dicom.glob("DEMO-HEADNECK/**/*RS*"))
    content = plan.read_bytes()
    plan.write_bytes(content[: len(content) // 2])
    try:
        out = tmp_path / "out"
        assert main(["run", str(cohort.dicom), str(out), "--quiet"]) == 3
        failures = pd.read_csv(out / "results" / "failures.csv")
        assert plan.relative_to(cohort.dicom).as_posix() in set(failures.file)
        patients = set(tables(out)["courses"].patient_id)
        assert patients == set(cohort.patients)
        done = set(tables(out)["dvh_metrics"].patient_id)
        assert done >= {"DEMO-PELVIS", "DEMO-TWICE", "DEMO-LUNG"}
    finally:
        plan.write_bytes(content)


# -- hard kills -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[Path, dict[str, pd.DataFrame]]:
    folder = tmp_path_factory.mktemp("small")
    make_cohort(folder / "dicom", patients=SMALL)
    main(["run", str(folder / "dicom"), str(folder / "out"), "--quiet"])
    return folder / "dicom", tables(folder / "out")


@pytest.mark.parametrize("seconds", [0.4, 1.5, 3.0, 5.0])
def test_kill_9_at_any_moment_and_the_same_command_again(undisturbed, tmp_path, seconds):
    dicom, expected = undisturbed
    out = tmp_path / "out"
    command = [sys.executable, "-m", "RTPipelineLib", "run", str(dicom), str(out), "--quiet"]
    process = subprocess.Popen(command, cwd=LIBRARY, stderr=subprocess.PIPE)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    process.communicate()
    again = subprocess.run(command, cwd=LIBRARY, stderr=subprocess.PIPE, timeout=120, check=False)
    assert again.returncode == 3, again.stderr.decode()
    found = tables(out)
    assert found.keys() == expected.keys()
    for name, frame in expected.items():
        pd.testing.assert_frame_equal(found[name], frame)
    leftovers = [p for p in out.rglob(".*") if p.name.startswith((".tmp-", ".old-"))]
    assert not leftovers
