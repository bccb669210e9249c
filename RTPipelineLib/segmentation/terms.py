"""What a segment is, in codes: DICOM's segmented property category, type and modifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Code = tuple[str, str, str]  # coding scheme, value, meaning
ANATOMY: Code = ("SCT", "123037004", "Anatomical Structure")
TISSUE: Code = ("SCT", "85756007", "Tissue")


@dataclass(frozen=True)
class Term:
    """Codes (scheme, value, meaning) of a segment, and its colour (r, g, b, 0..255).

    PS3.3 C.8.20.4: Segmented Property Category, Segmented Property Type and its modifier.
    """

    category: Code = ANATOMY
    type: Code = TISSUE
    modifier: Code | None = None
    colour: tuple[int, int, int] | None = None

    @classmethod
    def from_table(cls, row: Mapping[str, Sequence]) -> Term:
        """From a mapping with `category`, `type`, `modifier` (three texts each) and `colour`."""

        def code(name: str) -> Code | None:
            scheme, value, meaning = row[name]
            return (scheme, value, meaning) if value else None

        red_green_blue = row["colour"]
        colour = tuple(int(part) for part in red_green_blue) if len(red_green_blue) == 3 else None
        return cls(code("category") or ANATOMY, code("type") or TISSUE, code("modifier"), colour)


def colour_of(number: int) -> tuple[int, int, int]:
    """A colour for the `number`-th segment that has none: hues by the golden angle."""
    from colorsys import hsv_to_rgb

    red, green, blue = hsv_to_rgb(number * 0.61803398875 % 1, 0.65, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)
