"""Isodose levels as a person writes them: Gy, cGy, or percent of a dose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import slicer

from ..errors import UsageError
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
    if unit not in UNITS:
        raise UsageError(f"{unit!r} is no unit of isodoses; one of {', '.join(UNITS)}")
    if unit == PERCENT and not of_gy > 0:
        raise UsageError("percent of what dose? Say which dose in Gy is 100 %")
    factor = {GY: 1.0, CGY: 0.01, PERCENT: of_gy / 100}[unit]
    values = {_number(word) for word in text.replace(",", " ").replace(";", " ").split()}
    if not values:
        raise UsageError("write at least one isodose level, such as 95 80 50")
    return [Level(value * factor, f"{value:g} {unit}") for value in sorted(values, reverse=True)]


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
