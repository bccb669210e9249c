"""Run a program within its limits: never longer than allowed, never silent for too long, and never
with anything left of it afterwards."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..platform import kill_tree
from .guard import start_guarded

TAIL_LINES = 60
POLL_S = 0.2
_PERCENT = re.compile(r"(\d{1,3})%\|")  # the bars of tqdm

Listener = Callable[[str, int | None], None]


@dataclass(frozen=True)
class Limits:
    """Seconds that a program may run, and seconds that it may be silent."""

    timeout_s: float
    stall_s: float


@dataclass(frozen=True)
class Ending:
    """How a program ended: by itself with `status` (128 + n: killed by signal n), or stopped by us
    because it took too long or said nothing for too long; and the last lines that it printed."""

    how: Literal["ended", "timeout", "stalled"]
    status: int
    tail: tuple[str, ...]
    seconds: float

    @property
    def succeeded(self) -> bool:
        """True when the program ended by itself and well."""
        return self.how == "ended" and self.status == 0


def run_program(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    limits: Limits,
    listen: Listener = lambda line, percent: None,
) -> Ending:
    """Run a program to its end, or end it with all that it started.

    `listen` gets every line that it prints, and the percentage of its progress bar (else None).
    Whatever interrupts this call ends the program too; when this process is killed, the program's
    guard ends it.
    """
    start = time.monotonic()
    child = start_guarded(arguments, env=env, cwd=cwd)
    ear = _Ear(child, listen)
    how: Literal["ended", "timeout", "stalled"] = "ended"
    try:
        while child.poll() is None:
            now = time.monotonic()
            if now - start > limits.timeout_s:
                how = "timeout"
                break
            if now - ear.heard > limits.stall_s:
                how = "stalled"
                break
            with suppress(subprocess.TimeoutExpired):
                child.wait(POLL_S)
    finally:
        kill_tree(child.pid, grace_s=2.0)
        status = child.wait()
        tail = ear.close()
    return Ending(how, status, tail, time.monotonic() - start)


class _Ear:
    """Reads what a program prints, in a thread of its own."""

    def __init__(self, child: subprocess.Popen[bytes], listen: Listener) -> None:
        self.heard = time.monotonic()
        self._pipe = child.stdout
        self._listen = listen
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._thread = threading.Thread(target=self._read, name="program-output", daemon=True)
        self._thread.start()

    def close(self) -> tuple[str, ...]:
        """Wait for the last words and return the tail."""
        self._thread.join(5.0)
        if self._pipe is not None and not self._thread.is_alive():
            self._pipe.close()
        return tuple(self._tail)

    def _read(self) -> None:
        rest = ""
        while self._pipe is not None and (chunk := os.read(self._pipe.fileno(), 1 << 16)):
            self.heard = time.monotonic()
            # A progress bar returns to the start of its line instead of beginning a new one.
            *lines, rest = re.split(r"[\r\n]+", rest + chunk.decode("utf-8", "replace"))
            for line in lines:
                self._say(line)
            rest = rest[-10_000:]
        self._say(rest)

    def _say(self, line: str) -> None:
        if not line.strip():
            return
        percent = _PERCENT.search(line)
        if percent is None:
            self._tail.append(line.rstrip())
        self._listen(line.rstrip(), int(percent[1]) if percent else None)
