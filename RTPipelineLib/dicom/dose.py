"""RTDOSE to a dose grid in Gy (PS3.3 C.8.8.3).

Where the frames lie (C.8.8.3.2): the Grid Frame Offset Vector begins with 0 and is relative to
Image Position (Patient) along row x column, or begins with that position's z, with rows along x and
columns along y, and holds absolute z. Anything else is refused. Each frame lies at its own offset,
so frames that are stored descending or unsorted are put in ascending order; the grid is never
mirrored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from ..errors import DicomError, DoseRefused, GeometryError
from ..geometry import Grid
from ..model import Dose
from .dataset import Header, read_dataset
from .headers import RTDOSE, kind_of, summarise
from .pixels import read_frames

# DICOM decimal strings carry 1e-3 mm or better; semantics section 2 takes the same for absolute z.
_OFFSET_TOLERANCE_MM = 1e-3
_IDENTITY = np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
_IDENTITY_TOLERANCE = 1e-3
_DEFAULT_THICKNESS_MM = 1.0


def dose_grid(source: Dataset | Mapping[str, object], name: str | Path = "dose") -> Grid:
    """The grid of an RT Dose, slices ascending along row x column.

    `source` is the dataset or its summary from `headers.summarise`; `name` stands in messages. The
    array belonging to the grid has its frames in ascending order of their offsets.

    Raises `GeometryError` when the positions of the frames are missing or contradict each other.
    """
    summary = summarise(source, RTDOSE) if isinstance(source, Dataset) else source
    return _grid_and_order(summary, name)[0]


def read_dose(path: str | Path, *, normalisation_gy: float | None = None) -> Dose:
    """Read an RT Dose as Gy.

    `normalisation_gy` is what a value of 1.0 (pixel x Dose Grid Scaling) means in Gy; doses whose
    units are not GY (RELATIVE) need it, those in GY ignore it.

    Flags: `signed-dose` (signed pixels outside an ERROR dose), `negative-dose`,
    `non-uniform-frames`, `frames-sorted` (stored neither ascending nor descending),
    `thickness-assumed` (single frame without Slice Thickness, 1 mm), `dose-type-missing`,
    `summation-type-missing`, `summation-type-plan-sum` (PLAN_SUM, no DICOM term, is read as
    MULTI_PLAN), `normalised-by-user`, `frame-of-reference-missing`, and those of
    `headers.summarise`.

    Raises `DicomError` (no readable dose), `GeometryError` (positions), `DoseRefused` (units,
    type).
    """
    ds = read_dataset(path)
    header = Header(ds)
    if kind_of(header.text("SOPClassUID"), header.text("Modality")) != RTDOSE:
        raise DicomError(
            f"is no RT Dose (SOP Class {header.text('SOPClassUID') or 'missing'}, Modality "
            f"{header.text('Modality') or 'missing'}); give the RTDOSE file of the plan",
            path,
        )
    summary = summarise(ds, RTDOSE)
    header.flags = list(summary["flags"])
    factor = _gy_per_unit(summary, normalisation_gy, header, path)
    _check_type(summary, header, path)
    grid, order = _grid_and_order(summary, path)
    _flag_geometry(summary, grid, order, header)
    scaling = summary["scaling"]
    if scaling is None or not math.isfinite(scaling) or scaling <= 0:
        raise DicomError(
            f"Dose Grid Scaling is {header.text('DoseGridScaling') or 'missing'}, a positive "
            "number is needed; export the dose again",
            path,
        )
    array = _read_gy(ds, grid, order, scaling * factor, path)
    if summary["pixel_representation"] == 1:
        header.flag("signed-dose")
        if array.min() < 0:
            header.flag("negative-dose")
    structure_sets = summary["structure_set_uids"]
    return Dose(
        array,
        grid,
        frame_uid=header.text("FrameOfReferenceUID"),
        dose_type=summary["dose_type"],
        summation_type=_summation_type(summary, header),
        scaling_gy=scaling * factor,
        sop_uids=(header.text("SOPInstanceUID"),),
        plan_uids=tuple(summary["plan_uids"]),
        structure_set_uid=structure_sets[0] if structure_sets else "",
        flags=tuple(header.flags),
    )


# -- what kind of dose it is ----------------------------------------------------------------------


def _gy_per_unit(
    summary: Mapping, normalisation_gy: float | None, header: Header, path: str | Path
) -> float:
    units = summary["units"].upper()
    if units == "GY":
        return 1.0
    if normalisation_gy is None:
        raise DoseRefused(
            f"{path}: the dose is in {units or 'unknown'} units, not GY; give the normalisation in "
            "Gy or export it as absolute dose"
        )
    if not (math.isfinite(normalisation_gy) and normalisation_gy > 0):
        raise DoseRefused(f"{path}: a normalisation of {normalisation_gy} Gy makes no dose")
    header.flag("normalised-by-user")
    return float(normalisation_gy)


def _check_type(summary: Mapping, header: Header, path: str | Path) -> None:
    dose_type = summary["dose_type"].upper()
    if dose_type == "ERROR":
        raise DoseRefused(f"{path}: is a dose error (Dose Type ERROR), not a dose; leave it out")
    if dose_type == "CODED":
        raise DoseRefused(
            f"{path}: Dose Type CODED is not understood; export it as PHYSICAL or EFFECTIVE"
        )
    if not dose_type:
        header.flag("dose-type-missing")
    if not header.text("FrameOfReferenceUID"):
        header.flag("frame-of-reference-missing")


def _summation_type(summary: Mapping, header: Header) -> str:
    summation_type = summary["summation_type"].upper()
    if not summation_type:
        header.flag("summation-type-missing")
    if summation_type != "PLAN_SUM":
        return summation_type
    header.flag("summation-type-plan-sum")
    return "MULTI_PLAN"


# -- where it lies --------------------------------------------------------------------------------


def _grid_and_order(summary: Mapping, name: str | Path) -> tuple[Grid, np.ndarray]:
    """The grid, and for each of its slices the index of the stored frame."""
    for key, count, attribute in (
        ("position", 3, "Image Position (Patient)"),
        ("orientation", 6, "Image Orientation (Patient)"),
        ("pixel_spacing", 2, "Pixel Spacing"),
    ):
        if len(summary[key]) != count:
            raise GeometryError(
                f"{name}: {attribute} has {len(summary[key])} valid values, {count} are needed; "
                "export the dose again"
            )
    if not summary["rows"] or not summary["columns"]:
        raise DicomError("holds no dose grid (no Rows and Columns)", name)
    offsets = _relative_offsets(summary, name)
    order = np.argsort(offsets, kind="stable")
    thickness = summary["slice_thickness"]
    try:
        grid = Grid.from_dicom(
            summary["position"],
            summary["orientation"],
            summary["pixel_spacing"],
            summary["rows"],
            summary["columns"],
            offsets[order],
            thickness if thickness and thickness > 0 else _DEFAULT_THICKNESS_MM,
        )
    except ValueError as error:
        raise GeometryError(f"{name}: {error}; export the dose again") from error
    return grid, order


def _relative_offsets(summary: Mapping, name: str | Path) -> np.ndarray:
    """Where each stored frame lies along row x column, relative to Image Position (Patient)."""
    frames = summary["frames"] or 1
    offsets = np.asarray(summary["frame_offsets"], dtype=np.float64)
    if offsets.size == 0 and frames == 1:
        return np.zeros(1)
    if offsets.size != frames:
        raise GeometryError(
            f"{name}: {frames} frames but {offsets.size} valid values in the Grid Frame Offset "
            "Vector; export the dose again"
        )
    z = summary["position"][2]
    is_identity = np.allclose(summary["orientation"], _IDENTITY, atol=_IDENTITY_TOLERANCE)
    if abs(offsets[0]) <= _OFFSET_TOLERANCE_MM:
        offsets = offsets - offsets[0]
    elif is_identity and abs(offsets[0] - z) <= _OFFSET_TOLERANCE_MM:
        offsets = offsets - z
    else:
        allowed = f"0 (relative) or {z:g} (absolute z)" if is_identity else "0 (relative)"
        raise GeometryError(
            f"{name}: the Grid Frame Offset Vector begins with {offsets[0]:g}, expected {allowed}; "
            "export the dose with relative offsets"
        )
    if np.unique(offsets).size < offsets.size:
        raise GeometryError(
            f"{name}: two frames have the same offset in the Grid Frame Offset Vector; "
            "export the dose again"
        )
    return offsets


def _flag_geometry(summary: Mapping, grid: Grid, order: np.ndarray, header: Header) -> None:
    steps = np.diff(order)
    if steps.size and not (np.all(steps == 1) or np.all(steps == -1)):
        header.flag("frames-sorted")
    if not grid.is_uniform:
        header.flag("non-uniform-frames")
    thickness = summary["slice_thickness"]
    if grid.shape[0] == 1 and not (thickness and thickness > 0):
        header.flag("thickness-assumed")


# -- pixels ---------------------------------------------------------------------------------------


def _read_gy(
    ds: Dataset, grid: Grid, order: np.ndarray, gy_per_value: float, path: str | Path
) -> np.ndarray:
    """float32 `[k, j, i]` in Gy, frames in the given order; one copy beside the stored bytes."""
    if Header(ds).integer("BitsAllocated") not in (16, 32):
        raise DicomError("a dose has 16 or 32 bits a value (Bits Allocated)", path)
    frames = read_frames(ds, path)
    dose = np.empty(grid.shape, dtype=np.float32)
    for k, frame in enumerate(order):  # in float64, rounded once: 32-bit values exceed float32
        np.multiply(frames[frame], gy_per_value, out=dose[k], casting="same_kind")
    return dose
