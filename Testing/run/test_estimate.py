"""Estimates of a dry run: from the records there are, else from assumptions that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from RTPipelineLib.cli import main
from RTPipelineLib.course import Course
from RTPipelineLib.phantoms.scale import tiny_patients
from RTPipelineLib.run.courses import Placement, write_course
from RTPipelineLib.run.estimate import ASSUMED, estimate
from RTPipelineLib.run.ledger import Record, write_record
from RTPipelineLib.stages import DONE, FAILED, STAGES


def test_every_stage_has_an_assumption():
    assert set(ASSUMED) >= set(STAGES)


def test_records_come_before_assumptions(tmp_path):
    course = Course("P1", "2024-03_A", str(tmp_path))
    for number, seconds in enumerate((10.0, 30.0, 900.0)):
        folder = tmp_path / f"P{number}" / "2024-03_A"
        write_course(Placement(course, folder))
        status = FAILED if number == 2 else DONE
        record = Record("dose", status, "", "", outputs={"dose/a": 10**9}, seconds=seconds)
        write_record(folder, record)
    found = estimate([(course, ("dose", "dvh"))] * 5, tmp_path)
    assert found.records == {"dose": 2, "dvh": 0}
    assert found.seconds == pytest.approx(5 * (20.0 + ASSUMED["dvh"].seconds))
    assert found.written_gb == pytest.approx(5 * (1.0 + ASSUMED["dvh"].gb))
    text = "\n".join(found.lines(2))
    assert "dose (2)" in text and "assumed" in text and text.endswith(": dvh")


def test_a_dry_run_says_what_a_run_would_take_and_writes_nothing(tmp_path, capsys):
    list(tiny_patients(tmp_path / "dicom", 2))
    arguments = ["run", str(tmp_path / "dicom"), str(tmp_path / "out"), "--dry-run", "--jobs", "2"]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert "min with 2 stages at a time" in captured.err and "GB of disk" in captured.err
    assert not Path(tmp_path / "out").exists()
