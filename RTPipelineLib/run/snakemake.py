"""The cluster engine: the same stage commands, run by Snakemake on whatever its profile names.

The parent decides what is due, gives Snakemake a plan and its workflow, and reads the records that
the stages leave. A job that ended without one (killed, out of time or memory by the cluster's own
limits) gets its record from the parent, and what comes after it in the course is run again.
"""

from __future__ import annotations

import logging
import math
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from ..config import Config
from ..errors import DataError, OutputError, StageError, UsageError
from ..platform import (
    TreeProcess,
    kill_tree,
    machine_memory_mb,
    remove_folder,
    start_process,
    write_json,
)
from ..stages import FAILED, Problem, get_stage
from .board import Job
from .execute import execute
from .ledger import Record, held_records, light, valid_record, write_record
from .local import SHARE_OF_MACHINE, Report
from .workers import environment

log = logging.getLogger(__name__)

WORKFLOW = Path(__file__).parent / "workflow" / "Snakefile"
FOLDER = "cluster"  # in the output folder: the plan, Snakemake's log and those of its jobs
INSTALL = "pip install 'slicer-rtpipeline[cluster]'"
OLDEST = 9
# Snakemake holds all its jobs in memory and plans them before the first runs.
COURSES_AT_ONCE = 2000
FRUITLESS_ROUNDS = 2  # in a row, before the cluster is given up
# A stage ends itself in words at its limit; the cluster's limit comes later.
START_MINUTES = 5
CANCEL_S = 60.0
LOOK_S = 1.0


