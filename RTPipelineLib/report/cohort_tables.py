"""The curves and metrics of all courses, read from the cohort's tables in parts.

A thousand courses have a hundred million rows of curves; of them every fiftieth is kept, as a
whole number of 0.01 %.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..model import is_target
from .cohort_stats import Band, Box, Boxes, Point, band_of, box_of

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

STEP_GY = 0.5  # between the doses of a band; a multiple of the table's step
TABLE_STEP_GY = 0.01
# The metrics that are compared; the second ones say something of targets only.
OF_TARGETS = ("D95%_Gy", "V95%_%", "HI", "CI_Paddick")
METRICS = ("volume_cc", "Dmean_Gy", "D2%_Gy", *OF_TARGETS)
_FINE = 100  # parts of a percent

_NAME = ("source", "roi_number", "structure_set_uid")
_WHO = ("patient_id", "course_id")
_KEY = (*_WHO, "dose_source", *_NAME)
Who = tuple[str, str]


@dataclass(frozen=True)
class CourseDose:
    """Which dose is the course's, and where its page lies (empty: it has none)."""

    dose_source: str
    href: str = ""


@dataclass
class _Group:
    """The curves of one structure: each course's once."""

    rows: dict[Who, np.ndarray] = field(default_factory=dict)

    def add(self, who: Who, place: np.ndarray, percent: np.ndarray) -> None:
        """Some values of a course's curve, at these steps of dose."""
        known = self.rows.get(who)
        size = int(place.max()) + 1
        if known is None or len(known) < size:
            grown = np.zeros(size, dtype=np.uint16)
            if known is not None:
                grown[: len(known)] = known
            known = self.rows[who] = grown
        known[place] = np.rint(percent * _FINE)

    def curves(self) -> np.ndarray:
        """(courses, steps) in percent; 0 beyond the end of a curve."""
        longest = max(len(row) for row in self.rows.values()) + 1
        every = [np.pad(row, (0, longest - len(row))) for row in self.rows.values()]
        return np.stack(every).astype(np.float32) / _FINE


def read_metrics(
    path: Path, doses: Mapping[Who, CourseDose]
) -> tuple[tuple[Boxes, ...], dict[tuple, str]]:
    """The metrics of every standard name that several courses have, under the courses' own doses,
    and the standard name of every row by its key; empty where the table lacks the columns."""
    import pyarrow.parquet

    groups: dict[str, dict[tuple[str, str], dict[Who, Point]]] = {
        metric: defaultdict(dict) for metric in METRICS
    }
    names: dict[tuple, str] = {}
    with pyarrow.parquet.ParquetFile(path) as file:
        there = set(file.schema_arrow.names)
        if not {*_KEY, "roi_standard_name"} <= there:
            return (), {}
        metrics = [metric for metric in METRICS if metric in there]
        wanted = [*_KEY, "roi_standard_name", *metrics]
        for batch in file.iter_batches(batch_size=2_000, columns=wanted):
            for row in batch.to_pylist():
                who = row["patient_id"], row["course_id"]
                course, name = doses.get(who), row["roi_standard_name"]
                if course is None or course.dose_source != row["dose_source"] or not name:
                    continue
                names[tuple(row[column] for column in _KEY)] = name
                for metric in metrics:
                    value = row[metric]
                    if value is None or not isfinite(value):
                        continue
                    if metric not in OF_TARGETS or is_target(name, ""):
                        group = groups[metric][row["source"], name]
                        group.setdefault(who, Point(float(value), *who, course.href))
    boxes = [Boxes(metric, tuple(_boxes(found))) for metric, found in groups.items()]
    return tuple(item for item in boxes if item.boxes), names


def _boxes(found: Mapping[tuple[str, str], Mapping[Who, Point]]) -> list[Box]:
    boxes = [
        box_of(name, source, points.values())
        for (source, name), points in found.items()
        if len(points) > 1
    ]
    return sorted(boxes, key=lambda box: (box.name, box.source))


def read_bands(path: Path, names: Mapping[tuple, str]) -> tuple[Band, ...]:
    """The DVH bands of every standard name that several courses have; `names` says which curves
    belong to it. Of several structures of a course with one name and source the first counts."""
    import pyarrow.parquet

    groups: defaultdict[tuple[str, str], _Group] = defaultdict(_Group)
    first: dict[tuple, tuple] = {}
    columns = [*_KEY, "dose_gy", "volume_percent"]
    if not set(columns) <= set(pyarrow.parquet.read_schema(path).names):
        return ()
    pyarrow.default_memory_pool().release_unused()  # of the tables that were just written
    texts = [column for column in _KEY if column != "roi_number"]
    with pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as file:
        for key, place, percent in _curves(file, columns):
            name = names.get(key)
            if name is None:
                continue
            who, group = key[:2], (name, key[3])
            if first.setdefault((*group, *who), key) == key:
                groups[group].add(who, place, percent)
    bands = []
    several = {key: group for key, group in groups.items() if len(group.rows) > 1}
    for (name, source), group in sorted(several.items()):
        curves = group.curves()
        bands.append(band_of(name, source, STEP_GY * np.arange(curves.shape[1]), curves))
    return tuple(bands)


def _curves(
    file: pyarrow.parquet.ParquetFile, columns: list[str]
) -> Iterator[tuple[tuple, np.ndarray, np.ndarray]]:
    """The pieces of all curves of a table. One row group at a time: pyarrow's own batches keep the
    groups before them in memory."""
    for number in range(file.num_row_groups):
        group = file.read_row_group(number, columns=columns, use_threads=False)
        for batch in group.to_batches():
            yield from _runs(batch)


def _runs(batch: pyarrow.RecordBatch) -> list[tuple[tuple, np.ndarray, np.ndarray]]:
    """The curves of a part of the table: key, steps of dose and percent, thinned out."""
    every = round(STEP_GY / TABLE_STEP_GY)
    place = np.rint(batch["dose_gy"].to_numpy(zero_copy_only=False) / TABLE_STEP_GY)
    percent = batch["volume_percent"].to_numpy(zero_copy_only=False)
    kept = np.flatnonzero((place % every == 0) & np.isfinite(percent))
    if not kept.size:
        return []
    percent = percent[kept]
    steps = (place[kept] / every).astype(np.int64)
    keys = [_codes(batch[column], kept) for column in _KEY]
    changed = np.any([np.diff(codes) != 0 for codes, _ in keys], axis=0)
    starts = np.concatenate([[0], np.flatnonzero(changed) + 1, [len(kept)]])
    return [
        (tuple(values[codes[a]] for codes, values in keys), steps[a:b], percent[a:b])
        for a, b in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
    ]


def _codes(column: pyarrow.Array, kept: np.ndarray) -> tuple[np.ndarray, list]:
    """Codes of some rows of a column, and what each code stands for."""
    if not hasattr(column, "dictionary"):
        column = column.dictionary_encode()
    codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)[kept]
    return codes, [*column.dictionary.to_pylist(), None]
