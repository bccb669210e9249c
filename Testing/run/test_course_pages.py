"""A course's page shows the verdicts: those given after it was made, from the next report on."""

from __future__ import annotations

from pathlib import Path

import pytest

from RTPipelineLib.cli import main
from RTPipelineLib.phantoms.scale import tiny_patients
from RTPipelineLib.review import add_verdict


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    list(tiny_patients(folder / "dicom", 2))
    assert main(["run", str(folder / "dicom"), str(folder / "out"), "--quiet"]) == 0
    return folder / "out"


def pages_of(out: Path) -> dict[str, tuple[int, str]]:
    """Time and text of every course's page."""
    paths = sorted(out.glob("*/*/report/course.html"))
    return {
        path.parts[-4]: (path.stat().st_mtime_ns, path.read_text(encoding="utf-8"))
        for path in paths
    }


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
