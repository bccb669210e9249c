"""The section with slices: legend, line styles, words for those who do not see it."""

from __future__ import annotations

import re

import numpy as np
import pytest

from RTPipelineLib.report.planes import AXIAL, SAGITTAL, Outline, Picture, Slices
from RTPipelineLib.report.slices import levels_of, slices_section

SQUARE = np.array([[10.0, 10.0], [30.0, 10.0], [30.0, 30.0], [10.0, 30.0]])
HOLE = SQUARE * 0.5 + 10


def a_picture(**fields) -> Picture:
    outlines = (
        Outline("PTV <1>", "clinical", (255, 0, 0), (SQUARE, HOLE)),
        Outline("Heart", "totalsegmentator", None, (SQUARE,)),
        Outline("Ring", "derived", (0, 0, 40), (SQUARE,)),
    )
    known = {"plane": AXIAL, "place_mm": -12.5, "through": "through the middle of PTV <1>"}
    known |= {"image": b"\xff\xd8jpeg", "width_mm": 200.0, "height_mm": 100.0}
    known |= {"outlines": outlines, "isodoses": ((SQUARE,), ()), "highest_gy": 51.234}
    return Picture(**(known | fields))


def a_course_s(**fields) -> Slices:
    known = {"pictures": (a_picture(), a_picture(plane=SAGITTAL, hottest_mm=(50.0, 50.0)))}
    known |= {"levels_gy": (40.0, 50.0), "reference_gy": 50.0, "reference": "the prescription"}
    return Slices(**(known | {"dose": "plan:A"} | fields))


@pytest.mark.parametrize(
    ("units", "level"), [("Gy", "40.00 Gy (80 %)"), ("cGy", "4000 cGy (80 %)")]
)
def test_the_legend_names_doses_and_structures_once(units, level):
    html = slices_section(a_course_s(), units)
    assert html.count(f"at least {level}") == 1
    assert html.count("Heart (totalsegmentator)</li>") == 1
    assert "percent of the prescription" in html
    for style in ("solid: clinical", "dashed: by a program", "dotted: derived"):
        assert style in html, style


def test_sources_differ_by_their_lines():
    html = slices_section(a_course_s(pictures=(a_picture(),)), "Gy")
    lines = re.search('<g class="outlines">(.*?)</g>', html, re.DOTALL)[1]
    dashes = [
        re.search('stroke-dasharray="(.*?)"', line) for line in re.findall("<path[^>]*>", lines)
    ]
    assert [dash and dash[1] for dash in dashes] == [None, "6 3", "1 3"]


def test_every_picture_has_words():
    html = slices_section(a_course_s(), "Gy")
    words = re.findall('<svg[^>]*role="img"[^>]*aria-label="(.*?)"', html)
    assert len(words) == 2
    assert words[0] == (
        "Axial, z = -12.5 mm, through the middle of PTV &lt;1&gt;. Structures: PTV &lt;1&gt;, "
        "Heart, Ring. Highest dose in this plane 51.23 Gy."
    )
    assert words[1].startswith("Sagittal, x = -12.5 mm")
    assert html.count("hottest point</title>") == 1


def test_outlines_lie_where_they_belong():
    """200 x 100 mm are 500 x 250 units: 2.5 a millimetre."""
    html = slices_section(a_course_s(pictures=(a_picture(),)), "Gy")
    assert 'viewBox="0 0 500 250"' in html
    assert 'd="M25 25l50 0 0 50-50 0zM38 38l24 0 0 24-24 0z"' in html


def test_dark_colours_are_lightened_on_the_image():
    html = slices_section(a_course_s(pictures=(a_picture(),)), "Gy")
    strokes = re.findall('<path[^>]*stroke="#(..)(..)(..)"', html)
    dark = [[int(part, 16) for part in stroke] for stroke in strokes][2]
    assert min(dark) > 90


def test_without_pictures_the_reason_is_said():
    html = slices_section(Slices(notes=("no pictures: the course has no planning image",)), "Gy")
    assert "No pictures: the course has no planning image." in html
    assert "<svg" not in html
    assert "No pictures." in slices_section(Slices(), "Gy")


def test_without_a_dose_there_is_no_legend_of_doses():
    picture = a_picture(isodoses=(), highest_gy=None)
    html = slices_section(Slices((picture,), notes=("the course has no dose",)), "Gy")
    assert "at least" not in html and "The course has no dose." in html


def test_levels_end_where_the_dose_ends():
    assert levels_of(50.0, 49.0) == pytest.approx((10, 20, 30, 40, 47.5))
    assert levels_of(50.0, 54.0)[-1] == pytest.approx(53.5)
    assert levels_of(0.0, 0.0) == ()
