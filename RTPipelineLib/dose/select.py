"""Which doses are the course's dose, and why: the decision table of a course.

The rows of the table are tried in order and the first that settles the question wins; when none does,
the course needs a person's decision and each plan's dose is reported alone. Words in labels are shown
as a hint and never decide.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from .choices import Choices
from .delivered import Delivered, delivered_weights
from .facts import BeamDelivery, DoseCandidate, PlanFacts
from .parts import PlanDose, WeightedDose, represent
from .usable import Notes, course_plans, usable_doses

DECIDED, NEEDS_DECISION, REFUSED, NONE = "decided", "needs-decision", "refused", "none"

# Two prescriptions are the same dose when they differ by less (names give whole gray).
SAME_DOSE = 0.01
# Weights closer to 1 than this are whole plans.
WHOLE_PLAN = 0.01
HINTS = ("boost", "phase", "ph2", "cone down", "replan", "adapt", "rev", "backup", "alt", "sum")


@dataclass(frozen=True)
class DoseDecision:
    """The course's dose, with its reasons.

    `status` is `decided`, `needs-decision`, `refused` or `none`. `parts` holds, for each plan, the
    doses that stand for it or why there are none; each can be reported alone. `total` is the weighted
    sum that is the course's dose, None unless decided; `plan_weights` the share of each plan in it.
    `left_out` is (SOP Instance UID, reason).
    """

    status: str
    parts: tuple[PlanDose, ...] = ()
    total: tuple[WeightedDose, ...] | None = None
    plan_weights: Mapping[str, float] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    flags: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The same as plain JSON values."""
        return asdict(self)


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
    parts: Mapping[str, PlanDose]
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


# -- the table --------------------------------------------------------------------------------------


def _users_table(s: Situation) -> Verdict | None:
    if not s.choices.plans:
        return None
    weights = {p.uid: s.choices.weight_of(p) for p in s.plans}
    return Verdict(weights, "the user's table says which plans count", ("user-decision",))


def _single_plan(s: Situation) -> Verdict | None:
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
    uids = {p.uid for p in s.plans}
    if any(uids <= set(dose.plan_uids) for dose in s.sums):
        return Verdict(s.shares(), "a MULTI_PLAN dose covers all plans of the course")
    return None


def _relationships(s: Situation) -> Verdict | None:
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
    doses = [p.prescribed_gy for p in s.plans]
    shared = set.intersection(*({*p.structure_set_uids} for p in s.plans))
    if not shared or _pairs(s, "ALTERNATIVE") or any(not d for d in doses):
        return None
    total = sum(d or 0.0 for d in doses)
    stated = [*s.stated_gy, *(r.target_gy or 0.0 for p in s.plans for r in p.target_references)]
    if not any(abs(gy - total) <= SAME_DOSE * total for gy in stated):
        return None
    listed = " + ".join(f"{d:g}" for d in doses)
    why = f"the plans share one structure set and {listed} Gy is the total of {total:g} Gy stated there"
    return Verdict(s.shares(), why)


def _approval(s: Situation) -> Verdict | None:
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


TABLE: tuple[Callable[[Situation], Verdict | None], ...] = (
    _users_table,
    _single_plan,
    _treatment_records,
    _plan_sum,
    _relationships,
    _prescription_sum,
    _approval,
)


