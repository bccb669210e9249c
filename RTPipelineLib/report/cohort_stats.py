"""What the courses of a cohort have in common: curves and metrics by standard name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

ENOUGH = 5  # values from which on quartiles are drawn; fewer are shown one by one
SHARES = (5, 25, 50, 75, 95)  # percentiles of the courses
FENCE = 1.5  # interquartile ranges beyond the quartiles (Tukey 1977): values beyond are outliers


class Point(NamedTuple):
    """The value of one course: whose it is, and the path of the course's page (empty: none)."""

    value: float
    patient_id: str
    course_id: str
    href: str = ""

    @property
    def name(self) -> str:
        """Whose value it is."""
        return f"{self.patient_id} / {self.course_id}"


@dataclass(frozen=True, eq=False)
class Band:
    """The cumulative DVHs of one structure over the cohort.

    `dose_gy` (n,) ascends; `volume_percent` (5, n) holds the percentiles `SHARES` of the courses at
    each dose, or (courses, n) the courses' own curves where there are fewer than `ENOUGH`.
    """

    name: str
    source: str
    courses: int
    dose_gy: np.ndarray
    volume_percent: np.ndarray

    @property
    def is_summary(self) -> bool:
        """True when percentiles are drawn."""
        return self.courses >= ENOUGH


@dataclass(frozen=True)
class Box:
    """A metric of one structure over the cohort: quartiles, the lowest and highest value within the
    fences, and the points beyond them; all points and no quartiles where these are few."""

    name: str
    source: str
    count: int
    quartiles: tuple[float, float, float] | None
    whiskers: tuple[float, float] | None
    points: tuple[Point, ...]


class Boxes(NamedTuple):
    """One metric for all structures; `column` is its column in `dvh_metrics`."""

    column: str
    boxes: tuple[Box, ...]


def band_of(name: str, source: str, dose_gy: np.ndarray, curves: np.ndarray) -> Band:
    """The band of some courses' curves (courses, n), in percent, at these doses."""
    few = len(curves) < ENOUGH
    volume = curves if few else np.percentile(curves, SHARES, axis=0)
    last = int(np.flatnonzero(volume.max(axis=0) > 0).max(initial=0)) + 2
    return Band(name, source, len(curves), dose_gy[:last], volume[:, :last])


def box_of(name: str, source: str, points: Iterable[Point]) -> Box:
    """Quartiles by linear interpolation (NumPy's default, type 7 of Hyndman and Fan 1996)."""
    ordered = sorted(points)
    if len(ordered) < ENOUGH:
        return Box(name, source, len(ordered), None, None, tuple(ordered))
    values = np.array([point.value for point in ordered])
    low, middle, high = (float(v) for v in np.percentile(values, [25, 50, 75]))
    reach = FENCE * (high - low)
    inside = values[(values >= low - reach) & (values <= high + reach)]
    outliers = tuple(p for p in ordered if not low - reach <= p.value <= high + reach)
    whiskers = float(inside.min()), float(inside.max())
    return Box(name, source, len(ordered), (low, middle, high), whiskers, outliers)


def outliers_of(metrics: Sequence[Boxes]) -> list[tuple[str, Box, Point]]:
    """Every outlier with its metric's column and its box."""
    return [
        (column, box, point)
        for column, boxes in metrics
        for box in boxes
        if box.quartiles is not None
        for point in box.points
    ]
