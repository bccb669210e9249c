"""Courses of a folder that a person chose: an output folder, one course of it, or plain DICOM."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ..course import COURSE_FILE, OpenCourse, course_folders, open_course
from ..dicom.index import Index
from ..errors import UsageError
from ..linking import link_courses
from ..linking.inputs import inputs_of
from ..run.courses import new_course_id


def find_courses(folder: str | Path) -> list[OpenCourse]:
    """The courses of `folder`, by patient and course.

    An output folder or a course folder gives what the pipeline made; any other folder is read as
    DICOM, and its courses (linked as `rtpipeline run` links them without a configuration) lie in no
    folder: their `folder` does not exist. Needs only what Slicer ships. Raises `UsageError` when
    the folder is none or holds nothing that could be shown.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; choose an output folder or a DICOM folder")
    if (folder / COURSE_FILE).is_file():
        return [open_course(folder)]
    made = course_folders(folder)
    if made:
        return [open_course(path) for path in made]
    return _of_dicom(folder)


def _of_dicom(folder: Path) -> list[OpenCourse]:
    root = folder.resolve()
    with TemporaryDirectory() as scratch, Index(Path(scratch) / "index.sqlite") as index:
        report = index.update(root)
        courses = link_courses(inputs_of(index), dicom_root=str(root))
    if not courses:
        raise UsageError(
            f"no courses in {folder}: {report.files} files looked at, {report.unreadable} of them "
            "not readable; choose the folder that holds the DICOM export"
        )
    nowhere = root / "(not processed)"
    named = [replace(course, course_id=new_course_id(course)) for course in courses]
    return [OpenCourse(nowhere / c.course_id, c) for c in named]
