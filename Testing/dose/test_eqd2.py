"""EQD2 and BED against values that others published, and the rules of adding and converting."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from RTPipelineLib.dose.accumulate import LazyDose
from RTPipelineLib.dose.eqd2 import (
    Delivery,
    FractionCourse,
    bed,
    convert,
    eqd2,
    fraction_courses,
    sum_converted,
)
from RTPipelineLib.dose.facts import (
    BeamFacts,
    DoseCandidate,
    DoseReference,
    FractionGroup,
    PartReference,
    PlanFacts,
)
from RTPipelineLib.dose.select import decide
from RTPipelineLib.errors import DoseRefused
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Dose


def cube(gy: float, x: float = 0.0, **fields: object) -> Dose:
    grid = Grid(np.array([x, 0, 0]), np.eye(3), np.full(3, 2.0), (3, 3, 3))
    return Dose(np.full(grid.shape, gy, np.float32), grid, "F", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("dose", "fractions", "alpha_beta", "expected"),
    [
        (20.0, 30, 3.0, 14.6667),  # an organ's voxel in a 30 fraction plan: its own d = 0.667 Gy
        (60.0, 30, 3.0, 60.0),  # 2 Gy fractions stay what they are
        (60.0, 30, 10.0, 60.0),
        (50.0, 20, 3.0, 55.0),
        (40.05, 15, 4.0, 44.5223),
        (54.0, 3, 10.0, 126.0),  # lung SBRT 3 x 18 Gy
        (0.0, 30, 3.0, 0.0),
    ],
)
def test_eqd2_of_known_schedules(
    dose: float, fractions: int, alpha_beta: float, expected: float
) -> None:
    assert eqd2(np.array(dose), fractions, alpha_beta) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("dose", "fractions", "alpha_beta", "expected"),
    # Fowler's usual table: 30 x 2 Gy gives 72 Gy10 and 100 Gy3; 3 x 18 Gy 151.2 Gy10; 3 x 20 180
    # Gy10
    [(60, 30, 10, 72.0), (60, 30, 3, 100.0), (54, 3, 10, 151.2), (60, 3, 10, 180.0)],
)
def test_bed_of_known_schedules(
    dose: float, fractions: int, alpha_beta: float, expected: float
) -> None:
    assert bed(np.array(dose), fractions, alpha_beta) == pytest.approx(expected, rel=1e-12)


def test_issue_voxel_to_the_digit() -> None:
    assert eqd2(np.array(20.0), 30, 3.0) == pytest.approx(20 * (20 / 30 + 3) / 5, rel=1e-12)


@pytest.mark.parametrize(("fractions", "alpha_beta"), [(0, 3.0), (-1, 3.0), (30, 0.0), (30, -3.0)])
def test_impossible_numbers(fractions: int, alpha_beta: float) -> None:
    for formula in (eqd2, bed):
        with pytest.raises(ValueError, match="must be positive"):
            formula(np.array(1.0), fractions, alpha_beta)


def test_converted_dose_says_what_it_is() -> None:
    found = convert(cube(20.0, sop_uids=("a",), scaling_gy=0.1), 30, 3.0)
    assert found.array_gy == pytest.approx(np.full((3, 3, 3), 14.6667), abs=1e-4)
    assert (found.dose_type, found.flags) == ("EFFECTIVE", ("eqd2", "alpha-beta-3"))
    assert (found.sop_uids, found.scaling_gy) == (("a",), 0.0)
    assert convert(cube(60.0), 30, 10.0, quantity="bed").array_gy.max() == pytest.approx(72.0)


def test_what_cannot_be_converted() -> None:
    with pytest.raises(DoseRefused, match="already"):
        convert(replace(convert(cube(20.0), 30, 3.0), dose_type="PHYSICAL"), 30, 3.0)
    with pytest.raises(DoseRefused, match="already"):
        convert(cube(20.0), 30, 3.0, comment="EQD2 a/b=3")
    with pytest.raises(DoseRefused, match="may be BED"):
        convert(cube(20.0, dose_type="EFFECTIVE"), 30, 3.0)
    with pytest.raises(DoseRefused, match="without RBE"):
        convert(cube(20.0), 30, 3.0, ion=True)
    assert convert(cube(60.0, dose_type="EFFECTIVE"), 30, 3.0, ion=True).array_gy.max() == 60.0


def test_concurrent_doses_are_added_before_and_sequential_ones_after() -> None:
    """25 + 25 Gy in the same 25 fractions is 2 Gy a fraction: EQD2 50. Sequential: less."""
    together = sum_converted([Delivery((cube(25.0), cube(25.0)), 25)], 3.0)
    apart = sum_converted([Delivery((cube(25.0),), 25), Delivery((cube(25.0),), 25)], 3.0)
    assert together.array_gy == pytest.approx(np.full((3, 3, 3), 50.0))
    assert apart.array_gy == pytest.approx(np.full((3, 3, 3), 40.0))  # 2 x 25 (1 + 3) / 5


def test_delivered_share_leaves_the_dose_per_fraction() -> None:
    """20 of 25 fractions of 3 Gy: 60 Gy in 20 fractions, whatever the plan's total was."""
    found = sum_converted([Delivery((cube(75.0),), 25, 0.8)], 3.0)
    assert found.array_gy.max() == pytest.approx(float(eqd2(np.array(60.0), 20, 3.0)), abs=1e-4)


