"""Which dose objects stand for one plan: its PLAN dose, or parts that make up the whole of it.

The terms of PS3.3 C.8.8.3 (3004,000A): BEAM, BRACHY and FRACTION (one fraction *group*) already
hold all fractions of what they cover and are never multiplied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .facts import DoseCandidate, PlanFacts

PART_TYPES = frozenset({"BEAM", "BRACHY", "FRACTION"})

# (fraction group, "beam" or "brachy setup", number)
Piece = tuple[int, str, int]


@dataclass(frozen=True)
class WeightedDose:
    """One dose object and the factor with which it is used."""

    sop_uid: str
    weight: float = 1.0


@dataclass(frozen=True)
class PlanDose:
    """The doses that stand for one plan, or the `problem` why there are none (one sentence)."""

    plan_uid: str
    doses: tuple[WeightedDose, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Representation:
    """What was found for one plan: its doses, and what was left out and why."""

    dose: PlanDose
    left_out: tuple[tuple[str, str], ...] = ()
    flags: tuple[str, ...] = ()


def represent(plan: PlanFacts, doses: Sequence[DoseCandidate]) -> Representation:
    """The doses that stand for `plan`, out of the usable ones that reference it alone.

    A plan with doses of both types is represented by the type in which it was prescribed: EFFECTIVE
    for ions, else PHYSICAL; the other is left out.
    """
    types = sorted({d.dose_type for d in doses})
    if len(types) < 2:
        return _one_type(plan, doses)
    order = ("EFFECTIVE", "PHYSICAL") if plan.ion else ("PHYSICAL", "EFFECTIVE")
    left_out: list[tuple[str, str]] = []
    found = Representation(PlanDose(plan.uid, problem=f"{plan.name} has no usable dose"))
    for kind in order:
        same = [d for d in doses if d.dose_type == kind]
        if found.dose.doses:
            reason = f"{kind} dose of {plan.name}, which is represented by its {order[0]} dose"
            left_out += [(d.sop_uid, reason) for d in same]
        elif same:
            found = _one_type(plan, same)
    return Representation(
        found.dose, (*found.left_out, *left_out), (*found.flags, "dose-type-chosen")
    )


def _one_type(plan: PlanFacts, doses: Sequence[DoseCandidate]) -> Representation:
    whole = [d for d in doses if d.summation_type == "PLAN"]
    parts = [d for d in doses if d.summation_type in PART_TYPES]
    if len(whole) > 1:
        problem = f"{plan.name} has {len(whole)} different PLAN doses; name the one to use"
        return Representation(PlanDose(plan.uid, problem=problem))
    if whole:
        reason = f"part of {plan.name}, which its PLAN dose already holds"
        return Representation(
            PlanDose(plan.uid, (WeightedDose(whole[0].sop_uid),)),
            tuple((d.sop_uid, reason) for d in parts),
        )
    if not parts:
        return Representation(PlanDose(plan.uid, problem=f"{plan.name} has no usable dose"))
    return _from_parts(plan, parts)


def _from_parts(plan: PlanFacts, parts: Sequence[DoseCandidate]) -> Representation:
    """The parts, when they cover every treatment beam of every fraction group exactly once."""
    needed = _pieces(plan)
    if not needed:
        problem = f"{plan.name} has only partial doses, and its beams are not known"
        return Representation(PlanDose(plan.uid, problem=problem))
    covers = {d.sop_uid: _covered(plan, d) & needed for d in parts}
    by_fraction = _unique_fractions(plan, parts, covers)
    used: list[str] = list(by_fraction.values())
    left_out: list[tuple[str, str]] = []
    for dose in parts:
        uid = dose.sop_uid
        if uid in used:
            continue
        if not covers[uid]:
            reason = f"covers no treatment beam that {plan.name} lists"
            left_out.append((uid, reason))
        elif dose.summation_type != "FRACTION" and {p[0] for p in covers[uid]} <= set(by_fraction):
            left_out.append((uid, f"part of a fraction group of {plan.name} whose dose is used"))
        else:
            used.append(uid)
    frames = {d.frame_uid for d in parts if d.sop_uid in used}
    problem = _incomplete(plan, needed, [covers[uid] for uid in used])
    if not problem and len(frames) > 1:
        problem = f"the partial doses of {plan.name} lie in different frames of reference"
    if problem:
        return Representation(PlanDose(plan.uid, problem=problem), tuple(left_out))
    doses = tuple(WeightedDose(uid) for uid in used)
    return Representation(PlanDose(plan.uid, doses), tuple(left_out), ("sum-of-parts",))


def _unique_fractions(
    plan: PlanFacts, parts: Sequence[DoseCandidate], covers: dict[str, set[Piece]]
) -> dict[int, str]:
    """The FRACTION dose of each group that has exactly one."""
    found: dict[int, str] = {}
    for group in plan.groups:
        own = [
            d.sop_uid
            for d in parts
            if d.summation_type == "FRACTION"
            and {p[0] for p in covers[d.sop_uid]} == {group.number}
        ]
        if len(own) == 1:
            found[group.number] = own[0]
    return found


def _incomplete(plan: PlanFacts, needed: set[Piece], covers: Sequence[set[Piece]]) -> str:
    """Why the parts are not the whole plan; empty when they are."""
    counts = Counter(piece for cover in covers for piece in cover)
    missing = sorted(needed - set(counts))
    twice = sorted(piece for piece, n in counts.items() if n > 1)
    if missing:
        return f"the partial doses of {plan.name} lack {_named(plan, missing)}"
    if twice:
        return f"more than one dose of {plan.name} holds {_named(plan, twice)}"
    return ""


def _pieces(plan: PlanFacts) -> set[Piece]:
    """Everything that gives dose in the plan."""
    return {
        (group.number, kind, piece.number)
        for group in plan.groups
        for kind, pieces in (("beam", group.treatment_beams), ("brachy setup", group.brachy))
        for piece in pieces
    }


def _covered(plan: PlanFacts, dose: DoseCandidate) -> set[Piece]:
    """What a BEAM, BRACHY or FRACTION dose holds, by what it references.

    A dose that does not name its fraction group is matched where only one group is possible.
    """
    pieces = _pieces(plan)
    own = [p for p in dose.parts if p.plan_uid in ("", plan.uid)]
    if dose.summation_type == "FRACTION":
        groups = {p.group for p in own if p.group is not None}
        if not groups and len(plan.groups) == 1:
            groups = {plan.groups[0].number}
        return {piece for piece in pieces if piece[0] in groups}
    covered: set[Piece] = set()
    for part in own:
        for kind, numbers in (("beam", part.beams), ("brachy setup", part.brachy)):
            for number in numbers:
                hits = {p for p in pieces if p[1:] == (kind, number) and part.group in (None, p[0])}
                if len(hits) == 1:
                    covered |= hits
    return covered


def _named(plan: PlanFacts, pieces: Sequence[Piece]) -> str:
    names = {b.number: b.name for group in plan.groups for b in group.beams}
    words = []
    for group, kind, number in pieces:
        label = f" '{names[number]}'" if kind == "beam" and names.get(number) else ""
        words.append(f"{kind} {number}{label} of fraction group {group}")
    return ", ".join(words)
