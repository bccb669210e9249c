"""Which doses and plans of a course can be used at all: units, types, duplicates, purpose."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from ..errors import DataError
from .choices import Choices
from .facts import DoseCandidate, PlanFacts

# PS3.3 C.8.8.3 (3004,000A): what is never used without the user's word, and why.
NEVER_AUTOMATIC = {
    "FRACTION_SESSION": "holds one fraction only",
    "BEAM_SESSION": "holds one fraction of a beam only",
    "BRACHY_SESSION": "holds one fraction of a brachy setup only",
    "CONTROL_POINT": "holds a part of a beam only",
    "RECORD": "was calculated from a treatment record",
    "PLAN_OVERVIEW": "belongs to a plan overview, not to a plan",
}
AUTOMATIC = frozenset({"PLAN", "MULTI_PLAN", "FRACTION", "BEAM", "BRACHY"})


@dataclass
class Notes:
    """What was found on the way to a decision, in order."""

    evidence: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)

    def say(self, sentence: str, *flags: str) -> None:
        """A reason, with the flags that it raises."""
        self.evidence.append(sentence)
        self.flags += flags

    def leave_out(self, sop_uid: str, reason: str, *flags: str) -> None:
        """A dose that is not used, and why."""
        self.left_out.append((sop_uid, reason))
        self.flags += flags


def usable_doses(
    doses: Sequence[DoseCandidate], choices: Choices, notes: Notes
) -> list[DoseCandidate]:
    """The doses that can be used, PLAN_SUM read as MULTI_PLAN; the others are left out in `notes`.

    Raises `DataError` when one SOP Instance UID stands for two different doses.
    """
    found: list[DoseCandidate] = []
    for dose in _unique(doses, notes):
        if dose.summation_type == "PLAN_SUM":
            dose = replace(dose, summation_type="MULTI_PLAN")
            notes.say(f"dose {dose.sop_uid}: PLAN_SUM is read as MULTI_PLAN", "plan-sum-term")
        if not dose.dose_type:
            dose = replace(dose, dose_type="PHYSICAL")
            notes.say(
                f"dose {dose.sop_uid}: a missing DoseType is read as PHYSICAL", "dose-type-missing"
            )
        reason = _unusable(dose, choices)
        if reason:
            notes.leave_out(dose.sop_uid, reason)
        else:
            found.append(dose)
    return found


def _unusable(dose: DoseCandidate, choices: Choices) -> str:
    """Why a dose cannot be used; empty when it can."""
    if not dose.has_values:
        return "it has no dose values (perhaps DVHs only)"
    if dose.dose_type == "ERROR":
        return "DoseType ERROR is a difference of doses, not a dose"
    if dose.dose_type not in ("PHYSICAL", "EFFECTIVE"):
        return f"DoseType '{dose.dose_type}' is not understood; PHYSICAL or EFFECTIVE is needed"
    if dose.units == "RELATIVE" and dose.sop_uid not in choices.normalisation:
        return "its units are RELATIVE; give the Gy of its value 1 under dose, normalisation"
    if dose.units not in ("GY", "RELATIVE"):
        return f"its units '{dose.units}' are not Gy"
    if dose.sop_uid in choices.doses:
        return ""
    if dose.summation_type in NEVER_AUTOMATIC:
        why = NEVER_AUTOMATIC[dose.summation_type]
        return f"{dose.summation_type} {why} and is used only on the user's word (dose, doses)"
    if dose.summation_type not in AUTOMATIC:
        return (
            f"DoseSummationType '{dose.summation_type}' is not a DICOM term; "
            "name the dose under dose, doses if it is the course's"
        )
    if dose.summation_type != "MULTI_PLAN" and len(dose.plan_uids) > 1:
        return f"it is a {dose.summation_type} dose that references {len(dose.plan_uids)} plans"
    return ""


def _unique(doses: Sequence[DoseCandidate], notes: Notes) -> list[DoseCandidate]:
    """Every dose once: by UID, and by content where grid, values, type and references are the same.

    Two plans may well have equal doses (two equal phases): those are not duplicates.
    """
    by_uid: dict[str, DoseCandidate] = {}
    first: dict[DoseCandidate, str] = {}
    for dose in doses:
        if dose.sop_uid in by_uid:
            if by_uid[dose.sop_uid] != dose:
                raise DataError(
                    f"two different doses have the SOP Instance UID {dose.sop_uid}; remove one"
                )
            notes.flags.append("duplicate-dose")
            continue
        by_uid[dose.sop_uid] = dose
        key = replace(dose, sop_uid="")
        if dose.content and key in first:
            notes.leave_out(dose.sop_uid, f"the same dose as {first[key]}", "duplicate-dose")
        else:
            first[key if dose.content else dose] = dose.sop_uid
    return [by_uid[uid] for uid in first.values()]


def course_plans(
    plans: Sequence[PlanFacts],
    doses: Sequence[DoseCandidate],
    choices: Choices,
    recorded: Collection[str],
    notes: Notes,
) -> tuple[tuple[PlanFacts, ...], list[DoseCandidate]]:
    """The plans that can give the course its dose, and the doses that belong to them.

    A plan that a dose references but that is not among the files becomes a plan of which nothing
    else is known. A dose that references no plan goes to the only plan if that has no other, else
    it stands for a plan of its own.
    """
    kept: list[PlanFacts] = []
    excluded: dict[str, str] = {}
    for plan in plans:
        if not plan.is_course_plan:
            purpose = plan.intent if plan.intent not in ("", "CURATIVE") else "VERIFIED_PLAN"
            excluded[plan.uid] = f"{plan.name} is never course dose ({purpose})"
        else:
            kept.append(plan)
    rejected = [
        p
        for p in kept
        if p.approval == "REJECTED" and p.uid not in recorded and not choices.names(p)
    ]
    if len(rejected) < len(kept):
        for plan in rejected:
            excluded[plan.uid] = f"{plan.name} was rejected"
            kept.remove(plan)
    for reason in excluded.values():
        notes.say(reason, "plan-excluded")
    used: list[DoseCandidate] = []
    for dose in doses:
        reason = next((excluded[uid] for uid in dose.plan_uids if uid in excluded), "")
        if reason:
            notes.leave_out(dose.sop_uid, reason)
        else:
            used.append(dose)
    return _with_unknown_plans(kept, used, notes)


def _with_unknown_plans(
    plans: list[PlanFacts], doses: Sequence[DoseCandidate], notes: Notes
) -> tuple[tuple[PlanFacts, ...], list[DoseCandidate]]:
    known = {p.uid: p for p in plans}
    orphans = [d for d in doses if not d.plan_uids]
    used = [d for d in doses if d.plan_uids]
    whole = [d for d in orphans if d.summation_type in ("PLAN", "MULTI_PLAN")]
    for dose in orphans:
        if dose not in whole:
            notes.leave_out(dose.sop_uid, f"a {dose.summation_type} dose that references no plan")
    for dose in whole:
        uid = dose.sop_uid
        if len(plans) == len(whole) == 1 and not used:
            uid = plans[0].uid
            notes.say(f"dose {dose.sop_uid} references no plan; {plans[0].name} is the only one")
        used.append(replace(dose, plan_uids=(uid,), summation_type="PLAN"))
        notes.flags.append("dose-without-plan")
    for uid in dict.fromkeys(uid for d in used for uid in d.plan_uids):
        if uid not in known:
            known[uid] = PlanFacts(uid, is_known=False)
            notes.say(f"the plan {uid} of a dose is not among the files", "dose-without-plan")
    with_dose = {uid for d in used for uid in d.plan_uids}
    plans_used = tuple(p for p in known.values() if p.is_known or p.uid in with_dose)
    return plans_used, used
