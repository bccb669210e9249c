"""The plain walk through the ROI Contour Sequence: equal to pydicom, or declined."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from RTPipelineLib.dicom.contour_items import OddItemsError, contour_items

SEQUENCE = "ROIContourSequence"


def structure_set(undefined: bool) -> Dataset:
    """Two ROIs, one with an image reference in each contour, one without contours."""
    ds = Dataset()
    first, second = Dataset(), Dataset()
    first.ReferencedROINumber, first.ROIDisplayColor = 7, [255, 300, 0]
    first.ContourSequence = []
    for k in range(3):
        contour, image = Dataset(), Dataset()
        image.ReferencedSOPInstanceUID = f"1.2.{k}"
        contour.ContourImageSequence = [image]
        contour.ContourGeometricType = "CLOSED_PLANAR"
        contour.NumberOfContourPoints = 3
        contour.ContourData = [0.5, 1, k, 2, 3, k, -4.25, 5, k]
        first.ContourSequence.append(contour)
    second.ReferencedROINumber = 12
    ds.ROIContourSequence = [first, second]
    if undefined:
        _make_undefined(ds)
    return ds


def _make_undefined(ds: Dataset) -> None:
    for element in ds:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                _make_undefined(item)


def encoded(ds: Dataset, implicit: bool) -> bytes:
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, ds, implicit_vr=implicit, little_endian=True)
    return buffer.getvalue()


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("implicit", [False, True])
def test_items_are_those_that_were_written(implicit, undefined):
    first, second = contour_items(encoded(structure_set(undefined), implicit), not implicit)
    assert (first.number, first.colour_rgb) == (7, (255, 255, 0))
    assert (second.number, second.colour_rgb, second.contours) == (12, None, [])
    assert [c.kind for c in first.contours] == ["CLOSED_PLANAR"] * 3
    assert [c.count for c in first.contours] == [3] * 3
    for k, contour in enumerate(first.contours):
        values = [float(v) for v in contour.text.split(b"\\")]
        assert values == [0.5, 1, k, 2, 3, k, -4.25, 5, k]
        assert contour.vr == ("" if implicit else "DS")


@pytest.mark.parametrize("implicit", [False, True])
def test_every_truncation_is_declined(implicit):
    data = encoded(structure_set(undefined=True), implicit)
    for length in range(len(data)):
        with pytest.raises(OddItemsError):
            contour_items(data[:length], not implicit)


@pytest.mark.parametrize("implicit", [False, True])
def test_damaged_bytes_are_read_or_declined_and_nothing_else(implicit):
    data = encoded(structure_set(undefined=True), implicit)
    rng = np.random.default_rng(1)
    declined = 0
    for _ in range(3000):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] = rng.integers(256)
        try:
            contour_items(bytes(damaged), not implicit)
        except OddItemsError:
            declined += 1
    assert declined > 300


def test_another_element_is_declined():
    ds = Dataset()
    ds.StructureSetROISequence = [Dataset()]
    with pytest.raises(OddItemsError):
        contour_items(encoded(ds, True), False)
