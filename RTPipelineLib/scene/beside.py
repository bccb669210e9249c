"""What the pipeline has computed of a course besides its DVHs: the planning system's curves, bands
of uncertainty and clinical goals. Read from the course's own files, with the packages of tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import slicer

from .dvhs import add_curve

TPS_CURVES, CURVES, GOALS = "dvh/tps_curves.parquet", "dvh/curves.parquet", "dvh/goals.parquet"
LOW, HIGH = "volume_percent_low", "volume_percent_high"
SIGNS = {"pass": "\N{CHECK MARK}", "tolerable": "~", "fail": "\N{MULTIPLICATION X}"}


class GoalLine(NamedTuple):
    """A clinical goal in words, its `result` (pass, tolerable, fail or not evaluable) and a sign
    for it, so that nobody depends on colours."""

    structure: str
    goal: str
    value: str
    result: str
    sign: str
    reason: str


def add_planning_curves(
    chart: slicer.vtkMRMLPlotChartNode, folder: Path
) -> list[slicer.vtkMRMLPlotSeriesNode]:
    """Dotted curves that the planning system stored; none where it stored none."""
    dotted = slicer.vtkMRMLPlotSeriesNode.LineStyleDot
    return [
        add_curve(chart, f"{name} (planning system)", roi, dose, percent, dotted)
        for name, roi, dose, percent in _curves(folder / TPS_CURVES, "volume_percent")
    ]


def add_bands(
    chart: slicer.vtkMRMLPlotChartNode, folder: Path
) -> list[slicer.vtkMRMLPlotSeriesNode]:
    """Thin lines at both ends of every band; none where no uncertainty was configured."""
    thin = slicer.vtkMRMLPlotSeriesNode.LineStyleDashDot
    return [
        add_curve(chart, f"{name} ({word})", roi, dose, percent, thin)
        for column, word in ((LOW, "low"), (HIGH, "high"))
        for name, roi, dose, percent in _curves(folder / CURVES, column)
    ]


def goal_lines(folder: Path) -> list[GoalLine]:
    """The goals of a course, failed ones first; none where none are configured."""
    order = ("fail", "tolerable", "not evaluable", "pass")
    found = [_line(row) for row in _rows(folder / GOALS)]
    return sorted(found, key=lambda line: order.index(line.result) if line.result in order else 2)


def _line(row: dict) -> GoalLine:
    unit = "" if row["unit"] in (None, "1") else f" {row['unit']}"
    value = row["value"]
    said = "" if value is None or not np.isfinite(value) else f"{value:.2f}{unit}"
    result = str(row["result"])
    return GoalLine(
        str(row["roi_name"] or row["structure"]),
        f"{row['metric']} {row['operator']} {row['limit']:g}{unit}",
        said,
        result,
        SIGNS.get(result, "?"),
        str(row["reason"] or ""),
    )


def _curves(path: Path, column: str) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """(name, ROI, doses, percent) of every curve, under the dose that comes first in the file; the
    name has the source where ROIs of several have the same."""
    rows = _rows(path, ["roi_name", "source", "roi_number", "dose_source", "dose_gy", column])
    found: dict[tuple, list[tuple[float, float]]] = {}
    dose_source = rows[0]["dose_source"] if rows else ""
    for row in rows:
        if row["dose_source"] == dose_source and row[column] is not None:
            key = (row["roi_name"], row["source"], row["roi_number"])
            found.setdefault(key, []).append((row["dose_gy"], row[column]))
    sources: dict[str, set[str]] = {}
    for roi, source, _ in found:
        sources.setdefault(roi, set()).add(source)
    for (roi, source, _), points in found.items():
        dose, percent = np.array(points, dtype=np.float64).T
        name = f"{roi} ({source})" if len(sources[roi]) > 1 else str(roi)
        yield name, str(roi), dose, percent


def _rows(path: Path, columns: list[str] | None = None) -> list[dict]:
    import pyarrow.parquet

    if not path.is_file():
        return []
    there = set(pyarrow.parquet.read_schema(path).names)
    if columns is not None and not set(columns) <= there:
        return []
    return pyarrow.parquet.read_table(path, columns=columns).to_pylist()