def decide(
    plans: Sequence[PlanFacts],
    doses: Sequence[DoseCandidate],
    deliveries: Sequence[BeamDelivery] = (),
    overrides: Mapping[str, object] | None = None,
    *,
    stated_gy: Sequence[float] = (),
    joined_frames: Collection[frozenset[str]] = (),
) -> DoseDecision:
    """The decision for one course.

    Parameters
    ----------
    plans, doses, deliveries : facts of the course's plans, doses and treatment records.
    overrides : the `dose` part of `overrides.yaml`, see `choices.Choices`.
    stated_gy : prescribed totals that stand outside the plans (the user's prescription, the doses in
        target names; `prescription.stated_totals_gy`).
    joined_frames : sets of frames of reference that a DICOM REG or an approved registration joins.

    Raises `ConfigError` for overrides that fit nothing and `DataError` when one SOP Instance UID stands
    for two different doses.
    """
    choices = Choices.from_mapping(overrides)
    choices.check(plans, doses)
    notes = Notes()
    if not doses:
        return _decision(NONE, notes, "the course has no dose")
    usable = usable_doses(doses, choices, notes)
    if choices.doses:
        return _users_doses(usable, choices, joined_frames, notes)
    recorded = {d.plan_uid for d in deliveries}
    own_plans, usable = course_plans(plans, usable, choices, recorded, notes)
    parts = _parts(own_plans, usable, choices, notes)
    sums = tuple(d for d in usable if d.summation_type == "MULTI_PLAN")
    delivered = delivered_weights(own_plans, deliveries)
    for given in delivered.values():
        notes.say(given.why, *given.flags)
    if not sums and all(part.problem for part in parts.values()):
        why = "; ".join(p.problem for p in parts.values()) or "no dose of the course can be used"
        return _decision(REFUSED, notes, why, parts)
    situation = Situation(own_plans, parts, sums, delivered, choices, tuple(stated_gy))
    verdict = next((v for v in (row(situation) for row in TABLE) if v is not None), None)
    if verdict is None:
        verdict = Verdict(None, "nothing tells whether the plans are phases or replace each other")
    notes.flags += verdict.flags
    if verdict.weights is None:
        _unused_sums(sums, (), notes)
        _hints(situation, notes)
        return _decision(NEEDS_DECISION, notes, verdict.why, parts)
    notes.say(verdict.why)
    return _total(situation, verdict.weights, usable, joined_frames, notes)


# -- the total --------------------------------------------------------------------------------------


def _parts(
    plans: Sequence[PlanFacts], doses: Sequence[DoseCandidate], choices: Choices, notes: Notes
) -> dict[str, PlanDose]:
    """The doses that stand for each plan."""
    parts: dict[str, PlanDose] = {}
    for plan in plans:
        own = [d for d in doses if d.plan_uids == (plan.uid,) and d.summation_type != "MULTI_PLAN"]
        found = represent(plan, own)
        scaled = tuple(
            WeightedDose(d.sop_uid, d.weight * choices.normalisation.get(d.sop_uid, 1.0))
            for d in found.dose.doses
        )
        parts[plan.uid] = PlanDose(plan.uid, scaled, found.dose.problem)
        notes.left_out += found.left_out
        notes.flags += found.flags
    return parts


def _total(
    s: Situation,
    weights: Mapping[str, float],
    usable: Sequence[DoseCandidate],
    joined_frames: Collection[frozenset[str]],
    notes: Notes,
) -> DoseDecision:
    """The weighted sum that a verdict asks for, or why it cannot be made."""
    counted = {uid: w for uid, w in weights.items() if w > 0}
    sums, problem = _standing_sums(s, counted)
    covered = {uid for dose in sums for uid in dose.plan_uids}
    total = [WeightedDose(d.sop_uid, s.choices.normalisation.get(d.sop_uid, 1.0)) for d in sums]
    for plan in s.plans:
        part = s.parts[plan.uid]
        if plan.uid in covered:
            reason = f"{plan.name} is held by the plan sum {sums[0].sop_uid}"
            notes.left_out += [(d.sop_uid, reason) for d in part.doses]
        elif plan.uid in counted:
            problem = problem or part.problem
            total += [WeightedDose(d.sop_uid, d.weight * counted[plan.uid]) for d in part.doses]
            if plan.approval not in ("", "APPROVED"):
                notes.flags.append("plan-unapproved")
        else:
            notes.left_out += [(d.sop_uid, f"{plan.name} is not counted") for d in part.doses]
    _unused_sums(s.sums, sums, notes)
    if problem or not total:
        why = problem or "the verdict leaves no plan that counts"
        return _decision(REFUSED if problem else NEEDS_DECISION, notes, why, s.parts)
    why = _not_addable(
        [d for d in usable if d.sop_uid in {t.sop_uid for t in total}], joined_frames, notes
    )
    if why:
        return _decision(NEEDS_DECISION, notes, why, s.parts)
    return _decision(DECIDED, notes, "", s.parts, tuple(total), counted)


