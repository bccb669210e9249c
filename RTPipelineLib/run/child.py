"""A worker: a process that runs one stage after another for the local engine.

It reads one order a line from its standard input and answers in lines of JSON: `ready` once its
modules are loaded, then for each order `progress`, and at its end `ended` with the cause when there
is no record (`memory`: memory did not suffice; any other text: one sentence). Whatever a stage
prints goes to the log of that stage.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import logging
import sys
from pathlib import Path
from typing import TextIO

from ..config import Config, load_config
from ..course import read_course
from ..errors import RTPipelineError
from ..messages import send_messages
from ..overrides import Overrides, decisions_for, read_overrides_file
from ..platform import (
    adopt_orphans,
    die_with_starter,
    end_children,
    exit_with_parent,
    redirect_output,
    take_channel,
)
from ..stages import STAGES, get_stage
from .execute import execute

log = logging.getLogger(f"{__package__}.child")  # not __main__

MEMORY = "memory"
LAST_WORDS_S = 2.0  # before its time is up, a stage notes where it is


def main() -> int:
    """Serve until standard input is closed."""
    arguments = _arguments()
    orders, answers = take_channel()
    die_with_starter()
    exit_with_parent(arguments.parent)
    adopt_orphans()
    faulthandler.enable()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    send_messages([handler])
    config = load_config(arguments.config)
    outside = read_overrides_file(arguments.overrides) if arguments.overrides else {}
    for name in STAGES:
        get_stage(name)
    _say(answers, event="ready")
    for line in orders:
        cause = _serve(json.loads(line), config, outside, answers)
        left = end_children()
        if left:
            log.warning("%d processes that the stage had left running were ended", left)
        _say(answers, event="ended", cause=cause)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path)
    parser.add_argument("--overrides", type=Path)
    parser.add_argument("--parent", type=int, required=True)
    return parser.parse_args()


def _serve(order: dict, config: Config, outside: dict[str, Overrides], answers: TextIO) -> str:
    """Run one stage; returns why there is no record of it, or an empty text."""
    name, folder = order["stage"], Path(order["folder"])

    def progress(done: int, total: int, message: str) -> None:
        _say(answers, event="progress", done=done, total=total, message=message)

    limit = order["timeout_s"]
    faulthandler.dump_traceback_later(max(0.9 * limit, limit - LAST_WORDS_S))
    try:
        redirect_output(Path(order["log"]))
        decisions = decisions_for(folder, read_course(folder), outside)
        record = execute(name, folder, config, decisions, progress)
    except MemoryError:
        return MEMORY
    except RTPipelineError as error:
        log.error("%s", error)
        return str(error)
    except OSError as error:
        log.exception("stage %s", name)
        return f"{error.filename or folder}: {error.strerror or error}"
    except Exception as error:  # the worker goes on; the engine makes a row of it
        log.exception("stage %s", name)
        return f"internal error: {type(error).__name__}: {error}; please report it with this log"
    finally:
        faulthandler.cancel_dump_traceback_later()
    log.info("%s: %s %s", record.stage, record.status, record.reason)
    return ""


def _say(answers: TextIO, **event: object) -> None:
    answers.write(json.dumps(event) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
