"""Standard streams of a worker: a private channel to its parent, and output that goes to a log."""

from __future__ import annotations

import ctypes
import io
import os
import sys
from pathlib import Path
from typing import TextIO

from .system import WINDOWS


def take_channel() -> tuple[TextIO, TextIO]:
    """Standard input and output as private streams (reader, writer).

    From now on standard input is empty and standard output goes where standard error goes, so that
    a library that reads or prints disturbs nobody; children do not inherit the private streams.
    """
    reader = io.TextIOWrapper(os.fdopen(os.dup(0), "rb"), encoding="utf-8")
    writer = io.TextIOWrapper(os.fdopen(os.dup(1), "wb"), encoding="utf-8", write_through=True)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    return reader, writer


def redirect_output(path: Path) -> None:
    """Append standard output and error of this process, and of its children to come, to a file.

    Raises `OSError` when it cannot be written.
    """
    with path.open("ab") as log:
        _flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


def _flush() -> None:
    """What Python and the C library still hold belongs to the old place."""
    sys.stdout.flush()
    sys.stderr.flush()
    library = ctypes.CDLL("ucrtbase" if WINDOWS else None)
    library.fflush(None)
