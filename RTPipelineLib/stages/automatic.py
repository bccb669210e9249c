"""The automatic structures of a course, as the stage `segment` left them."""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError
from ..model import Mask
from .facts import read_facts
from .nrrd import read_nrrd

SEGMENTATION_FILE = "segmentation/segmentation.json"


def automatic_masks(folder: Path) -> list[Mask]:
    """What models found in the images of a course; empty where none ran.

    Raises `DataError` when a file that the manifest names cannot be read.
    """
    found: list[Mask] = []
    for row in read_facts(folder, SEGMENTATION_FILE).get("models") or ():
        if "file" not in row:
            continue
        try:
            array, grid = read_nrrd(folder / row["file"])
        except RuntimeError as error:
            raise DataError(
                f"{folder / row['file']} cannot be read; run the stage segment again with --force"
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
