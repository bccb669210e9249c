"""The few header fields that the index needs, decoded from their raw bytes."""

from __future__ import annotations

import warnings
from typing import Literal, NamedTuple

CHARACTER_SET = 0x00080005
# Text whose characters follow (0008,0005); every other field is ASCII by its VR.
_TEXT = {0x0008103E: "series_description", 0x00100010: "patient_name", 0x00100020: "patient_id"}
_PLAIN = {
    0x00020002: "meta_class_uid",
    0x00020003: "meta_sop_uid",
    0x00020010: "transfer_syntax",
    0x00080008: "image_type",
    0x00080016: "sop_class_uid",
    0x00080018: "sop_uid",
    0x00080020: "study_date",
    0x00080021: "series_date",
    0x00080031: "series_time",
    0x00080060: "modality",
    0x0020000D: "study_uid",
    0x0020000E: "series_uid",
    0x00200011: "series_number",
    0x00200013: "instance_number",
    0x00200032: "position",
    0x00200037: "orientation",
    0x00200052: "frame_uid",
    0x00280008: "frames",
    0x00280030: "pixel_spacing",
}
_NUMBERS = {0x00280010: "rows", 0x00280011: "columns"}
FIELDS = frozenset({*_TEXT, *_PLAIN, *_NUMBERS, CHARACTER_SET})


class Header(NamedTuple):
    """What the index needs of one file; text without padding, "" or 0 when missing or empty.

    Values of several parts keep DICOM's backslashes (`position` is `-1\\2.5\\3`). `patient_name`
    is here to recognise it in other texts and is never stored. `contours` is where the ROI Contour
    Sequence begins and ends in the file.
    """

    sop_class_uid: str = ""
    sop_uid: str = ""
    meta_class_uid: str = ""
    meta_sop_uid: str = ""
    transfer_syntax: str = ""
    modality: str = ""
    patient_id: str = ""
    patient_name: str = ""
    study_uid: str = ""
    series_uid: str = ""
    frame_uid: str = ""
    study_date: str = ""
    series_date: str = ""
    series_time: str = ""
    series_number: str = ""
    series_description: str = ""
    image_type: str = ""
    instance_number: str = ""
    position: str = ""
    orientation: str = ""
    pixel_spacing: str = ""
    frames: str = ""
    rows: int = 0
    columns: int = 0
    has_pixels: bool = False
    contours: tuple[int, int] | None = None


def decode(
    values: dict[int, bytes],
    order: Literal["little", "big"],
    has_pixels: bool,
    contours: tuple[int, int] | None,
) -> Header:
    """A Header of raw values by tag, binary numbers in this byte order."""
    fields: dict[str, str | int] = {}
    for tag, raw in values.items():
        if tag in _PLAIN:
            fields[_PLAIN[tag]] = raw.decode("latin-1").strip(" \0")
        elif tag in _TEXT:
            fields[_TEXT[tag]] = _text(raw, values.get(CHARACTER_SET, b""))
        elif tag in _NUMBERS and len(raw) == 2:
            fields[_NUMBERS[tag]] = int.from_bytes(raw, order)
    return Header(**fields, has_pixels=has_pixels, contours=contours)


def _text(raw: bytes, character_set: bytes) -> str:
    if raw.isascii() and b"\x1b" not in raw:
        text = raw.decode("ascii")
    else:
        from pydicom.charset import convert_encodings, decode_bytes

        terms = [term.strip() for term in character_set.decode("latin-1").strip("\0 ").split("\\")]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # These four characters reset the escape sequences (PS3.5 6.1.2.5.3).
            try:
                text = decode_bytes(raw, convert_encodings(terms), {0x0D, 0x0A, 0x09, 0x0C})
            except (LookupError, ValueError):  # no character set at all; PS3.3's default is ASCII
                text = raw.decode("latin-1")
    if "\\" not in text:
        return text.strip(" \0")
    return "\\".join(part.strip(" \0") for part in text.split("\\"))
