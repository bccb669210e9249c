"""Which doses are the course's dose, and why.

In the order of the design's section on doses: what can be used at all (`usable`), which doses stand
for each plan (`parts`), what was delivered (`delivered`), which plans are summed (`evidence`), and
the total with what was left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from .choices import Choices
from .delivered import delivered_weights
from .evidence import Situation, hints, judge
from .facts import BeamDelivery, DoseCandidate, PlanFacts
from .parts import PlanDose, WeightedDose, represent
from .usable import Notes, course_plans, usable_doses

DECIDED, NEEDS_DECISION, REFUSED, NONE = "decided", "needs-decision", "refused", "none"
FRAMES_DIFFER = "frames-differ"

# Weights closer to 1 than this are whole plans.
WHOLE_PLAN = 0.01


@dataclass(frozen=True)
class DoseDecision:
    """The course's dose, with its reasons.

    `status` is `decided`, `needs-decision`, `refused` or `none`. `parts` holds, for each plan, the
    doses that stand for it or why there are none; each can be reported alone. `total` is the
    weighted sum that is the course's dose, None unless decided; `plan_weights` the share of each
    plan in it. `left_out` is (SOP Instance UID, reason).
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
    stated_gy : prescribed totals that stand outside the plans (the user's prescription, the doses
        in target names; `prescription.stated_totals_gy`).
    joined_frames : sets of frames of reference that a DICOM REG or an approved registration joins.

    Raises `ConfigError` for overrides that fit nothing and `DataError` when one SOP Instance UID
    stands for two different doses.
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
    parts = _parts(own_plans, usable, notes)
    sums = tuple(d for d in usable if d.summation_type == "MULTI_PLAN")
    delivered = delivered_weights(own_plans, deliveries)
    for given in delivered.values():
        notes.say(given.why, *given.flags)
    if not sums and all(part.problem for part in parts.values()):
        why = "; ".join(p.problem for p in parts.values()) or "no dose of the course can be used"
        return _decision(REFUSED, notes, why, parts)
    situation = Situation(own_plans, sums, delivered, choices, tuple(stated_gy))
    verdict = judge(situation)
    notes.flags += verdict.flags
    if verdict.weights is None:
        _unused_sums(sums, (), notes)
        notes.evidence += hints(situation)
        return _decision(NEEDS_DECISION, notes, verdict.why, parts)
    notes.say(verdict.why)
    return _total(situation, parts, verdict.weights, usable, joined_frames, notes)


# -- the total


def _parts(
    plans: Sequence[PlanFacts], doses: Sequence[DoseCandidate], notes: Notes
) -> dict[str, PlanDose]:
    """The doses that stand for each plan."""
    parts: dict[str, PlanDose] = {}
    for plan in plans:
        own = [d for d in doses if d.plan_uids == (plan.uid,) and d.summation_type != "MULTI_PLAN"]
        found = represent(plan, own)
        parts[plan.uid] = found.dose
        notes.left_out += found.left_out
        notes.flags += found.flags
    return parts


def _total(
    s: Situation,
    parts: Mapping[str, PlanDose],
    weights: Mapping[str, float],
    usable: Sequence[DoseCandidate],
    joined_frames: Collection[frozenset[str]],
    notes: Notes,
) -> DoseDecision:
    """The weighted sum that a verdict asks for, or why it cannot be made."""
    counted = {uid: w for uid, w in weights.items() if w > 0}
    sums, problem = _standing_sums(s, parts, counted)
    covered = {uid for dose in sums for uid in dose.plan_uids}
    total = [WeightedDose(d.sop_uid) for d in sums]
    for plan in s.plans:
        part = parts[plan.uid]
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
        return _decision(REFUSED if problem else NEEDS_DECISION, notes, why, parts)
    why = not_addable(
        [d for d in usable if d.sop_uid in {t.sop_uid for t in total}], joined_frames, notes
    )
    if why:
        return _decision(NEEDS_DECISION, notes, why, parts)
    return _decision(DECIDED, notes, "", parts, tuple(total), counted)


def _standing_sums(
    s: Situation, parts: Mapping[str, PlanDose], counted: Mapping[str, float]
) -> tuple[list[DoseCandidate], str]:
    """The MULTI_PLAN doses that stand for whole counted plans, largest first, and a problem if two
    of them stand for the same plans."""
    whole = {uid for uid, w in counted.items() if abs(w - 1) <= WHOLE_PLAN}
    chosen: list[DoseCandidate] = []
    taken: dict[str, DoseCandidate] = {}
    for dose in sorted(s.sums, key=lambda d: -len(d.plan_uids)):
        uids = set(dose.plan_uids)
        if not uids <= whole:
            continue
        if len(uids) == 1 and all(parts[uid].doses for uid in uids):
            continue  # a sum of one plan: the plan's own dose is the surer one
        if any(uids == set(other.plan_uids) for other in chosen):
            return (
                chosen,
                f"two different MULTI_PLAN doses cover {s.names(uids)}; name the one to use",
            )
        if not uids & set(taken):
            chosen.append(dose)
            taken |= dict.fromkeys(uids, dose)
    return chosen, ""


def not_addable(
    doses: Sequence[DoseCandidate], joined_frames: Collection[frozenset[str]], notes: Notes
) -> str:
    """Why these doses cannot be added, with its flag in `notes`; empty when they can."""
    if len({d.dose_type for d in doses}) > 1:
        notes.flags.append("dose-types-differ")
        return (
            "PHYSICAL and EFFECTIVE doses are never added; convert them (EQD2) or report them apart"
        )
    frames = {d.frame_uid for d in doses}
    if len(frames) > 1 and not any(frames <= joined for joined in joined_frames):
        notes.flags.append(FRAMES_DIFFER)
        return "the doses lie in different frames of reference that no approved registration joins"
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
    why = not_addable(chosen, joined_frames, notes)
    if why or not chosen:
        return _decision(NEEDS_DECISION, notes, why or "the user's table counts no dose")
    total = tuple(WeightedDose(d.sop_uid, choices.doses[d.sop_uid]) for d in chosen)
    # A weight tells the share of a plan only where the dose is the whole plan's.
    plan_weights = {
        uid: choices.doses[d.sop_uid] if d.summation_type in ("PLAN", "MULTI_PLAN") else 1.0
        for d in chosen
        for uid in d.plan_uids
    }
    return _decision(
        DECIDED, notes, "the user's table names the doses", {}, total, plan_weights=plan_weights
    )


def _unused_sums(
    sums: Sequence[DoseCandidate], used: Sequence[DoseCandidate], notes: Notes
) -> None:
    for dose in sums:
        if dose not in used:
            notes.leave_out(
                dose.sop_uid, "this plan sum does not hold exactly plans that count whole"
            )


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
