"""Slices of a course on its page: the image with isodose regions and outlines drawn over it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence

import numpy as np

from ..model import CLINICAL, EDITED
from ..structures.derived import DERIVED
from .cells import dose_text, nothing
from .figures import PALETTE, luminance
from .markup import Markup, element, joined
from .planes import Loops, Outline, Picture, Slices

# Ascending in lightness, so that the order is seen without colour too (matplotlib's plasma).
WASH = ("#0d0887", "#5c01a6", "#9c179e", "#cc4778", "#ed7953", "#fdb42f", "#f0f921")
SHARES = (20, 40, 60, 80, 95, 100, 107)  # percent of the reference dose
# Line styles of who drew a structure: people, a program, the derivation from others.
LINES = {CLINICAL: None, DERIVED: "1 3", EDITED: "8 2 1 2"}
PROGRAM = "6 3"
LONGER = 500  # drawing units along the longer side: whole numbers keep the page small
SCALE_MM = 50.0
DARKEST = 0.25  # relative luminance of a line on the dark image


def levels_of(reference_gy: float, highest_gy: float) -> tuple[float, ...]:
    """The isodose levels in Gy, as far as the dose reaches."""
    levels = (reference_gy * share / 100 for share in SHARES)
    return tuple(level for level in levels if 0 < level <= highest_gy)


def slices_section(slices: Slices, units: str) -> Markup:
    """The pictures with one legend for all of them."""
    notes = [nothing(note) for note in slices.notes]
    if not slices.pictures:
        return joined(*(notes or [nothing("no pictures")]))
    figures = [_figure(picture, slices, units) for picture in slices.pictures]
    legend = element("div", _doses(slices, units), _structures(slices.pictures), class_="keys")
    return joined(element("div", joined(*figures), class_="slices"), legend, *notes)


# -- one picture ----------------------------------------------------------------------------------


def _figure(picture: Picture, slices: Slices, units: str) -> Markup:
    """A picture under its title."""
    unit = LONGER / max(picture.width_mm, picture.height_mm)
    width, height = round(picture.width_mm * unit), round(picture.height_mm * unit)
    data = b64encode(picture.image).decode()
    image = element(
        "image",
        href=f"data:image/jpeg;base64,{data}",
        width=width,
        height=height,
        preserveAspectRatio="none",
    )
    wash = [
        element("path", d=_path(loops, unit), fill=colour)
        for loops, colour in zip(picture.isodoses, WASH, strict=False)
        if loops
    ]
    lines = [_line(outline, number, unit) for number, outline in enumerate(picture.outlines)]
    svg = element(
        "svg",
        image,
        element("g", joined(*wash), class_="wash"),
        element("g", joined(*lines), class_="outlines"),
        _marks(picture, width, height, unit),
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label=_spoken(picture, units),
    )
    caption = element("figcaption", _title(picture))
    return element("figure", svg, caption)


def _title(picture: Picture) -> str:
    axis = "xyz"[picture.plane.axis]
    return (
        f"{picture.plane.name.capitalize()}, {axis} = {picture.place_mm:.1f} mm, {picture.through}"
    )


def _spoken(picture: Picture, units: str) -> str:
    """The picture in words."""
    names = ", ".join(dict.fromkeys(outline.name for outline in picture.outlines))
    dose = ""
    if picture.highest_gy is not None:
        dose = f" Highest dose in this plane {dose_text(picture.highest_gy, units)} {units}."
    return f"{_title(picture)}. Structures: {names or 'none'}.{dose}"


def _line(outline: Outline, number: int, unit: float) -> Markup:
    return element(
        "path",
        element("title", _label(outline)),
        d=_path(outline.loops, unit),
        stroke=_on_dark(_colour(outline, number)),
        stroke_dasharray=_dash(outline.source),
    )


def _marks(picture: Picture, width: int, height: int, unit: float) -> Markup:
    """Orientation letters, a scale, and the hottest point."""
    left, right, top, bottom = picture.plane.letters
    size = max(width, height) // 22
    edge = size // 2
    places = (
        (left, edge, height // 2, "start"),
        (right, width - edge, height // 2, "end"),
        (top, width // 2, size, "middle"),
        (bottom, width // 2, height - edge, "middle"),
    )
    letters = [
        element("text", letter, x=x, y=y, text_anchor=anchor, font_size=size)
        for letter, x, y, anchor in places
    ]
    parts = [joined(*letters)]
    scale = round(SCALE_MM * unit)
    if scale < width // 2:
        base = height - edge
        parts.append(element("path", d=f"M{edge} {base}h{scale}", class_="scale"))
        words = f"{SCALE_MM / 10:g} cm"
        parts.append(
            element("text", words, x=edge, y=base - size // 3, font_size=round(size * 0.7))
        )
    if picture.hottest_mm is not None:
        x, y = (round(value * unit) for value in picture.hottest_mm)
        arm = size // 2
        cross = f"M{x - arm} {y}h{2 * arm}M{x} {y - arm}v{2 * arm}"
        parts.append(element("path", element("title", "hottest point"), d=cross, class_="hottest"))
    return element("g", joined(*parts), class_="marks", aria_hidden="true")


def _path(loops: Loops, unit: float) -> str:
    """Loops as whole drawing units, each point relative to the one before."""
    parts = []
    for loop in loops:
        points = np.rint(loop * unit).astype(int)
        steps = np.diff(points, axis=0)
        steps = steps[np.any(steps != 0, axis=1)]
        moves = " ".join(f"{x} {y}" for x, y in steps.tolist()).replace(" -", "-")
        parts.append(f"M{points[0, 0]} {points[0, 1]}l{moves}z")
    return "".join(parts)


# -- legend ---------------------------------------------------------------------------------------


def _doses(slices: Slices, units: str) -> Markup | None:
    if not slices.levels_gy:
        return None
    items = []
    for level, colour in reversed(list(zip(slices.levels_gy, WASH, strict=False))):
        swatch = element(
            "svg",
            element("rect", width=28, height=14, fill=colour),
            viewBox="0 0 28 14",
            aria_hidden="true",
        )
        percent = f" ({100 * level / slices.reference_gy:.0f} %)" if slices.reference_gy else ""
        items.append(element("li", swatch, f"at least {dose_text(level, units)} {units}{percent}"))
    whole = f"Dose {slices.dose}; percent of {slices.reference}"
    if any(picture.hottest_mm is not None for picture in slices.pictures):
        whole += "; the cross marks the hottest point"
    return element("div", element("p", whole), element("ul", joined(*items), class_="legend"))


def _structures(pictures: Sequence[Picture]) -> Markup | None:
    shown: dict[tuple[str, str], tuple[Outline, int]] = {}
    for picture in pictures:
        for number, outline in enumerate(picture.outlines):
            shown.setdefault((outline.name, outline.source), (outline, number))
    if not shown:
        return None
    items = [_key(outline, number) for outline, number in shown.values()]
    words = _styles(source for _, source in shown)
    return element(
        "div", element("p", words), element("ul", joined(*items), class_="legend outlined")
    )


def _key(outline: Outline, number: int) -> Markup:
    line = element(
        "line",
        x1=2,
        y1=7,
        x2=26,
        y2=7,
        stroke=_on_dark(_colour(outline, number)),
        stroke_dasharray=_dash(outline.source),
    )
    swatch = element("svg", line, viewBox="0 0 28 14", class_="dark", aria_hidden="true")
    return element("li", swatch, _label(outline))


def _styles(sources: Iterable[str]) -> str:
    """What the line styles that occur mean."""
    words = {
        None: "solid: clinical",
        PROGRAM: "dashed: by a program",
        LINES[DERIVED]: "dotted: derived",
        LINES[EDITED]: "dash-dotted: edited",
    }
    return "Structures, " + ", ".join(
        words[dash] for dash in dict.fromkeys(_dash(source) for source in sources)
    )


def _label(outline: Outline) -> str:
    return outline.name if outline.source == CLINICAL else f"{outline.name} ({outline.source})"


def _dash(source: str) -> str | None:
    return LINES.get(source, PROGRAM)


def _colour(outline: Outline, number: int) -> tuple[int, int, int]:
    return outline.colour_rgb or PALETTE[number % len(PALETTE)]


def _on_dark(colour: tuple[int, int, int]) -> str:
    """The colour as `#rrggbb`, lightened until it stands out from a dark image."""
    rgb = np.clip(np.asarray(colour, dtype=np.float64), 0, 255)
    while luminance(rgb) < DARKEST:
        rgb = rgb + 0.05 * (255 - rgb)
    red, green, blue = (int(v) for v in rgb)
    return f"#{red:02x}{green:02x}{blue:02x}"
