"""The local engine: what it makes of workers that fail, and in which order it runs what."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from RTPipelineLib.config.keys import Config, RunKeys
from RTPipelineLib.course import Course
from RTPipelineLib.overrides import Overrides
from RTPipelineLib.platform import FolderLock
from RTPipelineLib.run.board import Board, Ticket
from RTPipelineLib.run.courses import Placement, write_course
from RTPipelineLib.run.ledger import Record, read_record
from RTPipelineLib.run.local import Job, LocalEngine
from RTPipelineLib.stages import FAILED, Need


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


def test_a_folder_that_is_no_course_any_more_is_one_sentence(folder, tmp_path):
    (folder / "course.json").write_text("{")
    ((record,),) = engine(tmp_path).run([Job(folder, Overrides(), ("load",))]).values()
    assert record.status == FAILED and "course.json cannot be read" in record.reason
    assert read_record(folder, "load") == record
    assert "course.json cannot be read" in (folder / "logs" / "load.log").read_text()


def test_a_worker_that_cannot_start_is_tried_again_and_then_a_row(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONHOME", str(tmp_path / "nowhere"))  # Python finds no library
    ((record,),) = engine(tmp_path).run([Job(folder, Overrides(), ("load",))]).values()
    assert record.status == FAILED and "could not be started" in record.reason
    assert len(record.attempts) == 1
    assert (folder / "logs" / "load.log").stat().st_size > 0


def test_a_course_in_use_is_not_touched(folder, tmp_path):
    with FolderLock(folder, "somebody"):
        ((record,),) = engine(tmp_path).run([Job(folder, Overrides(), ("load",))]).values()
    assert record.status == FAILED and "in use by process" in record.reason


# -- what runs next -------------------------------------------------------------------------------

NEEDS = {"small": Need(), "large": Need(1, 5.0), "gpu": Need(gpu=True), "huge": Need(99, 99.0)}


def board(*stages: tuple[str, ...], cores: int = 4, memory_gb: float = 8.0) -> Board:
    work = [Job(Path(str(n)), Overrides(), names) for n, names in enumerate(stages)]
    return Board(work, Need(cores, memory_gb, gpu=True), NEEDS.__getitem__)


def end_stage(on: Board, ticket: Ticket) -> None:
    ticket.records.append(Record(ticket.stage, "done", "", ""))
    on.give_back(ticket)


def test_the_first_course_whose_needs_are_free_is_next():
    running = board(("large",), ("large",), ("small",), ("gpu",), ("gpu",))
    taken = [running.take() for _ in range(3)]
    assert [ticket.number for ticket in taken] == [0, 2, 3]  # 1: no memory, 4: no GPU
    end_stage(running, taken[2])
    assert running.take().number == 4
    end_stage(running, taken[0])
    assert running.take().number == 1


def test_more_than_there_is_means_all_there_is():
    running = board(("huge",), ("small",))
    first = running.take()
    assert first.number == 0 and (first.need.cores, first.need.memory_gb) == (4, 8.0)
    end_stage(running, first)
    assert running.take().number == 1


def test_what_is_repeated_alone_waits_until_nothing_else_runs():
    running = board(("small",), ("small",), ("small",))
    first, second = running.take(), running.take()
    running.give_back(first, alone=True)
    third = running.take()
    assert third.number == 2
    end_stage(running, second)
    end_stage(running, third)
    assert running.take() is first


def test_when_all_is_done_or_stopped_there_is_nothing_to_take():
    running = board(("small", "gpu"), ())
    for name in ("small", "gpu"):
        ticket = running.take()
        assert ticket.stage == name
        end_stage(running, ticket)
    assert running.take() is None
    stopped = board(("small",))
    stopped.stop()
    assert stopped.take() is None


@given(
    st.lists(st.lists(st.sampled_from(sorted(NEEDS)), max_size=4).map(tuple), max_size=12),
    st.integers(1, 4),
    st.randoms(use_true_random=False),
)
def test_every_stage_runs_once_in_order_within_what_there_is(stages, cores, random):
    running = board(*stages, cores=cores)
    out: list[Ticket] = []
    while any(not ticket.is_complete for ticket in running.tickets):
        if not running.has_fitting() or (out and random.random() < 0.5):
            end_stage(running, out.pop(random.randrange(len(out))))
        else:
            out.append(running.take())
        assert sum(ticket.need.cores for ticket in out) <= cores
        assert sum(ticket.need.memory_gb for ticket in out) <= 8.0 + 1e-6
        assert sum(ticket.need.gpu for ticket in out) <= 1
    assert [tuple(r.stage for r in t.records) for t in running.tickets] == list(stages)
    assert running.take() is None


def test_the_parent_of_a_run_loads_nothing_that_its_workers_need():
    """Each of these takes tens of MB and up to a second, in every run that finds all done."""
    code = (
        "import sys, RTPipelineLib.run.pipeline\n"
        "from RTPipelineLib.stages import STAGES, get_stage\n"
        "for name in STAGES: get_stage(name)\n"
        "heavy = {'pandas', 'pyarrow', 'SimpleITK', 'matplotlib', 'numba', 'scipy.stats'}\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
    )
    command = [sys.executable, "-c", code]
    library = Path(__file__).resolve().parents[2]
    found = subprocess.run(command, cwd=library, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
