"""DICOM SEG out (PS3.3 A.51), through highdicom: labels as BINARY, shares as FRACTIONAL.

Needs the extra `seg`. The same input makes the same file: identifiers follow from the content, and
dates are those given, or else the study's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
from pydicom.dataset import Dataset

from .. import __version__
from ..errors import DataError, GeometryError, UsageError
from ..geometry import Grid
from ..model import Mask
from .dataset import Header
from .new_object import MANUFACTURER, one_line, uid_from, write_dataset
from .terms import UNSPECIFIED, Terms

SegmentationType = Literal["BINARY", "FRACTIONAL"]

# Shares are stored in so many steps.
STEPS = 255
# Type 1 in the SEG, but unknown when neither the caller nor the study has a date.
NO_DATE = datetime(1970, 1, 1)


def write_segmentation(
    path: str | Path,
    masks: Sequence[Mask],
    slices: Sequence[Dataset],
    *,
    kind: SegmentationType = "BINARY",
    terms: Mapping[str, Terms] | None = None,
    label: str = "RT Pipeline",
    description: str = "",
    algorithm: str = "",
    series_number: int = 1,
    created: datetime | None = None,
) -> Dataset:
    """Write masks as one SEG and return it.

    `masks` lie on one lattice (parts of it are enough) in the frame of reference of `slices`, the
    headers of the image series that they belong to. BINARY stores where a mask is at least one
    half; FRACTIONAL stores shares in steps of 1/255 (OCCUPANCY). `terms` gives the codes of an ROI
    by its name. `algorithm` names what drew the masks; without it they count as manual.

    Raises `UsageError` without highdicom, `GeometryError` for masks of different lattices or
    frames of reference, `DataError` when nothing is covered.
    """
    try:
        import highdicom
    except ImportError as error:
        raise UsageError(
            "writing DICOM SEG needs highdicom: pip install 'slicer-rtpipeline[seg]'"
        ) from error
    slices = list(slices)
    frame_uid = str(slices[0].FrameOfReferenceUID)
    for mask in masks:
        if mask.frame_uid and mask.frame_uid != frame_uid:
            raise GeometryError(
                f"ROI {mask.name} lies in frame of reference {mask.frame_uid}, not in {frame_uid} "
                "as the images; write it with images of its own frame"
            )
    array, grid = _stacked(masks, kind)
    content = hashlib.sha256(array.tobytes()).hexdigest()
    names = [mask.name for mask in masks]
    sop_uid = uid_from("SEG", kind, str(slices[0].StudyInstanceUID), content, names, label)
    affine = np.eye(4)
    # highdicom's volumes are indexed slice, row, column.
    affine[:3, :3] = (grid.direction * grid.spacing_mm)[:, ::-1]
    affine[:3, 3] = grid.origin_mm
    known = terms or {}
    segmentation = highdicom.seg.Segmentation(
        source_images=slices,
        pixel_array=highdicom.Volume(
            array,
            affine,
            coordinate_system="PATIENT",
            frame_of_reference_uid=frame_uid,
            channels={"SegmentNumber": list(range(1, len(masks) + 1))},
        ),
        segmentation_type=kind,
        segment_descriptions=[
            _description(number, mask, known.get(mask.name, UNSPECIFIED), algorithm)
            for number, mask in enumerate(masks, start=1)
        ],
        series_instance_uid=uid_from(sop_uid, "series"),
        series_number=series_number,
        sop_instance_uid=sop_uid,
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name="RTPipelineLib",
        software_versions=__version__,
        device_serial_number="0",
        fractional_type="OCCUPANCY",
        max_fractional_value=STEPS,
        content_label=_code_string(label),
        content_description=one_line(description, 64) or None,
    )
    _date(segmentation, slices[0], created)
    _name_dimensions(segmentation, uid_from(sop_uid, "dimensions"))
    if description:
        segmentation.SeriesDescription = one_line(description, 64)
    write_dataset(path, segmentation)
    return segmentation


def _stacked(masks: Sequence[Mask], kind: SegmentationType) -> tuple[np.ndarray, Grid]:
    """`[k, j, i, segment]` of the smallest part of the lattice that holds all masks."""
    covered = [mask for mask in masks if mask.array.any()]
    if not covered:
        raise DataError("nothing to write into a segmentation: no ROI covers a voxel")
    first = covered[0].grid
    offsets = []
    for mask in covered:
        offset = mask.grid.offset_in(first)
        if offset is None:
            raise GeometryError(
                f"ROIs {covered[0].name} and {mask.name} lie on different lattices; put both on "
                "one grid first"
            )
        offsets.append(np.array(offset))
    low = np.min(offsets, axis=0)
    high = np.max([o + m.grid.shape for o, m in zip(offsets, covered, strict=True)], axis=0)
    dtype = np.uint8 if kind == "BINARY" else np.float32
    array = np.zeros((*(high - low), len(masks)), dtype=dtype)
    place = dict(zip(map(id, covered), offsets, strict=True))
    for number, mask in enumerate(masks):
        if id(mask) not in place:
            continue
        k, j, i = (
            slice(int(a), int(a) + n)
            for a, n in zip(place[id(mask)] - low, mask.grid.shape, strict=True)
        )
        values = mask.array if kind == "FRACTIONAL" else mask.array >= 0.5 - 1e-6
        array[k, j, i, number] = np.clip(values, 0, 1)
    origin = first.to_lps(low[::-1].astype(np.float64))
    if not first.is_uniform:
        raise GeometryError("a segmentation needs evenly spaced slices; resample the masks first")
    return array, Grid(origin, first.direction, first.spacing_mm, array.shape[:3])


def _description(number: int, mask: Mask, terms: Terms, algorithm: str) -> Dataset:
    import highdicom
    from highdicom.sr import CodedConcept

    identification = None
    if algorithm:
        identification = highdicom.AlgorithmIdentificationSequence(
            name=one_line(algorithm, 64),
            family=CodedConcept("123110", "DCM", "Artificial Intelligence"),
            version=__version__,
        )
    colour = None
    if mask.colour_rgb is not None:
        colour = highdicom.color.CIELabColor.from_rgb(*mask.colour_rgb)
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=one_line(mask.name, 64) or f"Segment {number}",
        segmented_property_category=CodedConcept(*terms.category),
        segmented_property_type=CodedConcept(*terms.kind),
        algorithm_type="AUTOMATIC" if algorithm else "MANUAL",
        algorithm_identification=identification,
        display_color=colour,
    )


def _name_dimensions(segmentation: Dataset, uid: str) -> None:
    """A Dimension Organization UID that follows from the content, too."""
    sequences = (segmentation.DimensionOrganizationSequence, segmentation.DimensionIndexSequence)
    for item in (item for sequence in sequences for item in sequence):
        item.DimensionOrganizationUID = uid


def _code_string(text: str) -> str:
    """A Content Label: capitals, digits, spaces and underscores, at most 16."""
    allowed = "".join(c if c.isascii() and c.isalnum() else "_" for c in text.upper())
    return allowed[:16].strip("_") or "SEGMENTATION"


def _date(segmentation: Dataset, image: Dataset, created: datetime | None) -> None:
    """Replace the clock's date by one that the caller or the study gives."""
    when = created or NO_DATE
    date, time = f"{when:%Y%m%d}", f"{when:%H%M%S}"
    if created is None:
        header = Header(image)
        date, time = header.text("StudyDate") or date, header.text("StudyTime") or time
    for name in ("Content", "InstanceCreation", "Series"):
        if f"{name}Date" in segmentation:
            setattr(segmentation, f"{name}Date", date)
            setattr(segmentation, f"{name}Time", time)
    for item in segmentation.get("ContributingEquipmentSequence") or ():
        item.ContributionDateTime = date + time
