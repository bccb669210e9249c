"""`rtpipeline demo [OUT]`: a synthetic cohort as real DICOM, and the pipeline on it."""

from __future__ import annotations

import argparse
import csv
import json
import logging
from pathlib import Path

from . import ALL_DONE, SOME_FAILED, run

log = logging.getLogger(__name__)

# Planted faults that must end as rows of `failures`; the others end as flags or plain lists.
FAILURE_KINDS = {"truncated-dose"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("out", metavar="OUT", type=Path, nargs="?", default=Path("demo-output"))
    run.add_run_options(parser)


def main(arguments: argparse.Namespace) -> int:
    """Make the cohort in OUT/dicom (once), run into OUT/rtpipeline, say where to look.

    The cohort holds a damaged file on purpose, for which `run` ends with 3. The demo ends with 0
    when the failures are exactly the planted ones.
    """
    from ..run.output import make_output_folder

    out = make_output_folder(arguments.out)
    arguments.dicom_dir, arguments.out = out / "dicom", out / "rtpipeline"
    planted = _cohort(arguments.dicom_dir, out / "planted.json")
    status = run.main(arguments)
    if arguments.dry_run or status not in (ALL_DONE, SOME_FAILED):
        return status
    results = arguments.out / "results"
    found = _failed_files(results / "failures.csv")
    log.info("DICOM in %s; report, workbook and tables in %s", arguments.dicom_dir, results)
    if found == planted:
        log.info("The failure above was planted: this is what a damaged file looks like.")
        return ALL_DONE
    log.error("expected failures of %s, found %s", sorted(planted), sorted(found))
    return SOME_FAILED


def _cohort(folder: Path, note: Path) -> set[str]:
    """Make the cohort unless `note` says that it is complete; returns files that must fail."""
    from ..phantoms.cohort import make_cohort
    from ..platform import write_json

    if not note.exists():
        log.info("making a synthetic cohort in %s ...", folder)
        patients = make_cohort(folder)
        faults = [fault for patient in patients for fault in patient.faults]
        write_json(note, [{"kind": f.kind, "path": f.path, "says": f.says} for f in faults])
    faults = json.loads(note.read_text(encoding="utf-8"))
    return {fault["path"] for fault in faults if fault["kind"] in FAILURE_KINDS}


def _failed_files(path: Path) -> set[str]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return {row["file"] for row in csv.DictReader(file)}
