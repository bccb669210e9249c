"""Features of many ROIs in processes of their own: each with a time limit and a memory limit, so
that a ROI that hangs, or kills its process, costs itself alone."""

from __future__ import annotations

import json
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from ..errors import DataError
from ..geometry import Grid
from ..model import Volume
from ..platform import TreeProcess, kill_tree, look_at_trees, start_process
from ..radiomics.engine import Began, Extraction, PreparedRoi, RoiFeatures
from ..radiomics.parameters import Parameters

IMAGE_FILE, JOB_FILE = "image.npy", "job.pickle"
START_LIMIT_S = 180.0  # loading numpy and SimpleITK from a slow network drive takes a minute
POLL_S, LOOK_S = 0.2, 1.0
TIME, MEMORY, DIED = "time", "memory", "died"
# Each process has one core: a library that starts threads of its own would take those of others.
_ONE_THREAD = (
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)


Found = Iterator[tuple[int, RoiFeatures | DataError]]
Serve = Callable[[list[int], Began], Found]


class Work(Protocol):
    """What workers compute, beside the image that lies in a file: results by their number."""

    def size(self, number: int) -> int:
        """How large it is: the largest are computed first."""

    def serve(self, array: np.ndarray) -> Serve:
        """In the worker: what gives the results of some numbers from the image `[k, j, i]`, and
        tells of every step which number it is about, when it is about one alone."""


@dataclass(frozen=True)
class Job:
    """The features of ROIs by their number."""

    grid: Grid
    parameters: Parameters
    rois: list[PreparedRoi]

    def size(self, number: int) -> int:
        """Voxels of the ROI."""
        return self.rois[number].roi.voxels

    def serve(self, array: np.ndarray) -> Serve:
        """What computes ROIs of these numbers together."""
        extraction = Extraction(Volume(array, self.grid), self.parameters)

        def run(numbers: list[int], began: Began) -> Found:
            def heard(what: str, number: int | None) -> None:
                began(what, None if number is None else numbers[number])

            for number, found in extraction.run([self.rois[n] for n in numbers], heard):
                yield numbers[number], found

        return run


@dataclass(frozen=True)
class Limits:
    """Processes at a time, and what each may take: seconds for one ROI or one step that several
    share, and MB (10^6 bytes)."""

    processes: int
    timeout_s: float
    memory_mb: float


def computed(
    array: np.ndarray,
    job: Work,
    groups: Sequence[Sequence[int]],
    limits: Limits,
    scratch: Path,
) -> Iterator[tuple[int, RoiFeatures | str]]:
    """(number, features or why there are none) of every ROI in `groups`, as they come.

    `array` `[k, j, i]` lies on the job's grid; `scratch` is an empty folder for the time of the
    work. Raises `OSError` when it cannot be written or no process can be started.
    """
    np.save(scratch / IMAGE_FILE, array)
    (scratch / JOB_FILE).write_bytes(pickle.dumps(job))
    with _Crew(scratch, limits, job) as crew:
        yield from crew.run(groups)


@dataclass
class _Order:
    """ROIs that one worker computes together; `again` those that have cost a worker already."""

    rois: list[int]
    again: bool = False


@dataclass(eq=False)
class _Worker:
    process: TreeProcess
    ready: bool = False
    order: _Order | None = None
    current: int | None = None
    deadline: float = field(default_factory=lambda: time.monotonic() + START_LIMIT_S)


