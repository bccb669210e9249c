"""Contour coordinates as DICOM bytes: the one large and slow part of a structure set, encoded
whole.

pydicom would make an object of every number and a dataset of every contour; here a ROI's Contour
Sequence (3006,0040) is encoded at once, implicit VR little endian, and handed to pydicom as a raw
element, which it decodes like one that was read from a file.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from ..errors import DataError
from ..model import Contours, ImagePlanes

DS_LENGTH = 16  # characters of one decimal string (PS3.5 6.2)
# A contour belongs to an image when it lies nearer than this to the image's plane.
ON_PLANE_MM = 0.1


def ds_text(values: np.ndarray | Sequence[float]) -> list[str]:
    """Decimal strings of a 1-D array of finite numbers below 1e13 in size.

    Each is the nearest number that 16 characters hold without an exponent: 1e-13 for direction
    cosines, 1e-11 for positions of hundreds of millimetres.
    """
    values = np.asarray(values, dtype=np.float64)
    # Characters left for decimals after sign, whole digits and point; the sign is always counted,
    # and 1 + 1e-12 keeps a place when rounding carries over to one more digit.
    whole = np.floor(np.log10(np.maximum(np.abs(values) * (1 + 1e-12), 1.0))) + 1
    steps = 10.0 ** (DS_LENGTH - 2 - whole)
    # A decimal number of so few digits has a short repr, and trailing zeros fall away.
    return [repr(value) for value in (np.rint(values * steps) / steps + 0.0).tolist()]


def contour_sequence(
    roi: Contours, planes: ImagePlanes | None, sop_class_uid: str, instance_uids: Sequence[str]
) -> RawDataElement:
    """Contour Sequence of a ROI; with `planes`, each contour names the instance it lies on.

    Raises `DataError` for coordinates that are no finite numbers.
    """
    if not np.isfinite(roi.points_mm).all():
        raise DataError(f"ROI {roi.name} has coordinates that are no finite numbers")
    texts = ds_text(roi.points_mm.ravel())
    images = _image_items(roi, planes, sop_class_uid, instance_uids)
    items = []
    for number, kind in enumerate(roi.kinds):
        first, last = int(roi.starts[number]), int(roi.starts[number + 1])
        items.append(
            _item(
                images[number],
                _element(0x30060042, kind),
                _element(0x30060046, str(last - first)),
                _element(0x30060048, str(number + 1)),
                _element(0x30060050, "\\".join(texts[3 * first : 3 * last])),
            )
        )
    value = b"".join(items)
    return RawDataElement(Tag(0x30060040), "SQ", len(value), value, 0, True, True)


def _image_items(
    roi: Contours, planes: ImagePlanes | None, sop_class_uid: str, instance_uids: Sequence[str]
) -> list[bytes]:
    """Contour Image Sequence of every contour, empty where it lies on no image."""
    if planes is None or not len(roi):
        return [b""] * len(roi)
    firsts = np.minimum(roi.starts[:-1], len(roi.points_mm) - 1)
    position = roi.points_mm[firsts] @ planes.normal
    nearest = np.abs(position[:, None] - planes.positions_mm).argmin(axis=1)
    on_plane = np.abs(position - planes.positions_mm[nearest]) <= ON_PLANE_MM
    encoded = [
        _sequence(
            0x30060016,
            _item(_element(0x00081150, sop_class_uid, b"\0"), _element(0x00081155, uid, b"\0")),
        )
        for uid in instance_uids
    ]
    return [encoded[n] if on else b"" for n, on in zip(nearest, on_plane, strict=True)]


def _element(tag: int, text: str, padding: bytes = b" ") -> bytes:
    value = text.encode("ascii")
    value += padding * (len(value) % 2)
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def _sequence(tag: int, items: bytes) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(items)) + items


def _item(*elements: bytes) -> bytes:
    value = b"".join(elements)
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value
