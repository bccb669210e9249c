"""Pages: hostile texts stay texts, nothing is fetched, and what they say."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from RTPipelineLib.report.cells import UNKNOWN
from RTPipelineLib.report.cohort_page import cohort_page
from RTPipelineLib.report.cohort_stats import Boxes, Point, band_of, box_of
from RTPipelineLib.report.cohort_tables import METRICS
from RTPipelineLib.report.content import (
    CohortReport,
    CourseReport,
)
from RTPipelineLib.report.course_page import course_page
from RTPipelineLib.report.figures import Curve
from RTPipelineLib.report.html import RESEARCH_USE
from RTPipelineLib.report.planes import AXIAL, PIXELS, Outline, Picture, Slices, jpeg
from Testing.report_pages import EVIL, PAGES, Page, a_cohort, a_course


@pytest.fixture(params=PAGES)
def make(request):
    return PAGES[request.param]


# -- both pages -----------------------------------------------------------------------------------


def test_hostile_texts_stay_texts(make):
    tame, evil = Page(make("tame")), Page(make(EVIL))
    assert [tag for tag, _ in evil.elements] == [tag for tag, _ in tame.elements]
    assert len(evil.tags("script")) <= 1  # ours, of the plot
    assert not evil.tags("img")
    assert not [name for _, a in evil.elements for name in a if name.startswith("on")]
    assert EVIL.replace("\x00", "\ufffd").strip() in evil.text


def test_elements_are_closed_in_order(make):
    page = Page(make(EVIL))
    assert page.wrong == []
    assert page.open == []


def test_nothing_is_fetched(make):
    html = make("tame")
    page = Page(html)
    policy = next(a["content"] for a in page.tags("meta") if "content" in a and "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"@import|url\(", html)
    assert {a["href"] for a in page.tags("link")} == {"data:,"}
    assert not [a for _, a in page.elements if "src" in a]
    assert all(a["href"].startswith("data:image/jpeg;base64,") for a in page.tags("image"))


def test_links_are_paths_and_no_other_protocol(make):
    page = Page(make("javascript:alert(1)//#?<"))
    links = [a["href"] for a in page.tags("a") if a["href"] != "methods.html"]
    within = {link[1:] for link in links if link.startswith("#")}
    assert within <= {a["id"] for _, a in page.elements if "id" in a}
    links = [link for link in links if link[1:] not in within]
    assert links == ["javascript%3Aalert%281%29//%23%3F%3C"]


def test_pages_are_marked_for_research_use(make):
    assert Page(make("tame")).text.count(RESEARCH_USE) == 2


def test_headings_language_and_tables_for_screen_readers(make):
    page = Page(make("tame"))
    headings = [tag for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == "h1"
    assert set(headings[1:]) <= {"h2", "h3"}
    assert page.tags("html") == [{"lang": "en"}]
    assert all(a.get("scope") in ("col", "row") for a in page.tags("th"))
    scrolling = [a for a in page.tags("div") if a.get("class") == "scroll"]
    assert scrolling
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in scrolling)
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))


def test_pages_are_the_same_every_time(make):
    assert make("tame") == make("tame")


# -- what they say --------------------------------------------------------------------------------


def test_values_are_shown_and_unknown_ones_stay_unknown():
    html = course_page(a_course("tame"))
    body = html[html.index(">Metrics</h2>") :]
    first_row = body[body.index("<tbody>") : body.index("</tr>", body.index("<tbody>"))]
    cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", first_row)
    texts = [re.sub("<.*?>", "", cell) for cell in cells]
    # ROI, dose source (two of them), volume, prescribed, mean, V95 %, flags; empty columns are gone
    assert texts[:6] == ["tame", "tame", "12.35", "46.00", "45.68", "99.9"]
    assert "second" in first_row
    assert "Dmin" not in body
    assert ">HI<" not in body


def test_an_unknown_number_among_known_ones():
    course = a_course("tame")
    second = dict(course.metrics[1]) | {"Dmean_Gy": None}
    html = course_page(replace(course, metrics=(course.metrics[0], second)))
    assert f'<td class="number">{UNKNOWN}</td>' in html


def test_metrics_show_the_ends_of_their_bands():
    course = a_course("tame")
    assert 'class="soft ends"' not in course_page(course)
    banded = dict(course.metrics[0]) | {"Dmean_Gy_low": 44.5, "Dmean_Gy_high": 46.25}
    open_ended = dict(course.metrics[1]) | {"Dmean_Gy_low": 44.5, "Dmean_Gy_high": None}
    html = course_page(replace(course, metrics=(banded, open_ended)))
    assert '<div class="soft ends">44.50 to 46.25</div>' in html
    assert f'<div class="soft ends">44.50 to {UNKNOWN}</div>' in html
    assert "the ends of its band" in html
    cgy = course_page(replace(course, metrics=(banded,), units="cGy"))
    assert '<div class="soft ends">4450 to 4625</div>' in cgy


def test_centigray_is_a_matter_of_display():
    html = course_page(replace(a_course("tame"), units="cGy"))
    assert "Dmean [cGy]" in html
    assert ">4568<" in html
    assert ">4600<" in html
    assert "45.68" not in html
    assert ">12.35<" in html


def test_an_empty_course_says_what_it_has_not():
    page = Page(course_page(CourseReport("", "C1")))
    for sentence in (
        "Patient (no PatientID)",
        "No stage has run.",
        "No problems.",
        "No prescription is known; metrics relative to it are empty.",
        "No curves; see the stages above for the reason.",
        "No objects.",
    ):
        assert sentence in page.text


def test_the_cohort_counts_and_shows_what_waits():
    page = Page(cohort_page(a_cohort("tame")))
    assert "2 courses of 2 patients, 1 failure, 1 waiting for a decision" in page.text
    assert "needs-decision" in page.text
    assert "not run" in page.text
    assert Page(cohort_page(CohortReport())).text.count("No courses.") == 1


def test_a_hundred_courses_stay_light():
    """The cohort's page stays below 5 MB with forty structures, and so does a course's by far."""
    rng = np.random.default_rng(0)
    thirty = tuple(
        Curve(f"ROI {n}", np.arange(0, 75, 0.01), np.linspace(100, 0, 7500) ** (1 + n / 9), None)
        for n in range(30)
    )
    noise = jpeg(rng.integers(0, 255, (PIXELS, PIXELS)).astype(np.uint8))  # the worst of images
    angle = np.linspace(0, 6.28, 60)
    ring = 100 + 50 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    outlines = tuple(Outline(f"ROI {n}", "clinical", None, (ring,)) for n in range(24))
    picture = Picture(AXIAL, 0, "", noise, 200, 200, outlines, ((ring,),) * 7)
    slices = Slices((picture,) * 4, tuple(range(1, 8)), 5)
    course = course_page(replace(a_course("tame"), curves=thirty, slices=slices))
    assert len(course.encode()) < 400_000

    dose = np.arange(0, 75, 0.5)
    names = [f"ROI {n}" for n in range(40)]
    every = 100 / (1 + np.exp(dose - rng.uniform(20, 60, (100, 1))))
    bands = tuple(band_of(name, "clinical", dose, every) for name in names)
    points = [Point(v, f"P{n}", "C", "x" * 60) for n, v in enumerate(rng.standard_cauchy(100))]
    boxes = tuple(box_of(name, "clinical", points) for name in names)
    metrics = tuple(Boxes(column, boxes) for column in METRICS)
    lines = a_cohort("tame").courses[:1] * 100
    cohort = CohortReport("c", lines, bands=bands, metrics=metrics)
    assert len(cohort_page(cohort).encode()) < 5_000_000
