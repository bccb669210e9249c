"""RTDOSE and RTSTRUCT out: conformant objects that other readers accept, the same bytes every time.

Nothing here looks at a clock or a random number: unique identifiers follow from the content and the
study unless they are given, and dates are written only when they are given. So the same input makes
the same file. Both objects are built as pydicom datasets first and written atomically.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RTDoseStorage,
    RTPlanStorage,
    RTStructureSetStorage,
)
from pydicom.valuerep import format_number_as_ds

from ..errors import DoseRefused, GeometryError
from ..model import Contours, Dose, ImagePlanes
from .contour_bytes import ds_text, roi_contour_sequence
from .dataset import Header
from .new_object import (
    Reference,
    date_time,
    make_dataset,
    new_object,
    one_line,
    reference_item,
    rt_series,
    uid_from,
    write_dataset,
)


@dataclass(frozen=True, eq=False)
class ImageReference:
    """The image series that contours were drawn on.

    `planes`, when given, holds the positions of the instances, in the same order; each contour then
    names its image.
    """

    study_uid: str
    series_uid: str
    frame_uid: str
    instance_uids: tuple[str, ...]
    sop_class_uid: str = CTImageStorage
    planes: ImagePlanes | None = None

    @classmethod
    def of(cls, slices: Iterable[Dataset]) -> ImageReference:
        """The reference to the series of these slice headers, in any order."""
        slices = list(slices)
        first = slices[0]
        row, column = np.array(first.ImageOrientationPatient, dtype=float).reshape(2, 3)
        normal = np.cross(row, column)
        positions = np.array([s.ImagePositionPatient for s in slices], dtype=float) @ normal
        order = np.argsort(positions)
        return cls(
            str(first.StudyInstanceUID),
            str(first.SeriesInstanceUID),
            str(first.FrameOfReferenceUID),
            tuple(str(slices[n].SOPInstanceUID) for n in order),
            str(first.SOPClassUID),
            ImagePlanes(normal, positions[order]),
        )


def write_dose(path: str | Path, dose: Dose, **fields: object) -> FileDataset:
    """Write an RTDOSE file atomically; `fields` as for `dose_dataset`, which it returns."""
    return write_dataset(path, dose_dataset(dose, **fields))


def write_structure_set(
    path: str | Path, rois: Sequence[Contours], **fields: object
) -> FileDataset:
    """Write an RTSTRUCT file atomically; `fields` as for `structure_set_dataset`."""
    return write_dataset(path, structure_set_dataset(rois, **fields))


# -- RTDOSE ----------------------------------------------------------------------------------------


def dose_dataset(
    dose: Dose,
    *,
    patient_from: Dataset,
    plans: Sequence[Reference] | None = None,
    bits: int = 32,
    comment: str = "",
    derivation: str = "",
    description: str = "",
    series_uid: str = "",
    sop_uid: str = "",
    series_number: int | None = None,
    created: datetime | None = None,
) -> FileDataset:
    """A complete RTDOSE (PS3.3 A.18.3) of a dose in Gy.

    `patient_from` is any object of the study that the dose belongs to: patient, study and, where
    the dose has none, the frame of reference are taken from it. `plans` defaults to
    `dose.plan_uids` as RT Plans. `bits` is 16 or 32; the highest dose takes the highest stored
    value. `comment` (64 characters are stored) and `derivation` (1,024) say how the dose came to
    be.

    Raises `DoseRefused` for values that DICOM cannot store (negative, not finite) and
    `GeometryError` without a frame of reference.
    """
    if bits not in (16, 32):
        raise ValueError(f"an RTDOSE has 16 or 32 bits, not {bits}")
    frame_uid = dose.frame_uid or Header(patient_from).text("FrameOfReferenceUID")
    if not frame_uid:
        raise GeometryError(
            "the dose has no frame of reference and its study names none; export it again with its "
            "Frame of Reference UID"
        )
    if plans is None:
        plans = [Reference(RTPlanStorage, uid) for uid in dose.plan_uids]
    array, origin, offsets = _frames_along_normal(dose)
    stored, scaling = _stored_values(array, bits)
    if not sop_uid:
        frames = (ds_text(origin), ds_text(dose.grid.direction[:, :2].ravel()), ds_text(offsets))
        spacing = ds_text(dose.grid.spacing_mm)
        meaning = (dose.dose_type, dose.summation_type, comment, scaling, *plans, *spacing)
        content = hashlib.sha256(stored.tobytes()).hexdigest()
        sop_uid = uid_from(
            RTDoseStorage,
            Header(patient_from).text("StudyInstanceUID"),
            frame_uid,
            content,
            frames,
            meaning,
        )
    ds = new_object(RTDoseStorage, ExplicitVRLittleEndian, sop_uid, patient_from, created)
    rt_series(ds, "RTDOSE", series_uid or uid_from(sop_uid, "series"), series_number, description)
    ds.FrameOfReferenceUID = frame_uid
    ds.PositionReferenceIndicator = Header(patient_from).text("PositionReferenceIndicator")
    ds.InstanceNumber = 1
    ds.ContentDate, ds.ContentTime = date_time(created)
    if derivation:
        ds.DerivationDescription = derivation[:1024]
    ds.DoseUnits = "GY"
    ds.DoseType = dose.dose_type
    ds.DoseSummationType = dose.summation_type
    if comment:
        ds.DoseComment = one_line(comment, 64)
    ds.DoseGridScaling = scaling
    if plans:
        ds.ReferencedRTPlanSequence = [reference_item(plan) for plan in plans]
    if dose.structure_set_uid:
        ds.ReferencedStructureSetSequence = [
            reference_item(Reference(RTStructureSetStorage, dose.structure_set_uid))
        ]
    _dose_pixels(ds, dose, stored, bits)
    ds.ImagePositionPatient = ds_text(origin)
    ds.GridFrameOffsetVector = ds_text(offsets)
    return ds


def _frames_along_normal(dose: Dose) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Array, origin and ascending frame offsets with frames ordered along row x column."""
    grid, positions = dose.grid, dose.grid.k_positions_mm
    if np.linalg.det(grid.direction) > 0:
        return dose.array_gy, grid.origin_mm, positions
    # A left-handed grid (k against row x column): the last slice comes first.
    last = grid.origin_mm + grid.normal * positions[-1]
    return dose.array_gy[::-1], last, positions[-1] - positions[::-1]


