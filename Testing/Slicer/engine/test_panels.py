"""The sections View, Edit, Review and export, driven by clicks on a synthetic course."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import slicer
from PySide6 import QtCore, QtTest
from vtk.util.numpy_support import vtk_to_numpy

from RTPipelineLib.dvh.engine import compute_dvh
from Testing.Slicer.engine.test_live import edit


@pytest.fixture
def opened(widget, dicom, messages):
    """The course is shown and its DVHs are computed."""
    widget.ui.folderPath.currentPath = str(dicom)
    for button in ("findButton", "showButton", "computeButton"):
        getattr(widget.ui, button).click()
    yield widget
    assert messages == []


def click_row(view, row: int) -> None:
    place = view.visualRect(view.model().index(row, 0)).center()
    QtTest.QTest.mouseClick(view.viewport(), QtCore.Qt.LeftButton, QtCore.Qt.NoModifier, place)


def row_of(widget, name: str) -> int:
    return next(n for n, row in enumerate(widget.logic.rows) if row["roi_name"] == name)


def until(done, seconds: float = 10.0) -> None:
    """Let the application run until something has happened."""
    for _ in range(int(seconds / 0.05)):
        if done():
            break
        QtTest.QTest.qWait(50)
    assert done()


def test_nothing_works_before_a_course_and_says_so(widget) -> None:
    ui = widget.sceneUi
    for name in ("layout", "isodose", "follow", "keep", "derive", "accept", "flag", "export"):
        button = getattr(ui, f"{name}Button")
        assert not button.enabled and "course" in button.toolTip, name


def test_a_click_on_a_row_goes_to_centre_hot_and_cold_spot(opened) -> None:
    view, ui = opened.ui.metricsView, opened.sceneUi
    slice_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode", "Axial")
    row = row_of(opened, "PTV_54")
    view.scrollTo(view.model().index(row, 0))
    places, texts = [], []
    for _ in range(4):
        click_row(view, row)
        texts.append(ui.placeLabel.text)
        ras = [slice_node.GetSliceToRAS().GetElement(n, 3) for n in range(3)]
        places.append(np.array(ras) * (-1, -1, 1))
    ends = ("centre", "hot spot", "cold spot", "centre")
    assert texts == [f"PTV_54: {end}" for end in ends]
    assert np.allclose(places[0], places[3]) and not np.allclose(places[0], places[1])
    (dose,) = opened.logic.shown.doses_gy
    k, j, i = np.round(dose.grid.to_index(places[1])).astype(int)[::-1]
    k2, j2, i2 = np.round(dose.grid.to_index(places[2])).astype(int)[::-1]
    (dvh,) = [
        compute_dvh(s, dose)
        for s in next(iter(opened.logic.shown.structures.values()))
        if s.name == "PTV_54"
    ]
    # voxels that are covered by half at least; the curve takes the dose of the covered part
    assert dvh.D("2%") <= dose.array_gy[k, j, i] <= dvh.max_gy + 0.1
    assert dvh.min_gy - 0.1 <= dose.array_gy[k2, j2, i2] < dvh.D("50%")


def test_isodoses_in_every_unit_legend_and_sources(opened) -> None:
    ui, shown = opened.sceneUi, opened.logic.shown
    highest = float(shown.doses_gy[0].array_gy.max())
    ui.levelsEdit.text = "50, 200"
    ui.wholeBox.value = 54.0
    ui.isodoseButton.click()
    assert [m.GetAttribute("RTPipeline.IsodoseGy") for m in shown.isodoses] == ["27"]
    assert shown.isodoses[0].GetName().endswith("50 %")
    assert "200 %" in opened.ui.messageText.toPlainText()
    ui.unitBox.setCurrentIndex(2)
    assert not ui.wholeBox.enabled
    ui.levelsEdit.text = "2700"
    QtTest.QTest.keyClick(ui.levelsEdit, QtCore.Qt.Key_Return)
    assert [m.GetAttribute("RTPipeline.IsodoseGy") for m in shown.isodoses] == ["27"]
    assert highest > 27
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLColorLegendDisplayNode") == 0
    ui.legendBox.click()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLColorLegendDisplayNode") == 1
    (node,) = shown.segmentations.values()
    ui.sourceList.item(0).setCheckState(QtCore.Qt.Unchecked)
    assert not node.GetDisplayVisibility()


def test_wrong_levels_are_refused_in_words(opened, app, monkeypatch, messages) -> None:
    from Testing.Slicer.standin import qt

    monkeypatch.setitem(app.__dict__, "_testing", False)
    before = list(opened.logic.shown.isodoses)
    opened.sceneUi.levelsEdit.text = "95 high"
    opened.sceneUi.isodoseButton.click()
    assert "'high' is no isodose level" in messages.pop()[1]
    assert opened.logic.shown.isodoses == before
    qt.slot_errors.clear()


def test_an_edit_is_followed_and_a_margin_is_the_librarys(opened) -> None:
    from RTPipelineLib.scene.segmentations import mask_of
    from RTPipelineLib.structures.margins import add_margin
    from RTPipelineLib.structures.volume import volume_cc

    ui, logic = opened.sceneUi, opened.logic
    (node,) = logic.shown.segmentations.values()
    rows = len(logic.rows)
    ui.followButton.click()
    key = edit(node, "GTV", lambda a: a[: len(a) // 2].fill(0))
    until(lambda: ui.editLabel.text.startswith("GTV:"))
    assert len(logic.rows) == rows + 1
    dvh = compute_dvh(mask_of(node, key), logic.shown.doses_gy[0])
    assert logic.rows[-1]["Dmean_Gy"] == dvh.mean_gy and logic.rows[-1]["source"] == "edited"
    ui.firstBox.setCurrentIndex(ui.firstBox.findText("GTV"))
    ui.marginBox.value = 5.0
    assert not ui.deriveButton.enabled and "Name" in ui.deriveButton.toolTip
    ui.derivedEdit.text = "GTV+5"
    ui.deriveButton.click()
    made = mask_of(node, node.GetSegmentation().GetSegmentIdBySegmentName("GTV+5"))
    wanted = add_margin(mask_of(node, key), 5.0)
    # labels are whole voxels, the library's margins are shares of them
    assert volume_cc(made) == pytest.approx(volume_cc(wanted), rel=0.03)
    until(lambda: ui.editLabel.text.startswith("GTV+5:"))
    assert logic.rows[-1]["roi_name"] == "GTV+5"
    slicer.mrmlScene.Clear(0)
    opened.onSceneEndClose()
    assert not ui.followButton.enabled and not ui.followButton.checked


def test_strokes_of_the_segment_editor_and_their_undo_are_followed(opened, monkeypatch) -> None:
    """Slicer's own editor logic, below its widget: erase by a labelmap, undo, rename, add."""
    from RTPipelineLib.scene.segmentations import mask_of

    went = []
    monkeypatch.setattr(slicer.util, "selectModule", went.append, raising=False)
    ui, logic = opened.sceneUi, opened.logic
    (node,) = logic.shown.segmentations.values()
    assert not ui.followButton.checked
    ui.editorButton.click()
    assert went == ["SegmentEditor"] and ui.followButton.checked
    state = slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
    assert state.GetSegmentationNode() is node
    assert state.GetSourceVolumeNode() is logic.shown.images[0]
    editor = slicer.vtkSlicerSegmentEditorLogic()
    editor.SetMRMLScene(slicer.mrmlScene)
    editor.SetSegmentEditorNode(state)
    editor.SetMaximumNumberOfUndoStates(3)
    key = node.GetSegmentation().GetSegmentIdBySegmentName("PTV_54")
    state.SetSelectedSegmentID(key)
    volume = {"whole": dmean_and_cc(mask_of(node, key), logic)}
    assert editor.UpdateReferenceGeometryImage() and editor.ResetModifierLabelmapToDefault()
    stroke = editor.GetModifierLabelmap()
    voxels = vtk_to_numpy(stroke.GetPointData().GetScalars()).reshape(stroke.GetDimensions()[::-1])
    middle = int(np.median(np.argwhere(editable(node, key, voxels.shape))[:, 0]))
    voxels[middle:] = 1
    stroke.Modified()
    assert editor.SaveStateForUndo()
    remove = slicer.vtkSlicerSegmentEditorLogic.ModificationModeRemove
    editor.ModifySegmentByLabelmap(node, key, stroke, remove, False, False)
    until(lambda: ui.editLabel.text.startswith("PTV_54:"))
    volume["half"] = dmean_and_cc(mask_of(node, key), logic)
    assert 0.3 < volume["half"][1] / volume["whole"][1] < 0.7
    row = logic.rows[-1]
    assert (row["Dmean_Gy"], row["volume_cc"]) == volume["half"] and row["source"] == "edited"
    editor.Undo()
    until(lambda: logic.rows[-1]["volume_cc"] != volume["half"][1])
    row = logic.rows[-1]
    assert (row["Dmean_Gy"], row["volume_cc"]) == volume["whole"]


