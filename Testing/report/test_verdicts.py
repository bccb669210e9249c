"""The judging sections of a course's page."""

from __future__ import annotations

import pytest

from RTPipelineLib.report.cells import UNKNOWN
from RTPipelineLib.report.verdicts import comparison_section, goals_section

GOAL = {
    "roi_name": "<b>Lungs</b>",
    "structure": "Lungs",
    "metric": "V20Gy[%]",
    "operator": "<",
    "limit": 30.0,
    "tolerance": None,
    "unit": "%",
    "priority": 1.0,
    "value": 31.26,
    "result": "fail",
    "reason": "",
    "dose_source": "plan:A",
    "goal_source": "somebody & 2010",
}


def test_goals() -> None:
    dose = {**GOAL, "metric": "Dmean[Gy]", "unit": "Gy", "limit": 20.0, "value": 12.345}
    text = goals_section([GOAL, {**dose, "result": "pass"}], "cGy")
    for part in ("V20Gy[%] &lt; 30 %", "31.26 %", "Dmean[Gy] &lt; 2000 cGy", "1234 cGy", ">fail<"):
        assert part in text, part
    assert "&lt;b&gt;Lungs" in text and "<b>" not in text
    assert "somebody &amp; 2010" in text
    assert "<details" not in text


def test_goals_without_a_structure_are_folded_away() -> None:
    absent = {**GOAL, "roi_name": None, "value": None, "result": "not evaluable"}
    text = goals_section([absent, {**absent, "structure": "Heart"}], "Gy")
    assert "2 goals of structures that are not in this course" in text
    assert "Lungs, Heart" in text
    assert "No goals" in goals_section([], "Gy")


def compared(metric: str, agrees: bool | None, **more: object) -> dict[str, object]:
    row = {"roi_name": "PTV", "program": "other 1.0", "dose_source": "plan:A", "metric": metric}
    unit = "cc" if metric == "volume" else "Gy"
    return {**row, "unit": unit, "value": 50.0, "other_value": 48.5, "agrees": agrees, **more}


@pytest.mark.parametrize(("units", "pair"), [("Gy", "50.00 | 48.50"), ("cGy", "5000 | 4850")])
def test_comparisons(units, pair) -> None:
    text = comparison_section([compared("volume", True), compared("Dmean", False)], units)
    assert "50.00 | 48.50" in text
    assert f"<b>{pair}</b>" in text
    assert ">differs<" in text and "Dmean" in text
    assert text.count("<tr") == 2  # the head, and one line for the structure
    assert ">agrees<" in comparison_section([compared("volume", True)], units)
    unknown = comparison_section([compared("", None, value=None, reason="no curve")], units)
    assert "no curve" in unknown and UNKNOWN in unknown and ">agrees<" not in unknown
