"""Stage `dose` on small courses: parts of plans, positions, frames of reference, EQD2."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK
from scipy.spatial.transform import Rotation

from RTPipelineLib.cli import main
from RTPipelineLib.course import course_folders
from RTPipelineLib.dicom.dose import read_dose
from Testing.rt_export import FRAME, OTHER_FRAME, POSITIONS, Export


@pytest.fixture
def export(tmp_path: Path) -> Export:
    return Export(tmp_path)


def two_concurrent(export: Export, gy: float, fractions: int = 25, **geometry: object) -> None:
    first = export.plan("A", fractions)
    second = export.plan("B", fractions, concurrent=first)
    export.dose(first, gy, **geometry)
    export.dose(second, gy, **geometry)


# -- sums ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("sign", [1, -1], ids=["ascending", "descending"])
def test_two_plans_of_10_gy_are_20_gy_in_every_patient_position(export, position, sign) -> None:
    offsets = [sign * step for step in (0.0, 3.0, 6.0, 9.0)]
    two_concurrent(export, 10.0, orientation=POSITIONS[position], offsets=offsets)
    folder = export.stage()
    total = read_dose(folder / "total.dcm")
    assert total.array_gy.shape == (4, 5, 6)
    assert total.array_gy == pytest.approx(np.full((4, 5, 6), 20.0), abs=1e-5)
    volume = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / "total.nrrd")))
    assert volume == pytest.approx(np.full((4, 5, 6), 20.0), abs=1e-5)


def test_absolute_offsets_in_a_course(export) -> None:
    two_concurrent(export, 10.0, offsets=(30.0, 33.0, 36.0, 39.0))
    total = read_dose(export.stage() / "total.dcm")
    assert total.array_gy == pytest.approx(np.full((4, 5, 6), 20.0), abs=1e-5)


@pytest.mark.parametrize(
    ("offsets", "complete"), [((0.0, 3.0), False), ((0.0, 3.0, 6.0, 9.0), True)]
)
def test_structures_where_not_every_dose_reaches_are_flagged(export, offsets, complete) -> None:
    """The ROIs reach from z = 31.5 to 37.5, the shorter dose to 34.5."""
    first = export.plan("A", 25)
    second = export.plan("B", 25, concurrent=first)
    export.structures()
    export.dose(first, 10.0)
    export.dose(second, 5.0, offsets=offsets)
    facts = export.run()
    assert bool(facts["sources"][0]["coverage"]) != complete
    flags = export.metrics()["flags"]
    said = flags.str.contains("dose-sum-incomplete")
    summed = flags.index.get_level_values("dose_source").str.startswith("sum")
    assert said[summed].all() != complete
    assert not said[~summed].any()


def test_the_total_says_what_it_is(export) -> None:
    two_concurrent(export, 10.0)
    folder = export.stage()
    facts = json.loads((folder / "dose.json").read_text())
    ds = pydicom.dcmread(folder / "total.dcm", stop_before_pixels=True)
    assert ds.DoseSummationType == "MULTI_PLAN"
    used = {item["sop_uid"] for item in facts["sources"][0]["doses"]}
    assert {item.ReferencedSOPInstanceUID for item in ds.ReferencedInstanceSequence} == used


def test_a_dose_exported_frame_by_frame_is_one_dose(export) -> None:
    plan = export.plan("A", 25)
    ramp = np.arange(4 * 5 * 6).reshape(4, 5, 6) / 10
    frames = [
        export.dose(plan, ramp[n : n + 1], position=(-10.0, -20.0, 30.0 + 3 * n), offsets=(0.0,))
        for n in (2, 0, 3, 1)
    ]
    folder = export.stage()
    facts = json.loads((folder / "dose.json").read_text())
    assert facts["decision"]["status"] == "decided"
    total = read_dose(folder / "total.dcm")
    assert total.array_gy == pytest.approx(ramp, abs=1e-5)
    assert total.grid.origin_mm.tolist() == [-10.0, -20.0, 30.0]
    assert "stack-of-frames" in facts["sources"][0]["flags"]
    ds = pydicom.dcmread(folder / "total.dcm", stop_before_pixels=True)
    sources = [i.ReferencedSOPInstanceUID for i in ds.ReferencedInstanceSequence]
    assert sources == [frames[n] for n in (1, 3, 0, 2)]


# -- real parts of a plan --------------------------------------------------------------------------


@pytest.fixture
def protons(shared_data, tmp_path) -> tuple[Export, dict[str, Path]]:
    """The ion plan with its PLAN dose and BEAM doses, as `Export` and doses by kind."""
    export = Export(tmp_path)
    shutil.copytree(shared_data / "proton_beams", tmp_path / "dicom")
    doses = {}
    for path in sorted((tmp_path / "dicom").glob("RD*.dcm")):
        kind = pydicom.dcmread(path, stop_before_pixels=True).DoseSummationType
        doses[f"{kind}{len(doses)}"] = path
    return export, doses


def uid(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def test_protons_the_plan_dose_stands_for_its_beams(protons) -> None:
    export, doses = protons
    facts = export.run()
    left_out = dict(facts["decision"]["left_out"])
    beams = {uid(path) for kind, path in doses.items() if kind.startswith("BEAM")}
    assert set(left_out) == beams and len(beams) == 2
    assert all("PLAN dose already holds" in reason for reason in left_out.values())
    chosen = [item["sop_uid"] for item in facts["sources"][0]["doses"]]
    assert chosen == [uid(p) for kind, p in doses.items() if kind.startswith("PLAN")]


def test_protons_without_plan_dose_its_beams_are_added(protons) -> None:
    export, doses = protons
    plan = next(path for kind, path in doses.items() if kind.startswith("PLAN"))
    expected = read_dose(plan).array_gy
    plan.unlink()
    export.run()
    total = read_dose(export.folder / "dose" / "total.dcm")
    assert total.array_gy == pytest.approx(expected, abs=1e-4)
    assert total.summation_type == "PLAN"


def test_protons_without_a_beam_are_refused_by_name(protons) -> None:
    export, doses = protons
    beams = [path for kind, path in doses.items() if kind.startswith("BEAM")]
    for kind, path in doses.items():
        if kind.startswith("PLAN"):
            path.unlink()
    gone = pydicom.dcmread(beams[0], stop_before_pixels=True)
    groups = gone.ReferencedRTPlanSequence[0].ReferencedFractionGroupSequence
    number = groups[0].ReferencedBeamSequence[0].ReferencedBeamNumber
    beams[0].unlink()
    export.run(status=3)
    failures = pd.read_csv(export.out / "results" / "failures.csv")
    named = failures.error.str.contains(rf"lack beam {number}\b")
    assert (named & (failures.stage == "dose")).any()
    assert not (export.folder / "dose" / "total.dcm").exists()


# -- frames of reference ---------------------------------------------------------------------------

MATRIX = np.eye(4)
MATRIX[:3, :3] = Rotation.from_euler("z", 90, degrees=True).as_matrix()
MATRIX[:3, 3] = (-30.0, -9.0, 3.0)


def two_frames(export: Export) -> np.ndarray:
    """Concurrent plans in two frames, the second with one hot voxel; where that lies in the
    first."""
    hot = np.zeros((4, 5, 6))
    hot[2, 1, 4] = 50.0
    spot = np.array([-10.0 + 4 * 2.0, -20.0 + 1 * 2.5, 30.0 + 2 * 3.0])
    first = export.plan("A", 25)
    second = export.plan("B", 25, concurrent=first, frame=OTHER_FRAME)
    export.dose(first, 10.0)
    export.dose(second, hot, frame=OTHER_FRAME)
    return MATRIX[:3, :3] @ spot + MATRIX[:3, 3]


def test_frames_without_registration_wait_for_a_decision(export) -> None:
    two_frames(export)
    facts = export.run()
    assert facts["decision"]["status"] == "needs-decision"
    assert "frames-differ" in facts["decision"]["flags"]
    assert not (export.folder / "dose" / "total.dcm").exists()


def test_a_registration_of_the_course_joins_its_frames(export) -> None:
    landmark = two_frames(export)
    reg = export.registration(MATRIX)
    facts = export.run()
    (source, *_) = facts["sources"]
    assert (source["role"], source["frame_uid"]) == ("total", FRAME)
    assert source["registrations"] == [reg]
    assert "registered" in source["flags"]
    total = read_dose(export.folder / "dose" / "total.dcm")
    k, j, i = np.unravel_index(total.array_gy.argmax(), total.array_gy.shape)
    place = total.grid.to_lps(np.array([i, j, k], float))
    assert np.abs(place - landmark).max() <= total.grid.spacing_mm.max() / 2 + 1e-6
    ds = pydicom.dcmread(export.folder / "dose" / "total.dcm", stop_before_pixels=True)
    assert ds.SpatialTransformOfDose == "RIGID"
    assert ds.ReferencedSpatialRegistrationSequence[0].ReferencedSOPInstanceUID == reg


def test_a_deformation_of_the_course_moves_its_dose(export) -> None:
    """Registered points lie 4, -2.5 and 3 mm further in the source: its dose moves against that."""
    two_frames(export)
    reg = export.deformation((4.0, -2.5, 3.0))
    facts = export.run("dose: {eqd2: {enabled: true}}")
    (source, *_) = facts["sources"]
    assert {"registered", "registered-deformably"} <= set(source["flags"])
    assert (source["frame_uid"], source["registrations"]) == (FRAME, [reg])
    total = read_dose(export.folder / "dose" / "total.dcm")
    k, j, i = np.unravel_index(total.array_gy.argmax(), total.array_gy.shape)
    place = total.grid.to_lps(np.array([i, j, k], float))
    spot = np.array([-10.0 + 4 * 2.0, -20.0 + 1 * 2.5, 30.0 + 2 * 3.0])
    assert place == pytest.approx(spot - (4.0, -2.5, 3.0), abs=1.25)
    assert total.array_gy.max() == pytest.approx(60.0, abs=0.5)
    ds = pydicom.dcmread(export.folder / "dose" / "total.dcm", stop_before_pixels=True)
    assert ds.SpatialTransformOfDose == "NON_RIGID"
    assert not source["eqd2"]["problem"]


def test_the_configuration_can_forbid_it(export) -> None:
    two_frames(export)
    export.registration(MATRIX)
    facts = export.run("dose: {registration: none}")
    assert facts["decision"]["status"] == "needs-decision"


def test_contradicting_registrations_wait_for_a_person(export) -> None:
    two_frames(export)
    export.registration(MATRIX)
    other = export.registration(np.eye(4))
    facts = export.run()
    assert facts["decision"]["status"] == "needs-decision"
    record = json.loads((export.folder / "stages" / "dose.json").read_text())
    assert "in different ways" in json.dumps(record)
    course = json.loads((export.folder / "course.json").read_text())
    key = f"{course['patient_id']}/{course['course_id']}"
    decided = f"courses: {{'{key}': {{dose: {{registrations: [{other}]}}}}}}"
    facts = export.run(overrides=decided)
    assert facts["sources"][0]["registrations"] == [other]


# -- decisions that cannot be read -----------------------------------------------------------------


def test_a_wrong_decision_of_one_course_costs_that_course_only(export, capsys) -> None:
    for other in (export, replace(export, patient="P2")):
        other.dose(other.plan("A", 25), 10.0)
    assert main(["run", str(export.root / "dicom"), str(export.out), "--quiet"]) == 0
    broken, whole = course_folders(export.out)
    (broken / "overrides.yaml").write_text("dose: {plan: {A: 1}}")
    assert main(["run", str(export.root / "dicom"), str(export.out), "--quiet"]) == 3
    failures = pd.read_csv(export.out / "results" / "failures.csv")
    # Those that read decisions.
    assert failures.stage.tolist() == ["dose", "quality", "radiomics", "structures"]
    assert set(failures.file) == {str(broken / "overrides.yaml")}
    assert "did you mean 'plans'?" in failures.error[0]
    assert (whole / "dose" / "dose.json").exists() and not (broken / "dose").exists()
    (broken / "overrides.yaml").write_text("{}")
    assert main(["run", str(export.root / "dicom"), str(export.out), "--quiet"]) == 0


def test_a_wrong_decision_outside_ends_everything_before_any_work(export, capsys) -> None:
    export.dose(export.plan("A", 25), 10.0)
    export.run(overrides="courses: {P1/x: {dose: {normalisation: {1.2: 0}}}}", status=2)
    said = capsys.readouterr().err
    assert "o.yaml: P1/x: dose, normalisation: 1.2 needs a number of Gy above 0" in said
    assert not export.out.exists()


# -- EQD2 ------------------------------------------------------------------------------------------

EQD2 = "dose: {eqd2: {enabled: true, alpha_beta: {structures: {Cord: 2}}}}"


def test_eqd2_stands_beside_the_physical_dose(export) -> None:
    """20 Gy in 30 fractions: each structure by its own a/b, the grids by those of targets and of
    everything else."""
    export.dose(export.plan("A", 30), 20.0)
    export.structures()
    export.run(EQD2)
    metrics = export.metrics()
    for roi, ratio in (("Cord", 2.0), ("PTV", 10.0)):
        row = metrics.loc[("plan:A", roi)]
        expected = 20 * (20 / 30 + ratio) / (2 + ratio)
        assert row["EQD2_alpha_beta_Gy"] == ratio
        assert row["EQD2_Dmean_Gy"] == pytest.approx(expected, abs=1e-4)
        assert row["EQD2_D2%_Gy"] == pytest.approx(expected, abs=1e-4)
        assert row["Dmean_Gy"] == pytest.approx(20.0, abs=1e-4)
    for ratio, expected in ((3, 14.6667), (10, 17.7778)):
        path = export.folder / "dose" / f"eqd2_{ratio}.nrrd"
        grid = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
        assert grid == pytest.approx(np.full(grid.shape, expected), abs=1e-3)


def test_ratios_of_the_course_win_and_run_only_what_depends_on_them(export) -> None:
    """20 Gy in 30 fractions; the configuration asks for no EQD2, the course's own file does."""
    export.dose(export.plan("A", 30), 20.0)
    export.structures()
    export.run()
    before = export.started()
    decision = "eqd2: {enabled: true, alpha_beta: {other: 4, structures: {Cord: 2.5}}}\n"
    (export.folder / "overrides.yaml").write_text(decision, encoding="utf-8")
    facts = export.run()
    metrics = export.metrics()
    for roi, ratio in (("Cord", 2.5), ("PTV", 10.0)):
        row = metrics.loc[("plan:A", roi)]
        assert row["EQD2_alpha_beta_Gy"] == ratio
        expected = 20 * (20 / 30 + ratio) / (2 + ratio)
        assert row["EQD2_Dmean_Gy"] == pytest.approx(expected, abs=1e-4)
    assert {path.name for path in (export.folder / "dose").glob("eqd2_*")} >= {
        "eqd2_4.nrrd",
        "eqd2_10.nrrd",
    }
    assert facts["eqd2_decided"]["alpha_beta"]["other"] == 4
    after = export.started()
    assert {name for name in before if before[name] != after[name]} == {"dose", "dvh"}
    methods = (export.out / "results" / "methods.html").read_text("utf-8")
    assert "For 1 of 1 courses a user decided on EQD2" in methods


