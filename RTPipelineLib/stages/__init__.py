"""The stages: facts in, facts out, one module a stage.

A stage module offers a `STAGE` (what it needs, what it reads, which folder it fills) whose `run`
gets a `Task` and returns an `Outcome`. It writes into `task.output` only; the executor in `run/`
puts that folder into place and writes the record, so that a stage never sees a half-finished
predecessor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from ..config import Config
    from ..course import Course
    from ..overrides import Overrides

DONE, PARTIAL, FAILED, SKIPPED = "done", "partial", "failed", "skipped"

# In the order in which they run.
STAGES = (
    *("load", "register", "segment", "structures", "dose", "dvh"),
    *("radiomics", "quality", "report"),
)


@dataclass(frozen=True)
class Problem:
    """One thing that went wrong or was left out: a row of `results/failures`."""

    item: str
    severity: str
    message: str
    file: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a stage reports: its status, why (for skipped and failed), and its problems."""

    status: str = DONE
    reason: str = ""
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Task:
    """What a stage gets: the course, its folder to read other stages' facts from, an empty folder
    to write to, the configuration, a person's decisions, and a callback (done, total, message)."""

    course: Course
    folder: Path
    output: Path
    config: Config
    overrides: Overrides
    progress: Callable[[int, int, str], None] = field(default=lambda done, total, message: None)


@dataclass(frozen=True)
class Need:
    """What a stage occupies while it runs: cores, memory in GB (10^9 bytes) that it usually takes,
    and whether it computes on the GPU, where one stage runs at a time."""

    cores: int = 1
    memory_gb: float = 1.0
    gpu: bool = False


def _little(config: Config) -> Need:
    return Need()


def _usual_limit(config: Config) -> float:
    return config.run.timeout_s


def _always(config: Config) -> None:
    """Nothing that could be missing."""


@dataclass(frozen=True)
class Stage:
    """A stage's declaration.

    `folder` is the sub-folder of the course that it fills, `needs` the stages that must have given
    a result, `uses` those whose facts it reads where they are there, `parts` the parts of the
    course, `sections` those of the configuration and `decisions` those of the overrides that change
    its result, `version` goes up when its output changes for the same input, `inputs` gives the
    DICOM files that it reads, `need` what it occupies under a configuration, `limit_s` how long it
    may take, and `check` raises `UsageError`, before any work, when it cannot run at all under a
    configuration. `verdicts`: it shows those of the reviewers;
    `edited`: it reads the structures that a person edited.
    """

    name: str
    folder: str
    run: Callable[[Task], Outcome]
    inputs: Callable[[Course], Sequence[Path]]
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    parts: tuple[str, ...] = ("images", "objects", "links", "flags")
    sections: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    verdicts: bool = False
    edited: bool = False
    version: int = 1
    need: Callable[[Config], Need] = _little
    limit_s: Callable[[Config], float] = _usual_limit
    check: Callable[[Config], None] = _always


def get_stage(name: str) -> Stage:
    """The stage of this name. Raises `UsageError` with the nearest name for an unknown one."""
    check_names([name])
    return import_module(f"{__name__}.{name}").STAGE


def check_names(names: Sequence[str]) -> None:
    """Raise `UsageError` when one of the names is no stage."""
    for name in names:
        if name not in STAGES:
            near = get_close_matches(name, STAGES, 1)
            hint = f"did you mean {near[0]}?" if near else f"stages are {', '.join(STAGES)}"
            raise UsageError(f"{name!r} is not a stage; {hint}")
