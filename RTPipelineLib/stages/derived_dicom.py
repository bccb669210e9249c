"""Derived structures as DICOM: an RTSTRUCT for planning systems, on request a SEG."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydicom import Dataset

from ..dicom.dataset import read_dataset
from ..dicom.segmentation_write import write_segmentation
from ..dicom.write import ImageReference, write_structure_set
from ..errors import DataError, UsageError
from ..model import Mask
from ..structures.outlines import outlines
from . import Problem, Task

RTSTRUCT_FILE, SEG_FILE = "RS_derived.dcm", "SEG_derived.dcm"
LABEL = "Derived"
DESCRIPTION = "Structures derived by RT Pipeline from those of the course"


def write_dicom(task: Task, masks: Sequence[Mask], problems: list[Problem]) -> None:
    """Write the files that the configuration asks for; what cannot be written is a problem.

    One file has one frame of reference: that of the planning image, else of the first structure.
    """
    image = task.course.planning_image
    paths = task.course.image_paths(image) if image is not None else []
    try:
        slices = [read_dataset(path, stop_before_pixels=True) for path in paths]
        study = slices[0] if slices else _structure_set(task)
    except DataError as error:
        problems.append(Problem(RTSTRUCT_FILE, "error", str(error)))
        return
    frame_uid = image.frame_uid if image is not None else masks[0].frame_uid
    own = [mask for mask in masks if mask.frame_uid == frame_uid and mask.is_drawn]
    for mask in masks:
        if mask not in own:
            why = "is empty" if not mask.is_drawn else "lies in another frame of reference"
            problems.append(
                Problem(mask.name, "warning", f"{mask.name} {why} and is in no DICOM file")
            )
    if not own:
        return
    if task.config.output.rtstruct:
        _attempt(RTSTRUCT_FILE, lambda: _write_structure_set(task, own, study, slices), problems)
    if task.config.output.seg and slices:
        _attempt(SEG_FILE, lambda: _write_seg(task, own, slices), problems)
    elif task.config.output.seg:
        message = "no DICOM SEG of the derived structures: the course has no image"
        problems.append(Problem(SEG_FILE, "warning", message))


def _attempt(name: str, write: Callable[[], None], problems: list[Problem]) -> None:
    try:
        write()
    except (DataError, UsageError) as error:
        problems.append(Problem(name, "error", str(error)))


def _structure_set(task: Task) -> Dataset:
    """The structure set whose patient and study the file belongs to."""
    entry = task.course.of_kind("rtstruct")[0]
    return read_dataset(task.course.path_of(entry), stop_before_pixels=True)


def _write_structure_set(
    task: Task, masks: Sequence[Mask], study: Dataset, slices: Sequence[Dataset]
) -> None:
    between = task.config.structures.between_planes
    write_structure_set(
        task.output / RTSTRUCT_FILE,
        [outlines(mask, between_planes=between) for mask in masks],
        patient_from=study,
        image=ImageReference.of(slices) if slices else None,
        label=LABEL,
        description=DESCRIPTION,
    )


def _write_seg(task: Task, masks: Sequence[Mask], slices: Sequence[Dataset]) -> None:
    write_segmentation(task.output / SEG_FILE, masks, slices, label=LABEL, description=DESCRIPTION)
