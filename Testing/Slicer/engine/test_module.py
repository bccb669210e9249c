"""The module's own file and .ui, clicked, on Slicer's own scene."""

from __future__ import annotations

import subprocess
import sys
import time
import types
from pathlib import Path

import slicer

MODULE = Path(__file__).parents[3] / "RTPipeline" / "RTPipeline.py"
LOAD_S = 0.3


def test_the_file_loads_at_once_and_pulls_nothing_in(app) -> None:
    """The best of five: a loaded machine is not the module's fault."""
    source = compile(MODULE.read_text("utf-8"), str(MODULE), "exec", dont_inherit=True)
    before, times = set(sys.modules), []
    for _ in range(5):
        start = time.perf_counter()
        exec(source, {"__name__": "RTPipeline", "__file__": str(MODULE)})
        times.append(time.perf_counter() - start)
    assert min(times) < LOAD_S
    allowed = {"qt", "ctk", "slicer", "vtk", "vtkmodules"} | set(sys.stdlib_module_names)
    assert {name.split(".")[0] for name in set(sys.modules) - before} <= allowed


def test_open_show_compute_save(widget, dicom, tmp_path, monkeypatch, messages) -> None:
    import qt

    ui = widget.ui
    assert not ui.findButton.enabled and "folder" in ui.findButton.toolTip
    ui.folderPath.currentPath = str(dicom)
    assert ui.findButton.enabled and not ui.showButton.enabled
    ui.findButton.click()
    assert ui.courseBox.count == 1 and "DEMO-LUNG" in ui.courseBox.itemText(0)
    ui.showButton.click()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    assert ui.computeButton.enabled and not ui.csvButton.enabled
    ui.computeButton.click()
    assert ui.metricsView.mrmlTableNode().GetNumberOfRows() > 5
    path = tmp_path / "out.csv"
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", staticmethod(lambda *a: str(path)))
    ui.csvButton.click()
    assert "PTV" in path.read_text("utf-8-sig")
    assert messages == []
    slicer.mrmlScene.Clear(0)
    widget.onSceneEndClose()
    assert not ui.computeButton.enabled and "course" in ui.computeButton.toolTip


def test_a_wrong_folder_is_said(widget, messages, tmp_path, app, monkeypatch) -> None:
    from Testing.Slicer.standin import qt

    monkeypatch.setitem(app.__dict__, "_testing", False)
    widget.ui.folderPath.currentPath = str(tmp_path)
    widget.ui.findButton.click()
    assert messages[0][0] == "errorDisplay" and "no courses in" in messages[0][1]
    assert len(qt.slot_errors) == 1
    qt.slot_errors.clear()


def test_packages_come_on_a_click_only_and_the_size_is_said(widget, monkeypatch) -> None:
    asked = []
    packaging = types.ModuleType("slicer.packaging")
    packaging.load_requirements = lambda path: Path(path).read_text("utf-8").split()

    def pip_ensure(
        requirements,
        constraints=None,
        skip_packages=None,
        prompt_install=True,
        prompt_restart=True,
        requester=None,
        skip_in_testing=True,
        show_progress=True,
    ):  # the signature of Slicer 5.12
        asked.append((requirements, skip_packages, requester, prompt_install))

    packaging.pip_ensure = pip_ensure
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    monkeypatch.setattr(slicer, "packaging", packaging, raising=False)
    assert "MB" in widget.ui.packagesLabel.text and "pyarrow" in widget.ui.packagesLabel.text
    assert asked == []
    widget.ui.installButton.click()
    ((requirements, skipped, requester, prompts),) = asked
    assert any(line.startswith("pandas") for line in requirements)
    assert {"numpy", "SimpleITK", "pydicom"} <= set(skipped)
    assert requester == "RTPipeline" and prompts


def test_what_is_installed_is_what_the_library_needs(repository) -> None:
    """requirements.txt is pyproject's list without what Slicer ships."""
    import tomllib

    project = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["project"]
    shipped = ("numpy", "scipy", "SimpleITK", "pydicom")
    wanted = [line for line in project["dependencies"] if not line.startswith(shipped)]
    path = repository / "RTPipeline" / "Resources" / "requirements.txt"
    assert sorted(path.read_text("utf-8").split()) == sorted(wanted)


def test_batch_takes_the_arguments_of_the_program(repository, tmp_path) -> None:
    """From a foreign folder, without PYTHONPATH: the script finds the library itself."""
    script = repository / "RTPipelineLib" / "scene" / "batch.py"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", script, *arguments],
            cwd=tmp_path,
            env={"PATH": ""},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    assert "rtpipeline" in run("--version").stdout
    assert run("--", "--version").returncode == 0
    assert run("run").returncode == 2


def test_the_doctor_says_what_is_there_and_what_is_missing(widget, messages) -> None:
    widget.ui.doctorButton.click()
    text = widget.ui.messageText.plainText
    assert text.startswith("RT Pipeline ") and messages == []
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith("  ")}
    assert "arrays" in lines["numpy"] and "MISSING" not in lines["numpy"]
    missing = {name for name, line in lines.items() if "MISSING" in line}
    from RTPipelinePanels.packages import missingPackages

    assert missing == set(missingPackages())
    assert "nan" not in text.split("numpy")[0]


def test_sample_data_is_made_by_a_click_and_only_once(module, app, scene, monkeypatch) -> None:
    from Testing.Slicer.standin.sample_data import build_sample_data_module

    sample_data = build_sample_data_module()
    monkeypatch.setitem(sys.modules, "SampleData", sample_data)
    app.startupCompleted.emit()
    ((category, name, load),) = sample_data.registered
    assert (category, name) == ("RT Pipeline", "RTPipelineSample")
    load(None)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    (folder,) = Path(app.cachePath).iterdir()
    made = folder.stat().st_mtime_ns
    load(None)
    assert [path.stat().st_mtime_ns for path in Path(app.cachePath).iterdir()] == [made]


def test_the_self_test_passes(module, scene) -> None:
    slicer.selfTests["RTPipeline"]()
