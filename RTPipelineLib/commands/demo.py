"""`rtpipeline demo [OUT]`: a synthetic cohort as real DICOM, and the pipeline on it."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from . import ALL_DONE, SOME_FAILED, run

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("out", metavar="OUT", type=Path, nargs="?", default=Path("demo-output"))
    run.add_run_options(parser)


def main(arguments: argparse.Namespace) -> int:
    """Make the cohort below OUT/dicom (once), run, and say what was planted and where to look.

    The cohort contains a corrupt file on purpose. The run itself reports it with status 3; the demo
    ends with 0 when exactly the planted fault was found.
    """
    from ..phantoms import planted_faults_found, prepare_cohort
    from ..run.pipeline import make_output_folder

    out = make_output_folder(arguments.out)
    arguments.dicom_dir, arguments.out = out / "dicom", out / "rtpipeline"
    prepare_cohort(arguments.dicom_dir)
    log.info("synthetic cohort in %s", arguments.dicom_dir)
    status = run.main(arguments)
    if status not in (ALL_DONE, SOME_FAILED) or arguments.dry_run:
        return status
    log.info("look at %s and %s", arguments.out / "results" / "report.html", "results.xlsx beside it")
    if planted_faults_found(arguments.out / "results" / "failures.csv"):
        log.info("the failure above was planted: the demo shows what a damaged file looks like")
        return ALL_DONE
    return SOME_FAILED
