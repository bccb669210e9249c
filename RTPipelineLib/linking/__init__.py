"""From single DICOM objects to courses: who refers to whom, and what belongs together.

The rules are those of the references themselves (RTDOSE -> RTPLAN -> RTSTRUCT -> images, PS3.3
C.8.8.3, C.8.8.1, C.8.8.5); where one is missing, the frame of reference and then the study stand in
for it, and the link says so. Nothing is linked by the words in a label.
"""

from __future__ import annotations

from ..course import Course
from .describe import course_of
from .graph import Corrections, Graph, Inputs
from .groups import FRAME, FRAME_OR_STUDY, PLAN, STUDY, as_date, merged, split

__all__ = [
    "FRAME",
    "FRAME_OR_STUDY",
    "PLAN",
    "STUDY",
    "Corrections",
    "Inputs",
    "course_date",
    "link_courses",
]


def link_courses(
    inputs: Inputs,
    *,
    dicom_root: str,
    merge: str = FRAME_OR_STUDY,
    max_days_between_plans: int | None = None,
    corrections: Corrections | None = None,
) -> list[Course]:
    """All courses among the objects, without IDs (`course_id` is empty), in a stable order.

    `merge` and `max_days_between_plans` are the configuration keys of these names.
    """
    graph = Graph(inputs, corrections or Corrections())
    groups = merged(graph, merge)
    if merge == PLAN:
        groups = [part for group in groups for part in split(graph, group, None)]
    elif max_days_between_plans is not None:
        groups = [part for group in groups for part in split(graph, group, max_days_between_plans)]
    courses = [course_of(graph, sorted(group), dicom_root) for group in groups]
    return sorted(courses, key=lambda c: (c.patient_id, course_date(c), sorted(c.uids)))


def course_date(course: Course) -> str:
    """The date a course is called by: of its first plan, else of its RT objects, else of its
    images."""
    plans = [str(p.summary.get("date") or "") for p in course.of_kind("rtplan")]
    objects = [str(o.summary.get("date") or o.study_date) for o in course.objects]
    images = [image.study_date for image in course.images]
    for dates in (plans, objects, images):
        known = sorted(d for d in dates if as_date(d) is not None)
        if known:
            return known[0]
    return ""
