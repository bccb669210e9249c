"""Clinical goals: what was asked of a structure's dose, and whether it was reached.

A goal is a limit on one DVH metric of one structure. Where part of a structure lies outside the
dose grid its metrics are lower bounds: such a value can break an upper limit and can reach a lower
one, but it never shows that a structure was spared.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..model import DVH
from .metrics import parse_metric

Operator = Literal["<", "<=", ">", ">="]
Verdict = Literal["pass", "tolerable", "fail", "not evaluable"]
PASS, TOLERABLE, FAIL, NOT_EVALUABLE = "pass", "tolerable", "fail", "not evaluable"

# Metrics of a whole structure, by the column of the metrics table that holds them.
WHOLE = {
    "Dmean[Gy]": "Dmean_Gy",
    "Dmin[Gy]": "Dmin_Gy",
    "Dmax[Gy]": "Dmax_Gy",
    "gEUD[Gy]": "gEUD_Gy",
    "HI": "HI",
    "CI_RTOG": "CI_RTOG",
    "CI_Paddick": "CI_Paddick",
    "GI": "GI",
    "R50": "R50",
}
_RELATIVE = {"CI_RTOG", "CI_Paddick", "GI", "R50"}

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Goal:
    """One goal: `metric` (`D95%[Gy]`, `V20Gy[%]`, `Dmean[Gy]` ..) of `structure` (standard name or
    ROI name) `operator` `limit`.

    `tolerance` is the outermost value that is still tolerable, in the metric's unit. `priority` is
    1 for the most important. Raises `ValueError` for a metric that does not exist and for a
    tolerance that is stricter than the limit.
    """

    structure: str
    metric: str
    operator: Operator
    limit: float
    tolerance: float | None = None
    priority: int | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if self.metric not in WHOLE:
            parse_metric(self.metric)
        if self.operator not in _COMPARE:
            raise ValueError(f"{self.operator!r} is no operator; one of {', '.join(_COMPARE)}")
        tolerance = self.limit if self.tolerance is None else self.tolerance
        if tolerance < self.limit if self.is_upper else tolerance > self.limit:
            raise ValueError(
                f"the tolerance {tolerance:g} is stricter than the limit {self.limit:g}; it is "
                "the outermost value that is tolerable"
            )

    @property
    def is_upper(self) -> bool:
        """True when the metric has to stay below the limit."""
        return self.operator.startswith("<")

    @property
    def unit(self) -> str:
        """Unit of the metric: Gy, %, cc, or 1 for an index."""
        if self.metric in WHOLE:
            return "Gy" if self.metric.endswith("[Gy]") else "1"
        return parse_metric(self.metric).result

    def reached(self, value: float) -> Verdict:
        """What this value of the metric means."""
        compare = _COMPARE[self.operator]
        if compare(value, self.limit):
            return PASS
        if self.tolerance is not None and _COMPARE[self.operator[0] + "="](value, self.tolerance):
            return TOLERABLE
        return FAIL


@dataclass(frozen=True, eq=False)
class GoalSubject:
    """One structure under one dose, as goals see it.

    `row` is its row of metrics (it names the structure, the dose and `rx_gy`), `dvh` its DVH, None
    where there is none.
    """

    row: Mapping[str, object]
    dvh: DVH | None

    @property
    def names(self) -> set[str]:
        """The names that a goal may call it by, without regard to case."""
        names = (self.row.get("roi_standard_name"), self.row.get("roi_name"))
        return {_folded(str(name)) for name in names if name}


@dataclass(frozen=True, eq=False)
class GoalResult:
    """A goal and what became of it for one structure (None: no structure has that name) under one
    dose.

    `value` is None where the metric is not known; `reason` says why a goal is not evaluable, and
    what else to know about the verdict.
    """

    goal: Goal
    subject: GoalSubject | None
    dose_source: str
    value: float | None
    verdict: Verdict
    reason: str = ""

    def row(self) -> dict[str, object]:
        """The result as a row of the table `goals`."""
        about = self.subject.row if self.subject else {}
        keys = ("source", "roi_number", "roi_name", "roi_standard_name", "structure_set_uid")
        return {
            **{key: about.get(key) for key in keys},
            "dose_source": self.dose_source,
            "structure": self.goal.structure,
            "metric": self.goal.metric,
            "operator": self.goal.operator,
            "limit": self.goal.limit,
            "tolerance": self.goal.tolerance,
            "unit": self.goal.unit,
            "priority": self.goal.priority,
            "goal_source": self.goal.source,
            "value": self.value,
            "result": self.verdict,
            "reason": self.reason,
        }


def evaluate_goals(goals: Iterable[Goal], subjects: Sequence[GoalSubject]) -> list[GoalResult]:
    """Every goal under every dose: one result for each structure whose standard name or ROI name is
    the goal's (case aside, never a guess), or one that says that there is none."""
    doses = dict.fromkeys(str(subject.row.get("dose_source") or "") for subject in subjects)
    results = []
    for goal in goals:
        wanted = _folded(goal.structure)
        found = [subject for subject in subjects if wanted in subject.names]
        for dose in doses or [""]:
            here = [s for s in found if str(s.row.get("dose_source") or "") == dose]
            if not here:
                reason = f"no structure is named {goal.structure!r}"
                results.append(GoalResult(goal, None, dose, None, NOT_EVALUABLE, reason))
            note = f"one of {len(here)} structures of this name" if len(here) > 1 else ""
            results += [_evaluate(goal, subject, dose, note) for subject in here]
    return results