def test_eqd2_adds_concurrent_plans_before_the_conversion(export) -> None:
    two_concurrent(export, 25.0)
    export.structures()
    export.run(EQD2)
    metrics = export.metrics()
    (total,) = {name for name, _ in metrics.index if name.startswith("sum:")}
    assert metrics.loc[(total, "PTV"), "EQD2_Dmean_Gy"] == pytest.approx(50.0, abs=1e-4)
    alone = 25 * (1 + 10) / 12
    assert metrics.loc[("plan:A", "PTV"), "EQD2_Dmean_Gy"] == pytest.approx(alone, abs=1e-4)


def test_without_fractions_there_is_no_eqd2_and_the_row_says_so(export) -> None:
    export.dose(export.plan("A", None), 20.0)
    export.structures()
    export.run(EQD2)
    row = export.metrics().loc[("plan:A", "Cord")]
    assert pd.isna(row["EQD2_alpha_beta_Gy"])
    assert "EQD2_Dmean_Gy" not in row or pd.isna(row["EQD2_Dmean_Gy"])
    assert "eqd2-not-possible" in row["flags"].split(";")
    assert row["Dmean_Gy"] == pytest.approx(20.0, abs=1e-4)
    assert not list((export.folder / "dose").glob("eqd2_*"))


def test_eqd2_is_absent_unless_asked_for(export) -> None:
    export.dose(export.plan("A", 30), 20.0)
    export.structures()
    export.run()
    assert not [column for column in export.metrics() if column.startswith("EQD2")]
