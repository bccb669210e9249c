"""Dose-volume histograms as inline SVG: light, readable in print and without colour vision.

`dvh.js` makes the legend hide and show curves, and reads them at a dose; without it the plot stands
as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np

from .markup import Markup, element, joined

WIDTH, HEIGHT = 860, 460  # of the drawing, in CSS pixels
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 12, 50  # margins around the axes
TOLERANCE = 0.15  # pixels by which a simplified curve may miss the curve
CONTRAST = 3.0  # of a line against white: WCAG 2.1, 1.4.11

# Okabe and Ito's palette without yellow, for structures without a colour of their own.
PALETTE = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (0, 0, 0))
DASHES = ("", "9 4", "2 3", "12 4 2 4", "5 2")

# The source of a curve that the planning system stored; it is drawn in dots of the ROI's colour.
PLANNING_SYSTEM = "planning system"
DOTS = "1 4"


@dataclass(frozen=True, eq=False)
class Curve:
    """One cumulative DVH: ascending `dose_gy` (n,) and `volume_percent` (n,) from 100 downwards.

    `low_percent` and `high_percent` (n,), if given, are the ends of a band around it.
    """

    roi_name: str
    dose_gy: np.ndarray
    volume_percent: np.ndarray
    colour_rgb: tuple[int, int, int] | None = None
    dose_source: str = ""
    source: str = "clinical"
    low_percent: np.ndarray | None = None
    high_percent: np.ndarray | None = None


def dvh_plot(curves: Sequence[Curve], units: str = "Gy") -> Markup:
    """The curves with axes and legend; `units` (Gy or cGy) is that of the dose axis.

    Each dose source has its own dash pattern. Every curve can be reached by the keyboard and says
    its name; pointing at it shows the name too. Legend and curves belong together by `data-key`.
    """
    scale = 100.0 if units == "cGy" else 1.0
    drawn = [curve for curve in curves if len(curve.dose_gy)]
    highest = max((_reach(curve) for curve in drawn), default=0.0) * scale
    step = nice_step(highest)
    limit = max(step, math.ceil(highest / step - 1e-9) * step)
    sources = list(dict.fromkeys(curve.dose_source for curve in drawn))
    names = list(dict.fromkeys(curve.roi_name for curve in drawn))
    lines, keys = [], []
    for number, curve in enumerate(drawn):
        colour = readable(curve.colour_rgb or PALETTE[names.index(curve.roi_name) % len(PALETTE)])
        dash = DASHES[sources.index(curve.dose_source) % len(DASHES)] or None
        if curve.source == PLANNING_SYSTEM:
            dash = DOTS
        label = label_of(curve, len(sources) > 1)
        key = PLANNING_SYSTEM if curve.source == PLANNING_SYSTEM else label
        lines.append(_line(curve, scale, limit, colour, dash, label, key, number))
        if curve.source != PLANNING_SYSTEM:
            keys.append(_legend_entry(colour, dash, label))
    if len(keys) < len(lines):  # one entry for all of them: they have the colours of ours
        keys.append(_legend_entry("#555", DOTS, PLANNING_SYSTEM))
    svg = element(
        "svg",
        element("title", "Cumulative dose-volume histogram"),
        _axes(limit, step, units),
        element("g", joined(*lines), class_="curves"),
        element("line", y1=TOP, y2=HEIGHT - BOTTOM, class_="cursor", hidden=""),
        data_left=LEFT,
        data_right=WIDTH - RIGHT,
        data_top=TOP,
        data_bottom=HEIGHT - BOTTOM,
        data_limit=f"{limit:g}",
        data_units=units,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="group",
        aria_label=f"Cumulative dose-volume histogram, {len(drawn)} curves; the legend names them",
        class_="dvh",
    )
    hint = "Point at the plot, or press the arrow keys on a curve, to read volumes at a dose."
    aside = element(
        "div",
        element("p", hint, class_="readout soft", aria_live="polite"),
        element("ul", joined(*keys), class_="legend"),
        class_="aside",
    )
    return element("div", svg, aside, class_="figure")


def plot_script() -> str:
    """The script of the plot."""
    return resources.files(__package__).joinpath("dvh.js").read_text(encoding="utf-8")


def readable(colour: tuple[int, int, int]) -> str:
    """The colour as `#rrggbb`, darkened until it stands out from white."""
    rgb = np.clip(np.asarray(colour, dtype=np.float64), 0, 255)
    while 1.05 / (luminance(rgb) + 0.05) < CONTRAST:
        rgb = rgb * 0.95
    red, green, blue = (int(v) for v in rgb)
    return f"#{red:02x}{green:02x}{blue:02x}"


def simplified(points: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray:
    """Fewer of the points (n, 2); the line through them passes the others within `tolerance`.

    Ramer (1972), Douglas and Peucker (1973), without recursion.
    """
    if len(points) < 3:
        return points
    keep = np.zeros(len(points), dtype=bool)
    keep[[0, -1]] = True
    spans = [(0, len(points) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        distance = _distance(points[first + 1 : last], points[first], points[last])
        worst = int(np.argmax(distance))
        if distance[worst] > tolerance:
            middle = first + 1 + worst
            keep[middle] = True
            spans += [(first, middle), (middle, last)]
    return points[keep]


# -- parts of the drawing -------------------------------------------------------------------------


def _line(
    curve: Curve,
    scale: float,
    limit: float,
    colour: str,
    dash: str | None,
    label: str,
    key: str,
    number: int,
) -> Markup:
    points = _drawn(curve.dose_gy, curve.volume_percent, scale, limit)
    if not len(points):
        return Markup("")
    path = "M" + "L".join(f"{short(x)} {short(y)}" for x, y in points)
    name = f"dvh-{number}"
    return element(
        "g",
        element("title", label),
        _band(curve, scale, limit, colour),
        element("path", id=name, d=path),
        element("use", href=f"#{name}", class_="reach"),
        class_="curve",
        stroke=colour,
        stroke_dasharray=dash,
        tabindex=0,
        role="img",
        aria_label=label,
        data_key=key,
    )


def _band(curve: Curve, scale: float, limit: float, colour: str) -> Markup | None:
    """The area between both ends of the band; None where there is none."""
    if curve.low_percent is None or curve.high_percent is None:
        return None
    low = _drawn(curve.dose_gy, curve.low_percent, scale, limit)
    high = _drawn(curve.dose_gy, curve.high_percent, scale, limit)
    if not (len(low) and len(high)):
        return None
    corners = " ".join(f"{short(x)},{short(y)}" for x, y in [*high, *low[::-1]])
    return element("polygon", points=corners, fill=colour, class_="band")


def _drawn(dose_gy: np.ndarray, percent: np.ndarray, scale: float, limit: float) -> np.ndarray:
    """A curve in pixels (n, 2), with as few points as it takes; empty where nothing is known."""
    dose = np.asarray(dose_gy, dtype=np.float64) * scale
    volume = np.asarray(percent, dtype=np.float64)
    valid = np.isfinite(dose) & np.isfinite(volume)
    points = np.column_stack([_x(dose[valid], limit), _y(np.clip(volume[valid], 0, 100))])
    return simplified(points)


def _legend_entry(colour: str, dash: str | None, label: str) -> Markup:
    swatch = element(
        "svg",
        element("line", x1=0, y1=5, x2=28, y2=5, stroke=colour, stroke_dasharray=dash),
        viewBox="0 0 28 10",
        aria_hidden="true",
    )
    value = element("span", class_="value")
    button = element(
        "button", swatch, label, " ", value, type="button", aria_pressed="true", data_key=label
    )
    return element("li", button)


def _axes(limit: float, step: float, units: str) -> Markup:
    parts = []
    for value in np.arange(0.0, limit + step / 2, step):
        x = short(float(_x(value, limit)))
        parts.append(element("line", x1=x, y1=TOP, x2=x, y2=HEIGHT - BOTTOM))
        parts.append(element("text", f"{value:g}", x=x, y=HEIGHT - BOTTOM + 18, class_="x"))
    for value in range(0, 101, 20):
        y = short(float(_y(value)))
        parts.append(element("line", x1=LEFT, y1=y, x2=WIDTH - RIGHT, y2=y))
        parts.append(element("text", value, x=LEFT - 8, y=float(y) + 4, class_="y"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        element("text", f"Dose [{units}]", x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 8, class_="x")
    )
    turned = f"translate(16 {middle:g}) rotate(-90)"
    parts.append(element("text", "Volume [%]", transform=turned, class_="x"))
    return element("g", joined(*parts), class_="axes", aria_hidden="true")


def label_of(curve: Curve, several_doses: bool) -> str:
    """The curve's name, with its source and its dose where these are needed to tell it."""
    notes = [curve.source] if curve.source not in ("", "clinical") else []
    if several_doses:
        notes.append(curve.dose_source)
    return f"{curve.roi_name} ({', '.join(notes)})" if notes else curve.roi_name


