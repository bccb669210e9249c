"""Slice and 3D views of a course, drawn off screen by Slicer's own displayable managers.

With RTPIPELINE_PICTURES=FOLDER the pictures of the README are written there.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import slicer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(os.environ.get("RTPIPELINE_PICTURES") or tmp_path)


def test_slice_shows_dose_and_contours(shown, folder: Path) -> None:
    from Testing.Slicer.standin.views import SliceView

    view = SliceView(slicer.mrmlScene, slicer.app.applicationLogic(), "Red", "Axial", (600, 450))
    view.set_layers(shown.images[0])
    target = next(r for r in shown.structures[next(iter(shown.structures))] if r.name == "GTV")
    view.offset(float(target.points_mm[:, 2].mean()))
    plain = view.array()
    view.set_layers(shown.images[0], shown.doses[0], fg_opacity=0.5)
    view.offset(float(target.points_mm[:, 2].mean()))
    picture = view.array().astype(int)
    view.png(folder / "slicer-axial.png")
    spread = picture.max(axis=2) - picture.min(axis=2)
    assert (spread > 120).sum() > 500  # colours over the grey image
    assert np.abs(picture - plain).max() > 100
    red, blue = picture[..., 0], picture[..., 2]
    assert ((red > 200) & (blue < 110)).sum() > 30  # the high dose
    assert (blue > red + 60).sum() > 300  # the low dose


def test_3d_shows_structures_and_isodoses(shown, folder: Path) -> None:
    from Testing.Slicer.standin.views import ThreeDView

    (node,) = shown.segmentations.values()
    assert node.CreateClosedSurfaceRepresentation()
    display = node.GetDisplayNode()
    for name in ("BODY", "Lungs-GTV"):
        key = node.GetSegmentation().GetSegmentIdBySegmentName(name)
        display.SetSegmentOpacity3D(key, 0.15)
    view = ThreeDView(slicer.mrmlScene, slicer.app.applicationLogic(), "1", (600, 450))
    view.render()
    view.reset()
    camera = view.renderer.GetActiveCamera()
    focus = np.array(camera.GetFocalPoint())
    distance = camera.GetDistance()
    camera.SetPosition(*(focus + distance * np.array([0.45, 0.8, 0.25])))  # from the front: +A
    camera.SetViewUp(0, 0, 1)
    view.renderer.ResetCameraClippingRange()
    picture = view.array().astype(int)
    view.png(folder / "slicer-3d.png")
    spread = picture.max(axis=2) - picture.min(axis=2)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 500
    assert (spread > 60).sum() > 1000


def test_legend_and_isodoses_in_the_slice(shown, folder: Path) -> None:
    """The legend stands beside the dose."""
    from RTPipelineLib.scene.legend import show_legend
    from RTPipelineLib.scene.levels import levels_of, show_isodoses
    from RTPipelineLib.scene.places import jump, place_of
    from Testing.Slicer.standin.views import SliceView

    view = SliceView(slicer.mrmlScene, slicer.app.applicationLogic(), "Legend", "Axial", (600, 450))
    view.set_layers(shown.images[0], shown.doses[0], fg_opacity=0.4)
    target = next(r for r in shown.structures[next(iter(shown.structures))] if r.name == "PTV_54")
    jump(place_of(target, shown.doses_gy[0], "hot"))
    plain = view.array().astype(int)
    show_legend(shown, "%", 54.0)
    assert show_isodoses(shown, levels_of("95 80 50", "%", 54.0)) == []
    picture = view.array().astype(int)
    view.png(folder / "slicer-legend.png")
    assert (np.abs(picture - plain).max(axis=2) > 60)[:, 450:].sum() > 300  # the legend, right


def test_sources_beside_each_other(shown, folder: Path) -> None:
    """The same place, image and dose twice; the PTV of the second source is 6 mm wider."""
    from RTPipelineLib.scene.layout import show_beside
    from RTPipelineLib.scene.places import jump, place_of
    from RTPipelineLib.scene.segmentations import add_segmentation
    from RTPipelineLib.structures.margins import Margins, add_margin
    from RTPipelineLib.structures.voxelise import voxelise
    from Testing.Slicer.standin.views import save

    (name,) = shown.segmentations
    target = next(r for r in shown.structures[name] if r.name == "PTV_54")
    grid = shown.doses_gy[0].grid
    wider = add_margin(voxelise(target, grid), Margins.even(6.0))
    shown.segmentations["Edited"] = add_segmentation([wider], grid, "Edited", source="edited")
    manager = slicer.app.layoutManager()
    jump(place_of(target, shown.doses_gy[0], "centre"))
    assert show_beside(shown)
    views = [manager.sliceWidget(view).v for view in manager.sliceViewNames()]
    pictures = [view.array().astype(int) for view in views]
    save(np.hstack(pictures), folder / "slicer-beside.png")
    assert len(pictures) == 2 and pictures[0].shape == pictures[1].shape
    assert (np.abs(pictures[0] - pictures[1]).max(axis=2) > 60).sum() > 200
