"""Small DICOM objects for the reader tests, written by pydicom alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

STORAGE = "1.2.840.10008.5.1.4.1.1."
RT_DOSE, RT_STRUCT, RT_PLAN = STORAGE + "481.2", STORAGE + "481.3", STORAGE + "481.5"
RT_ION_PLAN, BEAMS_RECORD = STORAGE + "481.8", STORAGE + "481.4"
CT_IMAGE, MR_IMAGE, PET_IMAGE = STORAGE + "2", STORAGE + "4", STORAGE + "128"
ENHANCED_CT = STORAGE + "2.1"
SPATIAL_REG, DEFORMABLE_REG = STORAGE + "66.1", STORAGE + "66.3"


def item(**values: object) -> Dataset:
    """A dataset (of a sequence item) with these attributes."""
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, DicomSequence(value) if keyword.endswith("Sequence") else value)
    return ds


def rt_object(sop_class: str, modality: str, **values: object) -> Dataset:
    """An object with the attributes that all objects have."""
    common = {
        "SOPClassUID": sop_class,
        "SOPInstanceUID": generate_uid(),
        "Modality": modality,
        "PatientID": "P1",
        "PatientName": "Doe^Jane",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "FrameOfReferenceUID": "1.2.3.5",
    }
    return item(**common | values)


def save(ds: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write `ds` as a DICOM file in the given transfer syntax."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID or generate_uid()
    ds.save_as(path, enforce_file_format=True)
    return path


def dose(
    array: np.ndarray,
    *,
    position: Sequence[float] = (0, 0, 0),
    orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
    spacing: Sequence[float] = (2, 2),
    offsets: Sequence[float] | None = None,
    scaling: str = "0.001",
    **values: object,
) -> Dataset:
    """An RT Dose whose stored values are `array` `[frame, row, column]`; None removes a value."""
    ds = rt_object(
        RT_DOSE,
        "RTDOSE",
        DoseUnits="GY",
        DoseType="PHYSICAL",
        DoseSummationType="PLAN",
        ImagePositionPatient=[ds_text(v) for v in position],
        ImageOrientationPatient=[ds_text(v) for v in orientation],
        PixelSpacing=[ds_text(v) for v in spacing],
        NumberOfFrames=len(array),
        DoseGridScaling=scaling,
        FrameIncrementPointer=0x3004000C,
    )
    if offsets is not None:
        ds.GridFrameOffsetVector = [ds_text(v) for v in offsets]
    pixels(ds, array)
    change(ds, values)
    return ds


def pixels(ds: Dataset, array: np.ndarray) -> None:
    """Monochrome pixel data, little endian, from `[row, column]` or `[frame, row, column]`."""
    bits = 8 * array.dtype.itemsize
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = array.shape[-2:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, bits, bits - 1
    ds.PixelRepresentation = int(array.dtype.kind == "i")
    ds.PixelData = array.tobytes()
    ds["PixelData"].VR = "OW"


def image(
    array: np.ndarray,
    position: Sequence[float],
    *,
    modality: str = "CT",
    orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
    spacing: Sequence[float] = (1, 1),
    **values: object,
) -> Dataset:
    """One slice of a CT, MR or PET series; None removes a value."""
    sop_class = {"CT": CT_IMAGE, "MR": MR_IMAGE, "PT": PET_IMAGE}[modality]
    ds = rt_object(
        sop_class,
        modality,
        ImagePositionPatient=[ds_text(v) for v in position],
        ImageOrientationPatient=[ds_text(v) for v in orientation],
        PixelSpacing=[ds_text(v) for v in spacing],
        SliceThickness="2",
        RescaleSlope="1",
        RescaleIntercept="-1024",
    )
    pixels(ds, array)
    change(ds, values)
    return ds


def structure_set(contours: Sequence[Mapping[str, object]], **values: object) -> Dataset:
    """A structure set with one ROI (number 1, `Organ`) of these Contour Sequence items."""
    ds = rt_object(
        RT_STRUCT,
        "RTSTRUCT",
        StructureSetLabel="CT_1",
        StructureSetROISequence=[
            item(ROINumber=1, ROIName="Organ", ReferencedFrameOfReferenceUID="1.2.3.5")
        ],
        ROIContourSequence=[
            item(
                ReferencedROINumber=1,
                ROIDisplayColor=[255, 0, 10],
                ContourSequence=[item(**contour) for contour in contours],
            )
        ],
        RTROIObservationsSequence=[item(ReferencedROINumber=1, RTROIInterpretedType="ORGAN")],
    )
    change(ds, values)
    return ds


def change(ds: Dataset, values: Mapping[str, object]) -> None:
    """Set attributes; None deletes."""
    for keyword, value in values.items():
        if value is None:
            delattr(ds, keyword)
        else:
            is_sequence = keyword.endswith("Sequence")
            setattr(ds, keyword, DicomSequence(value) if is_sequence else value)


def ds_text(value: float) -> str:
    """A number as a Decimal String of at most 16 characters."""
    for digits in range(15, 0, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    raise ValueError(value)