class SnakemakeEngine:
    """Runs the stages of many courses through Snakemake; as `LocalEngine` to its caller.

    `profile` is Snakemake's own: a name or a folder with `config.yaml` (None: this machine, `jobs`
    cores). Raises `UsageError` when there is no Snakemake.
    """

    def __init__(
        self,
        config: Config,
        out: Path,
        overrides_path: Path | None,
        *,
        jobs: int | None,
        profile: str | None = None,
        force: bool = False,
        report: Report = lambda course, stage, done, total, message: None,
        advance: Callable[[str], None] = lambda course: None,
    ) -> None:
        self.config = config
        self.jobs = jobs
        self.profile = profile
        self.force = force
        self.report = report
        self.advance = advance
        self._program = find_snakemake()
        self._folder = out / FOLDER
        self._options = ["--config", str(out / "config.yaml"), "--from-engine"]
        if overrides_path:
            self._options += ["--overrides", str(overrides_path)]
        if force:
            self._options.append("--force")

    def run(self, work: Sequence[Job]) -> dict[Path, list[Record]]:
        """Records of all stages by course folder, without their lists of files. An interrupt ends
        Snakemake, which cancels its jobs, and is raised again.

        Raises `StageError` when Snakemake ends before it has started any job.
        """
        records: dict[Path, list[Record]] = {}
        due: list[Job] = []
        for job in work:
            known: list[Record] = []
            if not self.force:
                known += held_records(job.folder, job.stages, self.config, job.overrides)
            records[job.folder] = known
            if len(known) < len(job.stages):
                due.append(replace(job, stages=job.stages[len(known) :]))
            else:
                self.advance(job.folder.name)
        for first in range(0, len(due), COURSES_AT_ONCE):
            for folder, found in self._run_batch(due[first : first + COURSES_AT_ONCE]).items():
                records[folder] += found
        return records

    def _run_batch(self, batch: list[Job]) -> dict[Path, list[Record]]:
        """Snakemake again and again until every stage has a record; a job that is lost costs its
        stage, so that each round ends at least one stage of every course that is left. A cluster
        that brings no job at all to its end is not asked for ever."""
        records: dict[Path, list[Record]] = {job.folder: [] for job in batch}
        fruitless = 0
        while batch and fruitless < FRUITLESS_ROUNDS:
            self._prepare(batch)
            try:
                reasons = self._snakemake(batch)
            except StageError as error:
                if not any(records.values()):
                    raise
                log.error("%s", error)
                break
            ended = [self._ended(number, job) for number, job in enumerate(batch)]
            fruitless = 0 if any(ended) else fruitless + 1
            left = []
            for number, (job, count) in enumerate(zip(batch, ended, strict=True)):
                found = [_record(job.folder, name) for name in job.stages[:count]]
                if count < len(job.stages):
                    reason = reasons.get(_mark(number, job.stages[count]), "")
                    found.append(self._lost(number, job, job.stages[count], reason))
                    found += self._skipped(job, job.stages[count + 1 :])
                records[job.folder] += map(light, found)
                if len(found) < len(job.stages):
                    left.append(replace(job, stages=job.stages[len(found) :]))
                else:
                    self.advance(job.folder.name)
            batch = left
        if batch:
            log.error("the cluster ends no jobs; %d courses are left for the next run", len(batch))
        return records

    # -- one round --------------------------------------------------------------------------------

    def _prepare(self, batch: Sequence[Job]) -> None:
        """A fresh working folder with the plan; the log of earlier rounds stays."""
        for name in ("marks", ".snakemake"):
            remove_folder(self._folder / name)
        self._folder.mkdir(exist_ok=True)
        names = dict.fromkeys(name for job in batch for name in job.stages)
        plan = {
            "command": [sys.executable, "-m", "RTPipelineLib", "stage"],
            "options": self._options,
            "stages": {name: self._need(name) for name in names},
            "courses": [{"folder": str(j.folder), "stages": list(j.stages)} for j in batch],
        }
        write_json(self._folder / "plan.json", plan)

    def _need(self, name: str) -> dict[str, int]:
        stage = get_stage(name)
        need = stage.need(self.config)
        return {
            "cores": need.cores,
            "mem_mb": math.ceil(1000 * need.memory_gb),
            "gpu": int(need.gpu),
            "minutes": math.ceil(stage.limit_s(self.config) / 60) + START_MINUTES,
        }

    def _arguments(self) -> list[str | Path]:
        arguments = [
            *self._program,
            *("--snakefile", WORKFLOW, "--directory", self._folder, "--keep-going", "--nolock"),
            *("--rerun-triggers", "mtime", "--latency-wait", "60"),
        ]
        if self.profile:
            arguments += ["--profile", self.profile]
            if self.jobs:
                arguments += ["--jobs", str(self.jobs)]
            return arguments
        memory_gb = self.config.run.memory_gb or SHARE_OF_MACHINE * machine_memory_mb() / 1000
        resources = (f"mem_mb={math.floor(1000 * memory_gb)}", "gpu=1")
        arguments += ["--cores", str(self.jobs or 1), "--retries", "1"]
        return [*arguments, "--resources", *resources]

    def _snakemake(self, batch: Sequence[Job]) -> dict[str, str]:
        """Run Snakemake once; what it says of jobs that failed, by their mark."""
        with (self._folder / "snakemake.log").open("ab") as file:
            begin = file.tell()
            process = start_process(
                self._arguments(), env=environment(), stdout=file, stderr=subprocess.STDOUT
            )
            try:
                self._watch(process, batch)
            except BaseException:
                _cancel(process)
                raise
            finally:
                kill_tree(process, grace_s=5.0)
                process.wait()
        said = (self._folder / "snakemake.log").read_bytes()[begin:].decode(errors="replace")
        if process.returncode and not any((self._folder / "marks").rglob("*")):
            raise StageError(
                f"Snakemake ended with status {process.returncode} before it started a job: "
                f"{_last_words(said)}; see {self._folder / 'snakemake.log'}"
            )
        return _reasons(said)

    def _watch(self, process: TreeProcess, batch: Sequence[Job]) -> None:
        """Report marks as they appear until Snakemake has ended."""
        seen = [0] * len(batch)
        pause = LOOK_S
        while True:
            try:
                process.wait(timeout=pause)
                return
            except subprocess.TimeoutExpired:
                begin = time.perf_counter()
            for number, job in enumerate(batch):
                total = len(job.stages)
                if seen[number] < total and (ended := self._ended(number, job)) > seen[number]:
                    seen[number] = ended
                    self.report(job.folder.name, job.stages[ended - 1], ended, total, "ended")
            pause = max(LOOK_S, 20 * (time.perf_counter() - begin))

    def _ended(self, number: int, job: Job) -> int:
        """How many stages of the course, from the first on, have left their mark."""
        marks = [self._folder / _mark(number, name) for name in job.stages]
        return next((count for count, mark in enumerate(marks) if not mark.exists()), len(marks))

    def _lost(self, number: int, job: Job, name: str, reason: str) -> Record:
        """The record of a stage whose job left none; `reason` is the cluster's, if it gave one."""
        started = (self._folder / f"{_mark(number, name)}.started").exists()
        what = "ended without a record" if started else "was never started by the cluster"
        why = reason or "killed, or beyond the cluster's limits of time or memory"
        message = (
            f"the job of stage {name} {what} ({why}); see {job.folder.name}/logs/{name}.log and "
            f"{FOLDER}/snakemake.log"
        )
        problem = Problem(name, "error", message)
        record = Record(name, FAILED, message, "", problems=(problem,))
        log.error("%s: %s", job.folder, message)
        with suppress(OutputError, OSError):  # the record is returned in any case
            write_record(job.folder, record)
        return record

    def _skipped(self, job: Job, names: Sequence[str]) -> list[Record]:
        """The records of the stages after a lost one that need it: they compute nothing, so that
        they are noted here and cost no round of their own."""
        found: list[Record] = []
        for name in names:
            needed = [valid_record(job.folder, other) for other in get_stage(name).needs]
            if not any(record is None or record.status == FAILED for record in needed):
                break
            try:
                found.append(execute(name, job.folder, self.config, job.overrides))
            except (DataError, OutputError, OSError):
                break  # its own job says what is wrong
        return found


