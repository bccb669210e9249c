"""Pages: hostile texts stay texts, nothing is fetched, and a browser has nothing to complain."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest

from RTPipelineLib.model import PrescriptionLevel
from RTPipelineLib.report.cells import UNKNOWN
from RTPipelineLib.report.cohort_page import cohort_page
from RTPipelineLib.report.cohort_stats import Boxes, Point, band_of, box_of
from RTPipelineLib.report.content import (
    CheckLine,
    CohortReport,
    CourseLine,
    CourseReport,
    Notice,
    ObjectRow,
    StageRow,
)
from RTPipelineLib.report.course_page import course_page
from RTPipelineLib.report.figures import Curve
from RTPipelineLib.report.html import RESEARCH_USE
from RTPipelineLib.report.planes import AXIAL, Outline, Picture, Slices, jpeg

EVIL = "<script>alert('x')</script><img src=http://example.org/a.png onerror=x> \"&'\x00"
VOID = {"meta", "link", "br", "hr"}


class Page(HTMLParser):
    """Elements with their attributes, texts, and every tag that is not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.wrong: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    def tags(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def a_course(text: str) -> CourseReport:
    """A report with this text wherever a text can stand."""
    dose = np.arange(0, 70, 0.01)
    volume = 100 / (1 + np.exp(dose - 45))
    row = {"roi_name": text, "source": text, "dose_source": text, "volume_cc": 12.345}
    row |= {"Dmean_Gy": 45.678, "Dmin_Gy": None, "HI": float("nan"), "V95%_%": 99.94}
    row |= {"flags": f"{text};second", "rx_gy": np.float64(46)}
    failure = dict.fromkeys(
        ("patient_id", "course_id", "stage", "item", "severity", "error", "file"), text
    )
    square = np.array([[1.0, 1.0], [9.0, 1.0], [9.0, 9.0]])
    picture = Picture(
        plane=AXIAL,
        place_mm=1.0,
        through=text,
        image=jpeg(np.zeros((8, 8), np.uint8)),
        width_mm=10,
        height_mm=10,
        outlines=(Outline(text, text, None, (square,)),),
        isodoses=((square,),),
    )
    verdict = dict.fromkeys(("item", "source", "verdict", "state", "time", "comment"), text)
    return CourseReport(
        patient_id=text,
        course_id=text,
        objects=(ObjectRow(text, text, text, text, (text, text), (text,)),),
        decisions=((text, text),),
        flags=(Notice(text, text, text), Notice("late", "error")),
        prescription=(PrescriptionLevel(text, 46, text, 23, text),),
        stages=(StageRow(text, text, text, 1.25), StageRow("dvh", "done")),
        curves=(Curve(text, dose, volume, (255, 255, 0), text, text),),
        metrics=(row, row | {"dose_source": "second", "roi_name": "Cord"}),
        failures=(failure,),
        provenance=((text, text),),
        inputs=((text, text),),
        checks={text: text},
        verdicts=(verdict | {"reviewer": text},),
        names=({"roi_name": text, "suggestions": [text], "conflicts": [text]},),
        agreement=({"roi_name_a": text, "source_a": text, "flags": text},),
        slices=Slices((picture,), (1.0,), 2.0, text, text, (text,)),
        index_href=text,
    )


def a_cohort(text: str) -> CohortReport:
    course = a_course(text)
    findings, verdicts = {"error": 2, "warning": 1}, {("accept", "current"): 1}
    lines = (
        CourseLine(text, text, text, course.stages, text, 46.0, text, (text,), findings, verdicts),
        CourseLine("P2", "C2", "", (StageRow("dvh", "failed", "why"),)),
    )
    dose = np.arange(0, 60, 0.5)
    curves = 100 / (1 + np.exp(dose - np.arange(20, 30)[:, None]))
    points = [Point(float(n**3), text, text, f"{text}/{n}") for n in range(8)]
    return CohortReport(
        text,
        lines,
        (CheckLine(text, {"error": 1}, 2),),
        (band_of(text, text, dose, curves), band_of(text, "", dose, curves[:2])),
        (Boxes("Dmean_Gy", (box_of(text, text, points),)),),
        course.failures,
        ((text, 3),),
        course.provenance,
    )


PAGES = {
    "course": lambda text: course_page(a_course(text)),
    "cohort": lambda t: cohort_page(a_cohort(t)),
}


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
    assert f'<td class="number short">{UNKNOWN}</td>' in html


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
    thirty = tuple(
        Curve(f"ROI {n}", np.arange(0, 75, 0.01), np.linspace(100, 0, 7500) ** (1 + n / 9), None)
        for n in range(30)
    )
    size = len(course_page(replace(a_course("tame"), curves=thirty)).encode())
    lines = (replace(a_cohort("tame").courses[0]),) * 100
    cohort = len(cohort_page(CohortReport("c", lines)).encode())
    # the limit for all reports of 100 courses together
    assert 100 * size + cohort < 5_000_000


# -- a real browser -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> str:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium on this machine (apt-get install chromium)")
    return program


def test_a_browser_opens_it_without_complaint(make, chromium, tmp_path):
    (tmp_path / "page.html").write_text(make(EVIL), encoding="utf-8")
    command = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
        (tmp_path / "page.html").as_uri(),
    ]
    found = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=True)
    assert "CONSOLE" not in found.stderr
    dom = Page(found.stdout)
    assert RESEARCH_USE in dom.text
    assert len(dom.tags("script")) == len(Page(make("tame")).tags("script"))
    assert not dom.tags("img")


