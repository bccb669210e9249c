"""How a course is laid out: three slices and 3D above, the chart and the table below; and the
legends of its dose."""

from __future__ import annotations

import slicer

LAYOUT_ID = 7911  # of no layout that Slicer or an extension in its index registers
_SLICE = """<item><view class="vtkMRMLSliceNode" singletontag="{tag}">
<property name="orientation" action="default">{orientation}</property>
<property name="viewlabel" action="default">{tag[0]}</property>
<property name="viewcolor" action="default">{colour}</property></view></item>"""
_OTHER = """<item><view class="{kind}" singletontag="{tag}">
<property name="viewlabel" action="default">{label}</property></view></item>"""


def layout_xml() -> str:
    """The layout in the words of Slicer's layout manager."""
    slices = [
        _SLICE.format(tag=tag, orientation=orientation, colour=colour)
        for tag, orientation, colour in (
            ("Red", "Axial", "#F34A33"),
            ("Green", "Coronal", "#6EB04B"),
            ("Yellow", "Sagittal", "#EDD54C"),
        )
    ]
    three_d = _OTHER.format(kind="vtkMRMLViewNode", tag="1", label="1")
    chart = _OTHER.format(kind="vtkMRMLPlotViewNode", tag="RTPipelineDvh", label="DVH")
    table = _OTHER.format(kind="vtkMRMLTableViewNode", tag="RTPipelineMetrics", label="M")
    upper = f'<item><layout type="horizontal">{"".join(slices)}{three_d}</layout></item>'
    lower = f'<item><layout type="horizontal">{chart}{table}</layout></item>'
    return f'<layout type="vertical" split="true">{upper}{lower}</layout>'


def show_layout(
    chart: slicer.vtkMRMLPlotChartNode | None = None,
    table: slicer.vtkMRMLTableNode | None = None,
) -> bool:
    """Switch to the layout and put the chart and the table into it; False without views."""
    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if node is None:
        return False
    if not node.IsLayoutDescription(LAYOUT_ID):
        node.AddLayoutDescription(LAYOUT_ID, layout_xml())
    node.SetViewArrangement(LAYOUT_ID)
    selection = slicer.app.applicationLogic().GetSelectionNode()
    if chart is not None:
        selection.SetActivePlotChartID(chart.GetID())
        slicer.app.applicationLogic().PropagatePlotChartSelection()
    if table is not None:
        selection.SetActiveTableID(table.GetID())
        slicer.app.applicationLogic().PropagateTableSelection()
    return True


def show_legend(
    dose: slicer.vtkMRMLScalarVolumeNode,
) -> slicer.vtkMRMLColorLegendDisplayNode:
    """A colour legend of the dose wash, in Gy; made once."""
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(dose)
    if legend is None:
        legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(dose)
    legend.SetTitleText("Dose (Gy)")
    legend.SetLabelFormat("%.1f")
    legend.SetNumberOfLabels(5)
    legend.SetVisibility(True)
    return legend
