"""The prescription of a course: the user's table, what the plans say, and which targets contain
which."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..course import Course
from ..dicom.structures import read_structure_set
from ..dose.facts import PlanFacts
from ..dose.prescription import NEEDS_DECISION, prescription_of
from ..dose.select import DECIDED, DoseDecision
from ..errors import DataError
from ..model import Contours, Prescription, is_target
from ..structures.containment import share_inside
from . import Problem, Task
from .rx_file import read_prescriptions

# A target with at least this share of its volume inside another is contained in it, with at most
# that share it is not: margins and the contours' resolution leave slivers. In between a person
# says, except of a target that itself contains the other and has less than MOST of it inside.
CONTAINED, MOST, OUTSIDE = 0.95, 0.5, 0.05


@dataclass(frozen=True)
class RoiHeader:
    """A structure as the prescription sees it, from the header alone."""

    name: str
    number: int
    is_target: bool


def roi_headers(course: Course) -> list[RoiHeader]:
    """The structures of a course's structure sets; what two of them have alike stands once."""
    rois = [roi for s in course.of_kind("rtstruct") for roi in s.summary.get("rois") or ()]
    found = (
        RoiHeader(
            str(roi["name"]),
            int(roi["number"] or 0),
            is_target(str(roi["name"]), str(roi.get("interpreted_type") or "")),
        )
        for roi in rois
    )
    return list(dict.fromkeys(found))


def user_table(task: Task) -> Sequence[Mapping[str, object]]:
    """The user's prescription: what was decided for this course, else the rows of the file."""
    if task.overrides.prescription:
        return task.overrides.prescription
    path = task.config.prescription.file
    if path is None:
        return ()
    return read_prescriptions(path, task.course.patient_id, task.course.course_id)


def total_prescription(
    task: Task,
    plans: Sequence[PlanFacts],
    rois: Sequence[RoiHeader],
    decision: DoseDecision,
    table: Sequence[Mapping[str, object]],
    problems: list[Problem],
) -> Prescription:
    """The prescription of the course's total.

    Where phases prescribe to different targets, the contours tell which target contains which. A
    sum of courses has the prescription that the user wrote down for it and no other.
    """
    if task.course.sum_of and not table:
        return Prescription(())
    from_name = task.config.prescription.from_name
    found = prescription_of(plans, rois, decision, table, from_name=from_name)
    targets = [roi for roi in rois if roi.is_target]
    numbers = [roi.number for roi in targets]
    if NEEDS_DECISION not in found.flags or decision.status != DECIDED or len(targets) < 2:
        return found
    if len(set(numbers)) < len(numbers):  # structure sets that number their ROIs differently
        return found
    shares = target_shares(task.course, targets, problems)
    bound = {level.roi_number for level in found.levels}
    names = {roi.number: roi.name for roi in targets}
    unclear = {
        (inner, outer): share
        for (inner, outer), share in shares.items()
        if (OUTSIDE if shares[outer, inner] < CONTAINED else MOST) < share < CONTAINED
    }
    for (inner, outer), share in unclear.items():
        if {inner, outer} <= bound:
            message = (
                f"{names[inner]} lies {100 * share:.0f} % inside {names[outer]}, which leaves open "
                "what was prescribed to it; write it under prescription in overrides.yaml"
            )
            problems.append(Problem("prescription", "warning", message))
            return found
    clear = [roi for roi in targets if roi.number not in {inner for inner, _ in unclear}]
    contains = {
        inner: tuple(o for o in numbers if shares.get((inner, o), 0.0) >= CONTAINED)
        for inner in numbers
    }
    return prescription_of(plans, clear, decision, table, contains=contains, from_name=from_name)


def target_shares(
    course: Course, targets: Sequence[RoiHeader], problems: list[Problem]
) -> dict[tuple[int, int], float]:
    """By the numbers of two targets: the share of the first one's volume inside the second.

    Targets without volume have no entry; an unreadable structure set is a problem.
    """
    contours: dict[tuple[int, str], Contours] = {}
    wanted = {(roi.number, roi.name) for roi in targets}
    for entry in course.of_kind("rtstruct"):
        try:
            rois = read_structure_set(course.path_of(entry)).rois
        except DataError as error:
            problems.append(Problem("prescription", "warning", str(error), entry.path))
            continue
        for roi in rois:
            key = roi.number, roi.name
            if key in wanted and (key not in contours or not len(contours[key])):
                contours[key] = roi
    drawn = [roi for roi in contours.values() if len(roi)]
    pairs = ((a, b) for a in drawn for b in drawn if a is not b)
    shares = {(a.number, b.number): share_inside(a, b) for a, b in pairs}
    return {pair: share for pair, share in shares.items() if not math.isnan(share)}