def _stored_values(array: np.ndarray, bits: int) -> tuple[np.ndarray, str]:
    """Unsigned pixel values and DoseGridScaling as text, so that the maximum takes the whole
    range."""
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DoseRefused("the dose to write has values that are no finite numbers")
    if low < 0:
        raise DoseRefused(f"the dose to write has negative values ({low:g} Gy); RTDOSE is unsigned")
    full = 2**bits - 1
    text = format_number_as_ds(high / full if high > 0 else 1.0 / full)
    stored = np.empty(array.shape, dtype=f"<u{bits // 8}")
    for frame, values in zip(stored, array, strict=True):
        frame[...] = np.minimum(np.rint(values.astype(np.float64) / float(text)), full)
    return stored, text


def _dose_pixels(ds: FileDataset, dose: Dose, stored: np.ndarray, bits: int) -> None:
    direction, spacing = dose.grid.direction, dose.grid.spacing_mm
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.NumberOfFrames, ds.Rows, ds.Columns = stored.shape
    ds.FrameIncrementPointer = 0x3004000C
    ds.PixelSpacing = ds_text(spacing[[1, 0]])
    ds.ImageOrientationPatient = ds_text(direction[:, :2].T.ravel())
    ds.SliceThickness = ds_text(spacing[2:])[0] if dose.grid.is_uniform else ""
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit = bits - 1
    ds.PixelRepresentation = 0
    ds.add_new("PixelData", "OW", stored.tobytes() + b"\0" * (stored.nbytes % 2))


# -- RTSTRUCT --------------------------------------------------------------------------------------


