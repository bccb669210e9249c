"""Structures made in the scene from its segments, by the code that makes those of the YAML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import slicer

from ..errors import DataError
from ..geometry import Grid
from ..model import Mask
from ..structures.derived import Definition, derive
from .segmentations import add_segment, masks_of


def add_derived(node: slicer.vtkMRMLSegmentationNode, definition: Definition) -> str:
    """Make a structure from the segments as they are now and add it as a segment; its ID.

    Raises `DataError` where it cannot be made (a source is missing, the name is taken) or is empty.
    """
    masks = masks_of(node)
    if not masks:
        raise DataError(f"segmentation {node.GetName()} has no segment with a volume")
    margin_mm = definition.expression.margins.largest
    grid = _lattice(masks, margin_mm)
    made = derive([definition], {mask.name: mask for mask in masks}, grid)
    for reason in made.failed.values():
        raise DataError(reason)
    mask = made.masks[definition.name]
    if not (mask.array >= 0.5).any():
        raise DataError(f"{definition.name} would be empty: nothing of its sources is left")
    number = 1 + max(mask.number for mask in masks)
    return add_segment(node, replace(mask, number=number, frame_uid=masks[0].frame_uid), grid)


def _lattice(masks: Sequence[Mask], margin_mm: float) -> Grid:
    """The voxels around all segments and a margin, on the lattice that they share."""
    first = masks[0].grid
    low, high = np.zeros(3, dtype=int), np.zeros(3, dtype=int)
    for mask in masks:
        away = (mask.grid.origin_mm - first.origin_mm) @ first.direction / first.spacing_mm
        start = np.round(away).astype(int)
        low, high = np.minimum(low, start), np.maximum(high, start + mask.array.shape[::-1])
    pad = np.ceil(abs(margin_mm) / first.spacing_mm).astype(int) + 1
    size = high - low + 2 * pad
    origin = first.to_lps((low - pad).astype(float))
    return Grid(origin, first.direction, first.spacing_mm, tuple(int(n) for n in size[::-1]))
