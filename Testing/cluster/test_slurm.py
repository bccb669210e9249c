"""A real SLURM behind `rtpipeline run --engine snakemake`: `make test-cluster` (some minutes).

Of four courses one fails in words, the job of one is killed and that of one runs out of SLURM's
time; all else is as the local engine makes it, and the second run repairs the rest.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from RTPipelineLib.cli import main
from RTPipelineLib.course import course_folders
from RTPipelineLib.phantoms.scale import tiny_patients
from RTPipelineLib.run.ledger import read_record

FAULTY = Path(__file__).parents[1] / "run" / "faults"
PROFILE = """\
executor: slurm
jobs: 4
retries: 1
slurm-status-command: squeue
default-resources: [slurm_partition=main, slurm_account=none]
"""


def _why_not() -> str:
    """Why there is nothing to test here; empty where a cluster answers."""
    if shutil.which("sbatch") is None:
        return "SLURM is not installed; make test-cluster installs it (Debian, root)"
    if find_spec("snakemake") is None and shutil.which("snakemake") is None:
        return "Snakemake is not installed: pip install 'slicer-rtpipeline[cluster]'"
    if "RTPIPELINE_TEST_CLUSTER" not in os.environ:  # nobody's own cluster gets jobs of ours
        return "some minutes of real SLURM jobs: make test-cluster"
    return ""


pytestmark = pytest.mark.skipif(bool(_why_not()), reason=_why_not() or "-")


def profile(folder: Path, *lines: str) -> str:
    folder.mkdir()
    (folder / "config.yaml").write_text(PROFILE + "\n".join(lines) + "\n")
    return str(folder)


def tables(out: Path) -> dict[str, pd.DataFrame]:
    return {p.stem: pd.read_parquet(p) for p in sorted((out / "results").glob("*.parquet"))}


def test_lost_jobs_are_rows_and_the_tables_those_of_the_local_engine(tmp_path, monkeypatch):
    list(tiny_patients(tmp_path / "dicom", 4))
    notes = tmp_path / "notes"
    notes.mkdir()
    kinds = {"TINY-00001": "bug", "TINY-00002": "kill_job", "TINY-00003": "stop_job"}
    (tmp_path / "faults.json").write_text(json.dumps({"notes": str(notes), "faults": kinds}))
    arguments = [str(tmp_path / "dicom"), "--stages", "load,structures,dose,dvh", "--quiet"]
    out, local = tmp_path / "out", tmp_path / "local"
    run = ["run", arguments[0], str(out), *arguments[1:], "--engine", "snakemake", "--profile"]
    with monkeypatch.context() as patch:
        patch.setenv("FAULTS_FILE", str(tmp_path / "faults.json"))
        patch.setenv("PYTHONPATH", str(FAULTY))
        short = ("set-resources:", "  dose:", "    runtime: 1")
        assert main([*run, profile(tmp_path / "short", *short)]) == 3
    failures = pd.read_csv(out / "results" / "failures.csv").set_index("patient_id").error
    assert "internal error in stage dose: RuntimeError: planted" in failures["TINY-00001"]
    for patient in ("TINY-00002", "TINY-00003"):
        assert "the job of stage dose ended without a record" in failures[patient]
    assert set(failures.index) == set(kinds)
    courses = pd.read_parquet(out / "results" / "courses.parquet").set_index("patient_id")
    assert courses.stage_dvh["TINY-00000"] == "done"
    assert all(courses.stage_dvh[p].startswith("skipped: stage dose gave") for p in kinds)
    before = {folder: read_record(folder, "dose").started for folder in course_folders(out)}
    assert main([*run, profile(tmp_path / "plain")]) == 0
    after = {folder: read_record(folder, "dose").started for folder in course_folders(out)}
    assert [before[f] == after[f] for f in sorted(before)] == [True, False, False, False]
    assert subprocess.run(["squeue", "-h"], capture_output=True, text=True).stdout == ""
    assert main(["run", arguments[0], str(local), *arguments[1:]]) == 0
    found, expected = tables(out), tables(local)
    assert found.keys() == expected.keys() and len(expected["dvh_metrics"]) > 0
    for name, table in expected.items():
        pd.testing.assert_frame_equal(found[name], table, obj=name)
