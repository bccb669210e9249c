"""What was prescribed: a table of levels, each with its target, dose, fractions and source.

Sources in order: the user's table; the plans' dose references of type TARGET (PS3.3 C.8.8.10), one
level each; beam doses x fractions; the doses in target names. What none of them gives stays empty.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ..model import Prescription, PrescriptionLevel
from .evidence import SAME_DOSE
from .facts import DoseReference, FractionGroup, PlanFacts, dose_in_name
from .select import DECIDED, DoseDecision

NEEDS_DECISION = "rx-needs-decision"
INFERRED = "inferred-from-name"
# A dose reference at coordinates prescribes to a point, not to a volume; its level's name says so.
POINT = "point "


class Roi(Protocol):
    """What a structure must tell here; `Contours` and `Mask` do."""

    @property
    def name(self) -> str: ...
    @property
    def number(self) -> int: ...
    @property
    def is_target(self) -> bool: ...


@dataclass(frozen=True)
class Phase:
    """Levels that are delivered together: a plan, or one fraction group of a plan with several."""

    plan_uid: str
    levels: tuple[PrescriptionLevel, ...]
    flags: tuple[str, ...] = ()


def prescription_of(
    plans: Sequence[PlanFacts],
    rois: Sequence[Roi],
    decision: DoseDecision | None = None,
    user_table: Sequence[Mapping[str, object]] | None = None,
    *,
    contains: Mapping[int, Collection[int]] | None = None,
    from_name: bool = True,
) -> Prescription:
    """The prescription that belongs to a dose.

    Parameters
    ----------
    plans : the plans of the dose; all of the course for its total, one for a plan reported alone.
    rois : the structures of the course; only targets are looked at.
    decision : for the total, whose weights (delivered / planned) scale each plan's levels and whose
        plans count; None for a plan alone, at its full planned dose.
    user_table : rows `{name, roi, dose_gy, fractions}`; when given they are the whole prescription.
    contains : ROI number of a target -> ROI numbers of the targets whose volume contains it. Needed
        when phases prescribe to different targets: each target's level is then the sum over the
        phases whose target contains it.
    from_name : whether doses in target names may stand in when nothing else is known.

    Flags: `rx-needs-decision` when phases cannot be summed with what is known (the levels are then
    those of the single phases), `rx-from-beam-dose`, `inferred-from-name`.
    """
    targets = [roi for roi in rois if roi.is_target]
    if user_table:
        return Prescription(tuple(_user_level(row, targets) for row in user_table))
    undecided = decision is not None and decision.status != DECIDED and len(plans) > 1
    weights = {p.uid: 1.0 for p in plans}
    if decision is not None and decision.plan_weights:
        weights = {uid: w for uid, w in decision.plan_weights.items() if w > 0}
    phases = [ph for p in plans if p.uid in weights for ph in _phases(p, weights[p.uid], targets)]
    flags = {flag for phase in phases for flag in phase.flags}
    if undecided:
        flags.add(NEEDS_DECISION)
    empty = [p for p in phases if not p.levels]
    if empty and len(empty) < len(phases):
        flags.add(NEEDS_DECISION)  # a phase without prescription: the sum is not known
    phases = [p for p in phases if p.levels]
    if not phases:
        levels = _from_names(targets) if from_name else ()
        return Prescription(levels, (INFERRED,) if levels else ())
    summed = _sum(phases, targets, contains) if NEEDS_DECISION not in flags else None
    if summed is None:
        flags.add(NEEDS_DECISION)
        summed = tuple(level for phase in phases for level in phase.levels)
    return Prescription(summed, tuple(sorted(flags)))


def level_for(
    roi_name: str, roi_number: int, is_target: bool, prescription: Prescription
) -> tuple[PrescriptionLevel | None, str]:
    """The level to which a structure's relative metrics refer, and a flag ("" when all is clear).

    Targets use their own level: by ROI number, by name, by the dose in their name (1 %), or the
    only level of a volume. Everything else uses the course's. When that is not clear: None and
    `rx-needs-decision`; when there is no prescription: None and no flag.
    """
    if not prescription.levels:
        return None, ""
    if NEEDS_DECISION in prescription.flags:
        return None, NEEDS_DECISION
    if not is_target:
        return prescription.course, ""
    levels = prescription.levels
    stated = dose_in_name(roi_name)
    for own in (
        [x for x in levels if roi_number and x.roi_number == roi_number],
        [x for x in levels if _same_name(roi_name, x.roi_name or x.name)],
        [x for x in levels if stated and abs(x.dose_gy - stated) <= SAME_DOSE * stated],
        [x for x in levels if not x.name.startswith(POINT)] or levels,
    ):
        if own:
            same = max(x.dose_gy for x in own) - min(x.dose_gy for x in own) < 1e-6
            return (own[0], "") if same else (None, NEEDS_DECISION)
    return None, NEEDS_DECISION


def stated_totals_gy(
    rois: Sequence[Roi], user_table: Sequence[Mapping[str, object]] | None = None
) -> list[float]:
    """Prescribed totals that stand outside the plans, as evidence for `select.decide`."""
    named = [dose_in_name(roi.name) for roi in rois if roi.is_target]
    return [float(row["dose_gy"]) for row in user_table or ()] + [d for d in named if d]  # type: ignore


def dose_scale_flag(near_maximum_gy: float, level: PrescriptionLevel | None) -> str:
    """`dose-scale-suspect` when a dose's near-maximum (D2 % of what gets dose) is about one
    fraction of its prescription, or more than five times it; else "". Nothing is ever scaled."""
    if level is None or near_maximum_gy <= 0:
        return ""
    ratio = near_maximum_gy / level.dose_gy
    one_fraction = (level.fractions or 1) > 1 and abs(ratio * (level.fractions or 1) - 1) < 0.25
    return "dose-scale-suspect" if one_fraction or ratio > 5 else ""


# -- levels of one phase


def _phases(plan: PlanFacts, weight: float, targets: Sequence[Roi]) -> list[Phase]:
    """The phases of a plan, scaled by its weight."""
    references = plan.target_references
    if len(plan.groups) < 2:
        fractions = plan.groups[0].fractions if plan.groups else None
        phases = [_phase(plan, references, plan.groups, fractions)]
    elif all(_group_of(plan, r) for r in references):
        phases = [
            _phase(
                plan, [r for r in references if _group_of(plan, r) == g.number], [g], g.fractions
            )
            for g in plan.groups
        ]
    else:  # which group a level belongs to is not said
        phases = [_phase(plan, references, plan.groups, None)]
        phases[0] = replace(phases[0], flags=(*phases[0].flags, NEEDS_DECISION))
    return [
        replace(
            phase,
            levels=tuple(
                _bound(replace(x, dose_gy=x.dose_gy * weight), x.dose_gy, targets)
                for x in phase.levels
            ),
        )
        for phase in phases
    ]


def _phase(
    plan: PlanFacts,
    references: Sequence[DoseReference],
    groups: Sequence[FractionGroup],
    fractions: int | None,
) -> Phase:
    if references:
        levels = tuple(_reference_level(plan, r, fractions) for r in references)
        return Phase(plan.uid, levels)
    doses = [g.dose_gy for g in groups]
    if not doses or any(d is None for d in doses):
        return Phase(plan.uid, ())
    level = PrescriptionLevel(
        plan.label or "beams",
        sum(d or 0.0 for d in doses),
        "beam-dose",
        fractions,
        plan_uid=plan.uid,
    )
    return Phase(plan.uid, (level,), ("rx-from-beam-dose",))


def _reference_level(
    plan: PlanFacts, reference: DoseReference, fractions: int | None
) -> PrescriptionLevel:
    name = reference.description or f"dose reference {reference.number}"
    if reference.structure_type in ("POINT", "COORDINATES"):
        name = POINT + name
    return PrescriptionLevel(
        name,
        float(reference.target_gy or 0.0),
        "dose-reference",
        fractions,
        roi_number=reference.roi_number,
        plan_uid=plan.uid,
    )


def _group_of(plan: PlanFacts, reference: DoseReference) -> int | None:
    """The only fraction group that serves a dose reference (300C,0050), None when not said."""
    groups = [g.number for g in plan.groups if reference.number in g.dose_references]
    return groups[0] if len(groups) == 1 else None


def _bound(
    level: PrescriptionLevel, planned_gy: float, targets: Sequence[Roi]
) -> PrescriptionLevel:
    """The level with its target ROI, found by number, name, or the one name with its dose."""
    for hits in (
        [t for t in targets if level.roi_number is not None and t.number == level.roi_number],
        [t for t in targets if _same_name(t.name, level.name)],
        [
            t
            for t in targets
            if abs((dose_in_name(t.name) or 0) - planned_gy) <= SAME_DOSE * planned_gy
        ],
    ):
        if len(hits) == 1:
            return replace(level, roi_number=hits[0].number, roi_name=hits[0].name)
    return level


# -- several phases


def _sum(
    phases: Sequence[Phase], targets: Sequence[Roi], contains: Mapping[int, Collection[int]] | None
) -> tuple[PrescriptionLevel, ...] | None:
    """One level per target, summed over the phases whose target contains it; None when unknown."""
    volumes = [
        [x for x in phase.levels if not x.name.startswith(POINT)] or list(phase.levels)
        for phase in phases
    ]
    bound = {x.roi_number for levels in volumes for x in levels}
    if len(phases) == 1:
        others = [t for t in targets if contains and t.number not in bound]
        return (*phases[0].levels, *(x for t in others for x in _summed(t, volumes, contains)))
    known = {t.number for t in targets}
    if not bound <= known or (len(bound) > 1 and contains is None):
        return None
    return tuple(level for t in targets for level in _summed(t, volumes, contains))


def _summed(
    target: Roi,
    phases: Sequence[Sequence[PrescriptionLevel]],
    contains: Mapping[int, Collection[int]] | None,
) -> list[PrescriptionLevel]:
    """The target's level: of every phase its own, else the highest whose target contains it. Empty
    where no phase reaches it."""
    around = set((contains or {}).get(target.number, ()))
    parts = []
    for levels in phases:
        own = [x for x in levels if x.roi_number == target.number]
        own = own or [x for x in levels if x.roi_number in around]
        parts += [max(own, key=lambda x: x.dose_gy)] if own else []
    if not parts:
        return []
    fractions = [x.fractions for x in parts]
    plans = {x.plan_uid for x in parts}
    return [
        PrescriptionLevel(
            target.name,
            sum(x.dose_gy for x in parts),
            min(x.source for x in parts),  # beam-dose before dose-reference: the weaker one
            None if None in fractions else sum(f or 0 for f in fractions),
            target.name,
            target.number,
            plans.pop() if len(plans) == 1 else "",
        )
    ]


# -- the user's table and names


def _user_level(row: Mapping[str, object], targets: Sequence[Roi]) -> PrescriptionLevel:
    roi = str(row.get("roi") or "")
    dose, fractions = row["dose_gy"], row.get("fractions")
    number = next((t.number for t in targets if roi and _same_name(t.name, roi)), None)
    return PrescriptionLevel(
        str(row.get("name") or roi or "user"),
        float(dose),  # type: ignore[arg-type]
        "user",
        None if fractions in (None, "") else int(fractions),  # type: ignore[call-overload]
        roi,
        number,
    )


def _from_names(targets: Sequence[Roi]) -> tuple[PrescriptionLevel, ...]:
    named = [(t, dose_in_name(t.name)) for t in targets]
    return tuple(
        PrescriptionLevel(t.name, dose, INFERRED, roi_name=t.name, roi_number=t.number)
        for t, dose in named
        if dose
    )


def _same_name(a: str, b: str) -> bool:
    def plain(text: str) -> str:
        return re.sub(r"[^a-z0-9]", "", text.lower())

    return bool(plain(a)) and plain(a) == plain(b)
