"""Derived structures as files of others: for Slicer, as RTSTRUCT, on request as DICOM SEG."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from pydicom import Dataset

from ..dicom.dataset import read_dataset
from ..dicom.segmentation_write import write_segmentation
from ..dicom.write import ImageReference, write_structure_set
from ..errors import DataError, GeometryError, UsageError
from ..geometry import Grid
from ..model import Mask
from ..structures.outlines import outlines
from . import Problem, Task
from .seg_nrrd import write_segments

NRRD_FILE, RTSTRUCT_FILE, SEG_FILE = "derived.seg.nrrd", "RS_derived.dcm", "SEG_derived.dcm"
LABEL = "Derived"
DESCRIPTION = "Structures derived by RT Pipeline from those of the course"


def write_files(task: Task, masks: Sequence[Mask], problems: list[Problem]) -> None:
    """Write `derived.seg.nrrd` and what the configuration asks for of RTSTRUCT and DICOM SEG; what
    cannot be written is a problem.

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
        if mask.is_drawn and mask not in own:
            message = f"{mask.name} lies in another frame of reference and is in no other file"
            problems.append(Problem(mask.name, "warning", message))
    if not own:
        return
    _attempt(NRRD_FILE, lambda: _write_nrrd(task, own), problems)
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


def _write_nrrd(task: Task, masks: Sequence[Mask]) -> None:
    write_segments(task.output / NRRD_FILE, masks, _around(masks))


def _around(masks: Sequence[Mask]) -> Grid:
    """The part of the masks' lattice that holds all of them."""
    first = masks[0].grid
    offsets = [mask.grid.offset_in(first) for mask in masks]
    if any(offset is None for offset in offsets):
        raise GeometryError("derived structures of sets without a common image share no voxels")
    low = np.min(offsets, axis=0)
    shapes = np.array([mask.grid.shape for mask in masks])
    shape = np.max(np.array(offsets) + shapes, axis=0) - low
    origin = first.to_lps(low[::-1].astype(float))
    return Grid(origin, first.direction, first.spacing_mm, tuple(int(n) for n in shape))


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
