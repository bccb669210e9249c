"""Atomic writes: whatever moment a process dies at, a reader finds the old content or the new."""

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
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import OutputError
from .processes import runs_since
from .system import WINDOWS

# Virus scanners and indexers hold a fresh file on Windows for some tens of milliseconds.
RETRY_WAITS_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
# Whether a process of another computer lives cannot be asked; no write takes this long.
FOREIGN_LEFTOVER_AGE_S = 2 * 24 * 3600.0

_TEMPORARY, _REPLACED = "tmp", "old"
_LEFTOVER = re.compile(r"\.(tmp|old)-([0-9a-f]{6})-(\d+)-[0-9a-f]{6}-(.*)", re.DOTALL)
_FULL_DISK = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_FSYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}


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


def check_space(folder: Path, size: int = 1 << 20) -> None:
    """Write `size` bytes into a folder and remove them again; raises `OutputError` when the disk
    refuses. For libraries whose errors do not say why they could not write."""
    probe = temporary_path(folder / "space")
    try:
        probe.write_bytes(bytes(size))
    except OSError as error:
        raise output_error(folder, error) from error
    finally:
        probe.unlink(missing_ok=True)


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
    return runs_since(pid, changed)


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
