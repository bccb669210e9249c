"""Pages in a real browser: no complaint, nothing fetched, plots and links that work."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from RTPipelineLib.report.cohort_page import cohort_page
from RTPipelineLib.report.cohort_stats import Boxes, Point, box_of
from RTPipelineLib.report.course_page import course_page
from RTPipelineLib.report.figures import Curve
from RTPipelineLib.report.html import RESEARCH_USE
from Testing.report_pages import EVIL, PAGES, Page, a_cohort, a_course


@pytest.fixture(params=PAGES)
def make(request):
    return PAGES[request.param]


@pytest.fixture(scope="module")
def chromium() -> str:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium on this machine (apt-get install chromium)")
    return program


def shown_by(chromium: str, page: Path, *options: str) -> str:
    """The page as the browser made it; nothing stands on its console."""
    command = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--enable-logging=stderr",
        f"--user-data-dir={page.parent / 'profile'}",
        *options,
        "--dump-dom",
        page.as_uri(),
    ]
    found = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=True)
    assert "CONSOLE" not in found.stderr
    return found.stdout


def said_by(chromium: str, harness: Path) -> list:
    """What the script of a page around ours wrote into its element `out`."""
    options = ("--allow-file-access-from-files", "--virtual-time-budget=4000")
    dom = shown_by(chromium, harness, *options)
    return json.loads(unescape(re.search(r'<pre id="out">(.*?)</pre>', dom, re.DOTALL)[1]))


def test_a_browser_opens_it_without_complaint(make, chromium, tmp_path):
    (tmp_path / "page.html").write_text(make(EVIL), encoding="utf-8")
    dom = Page(shown_by(chromium, tmp_path / "page.html"))
    assert RESEARCH_USE in dom.text
    assert len(dom.tags("script")) == len(Page(make("tame")).tags("script"))
    assert not dom.tags("img")


LINK_HARNESS = """<!DOCTYPE html><title>x</title>
<iframe src="results/page.html" width="1100" height="900"></iframe>
<pre id="out"></pre><script>
const frame = document.querySelector("iframe"), said = [];
frame.onload = () => {
  const view = frame.contentWindow, page = view.document;
  const links = Array.from(page.querySelectorAll("svg.boxes a"));
  said.push([page.title, links.map((a) => a.getAttribute("aria-label")),
    view.performance.getEntriesByType("resource").length]);
  document.querySelector("#out").textContent = JSON.stringify(said);
  if (!links.length) return;
  links[0].focus();
  said[0].push(page.activeElement === links[0]);
  links[0].dispatchEvent(new view.MouseEvent("click", {bubbles: true, cancelable: true, view}));
};
</script>"""


def test_an_outlier_leads_to_its_course_in_a_browser(chromium, tmp_path):
    values = [*range(1, 10), 100]
    points = [Point(v, f"P {v}", "C#1", f"../P {v}/C#1/report/course.html") for v in values]
    metrics = (Boxes("Dmean_Gy", (box_of("Heart", "clinical", points),)),)
    cohort = cohort_page(replace(a_cohort("tame"), metrics=metrics))
    course = tmp_path / "P 100" / "C#1" / "report" / "course.html"
    for path, html in (
        (tmp_path / "results" / "page.html", cohort),
        (course, course_page(replace(a_course("tame"), course_id="its own"))),
        (tmp_path / "harness.html", LINK_HARNESS),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(html, encoding="utf-8")
    before, after = said_by(chromium, tmp_path / "harness.html")
    assert before == ["tame - RT Pipeline", ["P 100 / C#1: 100.00"], 0, True]
    assert after == ["tame / its own - RT Pipeline", [], 0]


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
    steps = {name: facts for name, *facts in said_by(chromium, tmp_path / "harness.html")}
    assert steps["start"][:2] == [[True, True], ["", ""]]
    # Half of the axis (0 to 60 Gy): 30 Gy.
    assert steps["pointer"][1] == ["100.0 %", "25.0 %"]
    assert "at least 30.0" in steps["pointer"][2] and steps["pointer"][2].endswith("Gy")
    assert steps["hidden"][:2] == [[False, True], ["", "25.0 %"]]
    assert "at least 33.0" in steps["key"][2]
    assert steps["key"][1] == ["100.0 %", "17.5 %"]
    assert steps["loaded"] == [0]
