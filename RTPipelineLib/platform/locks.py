"""One writer per folder."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO

from ..errors import OutputError
from .processes import runs_since
from .system import WINDOWS
from .writes import output_error, temporary_path, write_json

_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EOPNOTSUPP}
# A holder says so often that it lives; who was silent for so long is gone.
SIGN_OF_LIFE_S, SILENCE_S = 20.0, 120.0


class FolderLock:
    """Exclusive use of an output folder; a context manager.

    The lock belongs to the operating system and vanishes with the process that holds it, so a crash
    leaves none behind. `.lock.json` beside it says who holds it: process, host, time and `command`
    (no user, no paths). Some network folders have no such locks, or locks that other computers do
    not see: there `.lock.json` decides, which its holder touches as long as it lives. Raises
    `OutputError` that names the holder when the folder is in use.
    """

    def __init__(self, folder: Path, command: str = "rtpipeline") -> None:
        self.folder = Path(folder)
        self.command = command
        self._file: IO[bytes] | None = None
        self._left = threading.Event()

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
            locked = _lock_file(self._file)
            if locked is False or self._holder_lives(trusted=locked is True):
                raise self._refusal()
            write_json(self._holder_path, self._holder())
        except BaseException as error:
            self._file.close()
            if isinstance(error, OSError):
                raise output_error(self.folder, error) from error
            raise
        self._left.clear()
        threading.Thread(target=self._show_life, name="lock", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left.set()
        with suppress(OSError):
            self._holder_path.unlink()
        if self._file is not None:
            self._file.close()  # closing releases the lock

    def _show_life(self) -> None:
        while not self._left.wait(SIGN_OF_LIFE_S):
            with suppress(OSError):
                os.utime(self._holder_path)

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

    def _holder_lives(self, *, trusted: bool) -> bool:
        """Whether `.lock.json` stands for a living process; `trusted` when the system has given us
        the lock, which proves that no process of this computer holds it."""
        holder = self._read_holder()
        pid = holder.get("pid")
        if not isinstance(pid, int):
            return False
        try:
            touched = self._holder_path.stat().st_mtime
            if holder.get("host") == socket.gethostname():
                return not trusted and runs_since(pid, touched)
            return self._time_of_the_share() - touched < SILENCE_S
        except FileNotFoundError:
            return False  # it has just gone

    def refuse_if_held(self) -> None:
        """Raise `OutputError` when somebody holds the folder, and take nothing."""
        if self._holder_lives(trusted=False):
            raise self._refusal()

    def holder_process(self) -> int | None:
        """The number of the process of this computer that holds the folder, if one does."""
        found = self._read_holder()
        here = found.get("host") == socket.gethostname()
        return found["pid"] if here and self._holder_lives(trusted=False) else None

    def holder(self) -> str:
        """Who holds the folder, in words; empty for nobody. Only reads, so that a sign of life from
        another computer is judged by our clock."""
        holder = self._read_holder()
        try:
            touched = self._holder_path.stat().st_mtime
        except OSError:
            return ""
        pid = holder.get("pid")
        if not isinstance(pid, int):
            return ""
        if holder.get("host") == socket.gethostname():
            lives = runs_since(pid, touched)
        else:
            lives = time.time() - touched < SILENCE_S
        return (
            f"process {pid} on host {holder.get('host')}, {holder.get('command')}" if lives else ""
        )

    def _time_of_the_share(self) -> float:
        """The clock that the folder's files are dated by, which may be another computer's."""
        probe = temporary_path(self.folder / "clock")
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink()

    def _refusal(self) -> OutputError:
        holder = self._read_holder()
        who, way_out = "another process", ""
        if holder:
            who = (
                f"process {holder.get('pid')} on host {holder.get('host')} "
                f"since {holder.get('started')} ({holder.get('command')})"
            )
            if holder.get("host") != socket.gethostname():
                way_out = f"; if it has crashed, the folder is free after {SILENCE_S:g} s"
        return OutputError(
            f"{self.folder} is in use by {who}; wait until it ends or stop it{way_out}"
        )


def _lock_file(file: IO[bytes]) -> bool | None:
    """Take the lock of an open file without waiting; False when another process has it, None where
    the file system has no locks."""
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
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True