def find_snakemake() -> list[str]:
    """The command that runs Snakemake: of this Python's packages, else the program on the path.

    Raises `UsageError` when there is none, or one that is too old.
    """
    if find_spec("snakemake") is not None:
        command = [sys.executable, "-m", "snakemake"]
    elif program := shutil.which("snakemake"):
        command = [program]
    else:
        raise UsageError(f"--engine snakemake needs Snakemake {OLDEST} or later: {INSTALL}")
    found = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    version = found.stdout.strip()
    if not version.split(".")[0].isdigit() or int(version.split(".")[0]) < OLDEST:
        raise UsageError(
            f"--engine snakemake needs Snakemake {OLDEST} or later, found "
            f"{version or found.stderr.strip()[-200:]!r}: {INSTALL}"
        )
    return command


def _record(folder: Path, name: str) -> Record:
    """The record that a stage has left; one that nobody can read is a failure."""
    record = valid_record(folder, name)
    if record is not None:
        return record
    message = f"the record of stage {name} cannot be read; run again"
    return Record(name, FAILED, message, "", problems=(Problem(name, "error", message),))


def _cancel(process: TreeProcess) -> None:
    """As Ctrl+C does: Snakemake withdraws its jobs from the cluster."""
    with suppress(OSError, subprocess.TimeoutExpired, ValueError):
        process.send_signal(signal.SIGINT)
        process.wait(timeout=CANCEL_S)


def _mark(number: int, name: str) -> str:
    """What a job leaves at its end, below the working folder; the workflow says the same."""
    return f"marks/{number}/{name}"


def _reasons(said: str) -> dict[str, str]:
    """What Snakemake's log says of jobs that failed, by their mark: of each the last that says
    anything."""
    found: dict[str, str] = {}
    message = ""
    for line in map(str.strip, said.splitlines()):
        if not line or line.startswith("Error in "):
            message = ""
        elif line.startswith("message: "):
            text = line.removeprefix("message: ").partition("For further error details")[0]
            message = "" if text == "None" else text.strip(" .")
        elif message and line.startswith("output: "):
            found[line.removeprefix("output: ")] = message
    return found


def _last_words(text: str) -> str:
    """The last lines of a log in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[-3:])[-400:] or "it said nothing"
