"""The main job on real exports of several planning systems, against values of other programs."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from RTPipelineLib.cli import main
from RTPipelineLib.course import Course, course_folders, read_course
from RTPipelineLib.run.ledger import read_record


@pytest.fixture(scope="module")
def out(shared_data, tmp_path_factory) -> Path:
    """All of the reference data, run at once."""
    folder = tmp_path_factory.mktemp("shared") / "out"
    assert main(["run", str(shared_data), str(folder), "--quiet"]) == 3
    return folder


def rows(out: Path, patient: str) -> pd.DataFrame:
    frame = pd.read_parquet(out / "results" / "dvh_metrics.parquet")
    return frame[frame.patient_id == patient].set_index("roi_name")


def course(out: Path, patient: str) -> tuple[Path, Course]:
    found = [(f, read_course(f)) for f in course_folders(out)]
    return next((f, c) for f, c in found if c.patient_id == patient)


def test_every_object_is_in_a_course_and_every_failure_is_true(out):
    courses = [read_course(folder) for folder in course_folders(out)]
    assert len(courses) == 16
    assert sum(len(c.objects) for c in courses) == 24
    assert sorted(len(i.files) for c in courses for i in c.images) == [1, 20, 177]
    failures = pd.read_csv(out / "results" / "failures.csv")
    # Eight dose headers came without pixels; one dose does not say what it is.
    assert len(failures) == 9 and set(failures.stage) == {"dose"}
    assert failures.error.str.contains("has 0 bytes of pixel data").sum() == 8


def test_eclipse_prostate_agrees_with_three_engines(out, shared_data):
    """Volumes within the spread of the engines + 0.5 %: they end the stack differently."""
    ours = rows(out, "TEST PHYS PROSTATE")
    assert ours.loc["PTV", "Dmean_Gy"] == pytest.approx(45.88, rel=1e-3)
    expected = json.loads(
        (shared_data / "eclipse_prostate" / "expected_dvh_summary.json").read_text(encoding="utf-8")
    )
    engines = list(expected.values())
    for name in ("PTV", "Bladder", "Rectum", "BODY"):
        found = [e.get(name) or e[f"{name} Dose (GY)"] for e in engines]
        volumes = [entry["volume_cc"] for entry in found]
        assert min(volumes) * 0.995 < ours.loc[name, "volume_cc"] < max(volumes) * 1.005
        for metric, column in (("D95", "D95%_Gy"), ("D50", "D50%_Gy"), ("D5", "D5%_Gy")):
            values = [entry[metric] for entry in found]
            # One of the tables lists lower bin edges, 0.1 Gy low.
            assert min(values) - 0.05 < ours.loc[name, column] < max(values) + 0.05, (name, metric)
    assert (ours.rx_gy == 46).all() and (ours.rx_source == "dose-reference").all()
    assert ours.loc["CTV", "flags"] and pd.isna(ours.loc["CTV", "volume_cc"])


def test_breast_agrees_with_its_planning_system(out):
    ours = rows(out, "123456")
    assert len(ours) == 10
    assert ours.loc["Heart", "Dmean_Gy"] == pytest.approx(0.6476, rel=3e-3)
    assert ours.loc["Tumor Bed", "Dmean_Gy"] == pytest.approx(14.2907, rel=3e-3)
    assert ours.loc["Lt Lung", "Dmean_Gy"] == pytest.approx(0.9093, rel=3e-3)


def test_proton_beams_link_by_uid_in_spite_of_their_patient_ids(out):
    _, found = course(out, "WTR303030")
    (plan,) = found.of_kind("rtplan")
    assert plan.patient_id == "test_LET_ramp"
    for dose in found.of_kind("rtdose"):
        assert found.targets_of(dose.sop_uid, "rtplan") == [(plan, "referenced")]
    assert "patient-id-mismatch" in {flag.id for flag in found.flags}
    folder, _ = course(out, "WTR303030")
    decision = json.loads((folder / "dose" / "dose.json").read_text(encoding="utf-8"))["decision"]
    assert decision["status"] == "decided" and len(decision["left_out"]) == 2


def test_head_phantom_is_a_course_without_dose(out):
    folder, found = course(out, "E2E_test_PG1_1")
    assert len(found.planning_image.files) == 177
    assert read_record(folder, "load").status == "done"
    for stage in ("dose", "dvh"):
        record = read_record(folder, stage)
        assert record.status == "skipped" and "no dose" in record.reason


def test_the_series_with_empty_uids_is_one_image(out):
    folder = next(
        f for f in course_folders(out) if any(len(i.files) == 20 for i in read_course(f).images)
    )
    found = read_course(folder)
    assert "series-uid-missing" in {flag.id for flag in found.flags}
    facts = json.loads((folder / "image" / "image.json").read_text(encoding="utf-8"))
    assert facts["volumes"][0]["grid"]["shape"] == [20, 512, 512]


@pytest.mark.parametrize("column", ["D95%_Gy", "Dmean_Gy", "volume_cc"])
def test_the_loose_command_gives_the_numbers_of_the_run(out, shared_data, tmp_path, column):
    folder = shared_data / "eclipse_prostate"
    files = {kind: str(next(folder.glob(f"{kind}.*"))) for kind in ("RS", "RD", "RP")}
    output = tmp_path / "dvh.csv"
    arguments = ["--rtstruct", files["RS"], "--rtdose", files["RD"], "--rtplan", files["RP"]]
    assert main(["dvh", *arguments, "-o", str(output), "--quiet"]) == 0
    loose = pd.read_csv(output).set_index("roi_name")[column].dropna()
    ours = rows(out, "TEST PHYS PROSTATE")[column].dropna()
    pd.testing.assert_series_equal(loose.sort_index(), ours.sort_index(), rtol=1e-9)
