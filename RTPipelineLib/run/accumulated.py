"""Courses of one patient added on request: the key `accumulate` as course folders of their own.

`OUT/<patient>/accumulated_<ids>/` holds the objects of all its members and what was decided about
their doses. The stages that read doses run on it as on any course: a sum that cannot be made is a
row like any other failure, and nothing runs again unless a member has changed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..config import Config
from ..config.keys import Accumulation
from ..course import (
    COURSE_FILE,
    PLANNING,
    SECONDARY,
    Course,
    Member,
    course_folders,
    read_course,
)
from ..dose.across import ACCUMULATED
from ..dose.choices import Choices
from ..errors import ConfigError, DataError
from ..linking import course_date
from ..overrides import Overrides, decisions_for
from ..platform import folder_name
from ..stages.dose import DOSE_FILE
from ..stages.facts import read_facts
from .courses import Placement, write_course
from .ledger import valid_record

log = logging.getLogger(__name__)

# What a sum of courses needs; the other stages have seen its images and contours already.
STAGES_OF_SUMS = ("load", "register", "dose", "dvh", "report")
# Course IDs of ours, and few enough of them for Windows' path limit.
_PLAIN = re.compile(r"[A-Za-z0-9_+-]{1,80}")


def accumulate(
    out: Path,
    config: Config,
    outside: Mapping[str, Overrides],
    patients: Collection[str] = (),
) -> list[Placement]:
    """Write the facts of every sum of courses that the configuration asks for, for these patients
    (empty: all), and put away those that it no longer asks for."""
    courses = _courses(out)
    wanted = planned_sums(out, config, outside, courses, patients)
    for placement in wanted:
        write_course(placement)
    asked_for = {_folder_of(request, courses, out) for request in config.accumulate}
    for folder in course_folders(out):
        if folder not in asked_for and _is_sum(folder):
            (folder / COURSE_FILE).replace(folder / "course.superseded.json")
            log.warning("%s is no longer asked for; its folder is kept and not counted", folder)
    return wanted


def planned_sums(
    out: Path,
    config: Config,
    outside: Mapping[str, Overrides],
    courses: Mapping[Path, Course],
    patients: Collection[str] = (),
) -> list[Placement]:
    """The sums of these courses (by folder) that the configuration asks for; writes nothing."""
    return [
        _placed(request, courses, out, outside)
        for request in config.accumulate
        if not patients or request.patient in patients
    ]


def _courses(out: Path) -> dict[Path, Course]:
    """The readable courses of the output folder that are no sums."""
    found = {}
    for folder in course_folders(out):
        try:
            course = read_course(folder)
        except DataError:
            continue  # `aggregate` reports it
        if not course.sum_of:
            found[folder] = course
    return found


def _is_sum(folder: Path) -> bool:
    try:
        return bool(read_course(folder).sum_of)
    except DataError:
        return False


def _folder_of(request: Accumulation, courses: Mapping[Path, Course], out: Path) -> Path:
    own = [folder for folder, course in courses.items() if course.patient_id == request.patient]
    parent = own[0].parent if own else out / folder_name(request.patient)
    name = _id_of(request)
    return parent / (name if _PLAIN.fullmatch(name) else folder_name(name))


def _id_of(request: Accumulation) -> str:
    return f"{ACCUMULATED}_{'+'.join(sorted(request.courses))}"


def _placed(
    request: Accumulation,
    courses: Mapping[Path, Course],
    out: Path,
    outside: Mapping[str, Overrides],
) -> Placement:
    own = {c.course_id: (f, c) for f, c in courses.items() if c.patient_id == request.patient}
    members = []
    for course_id in request.courses:
        if course_id in own:
            folder, course = own[course_id]
            members.append((_member(folder, course, outside), course))
        else:
            members.append((_unknown(request, course_id, list(own)), None))
    # In order of treatment; those without a date come last, as they were named.
    members.sort(key=lambda member: member[0].date or "9")
    found = [course for _, course in members if course is not None]
    course = _joined(request, [member for member, _ in members], found)
    return Placement(course, _folder_of(request, courses, out))


def _member(folder: Path, course: Course, outside: Mapping[str, Overrides]) -> Member:
    """A course's dose as it was decided; a problem where its stage `dose` gave no result."""
    day = course_date(course)
    decisions = decisions_for(folder, course, outside)
    record = valid_record(folder, "dose")
    try:
        facts = read_facts(folder, DOSE_FILE).get("decision") or {}
        choices = Choices.from_mapping(decisions.dose if decisions else None)
    except (DataError, ConfigError) as error:
        return Member(course.course_id, day, problem=str(error))
    if not facts:
        reason = record.reason if record else "the stage dose has not run"
        return Member(course.course_id, day, problem=reason or "it has no dose")
    normalisation = dict(choices.normalisation)
    return Member(course.course_id, day, decision=facts, normalisation=normalisation)


def _unknown(request: Accumulation, course_id: str, known: Sequence[str]) -> Member:
    there_are = f"there are {', '.join(sorted(known))}" if known else "it has none at all"
    problem = f"patient {request.patient} has no such course, {there_are}; correct accumulate"
    return Member(course_id, problem=problem)


def _joined(request: Accumulation, members: Sequence[Member], courses: Sequence[Course]) -> Course:
    """All objects of the members, each once; the planning image is that of the last."""
    images, objects, links, flags = {}, {}, {}, {}
    for course in reversed(courses):
        for image in course.images:
            is_planning = course is courses[-1] and image.role == PLANNING
            role = PLANNING if is_planning else SECONDARY
            images.setdefault(image.key, replace(image, role=role))
    for course in courses:
        objects |= {entry.sop_uid: entry for entry in course.objects}
        links |= dict.fromkeys(course.links)
        flags |= dict.fromkeys(course.flags)
    return Course(
        request.patient,
        _id_of(request),
        courses[-1].dicom_root if courses else "",
        tuple(images.values()),
        tuple(objects.values()),
        tuple(links),
        tuple(flags),
        tuple(members),
    )
