"""Clinical goals: verdicts on DVHs whose metrics are plain, and files of goals with mistakes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from RTPipelineLib.config import load_config
from RTPipelineLib.config.goals import read_goals
from RTPipelineLib.config.section import goal_templates
from RTPipelineLib.dvh.goals import Goal, GoalSubject, evaluate_goals
from RTPipelineLib.errors import ConfigError
from RTPipelineLib.model import DVH


def line(low: float = 10.0, high: float = 30.0, cc: float = 4.0, known: float = 1.0) -> DVH:
    """Doses evenly from `low` to `high` in the share `known`; the rest lies outside the grid."""
    inside = cc * known
    mean = (low + high) / 2 if known == 1 else math.nan
    return DVH(
        "x",
        volume_cc=cc,
        covered_cc=inside,
        dose_gy=np.array([low, high]),
        at_least_cc=np.array([inside, 0.0]),
        mean_gy=mean,
        std_gy=math.nan,
        min_gy=low if known == 1 else math.nan,
        max_gy=high,
    )


def subject(name: str = "Lung", dvh: DVH | None = None, **row: object) -> GoalSubject:
    dvh = line() if dvh is None else dvh
    known = {"Dmean_Gy": dvh.mean_gy, "Dmax_Gy": dvh.max_gy, "Dmin_Gy": dvh.min_gy}
    return GoalSubject({"roi_name": name, "dose_source": "plan:A", **known, **row}, dvh)


def verdict(goal: Goal, *subjects: GoalSubject) -> tuple[str, float | None, str]:
    (result,) = evaluate_goals([goal], list(subjects) or [subject()])
    return result.verdict, result.value, result.reason


# V20Gy is 50 %, D50% 20 Gy, the mean 20 Gy and the maximum 30 Gy.
@pytest.mark.parametrize(
    ("metric", "operator", "limit", "tolerance", "expected"),
    [
        ("V20Gy[%]", "<", 51, None, "pass"),
        ("V20Gy[%]", "<", 49, None, "fail"),
        ("V20Gy[%]", "<", 49, 51, "tolerable"),
        ("V20Gy[%]", "<", 40, 49, "fail"),
        ("V20Gy[cc]", ">=", 1.9, None, "pass"),
        ("V20Gy[cc]", ">=", 2.1, 1.9, "tolerable"),
        ("V20Gy[cc]", ">=", 2.5, 2.1, "fail"),
        ("CV20Gy[cc]", ">", 1.9, None, "pass"),
        ("D50%[Gy]", "<=", 20.01, None, "pass"),
        ("D1cc[Gy]", "<", 24, None, "fail"),  # 25 Gy
        ("Dmean[Gy]", "<=", 20, None, "pass"),
        ("Dmean[Gy]", "<", 20, None, "fail"),
        ("Dmean[Gy]", "<", 20, 20, "tolerable"),
        ("Dmax[Gy]", ">", 29, None, "pass"),
    ],
)
def test_verdicts(metric, operator, limit, tolerance, expected) -> None:
    found, value, _ = verdict(Goal("lung", metric, operator, limit, tolerance))
    assert found == expected
    assert value is not None


@given(st.floats(0, 40), st.floats(0, 40), st.sampled_from(["<", "<=", ">", ">="]))
def test_a_stricter_limit_is_never_easier(first: float, second: float, operator: str) -> None:
    strict, lenient = sorted((first, second), reverse=operator.startswith(">"))
    goals = [Goal("Lung", "D30%[Gy]", operator, limit) for limit in (strict, lenient)]
    results = [result.verdict for result in evaluate_goals(goals, [subject()])]
    assert results != ["pass", "fail"]


def test_incomplete_coverage_never_shows_sparing() -> None:
    """70 % known: V20Gy is 35 % at least and 65 % at most."""
    partial = subject(dvh=line(known=0.7))
    expected = {
        ("<", 70.0): "not evaluable",  # even where the upper bound would fit
        ("<", 40.0): "not evaluable",
        ("<", 30.0): "fail",
        (">=", 30.0): "pass",
        (">=", 40.0): "not evaluable",
        (">=", 70.0): "fail",
    }
    for (operator, limit), wanted in expected.items():
        found, value, reason = verdict(Goal("Lung", "V20Gy[%]", operator, limit), partial)
        assert (found, "lower bound" in reason) == (wanted, True), (operator, limit)
        assert value == pytest.approx(35, abs=0.01)


@pytest.mark.parametrize(
    ("metric", "operator", "limit", "expected"),
    [
        ("Dmax[Gy]", "<", 40, "not evaluable"),
        ("Dmax[Gy]", "<", 25, "fail"),
        ("D1cc[Gy]", ">", 15, "pass"),
        ("D1cc[Gy]", ">", 35, "not evaluable"),
        ("Dmean[Gy]", "<", 40, "not evaluable"),
        ("D95%[Gy]", ">", 1, "not evaluable"),
        ("DC1cc[Gy]", ">", 1, "not evaluable"),
    ],
)
def test_incomplete_coverage_of_doses(metric, operator, limit, expected) -> None:
    found, _, reason = verdict(Goal("Lung", metric, operator, limit), subject(dvh=line(known=0.7)))
    assert found == expected
    assert "70.0 %" in reason


def test_tolerable_needs_certainty() -> None:
    """The lower bound 35 % is tolerable, the truth may not be."""
    goal = Goal("Lung", "V20Gy[%]", "<", 30.0, 40.0)
    assert verdict(goal, subject(dvh=line(known=0.7)))[0] == "not evaluable"
    goal = Goal("Lung", "V20Gy[%]", "<", 20.0, 30.0)
    assert verdict(goal, subject(dvh=line(known=0.7)))[0] == "fail"


def test_what_cannot_be_evaluated_says_why() -> None:
    goal = Goal("Lung", "V95%[%]", ">", 95)
    assert verdict(goal)[1:] == (None, "the prescription is not known")
    assert verdict(goal, subject(rx_gy=20.0))[0] == "fail"
    assert verdict(Goal("Heart", "Dmean[Gy]", "<", 5))[2] == "no structure is named 'Heart'"
    no_dvh = GoalSubject({"roi_name": "Lung", "dose_source": "plan:A"}, None)
    assert "no DVH" in verdict(goal, no_dvh)[2]
    empty = subject(dvh=line(cc=0.0), rx_gy=20.0)
    assert verdict(goal, empty)[2] == "the structure is empty"
    assert "4 cc, less than 5 cc" in verdict(Goal("Lung", "D5cc[Gy]", "<", 5))[2]
    assert "geud_a" in verdict(Goal("Lung", "gEUD[Gy]", "<", 5))[2]
    assert verdict(Goal("Lung", "CI_RTOG", "<", 2), subject(rx_gy=20.0, CI_RTOG=1.5))[0] == "pass"


def test_names_match_exactly_but_for_case() -> None:
    goal = Goal("lung_l", "Dmean[Gy]", "<", 30)
    assert verdict(goal, subject("LUNG_L"))[0] == "pass"
    assert verdict(goal, subject("Left lung", roi_standard_name="Lung_L"))[0] == "pass"
    for other in ("Lung_L1", "Lung L", "Lung", "xLung_L"):
        assert verdict(goal, subject(other))[2].startswith("no structure")


def test_every_match_and_every_dose_has_its_row() -> None:
    subjects = [
        subject("Lung", dose_source="A"),
        subject("LUNG", dose_source="A", dvh=line(0, 10)),
        subject("Lung", dose_source="B"),
        subject("Heart", dose_source="C"),
    ]
    results = evaluate_goals([Goal("Lung", "Dmean[Gy]", "<", 15)], subjects)
    assert [(r.dose_source, r.verdict) for r in results] == [
        ("A", "fail"),
        ("A", "pass"),
        ("B", "fail"),
        ("C", "not evaluable"),
    ]
    assert [r.reason for r in results[:3]] == ["one of 2 structures of this name"] * 2 + [""]
    assert results[3].row()["roi_name"] is None
    assert results[0].row()["value"] == 20


def test_impossible_goals_are_refused() -> None:
    with pytest.raises(ValueError, match="stricter"):
        Goal("x", "V20Gy[%]", "<", 30, 20)
    with pytest.raises(ValueError, match="stricter"):
        Goal("x", "V20Gy[%]", ">", 30, 40)
    with pytest.raises(ValueError, match="no DVH metric"):
        Goal("x", "V20[%]", "<", 30)
    with pytest.raises(ValueError, match="operator"):
        Goal("x", "V20Gy[%]", "=", 30)  # type: ignore[arg-type]


# -- files ----------------------------------------------------------------------------------------


def write(folder: Path, text: str) -> Path:
    path = folder / "goals.yaml"
    path.write_text(text, encoding="utf-8")
    return path


GOOD = """\
- structure: Lungs
  metric: V20Gy[%]
  operator: "<="
  limit: 30
  tolerance: 35
  priority: 1
  source: somebody 2010
