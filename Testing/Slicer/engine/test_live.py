"""Edits in the scene and their DVHs; where the views jump to."""

from __future__ import annotations

import time

import numpy as np
import pytest
import slicer
import vtk

from RTPipelineLib.dvh.engine import compute_dvh
from RTPipelineLib.errors import DataError, UsageError
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Contours, Dose, Mask, Volume
from RTPipelineLib.scene.dvh_course import dvhs_of, show_dvhs
from RTPipelineLib.scene.dvhs import show_edited
from RTPipelineLib.scene.layout import BESIDE_ID, LAYOUT_ID, show_beside, show_layout
from RTPipelineLib.scene.legend import hide_legend, show_legend
from RTPipelineLib.scene.live import LiveDvhs
from RTPipelineLib.scene.places import jump, place_of
from RTPipelineLib.scene.plot_views import PlotClicks
from RTPipelineLib.scene.segmentations import add_segmentation, mask_of, masks_of
from RTPipelineLib.scene.volumes import add_volume

AGAIN_S = 1.0  # the promise of the module: an edit is answered within a second


def grid_of_shape(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Grid:
    return Grid(np.array([-250.0, -250.0, -200.0]), np.eye(3), np.array(spacing), shape)


def edit(node, name: str, change) -> str:
    """Change the voxels of a segment as an effect of the Segment Editor does."""
    key = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    array = slicer.util.arrayFromSegmentBinaryLabelmap(node, key)
    change(array)
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, key)
    return key


