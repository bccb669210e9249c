"""What ran, on what, with what result: `stages/<stage>.json`, and whether it still holds.

A record carries a fingerprint of all that its result depends on: the content of the files read, the
configuration and decisions concerned, the fingerprints of the stages before it, and the version of
the code. Files are hashed once and recognised by path, size and modification time after that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from pathlib import Path

from .. import __version__
from ..config import Config
from ..course import Course, edited_files, read_course
from ..errors import DataError, OutputError
from ..overrides import Overrides
from ..platform import write_json
from ..review import verdict_files
from ..stages import DONE, FAILED, PARTIAL, SKIPPED, Problem, Stage, get_stage

SCHEMA = 1
HASH_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class FileState:
    """A file as it was read; `sha256` is empty for one that was missing."""

    path: str
    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class Record:
    """One run of one stage; what `stages/<stage>.json` holds. `attempts` says how the runs before
    it ended that it repeats."""

    stage: str
    status: str
    reason: str
    fingerprint: str
    inputs: tuple[FileState, ...] = ()
    outputs: dict[str, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    config_hash: str = ""
    code_version: str = __version__
    versions: dict[str, str] = field(default_factory=dict)
    started: str = ""
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    attempts: tuple[str, ...] = ()

    @property
    def is_failure(self) -> bool:
        """True when the exit status of a run has to tell of it."""
        return self.status in (FAILED, PARTIAL)


def record_path(folder: Path, stage: str) -> Path:
    """Where the record of a stage lies."""
    return folder / "stages" / f"{stage}.json"


def read_record(folder: Path, stage: str) -> Record | None:
    """The record of a stage; None when the stage has not run.

    Raises `DataError`, naming the file, for a record that cannot be read.
    """
    path = record_path(folder, stage)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        data.pop("schema")
        return Record(
            **{
                **data,
                "inputs": tuple(FileState(**item) for item in data["inputs"]),
                "problems": tuple(Problem(**item) for item in data["problems"]),
                "attempts": tuple(data.get("attempts", ())),
            }
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} cannot be read ({error}); run again to make it anew") from error


def valid_record(folder: Path, stage: str) -> Record | None:
    """The record of a stage, or None when there is none or it is damaged (the stage then runs
    anew)."""
    try:
        return read_record(folder, stage)
    except DataError:
        return None


def write_record(folder: Path, record: Record) -> None:
    """Write the record atomically; it is the last thing that a stage writes."""
    path = record_path(folder, record.stage)
    path.parent.mkdir(exist_ok=True)
    write_json(path, {"schema": SCHEMA, **asdict(record)})


def file_states(paths: Sequence[Path], known: Sequence[FileState] = ()) -> tuple[FileState, ...]:
    """State of each file; those that look as they did in `known` are not read again."""
    remembered = {item.path: item for item in known}
    states = []
    for path in sorted(set(paths)):
        try:
            stat = path.stat()
        except OSError:
            states.append(FileState(str(path), -1, 0, ""))
            continue
        old = remembered.get(str(path))
        if old and old.sha256 and (old.size, old.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
            states.append(old)
        else:
            states.append(FileState(str(path), stat.st_size, stat.st_mtime_ns, sha256_of(path)))
    return tuple(states)


def sha256_of(path: Path) -> str:
    """Hash of a file's content; empty when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(HASH_BLOCK_BYTES):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()


def fingerprint(
    stage: Stage,
    course: Course,
    folder: Path,
    config: Config,
    overrides: Overrides,
    inputs: Sequence[FileState],
) -> str:
    """Hash of everything that the stage's result depends on.

    Where a file lies does not matter, only what it holds; a moved DICOM folder reruns nothing.
    """
    known = {name: getattr(course, name) for name in ("patient_id", "course_id", *stage.parts)}
    # The status too: a stage that failed for lack of memory succeeds later with the same inputs.
    before = {
        name: [record.fingerprint, record.status] if (record := valid_record(folder, name)) else []
        for name in (*stage.needs, *stage.uses)
    }
    facts = {
        "stage": [stage.name, stage.version, __version__],
        "course": known,
        "inputs": [item.sha256 for item in inputs],
        "needs": before,
        "config": config.section_hash(*stage.sections),
        "decisions": {name: getattr(overrides, name) for name in stage.decisions},
    }
    if stage.verdicts:
        facts["verdicts"] = [sha256_of(path) for path in verdict_files(folder)]
    if stage.edited and (files := edited_files(folder)):
        facts["edited"] = [[path.name, sha256_of(path)] for path in files]
    text = json.dumps(facts, sort_keys=True, default=_fields)
    return hashlib.sha256(text.encode()).hexdigest()


def _fields(value: object) -> object:
    """For JSON: a dataclass as its fields (without a deep copy), anything else as text."""
    return vars(value) if is_dataclass(value) else str(value)


def current_record(
    stage: Stage,
    course: Course,
    folder: Path,
    config: Config,
    overrides: Overrides,
    *,
    remember: bool = False,
) -> Record | None:
    """The stage's record if it still holds and its outputs are all there, else None.

    Its `inputs` are the files as they are now, which it will `remember` on request: new times save
    the next hashing. What failed is tried again: the cause may have been the machine.
    """
    record = valid_record(folder, stage.name)
    if record is None or record.status not in (DONE, PARTIAL, SKIPPED):
        return None
    for name, size in record.outputs.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            return None
    states = file_states(stage.inputs(course), record.inputs)
    if fingerprint(stage, course, folder, config, overrides, states) != record.fingerprint:
        return None
    if states != record.inputs:
        record = replace(record, inputs=states)
        if remember:
            with suppress(OutputError, OSError):  # it holds without that
                write_record(folder, record)
    return record


def held_records(
    folder: Path, stages: Sequence[str], config: Config, overrides: Overrides | None
) -> Iterator[Record]:
    """The records of the first of these stages, as long as they hold; light, as a run keeps
    them."""
    if overrides is None:
        return
    with suppress(DataError, OSError):  # the stage says what is wrong
        course = read_course(folder)
        for name in stages:
            stage = get_stage(name)
            record = current_record(stage, course, folder, config, overrides, remember=True)
            if record is None:
                return
            yield light(record)


def light(record: Record) -> Record:
    """A record without its lists of files and versions, for a parent that keeps thousands."""
    return replace(record, inputs=(), outputs={}, versions={})
