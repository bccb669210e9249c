"""The automatic structures of a course, as the stage `segment` left them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..errors import DataError
from ..model import Mask
from . import Problem, Task
from .facts import read_facts
from .naming import named, naming_for
from .seg_nrrd import read_segments

SEGMENTATION_FILE = "segmentation/segmentation.json"


def automatic_structures(task: Task, problems: list[Problem]) -> list[Mask]:
    """What models found in the images of a course, with standard names; a file that cannot be read
    is a problem and costs these structures only."""
    try:
        masks = automatic_masks(task.folder)
    except DataError as error:
        problems.append(Problem("automatic structures", "error", str(error)))
        return []
    return named(masks, naming_for(task.config, task.overrides.names))


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
