"""Progress of a run: bars on a terminal, one JSON object a line on request, or nothing."""

from __future__ import annotations

import json
import sys
import threading
from types import TracebackType


class Reporter:
    """Takes progress and shows nothing; the others build on it. Safe to call from several
    threads."""

    def begin(self, title: str, total: int) -> None:
        """A new piece of work of `total` steps."""

    def report(self, course: str, stage: str, done: int, total: int, message: str) -> None:
        """`done` of `total` within one stage of one course."""

    def advance(self, message: str) -> None:
        """One step of the piece of work is done."""

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def end(self) -> None:
        """The piece of work is over."""


class JsonReporter(Reporter):
    """One JSON object a line on stdout, for programs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._title, self._done, self._total = "", 0, 0

    def begin(self, title: str, total: int) -> None:
        self._title, self._done, self._total = title, 0, total

    def report(self, course: str, stage: str, done: int, total: int, message: str) -> None:
        with self._lock:
            self._print(stage, done, total, f"{course} {message}".strip(), course=course)

    def advance(self, message: str) -> None:
        with self._lock:  # in one step with the printing: counts leave in their order
            self._done += 1
            self._print(self._title, self._done, self._total, message)

    def _print(self, stage: str, done: int, total: int, message: str, **more: str) -> None:
        event = {
            "event": "progress",
            "stage": stage,
            "done": done,
            "total": total,
            "message": message,
            **more,
        }
        print(json.dumps(event), flush=True)


class BarReporter(Reporter):
    """One bar for the whole, naming the course and stage that moved last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bar = None

    def begin(self, title: str, total: int) -> None:
        from tqdm import tqdm

        self.end()
        self._bar = tqdm(total=total, desc=title, file=sys.stderr, leave=False, dynamic_ncols=True)

    def report(self, course: str, stage: str, done: int, total: int, message: str) -> None:
        with self._lock:
            if self._bar is not None:
                self._bar.set_postfix_str(f"{course} · {stage} {message}"[:60])

    def advance(self, message: str) -> None:
        with self._lock:
            if self._bar is not None:
                self._bar.update(1)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def make_reporter(mode: str, *, quiet: bool) -> Reporter:
    """The reporter for `auto` (bars on a terminal), `json` or `none`."""
    if mode == "json":
        return JsonReporter()
    if mode == "auto" and not quiet and sys.stderr.isatty():
        return BarReporter()
    return Reporter()