def dmean_and_cc(mask, logic) -> tuple[float, float]:
    dvh = compute_dvh(mask, logic.shown.doses_gy[0])
    return dvh.mean_gy, dvh.volume_cc


def editable(node, key: str, shape: tuple[int, int, int]) -> np.ndarray:
    """The voxels of a segment on the editor's lattice, the image's."""
    image = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    found = slicer.util.arrayFromSegmentBinaryLabelmap(node, key, image)
    assert found.shape == shape
    return found


def test_export_writes_what_there_is(opened, tmp_path, monkeypatch) -> None:
    import qt

    from RTPipelineLib.dicom.dose import read_dose
    from RTPipelineLib.dicom.structures import read_structure_set

    choose = staticmethod(lambda *a: str(tmp_path / "out"))
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", choose)
    opened.sceneUi.exportButton.click()
    folder = tmp_path / "out"
    names = {path.name for path in folder.iterdir()}
    assert names == {"dvh_metrics.csv", "dvh_curves.csv", "RS_1.dcm", "RD_1.dcm"}
    (dose,) = opened.logic.shown.doses_gy
    again = read_dose(folder / "RD_1.dcm")
    assert np.abs(again.array_gy - dose.array_gy).max() < 1e-4
    assert "GTV" in {roi.name for roi in read_structure_set(folder / "RS_1.dcm").rois}
    with (folder / "dvh_curves.csv").open(encoding="utf-8-sig") as file:
        curves = {line["curve"] for line in csv.DictReader(file)}
    assert len(curves) == opened.logic.chart.GetNumberOfPlotSeriesNodes()
    assert "4 files" in opened.ui.messageText.toPlainText()


