"""The structures of a course that stand in no RTSTRUCT: those that the stage `segment` left, and
those of its DICOM SEG objects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..dicom.segmentation import read_segmentation
from ..errors import DataError
from ..model import Mask
from . import Problem, Task
from .facts import read_facts
from .seg_nrrd import read_segments

SEGMENTATION_FILE = "segmentation/segmentation.json"

# The source of structures in the course's own DICOM SEG objects.
SEG = "seg"
# Kinds of objects that hold structures; stages that measure them depend on these files.
STRUCTURE_KINDS = ("rtstruct", "seg")


def automatic_structures(task: Task, problems: list[Problem]) -> list[Mask]:
    """What models found in the images of a course, and the segments of its DICOM SEG objects, with
    standard names; a file that cannot be read is a problem and costs these structures only."""
    from .naming import named, naming_for  # reads configurations, which Slicer alone cannot

    masks = []
    try:
        masks += automatic_masks(task.folder)
    except DataError as error:
        problems.append(Problem("automatic structures", "error", str(error)))
    for entry in task.course.of_kind("seg"):
        try:
            masks += _segments_of(task.course.path_of(entry), entry.frame_uid)
        except DataError as error:
            path = str(getattr(error, "path", None) or "")
            problems.append(Problem(entry.path, "error", str(error), path))
    return named(masks, naming_for(task.config, task.overrides.names))


def _segments_of(path: Path, frame_uid: str) -> list[Mask]:
    """The segments of a DICOM SEG, in its own frame of reference or else that of the course."""
    found = read_segmentation(path)
    return [
        replace(
            mask,
            frame_uid=mask.frame_uid or frame_uid,
            structure_set_uid=found.sop_uid,
            source=SEG,
        )
        for mask in found.masks
    ]


def automatic_masks(folder: Path) -> list[Mask]:
    """What models found in the images of a course; empty where none ran.

    Raises `DataError` when a file that the manifest names cannot be read.
    """
    found: list[Mask] = []
    for row in read_facts(folder, SEGMENTATION_FILE).get("models") or ():
        if "file" not in row:
            continue
        path = (folder / SEGMENTATION_FILE).with_name(row["file"])
        masks = {mask.name: mask for mask in read_segments(path)}
        found += [
            replace(
                masks[name],
                number=structure["number"],
                frame_uid=row["frame_uid"],
                interpreted_type="ORGAN",
                structure_set_uid=row.get("structure_set_uid", ""),
                source=row["source"],
                flags=("segmentation-partial",) if row["status"] == "partial" else (),
            )
            for name, structure in row["structures"].items()
            if name in masks
        ]
    return found
