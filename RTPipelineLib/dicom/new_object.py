"""What all objects that we write have in common: identifiers, patient, study, equipment, the file.

Nothing here looks at a clock or a random number: the same input makes the same bytes.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset

from .. import __version__
from ..errors import DataError
from ..platform import atomic_path
from .contour_bytes import ds_text
from .dataset import Header

MANUFACTURER = "RT Pipeline"

# Patient (C.7.1.1), Patient Study (C.7.2.2) and General Study (C.7.2.1): an object of a study
# repeats them unchanged. Type 2 ones are written empty when the reference has none.
COPIED_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
COPIED_TYPE_3 = (
    "IssuerOfPatientID",
    "OtherPatientIDs",
    "EthnicGroup",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "PatientAge",
    "StudyDescription",
)
COPIED_NUMBERS = ("PatientSize", "PatientWeight")


class Reference(NamedTuple):
    """Another SOP instance: its class and its UID."""

    sop_class_uid: str
    sop_uid: str


def uid_from(*parts: object) -> str:
    """A UID that is a function of `parts`: 2.25 and a number of 128 bits (PS3.5 B.2)."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def write_dataset(path: str | Path, dataset: FileDataset) -> FileDataset:
    """Write any file dataset so that no reader and no crash ever meets half of it. Raises
    `OutputError` when its place cannot be written."""
    with atomic_path(Path(path)) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)
    return dataset


def new_object(
    sop_class_uid: str,
    transfer_syntax: str,
    sop_uid: str,
    patient_from: Dataset,
    created: datetime | None,
) -> FileDataset:
    """An object with file meta information, SOP Common, General Equipment, and the patient and
    study of `patient_from`, whose malformed values are left out.

    Raises `DataError` when `patient_from` has no Study Instance UID.
    """
    header = Header(patient_from)
    study_uid = header.text("StudyInstanceUID")
    if not study_uid:
        raise DataError(
            "the study to write into has no Study Instance UID; take another object of it"
        )
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class_uid
    meta.MediaStorageSOPInstanceUID = sop_uid
    meta.TransferSyntaxUID = transfer_syntax
    meta.ImplementationClassUID = uid_from(MANUFACTURER, "implementation class")
    meta.ImplementationVersionName = f"RTPIPELINE {__version__}"[:16]
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class_uid, sop_uid
    if created is not None:
        ds.InstanceCreationDate, ds.InstanceCreationTime = date_time(created)
    for keyword in (*COPIED_TYPE_2, *COPIED_TYPE_3):
        text = header.text(keyword)
        if text or keyword in COPIED_TYPE_2:
            setattr(ds, keyword, text)
    for keyword in COPIED_NUMBERS:
        number = header.number(keyword)
        if number is not None:
            setattr(ds, keyword, ds_text([number])[0])
    ds.StudyInstanceUID = study_uid
    ds.Manufacturer = MANUFACTURER
    ds.ManufacturerModelName = "RTPipelineLib"
    ds.SoftwareVersions = __version__
    return ds


def rt_series(ds: Dataset, modality: str, uid: str, number: int | None, description: str) -> None:
    """RT Series module (C.8.8.1)."""
    ds.Modality = modality
    ds.SeriesInstanceUID = uid
    ds.SeriesNumber = number
    ds.OperatorsName = ""
    if description:
        ds.SeriesDescription = one_line(description, 64)


def date_time(created: datetime | None) -> tuple[str, str]:
    return ("", "") if created is None else (f"{created:%Y%m%d}", f"{created:%H%M%S}")


def reference_item(reference: Reference) -> Dataset:
    return make_dataset(
        ReferencedSOPClassUID=reference.sop_class_uid, ReferencedSOPInstanceUID=reference.sop_uid
    )


def make_dataset(**elements: object) -> Dataset:
    ds = Dataset()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def one_line(text: str, length: int) -> str:
    """A short string as DICOM allows it: one line, no backslash (it separates values), no
    longer."""
    return "".join(c if c.isprintable() and c != "\\" else "/" for c in text)[:length].strip()
