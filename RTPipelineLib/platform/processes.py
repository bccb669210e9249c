"""Process trees: started as a whole, watched as a whole, ended as a whole.

psutil is imported by the functions, because a plain write has to work where it is not installed.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from .system import WINDOWS

if TYPE_CHECKING:
    import psutil

    from .windows_job import Job

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # Linux, prctl(2)
CREATE_SUSPENDED = 0x4  # Windows, CreateProcess
MARK = "RTPIPELINE_TREE_"


class TreeProcess(subprocess.Popen[bytes]):
    """A process that `start_process` made: `mark` is a variable in the environment of its whole
    tree, `job` its job object on Windows."""

    mark: str = ""
    job: Job | None = None


def start_process(
    args: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
) -> TreeProcess:
    """Start a program as the head of its own process tree, so that `kill_tree` ends all of it.

    `env` is the complete environment (None: ours); a mark of the tree is added. Pipes carry bytes.
    Ctrl+C in the terminal does not reach it: whoever starts a process ends it. Raises `OSError`
    when it cannot be started.
    """
    flags = 0
    if WINDOWS:  # suspended until it is in its job, so that no child of it stays outside
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        flags |= CREATE_SUSPENDED
    mark = f"{MARK}{secrets.token_hex(8)}"
    process = TreeProcess(
        [os.fspath(arg) for arg in args],
        env={**(os.environ if env is None else env), mark: "1"},
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=not WINDOWS,
        creationflags=flags,
    )
    process.mark = mark
    if WINDOWS:
        import psutil

        from .windows_job import Job

        process.job = Job.around(process.pid)
        psutil.Process(process.pid).resume()
    return process


def kill_tree(
    process: subprocess.Popen[bytes] | int,
    grace_s: float = 5.0,
    seen: Collection[psutil.Process] = (),
) -> None:
    """End a process of `start_process` with all its descendants: ask, wait `grace_s`, then kill.

    Finds orphans of the tree too: on POSIX by their session, on Windows by their job, those that
    `seen` names (of `look_at_trees`), and of a `TreeProcess` whoever has its mark, so that a daemon
    that has left everything else does not escape. Does nothing when all are gone. The caller still
    calls `wait` on its `Popen`. Returns when none of them runs.
    """
    pid = process if isinstance(process, int) else process.pid
    if grace_s > 0:
        for member in _members(pid, seen):
            _signal(member, "terminate")
        _wait_gone(pid, seen, grace_s)
    root = find_process(pid)
    if root is not None:  # it starts nothing more, and adopts what its dead children leave
        _signal(root, "suspend")
    while others := [member for member in _members(pid, seen) if member.pid != pid]:
        for member in others:
            _signal(member, "kill")
        time.sleep(0.01)
    if root is not None:
        _signal(root, "kill")
    if isinstance(process, TreeProcess) and process.job is not None:
        process.job.end()
    while not _wait_gone(pid, seen, 0.5):
        for member in _members(pid, seen):
            _signal(member, "kill")
    if isinstance(process, TreeProcess):
        while marked := _marked(process.mark):
            for member in marked:
                _signal(member, "kill")
            time.sleep(0.01)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """While entered, a request to end (SIGTERM: `kill`, a shutdown, a cluster's limit of time) is
    an interrupt like Ctrl+C. Only in the main thread, where Python takes signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def end_children() -> int:
    """End everything that this process has started and that still runs; returns how many."""
    import psutil

    ended: set[psutil.Process] = set()
    while children := [c for c in psutil.Process().children(recursive=True) if _runs(c)]:
        for child in children:
            _signal(child, "kill")
        ended.update(children)
        psutil.wait_procs(children, timeout=0.5)
    return len(ended)


def adopt_orphans() -> None:
    """From now on, descendants that lose their parent become children of this process (Linux), so
    that no daemon gets out of the tree."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_starter() -> None:
    """From now on, the end of the thread that started this process kills it (Linux), even where it
    hangs in a library that lets no thread of ours look after the parent."""
    _prctl(PR_SET_PDEATHSIG, 9)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


@dataclass(frozen=True)
class TreeState:
    """The processes of a tree at one moment, and the memory that they hold together, in MB
    (10^6 bytes); pages that they share are counted for each."""

    members: frozenset[psutil.Process]
    memory_mb: float


def look_at_trees(pids: Collection[int]) -> dict[int, TreeState]:
    """State of the trees below `pids`, in one look at all processes of the machine."""
    import psutil

    children: dict[int, list[psutil.Process]] = {}
    processes: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            children.setdefault(process.ppid(), []).append(process)
            processes[process.pid] = process
    states = {}
    for pid in pids:
        members: set[psutil.Process] = set()
        queue = [processes[pid]] if pid in processes else []
        while queue:
            process = queue.pop()
            if process not in members:
                members.add(process)
                queue += children.get(process.pid, [])
        memory = 0
        for process in members:
            with suppress(psutil.Error):
                memory += process.memory_info().rss
        states[pid] = TreeState(frozenset(members), memory / 1e6)
    return states


def exit_with_parent(parent_pid: int | None = None, interval_s: float = 1.0) -> None:
    """From now on, end this process and its descendants when the parent's process ends.

    A worker calls it at its start. `parent_pid` is worth passing: on Windows a virtual environment
    puts its launcher between parent and child. Portable, unlike PR_SET_PDEATHSIG, which moreover
    watches the parent's thread instead of its process.
    """
    parent = find_process(os.getppid() if parent_pid is None else parent_pid)

    def watch() -> None:
        while parent is not None and _runs(parent):
            time.sleep(interval_s)
        end_children()
        os._exit(1)  # no cleanup: leftovers are what clean_leftovers is for

    threading.Thread(target=watch, name="exit-with-parent", daemon=True).start()


def find_process(pid: int) -> psutil.Process | None:
    """The process of this number, unless it has ended."""
    import psutil

    try:
        process = psutil.Process(pid)
    except (psutil.NoSuchProcess, OverflowError, ValueError):
        return None
    return process if _runs(process) else None


def runs_since(pid: int, moment: float) -> bool:
    """True when the process ran at that time; one that started later only inherited the number."""
    process = find_process(pid)
    return process is not None and process.create_time() < moment + 1.0


def _runs(process: psutil.Process) -> bool:
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _members(pid: int, seen: Collection[psutil.Process] = ()) -> list[psutil.Process]:
    """The process `pid`, its descendants, those of its session that lost their parents, and those
    that were seen earlier."""
    import psutil

    found: set[psutil.Process] = set(seen)
    for process in [*seen, find_process(pid)]:
        if process is not None and _runs(process):
            found.add(process)
            with suppress(psutil.NoSuchProcess):
                found.update(process.children(recursive=True))
    if not WINDOWS and os.getsid(0) != pid:
        for other in psutil.pids():
            with suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
                if os.getsid(other) == pid:
                    found.add(psutil.Process(other))
    return [process for process in found if process.pid != os.getpid() and _runs(process)]


def _marked(mark: str) -> list[psutil.Process]:
    """Processes that have this variable in their environment."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if mark in process.environ() and _runs(process):
                found.append(process)
    return found


def _wait_gone(pid: int, seen: Collection[psutil.Process], seconds: float) -> bool:
    # Polled, because psutil's wait would take the exit status away from the caller's Popen.
    end = time.monotonic() + seconds
    while _members(pid, seen):
        if time.monotonic() >= end:
            return False
        time.sleep(0.02)
    return True


def _signal(process: psutil.Process, how: str) -> None:
    import psutil

    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        getattr(process, how)()
