"""`rtpipeline review`: a verdict on a course or one of its structures, or the verdicts so far."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import ALL_DONE, SOME_FAILED, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("out", metavar="OUT", type=Path)
    parser.add_argument("--course", metavar="C", required=True, help="PATIENT/COURSE")
    parser.add_argument("--roi", metavar="R", default="", help="a structure; default: the course")
    parser.add_argument(
        "--source", default="", help="who drew it, where several sources have this structure"
    )
    parser.add_argument(
        "--verdict",
        metavar="accept|reject|flag|comment",
        help="default: show the verdicts so far",
    )
    parser.add_argument("--by", metavar="NAME", default="", help="the reviewer")
    parser.add_argument("--comment", metavar="T", default="", help="in words")


def main(arguments: argparse.Namespace) -> int:
    """Write a verdict, or show those of the course."""
    from ..course import find_course
    from ..errors import UsageError
    from ..review import add_verdict
    from ..run.output import existing_output

    out = existing_output(arguments.out)
    folder = find_course(out, arguments.course)
    if arguments.verdict is None:
        if arguments.by or arguments.comment:
            raise UsageError("say what the verdict is: --verdict accept, reject, flag or comment")
        return _show(folder, arguments.roi)
    written = add_verdict(
        folder,
        arguments.verdict,
        arguments.by,
        roi=arguments.roi,
        source=arguments.source,
        comment=arguments.comment,
    )
    what = f"{written.item} ({written.source})" if written.item else "the course"
    where = f"{written.patient_id or '(no PatientID)'} / {written.course_id}"
    show(f"{written.verdict}: {what} of {where}, by {written.reviewer}")
    return ALL_DONE


def _show(folder: Path, roi: str) -> int:
    """All verdicts of the course, the newest last."""
    from ..review import review_rows

    rows, errors = review_rows(folder)
    rows = [row for row in rows if not roi or row["item"] == roi]
    for row in rows:
        what = f"{row['item']} ({row['source']})" if row["item"] else "course"
        words = f": {row['comment']}" if row["comment"] else ""
        when, verdict = row["time"][:16], row["verdict"]
        show(f"{when}  {verdict:<8}{what} by {row['reviewer']} [{row['state']}]{words}")
    if not rows:
        show("no verdicts yet")
    for error in errors:
        show(f"failed: {error}")
    return SOME_FAILED if errors else ALL_DONE
