"""Isodose levels as a person writes them: Gy, cGy, or percent of a dose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import slicer

from ..errors import UsageError
from ..stages.facts import read_facts
from . import hierarchy
from .display import Shown
from .isodoses import add_isodoses

GY, CGY, PERCENT = UNITS = ("Gy", "cGy", "%")


@dataclass(frozen=True)
class Level:
    """One isodose: its dose in Gy and its name in the unit that was chosen."""

    gy: float
    name: str


def levels_of(text: str, unit: str, of_gy: float = 0.0) -> list[Level]:
    """The levels of a text such as `95, 80 50`, the highest first; `of_gy` is 100 % of the unit %.

    Raises `UsageError` for what is no number above 0, and for percent of no dose.
    """
    factor = gy_per(unit, of_gy)
    values = {_number(word) for word in text.replace(",", " ").replace(";", " ").split()}
    if not values:
        raise UsageError("write at least one isodose level, such as 95 80 50")
    return [Level(value * factor, f"{value:g} {unit}") for value in sorted(values, reverse=True)]


def gy_per(unit: str, of_gy: float = 0.0) -> float:
    """How many Gy one of the unit is. Raises `UsageError` for percent of no dose."""
    if unit not in UNITS:
        raise UsageError(f"{unit!r} is no unit of isodoses; one of {', '.join(UNITS)}")
    if unit == PERCENT and not of_gy > 0:
        raise UsageError("percent of what dose? Say which dose in Gy is 100 %")
    return {GY: 1.0, CGY: 0.01, PERCENT: of_gy / 100}[unit]


def usual_whole_gy(shown: Shown) -> float:
    """The highest level of the prescription that the pipeline found; where there is none, the
    highest dose."""
    facts = read_facts(shown.course.folder, "dose/dose.json")
    levels = (facts.get("prescription") or {}).get("levels") or ()
    highest = float(shown.doses_gy[0].array_gy.max())
    return max((float(level["dose_gy"]) for level in levels), default=highest)


def show_isodoses(shown: Shown, levels: Sequence[Level], number: int = 0) -> list[Level]:
    """Draw these isodoses of the dose `number` instead of those that are drawn; the levels that the
    dose does not reach."""
    for model in shown.isodoses:
        slicer.mrmlScene.RemoveNode(model)
    dose = shown.doses[number]
    shown.isodoses, missed = [], []
    for level in levels:
        models = add_isodoses(dose, [level.gy])
        for model in models:
            model.SetName(f"{dose.GetName()} {level.name}")
            hierarchy.place(model, shown.item)
        shown.isodoses += models
        missed += [] if models else [level]
    return missed


def _number(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise UsageError(f"{word!r} is no isodose level; write numbers above 0, such as 95 80 50")
    return value