class _Crew:
    """The workers of one job."""

    def __init__(self, folder: Path, limits: Limits, job: Work) -> None:
        self._folder, self._limits, self._job = folder, limits, job
        self._workers: list[_Worker] = []
        self._orders: deque[_Order] = deque()
        self._heard: queue.SimpleQueue[tuple[_Worker, dict | None]] = queue.SimpleQueue()
        self._looked = time.monotonic()

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            self._end(worker)

    def run(self, groups: Sequence[Sequence[int]]) -> Iterator[tuple[int, RoiFeatures | str]]:
        """The results of all groups, the largest first."""
        ordered = sorted(groups, key=lambda g: -sum(map(self._job.size, g)))
        self._orders.extend(_Order(list(group)) for group in ordered)
        while self._orders or any(worker.order for worker in self._workers):
            self._hand_out()
            with suppress(queue.Empty):
                worker, event = self._heard.get(timeout=POLL_S)
                if worker in self._workers:
                    yield from self._hear(worker, event)
            yield from self._watch()

    # -- orders -----------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        idle = [worker for worker in self._workers if worker.order is None]
        while self._orders and (idle or len(self._workers) < self._limits.processes):
            worker = idle.pop() if idle else self._start()
            order = self._orders.popleft()
            worker.order, worker.current = order, None
            if worker.ready:
                worker.deadline = time.monotonic() + self._limits.timeout_s
            with suppress(OSError):  # it has died; its end is heard of
                worker.process.stdin.write(json.dumps({"rois": order.rois}).encode() + b"\n")
                worker.process.stdin.flush()

    def _start(self) -> _Worker:
        command = [sys.executable, "-m", f"{__package__}.roi_child", self._folder]
        process = start_process(
            [*command, "--parent", str(os.getpid())],
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        worker = _Worker(process)
        self._workers.append(worker)
        threading.Thread(target=self._read, args=(worker,), daemon=True).start()
        return worker

    def _read(self, worker: _Worker) -> None:
        with worker.process.stdout as lines:
            for line in lines:
                self._heard.put((worker, json.loads(line)))
        self._heard.put((worker, None))

    # -- answers ----------------------------------------------------------------------------------

    def _hear(self, worker: _Worker, event: dict | None) -> Iterator[tuple[int, RoiFeatures | str]]:
        if event is None:
            worker.process.wait()
            yield from self._lost(worker, DIED)
            return
        kind = event["event"]
        worker.deadline = time.monotonic() + self._limits.timeout_s
        if kind == "ready":
            worker.ready = True
        elif kind == "step":
            worker.current = event["roi"]
        elif kind == "end":
            worker.order = None
        elif worker.order is not None:
            roi = event["roi"]
            worker.order.rois.remove(roi)
            worker.current = None
            yield roi, event["reason"] if kind == "failed" else _features(event)

    def _watch(self) -> Iterator[tuple[int, RoiFeatures | str]]:
        """End what takes too long or too much."""
        now = time.monotonic()
        for worker in list(self._workers):
            if worker.order is not None and now > worker.deadline:
                yield from self._lost(worker, TIME)
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        states = look_at_trees([worker.process.pid for worker in self._workers])
        for worker in list(self._workers):
            if states[worker.process.pid].memory_mb > self._limits.memory_mb:
                yield from self._lost(worker, MEMORY)

    def _lost(self, worker: _Worker, why: str) -> Iterator[tuple[int, RoiFeatures | str]]:
        """A worker is gone, or has to go: who was at fault gets the reason, the others another
        worker. Where it died by itself nobody is at fault before the second time."""
        status = worker.process.poll()
        self._end(worker)
        self._workers.remove(worker)
        order = worker.order
        if order is None or not order.rois:
            return
        left, culprit = order.rois, worker.current
        reason = self._reason(why, status)
        if len(left) == 1:
            if why == DIED and not order.again:
                self._orders.appendleft(_Order(left, again=True))
            else:
                yield left[0], reason
        elif why == TIME and culprit is not None:
            yield culprit, reason
            self._orders.appendleft(_Order([n for n in left if n != culprit]))
        else:
            self._orders.extend(_Order([n], again=n == culprit) for n in left)

    def _reason(self, why: str, status: int | None) -> str:
        if why == TIME:
            return (
                f"not finished after {self._limits.timeout_s:g} s (radiomics.timeout_s); larger "
                "voxels, or fewer image types, take less"
            )
        if why == MEMORY:
            return f"needed more than {self._limits.memory_mb / 1000:.1f} GB (run.memory_gb)"
        how = f"signal {-status}" if status is not None and status < 0 else f"status {status}"
        return f"its process died twice ({how}); out of memory, or a bug: see the stage's log"

    def _end(self, worker: _Worker) -> None:
        kill_tree(worker.process, grace_s=0.0)
        worker.process.wait()
        with suppress(OSError):
            worker.process.stdin.close()


def _features(event: dict) -> RoiFeatures:
    return RoiFeatures(
        event["values"], event["voxels"], event["analysed_voxels"], tuple(event["notes"])
    )


def _environment() -> dict[str, str]:
    """Ours with this library first on the path, whether it is installed, in a checkout or inside
    Slicer; one thread for each process."""
    library = str(Path(__file__).resolve().parents[2])
    paths = [library, *filter(None, [os.environ.get("PYTHONPATH")])]
    path = {"PYTHONPATH": os.pathsep.join(paths)}
    return {**os.environ, **path, **dict.fromkeys(_ONE_THREAD, "1")}
