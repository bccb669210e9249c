"""Courses on disk: which folder a course has, and the ID that it keeps.

An ID is given once. When objects arrive later, the course is recognised by the UIDs that it shares
with a folder that exists.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from ..course import COURSE_FILE, Course, course_folders, read_course
from ..errors import DataError
from ..linking import course_date
from ..overrides import OVERRIDES_FILE, TEMPLATE
from ..platform import folder_name, write_json, write_text

log = logging.getLogger(__name__)

# Long enough to tell plans apart, short enough for Windows' path limit below OUT/<patient>/.
LABEL_LENGTH = 24
NO_ID = "NOID-"


@dataclass(frozen=True)
class Placement:
    """A course with its ID and folder; `superseded` lists folders whose objects are now part of
    it."""

    course: Course
    folder: Path
    superseded: tuple[Path, ...] = ()


def place(courses: Sequence[Course], out: Path) -> list[Placement]:
    """Give every course its folder below `out` and its ID, the old ones where it is known already.

    Nothing is written. The order of `courses` decides who gets a new name first; it is stable.
    """
    known = _known_courses(out)
    home, superseded = _recognised(courses, known)
    taken = set(known)
    placements: list[Placement] = []
    for number, course in enumerate(courses):
        folder = home.get(number)
        if folder is not None:
            course_id = known[folder].course_id
        else:
            folder, course_id = _new_folder(course, out, taken)
            taken.add(folder)
        named = replace(course, course_id=course_id)
        placements.append(Placement(named, folder, tuple(superseded[number])))
    return placements


def _recognised(
    courses: Sequence[Course], known: Mapping[Path, Course]
) -> tuple[dict[int, Path], dict[int, list[Path]]]:
    """By number of the course: its old folder, and the folders whose objects it has taken over.

    Courses may share objects (a registration, the image of plans that stand alone), so a folder
    goes to the course that has most of it, the best pair of all first.
    """
    holders: dict[str, list[Path]] = defaultdict(list)
    for folder, old in known.items():
        for uid in old.uids:
            holders[uid].append(folder)
    pairs = [
        (-shared, number, folder)
        for number, course in enumerate(courses)
        for folder, shared in Counter(f for uid in course.uids for f in holders[uid]).items()
    ]
    home: dict[int, Path] = {}
    superseded: dict[int, list[Path]] = defaultdict(list)
    given: set[Path] = set()
    for _, number, folder in sorted(pairs):
        if number not in home and folder not in given:
            home[number] = folder
            given.add(folder)
    for _, number, folder in sorted(pairs):
        if folder not in given:
            superseded[number].append(folder)
            given.add(folder)
    return home, superseded


def write_course(placement: Placement) -> None:
    """Write `course.json` and, once, a commented `overrides.yaml`. Unchanged facts are not
    rewritten."""
    folder = placement.folder
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if read_course(folder) == placement.course:
            return
    except DataError:
        pass  # missing, damaged or of another schema: it is written anew from the DICOM files
    if not (folder / OVERRIDES_FILE).exists():
        write_text(folder / OVERRIDES_FILE, TEMPLATE)
    write_json(folder / COURSE_FILE, placement.course.to_dict())


def retire(folder: Path, successor: Placement) -> None:
    """Take a folder out of the cohort whose objects are now part of another course. Its results
    stay; its `course.json` is kept as `course.superseded.json`."""
    (folder / COURSE_FILE).replace(folder / "course.superseded.json")
    log.warning(
        "course %s/%s is now part of %s; its folder is kept and no longer counted",
        folder.parent.name,
        folder.name,
        successor.course.course_id,
    )


def patient_folder(course: Course) -> str:
    """Folder name of the patient; objects without a PatientID are kept apart by their UIDs."""
    if course.patient_id:
        return folder_name(course.patient_id)
    first = sorted(course.uids)[0] if course.uids else ""
    return f"{NO_ID}{sha256(first.encode()).hexdigest()[:8]}"


def new_course_id(course: Course) -> str:
    """`2024-03_ProstateA`: month of the first plan (else of what is there) and a sanitised
    label."""
    day = course_date(course)
    month = f"{day[:4]}-{day[4:6]}" if day else "undated"
    return f"{month}_{_label(course)}"


def _label(course: Course) -> str:
    plans = sorted(
        course.of_kind("rtplan"), key=lambda p: (str(p.summary.get("date") or ""), p.sop_uid)
    )
    for plan in plans:
        words = re.findall(r"[A-Za-z0-9]+", plan.label)
        label = "".join(word[0].upper() + word[1:] for word in words)[:LABEL_LENGTH]
        if label:
            return label
    if plans:
        return "Plan"
    image = course.planning_image
    if image is not None:
        return re.sub(r"[^A-Za-z0-9]", "", image.modality) or "Image"
    return {"rtdose": "Dose", "rtstruct": "Structures"}.get(
        course.objects[0].kind if course.objects else "", "Objects"
    )


def _known_courses(out: Path) -> dict[Path, Course]:
    known = {}
    for folder in course_folders(out):
        try:
            course = read_course(folder)
        except DataError:
            continue  # it will be recognised by nobody and is reported by `aggregate`
        if not course.sum_of:  # whose objects are those of other courses
            known[folder] = course
    return known


def _no_id(folder: Path) -> bool:
    return folder.parent.name.startswith(NO_ID)


def _new_folder(course: Course, out: Path, taken: set[Path]) -> tuple[Path, str]:
    parent = out / patient_folder(course)
    base = new_course_id(course)
    # Patients without an ID are one value in the tables: their courses need names of their own.
    same = [f for f in taken if f.parent == parent or (_no_id(f) and not course.patient_id)]
    names = {folder.name.casefold() for folder in same}
    # A folder whose course.json is damaged is not among them: its course takes it back.
    name, number = base, 1
    while name.casefold() in names:
        number += 1
        name = f"{base}_{number}"
    return parent / name, name


def group_by_patient(placements: Sequence[Placement]) -> dict[str, list[Placement]]:
    """Placements by PatientID, for lists and for `--patients`."""
    groups: dict[str, list[Placement]] = defaultdict(list)
    for placement in placements:
        groups[placement.course.patient_id].append(placement)
    return dict(groups)
