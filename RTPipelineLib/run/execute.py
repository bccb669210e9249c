"""One stage of one course, from its facts to its record: what `rtpipeline stage` does.

The stage works in a temporary folder beside the final one. Its old record goes first, then the
folder is swapped, then the new record is written: whatever moment the process dies at, a record
stands only beside the result it describes.
"""

from __future__ import annotations

import logging
import platform as host
import time
import traceback
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..config import Config
from ..course import Course, read_course
from ..errors import ConfigError, OutputError, RTPipelineError
from ..overrides import OVERRIDES_FILE, Overrides, read_course_overrides
from ..platform import (
    FolderLock,
    check_space,
    clean_leftovers,
    current_memory_mb,
    output_error,
    peak_memory_mb,
    remove_folder,
    replace_folder,
    restart_peak_memory,
    temporary_path,
)
from ..stages import (
    DONE,
    FAILED,
    PARTIAL,
    SKIPPED,
    STAGES,
    Outcome,
    Problem,
    Stage,
    Task,
    get_stage,
)
from .ledger import Record, file_states, fingerprint, record_path, valid_record, write_record

log = logging.getLogger(__name__)

PACKAGES = ("numpy", "scipy", "SimpleITK", "pydicom", "pandas", "pyarrow", "pydantic")

Progress = Callable[[int, int, str], None]


def execute(
    name: str,
    folder: Path,
    config: Config,
    overrides: Overrides | None,
    progress: Progress = lambda done, total, message: None,
) -> Record:
    """Run one stage and leave its output and record in the course folder.

    Without `overrides` (the course's file is wrong) a stage that heeds decisions fails. Returns the
    record, whatever became of the stage. Raises `DataError` when the folder is no course,
    `OutputError` when it cannot be written or is in use, and `MemoryError`.
    """
    with FolderLock(folder, f"rtpipeline stage {name}"):
        return _execute(get_stage(name), folder, config, overrides, progress)


def _execute(
    stage: Stage,
    folder: Path,
    config: Config,
    overrides: Overrides | None,
    progress: Progress,
) -> Record:
    name = stage.name
    anew = restart_peak_memory()  # of the stages before it in this process
    course = read_course(folder)
    started, clock = (
        datetime.now().astimezone().isoformat(timespec="milliseconds"),
        time.perf_counter(),
    )
    before = valid_record(folder, name)
    inputs = file_states(stage.inputs(course), before.inputs if before else ())
    mark = fingerprint(stage, course, folder, config, overrides or Overrides(), inputs)
    for place in (folder, record_path(folder, name).parent):
        clean_leftovers(place)
    output = temporary_path(folder / stage.folder)
    try:
        try:
            output.mkdir()
        except OSError as error:
            raise output_error(output, error) from error
        outcome = _run(stage, course, folder, output, config, overrides, progress)
        record_path(folder, name).unlink(missing_ok=True)
        if outcome.status in (DONE, PARTIAL):
            replace_folder(output, folder / stage.folder)
        else:  # an old result must not pass for the new one
            remove_folder(folder / stage.folder)
    finally:
        remove_folder(output)
    record = Record(
        stage=name,
        status=outcome.status,
        reason=outcome.reason,
        fingerprint=mark,
        inputs=inputs,
        outputs=_sizes(folder, stage.folder),
        problems=outcome.problems,
        config_hash=config.section_hash(*stage.sections),
        versions=package_versions(),
        started=started,
        seconds=round(time.perf_counter() - clock, 3),
        # Without a peak of its own, the least it can have been: the engine knows more.
        peak_memory_mb=round(peak_memory_mb() if anew else current_memory_mb(), 1),
    )
    if before is None or (before.fingerprint, before.status) != (mark, record.status):
        _forget_dependants(name, folder)
    write_record(folder, record)
    return record


def _forget_dependants(name: str, folder: Path) -> None:
    """Results that were made from an earlier result of this stage no longer count."""
    for other in STAGES:
        if name in get_stage(other).needs:
            record_path(folder, other).unlink(missing_ok=True)


def _run(
    stage: Stage,
    course: Course,
    folder: Path,
    output: Path,
    config: Config,
    overrides: Overrides | None,
    progress: Progress,
) -> Outcome:
    """The stage's outcome; this is the boundary where an unexpected error costs one stage only."""
    for needed in stage.needs:
        record = valid_record(folder, needed)
        if record is None or record.status == FAILED:
            why = record.reason if record else "it has not run"
            return Outcome(SKIPPED, f"stage {needed} gave no result: {why}")
    if overrides is None and stage.decisions:
        return _undecidable(stage, folder)
    decisions = overrides or Overrides()
    own = decisions.applied_to(config)
    try:
        return stage.run(Task(course, folder, output, own, decisions, progress))
    except RTPipelineError as error:
        return _failed(stage, error)
    except MemoryError:
        raise  # no failure in words: the engine tries again with more memory
    except Exception as error:
        log.error("%s", traceback.format_exc())
        try:
            check_space(output)
        except OutputError as full:
            return _failed(stage, full)
        what = traceback.extract_tb(error.__traceback__)[-1]
        message = (
            f"internal error in stage {stage.name}: {type(error).__name__}: {error} "
            f"({Path(what.filename).name}, line {what.lineno}); please report it with the file "
            f"logs/{stage.name}.log"
        )
        return Outcome(FAILED, message, (Problem(stage.name, "error", message),))


def _undecidable(stage: Stage, folder: Path) -> Outcome:
    """The outcome of a stage whose course has decisions that cannot be read."""
    try:
        read_course_overrides(folder)
        reason = f"{folder / OVERRIDES_FILE} was corrected while the run went on; run again"
    except ConfigError as error:
        reason = str(error)
    problem = Problem(stage.name, "error", reason, str(folder / OVERRIDES_FILE))
    return Outcome(FAILED, reason, (problem,))


def _failed(stage: Stage, error: RTPipelineError) -> Outcome:
    log.error("%s", error)
    path = getattr(error, "path", None) or ""
    return Outcome(FAILED, str(error), (Problem(stage.name, "error", str(error), path),))


def _sizes(folder: Path, name: str) -> dict[str, int]:
    """Size of every file of a stage's output, by its path in the course folder."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted((folder / name).rglob("*"))
        if path.is_file()
    }


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    found = {"python": host.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
