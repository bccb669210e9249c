"""An image series (CT, MR, PET) to a volume on a grid (PS3.3 C.7.6.2, C.7.6.16, C.8.2, C.8.9).

Slices are ordered by their position along row x column, never by number. A series is read whole or
not at all: a file that is damaged, cut off or no image refuses the series and is named, because a
volume that lacks a slice looks like one that has it.

Slices that are displaced within their planes (a tilted gantry) are shifted within them, by linear
interpolation, onto one upright grid; slices never mix. The sheared lattice itself is no grid, and a
reader who takes it for one displaces every structure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..errors import DicomError, GeometryError
from ..geometry import Grid
from ..model import Volume
from .dataset import read_dataset
from .pixels import read_frames
from .slices import Slice, choose_stack, read_slices

# Slices that drift less than this across the stack stand upright: positions and cosines are written
# with few digits (1e-4 over 500 mm).
_UPRIGHT_MM = 0.1
# Steps that differ less than this share from the mean are even.
_EVEN_SHARE = 0.01
# A gap is a multiple of the median step when it is within this share of one step.
_MULTIPLE_SHARE = 0.1
_AIR_HU = -1024
# Larger slopes and intercepts do not make whole HU.
_INT16_RESCALE = 32768
_DEFAULT_THICKNESS_MM = 1.0

Progress = Callable[[int, int], None]


def read_series(paths: Sequence[str | Path], progress: Progress | None = None) -> Volume:
    """Read the longest stack of slices in `paths` as one volume.

    The array is int16 for CT whose rescale is integral, else float32; the unit is `HU` (CT), what
    Units says (PET: `BQML`, `CNTS` ..) or `1`. `progress(done, total)` is called after each file.

    Flags: `several-stacks:<n>`, `duplicate-slices:<n>` (see `slices.choose_stack`),
    `non-uniform-slices`, `missing-slices:<n>` (gaps of about a multiple of the median step),
    `gantry-tilt:<degrees>` and `displaced-slices` (resampled upright), `thickness-assumed` (one
    slice of unknown thickness, 1 mm), `rescale-missing` (CT without slope and intercept, taken as 1
    and 0), `frame-of-reference-missing`, `unit-unknown` (CT that is not in HU, PET without Units).

    Raises `DicomError` naming the file that cannot be read, `GeometryError` when the slices make no
    volume.
    """
    if not paths:
        raise DicomError("an image series needs at least one file")
    total = 2 * len(paths)
    slices: list[Slice] = []
    for done, path in enumerate(paths, start=1):
        slices += read_slices(path)
        if progress is not None:
            progress(done, total)
    stack, flags = choose_stack(slices)
    grid = _upright_grid(stack, flags)
    first = stack[0]
    if first.modality == "CT" and any(s.slope is None or s.intercept is None for s in stack):
        flags.append("rescale-missing")
    if first.unit == "1" and first.modality in ("CT", "PT"):
        flags.append("unit-unknown")
    if not first.frame_uid:
        flags.append("frame-of-reference-missing")

    def read_so_far(done: int) -> None:
        if progress is not None:
            progress(len(paths) + done * len(paths) // len(stack), total)

    array = _read_stack(stack, read_so_far)
    shifts = _shifts_mm(stack)
    if _drift_mm(shifts) > _UPRIGHT_MM:
        array, grid = _straighten(array, grid, shifts)
    return Volume(
        array,
        grid,
        modality=first.modality,
        unit=first.unit,
        frame_uid=first.frame_uid,
        series_uid=first.series_uid,
        study_uid=first.study_uid,
        flags=tuple(flags),
    )


# -- geometry -------------------------------------------------------------------------------------


def _upright_grid(stack: Sequence[Slice], flags: list[str]) -> Grid:
    """The grid of the stack as if its slices stood exactly behind each other; adds flags."""
    first = stack[0]
    offsets = np.array([(s.position_mm - first.position_mm) @ first.normal for s in stack])
    thickness = first.thickness_mm
    if len(stack) == 1 and not (thickness and thickness > 0):
        thickness = _DEFAULT_THICKNESS_MM
        flags.append("thickness-assumed")
    if len(stack) > 1:
        offsets = _check_steps(offsets, flags)
        shifts = _shifts_mm(stack)
        if _drift_mm(shifts) > _UPRIGHT_MM:
            flags.append(_tilt_flag(shifts, offsets))
    try:
        return Grid.from_dicom(
            first.position_mm,
            first.orientation,
            first.pixel_spacing_mm,
            first.rows,
            first.columns,
            offsets,
            thickness or _DEFAULT_THICKNESS_MM,
        )
    except ValueError as error:
        raise GeometryError(f"{first.path}: {error}; export the series again") from error


def _check_steps(offsets: np.ndarray, flags: list[str]) -> np.ndarray:
    """The offsets, made even where they are meant to be; adds flags where they are not."""
    steps = np.diff(offsets)
    even = np.linspace(0.0, offsets[-1], offsets.size)
    if np.abs(offsets - even).max() <= _EVEN_SHARE * offsets[-1] / steps.size:
        return even
    flags.append("non-uniform-slices")
    ratio = steps / np.median(steps)
    whole = np.rint(ratio)
    gaps = (whole >= 2) & (np.abs(ratio - whole) <= _MULTIPLE_SHARE)
    if gaps.any():
        flags.append(f"missing-slices:{int((whole[gaps] - 1).sum())}")
    return offsets


def _shifts_mm(stack: Sequence[Slice]) -> np.ndarray:
    """(nk, 2) displacement of each slice within its plane, along rows (x) and columns (y)."""
    first = stack[0]
    moved = np.array([s.position_mm - first.position_mm for s in stack])
    return np.stack([moved @ first.orientation[:3], moved @ first.orientation[3:]], axis=1)


def _drift_mm(shifts: np.ndarray) -> float:
    return float(np.ptp(shifts, axis=0).max())


def _tilt_flag(shifts_mm: np.ndarray, offsets_mm: np.ndarray) -> str:
    straight = offsets_mm[:, None] / offsets_mm[-1] * shifts_mm[-1]
    if np.abs(shifts_mm - straight).max() > _UPRIGHT_MM:
        return "displaced-slices"
    tilt = math.degrees(math.atan2(float(np.linalg.norm(shifts_mm[-1])), float(offsets_mm[-1])))
    return f"gantry-tilt:{tilt:.1f}"


def _straighten(array: np.ndarray, grid: Grid, shifts_mm: np.ndarray) -> tuple[np.ndarray, Grid]:
    """Slices moved within their planes onto one upright grid that holds them all.

    What no slice covers is air in CT and the lowest value elsewhere.
    """
    shift = shifts_mm / grid.spacing_mm[:2]
    low = np.floor(shift.min(axis=0) + 1e-6).astype(int)
    high = np.ceil(shift.max(axis=0) - 1e-6).astype(int)
    nk, nj, ni = array.shape
    shape = (nk, nj + int(high[1] - low[1]), ni + int(high[0] - low[0]))
    fill = max(_AIR_HU, array.min()) if array.dtype == np.int16 else array.min()
    upright = np.full(shape, fill, dtype=array.dtype)
    for k in range(nk):
        source = np.pad(array[k].astype(np.float32), 1, constant_values=float(fill))
        start = []
        for axis, offset in ((0, shift[k, 1] - low[1]), (1, shift[k, 0] - low[0])):
            whole = max(math.floor(offset), 0)
            part = max(offset - whole, 0.0)
            source = (1 - part) * source + part * np.roll(source, 1, axis=axis)
            start.append(whole)
        target = upright[k, start[0] : start[0] + nj + 1, start[1] : start[1] + ni + 1]
        moved = source[1 : 1 + target.shape[0], 1 : 1 + target.shape[1]]  # 0 is padding alone
        target[...] = np.rint(moved) if array.dtype == np.int16 else moved
    origin = grid.origin_mm + grid.direction[:, :2] @ (low * grid.spacing_mm[:2])
    return upright, Grid(origin, grid.direction, grid.spacing_mm, shape, grid.k_offsets_mm)


# -- pixels ---------------------------------------------------------------------------------------


def _read_stack(stack: Sequence[Slice], read_so_far: Callable[[int], None]) -> np.ndarray:
    """Rescaled values `[k, j, i]`: int16 where CT allows it, else float32."""
    first = stack[0]
    rescale = [(_or(s.slope, 1.0), _or(s.intercept, 0.0)) for s in stack]
    for item, (slope, _) in zip(stack, rescale, strict=True):
        if slope == 0:
            raise DicomError(
                "Rescale Slope is 0, so its values are lost; export it again", item.path
            )
    integral = all(
        slope.is_integer() and shift.is_integer() and max(abs(slope), abs(shift)) < _INT16_RESCALE
        for slope, shift in rescale
    )
    dtype = np.int16 if first.modality == "CT" and integral else np.float32
    path = first.path  # before the volume is made: its pixels prove the size that the header claims
    frames = read_frames(read_dataset(path), path)
    array = np.empty((len(stack), first.rows, first.columns), dtype=dtype)
    for k, (item, (slope, intercept)) in enumerate(zip(stack, rescale, strict=True)):
        if item.path != path:
            path, frames = item.path, read_frames(read_dataset(item.path), item.path)
        stored = frames[item.frame]
        if array.dtype == np.int16:
            ends = [slope * int(end) + intercept for end in (stored.min(), stored.max())]
            if min(ends) < -32768 or max(ends) > 32767:  # metal beyond the 16 bits
                array = array.astype(np.float32)
        if array.dtype == np.int16:
            array[k] = stored.astype(np.int32) * int(slope) + int(intercept)
        else:
            array[k] = stored * slope + intercept
        read_so_far(k + 1)
    return array


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
