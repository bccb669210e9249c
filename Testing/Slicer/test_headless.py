"""The script for Slicer without a window gives the numbers and the status of the program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from RTPipelineLib.phantoms.cohort import make_cohort

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "RTPipelineLib" / "scene" / "batch.py"


@pytest.mark.slow
def test_same_numbers_and_status_as_the_program(tmp_path: Path) -> None:
    """Of a cohort with a damaged file; the script is started elsewhere and without PYTHONPATH, so
    its child processes find the library only where they are told."""
    make_cohort(tmp_path / "dicom", patients=["DEMO-LUNG", "DEMO-BROKEN"])
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    tables = {}
    for name, start, folder, env in (
        ("program", ["-m", "RTPipelineLib"], ROOT, bare | {"PYTHONPATH": str(ROOT)}),
        ("script", ["-P", str(SCRIPT), "--"], tmp_path, bare),
    ):
        out = tmp_path / name
        command = [sys.executable, *start, "run", str(tmp_path / "dicom"), str(out)]
        done = subprocess.run(
            command, cwd=folder, env=env, capture_output=True, timeout=300, check=False
        )
        assert done.returncode == 3, done.stderr[-2000:]  # the damaged file
        tables[name] = pandas.read_parquet(out / "results" / "dvh_metrics.parquet")
    pandas.testing.assert_frame_equal(tables["program"], tables["script"], check_exact=True)
    assert (tables["program"]["patient_id"] == "DEMO-LUNG").sum() > 5
