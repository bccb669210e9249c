"""`rtpipeline status`: short for many courses, true while a run goes on, and the log of a failure
one command away."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from RTPipelineLib.cli import main
from RTPipelineLib.course import Course
from RTPipelineLib.platform import FolderLock, write_json
from RTPipelineLib.run.courses import Placement, write_course
from RTPipelineLib.run.ledger import Record, write_record
from RTPipelineLib.run.output import RUN_SCHEMA
from RTPipelineLib.stages import DONE, FAILED


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Three courses: one done, one failed, one cut short."""
    note = {"schema": RUN_SCHEMA, "version": "0", "started": "now", "state": "running", "error": ""}
    write_json(tmp_path / "run.json", note)
    for patient in ("P1", "P2", "P3"):
        folder = tmp_path / patient / "2024-03_A"
        write_course(Placement(Course(patient, "2024-03_A", str(tmp_path)), folder))
        done = Record("load", DONE, "", "")
        write_record(folder, done)
        if patient == "P2":
            write_record(folder, replace(done, stage="dose", status=FAILED, reason="no \x1bgrid"))
            (folder / "logs").mkdir()
            lines = [f"line {n}" for n in range(300)]
            (folder / "logs" / "dose.log").write_text("\n".join(lines))
    (tmp_path / "P3" / "2024-03_A" / "course.json").write_text("{")
    return tmp_path


def snapshot(out: Path) -> dict[Path, tuple[int, bytes]]:
    files = (path for path in out.rglob("*") if path.is_file())
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_what_failed_stands_first_with_the_command_for_its_log(out, capsys):
    before = snapshot(out)
    assert main(["status", str(out)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert "was killed; the next run goes on from here" in lines[0]
    assert lines[1] == "3 courses: 2 with failures, 0 wait for a decision"
    text = "\n".join(lines)
    assert text.index("P2 / 2024-03_A") < text.index("P1 / 2024-03_A")
    assert "dose failed: no ?grid" in text and "course.json cannot be read" in text
    command = re.search("log: (.*)", text)[1]
    assert main(shlex.split(command)[1:]) == 0
    log = capsys.readouterr().out.splitlines()
    assert log[0].startswith("the last 200 of 300 lines of") and log[-1] == "line 299"
    assert snapshot(out) == before


def test_while_a_run_goes_on_it_names_who_runs_and_what(out, capsys):
    folder = out / "P1" / "2024-03_A"
    with FolderLock(out, "rtpipeline run"), FolderLock(folder, "rtpipeline stage dvh"):
        assert main(["status", str(out)]) == 3
        text = capsys.readouterr().out
    assert re.search(r"running \(process \d+ on host .*, rtpipeline run\)", text)
    assert "P1 / 2024-03_A: load done" in text and "dvh running" in text


def test_of_many_courses_it_shows_few(out, capsys):
    for number in range(200):
        folder = out / f"M{number}" / "2024-03_A"
        write_course(Placement(Course(f"M{number}", "2024-03_A", str(out)), folder))
    assert main(["status", str(out)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 60 and "and 163 more courses" in lines[-1]
    assert "P2 / 2024-03_A" in "\n".join(lines)
    main(["status", str(out), "--all"])
    assert sum(line.startswith("  M") for line in capsys.readouterr().out.splitlines()) == 200


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--course", "P9/2024-03_A"], "no course is called 'P9/2024-03_A'"),
        (["--course", "2024-03_A"], "several courses are called"),
        (["--stage-log", "dose"], "add --course"),
        (["--course", "P2", "--stage-log", "dosse"], "did you mean dose?"),
        (["--course", "P1", "--stage-log", "dvh"], "has dvh run?"),
    ],
)
def test_wrong_questions(out, capsys, options, words):
    assert main(["status", str(out), *options]) == 2
    assert words in capsys.readouterr().err
