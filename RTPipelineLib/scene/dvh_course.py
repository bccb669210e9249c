"""The DVHs of a shown course, computed here and now, with what Slicer ships."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import slicer

from ..dvh.engine import compute_dvh
from ..dvh.metrics import metric_row
from ..errors import DataError
from ..model import DVH
from . import hierarchy
from .display import Shown
from .dvhs import add_dvhs, add_metrics

Row = dict[str, object]


def dvhs_of(
    shown: Shown, number: int = 0, progress: Callable[[str], None] = lambda text: None
) -> tuple[list[DVH], list[Row]]:
    """DVH and metrics of every structure of the course under its dose `number`.

    Raises `DataError` when the course has no such dose.
    """
    if not 0 <= number < len(shown.doses_gy):
        raise DataError(f"course {shown.course.course_id} has no dose to compute DVHs from")
    dose = shown.doses_gy[number]
    dvhs, rows = [], []
    for name, structures in shown.structures.items():
        for structure in structures:
            progress(f"DVH {structure.name}")
            dvh = compute_dvh(structure, dose)
            dvhs.append(dvh)
            rows.append(
                {
                    "source": structure.source,
                    "structure_set": name,
                    "roi_name": structure.name,
                    "volume_cc": dvh.volume_cc,
                    "dose_coverage_percent": dvh.dose_coverage_percent,
                    **metric_row(dvh),
                    "flags": ";".join(dvh.flags),
                }
            )
    return dvhs, rows


def show_dvhs(
    shown: Shown, dvhs: list[DVH], rows: list[Row], number: int = 0
) -> tuple[slicer.vtkMRMLPlotChartNode, slicer.vtkMRMLTableNode]:
    """A chart and a table of metrics beside the course's other nodes, instead of earlier ones."""
    _remove_dvhs(shown)
    name = f"DVH {shown.doses[number].GetName()}"
    colours = {
        s.name: s.colour_rgb for found in shown.structures.values() for s in found if s.colour_rgb
    }
    sets = [str(row["structure_set"]) for row in rows]
    chart = add_dvhs(dvhs, name, colours, sets)
    table = add_metrics(rows, f"{name} metrics")
    series = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
    curves = [series[0].GetTableNode()] if series else []
    for node in (chart, table, *curves, *series):
        hierarchy.place(node, shown.item)
    return chart, table


def _remove_dvhs(shown: Shown) -> None:
    """Charts, metrics and curves of the course, those of edits too."""
    for kind in ("vtkMRMLPlotChartNode", "vtkMRMLPlotSeriesNode", "vtkMRMLTableNode"):
        for node in hierarchy.nodes_of(shown.item, kind):
            slicer.mrmlScene.RemoveNode(node)


def write_csv(path: str | Path, rows: list[Row]) -> None:
    """The metrics as CSV; unknown values stay empty. Raises `OSError` when that fails."""
    with Path(path).open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
