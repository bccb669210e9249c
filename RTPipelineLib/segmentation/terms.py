"""What a segment is, in codes, and the colour that it is shown in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..dicom.terms import ANATOMY, TISSUE, Code, Terms

Colour = tuple[int, int, int]
UNKNOWN = Terms(ANATOMY, TISSUE)


@dataclass(frozen=True)
class Term:
    """Codes of a segment, and its colour (r, g, b, 0..255)."""

    codes: Terms = UNKNOWN
    colour: Colour | None = None

    @classmethod
    def from_table(cls, row: Mapping[str, Sequence]) -> Term:
        """From a mapping with `category`, `type`, `modifier` (scheme, value, meaning; empty texts
        for none) and `colour` (three numbers or none)."""
        codes = terms_from(*(row[name] for name in ("category", "type", "modifier")))
        colour = tuple(int(part) for part in row["colour"])
        return cls(codes, colour if len(colour) == 3 else None)


def terms_from(
    category: Sequence[str] | None, kind: Sequence[str] | None, modifier: Sequence[str] | None
) -> Terms:
    """Codes from (scheme, value, meaning); what is not given is an anatomical structure, a
    tissue."""

    def code(parts: Sequence[str] | None) -> Code | None:
        return Code(parts[1], parts[0], parts[2]) if parts and parts[1] else None

    return Terms(code(category) or ANATOMY, code(kind) or TISSUE, code(modifier))


def colour_of(number: int) -> Colour:
    """A colour for the `number`-th segment that has none: hues by the golden angle."""
    from colorsys import hsv_to_rgb

    red, green, blue = hsv_to_rgb(number * 0.61803398875 % 1, 0.65, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)