def _reach(curve: Curve) -> float:
    """The dose where the curve and its band end."""
    doses = np.asarray(curve.dose_gy, dtype=np.float64)
    filled = np.asarray(curve.volume_percent) > 0
    if curve.high_percent is not None:
        filled |= np.asarray(curve.high_percent) > 0
    return float(doses[filled & np.isfinite(doses)].max(initial=0.0))


def nice_step(highest: float) -> float:
    """1, 2 or 5 times a power of ten, for at most ten steps."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest / 10))
    return next(power * m for m in (1, 2, 5, 10) if power * m * 10 >= highest * (1 - 1e-9))


def _x(dose: np.ndarray | float, limit: float) -> np.ndarray | float:
    return LEFT + np.minimum(dose, limit) / limit * (WIDTH - LEFT - RIGHT)


def _y(percent: np.ndarray | float) -> np.ndarray | float:
    return HEIGHT - BOTTOM - percent / 100.0 * (HEIGHT - TOP - BOTTOM)


def short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def luminance(rgb: np.ndarray) -> float:
    """Relative luminance of sRGB 0..255 (WCAG 2.1)."""
    part = rgb / 255.0
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def _distance(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Distance of points (n, 2) from the straight piece between two others."""
    along = end - start
    length2 = float(along @ along)
    offset = points - start
    if length2 > 0:
        offset = offset - np.clip(offset @ along / length2, 0, 1)[:, None] * along
    return np.hypot(offset[:, 0], offset[:, 1])
