"""Clinical goals of the configuration, for the stage `dvh`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.goals import read_goals
from ..dvh.goals import Goal, GoalSubject, evaluate_goals

if TYPE_CHECKING:
    import pandas

    from .evaluation import Evaluated


def goals_frame(path: Path, results: Iterable[Evaluated], ids: dict[str, str]) -> pandas.DataFrame:
    """Every goal of the file under every dose, a row each, as the table `goals` has them.

    Raises `ConfigError` when the file is wrong.
    """
    from ..report.tables import rows_frame

    goals = [Goal(**goal.model_dump()) for goal in read_goals(path)]
    subjects = [GoalSubject(result.row, result.dvh) for result in results]
    rows = [{**ids, **result.row()} for result in evaluate_goals(goals, subjects)]
    frame = rows_frame(rows, "goals")
    numbers = ["limit", "tolerance", "value", "priority", "roi_number"]
    return frame.astype(dict.fromkeys(numbers, float))
