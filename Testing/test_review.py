"""Verdicts: none is lost, and none holds for results that its reviewer never saw."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from RTPipelineLib.cli import main
from RTPipelineLib.course import Course
from RTPipelineLib.errors import DataError, UsageError
from RTPipelineLib.platform import write_json
from RTPipelineLib.review import (
    CURRENT,
    OUT_OF_DATE,
    SUPERSEDED,
    add_verdict,
    read_verdicts,
    review_rows,
)

ROIS = [("Heart", "clinical"), ("Lung_L", "clinical"), ("Lung_L", "totalsegmentator")]


@pytest.fixture
def course(tmp_path):
    """A course with three structures under one dose."""
    folder = tmp_path / "out" / "P1" / "2024-01_A"
    write_json(folder / "course.json", Course("P1", "2024-01_A", str(tmp_path)).to_dict())
    rois = [{"roi_name": name, "source": source, "volume_cc": 9.0} for name, source in ROIS]
    write_json(folder / "structures" / "structures.json", {"rois": rois})
    set_doses(folder, Heart=4.0)
    write_json(folder / "dose" / "dose.json", {"decision": {"status": "plan"}})
    return folder


def set_doses(folder, **mean_gy):
    rows = [
        {"roi_name": name, "source": source, "Dmean_Gy": mean_gy.get(name, 1.0)}
        for name, source in ROIS
    ]
    (folder / "dvh").mkdir(exist_ok=True)
    pd.DataFrame(rows).to_parquet(folder / "dvh" / "metrics.parquet")


def states(folder):
    rows, errors = review_rows(folder)
    assert not errors
    return [(row["item"], row["reviewer"], row["verdict"], row["state"]) for row in rows]


def test_a_verdict_says_who_when_on_what_and_what_was_seen(course):
    written = add_verdict(course, "accept", "  Ada ", roi="Heart", comment=" looks right ")
    assert (written.item, written.source, written.reviewer) == ("Heart", "clinical", "Ada")
    assert written.comment == "looks right"
    assert written.time.endswith("+00:00") and len(written.seen_hash) == 64
    assert read_verdicts(course) == ([written], [])


def test_a_verdict_is_out_of_date_when_its_structure_changes_and_only_then(course):
    add_verdict(course, "accept", "Ada", roi="Heart")
    add_verdict(course, "accept", "Ada", roi="Lung_L", source="clinical")
    add_verdict(course, "accept", "Ada")
    set_doses(course, Heart=4.1)
    assert states(course) == [
        ("Heart", "Ada", "accept", OUT_OF_DATE),
        ("Lung_L", "Ada", "accept", CURRENT),
        ("", "Ada", "accept", OUT_OF_DATE),
    ]
    set_doses(course, Heart=4.0)
    assert {state for *_, state in states(course)} == {CURRENT}


def test_another_choice_of_dose_makes_the_courses_verdict_old(course):
    add_verdict(course, "accept", "Ada")
    write_json(course / "dose" / "dose.json", {"decision": {"status": "sum"}})
    assert states(course) == [("", "Ada", "accept", OUT_OF_DATE)]


def test_rounding_of_the_last_digits_is_no_change(course):
    add_verdict(course, "accept", "Ada", roi="Heart")
    set_doses(course, Heart=4.0 * (1 + 1e-12))
    assert states(course) == [("Heart", "Ada", "accept", CURRENT)]


def test_a_later_verdict_of_the_same_reviewer_counts_and_a_comment_takes_nothing_away(course):
    add_verdict(course, "reject", "Ada", roi="Heart")
    add_verdict(course, "accept", "Bo", roi="Heart")
    add_verdict(course, "accept", "Ada", roi="Heart")
    add_verdict(course, "comment", "Ada", roi="Heart", comment="apex redrawn")
    assert states(course) == [
        ("Heart", "Ada", "reject", SUPERSEDED),
        ("Heart", "Bo", "accept", CURRENT),
        ("Heart", "Ada", "accept", CURRENT),
        ("Heart", "Ada", "comment", CURRENT),
    ]


@pytest.mark.parametrize(
    ("verdict", "options", "words"),
    [
        ("good", {"by": "Ada"}, "one of accept, reject, flag, comment"),
        ("accept", {"by": " "}, "name of its reviewer"),
        ("comment", {"by": "Ada"}, "needs words"),
        ("accept", {"by": "Ada", "roi": "Hart"}, "did you mean 'Heart'"),
        ("accept", {"by": "Ada", "roi": "Lung_L"}, "--source clinical, totalsegmentator"),
        ("accept", {"by": "Ada", "source": "clinical"}, "--roi"),
    ],
)
def test_what_is_no_verdict_is_refused_in_words(course, verdict, options, words):
    with pytest.raises(UsageError, match=words):
        add_verdict(course, verdict, **options)
    assert read_verdicts(course) == ([], [])


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"schema": 9}', '{"schema": 1, "item": 3}', "\\xff"]
)
def test_a_damaged_verdict_costs_itself_and_names_its_file(course, content):
    kept = add_verdict(course, "accept", "Ada")
    bad = course / "review" / "bad.json"
    bad.write_bytes(content.encode("latin-1"))
    verdicts, errors = read_verdicts(course)
    assert verdicts == [kept]
    assert len(errors) == 1 and str(bad) in str(errors[0])


def test_a_course_whose_facts_are_damaged_says_so(course):
    (course / "dvh" / "metrics.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(DataError, match=r"metrics\.parquet"):
        add_verdict(course, "accept", "Ada")


def test_a_reviewers_name_writes_nothing_elsewhere(course):
    add_verdict(course, "accept", "../../../x/\\Ada <b>", roi="Heart")
    (path,) = (course / "review").iterdir()
    assert json.loads(path.read_text(encoding="utf-8"))["reviewer"] == "../../../x/\\Ada <b>"


WRITER = """
import sys
from pathlib import Path
from RTPipelineLib.review import add_verdict
for number in range(1000):
    add_verdict(Path(sys.argv[1]), "comment", sys.argv[2], roi="Heart", comment=str(number))
