"""The header of a DICOM file from its first bytes, without pixels and mostly without pydicom.

`scan_header` walks the data elements of explicit and implicit little endian files itself (PS3.5
chapter 7), because an index reads a hundred thousand of them. What it cannot surely parse (big
endian, deflated, odd VRs) goes to pydicom; both ways end in the same decoding. It also notices
cheaply that a file is cut off.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import warnings
from collections.abc import Callable, MutableSequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from .scan_fields import FIELDS, Header, decode
from .scan_layout import Layouts, Span

if TYPE_CHECKING:
    from pydicom import FileDataset

FIRST_BYTES = 16384
UNDEFINED = 0xFFFFFFFF
MAX_DEPTH = 32  # of nested sequences; real files have fewer than ten

# Left to pydicom: the deflated syntaxes and big endian.
_DEFLATED = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95"})
_NOT_WALKED = _DEFLATED | {"1.2.840.10008.1.2.2"}

_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())

# Tag, VR, length. Read as one number a little endian tag has its halves swapped: (0008,0016) is
# 0x00160008 "as stored". Taking it apart for every element would cost a tenth of the scan.
_EXPLICIT = struct.Struct("<I2sH").unpack_from
_IMPLICIT = struct.Struct("<II").unpack_from
_LENGTH = struct.Struct("<I").unpack_from

_PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_TRANSFER_SYNTAX = 0x00020010
_CONTOURS = 0x30060039  # ROI Contour Sequence, nearly all of an RTSTRUCT's bytes
_ITEM = 0xFFFEE000
_ITEM_STORED, _ITEM_END_STORED, _SEQUENCE_END_STORED = 0xE000FFFE, 0xE00DFFFE, 0xE0DDFFFE
_END_OF_SEQUENCE = struct.pack("<II", _SEQUENCE_END_STORED, 0)

# Where the walk stops to look: also at delimiters, which have no business at the top level.
_WANTED = {
    (tag & 0xFFFF) << 16 | tag >> 16: tag
    for tag in (*FIELDS, *_PIXEL_TAGS, _CONTOURS, _ITEM, _ITEM + 0x0D, _ITEM + 0xDD)
}

# An extension by which people recognise DICOM: such a file that is none is an error, not a find.
DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".dic", ".ima"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a file has no usable header; `damaged` tells a broken DICOM file from any other file."""

    reason: str
    damaged: bool


class _OddError(Exception):
    """The bytes are not what the plain walk understands: pydicom decides."""


class _CutOffError(Exception):
    """The file ends before its data do; the text says where."""


@dataclass(slots=True)
class _Walk:
    """What a walk found: raw values by tag, where its data set begins and how it is encoded, where
    the pixels' value begins and its stated length. `heads` and `cuts` are the spans of all element
    heads and wanted values, for `Layouts`; they count from the start of the last window."""

    values: dict[int, bytes] = field(default_factory=dict)
    start: int = 0
    explicit: bool = True
    pixels: tuple[int, int] | None = None
    contours: Span | None = None
    heads: list[Span] = field(default_factory=list)
    cuts: dict[int, Span] = field(default_factory=dict)


def scan_header(path: str | Path, layouts: Layouts | None = None) -> Header | Refusal:
    """Reads one file's header without its pixels; faster with the `layouts` of files before it.

    Raises OSError when the file cannot be opened or read; everything else that is wrong with it is
    a `Refusal`.
    """
    with io.FileIO(path) as file:
        first = file.read(FIRST_BYTES)
        size = os.fstat(file.fileno()).st_size
        if not _begins_like_dicom(first):
            return _not_dicom(path, size)

        def read(offset: int, count: int) -> bytes:
            file.seek(offset)
            return file.read(count)

        if layouts is not None and (values := layouts.values(first, size)):
            return _named_or_refused(decode(values, "little", True, None), first, path)
        try:
            walk = _file_meta(first)
            _walk(walk, first, read, size)
            if walk.pixels is not None:
                _check_pixels(read, size, *walk.pixels)
        except _CutOffError as cut:
            return Refusal(f"the file ends {cut}; copy it again", True)
        except (_OddError, struct.error):
            return _scan_with_pydicom(path, size)
    if layouts is not None and walk.pixels is not None:
        end, length = walk.pixels
        if end <= len(first) and length != UNDEFINED:
            layouts.learn(first, size, walk.heads, walk.cuts, end)
    header = decode(walk.values, "little", walk.pixels is not None, walk.contours)
    return _named_or_refused(header, first, path)


def content_digest(path: str | Path) -> str:
    """SHA-256 of the data set: everything after the file meta information, which changes with
    every program that passes an object on. Raises OSError."""
    with Path(path).open("rb") as file:
        try:
            start = _file_meta(file.read(FIRST_BYTES)).start
        except (_OddError, _CutOffError, struct.error):
            start = 0
        file.seek(start)
        return hashlib.file_digest(file, "sha256").hexdigest()


