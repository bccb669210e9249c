"""`rtpipeline aggregate OUT`: the cohort tables of an output folder, made anew."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from . import ALL_DONE, SOME_FAILED

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("out", metavar="OUT", type=Path)


def main(arguments: argparse.Namespace) -> int:
    """Aggregate under the lock of the output folder."""
    from ..config import load_config
    from ..run.aggregate import aggregate
    from ..run.output import existing_output, hold_output

    out = existing_output(arguments.out)
    with hold_output(out, "aggregate"):
        summary = aggregate(out, load_config(out / "config.yaml"))
    for line in summary.lines():
        log.info("%s", line)
    return SOME_FAILED if summary.has_failures else ALL_DONE
