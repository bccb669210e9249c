"""What a course consists of in plain words, and what a person changes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from RTPipelineLib.cohort.facts import (
    AlphaBetas,
    Decisions,
    changes_of,
    course_facts,
    decisions_of,
    problems_of,
    usual_ratios,
)
from RTPipelineLib.course import course_folders
from RTPipelineLib.overrides import Overrides, save_course_overrides

USUAL = AlphaBetas(False, "10", "3", ())
BEFORE = Decisions(
    (("1.2", "Base", ""), ("1.3", "Boost", "")),
    (("PTV", "PTV", "60", "30"),),
    (("LT LUNG", ""), ("Heart", "Heart"), ("Old", "Bladder")),
    USUAL,
)
OWN = Overrides(
    dose={"plans": {"Base": 1}, "normalisation": {"1.4": 60.0}, "registrations": ["1.5"]},
    names={"Old": "Bladder"},
)
OTHERS = {"normalisation": {"1.4": 60.0}, "registrations": ["1.5"]}


def test_nothing_changed_changes_nothing():
    assert changes_of(BEFORE, BEFORE, OWN, USUAL) == {}


@pytest.mark.parametrize(
    ("after", "changes"),
    [
        (
            {"plans": (("1.2", "Base", "1"), ("1.3", "Boost", "0,4"))},
            {"dose": {**OTHERS, "plans": {"1.2": 1, "1.3": 0.4}}},
        ),
        ({"levels": ()}, {"prescription": []}),
        (
            {"levels": (("", "PTV1", "66.6", ""), ("", "", "", ""))},
            {"prescription": [{"roi": "PTV1", "dose_gy": 66.6}]},
        ),
        ({"levels": (("PTV", "", "much", "x"),)},
         {"prescription": [{"name": "PTV", "dose_gy": "much", "fractions": "x"}]}),
        (
            {"names": (("LT LUNG", "Lung_L"), ("Heart", "Heart"), ("Old", "Bladder"))},
            {"names": {"Old": "Bladder", "LT LUNG": "Lung_L"}},
        ),
        ({"names": (("LT LUNG", ""), ("Heart", "Heart"), ("Old", ""))}, {"names": {}}),
        (
            {"ratios": AlphaBetas(True, "10", "3", (("Cord", "2"), ("", "")))},
            {
                "eqd2": {
                    "enabled": True,
                    "alpha_beta": {"target": 10, "other": 3, "structures": {"Cord": 2}},
                }
            },
        ),
    ],
)  # fmt: skip
def test_changes_become_keys_of_the_file(after, changes):
    assert changes_of(BEFORE, replace(BEFORE, **after), OWN, USUAL) == changes


def test_ratios_as_the_configuration_has_them_need_no_decision():
    decided = replace(BEFORE, ratios=AlphaBetas(True, "8", "3", ()))
    assert changes_of(decided, BEFORE, OWN, USUAL) == {"eqd2": {}}


def test_weights_that_are_taken_back_leave_the_other_decisions_about_the_dose():
    weighted = replace(BEFORE, plans=(("1.2", "Base", "1"), ("1.3", "Boost", "")))
    assert changes_of(weighted, BEFORE, OWN, USUAL) == {"dose": OTHERS}


def test_weights_of_plans_beside_an_exact_sum_of_doses_are_refused():
    weighted = replace(BEFORE, plans=(("1.2", "Base", "1"), ("1.3", "Boost", "")))
    changes = changes_of(BEFORE, weighted, Overrides(dose={"doses": {"1.4": 1.0}}), USUAL)
    assert "delete that key" in problems_of(changes)["dose"]


def test_each_wrong_value_is_said_under_its_key_and_right_ones_are_not():
    wrong = replace(
        BEFORE,
        levels=(("PTV", "PTV", "much", "30"),),
        names=(("LT LUNG", "Lung_L"), ("Heart", "Heart"), ("Old", "Bladder")),
        ratios=AlphaBetas(True, "ten", "3", (("Cord", "-1"),)),
    )
    found = problems_of(changes_of(BEFORE, wrong, OWN, USUAL))
    assert set(found) == {"prescription", "eqd2"}
    assert found["prescription"] == "prescription: dose_gy must be a dose in Gy, found 'much'"
    assert found["eqd2"].splitlines() == [
        "eqd2.alpha_beta.target: expected a number, found 'ten'",
        "eqd2.alpha_beta.structures.Cord: expected a number above 0, found -1",
    ]


def test_a_course_in_words(tmp_path):
    from RTPipelineLib.cli import main
    from RTPipelineLib.phantoms.cohort import make_cohort

    make_cohort(tmp_path / "dicom", patients=["DEMO-BROKEN"])
    stages = "load,structures,dose,quality"
    folders = [str(tmp_path / name) for name in ("dicom", "out")]
    main(["run", *folders, "--stages", stages, "--quiet"])
    (folder,) = course_folders(tmp_path / "out")
    images, objects, dose, warnings = course_facts(folder)
    assert [fact.name for fact in images.below] == ["CT Planning CT"]
    links = [link.text for fact in objects.below for link in fact.below]
    assert "by the same frame of reference" in links
    assert dose.text == "decided" and any("highest" in fact.text for fact in dose.below)
    assert len(warnings.below) == int(warnings.text) > 0
    decisions = decisions_of(folder)
    assert len(decisions.plans) == 1 and decisions.levels[0][2] == "66"
    assert decisions.ratios == usual_ratios(folder) == USUAL
    save_course_overrides(folder, {"eqd2": {"alpha_beta": {"other": 2.5}}})
    assert decisions_of(folder).ratios == replace(USUAL, other="2.5")
    assert usual_ratios(folder) == USUAL
