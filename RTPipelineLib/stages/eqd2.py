"""Doses in 2 Gy fractions: grids beside the physical ones, and columns beside theirs.

What is given in the same fractions is settled with the dose (`eqd2_facts`), and read back for the
DVHs, where each structure has its own a/b.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from ..config import Config
from ..dose.eqd2 import FractionCourse, fraction_courses
from ..dose.facts import DoseCandidate, PlanFacts
from ..dose.select import DECIDED, DoseDecision
from ..dvh.engine import DvhOptions, compute_dvh
from ..dvh.metrics import MetricSettings, metric_row
from ..errors import DataError
from ..model import Contours, Mask
from . import Problem, Task
from .course_doses import CourseDoses
from .naming import by_name

if TYPE_CHECKING:
    from .dose import Source
    from .evaluation import Evaluated

NOT_POSSIBLE = "eqd2-not-possible"
ALPHA_BETA_COLUMN = "EQD2_alpha_beta_Gy"


def eqd2_facts(
    task: Task,
    doses: CourseDoses,
    source: Source,
    plans: Sequence[PlanFacts],
    candidates: Sequence[DoseCandidate],
    decision: DoseDecision,
    problems: list[Problem],
) -> dict[str, object]:
    """How a source falls into courses of fractions, for the DVHs; the total's grids are written for
    the a/b of targets and of everything else.

    Where it cannot be converted the facts say why, as does a problem.
    """
    from .dose import TOTAL, write_grid

    is_total = source.role == TOTAL
    try:
        own = decision if is_total else _alone(source, decision)
        courses = fraction_courses(plans, candidates, own)
        keys = task.config.dose.eqd2.alpha_beta
        for alpha_beta in sorted({keys.target, keys.other}) if is_total else ():
            grid = doses.eqd2(courses, alpha_beta)
            write_grid(task.output / f"eqd2_{alpha_beta:g}.nrrd", grid)
    except DataError as error:
        problems.append(Problem(source.name, "warning", f"no EQD2 of {source.name}: {error}"))
        return {"eqd2": {"courses": [], "problem": str(error)}}
    return {"eqd2": {"courses": [asdict(item) for item in courses], "problem": ""}}


def with_eqd2(
    task: Task,
    entry: Mapping[str, object],
    results: Sequence[Evaluated],
    options: DvhOptions,
    problems: list[Problem],
) -> list[Evaluated]:
    """The rows of one source with `EQD2_<metric>_Gy` of every metric in Gy, each structure by its
    own a/b, which stands beside them. Empty with the flag `eqd2-not-possible` where the fractions
    are not known or the dose cannot be converted."""
    facts = entry.get("eqd2") or {}
    courses = [_course(item) for item in facts.get("courses") or ()]
    doses = CourseDoses.of(task)
    by_ratio: dict[float, list[int]] = {}
    for number, result in enumerate(results):
        by_ratio.setdefault(alpha_beta_of(result.roi, task.config), []).append(number)
    found = list(results)
    for ratio, members in by_ratio.items():
        try:
            dose = doses.eqd2(courses, ratio) if courses else None
        except DataError as error:
            problems.append(Problem(str(entry["name"]), "warning", f"no EQD2: {error}"))
            dose = None
        for number in members:
            result = results[number]
            if dose is None:
                flags = [*filter(None, str(result.row["flags"]).split(";")), NOT_POSSIBLE]
                row = {**result.row, ALPHA_BETA_COLUMN: None, "flags": ";".join(flags)}
            elif result.dvh is None:
                row = {**result.row, ALPHA_BETA_COLUMN: ratio}
            else:
                dvh = compute_dvh(result.roi, dose, options)
                settings = MetricSettings((), (), task.config.dvh.metrics)
                values = metric_row(dvh, replace(settings, geud_a=_geud(result.roi, task.config)))
                row = {**result.row, ALPHA_BETA_COLUMN: ratio}
                row |= {f"EQD2_{name}": v for name, v in values.items() if _is_dose(name)}
            found[number] = replace(result, row=row)
    return found


def alpha_beta_of(roi: Contours | Mask, config: Config) -> float:
    """The a/b in Gy of a structure: its own by name, else that of targets or of everything else."""
    keys = config.dose.eqd2.alpha_beta
    own = by_name(keys.structures, roi)
    return own if own is not None else keys.target if roi.is_target else keys.other


def _is_dose(column: str) -> bool:
    return column.endswith("_Gy")


def _geud(roi: Contours | Mask, config: Config) -> float | None:
    return by_name(config.dvh.geud_a, roi)


def _alone(source: Source, decision: DoseDecision) -> DoseDecision:
    """The decision as if one plan were the whole course."""
    uid = source.plan_uids[0]
    parts = tuple(part for part in decision.parts if part.plan_uid == uid)
    return DoseDecision(DECIDED, parts, source.doses, {uid: 1.0})


def _course(item: Mapping[str, object]) -> FractionCourse:
    return FractionCourse(
        tuple(item["sop_uids"]), tuple(item["plan_uids"]), item["fractions"], item["weight"]
    )
