"""Contour coordinates as DICOM bytes: the one large and slow part of a structure set, encoded
whole.

pydicom would make an object of every number and a dataset of every contour; here the ROI Contour
Sequence (3006,0039) is encoded at once, implicit VR little endian, and handed to pydicom as a raw
element, which it decodes like one that was read from a file, or writes as it is.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from ..errors import DataError
from ..model import Contours, ImagePlanes

DS_LENGTH = 16  # characters of one decimal string (PS3.5 6.2)
# A contour belongs to an image when it lies nearer than this to the image's plane.
ON_PLANE_MM = 0.1
# Coordinates with so many places behind the point are encoded all at once.
DIGITS = 4
STEPS = 10.0**DIGITS


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


def roi_contour_sequence(
    rois: Sequence[Contours],
    numbers: Sequence[int],
    planes: ImagePlanes | None,
    sop_class_uid: str,
    instance_uids: Sequence[str],
) -> RawDataElement:
    """ROI Contour Sequence of ROIs under these numbers; with `planes`, each contour names the
    instance it lies on.

    Raises `DataError` for coordinates that are no finite numbers.
    """
    items = []
    for roi, number in zip(rois, numbers, strict=True):
        parts = []
        if roi.colour_rgb is not None:
            parts.append(_element(0x3006002A, "\\".join(str(int(c)) for c in roi.colour_rgb)))
        if len(roi):
            contours = _contour_items(roi, planes, sop_class_uid, instance_uids)
            parts.append(_sequence(0x30060040, contours))
        items.append(_item(*parts, _element(0x30060084, str(number))))
    value = b"".join(items)
    return RawDataElement(Tag(0x30060039), "SQ", len(value), value, 0, True, True)


def _contour_items(
    roi: Contours, planes: ImagePlanes | None, sop_class_uid: str, instance_uids: Sequence[str]
) -> bytes:
    """The items of a ROI's Contour Sequence."""
    if not np.isfinite(roi.points_mm).all():
        raise DataError(f"ROI {roi.name} has coordinates that are no finite numbers")
    texts = _joined(roi.points_mm.ravel(), 3 * roi.starts)
    images = _image_items(roi, planes, sop_class_uid, instance_uids)
    kinds = {kind: _element(0x30060042, kind) for kind in set(roi.kinds)}
    items = []
    sizes = np.diff(roi.starts).tolist()
    for number, (kind, size, text) in enumerate(zip(roi.kinds, sizes, texts, strict=True)):
        items.append(
            _item(
                images[number],
                kinds[kind],
                _element(0x30060046, str(size)),
                _element(0x30060048, str(number + 1)),
                _element(0x30060050, text),
            )
        )
    return b"".join(items)


def _joined(values: np.ndarray, starts: np.ndarray) -> list[str]:
    """The decimal strings of each run of values, joined by backslashes."""
    stored = np.rint(values * STEPS)
    if not np.array_equal(stored / STEPS, values) or np.abs(stored).max(initial=0) >= 2**31:
        texts = ds_text(values)
        return ["\\".join(texts[first:last]) for first, last in pairwise(starts.tolist())]
    characters, lengths = _fixed(stored.astype(np.int32))
    ends = np.concatenate([[0], np.cumsum(lengths)])[starts]
    text = characters.tobytes().decode("ascii")
    return [text[first + 1 : last] for first, last in pairwise(ends.tolist())]


def _fixed(stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Characters of the numbers `stored` / `STEPS`, a backslash before each, and how many each
    has. Digit by digit from the last, for all numbers at once; as `ds_text` has them."""
    columns, used = [], []
    rest = np.abs(stored).astype(np.uint32)
    seen = np.zeros(len(rest), dtype=bool)
    for place in range(DIGITS, 0, -1):
        rest, digit = rest // 10, rest % 10
        seen = seen | (digit > 0) | (place == 1)  # zeros at the end fall away
        columns.append(digit + ord("0"))
        used.append(seen)
    columns.append(np.full(len(rest), ord(".")))
    used.append(np.ones(len(rest), dtype=bool))
    while not columns[DIGITS + 1 :] or rest.any():
        used.append((rest > 0) | (len(columns) == DIGITS + 1))
        columns.append(rest % 10 + ord("0"))
        rest = rest // 10
    columns += [np.full(len(rest), ord("-")), np.full(len(rest), ord("\\"))]
    used += [stored < 0, np.ones(len(rest), dtype=bool)]
    keep = np.stack(used[::-1], axis=1)
    characters = np.stack([column.astype(np.uint8) for column in columns[::-1]], axis=1)
    return characters[keep], np.count_nonzero(keep, axis=1)


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
