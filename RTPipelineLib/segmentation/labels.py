"""A labelled image: reading what a program wrote, and whether it is what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import StageError
from ..geometry import Grid
from .terms import Term

CORNER_TOLERANCE_MM = 0.05  # NIfTI keeps its matrix in single precision


@dataclass(frozen=True)
class Segment:
    """A structure of a labelled image: value, name, codes."""

    value: int
    name: str
    term: Term = field(default_factory=Term)


@dataclass(frozen=True, eq=False)
class LabelImage:
    """Labels (`[k, j, i]`, unsigned integers, 0 is nothing) on the grid of the segmented image."""

    array: np.ndarray
    grid: Grid
    segments: tuple[Segment, ...]

    def mask(self, name: str) -> np.ndarray | None:
        """Booleans of one structure; None when it is unknown."""
        for segment in self.segments:
            if segment.name == name:
                return self.array == segment.value
        return None

    def boxes(self) -> dict[int, tuple[slice, slice, slice]]:
        """The part of the array that holds each value, of those that occur."""
        from scipy.ndimage import find_objects

        found = find_objects(self.array)
        return {value: box for value, box in enumerate(found, start=1) if box is not None}

    def counts(self) -> dict[str, int]:
        """Voxels of every structure by name."""
        size = max((s.value for s in self.segments), default=0) + 1
        voxels = _count(self.array, size)
        return {segment.name: int(voxels[segment.value]) for segment in self.segments}


def write_input(path: Path, array: np.ndarray, grid: Grid) -> None:
    """An image `[k, j, i]` on a uniform grid, in the format of `path` (.nii, .nii.gz, .mha ..)."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array))
    image.SetOrigin(grid.origin_mm.tolist())
    image.SetSpacing(grid.spacing_mm.tolist())
    image.SetDirection(grid.direction.ravel().tolist())
    SimpleITK.WriteImage(image, str(path), useCompression=False)


def read_labels(
    path: Path, grid: Grid, names: Mapping[int, str], terms: Mapping[str, Term]
) -> LabelImage:
    """The labels that a program wrote for an image on `grid`, as a `LabelImage`.

    Raises `StageError` when the file is missing or broken, lies on another grid, or holds values
    that stand for nothing.
    """
    import SimpleITK

    if not path.is_file():
        raise StageError(f"it wrote no {path.name}")
    try:
        image = SimpleITK.ReadImage(str(path))
        array = SimpleITK.GetArrayFromImage(image)
    except RuntimeError as error:
        raise StageError(f"its output {path.name} cannot be read: {_first_line(error)}") from error
    direction = np.array(image.GetDirection())
    if direction.size != 9 or array.shape != grid.shape:
        raise StageError(f"its output has {array.shape} voxels, the image has {grid.shape}")
    found = Grid(image.GetOrigin(), direction.reshape(3, 3), image.GetSpacing(), array.shape)
    away = float(np.abs(found.corners_mm() - grid.corners_mm()).max())
    if away > CORNER_TOLERANCE_MM:
        raise StageError(f"its output lies up to {away:.2f} mm away from the image")
    labels = array if array.dtype.kind in "iu" else np.rint(array)
    low, high = labels.min(), labels.max()
    if not (low >= 0 and high <= np.iinfo(np.uint16).max):  # nor is NaN
        raise StageError(f"its output holds values from {low:g} to {high:g}")
    labels = labels.astype(np.uint8 if high < 256 else np.uint16, copy=False)
    strange = np.setdiff1d(np.flatnonzero(_count(labels, int(high) + 1)), [0, *names])
    if strange.size:
        raise StageError(f"its output holds values that stand for nothing: {strange[:10].tolist()}")
    segments = tuple(
        Segment(value, name, terms.get(name, Term())) for value, name in sorted(names.items())
    )
    return LabelImage(labels, grid, segments)


def statistics(labels: LabelImage, image: np.ndarray) -> dict[str, dict[str, float]]:
    """Volume (cc) and mean image value of every structure that is there."""
    size = int(labels.array.max()) + 1
    counts, sums = np.zeros(size, np.int64), np.zeros(size)
    for plane, values in zip(labels.array, image, strict=True):
        found = plane.ravel()
        counts += np.bincount(found, minlength=size)
        sums += np.bincount(found, values.ravel(), size)
    voxel_cc = labels.grid.voxel_volume_mm3 / 1000
    return {
        s.name: {
            "volume_cc": round(float(counts[s.value] * voxel_cc), 4),
            "mean": round(float(sums[s.value] / counts[s.value]), 3),
        }
        for s in labels.segments
        if s.value < len(counts) and counts[s.value]
    }


def _count(labels: np.ndarray, size: int) -> np.ndarray:
    """Voxels of each value below `size`, slice by slice: counting needs eight bytes a voxel."""
    return sum(
        (np.bincount(plane.ravel(), minlength=size) for plane in labels), np.zeros(size, int)
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
