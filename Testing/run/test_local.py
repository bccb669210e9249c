"""The local engine: what it says of a child that ended early, and what it takes from its output."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from RTPipelineLib.config.keys import Config, RunKeys
from RTPipelineLib.course import Course
from RTPipelineLib.overrides import Overrides
from RTPipelineLib.run.courses import Placement, write_course
from RTPipelineLib.run.ledger import read_record
from RTPipelineLib.run.local import Job, LocalEngine
from RTPipelineLib.stages import FAILED


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "P1" / "2024-03_A"
    write_course(Placement(Course("P1", "2024-03_A", str(tmp_path)), path))
    return path


def engine(tmp_path: Path, timeout_s: float = 60.0, **options: object) -> LocalEngine:
    config = Config(run=RunKeys(timeout_s=timeout_s))
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    return LocalEngine(config, path, None, jobs=1, **options)


def test_a_stage_that_takes_too_long_says_so(folder, tmp_path):
    """The interpreter alone takes longer to start than this stage may."""
    job = Job(folder, Overrides(), ("load",))
    ((record,),) = engine(tmp_path, 0.05).run([job]).values()
    assert record.status == FAILED
    assert "was ended after 0.05 s (run.timeout_s)" in record.reason
    assert read_record(folder, "load") == record


def test_what_a_library_prints_is_no_progress(tmp_path):
    heard = []
    lines = b'5\nnull\nhello\n[1]\n{"event": "progress", "done": 1, "total": 2, "message": "m"}\n'
    running = engine(tmp_path, report=lambda *args: heard.append(args))
    running._follow(SimpleNamespace(stdout=io.BytesIO(lines)), Path("C"), "dvh")
    assert heard == [("C", "dvh", 1, 2, "m")]
