"""The decision table: a situation, and what a medical physicist expects of it (issue 4's list)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

import pytest

from RTPipelineLib.dose.facts import (
    BeamDelivery,
    BeamFacts,
    DoseCandidate,
    DoseReference,
    FractionGroup,
    PartReference,
    PlanFacts,
    deliveries_from_summary,
)
from RTPipelineLib.dose.select import decide
from RTPipelineLib.errors import ConfigError, DataError

CBCT = BeamFacts(9, name="CBCT", delivery_type="TREATMENT")
SETUP = BeamFacts(8, meterset=1.0, delivery_type="SETUP")


def plan(uid: str, *, fractions: int = 25, gy: float = 50.0, **fields: object) -> PlanFacts:
    beams = tuple(BeamFacts(n, gy / fractions / 2, 100.0, "TREATMENT") for n in (1, 2))
    defaults: dict[str, object] = {
        "groups": (FractionGroup(1, fractions, (*beams, CBCT, SETUP)),),
        "references": (DoseReference(1, gy),),
        "structure_set_uids": ("SS",),
        "date": "20240301",
    }
    return PlanFacts(uid, **(defaults | fields))  # type: ignore[arg-type]


def dose(uid: str, *plans: str, kind: str = "PLAN", **fields: object) -> DoseCandidate:
    return DoseCandidate(uid, kind, plan_uids=plans, **({"frame_uid": "F"} | fields))  # type: ignore


def beam_dose(uid: str, plan_uid: str, *beams: int, group: int | None = 1) -> DoseCandidate:
    return dose(uid, plan_uid, kind="BEAM", parts=(PartReference(plan_uid, group, beams),))


def fraction_dose(uid: str, plan_uid: str, group: int | None) -> DoseCandidate:
    return dose(uid, plan_uid, kind="FRACTION", parts=(PartReference(plan_uid, group),))


def records(plan_uid: str, fractions: range, **fields: object) -> list[BeamDelivery]:
    return [
        BeamDelivery(plan_uid, beam, n, **({"delivered_meterset": 100.0} | fields))  # type: ignore
        for n in fractions
        for beam in (1, 2)
    ]


A, B, C = plan("A"), plan("B", fractions=10, gy=20), plan("C", fractions=5, gy=10)
DA, DB, DC = dose("dA", "A"), dose("dB", "B"), dose("dC", "C")
SUM = dose("dSum", "A", "B", kind="MULTI_PLAN")
TWO_GROUPS = replace(
    A, groups=(A.groups[0], FractionGroup(2, 4, (BeamFacts(4, 0.5, 50.0), BeamFacts(5, 0.5, 50.0))))
)
BRACHY = replace(A, groups=(FractionGroup(1, 3, (), (BeamFacts(1, 7.0), BeamFacts(2, 7.0))),))


def brachy_dose(uid: str, *setups: int) -> DoseCandidate:
    return dose(uid, "A", kind="BRACHY", parts=(PartReference("A", 1, (), setups),))


@dataclass
class Row:
    """A situation and the decision that it must lead to."""

    name: str
    plans: list[PlanFacts]
    doses: list[DoseCandidate]
    status: str
    total: dict[str, float] | None = None
    deliveries: list[BeamDelivery] = field(default_factory=list)
    overrides: dict[str, object] | None = None
    stated: tuple[float, ...] = ()
    joined: tuple[frozenset[str], ...] = ()
    left_out: set[str] = field(default_factory=set)
    flags: set[str] = field(default_factory=set)
    says: str = ""


def rel(p: PlanFacts, other: str, kind: str) -> PlanFacts:
    return replace(p, relations=((other, kind),))


AUTOMATIC_NEVER = (
    "FRACTION_SESSION",
    "BEAM_SESSION",
    "BRACHY_SESSION",
    "CONTROL_POINT",
    "RECORD",
    "PLAN_OVERVIEW",
)

ROWS = [
    # -- nothing, one plan, one dose
    Row("no dose", [A], [], "none", says="no dose"),
    Row("one plan, one dose", [A], [DA], "decided", {"dA": 1}),
    Row("dose alone in the course", [], [dose("d")], "decided", {"d": 1},
        flags={"dose-without-plan"}),
    Row("plan sum alone", [], [replace(SUM, plan_uids=())], "decided", {"dSum": 1},
        flags={"dose-without-plan"}),
    Row("plan file missing", [], [DA], "decided", {"dA": 1}, flags={"dose-without-plan"}),
    Row("dose without reference beside its only plan", [A], [dose("d")], "decided", {"d": 1},
        flags={"dose-without-plan"}),
    Row("second dose without reference", [A], [DA, dose("d")], "needs-decision"),
    Row("two doses without plans", [], [dose("d1"), dose("d2")], "needs-decision"),
    Row("beam dose without plan", [], [beam_dose("b1", "A", 1)], "refused", says="not known"),
    Row("rejected only plan", [replace(A, approval="REJECTED")], [DA], "needs-decision"),
    Row("unapproved only plan", [replace(A, approval="UNAPPROVED")], [DA], "decided", {"dA": 1},
        flags={"plan-unapproved"}),
    # -- units and types
    Row("relative", [A], [replace(DA, units="RELATIVE")], "refused", left_out={"dA"},
        says="usable"),
    Row("relative with the user's normalisation", [A], [replace(DA, units="RELATIVE")], "decided",
        {"dA": 1}, overrides={"normalisation": {"dA": 50}}),
    Row("no units", [A], [replace(DA, units="")], "refused", left_out={"dA"}),
    Row("error dose", [A], [DA, dose("e", "A", dose_type="ERROR")], "decided", {"dA": 1},
        left_out={"e"}),
    Row("coded dose", [A], [replace(DA, dose_type="CODED")], "refused", left_out={"dA"}),
    Row("type missing", [A], [replace(DA, dose_type="")], "decided", {"dA": 1},
        flags={"dose-type-missing"}),
    Row("unknown summation", [A], [replace(DA, summation_type="FOO")], "refused", left_out={"dA"}),
    Row("photon plan, both types", [A], [DA, dose("e", "A", dose_type="EFFECTIVE")], "decided",
        {"dA": 1}, left_out={"e"}, flags={"dose-type-chosen"}),
    Row("ion plan, both types", [replace(A, ion=True)], [DA, dose("e", "A", dose_type="EFFECTIVE")],
        "decided", {"e": 1}, left_out={"dA"}, flags={"dose-type-chosen"}),
    *(Row(f"{t} alone", [A], [replace(DA, summation_type=t)], "refused", left_out={"dA"})
      for t in AUTOMATIC_NEVER),
    *(Row(f"{t} beside PLAN", [A], [DA, dose("x", "A", kind=t)], "decided", {"dA": 1},
        left_out={"x"})
      for t in AUTOMATIC_NEVER),
    Row("session x fractions on the user's word", [A], [dose("s", "A", kind="FRACTION_SESSION")],
        "decided", {"s": 25}, overrides={"doses": {"s": 25}}, flags={"user-decision"}),
    # -- parts of one plan
    Row("plan and its beams", [A], [DA, beam_dose("b1", "A", 1), beam_dose("b2", "A", 2)],
        "decided",
        {"dA": 1}, left_out={"b1", "b2"}),
    Row("plan and its fraction group", [A], [DA, fraction_dose("f", "A", 1)], "decided", {"dA": 1},
        left_out={"f"}),
    Row("all beams, cone beam CT and setup have none", [A],
        [beam_dose("b1", "A", 1), beam_dose("b2", "A", 2)], "decided", {"b1": 1, "b2": 1},
        flags={"sum-of-parts"}),
    Row("one object with all beams", [A], [beam_dose("b", "A", 1, 2)], "decided", {"b": 1}),
    Row("a beam missing", [A], [beam_dose("b1", "A", 1)], "refused", says="lack beam 2"),
    Row("a beam twice", [A], [beam_dose("b1", "A", 1), beam_dose("b2", "A", 1, 2)], "refused",
        says="more than one dose"),
    Row("dose of a setup beam beside all beams", [A],
        [beam_dose("b", "A", 1, 2), beam_dose("s", "A", 8)], "decided", {"b": 1}, left_out={"s"}),
    Row("beams do not name their group", [A],
        [beam_dose("b1", "A", 1, group=None), beam_dose("b2", "A", 2, group=None)], "decided",
        {"b1": 1, "b2": 1}),
    Row("beams reference no beam", [A], [dose("b1", "A", kind="BEAM")], "refused",
        says="lack beam 1"),
    Row("fraction group of the only group", [A], [fraction_dose("f", "A", None)], "decided",
        {"f": 1}),
    Row("one of two fraction groups", [TWO_GROUPS], [fraction_dose("f1", "A", 1)], "refused",
        says="beam 4 of fraction group 2"),
    Row("both fraction groups, never multiplied", [TWO_GROUPS],
        [fraction_dose("f1", "A", 1), fraction_dose("f2", "A", 2)], "decided", {"f1": 1, "f2": 1}),
    Row("one group whole, the other by beams", [TWO_GROUPS],
        [fraction_dose("f1", "A", 1), beam_dose("b", "A", 4, 5, group=2)], "decided",
        {"f1": 1, "b": 1}),
    Row("fraction group and its own beams", [A],
        [fraction_dose("f", "A", 1), beam_dose("b", "A", 1, 2)], "decided", {"f": 1},
        left_out={"b"}),
    Row("brachy setups", [BRACHY], [brachy_dose("b1", 1), brachy_dose("b2", 2)], "decided",
        {"b1": 1, "b2": 1}),
    Row("brachy setup missing", [BRACHY], [brachy_dose("b1", 1)], "refused", says="brachy setup 2"),
    Row("two different plan doses", [A], [DA, dose("d2", "A")], "refused", says="2 different PLAN"),
    Row("plan dose of two plans", [A, B], [dose("d", "A", "B")], "refused", left_out={"d"}),
    # -- duplicates
    Row("exact duplicate", [A], [replace(DA, content="x"), dose("d2", "A", content="x")], "decided",
        {"dA": 1}, left_out={"d2"}, flags={"duplicate-dose"}),
    Row("same object twice", [A], [DA, DA], "decided", {"dA": 1}, flags={"duplicate-dose"}),
    Row("two equal phases are no duplicates", [rel(A, "B", "CONCURRENT"), B],
        [replace(DA, content="x"), replace(DB, content="x")], "decided", {"dA": 1, "dB": 1}),
    # -- plan sums
    Row("plan sum and its parts", [A, B], [DA, DB, SUM], "decided", {"dSum": 1},
        left_out={"dA", "dB"}),
    Row("plan sum alone for two plans", [A, B], [SUM], "decided", {"dSum": 1}),
    Row("PLAN_SUM is read as MULTI_PLAN", [A, B], [DA, DB, replace(SUM, summation_type="PLAN_SUM")],
        "decided", {"dSum": 1}, left_out={"dA", "dB"}, flags={"plan-sum-term"}),
    Row("plan sum of two plans, third unlinked", [A, B, C], [DA, DB, DC, SUM], "needs-decision",
        left_out={"dSum"}),
    Row("plan sum of two plans, third a phase", [A, B, rel(C, "B", "PRIOR")], [DA, DB, DC, SUM],
        "decided", {"dSum": 1, "dC": 1}, left_out={"dA", "dB"}),
    Row("two different plan sums", [A, B], [SUM, replace(SUM, sop_uid="d2")], "refused",
        says="two different MULTI_PLAN"),
    Row("plan sum that names one plan only", [A], [DA, replace(SUM, plan_uids=("A",))], "decided",
        {"dA": 1}, left_out={"dSum"}),
    Row("plan sum that names one plan only and is all there is", [A],
        [replace(SUM, plan_uids=("A",))], "decided", {"dSum": 1}),
    Row("plan sum without references beside two plans", [A, B],
        [DA, DB, replace(SUM, plan_uids=())], "needs-decision", flags={"dose-without-plan"}),
    Row("plan sum, one plan's file missing", [A], [SUM], "decided", {"dSum": 1},
        flags={"dose-without-plan"}),
    Row("plan sum that holds a verification plan", [A, replace(B, intent="VERIFICATION")], [DA,
        SUM],
        "decided", {"dA": 1}, left_out={"dSum"}),
    Row("plan sum, but records show less", [A, B], [DA, DB, SUM], "decided", {"dA": 0.6, "dB": 1},
        deliveries=[*records("A", range(15)), *records("B", range(10))], left_out={"dSum"}),
    # -- two plans
    Row("two plans, nothing known", [A, B], [DA, DB], "needs-decision", says="phases or replace"),
    Row("two equal phases, nothing known", [A, replace(A, uid="B")], [DA, DB], "needs-decision"),
    Row("label says boost", [A, replace(B, label="Boost")], [DA, DB], "needs-decision",
        says="hint"),
    Row("label says replan", [A, replace(B, label="replan")], [DA, DB], "needs-decision",
        says="hint"),
    Row("concurrent", [rel(A, "B", "CONCURRENT"), B], [DA, DB], "decided", {"dA": 1, "dB": 1}),
    Row("prior", [A, rel(B, "A", "PRIOR")], [DA, DB], "decided", {"dA": 1, "dB": 1}),
    Row("prior, and the prior plan's dose is missing", [A, rel(B, "A", "PRIOR")], [DB], "refused",
        says="plan ..A has no usable dose"),
    Row("alternative", [A, rel(B, "A", "ALTERNATIVE")], [DA, DB], "needs-decision",
        says="alternatives of each other", flags={"alternative-plans"}),
    Row("alternative, one approved",
        [replace(A, approval="APPROVED"), replace(rel(B, "A", "ALTERNATIVE"),
        approval="UNAPPROVED")],
        [DA, DB], "decided", {"dA": 1}, left_out={"dB"}),
    Row("alternative, one with records", [A, rel(B, "A", "ALTERNATIVE")], [DA, DB], "decided",
        {"dA": 1}, deliveries=records("A", range(25)), left_out={"dB"}),
    Row("alternatives, both with records", [A, rel(B, "A", "ALTERNATIVE")], [DA, DB],
        "needs-decision", deliveries=[*records("A", range(5)), *records("B", range(5))],
        flags={"alternatives-both-delivered"}),
    Row("alternative never by prescription sum", [A, rel(B, "A", "ALTERNATIVE")], [DA, DB],
        "needs-decision", stated=(70.0,)),
    Row("replan without records", [A, rel(B, "A", "PREDECESSOR")], [DA, DB], "needs-decision",
        says="derived"),
    Row("replan is not a phase even when the doses add up", [A, rel(B, "A", "PREDECESSOR")],
        [DA, DB], "needs-decision", stated=(70.0,)),
    Row("replan after 15 fractions", [A, rel(replace(A, uid="B"), "A", "PREDECESSOR")], [DA, DB],
        "decided", {"dA": 0.6, "dB": 0.4},
        deliveries=[*records("A", range(15)), *records("B", range(10))],
        flags={"delivered-differs-from-planned"}),
    Row("adaptive: three plans by records",
        [A, rel(replace(A, uid="B"), "A", "PREDECESSOR"), rel(replace(A, uid="C"), "B",
        "PREDECESSOR")],
        [DA, DB, DC], "decided", {"dA": 0.4, "dB": 0.4, "dC": 0.2},
        deliveries=[*records("A", range(10)), *records("B", range(10)), *records("C", range(5))]),
    Row("phases by records", [A, B], [DA, DB], "decided", {"dA": 1, "dB": 1},
        deliveries=[*records("A", range(25)), *records("B", range(10))]),
    Row("records of one plan only do not settle", [A, B], [DA, DB], "needs-decision",
        deliveries=records("A", range(25))),
    Row("a replaced plan that was never started", [A, replace(A, uid="B")], [DA, DB], "decided",
        {"dB": 1}, deliveries=[*records("A", range(1), delivered_meterset=0.0),
                               *records("B", range(25))], left_out={"dA"}),
    Row("primary and boost: prescriptions add up to the target's", [A, B], [DA, DB], "decided",
        {"dA": 1, "dB": 1}, stated=(70.0, 50.0)),
    Row("two equal phases add up", [A, replace(A, uid="B")], [DA, DB], "decided", {"dA": 1,
        "dB": 1},
        stated=(100.0,)),
    Row("add up, but other structure sets", [A, replace(B, structure_set_uids=("T",))], [DA, DB],
        "needs-decision", stated=(70.0,)),
    Row("replan of the whole: prescriptions do not add up", [A, replace(A, uid="B")], [DA, DB],
        "needs-decision", stated=(50.0,)),
    Row("two sites", [replace(A, references=(DoseReference(1, 30.0, description="Brain"),)),
                      replace(B, references=(DoseReference(1, 20.0, description="Femur"),))],
        [DA, DB], "needs-decision"),
    Row("three plans, two linked", [rel(A, "B", "CONCURRENT"), B, C], [DA, DB, DC],
        "needs-decision"),
    Row("simultaneous boost is one plan",
        [replace(A, references=(DoseReference(1, 70.0), DoseReference(2, 60.0)))], [DA], "decided",
        {"dA": 1}),
    Row("one approved, the other not",
        [replace(A, approval="APPROVED"), replace(B, approval="UNAPPROVED")], [DA, DB], "decided",
        {"dA": 1}, left_out={"dB"}, flags={"unapproved-plan-left-out"}),
    Row("the newer one is not approved yet",
        [replace(A, approval="APPROVED"), replace(B, approval="UNAPPROVED", date="20240401")],
        [DA, DB], "needs-decision", says="newer"),
    Row("one rejected", [A, replace(B, approval="REJECTED")], [DA, DB], "decided", {"dA": 1},
        left_out={"dB"}, flags={"plan-excluded"}),
    Row("dates alone", [A, replace(B, date="20240601")], [DA, DB], "needs-decision",
        says="hint only"),
    # -- plans that never count
    *(Row(f"{intent} plan", [A, replace(B, intent=intent)], [DA, DB], "decided", {"dA": 1},
          left_out={"dB"}, flags={"plan-excluded"})
      for intent in ("VERIFICATION", "MACHINE_QA", "RESEARCH", "SERVICE")),
    Row("plan that verifies another", [A, rel(B, "A", "VERIFIED_PLAN")], [DA, DB], "decided",
        {"dA": 1}, left_out={"dB"}),
    Row("only a verification plan", [replace(A, intent="VERIFICATION")], [DA], "refused",
        left_out={"dA"}),
    # -- frames, types across plans
    Row("two frames", [rel(A, "B", "PRIOR"), B], [DA, replace(DB, frame_uid="G")], "needs-decision",
        flags={"frames-differ"}),
    Row("two frames, registered", [rel(A, "B", "PRIOR"), B], [DA, replace(DB, frame_uid="G")],
        "decided", {"dA": 1, "dB": 1}, joined=(frozenset("FG"),)),
    Row("two frames, even if the user sums them", [A, B], [DA, replace(DB, frame_uid="G")],
        "needs-decision", overrides={"plans": {"A": 1, "B": 1}}, flags={"frames-differ"}),
    Row("photons and protons", [rel(A, "B", "CONCURRENT"), B], [DA, replace(DB,
        dose_type="EFFECTIVE")],
        "needs-decision", flags={"dose-types-differ"}),
    # -- the user's table
    Row("user sums", [A, B], [DA, DB], "decided", {"dA": 1, "dB": 1},
        overrides={"plans": {"A": 1, "B": 1}}, flags={"user-decision"}),
    Row("user drops one", [A, B], [DA, DB], "decided", {"dB": 1}, overrides={"plans": {"B": 1}},
        left_out={"dA"}),
    Row("user names plans by label", [replace(A, label="a"), replace(B, label="b")], [DA, DB],
        "decided", {"dA": 0.4, "dB": 1}, overrides={"plans": {"a": 0.4, "b": 1}}),
    Row("user beats records and plan sum", [A, B], [DA, DB, SUM], "decided", {"dA": 0.5},
        overrides={"plans": {"A": 0.5, "B": 0}}, deliveries=records("A", range(25)),
        left_out={"dB", "dSum"}),
    Row("user names a plan whose file is missing", [A], [DA, DB], "decided", {"dA": 1, "dB": 1},
        overrides={"plans": {"A": 1, "B": 1}}),
    Row("user takes a rejected plan", [A, replace(B, approval="REJECTED")], [DA, DB], "decided",
        {"dB": 1}, overrides={"plans": {"B": 1}}),
    Row("user's weights need the plans, not their sum", [A, B], [SUM], "refused",
        overrides={"plans": {"A": 0.5, "B": 1}}, says="no usable dose"),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_decision(row: Row) -> None:
    decision = decide(
        row.plans,
        row.doses,
        row.deliveries,
        row.overrides,
        stated_gy=row.stated,
        joined_frames=row.joined,
    )
    evidence = " | ".join(decision.evidence)
    assert decision.status == row.status, evidence
    assert decision.evidence
    total = {d.sop_uid: d.weight for d in decision.total} if decision.total else None
    assert total == (pytest.approx(row.total) if row.total else None)
    assert row.left_out <= {uid for uid, _ in decision.left_out}
    assert row.flags <= set(decision.flags)
    assert row.says in evidence
    json.dumps(decision.to_dict())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_no_dose_vanishes(row: Row) -> None:
    """Every dose is in the total, stands for a plan (or its problem), or is left out."""
    decision = decide(row.plans, row.doses, row.deliveries, row.overrides, stated_gy=row.stated)
    seen = {uid for uid, _ in decision.left_out} | {d.sop_uid for d in decision.total or ()}
    seen |= {d.sop_uid for part in decision.parts for d in part.doses}
    problems = {part.plan_uid for part in decision.parts if part.problem}
    for candidate in row.doses:
        assert candidate.sop_uid in seen or set(candidate.plan_uids) & problems


def test_needs_decision_reports_each_plan_alone() -> None:
    decision = decide([A, B], [DA, DB])
    assert [[d.sop_uid for d in part.doses] for part in decision.parts] == [["dA"], ["dB"]]


def test_partial_fraction_counts_by_meterset_and_continuation_completes_it() -> None:
    whole = records("A", range(24))
    stopped = records("A", range(24, 25), delivered_meterset=40.0, specified_meterset=100.0)
    rest = records("A", range(24, 25), delivery_type="CONTINUATION", delivered_meterset=60.0)
    portal = records("A", range(25, 30), delivery_type="OPEN_PORTFILM")
    partial = decide([A], [DA], [*whole, *stopped, *portal])
    completed = decide([A], [DA], [*whole, *stopped, *rest, *portal])
    assert partial.plan_weights["A"] == pytest.approx(24.4 / 25, abs=1e-6)
    assert completed.plan_weights["A"] == 1.0


def test_treatment_summary_counts_where_no_beam_is_recorded() -> None:
    summary = {
        "plan_uids": ["A"],
        "fraction_groups": [{"number": 1, "planned": 25, "delivered": 20}],
    }
    total = deliveries_from_summary(summary)
    assert decide([A], [DA], total).plan_weights["A"] == pytest.approx(0.8)
    beams = records("A", range(15))
    assert decide([A], [DA], [*total, *beams]).plan_weights["A"] == pytest.approx(0.6)


def test_fraction_recorded_twice_counts_once() -> None:
    decision = decide([A], [DA], [*records("A", range(10)), *records("A", range(10))])
    assert decision.plan_weights["A"] == pytest.approx(0.4)
    assert "fraction-recorded-twice" in decision.flags


def test_beams_given_unevenly_need_a_decision() -> None:
    deliveries = [d for d in records("A", range(25)) if d.beam == 1 or (d.fraction or 0) < 10]
    decision = decide([A], [DA], deliveries)
    assert decision.status == "needs-decision"
    assert "uneven-delivery" in decision.flags


def test_record_that_does_not_tell_needs_a_decision() -> None:
    stopped = records("A", range(1), termination="MACHINE", delivered_meterset=None)
    assert decide([A], [DA], stopped).status == "needs-decision"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"plan": {"A": 1}}, "did you mean 'plans'"),
        ({"plans": {"X": 1}}, "fits no plan"),
        ({"plans": {"same": 1}}, "fits 2 plans"),
        ({"plans": {"A": "all"}}, "needs a number"),
        ({"plans": {"A": -1}}, ">= 0"),
        ({"plans": {"A": float("nan")}}, "needs a number"),
        ({"plans": ["A"]}, "expected a table"),
        ({"doses": {"X": 1}}, "no dose of the course"),
    ],
)
def test_overrides_that_fit_nothing(overrides: dict[str, object], message: str) -> None:
    plans = [replace(A, label="same"), replace(B, label="same")]
    with pytest.raises(ConfigError, match=message):
        decide(plans, [DA, DB], overrides=overrides)


def test_one_uid_for_two_doses_is_an_error() -> None:
    with pytest.raises(DataError, match="two different doses"):
        decide([A], [DA, replace(DA, content="other")])
