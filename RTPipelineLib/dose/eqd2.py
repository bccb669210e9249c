"""Doses in equivalent fractions of 2 Gy (EQD2) and biologically effective doses (BED).

Linear-quadratic model, with the voxel's own dose per fraction d = D/n, never the prescription's:

    BED  = D (1 + d / (a/b))                 Fowler, Br J Radiol 62 (1989) 679-694
    EQD2 = D (d + a/b) / (2 + a/b)           Withers, Thames, Peters, Radiother Oncol 1 (1983)
    187-191

Doses of the same fractions are added before the conversion, those of different fractions after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import DoseRefused
from ..geometry import Grid
from ..model import Dose
from .accumulate import LazyDose, sum_doses, sum_grid
from .facts import DoseCandidate, PlanFacts
from .select import DECIDED, DoseDecision

EQD2, BED = "eqd2", "bed"
# a/b in Gy when the user asks for EQD2 and says nothing else.
TUMOUR_AB_GY, LATE_AB_GY = 10.0, 3.0
# Weights of plans given in the same fractions must agree to this.
SAME_WEIGHT = 0.01

_BIOLOGICAL = re.compile(r"\b(BED|EQD|EQD2|BIOLOGICALLY EFFECTIVE|EQUIVALENT DOSE)\b", re.I)


def eqd2(dose_gy: np.ndarray, fractions: int, alpha_beta_gy: float) -> np.ndarray:
    """Dose in 2 Gy fractions that has the effect of `dose_gy` (any shape) given in `fractions`.

    20 Gy in 30 fractions at a/b = 3 Gy: 14.67 Gy. Raises `ValueError` for fractions or a/b that are
    not positive.
    """
    _check(fractions, alpha_beta_gy)
    dose = np.asarray(dose_gy, dtype=np.float64)
    return dose * (dose / fractions + alpha_beta_gy) / (2.0 + alpha_beta_gy)


def bed(dose_gy: np.ndarray, fractions: int, alpha_beta_gy: float) -> np.ndarray:
    """Biologically effective dose of `dose_gy` (any shape) given in `fractions` equal fractions.

    60 Gy in 30 fractions at a/b = 10 Gy: 72 Gy. Raises `ValueError` for fractions or a/b that are
    not positive.
    """
    _check(fractions, alpha_beta_gy)
    dose = np.asarray(dose_gy, dtype=np.float64)
    return dose * (1.0 + dose / fractions / alpha_beta_gy)


def is_biological(comment: str) -> bool:
    """True when a dose's comment or label says that it is BED or EQD2 already."""
    return bool(_BIOLOGICAL.search(comment))


@dataclass(frozen=True, eq=False)
class Delivery:
    """Doses that are given together in the same `fractions`. `weight` is the delivered share of
    them (20 of 25: 0.8), which leaves the dose of each fraction as it is. `ion` and `comment` are
    as for `convert`."""

    doses: tuple[Dose | LazyDose, ...]
    fractions: int
    weight: float = 1.0
    ion: bool = False
    comment: str = ""


def convert(
    dose: Dose,
    fractions: int,
    alpha_beta_gy: float,
    *,
    quantity: str = EQD2,
    ion: bool = False,
    comment: str = "",
) -> Dose:
    """A dose as EQD2 or BED: DoseType EFFECTIVE, flagged with the quantity and its a/b.

    Parameters
    ----------
    quantity : `eqd2` or `bed`.
    ion : the dose is of protons or heavier ions; its EFFECTIVE dose is then RBE-weighted.
    comment : the dose's comment or label; a mention of BED or EQD2 refuses it.

    Raises `DoseRefused` for a dose that is BED or EQD2 already, for an EFFECTIVE dose that nothing
    says to be RBE-weighted, and for a PHYSICAL ion dose, whose RBE is not known.
    """
    _refuse(dose, ion, comment)
    formula = {EQD2: eqd2, BED: bed}[quantity]
    array = np.empty(dose.array_gy.shape, np.float32)
    for slab, values in zip(array, dose.array_gy, strict=True):
        slab[...] = formula(values, fractions, alpha_beta_gy)
    flags = (*dose.flags, quantity, f"alpha-beta-{alpha_beta_gy:g}")
    return replace(dose, array_gy=array, dose_type="EFFECTIVE", scaling_gy=0.0, flags=flags)


def sum_converted(
    deliveries: Sequence[Delivery],
    alpha_beta_gy: float,
    *,
    quantity: str = EQD2,
    grid: Grid | None = None,
    max_voxels: int | None = None,
) -> Dose:
    """EQD2 or BED of a whole treatment: the physical doses of each course of fractions are
    resampled onto one grid (`grid`, by default their union) and added, then converted, weighted and
    added up.

    Raises what `convert` and `sum_doses` raise.
    """
    flags: tuple[str, ...] = ()
    if grid is None:
        grids = [dose.grid for delivery in deliveries for dose in delivery.doses]
        grid, flags = sum_grid(grids, max_voxels)

    def part(delivery: Delivery) -> Callable[[], Dose]:
        return lambda: convert(
            sum_doses(delivery.doses, grid=grid),
            delivery.fractions,
            alpha_beta_gy,
            quantity=quantity,
            ion=delivery.ion,
            comment=delivery.comment,
        )

    total = sum_doses(
        [LazyDose(grid, part(delivery)) for delivery in deliveries],
        [delivery.weight for delivery in deliveries],
        grid=grid,
    )
    return replace(total, flags=(*total.flags, *flags))


