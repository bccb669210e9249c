"""Opening DICOM files and asking them for values that may be missing, malformed or lies.

pydicom decodes a value when it is asked for, and raises or warns on the spot. Here the stored bytes
are decoded instead: a bad value becomes an empty one and leaves a flag, so that one wrong character
costs one value and never the object.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pydicom
from pydicom.charset import decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from ..errors import DicomError

# What pydicom raises on damaged bytes (found by feeding it damaged files).
PARSE_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    OSError,
    EOFError,
    struct.error,
    zlib.error,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    LookupError,
    RecursionError,
)

_UNDEFINED_LENGTH = 0xFFFFFFFF
_BINARY_VR = {
    "US": "u2",
    "SS": "i2",
    "UL": "u4",
    "SL": "i4",
    "UV": "u8",
    "SV": "i8",
    "FL": "f4",
    "FD": "f8",
    "OF": "f4",
    "OD": "f8",
}


class _Watched:
    """A file that remembers whether it ended in the middle of an element header.

    pydicom takes that for the regular end of the file.
    """

    cut_short = False

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if size is not None and 0 < len(data) < size <= 8:
            self.cut_short = True
        return data


class _WatchedFile(_Watched, io.BufferedReader):
    """A file on disk."""


class _WatchedBytes(_Watched, io.BytesIO):
    """A file in memory."""


def read_dataset(
    path: str | Path, *, stop_before_pixels: bool = False, content: bytes | None = None
) -> Dataset:
    """Read a DICOM file, with or without preamble; values are decoded when they are asked for.

    `content` stands for the file's bytes when the caller has read them; `path` then only names it.
    Raises `DicomError` when the file cannot be opened, is not DICOM, or ends too early.
    """
    try:
        with _opened(path, content) as file:
            _check_is_dicom(file, path)
            ds = pydicom.dcmread(file, force=True, stop_before_pixels=stop_before_pixels)
            cut_short = file.cut_short or _last_value_is_short(ds)
    except FileNotFoundError:
        raise DicomError("there is no such file", path) from None
    except IsADirectoryError:
        raise DicomError("is a folder, a DICOM file is needed", path) from None
    except PermissionError:
        raise DicomError("may not be read; check its permissions", path) from None
    except PARSE_ERRORS as error:
        raise DicomError(
            f"is damaged DICOM ({_one_line(error)}); export or copy it again", path
        ) from error
    if cut_short:
        raise DicomError("ends before its last element does (truncated); copy it again", path)
    if "SOPClassUID" not in ds and "Modality" not in ds and "SOPInstanceUID" not in ds:
        raise DicomError("is not a DICOM object: it has no SOP Class UID and no Modality", path)
    return ds


def _opened(path: str | Path, content: bytes | None) -> _WatchedFile | _WatchedBytes:
    return _WatchedFile(io.FileIO(path)) if content is None else _WatchedBytes(content)


def _check_is_dicom(file: io.BufferedIOBase, path: str | Path) -> None:
    start = file.read(132)
    file.seek(0)
    # Without a preamble an object begins with group 0002 (file meta) or 0008, in either byte order.
    if start[128:132] != b"DICM" and start[:2] not in (b"\2\0", b"\0\2", b"\x08\0", b"\0\x08"):
        what = "is empty" if not start else "is not a DICOM file"
        raise DicomError(what, path)


def _last_value_is_short(ds: Dataset) -> bool:
    tags = list(ds.keys())
    if not tags:
        return False
    element = ds.get_item(tags[-1])
    length = getattr(element, "length", _UNDEFINED_LENGTH)  # decoded sequences have none
    return length != _UNDEFINED_LENGTH and length > len(element.value or b"")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class Header:
    """Values of a dataset by keyword: empty when missing, empty and flagged when malformed.

    `flags` collects `bad-value:<Keyword>`; the headers of sequence items share their parent's list.
    """

    def __init__(self, ds: Dataset, flags: list[str] | None = None) -> None:
        self.ds = ds
        self.flags: list[str] = [] if flags is None else flags

    def flag(self, flag: str) -> None:
        """Remember a flag, once."""
        if flag not in self.flags:
            self.flags.append(flag)

    def has(self, keyword: str) -> bool:
        """True when the element is there, empty or not."""
        return tag_for_keyword(keyword) in self.ds

    def raw(self, keyword: str) -> object:
        """The stored value: bytes as read, else what was assigned in memory, or None."""
        element = self.ds.get_item(tag_for_keyword(keyword)) if self.has(keyword) else None
        return None if element is None else element.value

    def text(self, keyword: str) -> str:
        """Text or UID, several values joined by a backslash; `""` when missing."""
        value = self.raw(keyword)
        if value is None:
            return ""
        if isinstance(value, bytes):
            charset = self.ds.original_character_set or "iso8859"
            encodings = [charset] if isinstance(charset, str) else list(charset)
            value = decode_bytes(value, encodings, {0x0A, 0x0C, 0x0D, 0x5C, 0x5E, 0x3D})
        elif isinstance(value, pydicom.multival.MultiValue | list | tuple):
            value = "\\".join(str(part) for part in value)
        return "".join(c for c in str(value).strip(" \0\r\n\t") if c >= " " or c in "\r\n\t")

    def texts(self, keyword: str) -> list[str]:
        """All values of a text element, empty ones left out."""
        return [part for part in (p.strip() for p in self.text(keyword).split("\\")) if part]

    def numbers(self, keyword: str) -> list[float]:
        """All numbers of a DS, IS or binary element; empty and flagged when one is malformed."""
        value = self.raw(keyword)
        try:
            numbers = self._parse(keyword, value)
        except (ValueError, TypeError, OverflowError):
            numbers = [math.nan]
        if not all(math.isfinite(number) for number in numbers):
            self.flag(f"bad-value:{keyword}")
            return []
        return numbers

    def _parse(self, keyword: str, value: object) -> list[float]:
        if value is None:
            return []
        if isinstance(value, bytes):
            dtype = _BINARY_VR.get(self._vr(keyword))
            if dtype is not None:
                element = self.ds.get_item(tag_for_keyword(keyword))
                order = "<" if element.is_little_endian else ">"
                return [float(number) for number in np.frombuffer(value, order + dtype)]
            value = value.decode("latin-1")
        if isinstance(value, str):
            value = value.strip(" \0")
            return [float(part) for part in value.split("\\")] if value else []
        if isinstance(value, Iterable):
            return [float(part) for part in value]
        return [float(value)]  # type: ignore[arg-type]

    def _vr(self, keyword: str) -> str:
        tag = tag_for_keyword(keyword)
        vr = self.ds.get_item(tag).VR
        return dictionary_VR(tag)[:2] if vr in (None, "UN") else str(vr)

    def number(self, keyword: str) -> float | None:
        """The one number of an element; None when missing, also flagged when malformed."""
        numbers = self.numbers(keyword)
        if len(numbers) > 1:
            self.flag(f"bad-value:{keyword}")
            return None
        return numbers[0] if numbers else None

    def integer(self, keyword: str) -> int | None:
        """The one whole number of an element; None when missing, also flagged when malformed."""
        number = self.number(keyword)
        if number is None:
            return None
        if number != int(number):
            self.flag(f"bad-value:{keyword}")
            return None
        return int(number)

    def items(self, keyword: str) -> list[Header]:
        """The items of a sequence; none when missing, none and flagged when it cannot be parsed."""
        tag = tag_for_keyword(keyword)
        if tag not in self.ds:
            return []
        try:
            value = self.ds[tag].value
        except PARSE_ERRORS:
            value = None
        if not isinstance(value, pydicom.Sequence):
            if value not in (b"", ""):
                self.flag(f"bad-value:{keyword}")
            return []
        return [Header(item, self.flags) for item in value]

    def item(self, keyword: str) -> Header:
        """The first item of a sequence, or an empty one."""
        items = self.items(keyword)
        return items[0] if items else Header(Dataset(), self.flags)