def _evaluate(goal: Goal, subject: GoalSubject, dose: str, note: str) -> GoalResult:
    def result(value: float | None, verdict: Verdict, reason: str = "") -> GoalResult:
        reasons = "; ".join(filter(None, (reason, note)))
        return GoalResult(goal, subject, dose, value, verdict, reasons)

    dvh = subject.dvh
    if dvh is None:
        return result(None, NOT_EVALUABLE, "there is no DVH of the structure")
    if not dvh.volume_cc > 0:
        return result(None, NOT_EVALUABLE, "the structure is empty")
    rx_gy = _number(subject.row.get("rx_gy"))
    relative = goal.metric in _RELATIVE or (
        goal.metric not in WHOLE and parse_metric(goal.metric).is_relative
    )
    if relative and not (rx_gy and rx_gy > 0):
        return result(None, NOT_EVALUABLE, "the prescription is not known")
    value = _value(goal, subject, dvh, rx_gy)
    if value is None:
        return result(None, NOT_EVALUABLE, _why_unknown(goal, dvh))
    if dvh.is_partial:
        verdict, reason = _of_lower_bound(goal, dvh, value)
        return result(value, verdict, reason)
    return result(value, goal.reached(value))


def _value(goal: Goal, subject: GoalSubject, dvh: DVH, rx_gy: float | None) -> float | None:
    if goal.metric in WHOLE:
        return _number(subject.row.get(WHOLE[goal.metric]))
    return _number(parse_metric(goal.metric).value(dvh, rx_gy))


def _why_unknown(goal: Goal, dvh: DVH) -> str:
    if dvh.is_partial:
        return f"{_covered(dvh)}; {goal.metric} cannot be known"
    metric = None if goal.metric in WHOLE else parse_metric(goal.metric)
    if metric and metric.unit == "cc" and float(metric.number) > dvh.reference_cc:
        return f"the structure has {dvh.reference_cc:.3g} cc, less than {metric.number} cc"
    if goal.metric == "gEUD[Gy]":
        return "no exponent is configured for the structure (dvh.geud_a)"
    if goal.metric in _RELATIVE:
        return "only targets have this index, and only while the isodose stays inside the dose grid"
    return f"{goal.metric} is not defined for this structure"


def _of_lower_bound(goal: Goal, dvh: DVH, value: float) -> tuple[Verdict, str]:
    """The verdict on a metric that the part outside the dose grid can only raise."""
    bound = f"{_covered(dvh)}, so the value is a lower bound"
    verdict = goal.reached(value)
    if goal.metric in WHOLE and goal.metric != "Dmax[Gy]":
        return NOT_EVALUABLE, f"{_covered(dvh)}; {goal.metric} holds for the covered part only"
    if goal.is_upper:
        return (FAIL, bound) if verdict == FAIL else (NOT_EVALUABLE, bound)
    if verdict == PASS:
        return PASS, bound
    most = goal.reached(_at_most(goal, dvh, value))
    return (FAIL if most == FAIL else NOT_EVALUABLE), bound


def _at_most(goal: Goal, dvh: DVH, value: float) -> float:
    """The metric if all volume of unknown dose counted: known for volumes, not for doses."""
    if goal.metric in WHOLE or parse_metric(goal.metric).kind not in ("V", "CV"):
        return math.inf
    unknown_cc = dvh.reference_cc - dvh.known_cc
    return value + (unknown_cc if goal.unit == "cc" else 100 * unknown_cc / dvh.reference_cc)


def _covered(dvh: DVH) -> str:
    return f"{100 * dvh.known_cc / dvh.reference_cc:.1f} % of the structure has a known dose"


def _number(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def _folded(name: str) -> str:
    return name.strip().casefold()
