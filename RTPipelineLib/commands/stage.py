"""`rtpipeline stage NAME COURSE_DIR`: one stage of one course; what every engine calls."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from ..stages import STAGES
from . import ALL_DONE, SOME_FAILED

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("name", metavar="NAME", help=", ".join(STAGES))
    parser.add_argument("course_dir", metavar="COURSE_DIR", type=Path)
    parser.add_argument(
        "--config", metavar="F", type=Path, help="default: OUT/config.yaml, if there"
    )
    parser.add_argument("--overrides", metavar="F", type=Path, help="decisions kept outside OUT")
    parser.add_argument("--progress", choices=["json", "none"], default="none")
    # An engine that calls this command holds the lock of OUT itself, and what holds it keeps.
    parser.add_argument("--from-engine", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--force", action="store_true", help=argparse.SUPPRESS)


def main(arguments: argparse.Namespace) -> int:
    """Run the stage; its result is in its record, the exit status says whether it failed."""
    from ..config import load_config
    from ..course import COURSE_FILE, read_course
    from ..errors import OutputError, UsageError
    from ..overrides import decisions_for, read_overrides_file
    from ..platform import FolderLock
    from ..run.ledger import light, valid_record
    from ..run.local import Job, LocalEngine
    from ..stages import check_names

    check_names([arguments.name])
    folder = arguments.course_dir.resolve()
    if not (folder / COURSE_FILE).is_file():
        raise UsageError(
            f"{folder} is not a course folder: it has no {COURSE_FILE}; give OUT/<patient>/<course>"
        )
    out = folder.parent.parent
    if not arguments.from_engine:
        FolderLock(out).refuse_if_held()
    used = out / "config.yaml"
    path = arguments.config or (used if used.exists() else None)
    others = arguments.overrides.resolve() if arguments.overrides else None
    outside = read_overrides_file(others) if others else {}
    job = Job(folder, decisions_for(folder, read_course(folder), outside), (arguments.name,))
    report = _print_json if arguments.progress == "json" else lambda *_: None
    config = load_config(path)
    path = path.resolve() if path else None
    force = arguments.force or not arguments.from_engine
    engine = LocalEngine(config, path, others, jobs=1, force=force, report=report)
    ((record,),) = engine.run([job]).values()
    message = f"{record.stage}: {record.status}{f' ({record.reason})' if record.reason else ''}"
    noted = valid_record(folder, record.stage)
    if record.is_failure and (noted is None or light(noted) != record):
        # An engine takes status 3 for a record, and an old one must not pass for this.
        raise OutputError(f"{message}; its record could not be written to {folder}")
    log.log(logging.ERROR if record.is_failure else logging.INFO, "%s", message)
    return SOME_FAILED if record.is_failure else ALL_DONE


def _print_json(course: str, stage: str, done: int, total: int, message: str) -> None:
    event = {"event": "progress", "stage": stage, "done": done, "total": total}
    print(json.dumps({**event, "message": message}), flush=True)
