"""The module "RT Pipeline Cohort", by clicks and keys, over the demonstration cohort.

With RTPIPELINE_PICTURES=FOLDER the pictures of the README are written there.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pyarrow.parquet
import pytest
import slicer

PICTURES = os.environ.get("RTPIPELINE_PICTURES")


def wait(condition, seconds: float = 90.0) -> float:
    """Let the application work until something has happened; the longest moment that it was busy
    and did not answer. Computing counts, since what else the machine does is not the window's
    fault; whoever waits for something instead is caught by ten times that on the clock."""
    end, longest = time.monotonic() + seconds, 0.0
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        busy, began = time.thread_time(), time.monotonic()
        slicer.app.processEvents()
        waited = time.monotonic() - began
        assert waited < 2.0, f"the window did not answer for {waited:.1f} s"
        longest = max(longest, time.thread_time() - busy)
        time.sleep(0.01)
    return longest


def picture(widget, name: str, section=None) -> None:
    """The panel as a person sees it."""
    if not PICTURES:
        return
    window = widget.parent
    window.resize(620, 1500)
    window.show()
    slicer.app.processEvents()
    (section or window).grab().save(str(Path(PICTURES) / f"{name}.png"))


def column(widget, number: int) -> list[str]:
    model = widget.courses.sorted
    return [model.index(row, number).data() for row in range(model.rowCount())]


@pytest.fixture
def out(finished, tmp_path) -> Path:
    """A copy of the finished output, for a test that changes it."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


def test_buttons_say_what_is_missing(widget, messages):
    ui = widget.ui
    assert not ui.startButton.enabled and "output folder" in ui.startButton.toolTip
    assert not ui.stopButton.enabled and not ui.showButton.enabled
    assert not ui.acceptButton.enabled and "course" in ui.acceptButton.toolTip
    assert not ui.reportButton.enabled and not ui.packagesLabel.visible
    assert messages == []


def test_start_stop_in_the_middle_find_again_resume(widget, module, dicom, tmp_path, messages):
    from RTPipelineLib.cohort.background import lives, running_process

    ui, out = widget.ui, tmp_path / "cohort"
    ui.outPath.currentPath = str(out)
    ui.dicomPath.currentPath = str(dicom)
    assert ui.startButton.enabled
    ui.startButton.click()
    assert not ui.startButton.enabled and ui.stopButton.enabled
    longest = wait(lambda: any("running" in text for text in column(widget, 2) if text))
    assert longest < 0.2
    picture(widget, "slicer-cohort-run", ui.runButton)
    # Another window, as after a crash of this one, finds the run and stops it.
    widget.run.close()
    module.createNewWidgetRepresentation()
    other = slicer.modules.RTPipelineCohortWidget
    other.ui.outPath.currentPath = str(out)
    wait(lambda: other.run.process is not None, 5)
    process = other.run.process
    other.ui.stopButton.click()
    wait(lambda: other.run.process is None)
    assert not lives(process) and running_process(out) is None
    assert other.ui.startButton.enabled
    # The next run goes on from there; the damaged file has its row and the others are done.
    other.ui.dicomPath.currentPath = str(dicom)
    other.ui.startButton.click()
    wait(lambda: other.run.process is None, 180)
    assert "has finished" in other.ui.runLabel.text
    assert column(other, 2) == ["done"] * 3
    log = other.ui.logText.toPlainText()
    assert "failed" in log and "RD.truncated" in log
    assert messages == []
    other.cleanup()


def test_table_filter_sort_columns_and_sentences(widget, out, messages):
    import qt

    ui = widget.ui
    ui.outPath.currentPath = str(out)
    assert column(widget, 0) == ["DEMO-BROKEN", "DEMO-TWICE", "DEMO-TWICE"]
    ui.courseFilter.text = "rectum"
    assert column(widget, 1) == ["2024-06_Rectum50"]
    ui.courseFilter.text = ""
    ui.courseView.sortByColumn(4, qt.Qt.DescendingOrder)
    given = [float(text) for text in column(widget, 4)]
    assert given == sorted(given, reverse=True) and len(given) == 3
    ui.columnsButton.menu().actions()[8].setChecked(False)
    assert ui.courseView.isColumnHidden(8) and not ui.courseView.isColumnHidden(7)
    widget.courses.select(next(name for name in widget.courses.rows if "BROKEN" in name))
    assert "frame-of-reference only" in ui.courseLabel.text
    assert ui.againButton.enabled and not ui.stageLogButton.enabled
    picture(widget, "slicer-cohort-courses", ui.coursesButton)
    assert messages == []