def _standing_sums(s: Situation, counted: Mapping[str, float]) -> tuple[list[DoseCandidate], str]:
    """The MULTI_PLAN doses that stand for whole counted plans, largest first, and a problem if two of
    them stand for the same plans."""
    whole = {uid for uid, w in counted.items() if abs(w - 1) <= WHOLE_PLAN}
    chosen: list[DoseCandidate] = []
    taken: dict[str, DoseCandidate] = {}
    for dose in sorted(s.sums, key=lambda d: -len(d.plan_uids)):
        uids = set(dose.plan_uids)
        if not uids <= whole:
            continue
        if any(uids == set(other.plan_uids) for other in chosen):
            return (
                chosen,
                f"two different MULTI_PLAN doses cover {s.names(uids)}; name the one to use",
            )
        if not uids & set(taken):
            chosen.append(dose)
            taken |= dict.fromkeys(uids, dose)
    return chosen, ""


def _not_addable(
    doses: Sequence[DoseCandidate], joined_frames: Collection[frozenset[str]], notes: Notes
) -> str:
    """Why these doses cannot be added; empty when they can."""
    if len({d.dose_type for d in doses}) > 1:
        notes.flags.append("dose-types-differ")
        return (
            "PHYSICAL and EFFECTIVE doses are never added; convert them (EQD2) or report them apart"
        )
    frames = {d.frame_uid for d in doses}
    if len(frames) > 1 and not any(frames <= joined for joined in joined_frames):
        notes.flags.append("frames-differ")
        return "the doses lie in different frames of reference, and no approved registration joins them"
    return ""


def _users_doses(
    usable: Sequence[DoseCandidate],
    choices: Choices,
    joined_frames: Collection[frozenset[str]],
    notes: Notes,
) -> DoseDecision:
    """The total that the user wrote down dose by dose."""
    chosen = [d for d in usable if choices.doses.get(d.sop_uid)]
    for uid in choices.doses.keys() - {d.sop_uid for d in usable}:
        return _decision(REFUSED, notes, f"the user's table names dose {uid}, which cannot be used")
    for dose in usable:
        if dose not in chosen:
            notes.leave_out(dose.sop_uid, "the user's table does not count it")
    notes.flags.append("user-decision")
    why = _not_addable(chosen, joined_frames, notes)
    if why or not chosen:
        return _decision(NEEDS_DECISION, notes, why or "the user's table counts no dose")
    total = tuple(
        WeightedDose(
            d.sop_uid, choices.doses[d.sop_uid] * choices.normalisation.get(d.sop_uid, 1.0)
        )
        for d in chosen
    )
    return _decision(DECIDED, notes, "the user's table names the doses", {}, total)


def _unused_sums(
    sums: Sequence[DoseCandidate], used: Sequence[DoseCandidate], notes: Notes
) -> None:
    for dose in sums:
        if dose not in used:
            notes.leave_out(
                dose.sop_uid, "this plan sum does not hold exactly plans that count whole"
            )


def _hints(s: Situation, notes: Notes) -> None:
    """What a person may want to know before deciding; none of it decides."""
    for plan in s.plans:
        words = [word for word in HINTS if word in plan.label.lower()]
        if words:
            notes.say(f"hint only: the label of {plan.name} contains '{words[0]}'")
    dated = [f"{p.name} {p.date}" for p in s.plans if p.date]
    if len(dated) > 1:
        notes.say(f"hint only: plan dates are {', '.join(dated)}")


def _pairs(s: Situation, relation: str) -> list[set[str]]:
    """The pairs of the course's plans that have this RT Plan Relationship."""
    uids = {p.uid for p in s.plans}
    found = [{p.uid, other} for p in s.plans for other, kind in p.relations if kind == relation]
    return [pair for pair in found if len(pair) == 2 and pair <= uids]


def _decision(
    status: str,
    notes: Notes,
    why: str,
    parts: Mapping[str, PlanDose] | None = None,
    total: tuple[WeightedDose, ...] | None = None,
    plan_weights: Mapping[str, float] | None = None,
) -> DoseDecision:
    if why:
        notes.say(why)
    return DoseDecision(
        status,
        tuple((parts or {}).values()),
        total,
        dict(plan_weights or {}),
        tuple(notes.evidence),
        tuple(dict.fromkeys(notes.left_out)),
        tuple(dict.fromkeys(notes.flags)),
    )
