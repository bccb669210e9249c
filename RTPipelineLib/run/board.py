"""What runs next: the stages of many courses against the cores, the memory and the GPU there are.

The stages of a course follow each other. Of those that could run, the one of the first course whose
needs are free is next.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..overrides import Overrides
from ..stages import Need
from .ledger import Record


@dataclass(frozen=True)
class Job:
    """One course and what to do with it; `overrides` is None where they cannot be read (its stages
    then say so)."""

    folder: Path
    overrides: Overrides | None
    stages: tuple[str, ...]


@dataclass
class Ticket:
    """A course on its way through its stages: `number` is its place in the cohort, `need` what the
    next stage occupies, `attempts` how its earlier runs ended."""

    number: int
    job: Job
    need: Need = field(default_factory=Need)
    records: list[Record] = field(default_factory=list)
    attempts: tuple[str, ...] = ()

    @property
    def stage(self) -> str:
        """The stage that is next."""
        return self.job.stages[len(self.records)]

    @property
    def is_complete(self) -> bool:
        """True when no stage is left."""
        return len(self.records) == len(self.job.stages)


class Board:
    """Hands out tickets to the slots of an engine; safe to use from many threads.

    A need above what there is counts as all there is, so that nothing waits for ever.
    """

    def __init__(
        self, work: Sequence[Job], everything: Need, need_of: Callable[[str], Need]
    ) -> None:
        self._everything = everything
        self._free = everything
        self._need_of = need_of
        self._change = threading.Condition()
        self._stopped = False
        self._waiting: dict[Need, list[tuple[int, Ticket]]] = {}  # heaps by number
        self._out = 0
        self.tickets = [Ticket(number, job) for number, job in enumerate(work)]
        for ticket in self.tickets:
            if not ticket.is_complete:
                self._wait(ticket, need_of(ticket.stage))

    def take(self) -> Ticket | None:
        """The next ticket, as soon as there is one; None when all is done or stopped."""
        with self._change:
            while True:
                if self._stopped or not (self._out or self._waiting):
                    self._change.notify_all()
                    return None
                fitting = self._fitting()
                if fitting:
                    need = min(fitting, key=lambda need: self._waiting[need][0][0])
                    _, ticket = heapq.heappop(self._waiting[need])
                    if not self._waiting[need]:
                        del self._waiting[need]
                    self._free = _less(self._free, need)
                    self._out += 1
                    return ticket
                self._change.wait()

    def give_back(self, ticket: Ticket, *, alone: bool = False) -> None:
        """A stage has ended, its record is in the ticket, or it has to be repeated (`alone`: with
        all memory and all cores for itself)."""
        with self._change:
            self._free = _more(self._free, ticket.need)
            self._out -= 1
            if not ticket.is_complete:
                need = replace(self._everything, gpu=ticket.need.gpu)
                self._wait(ticket, need if alone else self._need_of(ticket.stage))
            self._change.notify_all()

    def has_fitting(self) -> bool:
        """True when `take` would not wait."""
        with self._change:
            return bool(self._fitting())

    def stop(self) -> None:
        """Hand out nothing more."""
        with self._change:
            self._stopped = True
            self._change.notify_all()

    def _wait(self, ticket: Ticket, need: Need) -> None:
        most = self._everything
        ticket.need = Need(
            min(need.cores, most.cores), min(need.memory_gb, most.memory_gb), need.gpu
        )
        heapq.heappush(self._waiting.setdefault(ticket.need, []), (ticket.number, ticket))

    def _fitting(self) -> list[Need]:
        free = self._free
        return [
            need
            for need in self._waiting
            if need.cores <= free.cores
            and need.memory_gb <= free.memory_gb + 1e-6  # sums of floats
            and (not need.gpu or free.gpu)
        ]


def _less(free: Need, need: Need) -> Need:
    gpu = free.gpu and not need.gpu
    return Need(free.cores - need.cores, free.memory_gb - need.memory_gb, gpu)


def _more(free: Need, need: Need) -> Need:
    gpu = free.gpu or need.gpu
    return Need(free.cores + need.cores, free.memory_gb + need.memory_gb, gpu)
