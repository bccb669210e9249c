"""`rtpipeline report OUT`: the HTML report of an output folder, made anew."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from . import ALL_DONE

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("out", metavar="OUT", type=Path)


def main(arguments: argparse.Namespace) -> int:
    """Write the courses' pages that are out of date, `results/report.html` and
    `results/methods.html`, and say where the cohort's is."""
    from ..config import load_config
    from ..run.cohort_report import write_cohort_report
    from ..run.course_pages import renew_course_pages
    from ..run.methods import write_methods
    from ..run.output import existing_output, hold_output

    out = existing_output(arguments.out)
    with hold_output(out, "report"):
        config = load_config(out / "config.yaml")
        renewed = renew_course_pages(out, config)
        path = write_cohort_report(out)
        write_methods(out, config)
    log.info("%d pages of courses made anew", renewed)
    log.info("%s", path)
    return ALL_DONE
