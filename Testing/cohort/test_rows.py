"""Rows of a cohort's table, the queue of courses to review, and whether reviewers agree."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from RTPipelineLib.cli import main
from RTPipelineLib.cohort.rows import (
    ALL,
    FLAGGED,
    NOT_REVIEWED,
    STALE,
    UNSEEN,
    WARNED,
    cohort_rows,
    next_in_queue,
    reviewed,
)
from RTPipelineLib.phantoms.cohort import make_cohort
from RTPipelineLib.review import add_verdict
from RTPipelineLib.review_agreement import agreement_rows, cohen_kappa


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    make_cohort(folder / "dicom", patients=["DEMO-BROKEN", "DEMO-TWICE"])
    stages = "load,structures,dose,dvh,quality"
    arguments = [str(folder / "dicom"), str(folder / "out"), "--stages", stages, "--quiet"]
    assert main(["run", *arguments]) == 3
    return folder / "out"


def test_rows_say_what_the_tables_say(out):
    rows = cohort_rows(out)
    courses = pd.read_parquet(out / "results" / "courses.parquet")
    assert [row.course_id for row in rows] == courses.course_id.tolist()
    assert [row.rx_gy for row in rows] == courses.rx_gy.tolist()
    quality = pd.read_parquet(out / "results" / "quality.parquet")
    for row in rows:
        own = quality[(quality.course_id == row.course_id) & (quality.severity == "warning")]
        assert row.warnings == len(own)
        assert row.verdict == NOT_REVIEWED and row.folder.is_dir()
    assert any(row.passes(WARNED) for row in rows)
    (out / "new" / "2020-01_New").mkdir(parents=True)
    (out / "new" / "2020-01_New" / "course.json").write_text("{}")
    assert [row.status for row in cohort_rows(out)][-1] == "not run"
    (out / "new" / "2020-01_New" / "course.json").unlink()


def test_a_verdict_moves_a_course_through_the_queue(out):
    first, second, third = rows = cohort_rows(out)
    assert next_in_queue(rows, None, UNSEEN) == first
    assert next_in_queue(rows, first, UNSEEN) == second
    assert next_in_queue(rows, second, ALL, -1) == first
    assert next_in_queue(rows, third, ALL) is None
    add_verdict(first.folder, "accept", "Ada")
    add_verdict(second.folder, "flag", "Ada", comment="look")
    add_verdict(second.folder, "accept", "Ben")
    rows = cohort_rows(out)  # the tables do not have them yet
    assert [row.verdict for row in rows] == ["accept", "flag", NOT_REVIEWED]
    assert rows[1].reviewers == ("Ada", "Ben") and rows[1].passes(FLAGGED)
    assert reviewed(rows[1], None, "Ben").verdict == "accept"  # blinded to Ada
    assert [row.verdict for row in cohort_rows(out, "Cyd")] == [NOT_REVIEWED] * 3
    main(["aggregate", str(out)])
    assert cohort_rows(out) == rows
    dose = first.folder / "dose" / "dose.json"
    facts = json.loads(dose.read_text())
    dose.write_text(json.dumps({**facts, "decision": "another"}))
    assert reviewed(first, None).passes(STALE)
    dose.write_text(json.dumps(facts))
    table = pd.read_parquet(out / "results" / "reviewer_agreement.parquet")
    assert table[["reviewer_a", "reviewer_b", "items"]].to_numpy().tolist() == [["Ada", "Ben", 1]]


def test_kappa_of_a_textbook_case():
    # 20 + 15 of 50 equal: (0.7 - 0.5) / (1 - 0.5), a worked example in every textbook.
    pairs = [("a", "a")] * 20 + [("a", "b")] * 5 + [("b", "a")] * 10 + [("b", "b")] * 15
    assert cohen_kappa(pairs) == pytest.approx((0.7, 0.4))
    assert cohen_kappa([("a", "a")]) == (1.0, None)
    assert cohen_kappa([("a", "b"), ("b", "a")]) == pytest.approx((0.0, -1.0))


def test_comments_and_older_verdicts_do_not_count():
    def row(reviewer, verdict, state="current", item=""):
        return {
            "patient_id": "P",
            "course_id": "C",
            "item": item,
            "source": "",
            "reviewer": reviewer,
            "verdict": verdict,
            "state": state,
        }

    rows = [
        row("Ada", "reject", "superseded"),
        row("Ada", "accept"),
        row("Ben", "comment"),
        row("Ben", "accept", "out of date"),
        row("Ben", "flag", item="PTV"),
    ]
    (found,) = agreement_rows(rows)
    assert (found["items"], found["agreement"], found["kappa"]) == (1, 1.0, None)
    assert agreement_rows(rows[:3]) == []
