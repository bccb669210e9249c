"""LPS, in which the library thinks, and RAS, in which the scene does."""

from __future__ import annotations

import numpy as np
import vtk

from ..errors import GeometryError
from ..geometry import Grid

LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


def to_ras(points_mm: np.ndarray) -> np.ndarray:
    """LPS points `(..., 3)` in mm as RAS; its own inverse."""
    return np.asarray(points_mm) * LPS_TO_RAS


def ijk_to_ras(grid: Grid) -> vtk.vtkMatrix4x4:
    """Index (i, j, k) to RAS mm. Raises `GeometryError` for uneven slices: a node of MRML has one
    spacing (`Grid.with_uniform_slices` and a resampling come first)."""
    if not grid.is_uniform:
        raise GeometryError("a volume of the scene has evenly spaced slices; resample it first")
    axes = LPS_TO_RAS[:, None] * grid.direction * grid.spacing_mm
    origin = to_ras(grid.origin_mm)
    matrix = vtk.vtkMatrix4x4()
    for row in range(3):
        for column in range(3):
            matrix.SetElement(row, column, axes[row, column])
        matrix.SetElement(row, 3, origin[row])
    return matrix


def grid_of(matrix: vtk.vtkMatrix4x4, extent: tuple[int, ...]) -> Grid:
    """The grid of an image whose `matrix` takes indices to RAS and whose `extent` is (i0, i1, j0,
    j1, k0, k1). Raises `GeometryError` for an empty extent or sheared axes."""
    low, high = np.array(extent[::2]), np.array(extent[1::2])
    if (high < low).any():
        raise GeometryError("the image is empty")
    rows = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(3)])
    lps = LPS_TO_RAS[:, None] * rows
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    origin = lps[:, 3] + lps[:, :3] @ low
    size = high - low + 1
    try:
        return Grid(origin, lps[:, :3] / spacing, spacing, tuple(int(n) for n in size[::-1]))
    except ValueError as error:
        raise GeometryError(f"the image's axes cannot be used: {error}") from error