def test_only_the_edited_segment_is_computed_and_as_the_library_does(shown) -> None:
    (node,) = shown.segmentations.values()
    dvhs, rows = dvhs_of(shown)
    chart, table = show_dvhs(shown, dvhs, rows)
    live = LiveDvhs(node, shown.doses_gy[0])
    assert not live.is_behind and live.refresh() == []
    key = edit(node, "PTV_54", lambda a: a[: len(a) // 2].fill(0))
    assert live.is_behind
    ((dvh, row),) = live.refresh()
    again = compute_dvh(mask_of(node, key), shown.doses_gy[0])
    assert (dvh.name, dvh.mean_gy, dvh.volume_cc) == ("PTV_54", again.mean_gy, again.volume_cc)
    assert row["source"] == "edited" and set(row) == set(rows[0])
    assert live.refresh() == []
    curves, lines = chart.GetNumberOfPlotSeriesNodes(), table.GetNumberOfRows()
    for _ in range(2):  # a second edit replaces the first
        series = show_edited(chart, table, dvh, row)
        assert chart.GetNumberOfPlotSeriesNodes() == curves + 1
        assert table.GetNumberOfRows() == lines + 1
    volume = slicer.util.arrayFromTableColumn(series.GetTableNode(), series.GetYColumnName())
    assert volume[0] == pytest.approx(100) and len(volume) == len(dvh.curve().dose_gy)
    assert float(table.GetCellText(lines, table.GetColumnIndex("Dmean_Gy"))) == pytest.approx(
        dvh.mean_gy, abs=0.005
    )
    live.stop()
    live.stop()
    edit(node, "GTV", lambda a: a.fill(0))
    assert not live.is_behind


def test_a_new_colour_or_an_erased_segment_gives_no_dvh(shown) -> None:
    (node,) = shown.segmentations.values()
    live = LiveDvhs(node, shown.doses_gy[0])
    segment = node.GetSegmentation().GetNthSegment(0)
    segment.SetColor(0.1, 0.2, 0.3)
    segment.SetName("renamed")
    assert live.refresh() == []
    edit(node, "GTV", lambda a: a.fill(0))
    assert live.refresh() == []
    slicer.mrmlScene.RemoveNode(node)
    with pytest.raises(DataError, match="no longer in the scene"):
        live.refresh()


def test_a_dvh_is_there_within_a_second_on_512_512_150(scene) -> None:
    """The best of three: another program on the machine is not the module's fault."""
    grid = grid_of_shape((150, 512, 512), (0.977, 0.977, 3.0))
    k, j, i = np.ogrid[:150, :512, :512]
    body = ((i - 256) / 200) ** 2 + ((j - 256) / 130) ** 2 + ((k - 75) / 74) ** 2 < 1
    ptv = ((i - 256) / 60) ** 2 + ((j - 256) / 60) ** 2 + ((k - 75) / 25) ** 2 < 1
    masks = [Mask("BODY", body, grid, number=1), Mask("PTV", ptv, grid, number=2)]
    image = add_volume(Volume(np.zeros(grid.shape, np.int16), grid, unit="HU"), "CT")
    node = add_segmentation(masks, grid, "s", source="clinical", reference=image)
    coarse = grid_of_shape((150, 200, 200), (2.5, 2.5, 3.0))
    rising = np.linspace(0, 60, 150 * 200 * 200, dtype=np.float32)
    dose = Dose(rising.reshape(coarse.shape), coarse)
    live, times = LiveDvhs(node, dose), []
    for size in (1, 2, 3):
        edit(node, "PTV", lambda a, size=size: a[74:76, 256 : 256 + size, :].fill(0))
        start = time.perf_counter()
        assert [dvh.name for dvh, _ in live.refresh()] == ["PTV"]
        times.append(time.perf_counter() - start)
    print(f"DVH of an edited segment, 512 x 512 x 150: {min(times):.2f} s")
    assert min(times) < AGAIN_S


def test_places_of_a_ball_in_a_rising_dose(scene) -> None:
    """The dose rises along x: the hot spot is the ball's end at high x, the cold one the other."""
    grid = Grid(np.array([-20.0, -20.0, -20.0]), np.eye(3), np.ones(3), (41, 41, 41))
    k, j, i = np.indices(grid.shape) - 20
    ball = Mask("ball", (k**2 + j**2 + i**2) <= 100, grid)
    dose = Dose((i + 21).astype(np.float32), grid)
    assert np.allclose(place_of(ball, dose, "centre"), 0)
    assert np.allclose(place_of(ball, dose, "hot"), (10, 0, 0))
    assert np.allclose(place_of(ball, dose, "cold"), (-10, 0, 0))
    assert np.allclose(place_of(ball, None, "centre"), 0)
    with pytest.raises(DataError, match="no dose"):
        place_of(ball, None, "hot")
    with pytest.raises(DataError, match="no contour"):
        place_of(Contours.from_loops("nothing", []), None, "centre")


def test_the_slices_go_where_they_are_sent(shown) -> None:
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    roi = next(r for r in next(iter(shown.structures.values())) if r.name == "GTV")
    point = place_of(roi, shown.doses_gy[0], "centre")
    jump(point)
    centre = [red.GetSliceToRAS().GetElement(row, 3) for row in range(3)]
    assert np.allclose(centre, point * (-1, -1, 1), atol=1e-3)
    inside = {m.name: m for m in masks_of(next(iter(shown.segmentations.values())))}["GTV"]
    low, high = inside.grid.corners_mm(edges=True).min(0), inside.grid.corners_mm(edges=True).max(0)
    assert (low <= point).all() and (point <= high).all()


def views_of(layout, number: int) -> list[str]:
    import xml.etree.ElementTree as ET

    description = layout.GetLayoutDescription(number)
    return [v.get("class") for v in ET.fromstring(description).iter("view")]


def test_the_layout_has_every_view_and_shows_the_chart(shown) -> None:
    manager = slicer.app.layoutManager()
    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    chart, table = show_dvhs(shown, *dvhs_of(shown))
    assert show_layout(chart, table, shown)
    assert manager.layout == layout.GetViewArrangement() == LAYOUT_ID
    assert views_of(layout, LAYOUT_ID) == ["vtkMRMLSliceNode"] * 3 + [
        "vtkMRMLViewNode",
        "vtkMRMLPlotViewNode",
        "vtkMRMLTableViewNode",
    ]
    assert manager.sliceViewNames() == ["Red", "Green", "Yellow"] and manager.plotViewCount == 1
    assert manager.plotWidget(0).mrmlPlotViewNode().GetPlotChartNodeID() == chart.GetID()
    table_view = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLTableViewNode")
    assert table_view.GetTableNodeID() == table.GetID()


def test_each_source_has_a_view_of_its_own_at_the_same_place(shown) -> None:
    """Five sources (more than a row) of the same contours, then two, then over each other again."""
    (name,) = shown.segmentations
    grid = shown.doses_gy[0].grid
    for number in range(4):
        node = add_segmentation(shown.structures[name], grid, f"source {number}", source="edited")
        shown.segmentations[node.GetName()] = node
    assert show_layout(shown=shown)
    applogic = slicer.app.applicationLogic()
    red = slicer.mrmlScene.GetSingletonNode("Red", "vtkMRMLSliceNode")
    middle = place_of(shown.structures[name][0], shown.doses_gy[0], "centre")
    jump(middle)
    assert show_beside(shown, 0.3)
    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    assert views_of(layout, BESIDE_ID) == ["vtkMRMLSliceNode"] * 5
    names = slicer.app.layoutManager().sliceViewNames()
    views = [slicer.mrmlScene.GetSingletonNode(n, "vtkMRMLSliceNode") for n in names]
    for view, (source, node) in zip(views, shown.segmentations.items(), strict=True):
        display, logic = node.GetDisplayNode(), applogic.GetSliceLogic(view)
        assert view.GetLayoutLabel() == source and view.GetOrientation() == "Axial"
        assert [v for v in views if display.IsDisplayableInView(v.GetID())] == [view]
        layers = logic.GetSliceCompositeNode()
        assert layers.GetForegroundVolumeID() == shown.doses[0].GetID()
        assert layers.GetForegroundOpacity() == pytest.approx(0.3) and layers.GetLinkedControl()
        assert logic.GetSliceOffset() == pytest.approx(middle[2], abs=1e-3)
    for source in list(shown.segmentations)[2:]:
        slicer.mrmlScene.RemoveNode(shown.segmentations.pop(source))
    assert show_beside(shown) and views_of(layout, BESIDE_ID) == ["vtkMRMLSliceNode"] * 2
    assert show_layout(shown=shown)
    assert shown.segmentations[name].GetDisplayNode().IsDisplayableInView(red.GetID())


@pytest.mark.parametrize(
    ("unit", "whole", "factor", "title"),
    [
        ("Gy", 0.0, 1.0, "Dose (Gy)"),
        ("cGy", 0.0, 100.0, "Dose (cGy)"),
        ("%", 54.0, 100 / 54, "Dose (% of 54 Gy)"),
    ],
)
def test_the_legend_is_in_the_unit_that_was_chosen(shown, unit, whole, factor, title) -> None:
    highest = float(shown.doses_gy[0].array_gy.max())
    legend = show_legend(shown, "Gy")
    assert show_legend(shown, unit, whole) is legend and legend.GetTitleText() == title
    low, high = legend.GetPrimaryDisplayNode().GetScalarRange()
    assert low == 0 and high == pytest.approx(highest * factor, rel=1e-6)
    hide_legend(shown)
    hide_legend(shown)
    assert not slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode")
    with pytest.raises(UsageError, match="percent of what dose"):
        show_legend(shown, "%", 0.0)


def click_on(view, series, index: int) -> None:
    """What Slicer's plot view emits when a point of a series is clicked."""
    ids, indices, points = vtk.vtkStringArray(), vtk.vtkIdTypeArray(), vtk.vtkCollection()
    ids.InsertNextValue(series.GetID())
    indices.InsertNextValue(index)
    points.AddItem(indices)
    view.dataSelected.emit(ids, points)


def test_clicks_on_points_are_heeded_in_later_views_too_and_then_no_more(shown) -> None:
    chart, table = show_dvhs(shown, *dvhs_of(shown))
    told = []
    clicks = PlotClicks(lambda series, index: told.append((series, index)))
    show_layout(chart, table)
    clicks.watch()
    clicks.watch()
    view = slicer.app.layoutManager().plotWidget(0).plotView()
    series = chart.GetNthPlotSeriesNode(1)
    click_on(view, series, 7)
    assert told == [(series.GetID(), 7)]
    clicks.stop()
    clicks.stop()
    click_on(view, series, 7)
    assert len(told) == 1
