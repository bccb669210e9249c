"""Records of stages: when one still holds, and that asking changes nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from RTPipelineLib.config import Config
from RTPipelineLib.course import Course
from RTPipelineLib.overrides import Overrides
from RTPipelineLib.run.ledger import (
    Record,
    current_record,
    file_states,
    fingerprint,
    record_path,
    write_record,
)
from RTPipelineLib.stages import DONE, FAILED, SKIPPED, Outcome, Stage

COURSE = Course("P1", "2024-03_A", "")


def make_stage(*files: Path, needs: tuple[str, ...] = ()) -> Stage:
    return Stage("dvh", "dvh", lambda task: Outcome(), lambda course: files, needs=needs)


def leave_record(stage: Stage, folder: Path, status: str = DONE) -> Record:
    states = file_states(stage.inputs(COURSE))
    mark = fingerprint(stage, COURSE, folder, Config(), Overrides(), states)
    record = Record(stage.name, status, "", mark, states)
    write_record(folder, record)
    return record


def current(stage: Stage, folder: Path, course: Course = COURSE) -> Record | None:
    return current_record(stage, course, folder, Config(), Overrides())


@pytest.fixture
def dose(tmp_path: Path) -> Path:
    path = tmp_path / "dose.dcm"
    path.write_bytes(b"60 Gy")
    return path


def test_a_record_holds_until_its_input_has_another_content(dose, tmp_path):
    stage = make_stage(dose)
    record = leave_record(stage, tmp_path)
    assert current(stage, tmp_path) == record
    dose.write_bytes(b"70 Gy")
    os.utime(dose, (1, 1))
    assert current(stage, tmp_path) is None


def test_a_touched_file_is_remembered_but_nothing_is_written(dose, tmp_path):
    stage = make_stage(dose)
    leave_record(stage, tmp_path)
    path = record_path(tmp_path, "dvh")
    before = path.read_bytes()
    os.utime(dose, (1, 1))
    found = current(stage, tmp_path)
    assert found is not None and found.inputs[0].mtime_ns == 1_000_000_000
    assert path.read_bytes() == before


def test_what_was_skipped_runs_when_the_stage_before_it_succeeds(tmp_path):
    """The dose failed for lack of memory, which is not among its inputs, and then succeeded."""
    stage = make_stage(needs=("dose",))
    dose_record = Record("dose", FAILED, "the memory did not suffice", "same inputs")
    write_record(tmp_path, dose_record)
    leave_record(stage, tmp_path, SKIPPED)
    assert current(stage, tmp_path) is not None
    write_record(tmp_path, replace(dose_record, status=DONE, reason=""))
    assert current(stage, tmp_path) is None


def test_what_failed_and_what_lost_its_output_does_not_hold(tmp_path):
    stage = make_stage()
    leave_record(stage, tmp_path, FAILED)
    assert current(stage, tmp_path) is None
    record = leave_record(stage, tmp_path)
    write_record(tmp_path, replace(record, outputs={"dvh/metrics.parquet": 3}))
    assert current(stage, tmp_path) is None
    assert current(stage, tmp_path, replace(COURSE, course_id="other")) is None
