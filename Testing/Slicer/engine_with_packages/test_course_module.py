"""The module "RT Pipeline" with all packages: run, decide, run again, cancel, by clicks.

With RTPIPELINE_PICTURES=FOLDER the picture of the README is written there.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pandas
import pytest
import slicer

from RTPipelineLib.scene.layout import BESIDE_ID
from Testing.Slicer.engine.test_live import edit
from Testing.Slicer.engine_with_packages.test_cohort_module import wait
from Testing.Slicer.standin.app import load_scripted_module

MODULE = Path(__file__).parents[3] / "RTPipeline" / "RTPipeline.py"
PICTURES = os.environ.get("RTPIPELINE_PICTURES")


@pytest.fixture(scope="session")
def course_module(app):
    return load_scripted_module(str(MODULE), app)


@pytest.fixture
def widget(course_module, scene):
    """A new panel."""
    made = course_module.createNewWidgetRepresentation()
    yield slicer.modules.RTPipelineWidget
    slicer.modules.RTPipelineWidget.cleanup()
    made.deleteLater()


@pytest.fixture(scope="session")
def pelvis(tmp_path_factory) -> Path:
    """DICOM of a patient whose two plans wait for a decision."""
    from RTPipelineLib.phantoms.cohort import make_cohort

    folder = tmp_path_factory.mktemp("pelvis")
    make_cohort(folder, patients=["DEMO-PELVIS"])
    return folder


@pytest.fixture(scope="session")
def undecided(pelvis, tmp_path_factory) -> Path:
    from RTPipelineLib.cli import main

    out = tmp_path_factory.mktemp("undecided") / "out"
    main(["run", str(pelvis), str(out), "--quiet"])
    return out


@pytest.fixture
def out(undecided, tmp_path) -> Path:
    return Path(shutil.copytree(undecided, tmp_path / "out"))


def lines(item, depth=0) -> list[str]:
    own = [item.text(0) + " " + item.text(1)]
    return own + [t for n in range(item.childCount()) for t in lines(item.child(n), depth + 1)]


def picture(widget, part, name: str) -> None:
    """What a person sees of a part of the panel."""
    if PICTURES:
        widget.parent.resize(620, 3000)
        widget.parent.show()
        slicer.app.processEvents()
        part.grab().save(str(Path(PICTURES) / f"{name}.png"))


def test_from_dicom_to_results_without_blocking(widget, pelvis, tmp_path, messages):
    ui, panel = widget.ui, widget.pipeline
    assert not panel.ui.startButton.enabled and "output" in panel.ui.startButton.toolTip
    ui.folderPath.currentPath = str(pelvis)
    ui.findButton.click()
    assert not panel.ui.saveDecisionsButton.enabled
    panel.ui.outPath.currentPath = str(tmp_path / "out")
    panel.ui.startButton.click()
    assert panel.ui.stopButton.enabled
    later = []  # the last look reads the results too: that is no part of the run
    panel.run.onEnd, finish = lambda: later.append(True), panel.run.onEnd
    longest = wait(lambda: later, 180)
    assert longest < 0.2, f"the window did not answer for {longest:.2f} s"
    finish()
    assert "has finished" in panel.ui.runLabel.text
    assert ui.folderPath.currentPath == str(tmp_path / "out")
    assert "DEMO-PELVIS" in ui.courseBox.currentText
    tree = panel.ui.factsTree
    shown = [t for n in range(tree.topLevelItemCount) for t in lines(tree.topLevelItem(n))]
    assert any("waits for your decision" in text for text in shown)
    assert any("belongs to Prostate" in text for text in shown)
    assert messages == []


def test_decide_and_run_again_what_depends_on_it(widget, out, messages):
    ui, panel = widget.ui, widget.pipeline
    ui.folderPath.currentPath = str(out)
    ui.findButton.click()
    (folder,) = (out / "DEMO-PELVIS").iterdir()
    table = panel.ui.plansTable
    assert [table.item(n, 0).text() for n in range(2)] == ["Prostate_Base", "Prostate_Boost"]
    table.item(0, 1).setText("everything")
    panel.ui.saveDecisionsButton.click()
    assert "everything" in panel.ui.plansLabel.text
    assert "Nothing was saved" in panel.ui.decisionsLabel.text
    assert "everything" not in (folder / "overrides.yaml").read_text("utf-8")
    for number in range(2):
        table.item(number, 1).setText("1")
    levels = panel.ui.levelsTable
    levels.setRowCount(1)
    for column, text in enumerate(("PTV_70", "PTV_25", "70", "35")):
        levels.item(0, column).setText(text)
    panel.ui.eqd2Box.setChecked(True)
    panel.ui.addRatioButton.click()
    import qt

    for column, text in enumerate(("Rectum", "none")):
        panel.ui.ratiosTable.setItem(2, column, qt.QTableWidgetItem(text))
    panel.ui.saveDecisionsButton.click()
    assert "Rectum: expected a number" in panel.ui.ratiosLabel.text
    picture(widget, panel.ui.factsButton, "slicer-wrong-value")
    assert panel.ui.decisionTabs.currentIndex == 3 and panel.ui.plansLabel.text == ""
    panel.ui.ratiosTable.item(2, 1).setText("2.5")
    panel.ui.saveDecisionsButton.click()
    assert "only what depends on it" in panel.ui.decisionsLabel.text
    panel.ui.saveDecisionsButton.click()
    assert "Nothing has changed" in panel.ui.decisionsLabel.text
    picture(widget, panel.ui.factsButton, "slicer-decisions")
    before = {p.stem: json.loads(p.read_text())["started"] for p in folder.glob("stages/*.json")}
    panel.ui.startButton.click()
    wait(lambda: panel.run.process is None, 180)
    after = {p.stem: json.loads(p.read_text())["started"] for p in folder.glob("stages/*.json")}
    assert before["load"] == after["load"] and before["dvh"] != after["dvh"]
    metrics = pandas.read_parquet(out / "results" / "dvh_metrics.parquet")
    assert (metrics.rx_gy == 70.0).any() and metrics.dose_source.str.startswith("sum:").any()
    ratios = metrics[metrics.roi_name == "Rectum"].EQD2_alpha_beta_Gy
    assert set(ratios.dropna()) == {2.5}
    assert "Rectum: 2.5" in (folder / "overrides.yaml").read_text("utf-8")
    assert "Rectum: 2.5" not in (out / "config.yaml").read_text("utf-8")
    assert messages == []


def test_edit_keep_run_again_judge_by_key_save_reopen(widget, finished, tmp_path, messages):
    """The second half of a person's way with a course."""
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    widget.parent.enter()
    ui, view, panel = widget.ui, widget.sceneUi, widget.pipeline
    ui.folderPath.currentPath = str(out)
    ui.findButton.click()
    ui.courseBox.setCurrentIndex(ui.courseBox.findText("DEMO-BROKEN / 2022-11_ProstateBed"))
    ui.showButton.click()
    ui.computeButton.click()
    folder = widget.logic.shown.course.folder
    (node,) = widget.logic.shown.segmentations.values()
    view.followButton.click()
    edit(node, "Rectum", lambda array: array[: len(array) // 2].fill(0))
    wait(lambda: view.editLabel.text.startswith("Rectum:"))
    live = widget.logic.rows[-1]
    picture(widget, widget.parent, "slicer-panel-edited")
    view.keepButton.click()
    assert "Kept as" in ui.messageText.plainText and list((folder / "edited").glob("RS_*.dcm"))
    panel.ui.startButton.click()
    wait(lambda: panel.run.process is None, 180)
    metrics = pandas.read_parquet(out / "results" / "dvh_metrics.parquet")
    own = metrics[(metrics.course_id == folder.name) & (metrics.roi_name == "Rectum")]
    kept = own[own.source == "edited"].iloc[0]
    # contours drawn around whole voxels and half a slice beyond the last one
    assert kept.volume_cc == pytest.approx(live["volume_cc"], rel=0.02)
    assert kept.Dmean_Gy == pytest.approx(live["Dmean_Gy"], rel=0.02)
    assert set(own.source) == {"clinical", "edited"}
    ui.courseBox.setCurrentIndex(ui.courseBox.findText(f"DEMO-BROKEN / {folder.name}"))
    ui.showButton.click()
    ui.computeButton.click()
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert len(nodes) == 2 and nodes == list(widget.logic.shown.segmentations.values())
    curves = widget.curvesPanel.series
    assert {"Rectum (ProstateBed 1)", "Rectum (Edited ProstateBed_1)"} <= set(curves)
    widget.curvesPanel.onPoint(curves["Rectum (Edited ProstateBed_1)"].GetID(), 3)
    assert widget.logic.rows[widget.curvesPanel.turn[0]]["source"] == "edited"
    view.reviewerEdit.text = "A. Physicist"
    press(widget, "Ctrl+Shift+F")
    said = "A. Physicist: flag the course (current)"
    wait(lambda: said in view.verdictsText.toPlainText())
    press(widget, "Ctrl+Shift+B")
    wait(lambda: slicer.app.layoutManager().layout == BESIDE_ID)
    picture(widget, widget.parent, "slicer-panel-judged")
    bundle = tmp_path / "course.mrb"
    assert slicer.mrmlScene.WriteToMRB(str(bundle))
    rows = ui.metricsView.mrmlTableNode().GetNumberOfRows()
    slicer.mrmlScene.Clear(0)
    assert not ui.computeButton.enabled and not view.flagButton.enabled
    assert slicer.mrmlScene.ReadFromMRB(str(bundle), True)
    assert ui.courseBox.currentText.endswith(folder.name) and view.flagButton.enabled
    assert ui.metricsView.mrmlTableNode().GetNumberOfRows() == rows
    assert "flag the course (current)" in view.verdictsText.toPlainText()
    widget.parent.exit()
    assert messages == []


def press(widget, keys: str) -> None:
    """A shortcut, with the panel in front; a button that has it is pressed for a moment first."""
    from PySide6 import QtGui, QtTest

    widget.parent.show()
    widget.parent.activateWindow()
    slicer.app.processEvents()
    QtTest.QTest.keySequence(widget.parent, QtGui.QKeySequence(keys))


def test_cancel_leaves_no_process_closing_no_error(
    course_module, widget, pelvis, tmp_path, messages
):
    from RTPipelineLib.cohort.background import lives, running_process

    ui, panel = widget.ui, widget.pipeline
    ui.folderPath.currentPath = str(pelvis)
    ui.findButton.click()
    panel.ui.outPath.currentPath = str(tmp_path / "out")
    panel.ui.startButton.click()
    process = panel.run.process
    wait(lambda: running_process(tmp_path / "out") is not None)
    slicer.mrmlScene.Clear(0)
    widget.onSceneEndClose()
    widget.cleanup()  # as when Slicer ends: the run does not
    assert lives(process) and not panel.run.timer.active
    course_module.createNewWidgetRepresentation()
    widget = slicer.modules.RTPipelineWidget
    panel = widget.pipeline
    widget.ui.folderPath.currentPath = str(pelvis)  # nothing may have been found yet
    panel.ui.outPath.currentPath = str(tmp_path / "out")
    assert panel.run.process == process and "goes on here" in panel.ui.runLabel.text
    panel.ui.stopButton.click()
    assert panel.run.ending is not None and not panel.ui.stopButton.enabled  # it did not wait
    ended = []  # what was found then is read after the run, as in the first test
    panel.run.onEnd = lambda: ended.append(True)
    assert wait(lambda: ended) < 0.2
    assert not lives(process) and running_process(tmp_path / "out") is None
    assert panel.ui.startButton.enabled and messages == []
    leftovers = [path for path in (tmp_path / "out").rglob("*") if ".tmp" in path.name]
    assert not leftovers


COLUMNS = ("volume_cc", "dose_coverage_percent", "Dmean_Gy", "Dmax_Gy", "D95%_Gy", "D0.03cc_Gy")


def test_the_numbers_are_those_of_the_program_for_every_demo_course(widget, tmp_path, messages):
    """Each structure under every dose of the course."""
    from RTPipelineLib.cli import main
    from RTPipelineLib.course import course_folders
    from RTPipelineLib.phantoms.cohort import make_cohort
    from RTPipelineLib.scene.dvh_course import dvhs_of

    out = tmp_path / "out"
    make_cohort(tmp_path / "dicom")
    main(["run", str(tmp_path / "dicom"), str(out), "--quiet"])
    metrics = pandas.read_parquet(out / "results" / "dvh_metrics.parquet")
    keys = ["patient_id", "course_id", "dose_source", "source", "roi_name"]
    program = metrics.set_index(keys).sort_index()
    ui, seen = widget.ui, []
    ui.folderPath.currentPath = str(out)
    ui.findButton.click()
    assert ui.courseBox.count == len(course_folders(out)) > 5
    for number in range(ui.courseBox.count):
        ui.courseBox.setCurrentIndex(number)
        ui.showButton.click()
        shown = widget.logic.shown
        assert ui.computeButton.enabled == bool(shown.doses)
        if not shown.doses:
            continue
        ui.computeButton.click()
        course = (shown.course.patient_id, shown.course.course_id)
        for place, dose in enumerate(shown.doses):
            source = dose.GetName().removeprefix("Dose ")
            rows = widget.logic.rows if place == 0 else dvhs_of(shown, place)[1]
            for row in rows:
                key = (*course, source, row["source"], row["roi_name"])
                expected = program.loc[key]
                for column in COLUMNS:
                    assert row.get(column) == pytest.approx(
                        expected[column], rel=1e-9, nan_ok=True
                    ) or (row.get(column) is None and pandas.isna(expected[column])), (key, column)
                seen.append(key)
    assert sorted(seen) == sorted(program.index) and messages == []


def test_verdict_on_a_course_and_its_page_in_the_export(widget, out, tmp_path, monkeypatch) -> None:
    """A verdict is bound to the results that Parquet files hold; others make it out of date."""
    import qt

    from RTPipelineLib.course import course_folders

    widget.ui.folderPath.currentPath = str(out)
    widget.ui.findButton.click()
    widget.ui.showButton.click()
    ui, (folder,) = widget.sceneUi, course_folders(out)
    ui.reviewerEdit.text = "A. Physicist"
    ui.commentEdit.text = "two plans"
    ui.rejectButton.click()
    assert "A. Physicist: reject the course (current) two plans" in ui.verdictsText.toPlainText()
    assert len(list((folder / "review").glob("*.json"))) == 1
    ui.itemBox.setCurrentIndex(1)
    name, source = ui.itemBox.itemData(1)
    ui.acceptButton.click()
    assert f"accept {name} (current)" in ui.verdictsText.toPlainText() and source == "clinical"
    structures = folder / "structures" / "structures.json"
    facts = json.loads(structures.read_text("utf-8"))
    facts["rois"][0]["roi_name"] += " again"
    structures.write_text(json.dumps(facts), "utf-8")
    widget.updateButtons()
    assert "(out of date)" in ui.verdictsText.toPlainText()
    target = tmp_path / "export"
    monkeypatch.setattr(
        qt.QFileDialog, "getExistingDirectory", staticmethod(lambda *a: str(target))
    )
    ui.exportButton.click()
    written = {path.name for path in target.iterdir()}
    assert {"course.html", "RS_1.dcm", "RD_1.dcm", "dvh_cumulative.png"} <= written


def test_curves_goals_and_what_the_planning_system_stored(widget, tmp_path, messages):
    from RTPipelineLib.cli import main
    from RTPipelineLib.phantoms.cohort import make_cohort

    make_cohort(tmp_path / "dicom", patients=["DEMO-LUNG"])
    config = tmp_path / "config.yaml"
    config.write_text(
        "dvh:\n  goals: " + str(goals_of(tmp_path)) + "\n  uncertainty: {enabled: true}\n"
    )
    folders = [str(tmp_path / "dicom"), str(tmp_path / "out")]
    main(["run", *folders, "--config", str(config), "--quiet"])
    ui, panel = widget.ui, widget.panels[0]
    assert not panel.ui.allButton.enabled and "DVHs" in panel.ui.allButton.toolTip
    ui.folderPath.currentPath = folders[1]
    ui.findButton.click()
    ui.showButton.click()
    ui.computeButton.click()
    box, table = panel.ui.curveList, panel.ui.goalsTable
    number = widget.logic.chart.GetNumberOfPlotSeriesNodes()
    assert box.count == number > 3
    panel.ui.noneButton.click()
    assert widget.logic.chart.GetNumberOfPlotSeriesNodes() == 0
    import qt

    box.item(1).setCheckState(qt.Qt.Checked)
    assert list(panel.logic.curves(widget.logic.chart)) == [box.item(1).text()]
    panel.ui.allButton.click()
    assert widget.logic.chart.GetNumberOfPlotSeriesNodes() == number
    results = [table.item(row, 3).text() for row in range(table.rowCount)]
    assert results[0].endswith("fail") and results[-1] == "\N{CHECK MARK} pass"
    panel.ui.bandBox.setChecked(True)
    drawn = panel.logic.curves(widget.logic.chart)
    assert sum(name.endswith((" (low)", " (high)")) for name in drawn) >= 2
    picture(widget, panel.ui.curvesButton, "slicer-curves")
    panel.ui.bandBox.setChecked(False)
    assert widget.logic.chart.GetNumberOfPlotSeriesNodes() == number
    panel.ui.planningBox.setChecked(True)
    stored = any("planning" in name for name in panel.logic.curves(widget.logic.chart))
    assert stored or "stored no DVHs" in panel.ui.curvesLabel.text
    series = panel.logic.curves(widget.logic.chart)["GTV"]
    said = []
    for _ in range(3):
        panel.onPoint(series.GetID(), 5)
        said.append(panel.ui.curvesLabel.text)
    assert said == ["GTV: centre", "GTV: hot spot", "GTV: cold spot"]
    assert messages == []


def goals_of(folder: Path) -> Path:
    """A goal that every dose meets and one that none can."""
    path = folder / "goals.yaml"
    path.write_text(
        "goals:\n"
        "  - {structure: GTV, metric: 'Dmean[Gy]', operator: '>=', limit: 1}\n"
        "  - {structure: GTV, metric: 'Dmean[Gy]', operator: '<=', limit: 1}\n"
    )
    return path


def test_a_saved_scene_comes_back(widget, finished, tmp_path, messages):
    """As Slicer saves it: volumes, segments, chart and tables are there again, and the panel works
    on a course that is shown anew."""
    ui = widget.ui
    ui.folderPath.currentPath = str(finished)
    ui.findButton.click()
    ui.showButton.click()
    ui.computeButton.click()
    (segmentation,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    names = list(segmentation.GetSegmentation().GetSegmentIDs())
    volumes = {n.GetName() for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")}
    bundle = tmp_path / "course.mrb"
    assert slicer.mrmlScene.WriteToMRB(str(bundle))
    slicer.mrmlScene.Clear(0)
    widget.onSceneEndClose()
    assert not ui.computeButton.enabled
    assert slicer.mrmlScene.ReadFromMRB(str(bundle), True)
    (again,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert list(again.GetSegmentation().GetSegmentIDs()) == names
    assert {n.GetName() for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")} == volumes
    (chart,) = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    assert chart.GetNumberOfPlotSeriesNodes() > 3
    ui.showButton.click()
    assert ui.computeButton.enabled and messages == []
