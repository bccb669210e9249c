"""The one place that knows the operating system: atomic writes, locks, process trees, safe names.

Everything else in the library is the same on Linux, Windows and macOS. psutil is imported by the
functions about processes only, because a plain write has to work where psutil is not installed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING

from .errors import OutputError

if TYPE_CHECKING:
    import psutil

WINDOWS = sys.platform == "win32"

# Virus scanners and indexers hold a fresh file on Windows for some tens of milliseconds.
RETRY_WAITS_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
# Whether a process of another computer lives cannot be asked; no write takes this long.
FOREIGN_LEFTOVER_AGE_S = 2 * 24 * 3600.0

_TEMPORARY, _REPLACED = "tmp", "old"
_LEFTOVER = re.compile(r"\.(tmp|old)-([0-9a-f]{6})-(\d+)-[0-9a-f]{6}-(.*)", re.DOTALL)
_FULL_DISK = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_FSYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EOPNOTSUPP}


# -- atomic writes --------------------------------------------------------------------------------


def temporary_path(target: Path) -> Path:
    """A hidden, unused sibling of `target`, to be filled and then put into its place.

    The name keeps the ending of `target` (writers choose a format by it) and says which process
    made it, so that `clean_leftovers` can tell a crash from work in progress. Nothing is created.
    """
    return _marked(target, _TEMPORARY)


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Write a file so that `target` is at any moment absent, the old one or the complete new one.

    Yields a temporary path in the same folder (which is made if need be). When the block ends well
    the file is flushed to disk and renamed to `target`; when it fails the temporary file goes.
    Raises `OutputError` when the disk is full or the place cannot be written.
    """
    target = Path(target)
    temporary = temporary_path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _flush(temporary)
        _retry(lambda: temporary.replace(target))
        _flush_folder(target.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and _is_about(error, temporary, target):
            raise output_error(target, error) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically, with `\\n` as the end of line on every system.

    Characters that UTF-8 cannot hold (undecodable bytes of a file name) are written as `\\udcxx`.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, obj: object) -> None:
    """Write `obj` atomically as indented JSON with sorted keys.

    Tuples and arrays become lists, paths strings, NaN and infinities `null` (JSON has no others).
    Raises `TypeError` for what is not plain data.
    """
    text = json.dumps(plain(obj), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def plain(value: object) -> object:
    """`value` as what JSON knows: see `write_json`."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return plain(value.tolist())
    return value


def replace_folder(new: Path, target: Path) -> None:
    """Put the finished folder `new` in the place of `target`, which may exist.

    Both must be in the same folder. A kill at any moment leaves the old folder, the new one, or for
    an instant neither: then `clean_leftovers` brings the old one back. Raises `OutputError`.
    """
    old = _marked(target, _REPLACED)
    try:
        for path in sorted(new.rglob("*")):
            if path.is_file():
                _flush(path)
        if target.exists():
            _retry(lambda: target.rename(old))
        try:
            _retry(lambda: new.rename(target))
        except OSError:
            if old.exists():
                old.rename(target)
            raise
        _flush_folder(target.parent)
    except OSError as error:
        raise output_error(target, error) from error
    if old.exists():
        remove_folder(old)


def remove_folder(folder: Path) -> None:
    """Remove a folder and all in it. Raises `OutputError` when something in it cannot go."""
    try:
        _retry(lambda: shutil.rmtree(folder))
    except FileNotFoundError:
        return
    except OSError as error:
        raise output_error(folder, error) from error


def clean_leftovers(parent: Path) -> None:
    """Repair what killed processes left directly in `parent`; what living ones use stays.

    Temporary files and folders are removed. A folder that `replace_folder` had moved aside comes
    back when its place is empty, and is removed otherwise. Leftovers of another computer go after
    two days.
    """
    if not parent.is_dir():
        return
    for path in sorted(parent.iterdir()):
        match = _LEFTOVER.fullmatch(path.name)
        if match is None or _in_use(path, host=match[2], pid=int(match[3])):
            continue
        target = parent / match[4]
        if match[1] == _REPLACED and not target.exists():
            path.rename(target)
        elif path.is_dir() and not path.is_symlink():
            remove_folder(path)
        else:
            with suppress(FileNotFoundError):
                path.unlink()


def output_error(path: Path, error: OSError) -> OutputError:
    """The one sentence that a user gets for a failed write."""
    if error.errno in _FULL_DISK:
        return OutputError(f"{path}: the disk is full or a quota is reached; free some space")
    if error.errno in _NOT_ALLOWED:
        return OutputError(
            f"{path}: cannot be written ({error.strerror}); "
            "close programs that use it, correct its permissions or choose another output folder"
        )
    if isinstance(error, FileExistsError | NotADirectoryError):
        return OutputError(
            f"{path}: a file is where a folder should be; choose another output folder"
        )
    return OutputError(f"{path}: cannot be written ({error.strerror or error})")


def _marked(target: Path, kind: str) -> Path:
    return target.with_name(
        f".{kind}-{_host_mark()}-{os.getpid()}-{secrets.token_hex(3)}-{target.name}"
    )


def _host_mark() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]


def _in_use(path: Path, host: str, pid: int) -> bool:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return True  # its owner has just finished with it
    changed = max(status.st_mtime, status.st_ctime)
    if host != _host_mark():
        return time.time() - changed < FOREIGN_LEFTOVER_AGE_S
    return _runs_since(pid, changed)


def _runs_since(pid: int, moment: float) -> bool:
    """True when the process ran at that time; one that started later only inherited the number."""
    process = _process(pid)
    return process is not None and process.create_time() < moment + 1.0


def _is_about(error: OSError, *paths: Path) -> bool:
    """True when the error comes from writing, not from a file that the caller read meanwhile."""
    if error.errno in _FULL_DISK or error.errno == errno.EROFS:
        return True
    named = {os.fsdecode(name) for name in (error.filename, error.filename2) if name is not None}
    places = {str(place) for path in paths for place in (path, *path.parents)}
    return not named.isdisjoint(places)


def _retry(action: Callable[[], object]) -> None:
    for wait in RETRY_WAITS_S if WINDOWS else ():
        try:
            action()
        except PermissionError:
            time.sleep(wait)
        else:
            return
    action()


def _flush(path: Path) -> None:
    with path.open("rb+" if WINDOWS else "rb") as file:  # Windows flushes only what may be written
        _fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    if WINDOWS:  # has no handle of a folder to flush; the file system's journal keeps the rename
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        _fsync(handle)
    finally:
        os.close(handle)


def _fsync(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FSYNC:  # some network file systems cannot
            raise


# -- one writer per folder ------------------------------------------------------------------------


class FolderLock:
    """Exclusive use of an output folder; a context manager.

    The lock belongs to the operating system and vanishes with the process that holds it, so a crash
    leaves none behind. `.lock.json` beside it only says who holds it: process, host, time and
    `command` (no user, no paths). On network folders the lock is as good as the file system's own;
    where that has none, `.lock.json` alone decides, and after a crash on another computer it has to
    be deleted. Raises `OutputError` that names the holder when the folder is in use.
    """

    def __init__(self, folder: Path, command: str = "rtpipeline") -> None:
        self.folder = Path(folder)
        self.command = command
        self._file: IO[bytes] | None = None

    @property
    def _holder_path(self) -> Path:
        return self.folder / ".lock.json"

    def __enter__(self) -> FolderLock:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = (self.folder / ".lock").open("ab+")
        except OSError as error:
            raise output_error(self.folder, error) from error
        try:
            if not _lock_file(self._file):
                raise self._refusal()
            write_json(self._holder_path, self._holder())
        except OSError as error:
            self._file.close()
            if error.errno not in _NO_LOCKS:
                raise output_error(self.folder, error) from error
            self._enter_without_os_lock()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._holder_path.unlink()
        if self._file is not None:
            self._file.close()  # closing releases the lock

    def _holder(self) -> dict[str, object]:
        return {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": datetime.now().astimezone().isoformat(timespec="seconds"),
            "command": self.command,
        }

    def _read_holder(self) -> dict[str, object]:
        try:
            holder = json.loads(self._holder_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return holder if isinstance(holder, dict) else {}

    def _refusal(self, way_out: str = "") -> OutputError:
        holder = self._read_holder()
        who = "another process"
        if holder:
            who = (
                f"process {holder.get('pid')} on host {holder.get('host')} "
                f"since {holder.get('started')} ({holder.get('command')})"
            )
        return OutputError(
            f"{self.folder} is in use by {who}; wait until it ends or stop it{way_out}"
        )

    def _enter_without_os_lock(self) -> None:
        holder = self._read_holder()
        pid = holder.get("pid")
        here = holder.get("host") == socket.gethostname()
        if isinstance(pid, int) and (not here or _process(pid) is not None):
            raise self._refusal(f"; if it is gone, delete {self._holder_path}")
        write_json(self._holder_path, self._holder())


def _lock_file(file: IO[bytes]) -> bool:
    """Take the lock of an open file without waiting; False when another process has it."""
    try:
        if WINDOWS:
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EAGAIN, errno.EDEADLK}:
            return False
        raise
    return True


# -- processes ------------------------------------------------------------------------------------


def start_process(
    args: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program as the head of its own process group, so that `kill_tree` ends all of it.

    `env` is the complete environment (None: ours). Pipes carry bytes. Ctrl+C in the terminal does
    not reach it: whoever starts a process ends it. Raises `OSError` when it cannot be started.
    """
    flags = 0
    if WINDOWS:
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    return subprocess.Popen(
        [os.fspath(arg) for arg in args],
        env=None if env is None else dict(env),
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=not WINDOWS,
        creationflags=flags,
    )


def kill_tree(pid: int, grace_s: float = 5.0) -> None:
    """End a process of `start_process` with all its descendants: ask, wait `grace_s`, then kill.

    Finds orphans of the tree too (on POSIX, by their session), and does nothing when all are gone.
    The caller still calls `wait` on its `Popen`. Returns when none of them runs.
    """
    for process in _members(pid):
        _signal(process, "terminate")
    if _wait_gone(pid, grace_s):
        return
    while members := _members(pid):
        for process in members:
            _signal(process, "kill")
        _wait_gone(pid, 0.5)


def exit_with_parent(parent_pid: int | None = None, interval_s: float = 1.0) -> None:
    """From now on, end this process and its descendants when the parent's process ends.

    A worker calls it at its start. `parent_pid` is worth passing: on Windows a virtual environment
    puts its launcher between parent and child. Portable, unlike PR_SET_PDEATHSIG, which moreover
    watches the parent's thread instead of its process.
    """
    parent = _process(os.getppid() if parent_pid is None else parent_pid)

    def watch() -> None:
        import psutil

        while parent is not None and _runs(parent):
            time.sleep(interval_s)
        for process in psutil.Process().children(recursive=True):
            _signal(process, "kill")
        os._exit(1)  # no cleanup: leftovers are what clean_leftovers is for

    threading.Thread(target=watch, name="exit-with-parent", daemon=True).start()


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MB (10^6 bytes)."""
    if WINDOWS:
        import psutil

        return psutil.Process().memory_info().peak_wset / 1e6
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts the parent of a fresh process into getrusage's figure
        peak_kib = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        if peak_kib is not None:
            return int(peak_kib[1]) * 1024 / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def available_cores() -> int:
    """How many cores this process may use: its affinity where the system has one."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _process(pid: int) -> psutil.Process | None:
    import psutil

    try:
        process = psutil.Process(pid)
    except (psutil.NoSuchProcess, OverflowError):
        return None
    return process if _runs(process) else None


def _runs(process: psutil.Process) -> bool:
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _members(pid: int) -> list[psutil.Process]:
    """The process `pid`, its descendants, and those of its session that lost their parents."""
    import psutil

    found: dict[int, psutil.Process] = {}
    root = _process(pid)
    if root is not None:
        found[pid] = root
        with suppress(psutil.NoSuchProcess):
            found |= {child.pid: child for child in root.children(recursive=True)}
    if not WINDOWS and os.getsid(0) != pid:
        for other in psutil.pids():
            with suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
                if os.getsid(other) == pid:
                    found.setdefault(other, psutil.Process(other))
    found.pop(os.getpid(), None)
    return [process for process in found.values() if _runs(process)]


def _wait_gone(pid: int, seconds: float) -> bool:
    # Polled, because psutil's wait would take the exit status away from the caller's Popen.
    end = time.monotonic() + seconds
    while _members(pid):
        if time.monotonic() >= end:
            return False
        time.sleep(0.05)
    return True


def _signal(process: psutil.Process, how: str) -> None:
    import psutil

    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        process.terminate() if how == "terminate" else process.kill()


# -- names ----------------------------------------------------------------------------------------

_UNCHANGED = re.compile(r"[A-Z0-9][A-Z0-9_-]{0,31}")
_HASHED_ENDING = re.compile(r".*-[0-9A-F]{8}")
_RESERVED = {"CON", "PRN", "AUX", "NUL", "RESULTS", "LOGS"} | {
    f"{port}{digit}" for port in ("COM", "LPT") for digit in range(10)
}


def folder_name(text: str, limit: int = 40) -> str:
    """A name for a folder that is safe on every file system and different for different texts.

    Short upper-case identifiers stay as they are. Everything else becomes ASCII letters, digits,
    `_` and `-`, cut to fit, and ends with `-` and 8 hex digits of the text's SHA-256, so that texts
    that differ in case, accents, spaces or beyond `limit` stay apart on case-insensitive systems
    too. Never a separator, a dot, a device name of Windows or a folder name of RT Pipeline's own.
    Raises `ValueError` for an empty text.
    """
    if not text:
        raise ValueError("an empty text is no name for a folder")
    plain_enough = _UNCHANGED.fullmatch(text) and len(text) <= limit
    if plain_enough and text not in _RESERVED and not _HASHED_ENDING.fullmatch(text):
        return text
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_-")[: limit - 9].rstrip("_-")
    return f"{stem or 'x'}-{mark}"
