"""The stage `segment` within a course: what was found reaches the tables, what failed is a row."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK

from RTPipelineLib.cli import main
from RTPipelineLib.config import load_config
from RTPipelineLib.geometry import Grid
from RTPipelineLib.overrides import Overrides
from RTPipelineLib.phantoms.cohort import make_cohort
from RTPipelineLib.run.execute import execute
from RTPipelineLib.stages.nrrd import write_nrrd
from RTPipelineLib.stages.seg_nrrd import read_segments

GRID = Grid([0.0, 0.0, 0.0], np.eye(3), [2.0, 2.0, 2.0], (24, 40, 44))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    """A finished run over one patient, without automatic contours."""
    folder = tmp_path_factory.mktemp("cohort")
    make_cohort(folder / "dicom", patients=["DEMO-LUNG"])
    assert main(["run", str(folder / "dicom"), str(folder / "out"), "--quiet"]) == 0
    return folder


def _config(folder: Path, models: str, more: str = "") -> Path:
    path = folder / "config.yaml"
    path.write_text(f"segmentation:\n  models: {models}\n{more}", encoding="utf-8")
    return path


def _stage(cohort: Path, tmp_path: Path, models: str, more: str = ""):
    """Run the stage alone; its record and its folder."""
    (course,) = (cohort / "out" / "DEMO-LUNG").iterdir()
    record = execute("segment", course, load_config(_config(tmp_path, models, more)), Overrides())
    return record, course / "segmentation"


def _models(folder: Path) -> list[dict]:
    return json.loads((folder / "segmentation.json").read_text())["models"]


def test_without_models_it_is_skipped(cohort):
    status = json.loads(next(cohort.glob("out/DEMO-LUNG/*/stages/segment.json")).read_text())
    assert (status["status"], status["reason"]) == (
        "skipped",
        "no models are configured (segmentation.models)",
    )


def test_a_run_brings_automatic_structures_into_the_tables(stub, cohort, tmp_path):
    config = _config(tmp_path, "[{task: total, fast: true}]", "output: {seg: true}\n")
    arguments = [str(cohort / "dicom"), str(cohort / "out"), "--config", str(config), "--quiet"]
    assert main(["run", *arguments]) == 0
    metrics = pd.read_parquet(cohort / "out" / "results" / "dvh_metrics.parquet")
    found = metrics[metrics["source"] == "totalsegmentator"]
    assert set(found["roi_name"]) == {"liver", "heart", "lung_left"}
    assert (found["roi_number"] > 0).all()
    folder = next((cohort / "out" / "DEMO-LUNG").iterdir()) / "segmentation"
    assert {"RS_total_fast.dcm", "SEG_total_fast.dcm", "total_fast.seg.nrrd"} <= {
        path.name for path in folder.iterdir()
    }
    before = len(stub.calls)
    assert main(["run", *arguments]) == 0
    assert len(stub.calls) == before  # nothing had changed


def test_a_failure_costs_its_own_structures_only(stub, cohort, tmp_path):
    stub.does("writes nothing")
    config = _config(tmp_path, "[{task: total, fast: true}]", "output: {csv: true}\n")
    out = cohort / "out"
    arguments = [str(cohort / "dicom"), str(out), "--config", str(config), "--quiet"]
    assert main(["run", *arguments]) == 3
    failures = pd.read_csv(out / "results" / "failures.csv")
    (row,) = failures[failures["stage"] == "segment"].to_dict("records")
    assert "it wrote no labels.nii.gz" in row["error"]
    metrics = pd.read_parquet(out / "results" / "dvh_metrics.parquet")
    assert set(metrics["source"]) == {"clinical"}
    assert metrics["Dmax_Gy"].notna().any()
    assert not (next((out / "DEMO-LUNG").iterdir()) / "segmentation").exists()


def test_one_model_of_two_makes_it_partial(stub, cohort, tmp_path):
    models = "[{task: total, fast: true}, {task: lungs_only}]"
    stub.does("well")
    record, folder = _stage(cohort, tmp_path, models)
    assert record.status == "done"
    numbers = [s["number"] for row in _models(folder) for s in row["structures"].values()]
    assert len(set(numbers)) == len(numbers)
    stub.does("strange values in lungs_only")
    record, folder = _stage(cohort, tmp_path, models)
    first, second = _models(folder)
    assert (record.status, first["status"], second["status"]) == ("partial", "done", "failed")
    assert "values that stand for nothing" in record.reason


def test_a_region_that_is_not_shown_keeps_a_model_from_running(stub, cohort, tmp_path):
    thorax, pelvis = (
        f"[{{task: lungs_only, requires_region: [{name}]}}]" for name in ("thorax", "pelvis")
    )
    stub.does("well")
    record, folder = _stage(cohort, tmp_path, thorax)
    (row,) = _models(folder)
    assert row["regions"].startswith("thorax: ")
    tasks = [arguments[arguments.index("--task") + 1] for _, _, arguments in stub.calls]
    assert tasks == ["total", "lungs_only"]  # the first pass, then the model
    record, _ = _stage(cohort, tmp_path, pelvis)
    assert record.status == "skipped"
    assert "does not show pelvis" in record.reason


def test_a_first_pass_is_not_repeated_for_what_is_known(stub, cohort, tmp_path):
    models = "[{task: total, fast: true}, {task: lungs_only, requires_region: [thorax]}]"
    stub.does("well")
    record, _ = _stage(cohort, tmp_path, models)
    assert record.status == "done"
    assert len(stub.calls) == 2


def test_a_task_for_mr_waits_for_an_mr(stub, cohort, tmp_path):
    record, _ = _stage(cohort, tmp_path, "[{task: total_mr, fast: true}]")
    assert (record.status, "it is made for MR" in record.reason) == ("skipped", True)


def test_missing_weights_end_a_run_before_it_begins(stub, cohort, tmp_path, capsys):
    config = _config(tmp_path, "[{task: total}]")
    assert main(["run", str(cohort / "dicom"), str(tmp_path / "o"), "--config", str(config)]) == 2
    assert "totseg_download_weights -t total" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


# -- rtpipeline segment ---------------------------------------------------------------------------


@pytest.fixture
def volume(tmp_path) -> Path:
    array = np.full(GRID.shape, 40, dtype=np.int16)
    array[6:18, 8:20, 8:24] = 110
    write_nrrd(tmp_path / "head.nrrd", array, GRID, {"modality": "CT"})
    return tmp_path / "head.nrrd"


def test_a_loose_volume(stub, volume, tmp_path):
    out = tmp_path / "out"
    assert main(["segment", str(volume), "-o", str(out), "--fast", "--roi-subset", "liver"]) == 0
    (mask,) = read_segments(out / "total_fast.seg.nrrd")
    assert mask.array.sum() == 12 * 12 * 16
    (row,) = _models(out)
    assert row["structures"]["liver"]["volume_cc"] == pytest.approx(12 * 12 * 16 * 0.008)
    assert row["structures"]["liver"]["mean"] == 110


def test_a_dicom_folder(stub, cohort, tmp_path):
    folder = next(cohort.glob("dicom/DEMO-LUNG/**/*CT*")).parent
    assert main(["segment", str(folder), "-o", str(tmp_path / "out"), "--fast"]) == 0
    assert (tmp_path / "out" / "RS_total_fast.dcm").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{tmp}/nothing"], "does not exist"),
        (["{tmp}/notes.txt"], "no volume that can be read"),
        (["{tmp}"], "holds no CT, MR or PET series"),
        (["{volume}", "--task", "totl"], "did you mean total"),
        (["{volume}", "--task", "total", "--model", "{tmp}"], "not both"),
        (["{volume}", "--device", "gup"], "is not a device"),
        (["{broken}"], "cannot be read"),
    ],
)
def test_wrong_arguments_are_named(stub, volume, tmp_path, capsys, arguments, words):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "broken.nrrd").write_bytes(volume.read_bytes()[:300])
    places = {"tmp": tmp_path, "volume": volume, "broken": tmp_path / "broken.nrrd"}
    filled = [argument.format(**places) for argument in arguments]
    assert main(["segment", *filled, "-o", str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_volume_that_does_not_say_what_it_is(stub, volume, tmp_path, capsys):
    plain = tmp_path / "plain.nii.gz"
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(volume)), str(plain))
    assert main(["segment", str(plain), "-o", str(tmp_path / "out")]) == 2
    assert "--modality" in capsys.readouterr().err
    arguments = ["segment", str(plain), "-o", str(tmp_path / "out"), "--modality", "CT", "--fast"]
    assert main(arguments) == 0
