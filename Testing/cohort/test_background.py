"""A run in the background: followed, found again by another window, ended."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from RTPipelineLib.cohort.background import (
    LIBRARY,
    Follower,
    outcome,
    running_process,
    start_run,
    stop_run,
)
from RTPipelineLib.errors import OutputError
from RTPipelineLib.phantoms.cohort import make_cohort


@pytest.fixture(scope="module")
def dicom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dicom")
    make_cohort(folder, patients=["DEMO-BROKEN"])
    return folder


def until(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_a_run_is_followed_found_again_stopped_and_resumed(dicom, tmp_path):
    out = tmp_path / "out"
    # The window that starts it ends at once.
    code = "import sys; from pathlib import Path; from RTPipelineLib.cohort.background import *; "
    code += "print(start_run(Path(sys.argv[2]), sys.argv[1:]))"
    window = subprocess.run(
        [sys.executable, "-c", code, dicom, out], cwd=LIBRARY, capture_output=True, text=True
    )
    process = int(window.stdout)
    until(lambda: running_process(out) is not None)
    assert running_process(out) == process
    with pytest.raises(OutputError, match="is in use"):
        start_run(out, [dicom, out])
    follower = Follower(out)
    steps = []
    until(lambda: steps.extend(follower.progress()) or len(steps) > 1)
    assert all(0 <= step.done <= step.total for step in steps)
    family = [process, *(p.pid for p in psutil.Process(process).children(recursive=True))]
    stop_run(process).result(60)
    assert not any(psutil.pid_exists(pid) and _lives(pid) for pid in family)
    assert running_process(out) is None
    assert "interrupted" in outcome(out) or "ended from outside" in outcome(out)

    again = start_run(out, [dicom, out])
    until(lambda: not _lives(again), 120)
    assert outcome(out).endswith("has finished.")
    assert any("courses" in line for line in Follower(out).log())
    assert (out / "results" / "report.html").is_file()


def test_a_run_that_cannot_begin_says_why(tmp_path):
    out = tmp_path / "out"
    process = start_run(out, [tmp_path / "nothing", out])
    until(lambda: not _lives(process))
    assert "does not exist; give the folder" in outcome(out)
    assert "has not begun" in outcome(tmp_path / "other")


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
