"""The local engine: every stage of every course is a child process; one failure stops nothing
else."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..config import Config
from ..course import read_course
from ..errors import DataError, OutputError
from ..overrides import Overrides
from ..platform import kill_tree, start_process
from ..stages import FAILED, Problem, get_stage
from .ledger import Record, current_record, valid_record, write_record

log = logging.getLogger(__name__)

Report = Callable[[str, str, int, int, str], None]  # course, stage, done, total, message


@dataclass(frozen=True)
class Job:
    """One course and what to do with it; `overrides` is None where they cannot be read (its stages
    then say so)."""

    folder: Path
    overrides: Overrides | None
    stages: tuple[str, ...]


class LocalEngine:
    """Runs the stages of many courses, `jobs` courses at a time, each stage in its own process.

    `config_path` is the configuration as used, `overrides_path` a file of decisions outside the
    output folder or None; the children read both.
    """

    def __init__(
        self,
        config: Config,
        config_path: Path,
        overrides_path: Path | None,
        *,
        jobs: int,
        force: bool = False,
        report: Report = lambda course, stage, done, total, message: None,
        advance: Callable[[str], None] = lambda course: None,
    ) -> None:
        self.config = config
        self.config_path = config_path
        self.overrides_path = overrides_path
        self.jobs = jobs
        self.force = force
        self.report = report
        self.advance = advance
        self._children: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def run(self, work: Sequence[Job]) -> dict[Path, list[Record]]:
        """Records of all stages by course folder. An interrupt ends the children and is raised
        again."""
        with ThreadPoolExecutor(max_workers=max(1, self.jobs)) as pool:
            try:
                results = list(pool.map(self._course, work))
            except BaseException:
                self._stop.set()
                with self._lock:
                    children = list(self._children)
                for child in children:
                    kill_tree(child.pid)
                raise
        return {job.folder: records for job, records in zip(work, results, strict=True)}

    def _course(self, job: Job) -> list[Record]:
        records = []
        for number, name in enumerate(job.stages):
            if self._stop.is_set():
                break
            self.report(job.folder.name, name, number, len(job.stages), "")
            records.append(self._stage(job, name))
            self.report(job.folder.name, name, number + 1, len(job.stages), records[-1].status)
        self.advance(job.folder.name)
        return records

    def _stage(self, job: Job, name: str) -> Record:
        if not self.force and job.overrides is not None:
            try:
                known = valid_record(job.folder, name)
                course = read_course(job.folder)
                record = current_record(
                    get_stage(name), course, job.folder, self.config, job.overrides
                )
                if record is not None:
                    if record != known:  # touched files: their new times save the next hashing
                        write_record(job.folder, record)
                    return record
            except DataError:
                pass  # the child says what is wrong with the course, in its record
        try:
            return self._spawn(job.folder, name)
        except (OSError, OutputError) as error:  # a folder that cannot be written: this course only
            message = f"{job.folder}: stage {name} could not be started or noted: {error}"
            log.error("%s", message)
            return Record(name, FAILED, message, "", problems=(Problem(name, "error", message),))

    def _spawn(self, folder: Path, name: str) -> Record:
        before = valid_record(folder, name)
        arguments = [
            sys.executable,
            "-m",
            __package__.partition(".")[0],
            "stage",
            name,
            str(folder),
        ]
        arguments += ["--config", str(self.config_path), "--progress", "json"]
        arguments += ["--parent", str(os.getpid())]
        if self.overrides_path is not None:
            arguments += ["--overrides", str(self.overrides_path)]
        logs = folder / "logs"
        logs.mkdir(exist_ok=True)
        with (logs / f"{name}.log").open("wb") as errors:
            child = start_process(
                arguments, env=_environment(), stdout=subprocess.PIPE, stderr=errors
            )
            with self._lock:
                self._children.add(child)
            if self._stop.is_set():  # the interrupt came too early to see this child
                kill_tree(child.pid)
            timed_out = threading.Event()

            def end() -> None:
                timed_out.set()
                kill_tree(child.pid)

            timer = threading.Timer(self.config.run.timeout_s, end)
            timer.start()
            try:
                self._follow(child, folder, name)
                status = child.wait()
            finally:
                timer.cancel()
                child.stdout.close()
                with self._lock:
                    self._children.discard(child)
        record = valid_record(folder, name)
        if record is None or (before is not None and record.started == before.started):
            limit = self.config.run.timeout_s
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            if timed_out.is_set():
                how = f"was ended after {limit:g} s (run.timeout_s)"
            return self._died(folder, name, how)
        return record

    def _follow(self, child: subprocess.Popen[bytes], folder: Path, name: str) -> None:
        """Forward the child's progress lines until it closes its output."""
        for line in child.stdout or ():
            try:
                event = json.loads(line)
            except ValueError:
                continue  # a library printed to stdout
            if isinstance(event, dict) and event.get("event") == "progress":
                self.report(folder.name, name, event["done"], event["total"], event["message"])

    def _died(self, folder: Path, name: str, how: str) -> Record:
        """The record of a stage whose process ended without writing one."""
        message = f"the process of stage {name} {how}; see {folder.name}/logs/{name}.log"
        record = Record(name, FAILED, message, "", problems=(Problem(name, "error", message),))
        if not self._stop.is_set():
            write_record(folder, record)
        return record


def _environment() -> dict[str, str]:
    """The child's environment: ours, with the folder of this library first on its path, so that it
    runs the same code whether the library is installed, in a checkout or inside Slicer."""
    library = str(Path(__file__).resolve().parents[2])
    paths = [library, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
