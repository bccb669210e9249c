"""Spatial Registration out (PS3.3 A.39.1): one rigid matrix between two frames of reference."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ExplicitVRLittleEndian, SpatialRegistrationStorage

from .contour_bytes import ds_text
from .dataset import Header
from .new_object import make_dataset, new_object, one_line, uid_from

# PS3.16 CID 7100.
_BY_IMAGE = ("125024", "DCM", "Image Content-based Alignment")
# No clock is looked at; where the study has no date, the content has this one.
_NO_DAY = "19000101"


def registration_dataset(
    matrix: np.ndarray,
    source_frame: str,
    registered_frame: str,
    *,
    patient_from: Dataset,
    text: str,
) -> FileDataset:
    """A registration that maps points of `source_frame` to `registered_frame` by a rigid `matrix`
    (4, 4) in LPS millimetres, made by comparing images.

    `text` is its Content Description (64 characters are stored). The UID follows from the matrix,
    to 1e-6, and the frames. Raises `DataError` when `patient_from` has no study.
    """
    written = np.round(matrix, 6) + 0.0
    uid = uid_from(SpatialRegistrationStorage, source_frame, registered_frame, written.tolist())
    ds = new_object(SpatialRegistrationStorage, ExplicitVRLittleEndian, uid, patient_from, None)
    ds.Modality = "REG"
    ds.SeriesInstanceUID, ds.SeriesNumber = uid_from(uid, "series"), None
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = registered_frame, ""
    ds.ContentDate, ds.ContentTime = Header(patient_from).text("StudyDate") or _NO_DAY, "000000"
    ds.InstanceNumber, ds.ContentLabel = 1, "OFFER"
    ds.ContentDescription, ds.ContentCreatorName = one_line(text, 64), ""
    ds.RegistrationSequence = [
        _item(registered_frame, np.eye(4)),
        _item(source_frame, written),
    ]
    return ds


def _item(frame_uid: str, matrix: np.ndarray) -> Dataset:
    step = make_dataset(
        FrameOfReferenceTransformationMatrix=ds_text(matrix.ravel()),
        FrameOfReferenceTransformationMatrixType="RIGID",
    )
    value, scheme, meaning = _BY_IMAGE
    code = make_dataset(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)
    registration = make_dataset(RegistrationTypeCodeSequence=[code], MatrixSequence=[step])
    return make_dataset(FrameOfReferenceUID=frame_uid, MatrixRegistrationSequence=[registration])
