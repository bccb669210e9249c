"""Files of the next course, brought into the computer's memory while a person looks at this one."""

from __future__ import annotations

import threading
from pathlib import Path

from ..course import PLANNING, read_course
from ..errors import DataError

BLOCK = 1 << 22


def read_ahead(folder: Path) -> threading.Thread:
    """Read what showing a course will read, in the background and at no cost but the disk's: over a
    network that is most of the time that opening takes."""
    thread = threading.Thread(target=_read, args=(folder,), name="read ahead", daemon=True)
    thread.start()
    return thread


def files_of(folder: Path) -> list[Path]:
    """The files that showing a course reads."""
    try:
        course = read_course(folder)
    except DataError:
        return []
    found = [path for kind in ("rtstruct", "rtdose") for path in _paths(course, kind)]
    for image in course.images:
        if image.role == PLANNING or image.modality != "CT":
            found += course.image_paths(image)
    for part in ("dose", "segmentation", "structures"):
        found += sorted((folder / part).glob("*.nrrd"))
    return found


def _paths(course, kind: str) -> list[Path]:
    return [course.path_of(entry) for entry in course.of_kind(kind)]


def _read(folder: Path) -> None:
    for path in files_of(folder):
        try:
            with path.open("rb") as file:
                while file.read(BLOCK):
                    pass
        except OSError:
            continue  # showing it will say so
