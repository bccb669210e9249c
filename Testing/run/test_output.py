"""The output folder: who may use it, what `run.json` says, and whose failures count."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from RTPipelineLib.cli import main
from RTPipelineLib.course import Course
from RTPipelineLib.errors import OutputError, UsageError
from RTPipelineLib.platform import FolderLock, temporary_path
from RTPipelineLib.run.aggregate import Summary, failure_row
from RTPipelineLib.run.courses import Placement, write_course
from RTPipelineLib.run.output import hold_output, noted_run, read_run


def test_leftovers_of_a_killed_run_go_when_the_folder_is_held(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    gone = 2**22 + 1  # above the largest process number
    for folder in (tmp_path, tmp_path / "results"):
        name = temporary_path(folder / "x.csv").name.replace(f"-{os.getpid()}-", f"-{gone}-")
        (folder / name).write_text("half")
    with hold_output(tmp_path, "run"):
        assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", ".lock.json", "results"]
        assert not list((tmp_path / "results").iterdir())
        with pytest.raises(OutputError, match="rtpipeline run"), hold_output(tmp_path, "report"):
            pass


@pytest.mark.parametrize(
    ("error", "state"),
    [(None, "finished"), (KeyboardInterrupt, "interrupted"), (UsageError("no such"), "stopped")],
)
def test_run_json_says_how_a_run_ended(tmp_path: Path, error, state: str) -> None:
    try:
        with noted_run(tmp_path, {"stages": []}):
            assert read_run(tmp_path)["state"] == "running"
            if error is not None:
                raise error
    except (KeyboardInterrupt, UsageError):
        pass
    assert read_run(tmp_path)["state"] == state
    assert read_run(tmp_path)["error"] == ("no such" if state == "stopped" else "")


def test_the_status_of_a_run_is_about_what_it_was_asked_for(tmp_path: Path) -> None:
    rows = [
        failure_row("A", "c1", "dose", "dose", "x", ""),
        failure_row("B", "c1", "dvh", "dvh", "y", ""),
        failure_row("", "", "index", "file", "damaged", "z.dcm"),
    ]
    summary = Summary(2, Counter(), tuple(rows), ("A/c1: which", "AB/c1: which"), tmp_path)
    assert summary.about((), ("dose", "dvh")).failures == tuple(rows)
    mine = summary.about(("B",), ("load", "dose", "dvh"))
    assert mine.failures == (rows[1], rows[2]) and mine.waiting == ()
    assert summary.about(("A",), ("load",)).failures == (rows[2],)
    assert summary.about(("A",), ("load",)).waiting == ("A/c1: which",)


def test_a_stage_by_hand_needs_a_course_that_nobody_works_on(tmp_path: Path, capsys) -> None:
    assert main(["stage", "load", str(tmp_path)]) == 2
    assert "has no course.json" in capsys.readouterr().err
    folder = tmp_path / "out" / "P1" / "2024-03_A"
    write_course(Placement(Course("P1", "2024-03_A", str(tmp_path)), folder))
    with FolderLock(tmp_path / "out", "rtpipeline run"):
        assert main(["stage", "load", str(folder)]) == 2
        assert f"in use by process {os.getpid()}" in capsys.readouterr().err
        assert main(["stage", "load", str(folder), "--from-engine", "--quiet"]) == 0
    record = json.loads((folder / "stages" / "load.json").read_text())
    assert record["status"] == "skipped"