HARNESS = """<!DOCTYPE html><title>x</title>
<iframe src="page.html" width="1100" height="900"></iframe>
<pre id="out"></pre><script>
window.onload = () => {
  const view = document.querySelector("iframe").contentWindow, page = view.document;
  const all = (what) => Array.from(page.querySelectorAll(what));
  const shown = () => all(".curve").map((g) => view.getComputedStyle(g).display !== "none");
  const values = () => all(".legend .value").map((v) => v.textContent);
  const said = [];
  const words = () => page.querySelector(".readout").textContent;
  const say = (what) => said.push([what, shown(), values(), words()]);
  say("start");
  const box = page.querySelector("svg.dvh").getBoundingClientRect();
  const x = box.left + box.width * (62 + 0.5 * (860 - 76)) / 860;
  page.querySelector("svg.dvh").dispatchEvent(
    new view.PointerEvent("pointermove", {clientX: x, clientY: box.top + 50, bubbles: true}));
  say("pointer");
  const button = all(".legend button")[0];
  button.focus(); button.click();
  say("hidden");
  button.click();
  all(".curve")[0].focus();
  page.activeElement.dispatchEvent(
    new view.KeyboardEvent("keydown", {key: "ArrowRight", shiftKey: true, bubbles: true}));
  say("key");
  said.push(["loaded", view.performance.getEntriesByType("resource").length]);
  document.querySelector("#out").textContent = JSON.stringify(said);
};
</script>"""


def test_the_plot_is_read_and_filtered_in_a_browser(chromium, tmp_path):
    """By pointer, by the buttons of the legend and by the keyboard."""
    dose = np.linspace(0, 60, 601)
    curves = (
        Curve("PTV", dose, np.where(dose < 50, 100.0, 100 - 10 * (dose - 50))),
        Curve("Cord", dose, np.maximum(100 - 2.5 * dose, 0)),
    )
    page = course_page(replace(a_course("tame"), curves=curves))
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    (tmp_path / "harness.html").write_text(HARNESS, encoding="utf-8")
    command = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--allow-file-access-from-files",
        "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=4000",
        "--dump-dom",
        (tmp_path / "harness.html").as_uri(),
    ]
    found = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=True)
    assert "CONSOLE" not in found.stderr
    said = re.search(r'<pre id="out">(.*?)</pre>', found.stdout, re.DOTALL)[1]
    steps = {name: facts for name, *facts in json.loads(unescape(said))}
    assert steps["start"][:2] == [[True, True], ["", ""]]
    # Half of the axis (0 to 60 Gy): 30 Gy.
    assert steps["pointer"][1] == ["100.0 %", "25.0 %"]
    assert "at least 30.0" in steps["pointer"][2] and steps["pointer"][2].endswith("Gy")
    assert steps["hidden"][:2] == [[False, True], ["", "25.0 %"]]
    assert "at least 33.0" in steps["key"][2]
    assert steps["key"][1] == ["100.0 %", "17.5 %"]
    assert steps["loaded"] == [0]
