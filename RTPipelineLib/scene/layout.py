"""How a course is laid out: three slices and 3D above, the chart and the table below; or every
source of structures in a view of its own."""

from __future__ import annotations

import slicer

from .display import Shown

LAYOUT_ID, BESIDE_ID = 7911, 7912  # of no layout that Slicer or an extension in its index registers
A_ROW = 3  # views of sources beside each other
_SLICE = """<item><view class="vtkMRMLSliceNode" singletontag="{tag}">
<property name="orientation" action="default">{orientation}</property>
<property name="viewlabel" action="default">{label}</property>
<property name="viewcolor" action="default">{colour}</property></view></item>"""
_OTHER = """<item><view class="{kind}" singletontag="{tag}">
<property name="viewlabel" action="default">{label}</property></view></item>"""


def layout_xml() -> str:
    """The layout in the words of Slicer's layout manager."""
    slices = [
        _SLICE.format(tag=tag, label=tag[0], orientation=orientation, colour=colour)
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


def beside_xml(number: int) -> str:
    """Axial views in rows, for Slicer's layout manager."""
    views = [
        _SLICE.format(tag=_tag(n), label=n + 1, orientation="Axial", colour="#F34A33")
        for n in range(number)
    ]
    rows = ("".join(views[first : first + A_ROW]) for first in range(0, number, A_ROW))
    items = (f'<item><layout type="horizontal">{row}</layout></item>' for row in rows)
    return f'<layout type="vertical">{"".join(items)}</layout>'


def show_layout(
    chart: slicer.vtkMRMLPlotChartNode | None = None,
    table: slicer.vtkMRMLTableNode | None = None,
    shown: Shown | None = None,
) -> bool:
    """Switch to the layout, put the chart and the table into it and the sources of `shown` over
    each other; False without views."""
    if not _switch(LAYOUT_ID, layout_xml()):
        return False
    for node in shown.segmentations.values() if shown is not None else ():
        node.GetDisplayNode().RemoveAllViewNodeIDs()
    selection = slicer.app.applicationLogic().GetSelectionNode()
    if chart is not None:
        selection.SetActivePlotChartID(chart.GetID())
        slicer.app.applicationLogic().PropagatePlotChartSelection()
    if table is not None:
        selection.SetActiveTableID(table.GetID())
        slicer.app.applicationLogic().PropagateTableSelection()
    return True


def show_beside(shown: Shown, opacity: float = 0.4) -> bool:
    """Every source of structures in an axial view of its own, all linked, over the same image and
    dose, at the place of the first axial view; False without views."""
    sources = list(shown.segmentations.values())
    place = _offset()
    if not _switch(BESIDE_ID, beside_xml(len(sources))):
        return False
    image, dose = (nodes[0] if nodes else None for nodes in (shown.images, shown.doses))
    for number, node in enumerate(sources):
        view = slicer.mrmlScene.GetSingletonNode(_tag(number), "vtkMRMLSliceNode")
        view.SetLayoutLabel(node.GetName())
        display = node.GetDisplayNode()
        display.RemoveAllViewNodeIDs()
        display.AddViewNodeID(view.GetID())
        display.SetVisibility(True)
        logic = slicer.app.applicationLogic().GetSliceLogic(view)
        layers = logic.GetSliceCompositeNode()
        layers.SetLinkedControl(False)  # else every step below is taken in the other views too
        layers.SetBackgroundVolumeID(image.GetID() if image is not None else None)
        layers.SetForegroundVolumeID(dose.GetID() if dose is not None else None)
        layers.SetForegroundOpacity(opacity)
        logic.FitSliceToAll()
        if place is not None:
            logic.SetSliceOffset(place)
        layers.SetLinkedControl(True)
        layers.SetHotLinkedControl(True)
    return True


def _switch(number: int, xml: str) -> bool:
    """Show a layout; False without views."""
    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if node is None:
        return False
    if not node.IsLayoutDescription(number):
        node.AddLayoutDescription(number, xml)
    elif node.GetLayoutDescription(number) != xml:
        node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutInitialView)
        node.SetLayoutDescription(number, xml)
    node.SetViewArrangement(number)
    return True


def _offset() -> float | None:
    """Where the first axial view stands, mm along its normal."""
    red = slicer.mrmlScene.GetSingletonNode("Red", "vtkMRMLSliceNode")
    logic = slicer.app.applicationLogic().GetSliceLogic(red) if red is not None else None
    return logic.GetSliceOffset() if logic is not None else None


def _tag(number: int) -> str:
    return f"RTPipelineSource{number + 1}"
