"""`rtpipeline status OUT`: per course what ran, failed, or waits for a decision. Only reads."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import ALL_DONE, SOME_FAILED, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("out", metavar="OUT", type=Path)


def main(arguments: argparse.Namespace) -> int:
    """Print one line per course, and what needs a person's attention below it."""
    from ..course import course_folders, read_course
    from ..errors import DataError
    from ..run.ledger import valid_record
    from ..run.output import existing_output, read_run
    from ..stages import STAGES
    from ..stages.facts import course_row

    out = existing_output(arguments.out)
    run = read_run(out)
    show(f"{out}: run of {run['started']}, {run['state']}, RT Pipeline {run['version']}")
    failed = False
    for folder in course_folders(out):
        try:
            course = read_course(folder)
        except DataError as error:
            show(f"  {folder.parent.name}/{folder.name}: {error}")
            failed = True
            continue
        records = {name: valid_record(folder, name) for name in STAGES}
        states = [f"{name} {record.status if record else '-'}" for name, record in records.items()]
        show(f"  {course.patient_id or '(no PatientID)'} / {course.course_id}: {', '.join(states)}")
        for name, record in records.items():
            if record is not None and record.reason:
                show(f"      {name} {record.status}: {record.reason}")
            if record is not None and record.is_failure:
                show(f"      log: {folder / 'logs' / f'{name}.log'}")
                failed = True
        row = course_row(course, folder, out)
        if row["dose_decision"] == "needs-decision":
            show(f"      needs a decision: {row['dose_reason']}; edit {folder / 'overrides.yaml'}")
    return SOME_FAILED if failed else ALL_DONE
