"""The cohort in pictures: DVH bands and box plots, each with a table that says the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple
from urllib.parse import quote

import numpy as np

from ..model import CLINICAL
from .cells import counted, dose_text, link_to, nothing, table
from .cohort_stats import ENOUGH, SHARES, Band, Box, Boxes, Point, outliers_of
from .figures import nice_step, short, simplified
from .markup import Content, Markup, element, joined

WIDTH, HEIGHT = 320, 200  # of a band's plot
LEFT, RIGHT, TOP, BOTTOM = 40, 10, 8, 34
ROW, NAMES, BOXES = 22, 190, 640  # of box plots: height of a row, width of the names and in all
LISTED = 100  # outliers in the table; the plots show all
_TITLES = {"volume_cc": "Volume [cc]", "HI": "HI", "CI_Paddick": "Paddick's CI"}


# -- DVH bands ------------------------------------------------------------------------------------


def bands_section(bands: Sequence[Band], units: str) -> Markup:
    """One small plot for every standard name."""
    if not bands:
        return nothing("no curves of structures with standard names under a course's own dose")
    note = (
        "For every structure with a standard name, under the dose of its course: the median of the "
        f"volumes at each dose, between the quartiles (dark) and from {SHARES[0]} to "
        f"{SHARES[-1]} % of the courses (pale). Below {counted(ENOUGH, 'course')} each curve is "
        "drawn. Prescriptions may differ; where a structure leaves the dose grid its curve is a "
        "lower bound."
    )
    limit = max(float(band.dose_gy[-1]) for band in bands)
    figures = [_band_figure(band, limit, units) for band in bands]
    rows = [row for band in bands if band.is_summary for row in _band_rows(band, units)]
    titles = ["Structure", f"Dose [{units}]", *(f"{share} %" for share in SHARES)]
    numbers = _folded("the bands", "DVH bands, volume in %", titles, rows, set(range(1, 7)))
    return joined(
        element("p", note, class_="soft"),
        element("div", joined(*figures), class_="bands"),
        numbers,
    )


def _band_figure(band: Band, limit_gy: float, units: str) -> Markup:
    """One plot; all have the same axis of dose."""
    scale = 100.0 if units == "cGy" else 1.0
    step = nice_step(limit_gy * scale * 2)  # half as many ticks as on the large plot
    limit = max(step, math.ceil(limit_gy * scale / step - 1e-9) * step)

    def points(percent: np.ndarray) -> np.ndarray:
        x = LEFT + band.dose_gy * scale / limit * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - percent / 100.0 * (HEIGHT - TOP - BOTTOM)
        return simplified(np.column_stack([x, y]), 0.3)

    lines = []
    if band.is_summary:
        low, quarter, middle, three, high = (points(row) for row in band.volume_percent)
        for class_, upper, lower in (("most", high, low), ("half", three, quarter)):
            corners = _pairs([*upper, *lower[::-1]])
            lines.append(element("polygon", points=corners, class_=class_))
        lines.append(element("polyline", points=_pairs(middle), class_="middle"))
    else:
        lines += [
            element("polyline", points=_pairs(points(row)), class_="single")
            for row in band.volume_percent
        ]
    title = f"{_label(band.name, band.source)}, {counted(band.courses, 'course')}"
    svg = element(
        "svg",
        _band_axes(limit, step, units),
        joined(*lines),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"DVH of {title}. {_in_words(band, units)}",
    )
    return element("figure", svg, element("figcaption", title))


def _band_axes(limit: float, step: float, units: str) -> Markup:
    parts = []
    for value in np.arange(0.0, limit + step / 2, step):
        x = short(LEFT + value / limit * (WIDTH - LEFT - RIGHT))
        parts.append(element("line", x1=x, y1=TOP, x2=x, y2=HEIGHT - BOTTOM))
        parts.append(element("text", f"{value:g}", x=x, y=HEIGHT - BOTTOM + 14, class_="x"))
    for value in (0, 50, 100):
        y = short(HEIGHT - BOTTOM - value / 100 * (HEIGHT - TOP - BOTTOM))
        parts.append(element("line", x1=LEFT, y1=y, x2=WIDTH - RIGHT, y2=y))
        parts.append(element("text", f"{value} %", x=LEFT - 4, y=float(y) + 4, class_="y"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(element("text", f"Dose [{units}]", x=middle, y=HEIGHT - 4, class_="x"))
    return element("g", joined(*parts), class_="axes")


def _in_words(band: Band, units: str) -> str:
    """The doses of half of the volume, or that there is none."""
    if not band.is_summary:
        return "Each course's curve is drawn."
    halves = [dose_text(_dose_at(band, row, 50.0), units) for row in band.volume_percent[1:4]]
    return f"Half of the volume gets {halves[1]} {units} (quartiles {halves[0]} to {halves[2]})."


def _dose_at(band: Band, volume_percent: np.ndarray, level: float) -> float:
    """The dose up to which a curve is at `level` percent or above, interpolated."""
    return float(np.interp(-level, -volume_percent, band.dose_gy))


def _band_rows(band: Band, units: str) -> list[list[Content]]:
    """The band at about ten doses."""
    every = max(
        1, math.ceil(nice_step(float(band.dose_gy[-1])) / max(float(band.dose_gy[1]), 1e-6))
    )
    return [
        [
            _label(band.name, band.source),
            dose_text(float(band.dose_gy[n]), units),
            *(f"{value:.1f}" for value in band.volume_percent[:, n]),
        ]
        for n in range(0, len(band.dose_gy), every)
    ]


# -- box plots ------------------------------------------------------------------------------------


def boxes_section(metrics: Sequence[Boxes], units: str) -> Markup:
    """One plot for every metric with a row for every standard name; outliers lead to the pages of
    their courses."""
    if not metrics:
        return nothing("no metrics of structures with standard names under a course's own dose")
    note = (
        "Box: quartiles and median; whiskers: the last values within 1.5 interquartile ranges "
        "(Tukey 1977); circles: outliers, which lead to their courses. Below "
        f"{counted(ENOUGH, 'course')} all values are circles."
    )
    parts = [element("p", note, class_="soft"), _outliers(metrics, units)]
    plots = []
    for column, boxes in metrics:
        title = _title(column, units)
        plot = _box_plot(column, boxes, units)
        rows = [_box_row(box, column, units) for box in boxes]
        titles = ["Structure", "Courses", "Lowest within", "Quarter", "Median", "Three quarters"]
        titles += ["Highest within", "Outliers"]
        numbers = _folded(title, f"{title} by structure", titles, rows, set(range(1, 8)))
        plots.append(element("div", element("h3", title), plot, numbers))
    return joined(*parts, element("div", joined(*plots), class_="metrics"))


class _Axis(NamedTuple):
    """The axis of a box plot, in the units that are shown; volumes stand on decades."""

    low: float
    high: float
    ticks: tuple[float, ...]
    scale: float
    is_log: bool

    @classmethod
    def of(cls, column: str, boxes: Sequence[Box], units: str) -> _Axis:
        """An axis with room for all values, from 0 on."""
        scale = 100.0 if units == "cGy" and column.endswith("_Gy") else 1.0
        values = [v * scale for box in boxes for v in (*(box.whiskers or ()), *_values(box))]
        if column == "volume_cc":
            low, high = (math.log10(max(value, 1e-3)) for value in (min(values), max(values)))
            low, high = math.floor(low), max(math.ceil(high), math.floor(low) + 1)
            return cls(low, high, tuple(10.0**n for n in range(low, high + 1)), scale, True)
        low, high = min([0.0, *values]), max([0.0, *values])
        step = nice_step(high - low)
        low = math.floor(low / step + 1e-9) * step
        high = max(low + step, math.ceil(high / step - 1e-9) * step)
        return cls(low, high, tuple(np.arange(low, high + step / 2, step)), scale, False)

    def x(self, value: float) -> float:
        """Where a value of the table stands."""
        return self.tick(value * self.scale)

    def tick(self, shown: float) -> float:
        """Where a value as it is shown stands."""
        place = math.log10(max(shown, 1e-3)) if self.is_log else shown
        return NAMES + (place - self.low) / (self.high - self.low) * (BOXES - NAMES - 26)


def _box_plot(column: str, boxes: Sequence[Box], units: str) -> Markup:
    axis = _Axis.of(column, boxes, units)
    bottom = ROW * len(boxes) + 4
    lines = []
    for tick in axis.ticks:
        at = short(axis.tick(tick))
        lines.append(element("line", x1=at, y1=0, x2=at, y2=bottom))
        lines.append(element("text", f"{tick:g}", x=at, y=bottom + 16, class_="x"))
    rows = [_box(box, number, axis, column, units) for number, box in enumerate(boxes)]
    return element(
        "svg",
        element("g", joined(*lines), class_="axes", aria_hidden="true"),
        joined(*rows),
        viewBox=f"0 0 {BOXES} {bottom + 24}",
        role="group",
        aria_label=f"Box plots of {_title(column, units)}; the table below says the same",
        class_="boxes",
    )


def _box(box: Box, number: int, axis: _Axis, column: str, units: str) -> Markup:
    """One row: name, box, whiskers and circles."""
    middle, half = ROW * number + ROW // 2, 6
    label = f"{_label(box.name, box.source)} ({box.count})"
    parts = [element("text", label, x=NAMES - 8, y=middle + 4)]
    if box.quartiles is not None and box.whiskers is not None:
        low, high = (short(axis.x(value)) for value in box.whiskers)
        first, second, third = (axis.x(value) for value in box.quartiles)
        whiskers = f"M{low} {middle}H{short(first)}M{short(third)} {middle}H{high}"
        width = short(max(third - first, 0.5))
        parts += [
            element("path", d=whiskers),
            element("rect", x=short(first), y=middle - half, width=width, height=2 * half),
            element("path", d=f"M{short(second)} {middle - half}v{2 * half}", class_="median"),
        ]
    for point in box.points:
        title = f"{point.name}: {_shown(point.value, column, units)}"
        at = short(axis.x(point.value))
        circle = element("circle", element("title", title), cx=at, cy=middle, r=4)
        link = {"href": quote(point.href, safe="/"), "aria_label": title}
        parts.append(element("a", circle, **link) if point.href else circle)
    return element("g", joined(*parts))


def _values(box: Box) -> list[float]:
    return [point.value for point in box.points]


def _box_row(box: Box, column: str, units: str) -> list[Content]:
    known = box.quartiles is not None and box.whiskers is not None
    values = (box.whiskers[0], *box.quartiles, box.whiskers[1]) if known else ()
    shown = [_shown(value, column, units) for value in values] or [""] * 5
    outliers = str(len(box.points)) if known else ""
    return [_label(box.name, box.source), str(box.count), *shown, outliers]


def _outliers(metrics: Sequence[Boxes], units: str) -> Markup:
    """The outliers in a table: first the courses with the most of them."""
    found = outliers_of(metrics)
    if not found:
        return nothing("no outliers")

    def course(item: tuple[str, Box, Point]) -> tuple[str, str]:
        return item[2].patient_id, item[2].course_id

    groups = [list(group) for _, group in groupby(sorted(found, key=course), key=course)]
    groups.sort(key=len, reverse=True)
    rows: list[list[Content]] = []
    for column, box, point in [item for group in groups for item in group][:LISTED]:
        name = link_to(point.name, point.href) if point.href else point.name
        middle = _shown(box.quartiles[1], column, units) if box.quartiles else ""
        value = _shown(point.value, column, units)
        rows.append([name, _label(box.name, box.source), _title(column, units), value, middle])
    titles = ["Course", "Structure", "Metric", "Value", "Median"]
    listed = f", {LISTED} of them" if len(found) > LISTED else ""
    words = f"{counted(len(found), 'outlier')} of {counted(len(groups), 'course')}{listed}"
    whole = table("Outliers", titles, rows, numbers={3, 4}, long={0})
    return element("details", element("summary", words), whole)


# -- words ----------------------------------------------------------------------------------------


def _label(name: str, source: str) -> str:
    return name if source in ("", CLINICAL) else f"{name} ({source})"


def _title(column: str, units: str) -> str:
    if column in _TITLES:
        return _TITLES[column]
    name, _, unit = column.rpartition("_")
    return f"{name} [{units if unit == 'Gy' else unit}]"


def _shown(value: float, column: str, units: str) -> str:
    return dose_text(value, units) if column.endswith("_Gy") else f"{value:.4g}"


def _pairs(points: Sequence[np.ndarray]) -> str:
    return " ".join(f"{short(x)},{short(y)}" for x, y in points)


def _folded(
    what: str,
    name: str,
    titles: Sequence[str],
    rows: Sequence[Sequence[Content]],
    numbers: set[int],
) -> Markup | None:
    """A table behind a line that opens it."""
    if not rows:
        return None
    summary = element("summary", f"{what[:1].upper()}{what[1:]} as a table")
    return element("details", summary, table(name, titles, rows, numbers=numbers))
