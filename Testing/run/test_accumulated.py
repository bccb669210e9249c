"""Courses of one patient added on request (`accumulate`)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest

from RTPipelineLib.cli import main
from RTPipelineLib.dicom.dose import read_dose
from Testing.rt_export import OTHER_FRAME, ROIS, Export

FIRST, SECOND = "2021-05_Lung", "2024-02_LungAgain"
SUM = f"accumulated_{FIRST}+{SECOND}"
SHIFT = np.array([[1, 0, 0, 4.0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


class TwoCourses:
    """A patient treated in 2021 (other frame of reference) and again in 2024."""

    def __init__(self, root: Path) -> None:
        self.export = Export(root)
        self.out = root / "out"
        export = self.export
        old = export.structures(OTHER_FRAME, {"Cord": 2.0})
        first = export.plan("Lung", 25, frame=OTHER_FRAME, date="20210503", structures=old)
        # 4 mm to the left in the old frame: a spot that the registration brings back.
        hot = np.full((4, 5, 6), 50.0)
        self.old_dose = export.dose(first, hot, frame=OTHER_FRAME, position=(-14.0, -20.0, 30.0))
        new = export.structures(rois=ROIS)
        second = export.plan("Lung again", 5, date="20240210", structures=new)
        self.new_dose = export.dose(second, 25.0)

    def run(self, courses: str = f"[{SECOND}, {FIRST}]", more: str = "", status: int = 0) -> dict:
        config = self.export.root / "c.yaml"
        config.write_text(f"accumulate: [{{patient: P1, courses: {courses}}}]\n{more}")
        arguments = ["run", str(self.export.root / "dicom"), str(self.out), "--quiet"]
        assert main([*arguments, "--config", str(config)]) == status
        facts = self.folder / "dose" / "dose.json"
        return json.loads(facts.read_text()) if facts.exists() else {}

    @property
    def folder(self) -> Path:
        (found,) = self.out.glob("P1/accumulated_*")
        return found

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.out / "results" / f"{name}.parquet")


@pytest.fixture
def patient(tmp_path: Path) -> TwoCourses:
    return TwoCourses(tmp_path)


def test_without_registration_the_sum_waits_and_says_so(patient) -> None:
    facts = patient.run()
    assert facts["decision"]["status"] == "needs-decision"
    assert "register the courses to each other" in facts["decision"]["evidence"][-1]
    assert not (patient.folder / "dose" / "total.dcm").exists()
    rows = patient.table("courses").set_index("course_id")
    assert len(rows) == 3
    assert rows.dose_decision.value_counts().to_dict() == {"decided": 2, "needs-decision": 1}


def test_registered_courses_are_added_in_the_frame_of_the_last(patient) -> None:
    reg = patient.export.registration(SHIFT)
    facts = patient.run(more="dose: {eqd2: {enabled: true}}")
    assert facts["decision"]["status"] == "decided"
    (source,) = facts["sources"]
    assert source["name"] == f"accumulated:{FIRST}+{SECOND}"
    assert [part["sop_uid"] for part in source["doses"]] == [patient.old_dose, patient.new_dose]
    assert source["registrations"] == [reg]
    assert "no recovery between them is assumed" in facts["decision"]["evidence"][-1]
    total = read_dose(patient.folder / "dose" / "total.dcm")
    assert total.array_gy == pytest.approx(np.full((4, 5, 6), 75.0), abs=1e-4)
    ds = pydicom.dcmread(patient.folder / "dose" / "total.dcm", stop_before_pixels=True)
    assert (ds.DoseSummationType, ds.PatientID) == ("MULTI_PLAN", "P1")
    rows = patient.table("dvh_metrics").set_index(["dose_source", "roi_name"])
    row = rows.loc[(source["name"], "Cord")]
    assert row.course_id == patient.folder.name == SUM
    assert row.Dmean_Gy == pytest.approx(75.0, abs=1e-3)
    # 50 Gy in 25 fractions are 50 Gy, 25 Gy in 5 at a/b 3 are 25 (5 + 3) / (2 + 3) = 40 Gy.
    assert row.EQD2_Dmean_Gy == pytest.approx(90.0, abs=1e-3)
    assert pd.isna(row.rx_gy) and row.rx_source == "none"
    assert set(row.dose_uids.split(";")) == {str(ds.SOPInstanceUID)}
    # The members keep their own rows.
    assert rows.loc[("plan:Lung again", "Cord")].Dmean_Gy == pytest.approx(25.0, abs=1e-3)


def test_nothing_runs_again_until_a_member_changes(patient) -> None:
    patient.export.registration(SHIFT)
    patient.run()
    record = patient.folder / "stages" / "dose.json"
    before = json.loads(record.read_text())["started"]
    patient.run()
    assert json.loads(record.read_text())["started"] == before
    (own,) = patient.out.glob(f"P1/{SECOND}")
    (own / "overrides.yaml").write_text("dose: {plans: {Lung again: 0.8}}")
    facts = patient.run()
    assert json.loads(record.read_text())["started"] != before
    assert [part["weight"] for part in facts["sources"][0]["doses"]] == [1.0, 0.8]
    total = read_dose(patient.folder / "dose" / "total.dcm")
    assert total.summation_type == "PLAN_OVERVIEW"
    assert total.array_gy == pytest.approx(np.full((4, 5, 6), 70.0), abs=1e-4)
    # What is no longer asked for is put away and leaves the tables.
    (patient.export.root / "c.yaml").write_text("{}")
    arguments = [str(patient.export.root / "dicom"), str(patient.out), "--quiet"]
    assert main(["run", *arguments]) == 0
    assert (patient.folder / "dose" / "total.dcm").exists()
    assert not (patient.folder / "course.json").exists()
    assert len(patient.table("courses")) == 2


def test_a_course_that_is_not_there_is_a_row(patient) -> None:
    patient.run(courses=f"[{FIRST}, 2024-02_Lung]", status=3)
    failures = pd.read_csv(patient.out / "results" / "failures.csv")
    assert failures.stage.tolist() == ["dose"]
    assert failures.error[0] == (
        "course 2024-02_Lung: patient P1 has no such course, there are "
        f"{FIRST}, {SECOND}; correct accumulate"
    )
    assert failures.patient_id.tolist() == ["P1"]


def test_a_dry_run_tells_of_sums_too(patient, capsys) -> None:
    config = patient.export.root / "c.yaml"
    config.write_text(f"accumulate: [{{patient: P1, courses: [{FIRST}, {SECOND}]}}]\n")
    run = ["run", str(patient.export.root / "dicom"), str(patient.out), "--config", str(config)]
    before_and_after = []
    for _ in range(2):
        assert main([*run, "--dry-run"]) == 0
        before_and_after.append(capsys.readouterr().out.splitlines())
        assert main([*run, "--quiet"]) in (0, 3)
        capsys.readouterr()
    before, after = before_and_after
    assert len(before) == 3 and before[2] == f"P1\t{SUM}\tload, register, dose, dvh, report"
    assert after[:2] == [f"P1\t{course}\tnothing to do" for course in (FIRST, SECOND)]
    assert after[2].startswith(f"P1\t{SUM}\t")
