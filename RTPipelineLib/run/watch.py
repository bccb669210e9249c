"""The memory of all workers together, held below a limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection

from ..platform import look_at_trees
from .child import MEMORY
from .workers import Worker

INTERVAL_S = 0.2
# Looking at all processes of a busy machine may take long; it shall take no more than this share.
SHARE_OF_TIME = 0.05


class MemoryWatch:
    """Looks at the process trees of the workers while it is entered; when they hold more than
    `limit_gb` (10^9 bytes) together, the largest is ended with the verdict `memory`."""

    def __init__(self, limit_gb: float) -> None:
        self.limit_gb = limit_gb
        self._workers: set[Worker] = set()
        self._lock = threading.Lock()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory watch", daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._left.set()
        self._thread.join()

    def add(self, worker: Worker) -> None:
        """Watch this worker too."""
        with self._lock:
            self._workers.add(worker)

    def remove(self, worker: Worker) -> None:
        """Watch this worker no longer."""
        with self._lock:
            self._workers.discard(worker)

    def _watch(self) -> None:
        pause = INTERVAL_S
        while not self._left.wait(pause):
            begin = time.perf_counter()
            with self._lock:
                workers = list(self._workers)
            if workers:
                self._look(workers)
            pause = max(INTERVAL_S, (time.perf_counter() - begin) / SHARE_OF_TIME)

    def _look(self, workers: Collection[Worker]) -> None:
        stages = [worker.stages for worker in workers]
        states = look_at_trees([worker.process.pid for worker in workers])
        for worker, number in zip(workers, stages, strict=True):
            worker.look(states[worker.process.pid], number)
        total_mb = sum(state.memory_mb for state in states.values())
        if total_mb > 1000 * self.limit_gb:
            largest = max(workers, key=lambda worker: states[worker.process.pid].memory_mb)
            largest.end(verdict=MEMORY)
