"""A course's page shows the verdicts: those given after it was made, from the next report on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from RTPipelineLib.cli import main
from RTPipelineLib.phantoms.scale import tiny_patients
from RTPipelineLib.review import add_verdict


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    list(tiny_patients(folder / "dicom", 2, slices=20))
    assert main(["run", str(folder / "dicom"), str(folder / "out"), "--quiet"]) == 0
    return folder / "out"


def pages_of(out: Path) -> dict[str, tuple[int, str]]:
    """Time and text of every course's page."""
    paths = sorted(out.glob("*/*/report/course.html"))
    return {
        path.parts[-4]: (path.stat().st_mtime_ns, path.read_text(encoding="utf-8"))
        for path in paths
    }


def test_the_page_shows_the_stored_image_dose_and_contours(out):
    page = pages_of(out)["TINY-00000"][1]
    pictures = re.findall('<svg[^>]*role="img" aria-label="(.*?)"', page)
    assert {words.split(",")[0] for words in pictures} == {"Axial", "Sagittal", "Coronal"}
    assert all("PTV_20" in words and "BODY" in words for words in pictures)
    assert page.count("data:image/jpeg;base64,/9j/") == len(pictures)


def test_a_damaged_image_costs_the_pictures_only(out):
    course = next(out.glob("TINY-00000/*/course.json")).parent
    image = course / "image" / "ct.nrrd"
    whole = image.read_bytes()
    image.write_bytes(whole[:200])
    assert main(["stage", "report", str(course), "--quiet"]) == 0
    page = pages_of(out)["TINY-00000"][1]
    image.write_bytes(whole)
    assert "ct.nrrd cannot be read" in page and 'class="dvh"' in page
    (course / "image" / "image.json").rename(course / "image.json")
    assert main(["stage", "report", str(course), "--quiet"]) == 0
    (course / "image.json").rename(course / "image" / "image.json")
    assert "the course has no planning image" in pages_of(out)["TINY-00000"][1]
    assert main(["stage", "report", str(course), "--quiet"]) == 0


def test_a_verdict_makes_its_own_course_s_page_anew(out):
    before = pages_of(out)
    assert len(before) == 2
    first, second = sorted(before)
    assert "Nobody has given a verdict" in before[first][1]
    course = next((out / first).glob("*/course.json")).parent
    add_verdict(course, "reject", "B. Oncologist", roi="PTV_20", comment="too small")
    assert main(["report", str(out), "--quiet"]) == 0
    after = pages_of(out)
    assert after[second] == before[second]
    for text in ("rejected", "B. Oncologist", "too small", "current"):
        assert text in after[first][1], text
    assert main(["report", str(out), "--quiet"]) == 0
    assert pages_of(out) == after  # all holds now


def test_a_verdict_that_cannot_be_read_is_told_and_costs_nothing_else(out):
    course = next(out.glob("TINY-00001/*/course.json")).parent
    add_verdict(course, "accept", "B. Oncologist")
    (course / "review" / "broken.json").write_text("{")
    assert main(["report", str(out), "--quiet"]) == 0
    assert "accepted" in pages_of(out)["TINY-00001"][1]
    record = (course / "stages" / "report.json").read_text(encoding="utf-8")
    assert "is no verdict that can be read" in record


def test_the_cohort_s_page_shows_review_quality_and_plots(out):
    assert main(["report", str(out), "--quiet"]) == 0
    page = (out / "results" / "report.html").read_text(encoding="utf-8")
    assert "Review of courses and their structures: " in page and "1 rejected" in page
    assert "Body, 2 courses" in page  # the curves
    links = set(re.findall('<a href="([^"]*course.html)"', page))
    assert len(links) == 2
    assert all((out / "results" / link).resolve().is_file() for link in links)


def test_a_damaged_table_is_named(out, capsys):
    path = out / "results" / "dvh_curves.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert main(["report", str(out), "--quiet"]) == 3
    path.write_bytes(whole)
    message = capsys.readouterr().err
    assert "cannot be read" in message and "rtpipeline aggregate" in message
