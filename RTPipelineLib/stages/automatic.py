"""The automatic structures of a course, as the stage `segment` left them."""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError
from ..model import Mask
from . import Problem, Task
from .facts import read_facts
from .naming import named, naming_for
from .nrrd import read_nrrd

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
        try:
            array, grid = read_nrrd(path)
        except RuntimeError as error:
            raise DataError(
                f"{path} cannot be read; run the stage segment again with --force"
            ) from error
        for name, structure in row["structures"].items():
            part = tuple(slice(a, b) for a, b in structure["box"])
            k, j, i = part
            found.append(
                Mask(
                    name,
                    array[part] == structure["number"] - row["first_number"],
                    grid.crop(k, j, i),
                    number=structure["number"],
                    frame_uid=row["frame_uid"],
                    colour_rgb=tuple(structure["colour_rgb"]),
                    interpreted_type="ORGAN",
                    structure_set_uid=row.get("structure_set_uid", ""),
                    source=row["source"],
                    flags=("segmentation-partial",) if row["status"] == "partial" else (),
                )
            )
    return found
