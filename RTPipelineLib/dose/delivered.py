"""What was really given: the share of each plan that its treatment records show.

Rules of PS3.3 C.8.8.21: a fraction counts once per beam; portal films and setup fields never count;
a CONTINUATION completes the fraction it continues; a fraction that was stopped counts by its
meterset.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .facts import NOT_TREATMENT, BeamDelivery, BeamFacts, PlanFacts

# Machines round monitor units; a fraction within 1 % of its meterset was given whole.
WHOLE_FRACTION = 0.01
# Beams of one plan that were given unevenly by more than this cannot share one weight.
UNEVEN = 0.05


@dataclass(frozen=True)
class Delivered:
    """The share of one plan that was given. `weight` is delivered / planned fractions, None when
    the records do not tell; `why` says it in a sentence."""

    plan_uid: str
    weight: float | None
    why: str
    flags: tuple[str, ...] = ()


def delivered_weights(
    plans: Sequence[PlanFacts], deliveries: Sequence[BeamDelivery]
) -> dict[str, Delivered]:
    """The delivered share of every plan that has treatment records; plans without are absent."""
    by_plan: dict[str, list[BeamDelivery]] = defaultdict(list)
    for delivery in deliveries:
        if delivery.delivery_type not in NOT_TREATMENT:
            by_plan[delivery.plan_uid].append(delivery)
    for uid, own in by_plan.items():
        # A summary counts what the records of single beams tell more exactly.
        by_plan[uid] = [d for d in own if d.beam is not None] or own
    return {plan.uid: _of_plan(plan, by_plan[plan.uid]) for plan in plans if plan.uid in by_plan}


def _of_plan(plan: PlanFacts, deliveries: Sequence[BeamDelivery]) -> Delivered:
    flags: set[str] = set()
    shares: list[tuple[float, float]] = []  # (delivered / planned, weight of the beam in the plan)
    given, planned = 0, 0
    for group in plan.groups:
        beams = group.treatment_beams or group.brachy
        if not group.fractions or not beams:
            return Delivered(plan.uid, None, f"{plan.name} does not say how many fractions it has")
        importance = _importance(beams)
        most = 0
        for beam in beams:
            own = [
                d
                for d in deliveries
                if d.beam in (None, beam.number) and d.group in (None, group.number)
            ]
            fractions = _fractions(beam, own, flags)
            if fractions is None:
                what = f"a fraction number or meterset of beam {beam.number}"
                why = f"records of {plan.name} lack {what}"
                return Delivered(plan.uid, None, why, ("record-incomplete",))
            shares.append((sum(fractions.values()) / group.fractions, importance[beam.number]))
            most = max(most, sum(share > 0 for share in fractions.values()))
        given, planned = given + most, planned + group.fractions
    if not shares:
        return Delivered(plan.uid, None, f"{plan.name} lists no fraction group")
    values = [share for share, _ in shares]
    why = f"treatment records show {given} of {planned} fractions of {plan.name}"
    if max(values) - min(values) > UNEVEN:
        why += f", but its beams were given unevenly ({min(values):.2f} to {max(values):.2f})"
        return Delivered(plan.uid, None, why, (*sorted(flags), "uneven-delivery"))
    weight = sum(s * w for s, w in shares) / sum(w for _, w in shares)
    if weight > 1 + WHOLE_FRACTION:
        flags.add("more-fractions-than-planned")
    if abs(weight - 1) > WHOLE_FRACTION:
        flags.add("delivered-differs-from-planned")
    return Delivered(
        plan.uid, round(weight, 6), f"{why} (weight {weight:.3f})", tuple(sorted(flags))
    )


def _importance(beams: Sequence[BeamFacts]) -> Mapping[int, float]:
    """Weight of each beam in its group: its dose, else its meterset, else all alike."""
    for attribute in ("dose_gy", "meterset"):
        values = {b.number: getattr(b, attribute) for b in beams}
        if all(values.values()):
            return values
    return {b.number: 1.0 for b in beams}


def _fractions(
    beam: BeamFacts, deliveries: Sequence[BeamDelivery], flags: set[str]
) -> dict[int, float] | None:
    """Share (0..1) of each fraction of one beam; None when a record does not tell."""
    whole = max((d.specified_meterset or 0.0 for d in deliveries), default=0.0) or beam.meterset
    shares: dict[int, float] = defaultdict(float)
    for delivery in deliveries:
        if delivery.fraction is None:
            return None
        if delivery.delivered_meterset is not None and whole:
            shares[delivery.fraction] += delivery.delivered_meterset / whole
        elif delivery.termination == "NORMAL":
            shares[delivery.fraction] += 1.0
        else:
            return None
    if any(share > 1 + WHOLE_FRACTION for share in shares.values()):
        flags.add("fraction-recorded-twice")
    return {n: 1.0 if share > 1 - WHOLE_FRACTION else share for n, share in shares.items()}
