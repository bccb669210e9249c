"""Decimal strings (VR DS, PS3.5 6.2) to float64, many at once and exactly as `float` does.

A structure set holds millions of coordinates as text. Numbers written plainly (an optional minus,
at most 15 digits, at most one point) are a whole number over a power of ten that float64 holds
exactly both, so one division gives the correctly rounded value (Clinger 1990). All else goes
through `float`.
"""

from __future__ import annotations

import numpy as np

_BACKSLASH, _MINUS = 0x5C, 0x2D
_DOT = 0xFE  # "." - "0" as an unsigned byte
_LONGEST = 17  # characters: 15 digits, a point, and the one that the sign took
_POWERS_OF_TEN = 10.0 ** np.arange(_LONGEST + 1)


def parse_decimals(text: bytes) -> np.ndarray:
    """The numbers of `text`, separated by backslashes, as a float64 array.

    Bit-identical to `[float(part) for part in text.split(b"\\\\")]`; raises `ValueError` where that
    does. NaN and infinity are read, not judged.
    """
    numbers = _parse_plain(text)
    if numbers is None:
        parts = text.split(b"\\")
        numbers = np.fromiter(map(float, parts), dtype=np.float64, count=len(parts))
    return numbers


def _parse_plain(text: bytes) -> np.ndarray | None:
    """All numbers at once, one character position after another; None when one is not plain."""
    characters = np.frombuffer(text + b"\\", dtype=np.uint8)
    ends = np.flatnonzero(characters == _BACKSLASH)
    starts = np.concatenate([[0], ends[:-1] + 1])
    negative = characters[starts] == _MINUS
    starts += negative
    width = ends - starts
    longest = int(width.max())
    if longest > _LONGEST:
        return None
    mantissa = np.zeros(ends.size, dtype=np.int64)
    digits = np.zeros(ends.size, dtype=np.int8)
    dots = np.zeros(ends.size, dtype=np.int8)
    whole = np.zeros(ends.size, dtype=np.int8)  # width up to and with the point
    at = starts
    for position in range(longest):
        value = characters[at] - np.uint8(0x30)
        is_digit, is_dot = value < 10, value == _DOT
        mantissa = np.where(is_digit, mantissa * 10 + value, mantissa)
        digits += is_digit
        dots += is_dot
        whole[is_dot] = position + 1
        at = np.minimum(at + 1, ends)
    plain = (digits + dots == width) & (digits > 0) & (digits <= 15) & (dots <= 1)
    if not plain.all():
        return None
    numbers = mantissa / _POWERS_OF_TEN[np.where(dots == 1, width - whole, 0)]
    np.negative(numbers, out=numbers, where=negative)
    return numbers
