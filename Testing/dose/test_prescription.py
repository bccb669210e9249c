"""Prescription tables: every source, several levels, several phases, and what stays empty."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from RTPipelineLib.dose.facts import (
    BeamFacts,
    DoseCandidate,
    DoseReference,
    FractionGroup,
    PlanFacts,
    dose_in_name,
)
from RTPipelineLib.dose.prescription import (
    dose_scale_flag,
    level_for,
    prescription_of,
    stated_totals_gy,
)
from RTPipelineLib.dose.select import decide
from RTPipelineLib.model import Prescription, PrescriptionLevel

DATA = Path(__file__).parents[3] / "shared" / "data"


@dataclass(frozen=True)
class Roi:
    """The part of a structure that a prescription looks at."""

    name: str
    number: int
    is_target: bool = True


def plan(uid: str, *references: DoseReference, fractions: int = 25, **fields: object) -> PlanFacts:
    groups = (FractionGroup(1, fractions, (BeamFacts(1, 0.5), BeamFacts(2, 0.5))),)
    return PlanFacts(uid, references=references, **({"groups": groups} | fields))  # type: ignore


def doses(prescription: Prescription) -> list[tuple[str, float]]:
    return [(level.name, level.dose_gy) for level in prescription.levels]


def gy_of(roi: Roi, prescription: Prescription) -> tuple[float | None, str]:
    level, flag = level_for(roi.name, roi.number, roi.is_target, prescription)
    return (level.dose_gy if level else None), flag


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("PTV_7000", 70.0),
        ("PTV60", 60.0),
        ("PTV_70Gy", 70.0),
        ("PTV 59.4", 59.4),
        ("PTV_59p4", 59.4),
        ("PTV_6000cGy", 60.0),
        ("PTV_Low5400", 54.0),
        ("ptv1_50", 50.0),
        ("PTVn54Gy", 54.0),
        ("PTV_30Gy_5fx", 30.0),
        ("PTV_L4_30Gy", 30.0),
        ("PTV_3Gy", 3.0),
        ("PTV1", None),
        ("PTV_T12", None),
        ("PTV_5mm", None),
        ("PTV_60_54", None),
        ("PTV_20240301", None),
        ("PTV", None),
        ("", None),
    ],
)
def test_dose_in_name(name: str, expected: float | None) -> None:
    assert dose_in_name(name) == expected


# -- one plan -----------------------------------------------------------------------------------

SIB = plan(
    "A",
    DoseReference(1, 70.0, description="high", roi_number=11),
    DoseReference(2, 60.0, description="PTV mid"),
    DoseReference(3, 54.0, description="low"),
    DoseReference(4, 45.0, kind="ORGAN_AT_RISK"),
    DoseReference(5, None),
    fractions=35,
)
HIGH, MID, LOW = Roi("PTV1", 11), Roi("PTV_mid", 12), Roi("PTV_5400", 13)
CORD, GTV = Roi("SpinalCord", 5, False), Roi("GTV", 14)


def test_simultaneous_boost_is_three_levels_and_the_course_is_the_highest() -> None:
    found = prescription_of([SIB], [HIGH, MID, LOW, CORD])
    assert doses(found) == [("high", 70.0), ("PTV mid", 60.0), ("low", 54.0)]
    assert {level.fractions for level in found.levels} == {35}
    assert {level.source for level in found.levels} == {"dose-reference"}
    assert found.course is not None
    assert found.course.dose_gy == 70.0
    assert found.flags == ()


@pytest.mark.parametrize(
    ("roi", "expected"),
    [
        (HIGH, (70.0, "")),  # by ROI number
        (MID, (60.0, "")),  # by name
        (LOW, (54.0, "")),  # by the dose in its name
        (Roi("PTV_5390", 20), (54.0, "")),  # within 1 %
        (CORD, (70.0, "")),  # the course's
        (GTV, (None, "rx-needs-decision")),  # which of three?
    ],
)
def test_own_level_of_each_structure(roi: Roi, expected: tuple[float | None, str]) -> None:
    assert gy_of(roi, prescription_of([SIB], [HIGH, MID, LOW, CORD])) == expected


def test_only_level_belongs_to_every_target() -> None:
    found = prescription_of([plan("A", DoseReference(1, 46.0, description="PROS"))], [GTV])
    assert gy_of(GTV, found) == (46.0, "")


def test_point_is_a_level_but_not_a_targets() -> None:
    """The breast case: SITE 14 Gy and a calculation point 11.31 Gy, both of type TARGET."""
    site = DoseReference(1, 14.0, structure_type="SITE", description="Breast")
    point = DoseReference(2, 11.3114, structure_type="COORDINATES", description="CALC POINT")
    found = prescription_of([plan("A", site, point)], [GTV])
    assert doses(found) == [("Breast", 14.0), ("point CALC POINT", 11.3114)]
    assert gy_of(GTV, found) == (14.0, "")
    assert gy_of(CORD, found) == (14.0, "")


def test_beam_doses_times_fractions_are_flagged() -> None:
    found = prescription_of([plan("A", fractions=20)], [])
    assert [(x.dose_gy, x.fractions, x.source) for x in found.levels] == [(20.0, 20, "beam-dose")]
    assert found.flags == ("rx-from-beam-dose",)


def test_beam_without_dose_gives_no_prescription() -> None:
    groups = (FractionGroup(1, 20, (BeamFacts(1, 1.0, 10.0), BeamFacts(2, None, 10.0))),)
    assert prescription_of([plan("A", groups=groups)], []).levels == ()


def test_names_are_the_last_source_and_flagged() -> None:
    empty = plan("A", groups=())
    found = prescription_of(
        [empty], [Roi("PTV_7000", 1), Roi("PTV60", 2), Roi("Cord_45", 3, False)]
    )
    assert doses(found) == [("PTV_7000", 70.0), ("PTV60", 60.0)]
    assert found.flags == ("inferred-from-name",)
    assert prescription_of([empty], [Roi("PTV_7000", 1)], from_name=False).levels == ()


def test_nothing_known_stays_empty() -> None:
    found = prescription_of([plan("A", groups=())], [GTV])
    assert found.levels == ()
    assert found.course is None
    assert gy_of(GTV, found) == gy_of(CORD, found) == (None, "")


def test_users_table_replaces_everything() -> None:
    table = [{"name": "High", "roi": "ptv 1", "dose_gy": 66, "fractions": 33}, {"dose_gy": 54}]
    found = prescription_of([SIB], [HIGH, LOW], user_table=table)
    assert doses(found) == [("High", 66.0), ("user", 54.0)]
    assert gy_of(HIGH, found) == (66.0, "")
    assert {level.source for level in found.levels} == {"user"}


# -- several phases -----------------------------------------------------------------------------

PTV45, PTV25 = Roi("PTV_45", 1), Roi("PTV_25", 2)
BASE = plan("A", DoseReference(1, 45.0), structure_set_uids=("SS",))
BOOST = replace(BASE, uid="B", references=(DoseReference(1, 25.0),), relations=(("A", "PRIOR"),))
DOSES = [DoseCandidate(f"d{uid}", plan_uids=(uid,), frame_uid="F") for uid in "AB"]
SUMMED = decide([BASE, BOOST], DOSES)


def test_boost_inside_the_base_target_gets_both_phases() -> None:
    """PTV_45, then a boost PTV_25 inside it: 70 for the boost, 45 for the rest."""
    found = prescription_of([BASE, BOOST], [PTV45, PTV25], SUMMED, contains={2: {1}})
    assert doses(found) == [("PTV_45", 45.0), ("PTV_25", 70.0)]
    assert [level.fractions for level in found.levels] == [25, 50]
    assert gy_of(PTV25, found) == (70.0, "")
    assert gy_of(PTV45, found) == (45.0, "")
    assert gy_of(CORD, found) == (70.0, "")


def test_target_without_a_level_takes_those_that_contain_it() -> None:
    inside = {2: {1}, 14: {1, 2}}
    both = prescription_of([BASE, BOOST], [PTV45, PTV25, GTV], SUMMED, contains=inside)
    assert gy_of(GTV, both) == (70.0, "")
    alone = prescription_of([SIB], [HIGH, MID, LOW, GTV], contains={14: {11, 12, 13}})
    assert gy_of(GTV, alone) == (70.0, "")
    assert gy_of(MID, alone) == (60.0, "")


def test_two_sites_are_not_summed() -> None:
    found = prescription_of([BASE, BOOST], [PTV45, PTV25], SUMMED, contains={})
    assert doses(found) == [("PTV_45", 45.0), ("PTV_25", 25.0)]


def test_phases_of_the_same_target_need_no_volumes() -> None:
    second = replace(BOOST, references=(DoseReference(1, 25.0, roi_number=1),))
    found = prescription_of([BASE, second], [PTV45], SUMMED)
    assert doses(found) == [("PTV_45", 70.0)]


@pytest.mark.parametrize("rois", [[PTV45, PTV25], [GTV], []])
def test_unknown_volumes_or_targets_need_a_decision(rois: list[Roi]) -> None:
    found = prescription_of([BASE, BOOST], rois, SUMMED)
    assert [level.dose_gy for level in found.levels] == [45.0, 25.0]
    assert found.flags == ("rx-needs-decision",)
    assert gy_of(CORD, found) == gy_of(PTV45, found) == (None, "rx-needs-decision")


def test_undecided_plans_have_no_course_prescription() -> None:
    decision = decide([BASE, replace(BOOST, relations=())], DOSES)
    found = prescription_of([BASE, BOOST], [PTV45, PTV25], decision, contains={2: {1}})
    assert found.flags == ("rx-needs-decision",)
    alone = prescription_of([BASE], [PTV45, PTV25])
    assert gy_of(CORD, alone) == (45.0, "")


def test_delivered_weights_scale_the_levels() -> None:
    """A replan after 15 of 25 fractions: 0.6 of the first plan's level, 0.4 of the second's."""
    second = replace(BASE, uid="B")
    decision = decide([BASE, second], DOSES, overrides={"plans": {"A": 0.6, "B": 0.4}})
    found = prescription_of([BASE, second], [PTV45], decision)
    assert doses(found) == [("PTV_45", pytest.approx(45.0))]


def test_plan_that_does_not_count_has_no_say() -> None:
    decision = decide([BASE, BOOST], DOSES, overrides={"plans": {"A": 1, "B": 0}})
    found = prescription_of([BASE, BOOST], [PTV45], decision)
    assert [level.dose_gy for level in found.levels] == [45.0]


def test_phase_without_prescription_makes_the_sum_unknown() -> None:
    silent = replace(BOOST, references=(), groups=())
    found = prescription_of([BASE, silent], [PTV45], SUMMED)
    assert found.flags == ("rx-needs-decision",)


def two_groups(*served: tuple[int, ...]) -> PlanFacts:
    beams = (BeamFacts(1, 1.0),)
    groups = tuple(
        FractionGroup(n, fractions, beams, dose_references=numbers)
        for n, fractions, numbers in zip((1, 2), (16, 4), served, strict=True)
    )
    return plan("A", DoseReference(1, 42.4), DoseReference(2, 10.0), groups=groups)


def test_fraction_groups_are_phases() -> None:
    breast, bed = Roi("PTV_42.4", 1), Roi("PTV_10", 2)
    found = prescription_of([two_groups((1,), (2,))], [breast, bed], contains={2: {1}})
    assert doses(found) == [("PTV_42.4", 42.4), ("PTV_10", pytest.approx(52.4))]
    assert [level.fractions for level in found.levels] == [16, 20]


def test_fraction_groups_that_do_not_name_their_levels_need_a_decision() -> None:
    found = prescription_of([two_groups((), ())], [], None)
    assert [level.dose_gy for level in found.levels] == [42.4, 10.0]
    assert found.flags == ("rx-needs-decision",)


def test_real_plan_with_two_fraction_groups() -> None:
    path = DATA / "orientations" / "rtplan_two_fraction_groups.dcm"
    if not path.exists():
        pytest.skip(f"reference data {path.name} is not here")
    pydicom = pytest.importorskip("pydicom")
    headers = pytest.importorskip("RTPipelineLib.dicom.headers")
    facts = PlanFacts.from_summary("X", headers.summarise(pydicom.dcmread(path, force=True)))
    found = prescription_of([facts], [])
    assert [(level.name, level.dose_gy) for level in found.levels] == [
        ("ALT BREAST", 42.4),
        ("BLT BREAST BOOST", 10.0),
    ]
    assert [group.fractions for group in facts.groups] == [16, 4]
    assert found.flags == ("rx-needs-decision",)  # no volumes here


# -- plausibility -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("near_maximum", "fractions", "flag"),
    [
        (52.0, 25, ""),
        (2.05, 25, "dose-scale-suspect"),
        (1250.0, 25, "dose-scale-suspect"),
        (5000.0, None, "dose-scale-suspect"),
        (52.0, 1, ""),
        (0.0, 25, ""),
    ],
)
def test_dose_scale(near_maximum: float, fractions: int | None, flag: str) -> None:
    level = PrescriptionLevel("x", 50.0, "user", fractions)
    assert dose_scale_flag(near_maximum, level) == flag
    assert dose_scale_flag(near_maximum, None) == ""


def test_stated_totals() -> None:
    rois = [Roi("PTV_7000", 1), Roi("Cord_45", 2, False), GTV]
    assert stated_totals_gy(rois, [{"dose_gy": 66}]) == [66.0, 70.0]
