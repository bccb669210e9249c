"""Stage `load`: the course's images as volumes that Slicer opens, and `image/image.json` about
them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..course import PLANNING, Course, ImageEntry
from ..dicom.image import read_series
from ..errors import DataError
from ..geometry import Grid
from ..model import ImagePlanes, Volume
from ..platform import write_json
from ..resample import resample_onto
from . import DONE, FAILED, PARTIAL, SKIPPED, Outcome, Problem, Stage, Task
from .facts import read_facts
from .nrrd import grid_from_dict, grid_to_dict, write_nrrd

IMAGE_FILE = "image/image.json"
PREFIX = {"CT": "ct", "MR": "mr", "PT": "pet"}


def planning_grids(folder: Path) -> dict[str, Grid]:
    """The grid of the planning image by its frame of reference."""
    volumes = read_facts(folder, IMAGE_FILE).get("volumes") or ()
    return {
        volume["frame_uid"]: grid_from_dict(volume["grid"])
        for volume in volumes
        if volume["role"] == "planning"
    }


def planning_planes(folder: Path) -> dict[str, ImagePlanes]:
    """The slices of the planning image by its frame of reference."""
    return {uid: ImagePlanes.from_grid(grid) for uid, grid in planning_grids(folder).items()}


def _inputs(course: Course) -> Sequence[Path]:
    return [path for image in _wanted(course) for path in course.image_paths(image)]


def _wanted(course: Course) -> list[ImageEntry]:
    """The planning image first, then every MR and PET of the course. Further CT series (phases of a
    4D scan, cone-beam scans) are listed, not copied."""
    planning = course.planning_image
    if planning is None:
        return []
    others = [i for i in course.images if i.role != PLANNING and i.modality in ("MR", "PT")]
    return [planning, *others]


def _run(task: Task) -> Outcome:
    wanted = _wanted(task.course)
    if not wanted:
        return Outcome(SKIPPED, "the course has no image series")
    facts: dict[str, list] = {"volumes": [], "listed": []}
    problems: list[Problem] = []
    counts: dict[str, int] = {}
    for number, image in enumerate(wanted):
        task.progress(number, len(wanted), image.description or image.modality)
        name = _file_name(image, counts)
        try:
            volume = read_series(task.course.image_paths(image))
        except DataError as error:
            problems.append(Problem(name, "error", str(error), getattr(error, "path", None) or ""))
            continue
        problems += [Problem(name, "warning", _flag_text(flag, image)) for flag in volume.flags]
        facts["volumes"].append(_write(task.output / f"{name}.nrrd", volume, image))
    facts["listed"] = [
        {"key": i.key, "modality": i.modality, "description": i.description, "files": len(i.files)}
        for i in task.course.images
        if i not in wanted
    ]
    write_json(task.output / "image.json", facts)
    task.progress(len(wanted), len(wanted), "")
    errors = [problem for problem in problems if problem.severity == "error"]
    if not facts["volumes"]:
        return Outcome(FAILED, errors[0].message, tuple(problems))
    status = PARTIAL if errors else DONE
    return Outcome(status, errors[0].message if errors else "", tuple(problems))


def _file_name(image: ImageEntry, counts: dict[str, int]) -> str:
    """`ct` for the planning CT; other images are numbered within their modality."""
    prefix = PREFIX.get(image.modality, "image")
    if image.role == PLANNING and prefix == "ct":
        return prefix
    counts[prefix] = counts.get(prefix, 0) + 1
    return f"{prefix}_{counts[prefix]}"


def _write(path: Path, volume: Volume, image: ImageEntry) -> dict:
    """Write one volume and return its facts. NRRD needs even slices: others are interpolated onto
    the finest step that occurs, which the facts say; the true slice positions stay in them."""
    grid = volume.grid.with_uniform_slices()
    array = volume.array
    if grid is not volume.grid:
        array = resample_onto(volume.array.astype(np.float32), volume.grid, grid)
        if np.issubdtype(volume.array.dtype, np.integer):
            array = np.rint(array).astype(volume.array.dtype)
    fields = {"modality": volume.modality, "unit": volume.unit, "frame_uid": volume.frame_uid}
    write_nrrd(path, array, grid, fields)
    return {
        "file": f"image/{path.name}",
        "role": image.role,
        "key": image.key,
        "series_uid": volume.series_uid,
        "frame_uid": volume.frame_uid,
        "modality": volume.modality,
        "unit": volume.unit,
        "flags": list(volume.flags),
        "grid": grid_to_dict(volume.grid),
        "resampled": grid is not volume.grid,
    }


def _flag_text(flag: str, image: ImageEntry) -> str:
    return f"{flag}: image series {image.description or image.modality} ({image.key})"


STAGE = Stage(name="load", folder="image", run=_run, inputs=_inputs, parts=("images",))
