"""A run as a process of its own: it outlives the window that started it and is found again.

What it prints goes into the output folder: `.progress.jsonl` has one JSON object a line, `run.log`
what a terminal would show. `run.json` and the folder's lock say what became of it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from ..errors import UsageError
from ..platform import FolderLock, find_process, kill_tree, output_error, start_process
from ..run.output import RUNNING, read_run

PROGRESS, LOG = ".progress.jsonl", "run.log"
LIBRARY = Path(__file__).resolve().parents[2]
# A run that is asked to end finishes what it writes; workers get a few seconds of it.
GRACE_S = 15.0


class Progress(NamedTuple):
    """One step of a run: `done` of `total`, and what it was about."""

    stage: str
    done: int
    total: int
    message: str
    course: str


def start_run(out: Path, arguments: Sequence[str | Path]) -> int:
    """Start `rtpipeline run ARGUMENTS` and return its process number. Raises `OutputError` when the
    output folder is in use or cannot be written, `UsageError` where no Python is found."""
    return _start(out, ["run", *map(str, arguments), "--progress", "json"])


def start_tables(out: Path) -> int:
    """Start `rtpipeline aggregate` likewise: the tables with the verdicts given meanwhile."""
    return _start(out, ["aggregate", str(out)])


def interpreter() -> str:
    """Slicer's interpreter without a window, which Slicer puts on the path; elsewhere this one."""
    found = shutil.which("PythonSlicer")
    if found is None and "python" in Path(sys.executable).name.lower():
        found = sys.executable
    if found is None:
        raise UsageError(
            "PythonSlicer is not on the path: start Slicer by its own launcher, not by its binary"
        )
    return found


def _start(out: Path, arguments: Sequence[str]) -> int:
    FolderLock(out).refuse_if_held()
    env = {**os.environ, "PYTHONPATH": _search_path(), "PYTHONUNBUFFERED": "1"}
    command = [interpreter(), "-m", "RTPipelineLib", *arguments]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with (out / PROGRESS).open("wb") as progress, (out / LOG).open("wb") as log:
            process = start_process(command, env=env, cwd=out, stdout=progress, stderr=log)
    except OSError as error:
        raise output_error(out, error) from error
    return process.pid


def _search_path() -> str:
    """Where the program finds this library, before all else that it was told."""
    return os.pathsep.join(filter(None, [str(LIBRARY), os.environ.get("PYTHONPATH", "")]))


def lives(process: int) -> bool:
    """Whether a process that was started here, or found, still runs."""
    return find_process(process) is not None


def running_process(out: Path) -> int | None:
    """The number of the process on this computer that works on an output folder, if one does."""
    holder = FolderLock(out).holder_process()
    return holder if holder is not None and find_process(holder) is not None else None


def stop_run(process: int) -> Future[None]:
    """End a run with all that it started, in a thread: it may take some seconds to finish what it
    writes. The next run goes on from there."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="ending a run")
    future = pool.submit(kill_tree, process, grace_s=GRACE_S)
    pool.shutdown(wait=False)
    return future


def outcome(out: Path) -> str:
    """What became of the last run, in a sentence; the end of its log where it could not begin."""
    try:
        run = read_run(out)
    except UsageError:
        return _last_words(out) or "The run has not begun."
    if run["state"] == RUNNING:
        return "The run was ended from outside; the next one goes on from there."
    error = f": {run['error']}" if run.get("error") else ""
    return f"The run of {str(run['started'])[:16].replace('T', ' ')} has {run['state']}{error}."


def _last_words(out: Path) -> str:
    try:
        lines = (out / LOG).read_text("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""


class Follower:
    """Reads what a run has printed since the last look."""

    def __init__(self, out: Path) -> None:
        self._places = {out / PROGRESS: 0, out / LOG: 0}
        self._progress, self._log = out / PROGRESS, out / LOG

    def progress(self) -> list[Progress]:
        """The new steps."""
        found = []
        for line in self._new(self._progress):
            try:
                event = json.loads(line)
                found.append(
                    Progress(
                        event["stage"],
                        int(event["done"]),
                        int(event["total"]),
                        event["message"],
                        event.get("course", ""),
                    )
                )
            except (ValueError, KeyError, TypeError):
                continue  # not a step: a library printed something
        return found

    def log(self) -> list[str]:
        """The new lines of the log."""
        return self._new(self._log)

    def _new(self, path: Path) -> list[str]:
        """Whole lines since the last look; a file that has become shorter is a new one."""
        try:
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(self._places[path] if self._places[path] <= size else 0)
                start = file.tell()
                text, newline, _ = file.read().rpartition(b"\n")
        except OSError:
            return []
        self._places[path] = start + len(text) + len(newline)
        return text.decode("utf-8", "replace").splitlines()