def readable_size(n_bytes: int) -> str:
    """`120 kB`, `4.3 MB`: for messages."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.3g} {unit}"
    return f"{n_bytes} bytes"


def _begins_like_dicom(first: bytes) -> bool:
    """The DICM prefix, or (files without preamble) a sane first element of group 0002 or 0008."""
    if first[128:132] == b"DICM":
        return True
    if len(first) < 8:
        return False
    for order in "<>":
        group, element, vr, length = struct.unpack_from(f"{order}HH2sH", first)
        if group in (0x0002, 0x0008) and element <= 0x0070:
            if vr in _SHORT_VRS or vr in _LONG_VRS:
                return length <= 1024
            if order == "<":  # no implicit big endian exists
                return _LENGTH(first, 4)[0] <= 1024
    return False


def _not_dicom(path: str | Path, size: int) -> Refusal:
    named = Path(path).suffix.lower() in DICOM_SUFFIXES
    if size == 0:
        return Refusal("the file is empty" + ("; copy it again" if named else ""), named)
    if named:
        return Refusal("named like DICOM, but its content is not; copy it again", True)
    return Refusal("not a DICOM file", False)


def _named_or_refused(header: Header, first: bytes, path: str | Path) -> Header | Refusal:
    """Without the DICM prefix only a file that says what it is counts as DICOM."""
    if header.sop_class_uid or header.modality or header.meta_class_uid:
        return header
    if first[128:132] == b"DICM":
        return Refusal("its header does not say what it is", True)
    return _not_dicom(path, len(first))


def _file_meta(first: bytes) -> _Walk:
    """Walks group 0002 and finds how the data set after it is encoded."""
    walk = _Walk()
    pos = 0
    if first[128:132] == b"DICM":
        pos = 132
        walk.heads.append((128, 132))
    while pos + 8 <= len(first):
        stored, vr, length = _EXPLICIT(first, pos)
        if stored & 0xFFFF != 0x0002:
            break
        value = pos + 8
        if vr in _LONG_VRS:
            value, length = pos + 12, _LENGTH(first, pos + 8)[0]
        elif vr not in _SHORT_VRS:
            raise _OddError
        end = value + length
        walk.heads.append((pos, value))
        if stored in _WANTED:
            walk.values[_WANTED[stored]] = first[value:end]
            walk.cuts[_WANTED[stored]] = value, end
        pos = end
    if pos > len(first):
        raise _OddError
    syntax = walk.values.get(_TRANSFER_SYNTAX, b"").decode("latin-1").strip("\0 ")
    if syntax in _NOT_WALKED or first[pos : pos + 1] == b"\0":  # 00 08 ..: big endian
        raise _OddError
    if syntax:  # it decides on the walk like a head
        walk.heads.append(walk.cuts[_TRANSFER_SYNTAX])
    walk.start, walk.explicit = pos, _letters(first, pos)
    return walk


def _letters(data: bytes, pos: int) -> bool:
    """Explicit VR, whatever the transfer syntax says: two capitals follow the tag. As a length
    they would be over 16 kB, which no first element of a data set or item has."""
    vr = data[pos + 4 : pos + 6]
    return len(vr) == 2 and 0x40 < vr[0] < 0x5B and 0x40 < vr[1] < 0x5B


def _walk(walk: _Walk, first: bytes, read: Callable[[int, int], bytes], size: int) -> None:
    """Walks the top-level elements up to the pixel data or the end and takes the wanted values.

    Long values are jumped over; `data` is a window on the file that begins at `base`.
    """
    values, heads, explicit = walk.values, walk.heads, walk.explicit
    base, pos, data, window = 0, walk.start, first, FIRST_BYTES
    if pos >= size:
        raise _CutOffError("before its data set")
    while base + pos < size:
        try:
            while True:
                if explicit:
                    stored, vr, length = _EXPLICIT(data, pos)
                    if vr in _SHORT_VRS:
                        value = pos + 8
                    elif vr in _LONG_VRS:
                        value, length = pos + 12, _LENGTH(data, pos + 8)[0]
                    else:
                        raise _OddError
                else:
                    stored, length = _IMPLICIT(data, pos)
                    value = pos + 8
                heads.append((pos, value))
                end = value + length
                if stored in _WANTED or length == UNDEFINED:
                    tag = _WANTED.get(stored, 0)
                    if tag in _PIXEL_TAGS:
                        walk.pixels = base + value, length
                        return
                    if tag >= _ITEM:
                        raise _OddError
                    if length == UNDEFINED:
                        end = _skip_items(data, value, explicit, heads, 0)
                    if tag == _CONTOURS:
                        walk.contours = base + pos, base + end
                    elif tag:
                        if length == UNDEFINED:
                            raise _OddError
                        if end > len(data):
                            raise struct.error  # its bytes are not all in the window
                        values[tag] = data[value:end]
                        walk.cuts[tag] = value, end
                pos = end
        except struct.error:
            at = base + pos
            if at >= size:
                break
            if base + len(data) >= size:
                if not data[pos:].strip(b"\0 "):  # padding
                    break
                raise _CutOffError("in the middle of its header") from None
            if pos == 0:  # one element needs more than the window
                window *= 16
            base, pos, data = at, 0, read(at, min(window, size))
            if not data:  # it shrank meanwhile
                raise _CutOffError("in the middle of its header") from None
    if base + pos > size:
        raise _CutOffError("in the middle of its header")


def _skip_items(data: bytes, pos: int, explicit: bool, heads: list[Span], depth: int) -> int:
    """The position after a sequence (or fragments) of undefined length, PS3.5 7.5.2.

    Raises struct.error when it goes on beyond `data`.
    """
    if depth > MAX_DEPTH:
        raise _OddError
    while True:
        stored, length = _IMPLICIT(data, pos)
        heads.append((pos, pos + 8))
        pos += 8
        if stored == _SEQUENCE_END_STORED:
            return pos
        if stored != _ITEM_STORED:
            raise _OddError
        if length != UNDEFINED:
            pos += length
        else:
            # A UN sequence in an explicit file holds implicit items (PS3.5 6.2.2).
            pos = _skip_elements(data, pos, explicit and _letters(data, pos), heads, depth)


def _skip_elements(data: bytes, pos: int, explicit: bool, heads: list[Span], depth: int) -> int:
    """The position after the elements of an item of undefined length and its delimiter."""
    while True:
        stored, length = _IMPLICIT(data, pos)
        if stored & 0xFFFF == 0xFFFE:
            if stored == _ITEM_END_STORED:
                heads.append((pos, pos + 8))
                return pos + 8
            raise _OddError
        value = pos + 8
        if explicit:
            vr = data[pos + 4 : pos + 6]
            if vr in _SHORT_VRS:
                length >>= 16
            elif vr in _LONG_VRS:
                value, length = pos + 12, _LENGTH(data, pos + 8)[0]
            else:
                raise _OddError
        heads.append((pos, value))
        if length == UNDEFINED:
            pos = _skip_items(data, value, explicit, heads, depth + 1)
        else:
            pos = value + length


def _check_pixels(read: Callable[[int, int], bytes], size: int, value: int, length: int) -> None:
    """Raises _CutOffError when the file is too short for its pixel data."""
    if length != UNDEFINED:
        if value + length > size:
            have = readable_size(max(0, size - value))
            raise _CutOffError(f"after {have} of {readable_size(length)} pixel data")
        return
    if read(size - 8, 8) == _END_OF_SEQUENCE:
        return
    pos = value
    while len(item := read(pos, 8)) == 8:
        stored, fragment = _IMPLICIT(item)
        if stored == _SEQUENCE_END_STORED:
            return
        pos += 8 + fragment
    raise _CutOffError("in the middle of its compressed pixel data")


def _scan_with_pydicom(path: str | Path, size: int) -> Header | Refusal:
    import pydicom

    try:
        with warnings.catch_warnings(), Path(path).open("rb") as file:
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True)
            at = file.tell()
            tail = file.read(12)
            header = _from_dataset(dataset, at, tail, size)
            if header.has_pixels and tail:
                _check_pixels_at(file, dataset, at, tail, size)
    except _CutOffError as cut:
        return Refusal(f"the file ends {cut}; copy it again", True)
    except Exception as error:  # a parser on hostile bytes: whatever it raises, the file is broken
        return Refusal(f"its header cannot be read ({error or type(error).__name__})", True)
    if header.sop_class_uid or header.modality or header.meta_class_uid:
        return header
    return Refusal("its header does not say what it is", True)


def _from_dataset(dataset: FileDataset, at: int, tail: bytes, size: int) -> Header:
    """The same header from what pydicom read up to `at`, where the bytes `tail` begin."""
    if not len(dataset):
        raise _CutOffError("before its data set")
    values: dict[int, bytes] = {}
    for tag in FIELDS:
        source = dataset.file_meta if tag >> 16 == 0x0002 else dataset
        if tag in source:
            values[tag] = _raw_value(source.get_item(tag).value)
    little = dataset.original_encoding[1]
    deflated = str(dataset.file_meta.get("TransferSyntaxUID", "")) in _DEFLATED
    if not deflated:  # else the positions are not the file's, and zlib has checked the end
        for element in dataset.values():
            length = getattr(element, "length", 0)
            if length != UNDEFINED and length > size - getattr(element, "value_tell", 0):
                raise _CutOffError("in the middle of its header")
    has_pixels = deflated or len(tail) >= 8
    return decode(values, "little" if little else "big", has_pixels, None)


def _raw_value(value: object) -> bytes:
    """pydicom keeps bytes until somebody asks, except where it had to ask itself."""
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    parts = value if isinstance(value, MutableSequence) else [value]
    return "\\".join(str(part) for part in parts).encode("latin-1", "replace")


def _check_pixels_at(file: BinaryIO, dataset: FileDataset, at: int, tail: bytes, size: int) -> None:
    """`_check_pixels` for the element header `tail` at position `at`."""
    implicit, little = dataset.original_encoding
    order = "little" if little else "big"
    if implicit or tail[4:6] in _SHORT_VRS:
        value, length = at + 8, int.from_bytes(tail[4:8] if implicit else tail[6:8], order)
    else:
        value, length = at + 12, int.from_bytes(tail[8:12], order)

    def read(offset: int, count: int) -> bytes:
        file.seek(offset)
        return file.read(count)

    _check_pixels(read, size, value, length)