# -- which doses share their fractions


@dataclass(frozen=True)
class FractionCourse:
    """The dose objects that are given in the same fractions, of which plans, and their share."""

    sop_uids: tuple[str, ...]
    plan_uids: tuple[str, ...]
    fractions: int
    weight: float = 1.0


def fraction_courses(
    plans: Sequence[PlanFacts], doses: Sequence[DoseCandidate], decision: DoseDecision
) -> tuple[FractionCourse, ...]:
    """How a decided total falls into courses of fractions: one for each fraction group of each
    plan, concurrent plans together.

    Raises `DoseRefused` when it cannot be told: no decided total, a plan without numbers of
    fractions, a dose that holds several fraction groups or plans, concurrent plans of unlike
    fractions.
    """
    if decision.status != DECIDED or not decision.plan_weights:
        raise DoseRefused("EQD2 needs a decided total made of plans")
    known = {p.uid: p for p in plans}
    parts = {part.plan_uid: part for part in decision.parts}
    candidates = {d.sop_uid: d for d in doses}
    courses: list[FractionCourse] = []
    for uid, weight in decision.plan_weights.items():
        plan, part = known.get(uid), parts.get(uid)
        if plan is None or not plan.groups:
            raise DoseRefused(f"EQD2 needs the unknown number of fractions of plan {uid}")
        if part is None or not part.doses:
            raise DoseRefused(f"EQD2 needs the dose of {plan.name} alone, not inside a plan sum")
        own = [candidates[d.sop_uid] for d in part.doses]
        courses += _of_plan(plan, own, weight)
    return tuple(_merged(courses, plans))


def _of_plan(
    plan: PlanFacts, doses: Sequence[DoseCandidate], weight: float
) -> list[FractionCourse]:
    courses = []
    for group in plan.groups:
        own = doses if len(plan.groups) == 1 else [d for d in doses if _groups(d) == {group.number}]
        if not group.fractions:
            raise DoseRefused(f"fraction group {group.number} of {plan.name} has no fractions")
        if own:
            uids = tuple(d.sop_uid for d in own)
            courses.append(FractionCourse(uids, (plan.uid,), group.fractions, weight))
    if {uid for c in courses for uid in c.sop_uids} != {d.sop_uid for d in doses}:
        raise DoseRefused(
            f"one dose holds the {len(plan.groups)} fraction groups of {plan.name}; "
            "EQD2 needs one dose of each"
        )
    return courses


def _groups(dose: DoseCandidate) -> set[int | None]:
    return {part.group for part in dose.parts}


def _merged(courses: list[FractionCourse], plans: Sequence[PlanFacts]) -> list[FractionCourse]:
    """Courses of concurrent plans as one."""
    together = [
        {p.uid, other} for p in plans for other, kind in p.relations if kind == "CONCURRENT"
    ]
    merged: list[FractionCourse] = []
    for course in courses:
        mates = [
            m
            for m in merged
            if any(pair & {*course.plan_uids} and pair & {*m.plan_uids} for pair in together)
            and not {*m.plan_uids} & {*course.plan_uids}
        ]
        for mate in mates:
            if (mate.fractions, len(mates)) != (course.fractions, 1) or (
                abs(mate.weight - course.weight) > SAME_WEIGHT
            ):
                raise DoseRefused(
                    "EQD2 of concurrent plans with unlike numbers of fractions is not defined: "
                    "which doses share a fraction is not known"
                )
            merged.remove(mate)
            course = replace(
                course,
                sop_uids=mate.sop_uids + course.sop_uids,
                plan_uids=mate.plan_uids + course.plan_uids,
            )
        merged.append(course)
    return merged


def _check(fractions: int, alpha_beta_gy: float) -> None:
    if not fractions > 0 or not alpha_beta_gy > 0:
        raise ValueError(
            f"fractions and a/b must be positive, found {fractions} and {alpha_beta_gy} Gy"
        )


def _refuse(dose: Dose, ion: bool, comment: str) -> None:
    name = ", ".join(dose.sop_uids) or "the dose"
    if {EQD2, BED} & {*dose.flags} or is_biological(comment):
        raise DoseRefused(f"{name} is a biological dose (BED or EQD2) already")
    if dose.dose_type == "EFFECTIVE" and not ion:
        raise DoseRefused(
            f"{name} is EFFECTIVE, and nothing says that it is RBE-weighted; it may be BED already"
        )
    if dose.dose_type != "EFFECTIVE" and ion:
        raise DoseRefused(f"{name} is a PHYSICAL dose of ions without RBE; use the EFFECTIVE dose")