def test_configuration_is_checked_as_it_is_typed(widget, out, tmp_path, monkeypatch, messages):
    import qt

    ui = widget.ui
    ui.outPath.currentPath = str(out)
    tree = ui.configurationTree
    item = widget.configuration._items["run.jobs"]
    item.setText(1, "-3")
    assert "expected a number from 1" in ui.configurationProblem.text
    assert not ui.saveConfiguration.enabled and not ui.startButton.enabled
    item.setText(1, "2")
    assert widget.configuration.values == {"run.jobs": "2"}
    assert ui.saveConfiguration.enabled and "defaults: 1." in ui.configurationProblem.text
    path = tmp_path / "mine.yaml"
    dialog = qt.QFileDialog
    monkeypatch.setattr(dialog, "getSaveFileName", staticmethod(lambda *a: str(path)))
    monkeypatch.setattr(dialog, "getOpenFileName", staticmethod(lambda *a: str(path)))
    ui.saveConfiguration.click()
    ui.resetConfiguration.click()
    assert widget.configuration.values == {}
    ui.openConfiguration.click()
    assert widget.configuration.values == {"run.jobs": "2"}
    ui.configurationFilter.text = "caps"
    shown = [n for n in range(tree.topLevelItemCount) if not tree.topLevelItem(n).isHidden()]
    assert 0 < len(shown) < tree.topLevelItemCount
    ui.configurationButton.setChecked(True)
    picture(widget, "slicer-cohort-configuration", ui.configurationButton)
    assert messages == []


def test_review_all_and_see_verdicts_out_of_date(widget, out, messages):
    ui = widget.ui
    ui.outPath.currentPath = str(out)
    start = time.monotonic()
    ui.nextButton.click()
    assert time.monotonic() - start < 10  # the bar of two seconds is a benchmark's
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    assert not ui.acceptButton.enabled and "who you are" in ui.acceptButton.toolTip
    ui.reviewerEdit.text = "Ada"
    assert ui.itemBox.count > 3
    first = widget.review.row.name
    ui.acceptButton.click()
    ui.nextButton.click()
    second = widget.review.row.name
    assert second != first
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    ui.itemBox.setCurrentIndex(1)
    structure, _ = ui.itemBox.itemData(1)
    assert not ui.remarkButton.enabled
    ui.commentEdit.text = "too small"
    ui.rejectButton.click()
    ui.nextButton.click()
    ui.commentEdit.text = "look again"
    ui.flagButton.click()
    picture(widget, "slicer-cohort-review", ui.reviewButton)
    ui.nextButton.click()
    assert "no further course" in ui.positionLabel.text
    assert sorted(column(widget, 7)) == ["accept", "flag", "reject"]
    # Somebody else, blinded, starts afresh.
    ui.reviewerEdit.text = "Ben"
    ui.blindBox.setChecked(True)
    assert column(widget, 7) == ["not reviewed"] * 3 and ui.verdictsText.toPlainText() == ""
    ui.acceptButton.click()
    for _ in range(2):
        ui.previousButton.click()
        ui.acceptButton.click()
    assert column(widget, 7) == ["accept"] * 3
    ui.blindBox.setChecked(False)
    # The tables and the page say what was clicked.
    ui.updateButton.click()
    wait(lambda: widget.run.process is None)
    rows = pyarrow.parquet.read_table(out / "results" / "reviews.parquet").to_pylist()
    said = {(row["reviewer"], row["verdict"], row["item"]) for row in rows}
    expected = {("Ada", "accept", ""), ("Ada", "reject", structure), ("Ada", "flag", "")}
    assert expected <= said and all(row["state"] == "current" for row in rows)
    assert {row["comment"] for row in rows} == {"", "too small", "look again"}
    table = pyarrow.parquet.read_table(out / "results" / "reviewer_agreement.parquet").to_pylist()
    pairs = [(row["reviewer_a"], row["reviewer_b"], row["items"]) for row in table]
    assert pairs == [("Ada", "Ben", 2)]
    # A decision changes: what was seen is no longer what is there.
    folder = widget.courses.rows[first].folder
    facts = folder / "dose" / "dose.json"
    facts.write_text(facts.read_text("utf-8").replace('"decided"', '"needs-decision"'), "utf-8")
    ui.reloadButton.click()
    widget.courses.select(first)
    widget.courses.replace(widget.logic.reviewedRows([widget.courses.rows[first]])[0])
    assert widget.courses.rows[first].verdict == "out of date"
    ui.queueBox.setCurrentIndex(1)
    widget.review.row = None
    ui.nextButton.click()
    assert widget.review.row.name == first
    assert "out of date" in ui.verdictsText.toPlainText()
    assert messages == []


