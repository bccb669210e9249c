"""Sections of a course's page: quality control, reviewers' verdicts, names and agreement."""

from __future__ import annotations

from RTPipelineLib.report.content import Notice
from RTPipelineLib.report.findings import quality_section
from RTPipelineLib.report.naming import structures_section
from RTPipelineLib.report.reviews import verdict_summary, verdicts_section

VERDICT = {
    "item": "",
    "source": "",
    "verdict": "accept",
    "comment": "",
    "reviewer": "A. Physicist",
    "time": "2024-03-05T10:20:30.123456+00:00",
    "state": "current",
}


def test_findings_stand_the_worst_first_with_what_was_read() -> None:
    notices = [
        Notice("links", "info", "joined by frame", "flags"),
        Notice("target-dose", "error", "D98 is low <here>", "dvh/metrics.parquet"),
    ]
    html = quality_section(notices, {"links": "found", "target-dose": "found", "slices": "passed"})
    assert html.index("D98 is low &lt;here&gt;") < html.index("joined by frame")
    assert "dvh/metrics.parquet" in html
    assert "3 checks: 2 found, 1 passed" in html


def test_without_quality_control_the_section_says_so() -> None:
    assert "Quality control has not run" in quality_section([Notice("late", "error")], {})
    assert "Nothing was found." in quality_section([], {"slices": "passed"})


def test_verdicts_say_who_when_and_whether_they_hold() -> None:
    rows = [
        {**VERDICT, "item": "PTV", "source": "clinical", "verdict": "flag", "comment": "cut <z>"},
        {**VERDICT, "state": "superseded", "verdict": "reject"},
        {**VERDICT, "state": "out of date"},
    ]
    html = verdicts_section(rows)
    assert html.index("the course") < html.index(">PTV<")  # those on the course first
    for text in ("flagged", "cut &lt;z&gt;", "A. Physicist", "2024-03-05 10:20 UTC", "out of date"):
        assert text in html, text
    assert "the results have changed since" in html
    assert html.index("<details") < html.index("rejected")  # the superseded one is folded away
    assert "nobody has given a verdict" in verdicts_section([]).lower()


def test_a_cell_sums_verdicts_up() -> None:
    counts = {
        ("accept", "current"): 2,
        ("reject", "current"): 1,
        ("accept", "superseded"): 3,
        ("flag", "out of date"): 4,
    }
    html = verdict_summary(counts)
    assert 'class="badge good">2 accepted<' in html
    assert 'class="badge bad">rejected<' in html
    assert "4 out of date" in html and "3" not in html
    assert "badge" not in verdict_summary({})


def test_names_are_offered_where_none_was_found() -> None:
    names = [
        {"roi_name": "Cord", "source": "clinical", "roi_standard_name": "SpinalCord"},
        {"roi_name": "Sp.Crd", "source": "clinical", "suggestions": ["SpinalCord"]},
    ]
    html = structures_section(names, [])
    assert "perhaps SpinalCord" in html and "no name" in html
    assert "Agreement" not in html


def test_agreement_of_two_sources() -> None:
    row = {"roi_standard_name": "Heart", "roi_name_a": "Herz", "source_a": "clinical"}
    row |= {"roi_name_b": "heart", "source_b": "total", "dice": 0.91234, "hausdorff95_mm": 4.26}
    html = structures_section([{"roi_name": "Herz"}], [{**row, "flags": "one;two"}])
    for text in ("Herz (clinical)", "heart (total)", ">0.912<", ">4.3<", "one, two"):
        assert text in html, text
