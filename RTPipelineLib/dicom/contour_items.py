"""The ROI Contour Sequence (PS3.3 C.8.8.6) straight from a file's bytes.

Its items are nearly all of a structure set; a general parser spends more time on making objects of
them than on their numbers. This walk takes five elements of each and understands what writers
regularly store: little endian, explicit or implicit VR, lengths defined or not (PS3.5 7.1, 7.5).
Anything else raises `OddItemsError`, and the general parser decides.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

UNDEFINED = 0xFFFFFFFF
CONTOUR_DATA = 0x30060050
_SEQUENCE, _NUMBER, _COLOUR = 0x30060039, 0x30060084, 0x3006002A
_CONTOURS, _KIND, _COUNT = 0x30060040, 0x30060042, 0x30060046
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN"))
_LONG_VRS |= {b"UR", b"UT", b"UV"}
_HEAD = struct.Struct("<HHL").unpack_from
_LONG = struct.Struct("<L").unpack_from
Take = Callable[[int, bytes, int, int | None], int | None]


class OddItemsError(Exception):
    """The bytes are not what the plain walk understands."""


class StoredContour(NamedTuple):
    """One contour: its type, the number of points that it declares, its coordinates as text (None:
    cut off), and the VR that these were stored with ("" in implicit VR)."""

    kind: str
    count: int | None
    text: bytes | None
    vr: str


@dataclass
class StoredRoi:
    """One item of the sequence: the number of its ROI, its colour, its contours, and what is wrong
    with it."""

    number: int | None = None
    colour_rgb: tuple[int, int, int] | None = None
    contours: list[StoredContour] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)


def contour_items(data: bytes, explicit: bool) -> list[StoredRoi]:
    """The items of the sequence element whose bytes are `data`, tag and all.

    Raises `OddItemsError` for what is no such element or not encoded plainly.
    """
    walk = _Walk(data, explicit)
    try:
        if not data or walk.elements(0, len(data), walk.contour_sequence) != len(data):
            raise OddItemsError
    except (struct.error, ValueError, RecursionError) as error:
        raise OddItemsError from error
    return walk.rois


class _Walk:
    """A walk through the sequence. `elements` and `items` return the position behind what they
    walked; an `end` of None stands for an undefined length, which a delimiter ends."""

    def __init__(self, data: bytes, explicit: bool) -> None:
        self.data = data
        self.explicit = explicit
        self.rois: list[StoredRoi] = []

    def elements(self, pos: int, end: int | None, take: Take) -> int:
        """Call `take(tag, vr, begin, end)` for each element; it returns where it came to when it
        walked into the element, None when the element is to be passed over."""
        data = self.data
        while end is None or pos < end:
            group, element, length = _HEAD(data, pos)
            tag, value, vr = group << 16 | element, pos + 8, b""
            if tag == _ITEM_END and end is None:
                return value
            if self.explicit:
                vr = data[pos + 4 : value - 2]
                if vr in _LONG_VRS:
                    value, length = pos + 12, _LONG(data, value)[0]
                elif vr.isalpha() and vr.isupper():
                    length >>= 16
                else:
                    raise OddItemsError
            stop = None if length == UNDEFINED else value + length
            if stop is None and vr == b"UN":  # it holds implicit items (PS3.5 6.2.2)
                raise OddItemsError
            if stop is not None and stop > (len(data) if end is None else end):
                raise OddItemsError
            after = take(tag, vr, value, stop)
            if after is None:
                after = self.items(value, None, self._pass_over) if stop is None else stop
            pos = after
        return pos

    def items(self, pos: int, end: int | None, read: Callable[[int, int | None], int]) -> int:
        """Call `read(begin, end)` for each item of a sequence; it returns where the item ended."""
        while end is None or pos < end:
            group, element, length = _HEAD(self.data, pos)
            tag, pos = group << 16 | element, pos + 8
            if tag == _SEQUENCE_END and end is None:
                return pos
            stop = None if length == UNDEFINED else pos + length
            if tag != _ITEM or (stop is not None and stop > (end or len(self.data))):
                raise OddItemsError
            pos = read(pos, stop)
        return pos

    def _pass_over(self, pos: int, end: int | None) -> int:
        return self.elements(pos, None, lambda *_: None) if end is None else end

    def contour_sequence(self, tag: int, vr: bytes, begin: int, end: int | None) -> int:
        """The ROI Contour Sequence itself."""
        if tag != _SEQUENCE:
            raise OddItemsError
        return self.items(begin, end, self._roi)

    def _roi(self, pos: int, end: int | None) -> int:
        roi = StoredRoi()
        self.rois.append(roi)

        def take(tag: int, vr: bytes, begin: int, end: int | None) -> int | None:
            if tag == _CONTOURS:
                return self.items(begin, end, contour)
            if tag == _NUMBER:
                roi.number = _integer(self.data[begin:end])
            elif tag == _COLOUR:
                roi.colour_rgb = rgb([float(v) for v in _values(self.data[begin:end])])
            return None

        def contour(pos: int, end: int | None) -> int:
            values = {_KIND: b"", _COUNT: b"", CONTOUR_DATA: b""}
            stored = b""

            def take(tag: int, vr: bytes, begin: int, end: int | None) -> None:
                nonlocal stored
                if tag in values:
                    values[tag] = self.data[begin:end]
                    stored = vr if tag == CONTOUR_DATA else stored

            after = self.elements(pos, end, take)
            kind = values[_KIND].decode("ascii").strip(" \0").upper()
            text = values[CONTOUR_DATA].rstrip(b" \0")
            count = _integer(values[_COUNT])
            roi.contours.append(StoredContour(kind, count, text, stored.decode()))
            return after

        return self.elements(pos, end, take)


def rgb(values: list[float]) -> tuple[int, int, int] | None:
    """A display colour, each part within 0..255; None when there are not three."""
    if len(values) != 3:
        return None
    red, green, blue = (int(min(max(value, 0), 255)) for value in values)
    return red, green, blue


def _values(stored: bytes) -> list[bytes]:
    stored = stored.strip(b" \0")
    return stored.split(b"\\") if stored else []


def _integer(stored: bytes) -> int | None:
    """The whole number of an IS; anything but digits and a sign is left to the general parser."""
    values = _values(stored)
    if len(values) > 1:
        raise OddItemsError
    return int(values[0]) if values else None
