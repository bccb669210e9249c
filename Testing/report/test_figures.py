"""DVH drawings: every curve stays where it is, can be seen, and says its name."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from RTPipelineLib.report import figures
from RTPipelineLib.report.figures import CONTRAST, TOLERANCE, Curve, dvh_plot, readable, simplified

DOSE = np.arange(0, 60, 0.01)


def sigmoid(middle: float, width: float) -> np.ndarray:
    return 100 / (1 + np.exp((DOSE - middle) / width))


def parsed(curves: list[Curve], units: str = "Gy") -> ElementTree.Element:
    return ElementTree.fromstring(dvh_plot(curves, units))


def ticks(plot: ElementTree.Element, kind: str) -> dict[float, float]:
    """Value -> pixel of an axis."""
    return {
        float(node.text): float(node.get(kind))
        for node in plot.iter("text")
        if node.get("class") == kind and re.fullmatch(r"[\d.]+", node.text or "")
    }


def lines(plot: ElementTree.Element) -> list[np.ndarray]:
    """Drawn curves as points in Gy and %, by the ticks of the axes."""
    x, y = ticks(plot, "x"), ticks(plot, "y")
    found = []
    for node in plot.iter("path"):
        points = np.array([p.split() for p in node.get("d")[1:].split("L")], dtype=float)
        dose = np.interp(points[:, 0], list(x.values()), list(x))
        # the labels of the y axis stand 4 px below their lines
        volume = np.interp(-points[:, 1], [4 - v for v in y.values()], list(y))
        found.append(np.column_stack([dose, volume]))
    return found


def to_line(point: np.ndarray, line: np.ndarray) -> float:
    """Distance from a polyline."""
    start, along = line[:-1], np.diff(line, axis=0)
    square = np.maximum((along**2).sum(axis=1), 1e-300)
    share = np.clip(((point - start) * along).sum(axis=1) / square, 0, 1)
    gaps = point - (start + share[:, None] * along)
    return float(np.hypot(*gaps.T).min(initial=np.inf if len(along) else 0.0))


def test_curves_are_drawn_where_they_are():
    curves = [Curve("PTV", DOSE, sigmoid(50, 0.6)), Curve("Cord", DOSE, sigmoid(18, 4))]
    plot = parsed(curves)
    pixels_per_gy = (figures.WIDTH - figures.LEFT - figures.RIGHT) / max(ticks(plot, "x"))
    pixels_per_percent = (figures.HEIGHT - figures.TOP - figures.BOTTOM) / 100
    for curve, line in zip(curves, lines(plot), strict=True):
        assert len(line) < 150
        # distance of every sample of the curve to the polyline, in pixels
        scale = np.array([pixels_per_gy, pixels_per_percent])
        samples = np.column_stack([curve.dose_gy, curve.volume_percent]) * scale
        missed = [to_line(sample, line * scale) for sample in samples[::10]]
        # simplified within the tolerance, then each coordinate rounded to 0.1 px
        assert max(missed) < TOLERANCE + 0.05 * 2**0.5 + 1e-6


def test_the_axis_reaches_the_end_of_the_highest_curve():
    plot = parsed([Curve("PTV", DOSE, np.where(DOSE < 43, 100.0, 0.0))])
    x = ticks(plot, "x")
    assert max(x) >= 43 > max(x) - (sorted(x)[1] - sorted(x)[0])
    assert list(ticks(plot, "y")) == [0, 20, 40, 60, 80, 100]


def test_centigray_changes_the_axis_and_not_the_curve():
    curve = [Curve("PTV", DOSE, sigmoid(50, 0.6))]
    grays, centigrays = parsed(curve), parsed(curve, "cGy")
    assert max(ticks(centigrays, "x")) == 100 * max(ticks(grays, "x"))
    assert [n.get("d") for n in grays.iter("path")] == [n.get("d") for n in centigrays.iter("path")]


def test_every_curve_has_a_name_for_pointer_keyboard_and_legend():
    curves = [
        Curve("PTV", DOSE, sigmoid(50, 1), dose_source="total"),
        Curve("PTV", DOSE, sigmoid(30, 1), dose_source="plan Boost"),
        Curve("Heart", DOSE, sigmoid(9, 3), dose_source="total", source="totalsegmentator"),
    ]
    plot = parsed(curves)
    names = ["PTV (total)", "PTV (plan Boost)", "Heart (totalsegmentator, total)"]
    groups = [g for g in plot.iter("g") if g.get("class") == "curve"]
    assert [g.find("title").text for g in groups] == names
    assert [g.get("aria-label") for g in groups] == names
    assert all(g.get("tabindex") == "0" for g in groups)
    assert [g.get("data-key") for g in groups] == names
    buttons = [item[0] for item in plot.iter("li")]
    assert [button[0].tail.strip() for button in buttons] == names
    assert [button.get("data-key") for button in buttons] == names
    assert groups[0].get("stroke") == groups[1].get("stroke")
    assert groups[0].get("stroke-dasharray") != groups[1].get("stroke-dasharray")


def test_a_hostile_name_stays_text():
    name = "</title></svg><script>alert(1)</script>\x00 \"'&"
    plot = parsed([Curve(name, DOSE, sigmoid(20, 2))])
    assert not list(plot.iter("script"))
    assert next(g for g in plot.iter("g") if g.get("class") == "curve").get("aria-label") == (
        name.replace("\x00", "\ufffd")
    )


@pytest.mark.parametrize(
    ("dose", "volume"),
    [
        ([], []),
        ([0.0], [100.0]),
        ([0.0, 0.0], [100.0, 0.0]),
        ([0.0, np.nan, 2.0], [100.0, 50.0, 0.0]),
        ([np.nan], [np.nan]),
    ],
)
def test_odd_curves_do_not_stop_the_drawing(dose, volume):
    odd = Curve("odd", np.array(dose), np.array(volume))
    plot = parsed([odd, Curve("PTV", DOSE, sigmoid(50, 1))])
    assert "nan" not in ElementTree.tostring(plot, encoding="unicode")
    assert "PTV" in {g.get("aria-label") for g in plot.iter("g")}


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_every_colour_stands_out_from_white(colour):
    text = readable(colour)
    rgb = [int(text[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    assert 1.05 / (luminance + 0.05) >= CONTRAST


@given(
    st.lists(st.tuples(st.floats(0, 800), st.floats(0, 400)), min_size=1, max_size=60).map(sorted)
)
def test_simplified_lines_miss_no_point_by_more_than_the_tolerance(points):
    points = np.array(points)
    line = simplified(points, 1.0)
    assert (line[0] == points[0]).all()
    assert (line[-1] == points[-1]).all()
    assert max(to_line(point, line) for point in points) <= 1.0 + 1e-9