def test_verdicts_and_edits_of_a_processed_course(
    widget, dicom, tmp_path, monkeypatch, messages
) -> None:
    """Results of no stage are there, so that the Parquet reader has nothing to read."""
    from RTPipelinePanels import logic as panel_logic

    from RTPipelineLib import review
    from RTPipelineLib.scene.opening import find_courses

    folder = tmp_path / "DEMO-LUNG" / "C1"
    folder.mkdir(parents=True)
    (course,) = find_courses(dicom)
    (folder / "course.json").write_text(json.dumps(course.course.to_dict()), "utf-8")
    widget.ui.folderPath.currentPath = str(tmp_path)
    widget.ui.findButton.click()
    widget.ui.showButton.click()
    ui = widget.sceneUi
    assert not ui.acceptButton.enabled and "packages" in ui.acceptButton.toolTip
    monkeypatch.setattr(panel_logic, "NEEDED", "json")
    monkeypatch.setattr(review, "_rows", lambda path: [])
    ui.reviewerEdit.text = ""
    widget.updateButtons()
    assert not ui.acceptButton.enabled and "who" in ui.acceptButton.toolTip
    QtTest.QTest.keyClicks(ui.reviewerEdit, "A. Physicist")
    QtTest.QTest.keyClicks(ui.commentEdit, "margins checked")
    ui.flagButton.click()
    assert "A. Physicist: flag" in ui.verdictsText.toPlainText()
    assert "(current) margins checked" in ui.verdictsText.toPlainText()
    (folder / "dose").mkdir()
    (folder / "dose" / "dose.json").write_text('{"decision": "another"}', "utf-8")
    widget.updateButtons()
    assert "out of date" in ui.verdictsText.toPlainText()
    ui.keepButton.click()
    assert len(list((folder / "edited").glob("RS_*.dcm"))) == 1
    assert messages == []


def test_pictures_of_the_sections(opened, tmp_path) -> None:
    """Every section shows its words; with RTPIPELINE_PICTURES=FOLDER the picture is left there."""
    folder = Path(os.environ.get("RTPIPELINE_PICTURES") or tmp_path)
    ui = opened.sceneUi
    (node,) = opened.logic.shown.segmentations.values()
    ui.followButton.click()
    edit(node, "GTV", lambda a: a[: len(a) // 2].fill(0))
    until(lambda: ui.editLabel.text.startswith("GTV:"))
    panel = ui.viewSection.parentWidget()
    panel.resize(520, panel.sizeHint().height())
    picture = panel.grab()
    assert picture.save(str(folder / "slicer-sections.png"))
    image = picture.toImage()
    across, down = range(0, image.width(), 7), range(0, image.height(), 7)
    assert len({image.pixel(x, y) for x in across for y in down}) > 5
    for name in ("viewSection", "editSection", "reviewSection"):
        assert getattr(ui, name).height > 100
    assert not ui.legendBox.checked  # what another course had is not claimed of this one
