"""A real SLURM behind `rtpipeline run --engine snakemake`: `make test-cluster` (about
twenty minutes).

In the demonstration cohort one course fails in words, the job of one is killed and that of one runs
out of SLURM's time; all else is done. The second run repairs these, and its tables are those of the
local engine and of Snakemake on this machine.
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
from RTPipelineLib.phantoms.cohort import make_cohort
from RTPipelineLib.run.ledger import read_record

FAULTY = Path(__file__).parents[1] / "run" / "faults"
PROFILE = """\
executor: slurm
jobs: 4
retries: 1
slurm-status-command: squeue
slurm-init-seconds-before-status-checks: 5
seconds-between-status-checks: 3
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


def test_lost_jobs_are_rows_and_the_tables_those_of_the_other_engines(tmp_path, monkeypatch):
    make_cohort(tmp_path / "dicom")
    notes = tmp_path / "notes"
    notes.mkdir()
    kinds = {"DEMO-PELVIS": "bug", "DEMO-HEADNECK": "kill_job", "DEMO-LUNG": "stop_job"}
    (tmp_path / "faults.json").write_text(json.dumps({"notes": str(notes), "faults": kinds}))

    def run(out: str, *options: str) -> int:
        return main(["run", str(tmp_path / "dicom"), str(tmp_path / out), "--quiet", *options])

    out = tmp_path / "slurm"
    slurm = ("slurm", "--engine", "snakemake", "--profile")
    with monkeypatch.context() as patch:
        patch.setenv("FAULTS_FILE", str(tmp_path / "faults.json"))
        patch.setenv("PYTHONPATH", str(FAULTY))
        short = ("set-resources:", "  dose:", "    runtime: 1")
        assert run(*slurm, profile(tmp_path / "short", *short)) == 3
    failures = pd.read_csv(out / "results" / "failures.csv", keep_default_na=False)
    of_dose = failures[failures.stage == "dose"].set_index("patient_id").error
    assert "internal error in stage dose: RuntimeError: planted" in of_dose["DEMO-PELVIS"]
    for patient, status in (("DEMO-HEADNECK", "FAILED"), ("DEMO-LUNG", "TIMEOUT")):
        assert "the job of stage dose ended without a record" in of_dose[patient]
        assert f"SLURM status is: '{status}'" in of_dose[patient]
    assert set(of_dose.index) == set(kinds)
    courses = pd.read_parquet(out / "results" / "courses.parquet").set_index("patient_id")
    assert (courses.stage_dvh[["DEMO-TWICE", "DEMO-BROKEN"]] == "done").all()
    assert all(courses.stage_dvh[p].startswith("skipped: stage dose gave") for p in kinds)
    before = {folder: read_record(folder, "dose").started for folder in course_folders(out)}

    planted = run("local")
    assert planted == 3  # the damaged file
    assert run(*slurm, profile(tmp_path / "plain")) == planted
    after = {folder: read_record(folder, "dose").started for folder in course_folders(out)}
    again = {folder.parent.name for folder in before if before[folder] != after[folder]}
    assert again == set(kinds)
    assert subprocess.run(["squeue", "-h"], capture_output=True, text=True).stdout == ""
    assert run("snakemake", "--engine", "snakemake") == planted
    expected = tables(tmp_path / "local")
    assert len(expected["dvh_metrics"]) > 0 and len(expected["failures"]) > 0
    for folder in ("slurm", "snakemake"):
        found = tables(tmp_path / folder)
        assert found.keys() == expected.keys()
        for name, table in expected.items():
            pd.testing.assert_frame_equal(found[name], table, obj=f"{folder}, {name}")
