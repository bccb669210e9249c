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
    parser.add_argument(
        "--roster", metavar="F.csv", type=Path, help="expected patients (default: of the last run)"
    )


def main(arguments: argparse.Namespace) -> int:
    """Aggregate under the lock of the output folder."""
    from ..config import load_config
    from ..dicom.pseudonyms import PseudonymKey
    from ..run.aggregate import aggregate, index_failures
    from ..run.output import existing_output, hold_output, read_run
    from ..run.pseudonymised import copy_failures, pseudonymous_roster
    from ..run.roster import read_roster

    out = existing_output(arguments.out)
    path = arguments.roster or read_run(out).get("roster")
    config = load_config(out / "config.yaml")
    roster = read_roster(Path(path)) if path else None
    if roster is not None and config.output.pseudonymise is not None:
        roster = pseudonymous_roster(roster, PseudonymKey(config.output.pseudonymise))
    with hold_output(out, "aggregate"):
        failures = [*copy_failures(out), *index_failures(out / "index.sqlite")]
        summary = aggregate(out, config, failures, roster)
    for line in summary.lines():
        log.info("%s", line)
    return SOME_FAILED if summary.has_failures else ALL_DONE
