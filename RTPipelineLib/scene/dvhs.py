"""DVHs as one table, plot series and a chart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from ..model import DVH
from ..segmentation.terms import colour_of
from . import hierarchy

DOSE_COLUMN = "Dose (Gy)"
# Points of a curve in the scene; the tables of the library keep every step.
POINTS = 500

# On a series: the row of the metrics that it belongs to.
ROI, STRUCTURE_SET = "RTPipeline.RoiName", "RTPipeline.StructureSet"

Colours = Mapping[str, tuple[int, int, int]]


def add_dvhs(
    dvhs: Sequence[DVH],
    name: str,
    colours: Colours | None = None,
    structure_sets: Sequence[str] = (),
) -> slicer.vtkMRMLPlotChartNode:
    """A chart of cumulative DVHs, relative volume over Gy, with its series and their table.

    ROIs without numbers (no volume, outside the dose) have no curve. `colours` (0..255) by ROI.
    ROIs of the same name are told apart by their `structure_sets`, one for each DVH.
    """
    sets = structure_sets or [""] * len(dvhs)
    every = zip(dvhs, sets, strict=True)
    drawn = [(dvh, of) for dvh, of in every if dvh.volume_cc > 0 and len(dvh.dose_gy)]
    many = {name for name, count in Counter(dvh.name for dvh, _ in drawn).items() if count > 1}
    highest = max((float(dvh.dose_gy[-1]) for dvh, _ in drawn), default=1.0)
    dose_gy = np.linspace(0.0, highest, POINTS)
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", f"{name} curves")
    chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", name)
    chart.SetTitle(name)
    chart.SetXAxisTitle(DOSE_COLUMN)
    chart.SetYAxisTitle("Volume (%)")
    _add_column(table, DOSE_COLUMN, dose_gy)
    for number, (dvh, of) in enumerate(drawn):
        column = _unique(table, f"{dvh.name} ({of})" if of and dvh.name in many else dvh.name)
        _add_column(table, column, percent_at(dvh, dose_gy))
        series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", column)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName(DOSE_COLUMN)
        series.SetYColumnName(column)
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
        series.SetAttribute(ROI, dvh.name)
        series.SetAttribute(STRUCTURE_SET, of)
        colour = (colours or {}).get(dvh.name) or colour_of(number)
        series.SetColor(*(part / 255 for part in colour))
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return chart


def show_edited(
    chart: slicer.vtkMRMLPlotChartNode,
    table: slicer.vtkMRMLTableNode,
    dvh: DVH,
    row: Mapping[str, object],
    colour: tuple[int, int, int] | None = None,
) -> slicer.vtkMRMLPlotSeriesNode:
    """The DVH of an edited structure: a dashed curve beside the one of its original, and its row at
    the end of the table; both replace what an earlier edit left."""
    name = f"{dvh.name} ({row['source']})"
    series = _series_of(chart, name) or _new_series(chart, name)
    curve = dvh.curve()
    points = series.GetTableNode()
    points.RemoveAllColumns()
    _add_column(points, DOSE_COLUMN, curve.dose_gy)
    _add_column(points, name, curve.volume_percent)
    series.SetAttribute(ROI, dvh.name)
    series.SetAttribute(STRUCTURE_SET, str(row["structure_set"]))
    series.SetXColumnName(DOSE_COLUMN)
    series.SetYColumnName(name)
    series.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleDash)
    series.SetColor(*(part / 255 for part in colour or colour_of(0)))
    _put_row(table, row)
    return series


def add_curve(
    chart: slicer.vtkMRMLPlotChartNode,
    name: str,
    roi: str,
    dose_gy: np.ndarray,
    percent: np.ndarray,
    line_style: int,
) -> slicer.vtkMRMLPlotSeriesNode:
    """One more curve of a ROI, in the colour of its first."""
    series = _series_of(chart, name) or _new_series(chart, name)
    points = series.GetTableNode()
    points.RemoveAllColumns()
    _add_column(points, DOSE_COLUMN, dose_gy)
    _add_column(points, name, percent)
    series.SetXColumnName(DOSE_COLUMN)
    series.SetYColumnName(name)
    series.SetLineStyle(line_style)
    own = next((one for one in _series(chart) if one.GetAttribute(ROI) == roi), None)
    series.SetColor(*(own.GetColor() if own is not None else (0.5, 0.5, 0.5)))
    series.SetAttribute(ROI, roi)
    return series


def _series(chart: slicer.vtkMRMLPlotChartNode) -> list[slicer.vtkMRMLPlotSeriesNode]:
    found = (chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes()))
    return [series for series in found if series is not None]


def _series_of(
    chart: slicer.vtkMRMLPlotChartNode, name: str
) -> slicer.vtkMRMLPlotSeriesNode | None:
    return next((series for series in _series(chart) if series.GetName() == name), None)


def _new_series(chart: slicer.vtkMRMLPlotChartNode, name: str) -> slicer.vtkMRMLPlotSeriesNode:
    series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", f"{name} curve")
    series.SetAndObserveTableNodeID(points.GetID())
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    for node in (points, series):
        hierarchy.place_beside(node, chart)
    return series


def _put_row(table: slicer.vtkMRMLTableNode, row: Mapping[str, object]) -> None:
    """Over the row of the same source, set and ROI, or as a new one."""
    keys = ("source", "structure_set", "roi_name")
    number = next(
        (
            n
            for n in range(table.GetNumberOfRows())
            if all(_text(table, n, key) == row[key] for key in keys)
        ),
        None,
    )
    if number is None:
        number = table.AddEmptyRow()
    for column in range(table.GetNumberOfColumns()):
        table.SetCellText(number, column, _cell(row.get(table.GetColumnName(column))))


def _text(table: slicer.vtkMRMLTableNode, row: int, column: str) -> str:
    return table.GetCellText(row, table.GetColumnIndex(column))


def add_metrics(rows: Sequence[Mapping[str, object]], name: str) -> slicer.vtkMRMLTableNode:
    """A table of one row a ROI; columns as the first row has them."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetAttribute("RTPipeline.Metrics", "1")
    for column in rows[0] if rows else ():
        values = vtk.vtkStringArray()
        values.SetName(column)
        for row in rows:
            values.InsertNextValue(_cell(row.get(column)))
        node.AddColumn(values)
    return node


