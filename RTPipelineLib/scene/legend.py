"""The legend of the dose wash, in the unit of the isodoses."""

from __future__ import annotations

import slicer
import vtk

from . import hierarchy
from .display import Shown
from .levels import PERCENT, gy_per
from .volumes import dose_colours

_KIND = "RTPipeline.DoseLegend"


def show_legend(
    shown: Shown, unit: str, of_gy: float = 0.0
) -> slicer.vtkMRMLColorLegendDisplayNode:
    """A legend of the colours of the first dose; `of_gy` is 100 % of the unit %.

    Slicer's legends have the numbers of the volume, Gy; this one hangs on an empty model with the
    same colours, whose range is in the unit. Raises `UsageError` for percent of no dose.
    """
    low, high = (gy / gy_per(unit, of_gy) for gy in _range_gy(shown.doses[0]))
    node = _node(shown) or _add_node(shown)
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(dose_colours().GetID())
    display.SetScalarRangeFlag(slicer.vtkMRMLDisplayNode.UseManualScalarRange)
    display.SetScalarRange(low, high)
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node)
    if legend is None:
        legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(node)
    legend.SetTitleText(f"Dose (% of {of_gy:g} Gy)" if unit == PERCENT else f"Dose ({unit})")
    legend.SetLabelFormat("%.0f" if high > 20 else "%.1f")
    legend.SetNumberOfLabels(6)
    legend.SetVisibility(True)
    return legend


def hide_legend(shown: Shown) -> None:
    """Take the legend out of the scene."""
    node = _node(shown)
    if node is not None:
        slicer.mrmlScene.RemoveNode(slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node))
        slicer.mrmlScene.RemoveNode(node)


def _range_gy(dose: slicer.vtkMRMLScalarVolumeNode) -> tuple[float, float]:
    display = dose.GetDisplayNode()
    return display.GetWindowLevelMin(), display.GetWindowLevelMax()


def _node(shown: Shown) -> slicer.vtkMRMLModelNode | None:
    found = hierarchy.nodes_of(shown.item, "vtkMRMLModelNode")
    return next((node for node in found if node.GetAttribute(_KIND)), None)


def _add_node(shown: Shown) -> slicer.vtkMRMLModelNode:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "Dose legend")
    node.SetAndObservePolyData(vtk.vtkPolyData())
    node.SetAttribute(_KIND, "1")
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetScalarVisibility(True)
    display.SetVisibility2D(True)
    hierarchy.place(node, shown.item)
    return node
