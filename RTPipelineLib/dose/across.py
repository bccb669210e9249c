"""The dose of several courses of one patient, added on request (re-irradiation).

Each course keeps what was decided for it; here their totals become one, in order of treatment. No
recovery of tissue between the courses is assumed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from .facts import DoseCandidate
from .parts import PlanDose, WeightedDose
from .select import DECIDED, NEEDS_DECISION, REFUSED, DoseDecision, not_addable
from .usable import Notes

ACCUMULATED = "accumulated"


@dataclass(frozen=True)
class CourseShare:
    """One course of a sum: its name, the day it began (YYYYMMDD or empty) and its own decision, or
    the `problem` why it has none."""

    name: str
    date: str
    decision: DoseDecision | None
    problem: str = ""

    @classmethod
    def from_facts(
        cls, name: str, date: str, facts: Mapping[str, object], problem: str = ""
    ) -> CourseShare:
        """The same from plain values, as `DoseDecision.to_dict` gives them."""
        if not facts:
            return cls(name, date, None, problem)

        def doses(items: object) -> tuple[WeightedDose, ...]:
            return tuple(WeightedDose(**item) for item in items)  # type: ignore[attr-defined]

        parts = tuple(
            PlanDose(part["plan_uid"], doses(part["doses"]), part["problem"])
            for part in facts["parts"]  # type: ignore[attr-defined]
        )
        total = facts["total"]
        decision = DoseDecision(
            str(facts["status"]),
            parts,
            None if total is None else doses(total),
            dict(facts["plan_weights"]),  # type: ignore[call-overload]
            tuple(facts["evidence"]),  # type: ignore[arg-type]
        )
        return cls(name, date, decision, problem)


def add_courses(
    shares: Sequence[CourseShare],
    doses: Sequence[DoseCandidate],
    joined_frames: Collection[frozenset[str]] = (),
) -> DoseDecision:
    """The decision for a sum of courses, given in order of treatment.

    `doses` are the dose objects of all of them, `joined_frames` as for `select.decide`. Refused
    where a course has no dose, or where two hold the same plan or dose; it waits for a decision
    where one of them does, where dose types differ, and where no registration joins their frames of
    reference.
    """
    notes = Notes(flags=[ACCUMULATED])
    for share in shares:
        if share.decision is None or share.decision.total is None:
            status, why = _why_not(share)
            notes.say(f"course {share.name}: {why}")
            return _without_total(status, notes)
    decisions = [share.decision for share in shares if share.decision is not None]
    total = [dose for decision in decisions for dose in decision.total or ()]
    plans = [uid for decision in decisions for uid, w in decision.plan_weights.items() if w]
    for uids in ([dose.sop_uid for dose in total], plans):
        twice = next((uid for uid in uids if uids.count(uid) > 1), "")
        if twice:
            notes.say(f"{twice} belongs to more than one of the courses and would count twice")
            return _without_total(REFUSED, notes)
    used = {dose.sop_uid for dose in total}
    why = not_addable([d for d in doses if d.sop_uid in used], joined_frames, notes)
    if why:
        notes.say(f"{why}; register the courses to each other")
        return _without_total(NEEDS_DECISION, notes)
    names = " and ".join(f"{s.name} ({s.date or 'undated'})" for s in shares)
    notes.say(f"{names} were added on request; no recovery between them is assumed")
    return DoseDecision(
        DECIDED,
        tuple(part for decision in decisions for part in decision.parts),
        tuple(total),
        {uid: w for decision in decisions for uid, w in decision.plan_weights.items()},
        tuple(notes.evidence),
        (),
        tuple(dict.fromkeys(notes.flags)),
    )


def _why_not(share: CourseShare) -> tuple[str, str]:
    """The status of a sum that lacks this course's total, and the reason."""
    if share.decision is None or share.problem:
        return REFUSED, share.problem or "its dose has not been decided"
    if share.decision.status == DECIDED:
        return REFUSED, "its plans are reported each alone (dose.policy), there is no total to add"
    status = NEEDS_DECISION if share.decision.status == NEEDS_DECISION else REFUSED
    return status, "; ".join(share.decision.evidence[-1:]) or "it has no dose"


def _without_total(status: str, notes: Notes) -> DoseDecision:
    return DoseDecision(status, evidence=tuple(notes.evidence), flags=tuple(notes.flags))
