"""What a saved scene brings back: nodes, choices of the panel, and the course to work on."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import slicer

from Testing.Slicer.engine.test_live import edit


@pytest.fixture
def entered(widget, dicom, tmp_path, messages):
    """The module is the one that Slicer shows, its course is in the scene with its DVHs."""
    folder = shutil.copytree(dicom, tmp_path / "dicom")
    widget.parent.enter()
    widget.ui.folderPath.currentPath = str(folder)
    for button in ("findButton", "showButton", "computeButton"):
        getattr(widget.ui, button).click()
    yield widget
    slicer.mrmlScene.Clear(0)
    widget.parent.exit()
    assert messages == []


def saved(folder: Path) -> Path:
    """The scene as Slicer bundles it; then it is closed."""
    path = folder / "course.mrb"
    assert slicer.mrmlScene.WriteToMRB(str(path))
    slicer.mrmlScene.Clear(0)
    return path


def doses_and_masks(shown) -> tuple:
    volumes = [slicer.util.arrayFromVolume(node).copy() for node in shown.doses]
    return volumes, list(shown.structures), [s.name for s in next(iter(shown.structures.values()))]


def test_course_chart_and_choices_come_back(entered, tmp_path) -> None:
    ui, view = entered.ui, entered.sceneUi
    before = doses_and_masks(entered.logic.shown)
    rows, course = list(entered.logic.rows), ui.courseBox.currentText
    view.unitBox.setCurrentIndex(2)
    view.levelsEdit.text = "5000 2500"
    view.isodoseButton.click()
    view.legendBox.click()
    view.opacitySlider.value = 70
    view.reviewerEdit.text = "A. Physicist"
    path = saved(tmp_path)
    ui.folderPath.currentPath = ""
    assert entered.logic.shown is None and not ui.computeButton.enabled
    assert view.levelsEdit.text == "95 80 50" and view.unitBox.currentText == "%"
    assert slicer.mrmlScene.ReadFromMRB(str(path), True)
    assert ui.courseBox.currentText == course and ui.folderPath.currentPath.endswith("dicom")
    assert (view.levelsEdit.text, view.unitBox.currentText) == ("5000 2500", "cGy")
    assert view.opacitySlider.value == 70 and view.reviewerEdit.text == "A. Physicist"
    assert view.legendBox.checked
    (legend,) = slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode")
    assert legend.GetTitleText() == "Dose (cGy)"
    shown = entered.logic.shown
    assert shown is not None, ui.messageText.plainText
    after = doses_and_masks(shown)
    assert after[1:] == before[1:]
    assert all(np.array_equal(a, b) for a, b in zip(after[0], before[0], strict=True))
    levels = [node.GetAttribute("RTPipeline.IsodoseGy") for node in shown.isodoses]
    assert levels == ["50", "25"]
    assert ui.metricsView.mrmlTableNode().GetNumberOfRows() == len(rows)
    assert entered.logic.chart.GetNumberOfPlotSeriesNodes() > 3
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    ui.computeButton.click()
    assert entered.logic.rows == rows and slicer.mrmlScene.GetNumberOfNodes() == nodes
    view.legendBox.click()
    assert not slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode")
    ui.showButton.click()  # nobody knows whether these segments were edited
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2


def test_files_that_are_gone_are_said_and_the_nodes_stay(entered, tmp_path) -> None:
    path = saved(tmp_path)
    shutil.rmtree(tmp_path / "dicom")
    assert slicer.mrmlScene.ReadFromMRB(str(path), True)
    text = entered.ui.messageText.plainText
    assert "was not found again" in text and "is not a folder" in text
    assert entered.logic.shown is None
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1


def test_a_scene_of_other_modules_changes_nothing(entered, tmp_path) -> None:
    shown = entered.logic.shown
    slicer.mrmlScene.StartState(slicer.vtkMRMLScene.ImportState)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
    slicer.mrmlScene.EndState(slicer.vtkMRMLScene.ImportState)
    assert entered.logic.shown is shown and entered.saved.parameters is not None


def test_shown_again_it_takes_the_place_of_what_was_shown(entered) -> None:
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    entered.ui.computeButton.click()
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes
    entered.ui.showButton.click()
    entered.ui.computeButton.click()
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes


def test_edited_segments_stay_when_it_is_shown_again(entered) -> None:
    (node,) = entered.logic.shown.segmentations.values()
    edit(node, "PTV_54", lambda array: array.__setitem__(array.shape[0] // 2, 0))
    entered.ui.showButton.click()
    assert node.GetScene() is not None
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2
    assert "they stay in the scene" in entered.ui.messageText.plainText