def row_of_curve(
    table: slicer.vtkMRMLTableNode, series: slicer.vtkMRMLPlotSeriesNode
) -> int | None:
    """The row of the metrics with the ROI of a curve, of its structure set where the curve has one;
    None when there is none."""
    roi, of = series.GetAttribute(ROI), series.GetAttribute(STRUCTURE_SET)
    for row in range(table.GetNumberOfRows()):
        if _text(table, row, "roi_name") == roi and of in (
            None,
            "",
            _text(table, row, "structure_set"),
        ):
            return row
    return None


def percent_at(dvh: DVH, dose_gy: np.ndarray) -> np.ndarray:
    """Percent of the ROI that receives at least each of these doses."""
    curve = dvh.curve()
    return np.interp(dose_gy, curve.dose_gy, curve.volume_percent, right=0.0)


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _unique(table: slicer.vtkMRMLTableNode, name: str) -> str:
    taken = {table.GetColumnName(n) for n in range(table.GetNumberOfColumns())}
    names = [name, *(f"{name} ({n})" for n in range(2, len(taken) + 3))]
    return next(each for each in names if each not in taken)


def _add_column(table: slicer.vtkMRMLTableNode, name: str, values: np.ndarray) -> None:
    array = numpy_to_vtk(np.ascontiguousarray(values, dtype=np.float64), deep=True)
    array.SetName(name)
    table.AddColumn(array)
