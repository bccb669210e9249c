"""Volumes of a course folder as NRRD, which Slicer and SimpleITK open; and grids as JSON values."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..geometry import Grid


def write_nrrd(path: Path, array: np.ndarray, grid: Grid, fields: dict[str, str]) -> None:
    """Write `array` `[k, j, i]` on a uniform grid; `fields` become key/value pairs of the header.

    Raises `ValueError` for a grid with uneven slices, which NRRD cannot hold.
    """
    import SimpleITK

    if not grid.is_uniform:
        raise ValueError("NRRD holds evenly spaced slices only; resample first")
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array))
    image.SetOrigin(grid.origin_mm.tolist())
    image.SetSpacing(grid.spacing_mm.tolist())
    image.SetDirection(grid.direction.ravel().tolist())
    for key, value in fields.items():
        image.SetMetaData(key, value)
    writer = SimpleITK.ImageFileWriter()
    writer.SetFileName(str(path))
    writer.UseCompressionOn()
    writer.SetCompressionLevel(1)  # half the size for a tenth of the default level's time
    writer.Execute(image)


def read_nrrd(path: Path) -> tuple[np.ndarray, Grid]:
    """Array `[k, j, i]` and grid of a volume that `write_nrrd` wrote."""
    import SimpleITK

    image = SimpleITK.ReadImage(str(path))
    ni, nj, nk = image.GetSize()
    direction = np.array(image.GetDirection()).reshape(3, 3)
    grid = Grid(image.GetOrigin(), direction, image.GetSpacing(), (nk, nj, ni))
    return SimpleITK.GetArrayFromImage(image), grid


def grid_to_dict(grid: Grid) -> dict:
    """A grid as JSON values."""
    return {
        "origin_mm": grid.origin_mm.tolist(),
        "direction": grid.direction.tolist(),
        "spacing_mm": grid.spacing_mm.tolist(),
        "shape": list(grid.shape),
        "k_offsets_mm": None if grid.k_offsets_mm is None else grid.k_offsets_mm.tolist(),
    }


def grid_from_dict(data: dict) -> Grid:
    """The reverse of `grid_to_dict`."""
    return Grid(
        data["origin_mm"],
        data["direction"],
        data["spacing_mm"],
        tuple(data["shape"]),
        data["k_offsets_mm"],
    )
