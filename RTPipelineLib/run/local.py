"""The local engine: every stage of every course runs in a child process that can be ended alone;
one failure stops nothing else.

A slot is a thread with a worker process, which runs one stage after another and is replaced after
every end that was not in words: a time limit, a signal, too much memory.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ..config import Config
from ..errors import OutputError
from ..platform import machine_memory_mb
from ..stages import FAILED, Need, Problem, get_stage
from .board import Board, Job, Ticket
from .child import MEMORY
from .ledger import Record, held_records, light, valid_record, write_record
from .watch import MemoryWatch
from .workers import INTERRUPT, SAID, SIGNAL, START, STATUS, TIME, End, Order, Worker

__all__ = ["Job", "LocalEngine"]

log = logging.getLogger(__name__)

Report = Callable[[str, str, int, int, str], None]  # course, stage, done, total, message

SIGKILL = 9  # how a system without memory ends processes
ATTEMPTS = 2
REPEATED = {SIGNAL, START, MEMORY, STATUS}
SHARE_OF_MACHINE = 0.9


class LocalEngine:
    """Runs the stages of many courses, `jobs` at a time.

    `config_path` is the configuration as used (None: the defaults), `overrides_path` a file of
    decisions outside the output folder or None; the workers read both.
    """

    def __init__(
        self,
        config: Config,
        config_path: Path | None,
        overrides_path: Path | None,
        *,
        jobs: int,
        force: bool = False,
        report: Report = lambda course, stage, done, total, message: None,
        advance: Callable[[str], None] = lambda course: None,
    ) -> None:
        self.config = config
        self.jobs = max(1, jobs)
        self.force = force
        self.report = report
        self.advance = advance
        self.memory_gb = config.run.memory_gb or SHARE_OF_MACHINE * machine_memory_mb() / 1000
        files = {"--config": config_path, "--overrides": overrides_path}
        self._arguments = [part for name, path in files.items() if path for part in (name, path)]
        self._stopped = threading.Event()

    def run(self, work: Sequence[Job]) -> dict[Path, list[Record]]:
        """Records of all stages by course folder, without their lists of files. An interrupt ends
        the workers and is raised again."""
        everything = Need(self.jobs, self.memory_gb, gpu=True)
        board = Board(work, everything, lambda name: get_stage(name).need(self.config))
        slots = min(self.jobs, len(work))
        with MemoryWatch(self.memory_gb) as watch, ThreadPoolExecutor(max(1, slots)) as pool:
            try:
                running = {pool.submit(self._slot, board, watch) for _ in range(slots)}
                while running:  # on Windows an interrupt is seen between two waits only
                    done, running = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                    for slot in done:
                        slot.result()
            except BaseException:
                self._stopped.set()
                raise
            finally:
                board.stop()
        return {ticket.job.folder: ticket.records for ticket in board.tickets}

    def _slot(self, board: Board, watch: MemoryWatch) -> None:
        """Take tickets until there are none."""
        seat = _Seat(self._arguments, watch, self._stopped)
        try:
            while (ticket := board.take()) is not None and not self._stopped.is_set():
                alone = self._advance(ticket, seat)
                board.give_back(ticket, alone=alone)
        except BaseException:  # a bug of ours must not leave the other slots waiting
            board.stop()
            raise
        finally:
            seat.leave()

    def _advance(self, ticket: Ticket, seat: _Seat) -> bool:
        """Run the ticket's stage, or find that its result holds. True when it has to be repeated
        with all memory for itself."""
        job, name, number = ticket.job, ticket.stage, len(ticket.records)
        total = len(job.stages)
        self.report(job.folder.name, name, number, total, "")
        if not (self.force or ticket.attempts):
            rest = job.stages[number:]
            held = list(held_records(job.folder, rest, self.config, job.overrides))
            if held:  # what is next may need more than this ticket has got
                return self._note(ticket, held)
        record, alone = self._attempt(ticket, seat)
        return alone if record is None else self._note(ticket, [light(record)])

    def _note(self, ticket: Ticket, records: Sequence[Record]) -> bool:
        """Take these records for the ticket's next stages; nothing is to be repeated."""
        ticket.records += records
        ticket.attempts = ()
        job, last, number = ticket.job, records[-1], len(ticket.records)
        self.report(job.folder.name, last.stage, number, len(job.stages), last.status)
        if ticket.is_complete:
            self.advance(job.folder.name)
        return False

    def _attempt(self, ticket: Ticket, seat: _Seat) -> tuple[Record | None, bool]:
        """Run a stage once. Its record, or None when it is to be repeated (and whether alone)."""
        folder, name = ticket.job.folder, ticket.stage
        before = valid_record(folder, name)
        order = Order(name, folder, get_stage(name).limit_s(self.config))

        def progress(done: int, total: int, message: str) -> None:
            self.report(folder.name, name, done, total, message)

        try:
            end = seat.run(order, progress, first=not ticket.attempts)
        except OSError as error:  # a folder that cannot be written, no more processes
            end = End(SAID, text=f"{folder}: stage {name} could not be started: {error}")
        record = valid_record(folder, name)
        written = record is not None and (before is None or record.started != before.started)
        if end is None and written:
            return self._amended(folder, record, ticket.attempts, seat.peak_mb), False
        end = end or End(SAID, text="it left no record")
        if end.kind in REPEATED and len(ticket.attempts) + 1 < ATTEMPTS:
            ticket.attempts += (self._words(order, end),)
            log.warning("%s: stage %s %s; it is tried again", folder, name, self._words(order, end))
            return None, end.kind == MEMORY or (end.kind, end.number) == (SIGNAL, SIGKILL)
        return self._failed(order, end, ticket.attempts, seat.peak_mb), False

    def _words(self, order: Order, end: End) -> str:
        """What became of the process of a stage."""
        return {
            TIME: f"was ended after {order.timeout_s:g} s (run.timeout_s)",
            MEMORY: f"was ended for lack of memory (run.memory_gb: {self.memory_gb:.3g} GB)",
            SIGNAL: f"was killed by signal {end.number}"
            + (" (the system may have run out of memory)" if end.number == SIGKILL else ""),
            START: f"could not be started (its process ended with status {end.number})",
            STATUS: f"ended with status {end.number}",
            INTERRUPT: "was interrupted",
        }.get(end.kind, end.text)

    def _failed(self, order: Order, end: End, attempts: tuple[str, ...], peak_mb: float) -> Record:
        """The record of a stage that left none."""
        name, folder = order.stage, order.folder
        message = self._words(order, end)
        if end.kind != SAID:
            again = " again" if attempts else ""
            message = f"the process of stage {name} {message}{again}; see {folder.name}/"
            message += order.log.relative_to(folder).as_posix()
        record = Record(
            name,
            FAILED,
            message,
            "",
            problems=(Problem(name, "error", message),),
            peak_memory_mb=round(peak_mb, 1),
            attempts=attempts,
        )
        if end.kind != INTERRUPT:  # what was interrupted has simply not run
            log.error("%s: %s", folder, message)
            with suppress(OutputError, OSError):  # the record is returned in any case
                write_record(folder, record)
        return record

    def _amended(
        self, folder: Path, record: Record, attempts: tuple[str, ...], peak_mb: float
    ) -> Record:
        """The stage's record with what only the engine knows: earlier attempts, and the memory of
        the processes that the stage had started."""
        # The same pages are counted a little differently; children show as more than that.
        own = record.peak_memory_mb
        peak = round(peak_mb, 1) if peak_mb > 1.05 * own else own
        amended = replace(record, attempts=attempts, peak_memory_mb=peak)
        if amended != record:
            with suppress(OutputError, OSError):  # it stands without that
                write_record(folder, amended)
        return amended


class _Seat:
    """The worker of a slot, started when one is needed."""

    def __init__(
        self, arguments: Sequence[str | Path], watch: MemoryWatch, stopped: threading.Event
    ) -> None:
        self._arguments = arguments
        self._watch = watch
        self._stopped = stopped
        self._worker: Worker | None = None

    @property
    def peak_mb(self) -> float:
        """Largest memory of the worker's tree that was seen during the last stage."""
        return self._worker.peak_mb if self._worker else 0.0

    def run(
        self, order: Order, progress: Callable[[int, int, str], None], *, first: bool
    ) -> End | None:
        """Run one stage in the worker, or in a new one. Raises `OSError` when none can be started
        or the log cannot be written."""
        order.log.parent.mkdir(exist_ok=True)
        with order.log.open("wb" if first else "ab") as log_file:
            if self._worker is None or self._worker.is_worn():
                self.leave()
                self._worker = Worker(self._arguments, log_file)
                self._watch.add(self._worker)
                end = self._worker.wait_until_ready(self._stopped)
                if end is not None:
                    return end
        return self._worker.run(order, progress, self._stopped)

    def leave(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._watch.remove(self._worker)
            self._worker.end()
            self._worker = None
