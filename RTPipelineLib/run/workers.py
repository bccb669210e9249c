"""Workers as the engine sees them: start one, give it a stage, learn how that ended, end it."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from ..platform import TreeState, kill_tree, start_process
from .child import MEMORY

# Loading numpy and scipy from a slow network drive takes a minute.
START_LIMIT_S = 180.0
POLL_S = 0.1
GRACE_S = 2.0
# A process that has run so many stages is replaced, whatever it may have gathered.
STAGES_OF_A_LIFE = 200

TIME, INTERRUPT, START, SIGNAL, STATUS, SAID = (
    "time",
    "interrupt",
    "start",
    "signal",
    "status",
    "said",
)


@dataclass(frozen=True)
class End:
    """How a stage ended that left no record: `kind` is one of the constants of this module or
    `memory`, `number` a signal or exit status, `text` what the worker said."""

    kind: str
    number: int = 0
    text: str = ""


@dataclass(frozen=True)
class Order:
    """One stage of one course for a worker."""

    stage: str
    folder: Path
    timeout_s: float

    @property
    def log(self) -> Path:
        """Where all output of the stage goes."""
        return self.folder / "logs" / f"{self.stage}.log"

    def to_line(self) -> bytes:
        """As `child` reads it."""
        fields = {"stage": self.stage, "folder": str(self.folder), "log": str(self.log)}
        return json.dumps({**fields, "timeout_s": self.timeout_s}).encode() + b"\n"


class Worker:
    """One child process, used by one thread; `end` may be called by any."""

    def __init__(self, arguments: Sequence[str | Path], log: IO[bytes]) -> None:
        """Raises `OSError` when the process cannot be started; `log` gets what it says before its
        first stage."""
        command = [sys.executable, "-m", f"{__package__}.child", "--parent", str(os.getpid())]
        self.process = start_process(
            [*command, *arguments],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        self.stages = 0
        self.peak_mb = 0.0
        self.verdict = ""
        self._ending, self._gone = threading.Lock(), False
        self._family: frozenset[psutil.Process] = frozenset()
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="worker output", daemon=True).start()

    def _read(self) -> None:
        with self.process.stdout as lines:
            for line in lines:
                self._lines.put(line)

    def wait_until_ready(self, stopped: threading.Event) -> End | None:
        """None once the worker takes orders, else why it never will."""
        found = self._until("ready", START_LIMIT_S, stopped, lambda done, total, text: None)
        if isinstance(found, End):
            return found if found.kind == INTERRUPT else End(START, found.number)
        return None

    def run(
        self, order: Order, progress: Callable[[int, int, str], None], stopped: threading.Event
    ) -> End | None:
        """Run one stage: None when it should have left a record, else how it ended. After an end
        other than `SAID` this worker is gone."""
        self.stages += 1
        self.peak_mb = 0.0
        try:
            self.process.stdin.write(order.to_line())
            self.process.stdin.flush()
        except (OSError, ValueError):  # it ended, or was ended, between two stages
            return self._ended()
        found = self._until("ended", order.timeout_s, stopped, progress)
        if isinstance(found, End):
            return found
        cause = found.get("cause", "")
        if cause == MEMORY:
            self.end()
            return End(MEMORY)
        return End(SAID, text=str(cause)) if cause else None

    def _until(
        self,
        event: str,
        limit_s: float,
        stopped: threading.Event,
        progress: Callable[[int, int, str], None],
    ) -> dict | End:
        """The answer of this name, or the end of the worker."""
        deadline = time.monotonic() + limit_s
        while True:
            try:
                answer = json.loads(self._lines.get(timeout=POLL_S))
            except queue.Empty:
                # Not by the end of its output, which a child of it may hold open.
                if self.process.poll() is not None and self._lines.empty():
                    return self._ended()
            else:
                if answer["event"] == event:
                    return answer
                progress(answer["done"], answer["total"], answer["message"])
            if stopped.is_set():
                self.end(GRACE_S)
                return End(INTERRUPT)
            if time.monotonic() > deadline:
                self.end(GRACE_S)
                return End(TIME)

    def _ended(self) -> End:
        self.end()
        status = self.process.returncode
        if self.verdict:
            return End(self.verdict)
        return End(SIGNAL, -status) if status < 0 else End(STATUS, status)

    def look(self, state: TreeState, stages: int) -> None:
        """Take note of the worker's tree as it was found when the worker had seen `stages`."""
        alive = {process for process in self._family if process.is_running()}
        self._family = state.members | alive
        if stages == self.stages:
            self.peak_mb = max(self.peak_mb, state.memory_mb)

    def end(self, grace_s: float = 0.0, verdict: str = "") -> None:
        """End the worker with all that it has started; `verdict` is the reason to be told."""
        with self._ending:
            if self._gone:  # its number may be another process's by now
                return
            self.verdict = verdict
            kill_tree(self.process, grace_s, self._family)
            self.process.wait()
            with suppress(OSError):  # an order that it never read
                self.process.stdin.close()
            self._gone = True

    def is_worn(self) -> bool:
        """True when the next stage should have a new process."""
        return self.stages >= STAGES_OF_A_LIFE or self.process.poll() is not None


def environment() -> dict[str, str]:
    """The child's environment: ours, with the folder of this library first on its path, so that it
    runs the same code whether the library is installed, in a checkout or inside Slicer."""
    library = str(Path(__file__).resolve().parents[2])
    paths = [library, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
