"""`rtpipeline stage NAME COURSE_DIR`: one stage of one course; what every engine calls."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from . import ALL_DONE, SOME_FAILED

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("name", metavar="NAME", help="load, dose, dvh or report")
    parser.add_argument("course_dir", metavar="COURSE_DIR", type=Path)
    parser.add_argument(
        "--config", metavar="F", type=Path, help="default: OUT/config.yaml, if there"
    )
    parser.add_argument("--overrides", metavar="F", type=Path, help="decisions kept outside OUT")
    parser.add_argument("--progress", choices=["json", "none"], default="none")
    # An engine passes its process number, so that the stage ends when the engine does.
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)


def main(arguments: argparse.Namespace) -> int:
    """Run the stage; its result is in its record, the exit status says whether it failed."""
    from ..config import load_config
    from ..course import read_course
    from ..overrides import decisions_for, read_overrides_file
    from ..platform import exit_with_parent
    from ..run.execute import execute
    from ..stages import check_names

    if arguments.parent is not None:
        exit_with_parent(arguments.parent)
    check_names([arguments.name])
    folder = arguments.course_dir.resolve()
    course = read_course(folder)
    used = folder.parent.parent / "config.yaml"
    config = load_config(arguments.config or (used if used.exists() else None))
    outside = read_overrides_file(arguments.overrides) if arguments.overrides else {}
    overrides = decisions_for(folder, course, outside)
    record = execute(
        arguments.name,
        folder,
        config,
        overrides,
        _print_json(arguments.name) if arguments.progress == "json" else lambda *_: None,
    )
    log.info(
        "%s: %s%s", record.stage, record.status, f" ({record.reason})" if record.reason else ""
    )
    return SOME_FAILED if record.is_failure else ALL_DONE


def _print_json(stage: str):
    def show(done: int, total: int, message: str) -> None:
        event = {"event": "progress", "stage": stage, "done": done, "total": total}
        print(json.dumps({**event, "message": message}), flush=True)

    return show
