"""Which plans make up one treatment: the evidence, row by row.

The rows of the table are tried in order and the first that settles the question wins. When none
does, a person must decide. Words in labels are a hint to that person and never decide.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from .choices import Choices
from .delivered import Delivered
from .facts import DoseCandidate, PlanFacts

# Two prescriptions are the same dose when they differ by less (names give whole gray).
SAME_DOSE = 0.01
HINTS = ("boost", "phase", "ph2", "cone down", "replan", "adapt", "rev", "backup", "alt", "sum")


@dataclass(frozen=True)
class Verdict:
    """What a row of the table says: the weight of each plan in the total (0 leaves it out), or None
    when only a person can decide."""

    weights: Mapping[str, float] | None
    why: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Situation:
    """Everything that the rows of the table look at."""

    plans: tuple[PlanFacts, ...]
    sums: tuple[DoseCandidate, ...]
    delivered: Mapping[str, Delivered]
    choices: Choices
    stated_gy: tuple[float, ...]

    def shares(self, uids: Collection[str] | None = None) -> dict[str, float]:
        """Delivered share of the given (or all) plans, 1 where no record tells."""
        chosen = [p.uid for p in self.plans if uids is None or p.uid in uids]
        known = {uid: self.delivered[uid].weight for uid in chosen if uid in self.delivered}
        return {uid: 1.0 if known.get(uid) is None else float(known[uid] or 0) for uid in chosen}

    def names(self, uids: Collection[str]) -> str:
        """The plans of these UIDs, for sentences."""
        return " and ".join(p.name for p in self.plans if p.uid in uids)


# -- the rows


def _users_table(s: Situation) -> Verdict | None:
    """1. What a person decided."""
    if not s.choices.plans:
        return None
    weights = {p.uid: s.choices.weight_of(p) for p in s.plans}
    return Verdict(weights, "the user's table says which plans count", ("user-decision",))


def _single_plan(s: Situation) -> Verdict | None:
    """There is nothing to sum, only a share that was delivered."""
    if len(s.plans) != 1:
        return None
    plan = s.plans[0]
    if plan.approval == "REJECTED":
        return Verdict(
            None, f"{plan.name} is the only plan and it was rejected", ("plan-rejected",)
        )
    given = s.delivered.get(plan.uid)
    if given is not None and given.weight is None:
        return Verdict(None, given.why)
    return Verdict(s.shares(), f"{plan.name} is the only plan of the course")


def _treatment_records(s: Situation) -> Verdict | None:
    """2. Records of every plan tell what was given of each, replans included."""
    given = {uid: d.weight for uid, d in s.delivered.items()}
    if not given:
        return None
    unclear = [s.delivered[uid].why for uid, weight in given.items() if weight is None]
    if unclear:
        return Verdict(None, "; ".join(unclear))
    both = [p for p in _pairs(s, "ALTERNATIVE") if all(given.get(uid) for uid in p)]
    if both:
        why = f"{s.names(both[0])} are alternatives, yet records show that both were given"
        return Verdict(None, why, ("alternatives-both-delivered",))
    if len(given) == len(s.plans):
        return Verdict(s.shares(), "treatment records tell what was given of every plan")
    return None


def _plan_sum(s: Situation) -> Verdict | None:
    """A MULTI_PLAN dose of all plans: somebody summed them on purpose."""
    uids = {p.uid for p in s.plans}
    if any(uids <= set(dose.plan_uids) for dose in s.sums):
        return Verdict(s.shares(), "a MULTI_PLAN dose covers all plans of the course")
    return None


def _relationships(s: Situation) -> Verdict | None:
    """3. RT Plan Relationship (300A,0055): CONCURRENT and PRIOR (and a plan sum) make phases,
    ALTERNATIVE never, PREDECESSOR is a person's decision."""
    alternatives = _pairs(s, "ALTERNATIVE")
    for pair in _pairs(s, "PREDECESSOR"):
        why = f"{s.names(pair)}: one was derived from the other, and no record tells what was given"
        return Verdict(None, why)
    groups = [{p.uid} for p in s.plans]
    covered = [uid_set for d in s.sums if len(uid_set := {*d.plan_uids}) > 1]
    for link in (*_pairs(s, "CONCURRENT"), *_pairs(s, "PRIOR"), *covered):
        touched = [g for g in groups if g & set(link)]
        groups = [g for g in groups if g not in touched] + [set().union(*touched)]
    if any(pair <= group for pair in alternatives for group in groups):
        return Verdict(None, "plans are linked as alternatives and as parts of one treatment")
    if len(groups) == 1:
        return Verdict(s.shares(), "the plans reference each other as concurrent or prior phases")
    if len(s.plans) == 2 and alternatives and len(s.delivered) == 1:
        taken = next(iter(s.delivered))
        why = f"only {s.names([taken])} has treatment records; the other is its alternative"
        return Verdict(s.shares([taken]), why)
    return None


