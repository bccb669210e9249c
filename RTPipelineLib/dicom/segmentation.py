"""DICOM SEG to masks (PS3.3 A.51, C.8.20.2): BINARY, FRACTIONAL and LABELMAP, pydicom alone.

Each segment becomes a mask on the part of the lattice that its frames cover. What has no volume in
the patient (a segmentation of a slide, of tiles, without positions) is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DicomError
from ..geometry import Grid
from ..model import Mask
from .dataset import PARSE_ERRORS, Header, read_dataset
from .terms import Code, Terms

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
# Frames belong to one slice, and slices to an even stack, when they miss it by less than this.
SAME_PLANE = 0.05


@dataclass(frozen=True, eq=False)
class Segmentation:
    """One DICOM SEG: its masks in the order of the segments, the codes of each, and where it
    belongs. `series_uids` are the image series that it refers to."""

    masks: tuple[Mask, ...]
    terms: tuple[Terms | None, ...]
    label: str
    sop_uid: str
    frame_uid: str
    study_uid: str
    series_uids: tuple[str, ...]
    patient_id: str


def read_segmentation(path: str | Path) -> Segmentation:
    """Read a SEG file.

    Raises `DicomError` for other objects, for damaged ones, and for geometry that is no even stack
    of parallel frames.
    """
    ds = read_dataset(path)
    header = Header(ds)
    sop_class = header.text("SOPClassUID")
    if sop_class not in (SEGMENTATION, LABEL_MAP):
        raise DicomError(f"is no DICOM SEG (SOP Class {sop_class or 'missing'})", path)
    try:
        frames = np.atleast_3d(ds.pixel_array)
        if frames.ndim == 3 and header.integer("NumberOfFrames") in (None, 1):
            frames = ds.pixel_array.reshape(1, *ds.pixel_array.shape[-2:])
        return _segmentation(header, frames, path)
    except DicomError:
        raise
    except PARSE_ERRORS as error:
        raise DicomError(f"cannot be read as a segmentation: {error}", path) from error


def _segmentation(header: Header, frames: np.ndarray, path: str | Path) -> Segmentation:
    groups = header.items("PerFrameFunctionalGroupsSequence")
    if len(groups) != len(frames):
        raise DicomError(
            f"has {len(frames)} frames but describes {len(groups)}; export it again", path
        )
    grid, slice_of_frame = _lattice(header, groups, frames.shape[1:], path)
    kind = header.text("SegmentationType").upper()
    segments = header.items("SegmentSequence")
    numbers = [segment.integer("SegmentNumber") for segment in segments]
    if kind == "LABELMAP":
        owner = np.zeros(len(frames), dtype=int)
    else:
        owner = np.array([_segment_of(group, header) for group in groups])
    full = float(header.integer("MaximumFractionalValue") or 255)
    masks = []
    for segment, number in zip(segments, numbers, strict=True):
        if number is None or (kind == "LABELMAP" and number == 0):  # 0 is the background
            continue
        own = np.flatnonzero(owner == number) if kind != "LABELMAP" else np.arange(len(frames))
        masks.append(_mask(header, segment, number, frames, own, slice_of_frame, grid, kind, full))
    series = [item.text("SeriesInstanceUID") for item in header.items("ReferencedSeriesSequence")]
    return Segmentation(
        masks=tuple(mask for mask, _ in masks),
        terms=tuple(terms for _, terms in masks),
        label=header.text("ContentLabel"),
        sop_uid=header.text("SOPInstanceUID"),
        frame_uid=header.text("FrameOfReferenceUID"),
        study_uid=header.text("StudyInstanceUID"),
        series_uids=tuple(dict.fromkeys(uid for uid in series if uid)),
        patient_id=header.text("PatientID"),
    )


def _group(group: Header, header: Header, name: str) -> Header | None:
    """A functional group of a frame, or the one that all frames share."""
    shared = header.items("SharedFunctionalGroupsSequence")
    for source in (group, *shared[:1]):
        items = source.items(name)
        if items:
            return items[0]
    return None


def _segment_of(group: Header, header: Header) -> int:
    found = _group(group, header, "SegmentIdentificationSequence")
    number = found.integer("ReferencedSegmentNumber") if found else None
    return -1 if number is None else number


def _lattice(
    header: Header, groups: list[Header], size: tuple[int, int], path: str | Path
) -> tuple[Grid, np.ndarray]:
    """The grid of all frames and the slice of each."""
    orientation = measures = None
    positions = []
    for group in groups:
        plane = _group(group, header, "PlanePositionSequence")
        turned = _group(group, header, "PlaneOrientationSequence")
        measures = _group(group, header, "PixelMeasuresSequence")
        position = plane.numbers("ImagePositionPatient") if plane else []
        cosines = turned.numbers("ImageOrientationPatient") if turned else []
        if len(position) != 3 or len(cosines) != 6 or measures is None:
            raise DicomError("has frames without a position in the patient", path)
        if orientation is not None and np.abs(np.subtract(cosines, orientation)).max() > 1e-4:
            raise DicomError("has frames that are not parallel; export it as one stack", path)
        orientation = cosines
        positions.append(position)
    if orientation is None or measures is None:
        raise DicomError("has no frames", path)
    row, column = np.array(orientation).reshape(2, 3)
    normal = np.cross(row, column)
    along = np.array(positions) @ normal
    spacing = measures.numbers("PixelSpacing")
    step = _step(along, measures)
    ladder = (along - along.min()) / step
    number = np.rint(ladder).astype(int)
    aside = np.array(positions) - np.outer(along, normal)
    if np.abs(ladder - number).max() > SAME_PLANE or np.ptp(aside, axis=0).max() > 0.01:
        raise DicomError("has frames that are no even stack; resample it where it was made", path)
    origin = np.array(positions)[int(np.argmin(along))]
    count = int(number.max()) + 1
    if count > 10 * len(groups) + 1000:
        raise DicomError(f"has {len(groups)} frames over {count} slices; it is damaged", path)
    offsets = np.arange(count) * step
    return Grid.from_dicom(origin, orientation, spacing, *size, offsets, step), number


def _step(along: np.ndarray, measures: Header) -> float:
    """Distance between slices: of the frames themselves, else as stated."""
    gaps = np.diff(np.unique(np.round(along, 4)))
    stated = measures.number("SpacingBetweenSlices") or measures.number("SliceThickness") or 0.0
    if not gaps.size:
        return stated if stated > 0 else 1.0
    least = float(gaps.min())
    # Slices that no segment covers have no frame: the stated distance may be a part of the gaps.
    if 0 < stated < least and abs(least / stated - round(least / stated)) < SAME_PLANE:
        return least / round(least / stated)
    return least


def _mask(
    header: Header,
    segment: Header,
    number: int,
    frames: np.ndarray,
    own: np.ndarray,
    slice_of_frame: np.ndarray,
    grid: Grid,
    kind: str,
    full: float,
) -> tuple[Mask, Terms | None]:
    """One segment, cropped to the slices that have frames of it."""
    values = frames[own] == number if kind == "LABELMAP" else frames[own]
    used = values.any(axis=(1, 2))
    own, values = own[used], values[used]
    if own.size:
        first, last = int(slice_of_frame[own].min()), int(slice_of_frame[own].max())
        rows, columns = values.any(axis=(0, 2)), values.any(axis=(0, 1))
        j = slice(int(rows.argmax()), len(rows) - int(rows[::-1].argmax()))
        i = slice(int(columns.argmax()), len(columns) - int(columns[::-1].argmax()))
    else:
        first, last, j, i = 0, 0, slice(0, 1), slice(0, 1)
    part = grid.crop(slice(first, last + 1), j, i)
    array = np.zeros(part.shape, dtype=np.float32 if kind == "FRACTIONAL" else bool)
    values = values[:, j, i] / np.float32(full) if kind == "FRACTIONAL" else values[:, j, i] > 0
    array[slice_of_frame[own] - first] = values
    mask = Mask(
        name=segment.text("SegmentLabel") or f"Segment {number}",
        array=array,
        grid=part,
        number=number,
        frame_uid=header.text("FrameOfReferenceUID"),
        colour_rgb=_colour(segment.numbers("RecommendedDisplayCIELabValue")),
        structure_set_uid=header.text("SOPInstanceUID"),
        flags=() if own.size else ("structure-empty",),
    )
    return mask, _terms(segment)


def _terms(segment: Header) -> Terms | None:
    codes = []
    for name in ("SegmentedPropertyCategoryCodeSequence", "SegmentedPropertyTypeCodeSequence"):
        items = segment.items(name)
        if not items:
            return None
        codes.append(
            Code(
                *(items[0].text(k) for k in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning"))
            )
        )
    return Terms(*codes)


def _colour(stored: list[float]) -> tuple[int, int, int] | None:
    """CIELab as DICOM scales it (PS3.3 C.10.7.1.1, D65 whatever the profile says) to sRGB."""
    if len(stored) != 3:
        return None
    light = stored[0] / 65535 * 100
    a, b = stored[1] / 65535 * 255 - 128, stored[2] / 65535 * 255 - 128
    y = (light + 16) / 116
    f = np.array([y + a / 500, y, y - b / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.95047, 1.0, 1.08883]
    turn = [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
    linear = np.clip(np.array(turn) @ xyz, 0, 1)
    srgb = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    r, g, b = np.rint(255 * srgb).astype(int).tolist()
    return r, g, b