def test_plots_whose_points_open_their_courses(widget, out, messages):
    from RTPipelineLib.scene.cohort_charts import course_of_point

    ui = widget.ui
    ui.outPath.currentPath = str(out)
    assert ui.structureBox.count > 2 and not ui.metricBox.enabled
    names = [ui.structureBox.itemText(n) for n in range(ui.structureBox.count)]
    shared = next(name for name in names if name == "Body")
    ui.structureBox.setCurrentText(shared)
    ui.plotButton.click()
    (chart,) = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    assert chart.GetNumberOfPlotSeriesNodes() == 3 and shared in chart.GetTitle()
    ui.plotBox.setCurrentIndex(2)
    own = "Rectum"  # the dose does not reach the whole body
    ui.structureBox.setCurrentText(own)
    ui.metricBox.setCurrentText("volume_cc")
    ui.otherBox.setCurrentText("Dmean_Gy")
    ui.plotButton.click()
    (chart,) = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    series = chart.GetNthPlotSeriesNode(0)
    table = series.GetTableNode().GetTable()
    who = course_of_point(series.GetID(), 0)
    row = widget.courses.find(*who)
    metrics = pyarrow.parquet.read_table(out / "results" / "dvh_metrics.parquet").to_pylist()
    (value,) = {
        m["volume_cc"]
        for m in metrics
        if (m["patient_id"], m["course_id"]) == who and m["roi_standard_name"] == own
    }
    assert table.GetColumnByName("x").GetValue(0) == pytest.approx(value)
    widget.onPoint(*who)
    assert widget.review.row == row
    ui.plotBox.setCurrentIndex(1)
    ui.plotButton.click()
    assert slicer.util.getNodesByClass("vtkMRMLPlotChartNode")[0].GetTitle().startswith("volume_cc")
    assert messages == []


def test_save_the_table_and_open_the_report(widget, out, tmp_path, monkeypatch, messages):
    import qt

    ui, opened = widget.ui, []
    ui.outPath.currentPath = str(out)
    path = tmp_path / "courses.csv"
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", staticmethod(lambda *a: str(path)))
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", staticmethod(opened.append))
    ui.exportButton.click()
    text = path.read_text("utf-8-sig").splitlines()
    assert text[0].startswith("patient_id,course_id,status") and len(text) == 4
    ui.reportButton.click()
    assert opened[0].toLocalFile().endswith("results/report.html")
    assert messages == []


def test_closing_the_scene_leaves_no_error(widget, out, messages):
    widget.ui.outPath.currentPath = str(out)
    widget.ui.nextButton.click()
    slicer.mrmlScene.Clear(0)
    widget.onSceneEndClose()
    assert widget.review.row is None and not widget.ui.acceptButton.enabled
    widget.ui.nextButton.click()
    assert widget.review.row is not None and messages == []


def test_the_self_test_passes(module, scene):
    slicer.selfTests["RTPipelineCohort"]()