def _prescription_sum(s: Situation) -> Verdict | None:
    """4. One structure set, and prescriptions that add up to a total stated elsewhere. Two full
    prescriptions of one target (a replan) do not."""
    doses = [p.prescribed_gy for p in s.plans]
    shared = set.intersection(*({*p.structure_set_uids} for p in s.plans))
    if not shared or _pairs(s, "ALTERNATIVE") or any(not d for d in doses):
        return None
    total = sum(d or 0.0 for d in doses)
    stated = [*s.stated_gy, *(r.target_gy or 0.0 for p in s.plans for r in p.target_references)]
    if not any(abs(gy - total) <= SAME_DOSE * total for gy in stated):
        return None
    listed = " + ".join(f"{d:g}" for d in doses)
    why = f"the plans share one structure set, and {listed} Gy is the stated total, {total:g} Gy"
    return Verdict(s.shares(), why)


def _approval(s: Situation) -> Verdict | None:
    """5. Only one plan is approved, and no newer one waits for it."""
    approved = [p for p in s.plans if p.approval == "APPROVED"]
    if len(approved) != 1 or any(p.approval == "" for p in s.plans):
        return None
    later = [p for p in s.plans if p.approval != "APPROVED" and p.date > approved[0].date]
    if later:
        # An approved plan followed by an unfinished one may be a phase or a replan still in work.
        return Verdict(
            None, f"{later[0].name} is newer than the approved plan and not approved itself"
        )
    why = f"{approved[0].name} alone is approved"
    return Verdict(s.shares([approved[0].uid]), why, ("unapproved-plan-left-out",))


def _alternatives(s: Situation) -> Verdict | None:
    """ALTERNATIVE plans are never summed; which one was given only a record or a person tells."""
    for pair in _pairs(s, "ALTERNATIVE"):
        why = f"{s.names(pair)} are alternatives of each other, and no record tells which was given"
        return Verdict(None, why, ("alternative-plans",))
    return None


TABLE: tuple[Callable[[Situation], Verdict | None], ...] = (
    _users_table,
    _single_plan,
    _treatment_records,
    _plan_sum,
    _relationships,
    _prescription_sum,
    _approval,
    _alternatives,
)


def judge(situation: Situation) -> Verdict:
    """The first row of the table that settles which plans are summed."""
    for row in TABLE:
        verdict = row(situation)
        if verdict is not None:
            return verdict
    return Verdict(None, "nothing tells whether the plans are phases or replace each other")


def hints(s: Situation) -> list[str]:
    """What a person may want to know before deciding; none of it decides."""
    found = []
    for plan in s.plans:
        words = [word for word in HINTS if word in plan.label.lower()]
        if words:
            found.append(f"hint only: the label of {plan.name} contains '{words[0]}'")
    dated = [f"{p.name} {p.date}" for p in s.plans if p.date]
    if len(dated) > 1:
        found.append(f"hint only: plan dates are {', '.join(dated)}")
    return found


def _pairs(s: Situation, relation: str) -> list[set[str]]:
    """The pairs of the course's plans that have this RT Plan Relationship."""
    uids = {p.uid for p in s.plans}
    found = [{p.uid, other} for p in s.plans for other, kind in p.relations if kind == relation]
    return [pair for pair in found if len(pair) == 2 and pair <= uids]
