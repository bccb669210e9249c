"""`rtpipeline status OUT`: what ran, failed, or waits for a decision. Only reads, also while a run
goes on."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from . import ALL_DONE, SOME_FAILED, show

if TYPE_CHECKING:
    from ..run.state import CourseState

SHOWN = 40  # courses in full, without --all
LAST_LINES = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("out", metavar="OUT", type=Path)
    parser.add_argument("--course", metavar="C", help="this course alone: PATIENT/COURSE")
    parser.add_argument(
        "--stage-log", metavar="STAGE", help="the end of that stage's log (with --course)"
    )
    parser.add_argument("--all", action="store_true", help=f"all courses, not the first {SHOWN}")


def main(arguments: argparse.Namespace) -> int:
    """Print counts for the cohort and, of the courses that need a person first, the details."""
    from ..course import find_course
    from ..errors import UsageError
    from ..run.output import existing_output
    from ..run.state import course_state, course_states, run_line

    out = existing_output(arguments.out)
    if arguments.stage_log and not arguments.course:
        raise UsageError("--stage-log shows one course's log: add --course PATIENT/COURSE")
    if arguments.course:
        folder = find_course(out, arguments.course)
        if arguments.stage_log:
            return _show_log(folder, arguments.stage_log)
        state = course_state(folder, out)
        _show_course(state, out)
        return SOME_FAILED if state.failed or state.problem else ALL_DONE
    show(run_line(out))
    limit = None if arguments.all else SHOWN
    counts: Counter[tuple[str, str]] = Counter()
    urgent: list[CourseState] = []
    quiet: list[CourseState] = []
    number, failed, waiting = 0, 0, 0
    for state in course_states(out):
        number += 1
        failed += bool(state.failed or state.problem)
        waiting += bool(state.question)
        counts.update((stage, state.state_of(stage)) for stage in _stages())
        kept = urgent if state.needs_attention or state.running else quiet
        if limit is None or len(kept) < limit:
            kept.append(state)
    show(f"{number} courses: {failed} with failures, {waiting} wait for a decision")
    for stage in _stages():
        found = [f"{n} {word}" for (name, word), n in sorted(counts.items()) if name == stage]
        show(f"  {stage:<11} {', '.join(found) or '-'}")
    shown = [*urgent, *quiet][:limit]
    if limit is None:
        shown.sort(key=lambda state: state.folder)
    for state in shown:
        _show_course(state, out)
    if len(shown) < number:
        show(f"  and {number - len(shown)} more courses: --all, or results/courses")
    return SOME_FAILED if failed else ALL_DONE


def _stages() -> tuple[str, ...]:
    from ..stages import STAGES

    return STAGES


def _show_course(state: CourseState, out: Path) -> None:
    """One line of states, and below it what needs a person's attention."""
    if state.problem:
        show(f"  {state.name}: {state.problem}")
        return
    states = ", ".join(f"{stage} {state.state_of(stage)}" for stage in _stages())
    show(f"  {state.patient_id or '(no PatientID)'} / {state.course_id}: {states}")
    for remark in state.remarks:
        show(f"      {remark}")
    for record in state.failed:
        command = f"rtpipeline status '{out}' --course '{state.name}' --stage-log {record.stage}"
        show(f"      log: {command}")
    if state.question:
        show(f"      needs a decision: {state.question}")


def _show_log(folder: Path, stage: str) -> int:
    from ..errors import UsageError
    from ..stages import check_names

    check_names([stage])
    path = folder / "logs" / f"{stage}.log"
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); has {stage} run?") from error
    if len(lines) > LAST_LINES:
        show(f"the last {LAST_LINES} of {len(lines)} lines of {path}:")
    for line in lines[-LAST_LINES:]:
        show(line)
    return ALL_DONE