def structure_set_dataset(
    rois: Sequence[Contours],
    *,
    patient_from: Dataset,
    image: ImageReference | None,
    label: str = "RT Pipeline",
    description: str = "",
    series_uid: str = "",
    sop_uid: str = "",
    series_number: int | None = None,
    created: datetime | None = None,
) -> FileDataset:
    """A complete RTSTRUCT (PS3.3 A.19.3).

    ROIs keep their numbers when these are positive and all different, else they are numbered from
    1. `image` is the series that the contours were drawn on; None leaves the reference out
    (contours of a phantom without images). Coordinates are written with as many digits as 16
    characters hold.

    Raises `GeometryError` when a ROI lies in another frame of reference than the image, or in none,
    and `DataError` for coordinates that are no finite numbers.
    """
    numbers = [roi.number for roi in rois]
    if min(numbers, default=1) < 1 or len(set(numbers)) < len(numbers):
        numbers = list(range(1, len(rois) + 1))
    frames = [_roi_frame(roi, image) for roi in rois]
    if not sop_uid:
        content = hashlib.sha256()
        for roi in rois:
            content.update(repr((roi.name, roi.kinds, roi.starts.tolist())).encode())
            content.update(np.ascontiguousarray(roi.points_mm).tobytes())
        sop_uid = uid_from(
            RTStructureSetStorage,
            Header(patient_from).text("StudyInstanceUID"),
            content.hexdigest(),
            label,
        )
    # Implicit VR: an explicit DS value ends at 65,534 bytes, about 1,400 points with all their
    # digits.
    ds = new_object(RTStructureSetStorage, ImplicitVRLittleEndian, sop_uid, patient_from, created)
    rt_series(ds, "RTSTRUCT", series_uid or uid_from(sop_uid, "series"), series_number, description)
    ds.InstanceNumber = 1
    ds.StructureSetLabel = one_line(label, 16)
    ds.StructureSetName = one_line(label, 64)
    if description:
        ds.StructureSetDescription = description[:1024]
    ds.StructureSetDate, ds.StructureSetTime = date_time(created)
    used = sorted({*frames, *([image.frame_uid] if image else [])})
    if len(used) == 1:
        ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = used[0], ""
    ds.ReferencedFrameOfReferenceSequence = [_referenced_frame(uid, image) for uid in used]
    labelled = list(zip(numbers, frames, rois, strict=True))
    ds.StructureSetROISequence = [_roi_item(*parts) for parts in labelled]
    ds[0x30060039] = roi_contour_sequence(
        rois,
        numbers,
        image.planes if image else None,
        image.sop_class_uid if image else "",
        image.instance_uids if image else (),
    )
    ds.RTROIObservationsSequence = [_observation(number, roi) for number, _, roi in labelled]
    ds.ApprovalStatus = "UNAPPROVED"
    # What is encoded already is encoded as the file will be: pydicom need not decode it to write.
    ds.set_original_encoding(True, True, ds.SpecificCharacterSet)
    return ds


def _roi_frame(roi: Contours, image: ImageReference | None) -> str:
    frame_uid = roi.frame_uid or (image.frame_uid if image else "")
    if not frame_uid:
        raise GeometryError(
            f"ROI {roi.name} has no frame of reference and no image to take it from"
        )
    if image and frame_uid != image.frame_uid:
        raise GeometryError(
            f"ROI {roi.name} lies in frame of reference {frame_uid}, not in {image.frame_uid} as "
            "its image; write it with an image of its own frame"
        )
    return frame_uid


def _referenced_frame(frame_uid: str, image: ImageReference | None) -> Dataset:
    item = make_dataset(FrameOfReferenceUID=frame_uid)
    if image:
        instances = [
            reference_item(Reference(image.sop_class_uid, uid)) for uid in image.instance_uids
        ]
        series = make_dataset(SeriesInstanceUID=image.series_uid, ContourImageSequence=instances)
        # Detached Study Management, the class that the standard names for this reference.
        study = reference_item(Reference("1.2.840.10008.3.1.2.3.1", image.study_uid))
        study.RTReferencedSeriesSequence = [series]
        item.RTReferencedStudySequence = [study]
    return item


def _roi_item(number: int, frame_uid: str, roi: Contours) -> Dataset:
    item = make_dataset(
        ROINumber=number,
        ReferencedFrameOfReferenceUID=frame_uid,
        ROIName=one_line(roi.name, 64),
        ROIGenerationAlgorithm=roi.generation_algorithm,
    )
    if len(roi.name) > 64:  # LO ends there: the whole name stands beside it
        item.ROIDescription = roi.name[:1024]
    return item


def _observation(number: int, roi: Contours) -> Dataset:
    return make_dataset(
        ObservationNumber=number,
        ReferencedROINumber=number,
        ROIObservationLabel=one_line(roi.name, 16),
        RTROIInterpretedType=roi.interpreted_type,
        ROIInterpreter="",
    )
