"""Checks that need the whole cohort."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from .model import ERROR, WARNING, Finding, Limits, Row

VOLUME_OUTLIER = "volume-outlier"
FILES = "files"
# The cohort's checks with what they are about and what they read.
COHORT_CHECKS: Mapping[str, tuple[str, str]] = {
    VOLUME_OUTLIER: ("volumes that stand apart in the cohort", "results/dvh_metrics"),
    FILES: ("files that cannot be read or contradict each other", "index.sqlite"),
}
# The median absolute deviation of a normal distribution, in standard deviations.
_MAD = 0.6745
# Spread of log volume that is taken for none: drawing alone gives 5 %.
_LEAST_SPREAD = 0.05


class Volume(NamedTuple):
    """The volume of one structure of a course."""

    patient_id: str
    course_id: str
    source: str
    roi_name: str
    standard_name: str
    volume_cc: float


def volume_outliers(volumes: Iterable[Volume], limits: Limits) -> Iterator[tuple[Volume, Finding]]:
    """Organs whose volume is far from the cohort's, by the modified z-score of the logarithm
    (Iglewicz and Hoaglin 1993: 0.6745 (x - median) / MAD, beyond 3.5).

    Only standard names that enough courses have are judged; targets differ by nature.
    """
    groups: defaultdict[tuple[str, str], list[Volume]] = defaultdict(list)
    for volume in volumes:
        if volume.standard_name and volume.volume_cc > 0 and math.isfinite(volume.volume_cc):
            groups[volume.source, volume.standard_name].append(volume)
    for group in groups.values():
        if len({(v.patient_id, v.course_id) for v in group}) < limits.min_courses:
            continue
        logs = np.log([v.volume_cc for v in group])
        middle = float(np.median(logs))
        spread = max(float(np.median(np.abs(logs - middle))), _LEAST_SPREAD * _MAD)
        for volume, z in zip(group, _MAD * (logs - middle) / spread, strict=True):
            if abs(z) > limits.volume_z:
                yield (
                    volume,
                    Finding(
                        WARNING,
                        f"{volume.roi_name}: {volume.volume_cc:.4g} cc, where the median of "
                        f"{len(group)} courses is {math.exp(middle):.4g} cc (z-score {z:+.1f}, "
                        f"limit {limits.volume_z:g}): is it complete, and the right organ?",
                        volume.roi_name,
                        volume.source,
                    ),
                )


def unreadable_files(failures: Iterable[Row]) -> Iterator[Finding]:
    """Files that the index could not use."""
    for row in failures:
        if row["stage"] == "index":
            yield Finding(ERROR, f"{row['file']}: {row['error']}", str(row["file"]))
