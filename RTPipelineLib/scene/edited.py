"""Segments that a person edited, back to the course as an RTSTRUCT of the source `edited`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import slicer

from ..course import EDITED_FOLDER, OpenCourse
from ..dicom.dataset import read_dataset
from ..dicom.write import ImageReference, write_structure_set
from ..errors import DataError
from ..model import EDITED, Contours
from ..structures.outlines import outlines
from .segmentations import masks_of


def contours_of(node: slicer.vtkMRMLSegmentationNode, frame_uid: str = "") -> list[Contours]:
    """The segments as contours in their slices, in `frame_uid` where they have no frame yet.

    Raises `DataError` when no segment has a volume.
    """
    masks = masks_of(node)
    if not masks:
        raise DataError(f"segmentation {node.GetName()} has no segment with a volume")
    drawn = [outlines(mask) for mask in masks]
    return [replace(roi, frame_uid=roi.frame_uid or frame_uid, source=EDITED) for roi in drawn]


def export_edited(
    node: slicer.vtkMRMLSegmentationNode, course: OpenCourse, path: str | Path | None = None
) -> Path:
    """Write the segments as an RTSTRUCT on the course's planning image and return its path.

    Without `path` it becomes `edited/RS_<name>.dcm` of the course folder. Raises `DataError` when
    the course has no image, or no folder and no `path` was given.
    """
    image = course.course.planning_image
    if image is None:
        raise DataError(f"course {course.course_id} has no image that contours could refer to")
    if path is None:
        if not course.folder.is_dir():
            raise DataError(
                f"course {course.course_id} has not been processed and has no folder; "
                "name a file to export to"
            )
        path = course.folder / EDITED_FOLDER / f"RS_{_file_name(node.GetName())}.dcm"
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    slices = [
        read_dataset(file, stop_before_pixels=True) for file in course.course.image_paths(image)
    ]
    write_structure_set(
        path,
        contours_of(node, image.frame_uid),
        patient_from=slices[0],
        image=ImageReference.of(slices),
        label=EDITED,
        description="Contours edited in 3D Slicer",
    )
    return path


def _file_name(text: str) -> str:
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in text)
    return kept.strip("_")[:40] or EDITED
