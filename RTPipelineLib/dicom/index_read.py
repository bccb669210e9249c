"""Reading many headers: in this process, and once that pays in several."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from .index_rows import Entry, FileRow, ObjectRow, read_files

log = logging.getLogger(__name__)

CHUNK = 200  # files a worker gets at once
WORKERS_PAY_S = 0.4  # remaining work from which starting workers (0.1 s each) is worth it

# What a worker's interpreter runs.
SERVE = f"from {__name__} import serve; serve()"

_Chunk = Sequence[Entry]


def read_all(root: str, entries: _Chunk, jobs: int) -> Iterator[list[FileRow]]:
    """Rows of all these files below `root`, a chunk at a time, in any order."""
    chunks = [entries[i : i + CHUNK] for i in range(0, len(entries), CHUNK)]
    for number, chunk in enumerate(chunks):
        began = time.perf_counter()
        rows = read_files(root, chunk)
        seconds = time.perf_counter() - began
        yield rows
        left = chunks[number + 1 :]
        # The first chunk also pays the imports, so it says nothing about the files.
        if jobs > 1 and number and seconds * len(left) > WORKERS_PAY_S:
            yield from _in_workers(root, left, min(jobs, len(left)))
            return


def _in_workers(root: str, chunks: Sequence[_Chunk], jobs: int) -> Iterator[list[FileRow]]:
    todo: SimpleQueue[_Chunk] = SimpleQueue()
    done: SimpleQueue[list[FileRow] | BaseException] = SimpleQueue()
    for chunk in chunks:
        todo.put(chunk)
    threads = [Thread(target=_feed, args=(root, todo, done), daemon=True) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    try:
        for _ in chunks:
            result = done.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:  # an interrupted run gives no more work; the chunks in progress end by themselves
        while not todo.empty():
            try:
                todo.get_nowait()
            except Empty:
                break
        for thread in threads:
            thread.join()


def _feed(root: str, todo: SimpleQueue[_Chunk], done: SimpleQueue[object]) -> None:
    """One thread: gives chunks to a worker process of its own; without it reads them itself."""
    worker = _start_worker()
    try:
        while True:
            try:
                chunk = todo.get_nowait()
            except Empty:
                return
            rows = None if worker is None else _ask(worker, root, chunk)
            if rows is None:
                worker = _stop(worker)
                rows = read_files(root, chunk)
            done.put(rows)
    except BaseException as error:  # handed to the thread that waits for the rows
        done.put(error)
    finally:
        _stop(worker)


def _start_worker() -> subprocess.Popen[bytes] | None:
    """A plain interpreter instead of multiprocessing: it needs no `__main__` guard in the caller's
    script, and it ends when its input does, so no worker outlives a killed run."""
    if "python" not in Path(sys.executable).name.lower():
        return None  # embedded in a program that would open its window
    package_home = str(Path(__file__).resolve().parents[2])
    paths = [package_home, *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        return subprocess.Popen(
            [sys.executable, "-c", SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except OSError as error:
        log.warning("headers are read by one process only: no worker starts (%s)", error)
        return None


def _ask(worker: subprocess.Popen[bytes], root: str, chunk: _Chunk) -> list[FileRow] | None:
    """The rows of a chunk, None when the worker has died."""
    try:
        pickle.dump((root, chunk), worker.stdin)
        worker.stdin.flush()
        return [
            FileRow(*row, None if content is None else ObjectRow._make(content))
            for *row, content in pickle.load(worker.stdout)
        ]
    except (OSError, EOFError, pickle.UnpicklingError) as error:
        log.warning("a process that reads headers ended early (%s); going on without it", error)
        return None


def _stop(worker: subprocess.Popen[bytes] | None) -> None:
    if worker is not None:
        try:
            worker.stdin.close()  # its sign to end
        except OSError:
            log.debug("the worker had closed its input")
        worker.stdout.close()
        worker.wait()


def serve() -> None:
    """What a worker process does: chunks in, rows out, until its input ends."""
    source = sys.stdin.buffer
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing else may print between answers
    try:
        while True:
            root, chunk = pickle.load(source)
            # Plain tuples travel at a third of the cost of named ones.
            rows = read_files(root, chunk)
            pickle.dump([(*row[:3], row.content and tuple(row.content)) for row in rows], answers)
            answers.flush()
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        return
