"""What a run would do, said without writing anything."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..config import Config
from ..course import Course
from ..overrides import Overrides, decisions_for
from ..platform import available_cores
from ..stages import get_stage
from .accumulated import STAGES_OF_SUMS, planned_sums
from .courses import Placement
from .estimate import estimate
from .find import chosen_courses, find_courses
from .ledger import current_record
from .request import RunRequest

log = logging.getLogger(__name__)


def dry_run(
    request: RunRequest, config: Config, outside: Mapping[str, Overrides], stages: tuple[str, ...]
) -> None:
    """Print per course which stages would run, and say what that would take. The index goes to a
    temporary file."""
    with tempfile.TemporaryDirectory() as scratch:
        placements = find_courses(request, Path(scratch) / "index.sqlite", config, outside)
    out = request.out.resolve()
    chosen = chosen_courses(placements, request.patients)
    plan = [_due(p, stages, request, config, outside) for p in chosen]
    unfinished = {(c.patient_id, c.course_id) for c, due in plan if "dose" in due}
    courses = {p.folder: p.course for p in placements}
    of_sums = tuple(name for name in stages if name in STAGES_OF_SUMS)
    for placement in planned_sums(out, config, outside, courses, request.patients):
        course = placement.course
        if unfinished & {(course.patient_id, member.course_id) for member in course.sum_of}:
            plan.append((course, list(of_sums)))
        else:
            plan.append(_due(placement, of_sums, request, config, outside))
    for course, due in plan:
        print(f"{course.patient_id}\t{course.course_id}\t{', '.join(due) or 'nothing to do'}")
    jobs = request.jobs or config.run.jobs or available_cores()
    for line in estimate(plan, out).lines(jobs):
        log.info("%s", line)


def _due(
    placement: Placement,
    stages: Sequence[str],
    request: RunRequest,
    config: Config,
    outside: Mapping[str, Overrides],
) -> tuple[Course, list[str]]:
    """The stages of a course that would run: from the first one on whose result does not hold."""
    course, folder = placement.course, placement.folder
    decisions = decisions_for(folder, course, outside)
    due: list[str] = []
    for name in stages:
        known = folder.is_dir() and not request.force and not due and decisions is not None
        if not known or not current_record(get_stage(name), course, folder, config, decisions):
            due.append(name)
    return course, due
