"""One DVH of several structures that do not overlap, such as both lungs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..model import DVH
from .histogram import DoseHistogram


def merge_dvhs(name: str, dvhs: Sequence[DVH]) -> DVH:
    """The DVH of the union of disjoint structures under the same dose.

    Volumes add; flags are joined, settings kept where all agree. Means of structures with unknown
    dose stay unknown.
    """
    parts = [dvh for dvh in dvhs if dvh.known_cc > 0]
    low = min((float(dvh.dose_gy[0]) for dvh in parts), default=0.0)
    high = max((float(dvh.dose_gy[-1]) for dvh in parts), default=0.0)
    histogram = DoseHistogram(low, high)
    for dvh in parts:
        dose, width = (dvh.dose_gy[1:] + dvh.dose_gy[:-1]) / 2, np.diff(dvh.dose_gy)
        histogram.add(dose, width, -np.diff(dvh.at_least_cc))
    dose_gy, at_least_cc = histogram.curve()
    cc = sum(dvh.known_cc for dvh in parts)
    mean = sum(dvh.known_cc * dvh.mean_gy for dvh in parts) / cc if parts else math.nan
    square = sum(dvh.known_cc * (dvh.std_gy**2 + dvh.mean_gy**2) for dvh in parts)
    variance = square / cc - mean**2 if parts else math.nan
    settings = {dvh.settings for dvh in dvhs}
    return DVH(
        name=name,
        volume_cc=sum(dvh.volume_cc for dvh in dvhs),
        covered_cc=sum(dvh.covered_cc for dvh in dvhs),
        dose_gy=dose_gy,
        at_least_cc=at_least_cc,
        mean_gy=mean,
        std_gy=math.sqrt(max(variance, 0.0)) if math.isfinite(variance) else math.nan,
        min_gy=min((dvh.min_gy for dvh in parts), default=math.nan),
        max_gy=max((dvh.max_gy for dvh in parts), default=math.nan),
        flags=tuple(dict.fromkeys(flag for dvh in dvhs for flag in dvh.flags)),
        settings=settings.pop() if len(settings) == 1 else None,
    )
