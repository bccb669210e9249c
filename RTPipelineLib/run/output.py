"""The output folder of a run: made, held, tidied up after runs that were killed, and `run.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from .. import __version__
from ..errors import OutputError, UsageError
from ..platform import FolderLock, clean_leftovers, write_json

RUN_SCHEMA = 1
RUNNING, FINISHED, INTERRUPTED, STOPPED = "running", "finished", "interrupted", "stopped"


def make_output_folder(out: Path) -> Path:
    """Create the output folder and prove that it can be written. Raises `OutputError`."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".write-test"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"{out} cannot be written ({reason}); choose another output folder or free it"
        ) from error
    return out.resolve()


@contextmanager
def hold_output(out: Path, command: str) -> Iterator[None]:
    """Exclusive use of an output folder, without what killed runs left in it and in `results/`.

    Raises `OutputError`, which names the holder, when another run uses it.
    """
    with FolderLock(out, f"rtpipeline {command}"):
        for folder in (out, out / "results"):
            clean_leftovers(folder)
        yield


@contextmanager
def noted_run(out: Path, facts: Mapping[str, object]) -> Iterator[None]:
    """Keep `run.json` true: `running`, then `finished`, `interrupted`, or `stopped` with the error.

    One that says `running` while nobody holds the folder was left by a run that was killed.
    """
    started = datetime.now().astimezone().isoformat(timespec="seconds")

    def note(state: str, error: str = "") -> None:
        fixed = {"schema": RUN_SCHEMA, "version": __version__, "started": started}
        write_json(out / "run.json", {**facts, **fixed, "state": state, "error": error})

    note(RUNNING)
    try:
        yield
    except BaseException as error:
        with suppress(OutputError):  # a full disk must not hide what happened
            stopped = not isinstance(error, KeyboardInterrupt)
            note(STOPPED if stopped else INTERRUPTED, str(error))
        raise
    note(FINISHED)


def refuse_newer(out: Path) -> None:
    """Raise `UsageError` when a newer version has written this output folder. What older ones wrote
    is made anew from the DICOM files; what people decided there is kept."""
    try:
        schema = json.loads((out / "run.json").read_text(encoding="utf-8"))["schema"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if isinstance(schema, int) and schema > RUN_SCHEMA:
        raise UsageError(
            f"{out} was written by a newer version of RT Pipeline (schema {schema}, this version "
            f"writes {RUN_SCHEMA}); update RT Pipeline, or run into a new folder"
        )


def existing_output(out: Path) -> Path:
    """The output folder of an earlier run. Raises `UsageError` when it is none."""
    read_run(out)
    return out.resolve()


def read_run(out: Path) -> dict[str, object]:
    """What `run.json` says of the last run. Raises `UsageError` when there is none that we know."""
    path = out / "run.json"
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"{out} is not an output folder of rtpipeline run: it has no run.json"
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error}); run again to make it anew") from error
    schema = run.get("schema") if isinstance(run, dict) else None
    if schema != RUN_SCHEMA:
        raise UsageError(
            f"{path} has schema {schema}, this version reads {RUN_SCHEMA}; run again into a new "
            "folder, or use the version of RT Pipeline that wrote it"
        )
    return run
