"""The user's clinical goals: a YAML list, read with the line of everything that is wrong in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from .reading import read_section
from .section import METRIC, PositiveInt, Section, Text, check_metric, nearest

# Metrics of a whole structure, which have no number of their own.
WHOLE_METRICS = ("Dmean[Gy]", "Dmin[Gy]", "Dmax[Gy]", "gEUD[Gy]")
INDICES = ("HI", "CI_RTOG", "CI_Paddick", "GI", "R50")


def _goal_metric(text: str) -> str:
    known = (*WHOLE_METRICS, *INDICES)
    if text in known:
        return text
    close = nearest(text, [*known, *(name.partition("[")[0] for name in WHOLE_METRICS)])
    if close and not METRIC.fullmatch(text) and not any(c.isdigit() for c in text):
        full = next(name for name in known if name.startswith(close))
        raise ValueError(f"{text!r} is not a metric of goals; did you mean {full}?")
    return check_metric(text)


class ClinicalGoal(Section):
    """One goal: a limit on one DVH metric of one structure."""

    structure: Text = Field(description="standard name or ROI name, exact but for case")
    metric: Annotated[str, AfterValidator(_goal_metric)] = Field(
        description="by AAPM TG-263 with the unit of the result, or Dmean[Gy], Dmin[Gy], Dmax[Gy], "
        "gEUD[Gy], HI, CI_RTOG, CI_Paddick, GI, R50"
    )
    operator: Literal["<", "<=", ">", ">="] = Field(description="how the metric compares to limit")
    limit: Annotated[float, Field(ge=0)] = Field(description="in the unit of the metric")
    tolerance: Annotated[float, Field(ge=0)] | None = Field(
        None, description="the outermost value that is still tolerable"
    )
    priority: PositiveInt | None = Field(None, description="1 is the most important")
    source: str = Field("", description="who says so: publication and year, or protocol")

    @model_validator(mode="after")
    def _tolerance_is_lenient(self) -> ClinicalGoal:
        upper = self.operator.startswith("<")
        tolerance = self.limit if self.tolerance is None else self.tolerance
        if tolerance < self.limit if upper else tolerance > self.limit:
            raise ValueError(
                f"the tolerance {tolerance:g} is stricter than the limit {self.limit:g}; it is the "
                "outermost value that is tolerable, not a margin"
            )
        return self


def _not_empty(goals: tuple[ClinicalGoal, ...]) -> tuple[ClinicalGoal, ...]:
    if not goals:
        raise ValueError("there is no goal in the list")
    return goals


class GoalFile(Section):
    """A file of clinical goals: a list, or the same list under the key `goals`."""

    goals: Annotated[tuple[ClinicalGoal, ...], AfterValidator(_not_empty)] = Field(
        description="goals, each with structure, metric, operator, limit, and on request "
        "tolerance, priority, source"
    )


def read_goals(path: Path) -> tuple[ClinicalGoal, ...]:
    """The goals of a YAML file.

    Raises `ConfigError` with one line for everything that is wrong in it, as `load_config` does.
    """
    return read_section(Path(path), GoalFile, list_key="goals").goals