def test_physical_dose_is_resampled_before_it_is_converted() -> None:
    """Half way between 0 and 60 Gy (30 fractions) lies 30 Gy: EQD2 24, not the mean of 0 and 60."""
    fine = Grid(np.zeros(3), np.eye(3), np.array([1.0, 2.0, 2.0]), (3, 3, 5))
    ramp = replace(cube(0.0), array_gy=np.full((3, 3, 3), [0, 60, 60], np.float32))
    nothing = Dose(np.zeros(fine.shape, np.float32), fine, "F")
    lazy = LazyDose(ramp.grid, lambda: ramp)
    found = sum_converted([Delivery((lazy,), 30), Delivery((nothing,), 10)], 3.0)
    assert found.array_gy[0, 0] == pytest.approx([0.0, 24.0, 60.0, 60.0, 60.0])


def test_grids_of_different_extent_keep_their_coverage() -> None:
    found = sum_converted([Delivery((cube(60.0),), 30), Delivery((cube(60.0, x=4.0),), 30)], 3.0)
    assert found.array_gy[0, 0] == pytest.approx([60.0, 60.0, 120.0, 60.0, 60.0])
    assert found.flags[:2] == ("eqd2", "alpha-beta-3")


# -- which doses share their fractions ----------------------------------------------------------


def plan(uid: str, *fractions: int, **fields: object) -> PlanFacts:
    groups = tuple(
        FractionGroup(g, n, (BeamFacts(g, 1.0, 100.0),)) for g, n in enumerate(fractions, start=1)
    )
    return PlanFacts(uid, groups=groups, references=(DoseReference(1, 50.0),), **fields)  # type: ignore


def dose(uid: str, *plans: str, kind: str = "PLAN", group: int | None = None) -> DoseCandidate:
    parts = (PartReference(plans[0], group),) if group else ()
    return DoseCandidate(uid, kind, plan_uids=plans, parts=parts, frame_uid="F")


def courses_of(plans: list[PlanFacts], doses: list[DoseCandidate]) -> tuple[FractionCourse, ...]:
    return fraction_courses(plans, doses, decide(plans, doses))


def test_sequential_plans_are_courses_of_their_own() -> None:
    found = courses_of(
        [plan("A", 25), plan("B", 10, relations=(("A", "PRIOR"),))],
        [dose("a", "A"), dose("b", "B")],
    )
    assert found == (FractionCourse(("a",), ("A",), 25), FractionCourse(("b",), ("B",), 10))


def test_concurrent_plans_share_their_fractions() -> None:
    found = courses_of(
        [plan("A", 25), plan("B", 25, relations=(("A", "CONCURRENT"),))],
        [dose("a", "A"), dose("b", "B")],
    )
    assert found == (FractionCourse(("a", "b"), ("A", "B"), 25),)


def test_fraction_groups_are_courses_of_their_own() -> None:
    found = courses_of(
        [plan("A", 16, 4)],
        [dose("f1", "A", kind="FRACTION", group=1), dose("f2", "A", kind="FRACTION", group=2)],
    )
    assert [(c.sop_uids, c.fractions) for c in found] == [(("f1",), 16), (("f2",), 4)]


def test_plan_doses_inside_a_plan_sum_are_used() -> None:
    whole = dose("s", "A", "B", kind="MULTI_PLAN")
    found = courses_of([plan("A", 25), plan("B", 10)], [whole, dose("a", "A"), dose("b", "B")])
    assert [c.sop_uids for c in found] == [("a",), ("b",)]


@pytest.mark.parametrize(
    ("plans", "doses", "message"),
    [
        ([plan("A", 16, 4)], [dose("a", "A")], "one dose of each"),
        ([plan("A", 25), plan("B", 10)], [dose("s", "A", "B", kind="MULTI_PLAN")], "plan sum"),
        ([], [dose("a", "A")], "number of fractions"),
        ([plan("A", 25), plan("B", 25)], [dose("a", "A"), dose("b", "B")], "decided total"),
        (
            [plan("A", 25), plan("B", 10, relations=(("A", "CONCURRENT"),))],
            [dose("a", "A"), dose("b", "B")],
            "unlike numbers of fractions",
        ),
    ],
)
def test_what_cannot_be_told(
    plans: list[PlanFacts], doses: list[DoseCandidate], message: str
) -> None:
    with pytest.raises(DoseRefused, match=message):
        courses_of(plans, doses)
