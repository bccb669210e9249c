"""The structures of a course that stand in none of its RTSTRUCTs: what models and DICOM SEG objects
hold, and what a person edited.

Edited structures are the RTSTRUCTs `edited/RS_*.dcm` of the course's folder (3D Slicer writes them
there). Their source is `edited`; they stand beside those they were made from, never in their place.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..course import edited_files
from ..dicom.structures import StructureSet, read_structure_set
from ..errors import DataError
from ..model import EDITED, Contours, ImagePlanes, Mask
from . import Problem, Task
from .automatic import automatic_structures
from .load import planning_planes


def further_structures(task: Task, problems: list[Problem]) -> list[Contours | Mask]:
    """All of them with standard names; a file that cannot be used is a problem and costs its
    structures only."""
    return [*automatic_structures(task, problems), *edited_structures(task, problems)]


def edited_structures(task: Task, problems: list[Problem]) -> list[Contours]:
    """The edited ROIs with a contour, in the planes of the planning image."""
    planes = planning_planes(task.folder)
    found: list[Contours] = []
    for path in edited_files(task.folder):
        try:
            found += _of_file(task, path, planes)
        except DataError as error:
            name = path.relative_to(task.folder).as_posix()
            problems.append(Problem(name, "error", str(error), str(path)))
    return found


def _of_file(task: Task, path: Path, planes: dict[str, ImagePlanes]) -> list[Contours]:
    from .naming import named_rois  # reads configurations, which Slicer alone cannot

    content = read_structure_set(path)
    _check_place(task, path, content)
    return [
        replace(roi, source=EDITED, image_planes=planes.get(roi.frame_uid))
        for roi in named_rois(content, task.config, task.overrides.names)
        if roi.is_drawn
    ]


def _check_place(task: Task, path: Path, content: StructureSet) -> None:
    """Raise `DataError` for contours that lie in none of the course's frames of reference."""
    course = task.course
    frames = {item.frame_uid for item in (*course.images, *course.objects)} - {""}
    strange = sorted({roi.frame_uid for roi in content.rois} - frames)
    if strange:
        raise DataError(
            f"{path} has contours in the frame of reference {strange[0] or '(none)'}, which is "
            f"none of course {course.course_id}; edit and export them on an image of this course",
            path,
        )
