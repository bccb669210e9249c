"""Plans, doses and treatment records of a course as the choice of its dose sees them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..course import Course, ObjectEntry
from ..dicom.dose import read_dose
from ..dose.facts import BeamDelivery, DoseCandidate, PlanFacts, deliveries_from_summary
from ..errors import DataError
from .course_doses import CourseDoses


def plan_facts(course: Course) -> list[PlanFacts]:
    """The course's plans as the selection and the prescription see them."""
    return [PlanFacts.from_summary(p.sop_uid, p.summary) for p in course.of_kind("rtplan")]


def candidates_of(course: Course, doses: CourseDoses) -> list[DoseCandidate]:
    """The course's doses; a dose that names no plan belongs to the one that it was linked to. The
    lowest frame of a stack stands for all of it."""
    parts = {uid for members in doses.stacks.values() for uid in members[1:]}
    entries = [entry for entry in course.of_kind("rtdose") if entry.sop_uid not in parts]
    contents = _contents(course, entries)
    candidates = []
    for entry in entries:
        candidate = DoseCandidate.from_summary(
            entry.sop_uid, entry.frame_uid, entry.summary, contents.get(entry.sop_uid, "")
        )
        linked = tuple(p.sop_uid for p, how in course.targets_of(entry.sop_uid, "rtplan"))
        if (linked and not candidate.plan_uids) or _by_user(course, entry):
            candidate = replace(candidate, plan_uids=linked)
        candidates.append(candidate)
    return candidates


def _by_user(course: Course, entry: ObjectEntry) -> bool:
    return any(how == "user" for _, how in course.targets_of(entry.sop_uid, "rtplan"))


def _contents(course: Course, entries: Sequence[ObjectEntry]) -> dict[str, str]:
    """Hashes that tell equal doses under two UIDs apart from two doses. Only doses that could be
    the same one are read: of one plan, type and size."""
    alike: dict[tuple, list[ObjectEntry]] = {}
    for entry in entries:
        summary = entry.summary
        keys = ("summation_type", "dose_type", "rows", "columns", "frames", "position", "scaling")
        key = (str(summary.get("plan_uids")), *(str(summary.get(name)) for name in keys))
        alike.setdefault(key, []).append(entry)
    contents = {}
    for group in alike.values():
        if len(group) > 1:
            for entry in group:
                contents[entry.sop_uid] = _content(course.path_of(entry))
    return contents


def _content(path: Path) -> str:
    try:
        dose = read_dose(path)
    except DataError:
        return ""  # it is refused, with its reason, when it is used
    digest = hashlib.sha256(dose.array_gy.tobytes())
    digest.update(dose.grid.corners_mm().tobytes())
    return digest.hexdigest()


def deliveries_of(course: Course) -> list[BeamDelivery]:
    """What the course's treatment records report."""
    return [
        d for record in course.of_kind("record") for d in deliveries_from_summary(record.summary)
    ]