"""


def test_two_processes_that_write_a_thousand_verdicts_each_lose_none(course):
    names = ("Ada", "Bo")
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(course), name]) for name in names
    ]
    assert [process.wait(120) for process in processes] == [0, 0]
    verdicts, errors = read_verdicts(course)
    assert not errors
    for name in names:
        own = [int(v.comment) for v in verdicts if v.reviewer == name]
        assert own == list(range(1000))  # in the order in which they were written


def test_verdicts_from_the_command_line_stand_in_the_results(course, capsys):
    out = course.parents[1]
    write_json(out / "run.json", {"schema": 1})
    (out / "config.yaml").write_text("{}\n")
    review = ["review", str(out), "--course", "P1"]
    assert main([*review]) == 0
    assert "no verdicts yet" in capsys.readouterr().out
    assert main([*review, "--roi", "Heart", "--verdict", "accept", "--by", "Ada"]) == 0
    assert main([*review, "--verdict", "flag", "--by", "Bo", "--comment", "no plan"]) == 0
    assert main([*review, "--roi", "Hert", "--verdict", "accept", "--by", "Ada"]) == 2
    assert main([*review, "--by", "Ada"]) == 2
    assert main(["review", str(out), "--course", "P7", "--verdict", "flag", "--by", "Bo"]) == 2
    capsys.readouterr()
    assert main(review) == 0
    assert "[current]: no plan" in capsys.readouterr().out
    (course / "review" / "bad.json").write_text("{")
    assert main(["aggregate", str(out), "--quiet"]) == 3
    table = pd.read_parquet(out / "results" / "reviews.parquet")
    assert list(table.item) == ["", "Heart"]
    assert list(table.verdict) == ["flag", "accept"]
    failures = pd.read_csv(out / "results" / "failures.csv")
    assert failures.error.str.contains("bad.json").sum() == 1
