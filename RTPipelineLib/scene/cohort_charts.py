"""Charts over a cohort: DVH band, box plot and scatter plot, whose points know their courses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from ..cohort.values import band_of_structure, points_of, values_of
from ..errors import DataError
from ..report.cohort_stats import SHARES, Band, box_of
from .plot_views import PlotClicks

LABELS = "Course"
NAME = "Cohort"
_BLUE, _GREY, _RED = (0.12, 0.4, 0.7), (0.5, 0.5, 0.5), (0.75, 0.15, 0.1)
_SPREAD = 0.16  # of the points beside a box


def show_band(out: Path, structure: str) -> slicer.vtkMRMLPlotChartNode:
    """Percentiles of the cumulative DVHs, or the curves themselves where courses are few. Raises
    `DataError` where fewer than two courses have the structure."""
    band = band_of_structure(out, structure)
    if band is None:
        raise DataError(f"fewer than two courses have a DVH of {structure}; choose another")
    chart = _chart(f"DVH of {structure}, {band.courses} courses", "Dose (Gy)", "Volume (%)")
    for number, (name, volume) in enumerate(zip(_names(band), band.volume_percent, strict=True)):
        middle = band.is_summary and SHARES[number] == 50
        _line(chart, name, band.dose_gy, volume, _BLUE if middle else _GREY, 3 if middle else 1)
    return _shown(chart)


def show_box(out: Path, structure: str, metric: str) -> slicer.vtkMRMLPlotChartNode:
    """Quartiles, whiskers and every course as a point. Raises `DataError` without values."""
    points = points_of(out, structure, metric)
    if not points:
        raise DataError(f"no course has {metric} of {structure}; choose another")
    chart = _chart(f"{metric} of {structure}, {len(points)} courses", "", metric)
    box = box_of(structure, "", points)
    if box.quartiles is not None and box.whiskers is not None:
        low, middle, high = box.quartiles
        _line(chart, "Quartiles", [1, 2, 2, 1, 1], [low, low, high, high, low], _BLUE, 2)
        _line(chart, "Median", [1, 2], [middle, middle], _BLUE, 3)
        for name, end, start in zip(("Low", "High"), box.whiskers, (low, high), strict=True):
            _line(chart, f"{name} whisker", [1.5, 1.5], [start, end], _BLUE, 1)
    beside = 1.5 + _SPREAD * np.cos(np.arange(len(points)) * 2.4)  # side by side, not in a row
    _points(chart, [(p.patient_id, p.course_id) for p in points], beside, [p.value for p in points])
    return _shown(chart)


def show_scatter(out: Path, structure: str, metric: str, other: str) -> slicer.vtkMRMLPlotChartNode:
    """One metric over another, a point a course. Raises `DataError` without values."""
    found = values_of(out, structure, (metric, other))
    if not found:
        raise DataError(f"no course has both {metric} and {other} of {structure}; choose another")
    chart = _chart(f"{structure}, {len(found)} courses", metric, other)
    x, y = np.array([values for _, values in found], dtype=np.float64).T
    _points(chart, [who for who, _ in found], x, y)
    return _shown(chart)


def watch(chosen: Callable[[str, str], None]) -> PlotClicks:
    """Call `chosen` with patient and course of a point that is clicked in a plot view, until the
    result is told to stop."""

    def tell(series_id: str, index: int) -> None:
        found = course_of_point(series_id, index)
        if found is not None:
            chosen(*found)

    return PlotClicks(tell)


def course_of_point(series_id: str, index: int) -> tuple[str, str] | None:
    """Patient and course that a point of a series stands for; None for those of a box or band."""
    series = slicer.mrmlScene.GetNodeByID(series_id)
    table = series.GetTableNode() if series is not None else None
    labels = table.GetTable().GetColumnByName(LABELS) if table is not None else None
    if labels is None:
        return None
    patient, _, course = labels.GetValue(index).rpartition(" / ")
    return patient, course


def _names(band: Band) -> list[str]:
    if band.is_summary:
        return [f"{share} % of the courses" for share in SHARES]
    return [f"Course {n + 1}" for n in range(len(band.volume_percent))]


def _chart(title: str, x: str, y: str) -> slicer.vtkMRMLPlotChartNode:
    """The one chart of the cohort, emptied: a new plot takes the place of the last."""
    scene = slicer.mrmlScene
    chart = scene.GetFirstNodeByName(NAME)
    if chart is None:
        chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", NAME)
    for number in reversed(range(chart.GetNumberOfPlotSeriesNodes())):
        series = chart.GetNthPlotSeriesNode(number)
        table = series.GetTableNode()
        scene.RemoveNode(series)
        scene.RemoveNode(table)
    chart.RemoveAllPlotSeriesNodeIDs()
    chart.SetTitle(title)
    chart.SetXAxisTitle(x)
    chart.SetYAxisTitle(y)
    return chart


def _line(
    chart: slicer.vtkMRMLPlotChartNode,
    name: str,
    x: Sequence[float],
    y: Sequence[float],
    colour: tuple[float, float, float],
    width: float,
) -> None:
    series = _series(chart, name, x, y)
    series.SetColor(*colour)
    series.SetLineWidth(width)
    series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)


def _points(
    chart: slicer.vtkMRMLPlotChartNode,
    who: Sequence[tuple[str, str]],
    x: Sequence[float],
    y: Sequence[float],
) -> None:
    series = _series(chart, "Courses", x, y)
    labels = vtk.vtkStringArray()
    labels.SetName(LABELS)
    for patient, course in who:
        labels.InsertNextValue(f"{patient} / {course}")
    series.GetTableNode().AddColumn(labels)
    series.SetLabelColumnName(LABELS)
    series.SetColor(*_RED)
    series.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleNone)
    series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
    series.SetMarkerSize(8)


def _series(
    chart: slicer.vtkMRMLPlotChartNode, name: str, x: Sequence[float], y: Sequence[float]
) -> slicer.vtkMRMLPlotSeriesNode:
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", f"{NAME} {name}")
    for column, values in (("x", x), ("y", y)):
        array = numpy_to_vtk(np.asarray(values, dtype=np.float64).copy(), deep=True)
        array.SetName(column)
        table.AddColumn(array)
    series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName("x")
    series.SetYColumnName("y")
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return series


def _shown(chart: slicer.vtkMRMLPlotChartNode) -> slicer.vtkMRMLPlotChartNode:
    """Into the plot views of the layout."""
    logic = slicer.app.applicationLogic().GetSelectionNode()
    if logic is not None:
        logic.SetActivePlotChartID(chart.GetID())
        slicer.app.applicationLogic().PropagatePlotChartSelection()
    return chart
