"""Prescriptions of phases with different targets: by volume which target contains which."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from RTPipelineLib.stages.course_rx import CONTAINED, OUTSIDE
from Testing.rt_export import Export

BASE, BOOST = "PTV_45", "PTV_25"


@pytest.fixture
def export(tmp_path: Path) -> Export:
    return Export(tmp_path)


def two_phases(export: Export, boost_mm: float, base_mm: float = 4.0) -> dict:
    rois = {"Cord": 1.0, BASE: base_mm, BOOST: boost_mm}
    structures = export.structures(rois=rois)
    first = export.plan("A", 25, structures=structures, prescribes={2: 45.0})
    second = export.plan("B", 10, structures=structures, prescribes={3: 25.0}, concurrent=first)
    export.dose(first, 45.0)
    export.dose(second, 25.0)
    return export.run()


def test_a_boost_inside_the_base_target_has_both_phases(export) -> None:
    facts = two_phases(export, 2.0)
    levels = {level["roi_name"]: level for level in facts["prescription"]["levels"]}
    assert {name: level["dose_gy"] for name, level in levels.items()} == {BASE: 45.0, BOOST: 70.0}
    assert levels[BOOST]["fractions"] == 35
    rows = export.metrics().loc[facts["sources"][0]["name"]]
    assert rows["rx_gy"].to_dict() == {"Cord": 70.0, BASE: 45.0, BOOST: 70.0}
    assert not rows.loc[BOOST, "flags"].count("rx-needs-decision")


def test_a_boost_that_leaves_the_base_target_in_part_needs_a_decision(export) -> None:
    # A square of 4 mm holds (4 / 4.2)^2 = 91 % of one of 4.2 mm.
    assert OUTSIDE < (4.0 / 4.2) ** 2 < CONTAINED
    facts = two_phases(export, 4.2)
    assert "rx-needs-decision" in facts["prescription"]["flags"]
    assert export.metrics().rx_gy[facts["sources"][0]["name"]].isna().all()
    record = json.loads((export.folder / "stages" / "dose.json").read_text())
    said = [p["message"] for p in record["problems"] if p["item"] == "prescription"]
    assert said == [
        "PTV_25 lies 91 % inside PTV_45, which leaves open what was prescribed to it; write it "
        "under prescription in overrides.yaml"
    ]
