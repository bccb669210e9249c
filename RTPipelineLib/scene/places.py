"""Where the views go to: the middle of a structure, its hottest and its coldest place."""

from __future__ import annotations

from typing import Literal

import numpy as np
import slicer

from ..errors import DataError
from ..model import Contours, Dose, Mask
from ..structures.voxelise import voxelise
from .frames import to_ras

Place = Literal["centre", "hot", "cold"]
PLACES: tuple[Place, ...] = ("centre", "hot", "cold")


def place_of(structure: Contours | Mask, dose: Dose | None, place: Place) -> np.ndarray:
    """A point of a structure, (3,) LPS mm: the voxel of it that lies nearest to its centre of mass,
    or the voxel of the dose inside of it with the highest (`hot`) or lowest (`cold`) dose.

    Raises `DataError` when the structure has no volume, or none in the dose that was asked for.
    """
    if dose is None:
        if place != "centre":
            raise DataError("there is no dose, so there is no hot or cold spot")
        return _middle(structure)
    mask = voxelise(structure, dose.grid)
    inside = np.argwhere(mask.array >= min(0.5, float(mask.array.max())))
    if not mask.array.any():
        if place != "centre":
            raise DataError(f"{structure.name} has no volume inside the dose grid")
        return _middle(structure)
    if place == "centre":
        away = ((inside - inside.mean(axis=0)) * mask.grid.spacing_mm[::-1]) ** 2
        best = inside[away.sum(axis=1).argmin()]
    else:
        k, j, i = (inside + mask.grid.offset_in(dose.grid)).T
        values = dose.array_gy[k, j, i]
        best = inside[np.nanargmax(values) if place == "hot" else np.nanargmin(values)]
    return mask.grid.to_lps(best[::-1].astype(float))


def _middle(structure: Contours | Mask) -> np.ndarray:
    """The middle of the points, or of the voxels' box."""
    if isinstance(structure, Mask):
        return structure.grid.corners_mm(edges=True).mean(axis=0)
    if not len(structure.points_mm):
        raise DataError(f"{structure.name} has no contour")
    return structure.points_mm.mean(axis=0)


def jump(point_mm: np.ndarray) -> None:
    """All slice views and the crosshair go to an LPS point in mm."""
    ras = [float(part) for part in to_ras(point_mm)]
    slicer.vtkMRMLSliceNode.JumpAllSlices(
        slicer.mrmlScene, *ras, slicer.vtkMRMLSliceNode.CenteredJumpSlice
    )
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is not None:
        crosshair.SetCrosshairRAS(*ras)