- {structure: Heart, metric: "Dmean[Gy]", operator: "<", limit: 26}
"""


def test_a_list_and_a_list_under_its_key(tmp_path) -> None:
    bare = read_goals(write(tmp_path, GOOD))
    indented = "".join(f"  {text}\n" for text in GOOD.splitlines())
    assert read_goals(write(tmp_path, f"goals:\n{indented}")) == bare
    assert Goal(**bare[0].model_dump()) == Goal(
        "Lungs", "V20Gy[%]", "<=", 30.0, 35.0, 1, "somebody 2010"
    )
    assert bare[1].tolerance is None


def test_all_mistakes_at_once_with_their_lines(tmp_path) -> None:
    text = """\
- structure: Lungs
  metric: V20Gy
  operator: =<
  limit: "30"
- structure: Lungs
  metric: Dmaen[Gy]
  operator: "<"
  limit: 30
  prio: 1
- metric: V20Gy[%]
  operator: "<"
  limit: 30
  tolerance: 20
"""
    with pytest.raises(ConfigError) as caught:
        read_goals(write(tmp_path, text))
    lines = str(caught.value).splitlines()
    for line_number, part in ((2, "V20Gy[%]"), (3, "=<"), (4, "'30'"), (6, "Dmean[Gy]")):
        assert any(f"line {line_number}:" in x and part in x for x in lines), lines
    assert any("line 9:" in x and "did you mean priority" in x for x in lines)
    assert any("line 10:" in x and "structure" in x for x in lines)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "needs the key goals"),
        ("goals: []", "no goal"),
        ("- structure: A\n  metric: Dmean[Gy]\n  operator: >=\n  limit: 1\n", "in quotes"),
        ("- just a text\n", "expected keys and values"),
        ("a: [", "line 1"),
    ],
)
def test_files_that_hold_no_goals(tmp_path, text, expected) -> None:
    with pytest.raises(ConfigError, match=expected):
        read_goals(write(tmp_path, text))


def test_the_configuration_takes_a_valid_file_or_a_template(tmp_path) -> None:
    write(tmp_path, GOOD)
    config = tmp_path / "config.yaml"
    config.write_text("dvh: {goals: goals.yaml}")
    assert load_config(config).dvh.goals == tmp_path / "goals.yaml"
    config.write_text("dvh: {goals: quantec}")
    assert load_config(config).dvh.goals == goal_templates()["quantec"]
    config.write_text("dvh: {goals: quantex}")
    with pytest.raises(ConfigError, match="templates are quantec, rtog-0415"):
        load_config(config)
    write(tmp_path, GOOD.replace("limit: 26", "limit: x"))
    config.write_text("dvh:\n  goals: goals.yaml")
    with pytest.raises(ConfigError, match=r"config.yaml, line 2: dvh.goals: goals.yaml, line 8"):
        load_config(config)


# Limits that many papers quote, looked up independently of the files.
KNOWN = {
    "quantec": {("Lungs", "V20Gy[%]"): 30, ("Rectum", "V70Gy[%]"): 20, ("Heart", "V25Gy[%]"): 10},
    "rtog-0415": {("Rectum", "V75Gy[%]"): 15, ("Bladder", "V80Gy[%]"): 15},
    "rtog-0529": {("Bowel_Small", "V45Gy[cc]"): 20, ("Femur_Head_L", "V44Gy[%]"): 5},
    "rtog-0813": {("SpinalCord", "Dmax[Gy]"): 30, ("BrachialPlex", "Dmax[Gy]"): 32},
    "rtog-0915-4fx": {("SpinalCord", "Dmax[Gy]"): 26, ("GreatVes", "Dmax[Gy]"): 49},
    "sabr-uk-2018-3fx": {("Brainstem", "D0.1cc[Gy]"): 18},
    "sabr-uk-2018-5fx": {("Brainstem", "D0.1cc[Gy]"): 23},
}


def test_there_are_no_other_templates() -> None:
    assert set(goal_templates()) == set(KNOWN)


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_templates_are_valid_cited_and_marked_as_examples(name) -> None:
    path = goal_templates()[name]
    assert path.read_text("utf-8").startswith("# EXAMPLE, to be reviewed")
    goals = [Goal(**goal.model_dump()) for goal in read_goals(path)]
    keys = [(goal.structure, goal.metric) for goal in goals]
    assert len(set(keys)) == len(keys)
    assert all(any(f" {year}" in goal.source for year in range(2010, 2025)) for goal in goals)
    limits = dict(zip(keys, (goal.limit for goal in goals), strict=True))
    assert {key: limits[key] for key in KNOWN[name]} == KNOWN[name]
