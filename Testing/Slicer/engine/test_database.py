"""A patient of Slicer's DICOM database becomes a course."""

from __future__ import annotations

from pathlib import Path

import pytest
import slicer


class Database:
    """The names of ctkDICOMDatabase that PythonQt has, over one patient's files."""

    isOpen = True  # noqa: N815

    def __init__(self, files: list[str]) -> None:
        self._files = files

    def patients(self):
        return ("7", "8")

    def fieldForPatient(self, field, key):  # noqa: N802 - CTK's name
        return {"PatientsName": {"7": "Lung^Demo", "8": ""}, "PatientID": {"7": "L1", "8": "E"}}[
            field
        ][key]

    def studiesForPatient(self, key):  # noqa: N802
        return ("1.2",) if key == "7" else ()

    def seriesForStudy(self, study):  # noqa: N802
        return (f"{study}.1", f"{study}.2")

    def filesForSeries(self, series):  # noqa: N802
        return tuple(self._files[0::2] if series.endswith("1") else self._files[1::2])


@pytest.fixture
def widget(module, app, scene, dicom, tmp_path, monkeypatch):
    files = sorted(str(path) for path in dicom.rglob("*") if path.is_file())
    monkeypatch.setattr(slicer, "dicomDatabase", Database(files), raising=False)
    monkeypatch.setitem(app.__dict__, "cachePath", str(tmp_path))
    made = module.createNewWidgetRepresentation()
    yield slicer.modules.RTPipelineWidget
    slicer.modules.RTPipelineWidget.cleanup()
    made.deleteLater()


def test_a_patient_of_the_database_is_found_like_a_folder(widget, messages):
    box = widget.ui.databaseBox
    assert [box.itemText(n) for n in range(1, box.count)] == ["E", "Lung^Demo (L1)"]
    box.setCurrentIndex(2)
    box.activated.emit(2)
    assert widget.ui.courseBox.count == 1 and "DEMO-LUNG" in widget.ui.courseBox.itemText(0)
    folder = Path(widget.ui.folderPath.currentPath)
    assert len(list(folder.iterdir())) > 20
    box.activated.emit(2)  # once more: made anew, not added to
    assert widget.ui.courseBox.count == 1 and messages == []


def test_a_patient_without_files_is_said(widget, messages, app, monkeypatch):
    from Testing.Slicer.standin import qt

    monkeypatch.setitem(app.__dict__, "_testing", False)
    widget.ui.databaseBox.activated.emit(1)
    assert messages[0][0] == "errorDisplay" and "import them again" in messages[0][1]
    qt.slot_errors.clear()


def test_without_a_database_there_is_nothing_to_choose(module, scene):
    module.createNewWidgetRepresentation()
    widget = slicer.modules.RTPipelineWidget
    assert not widget.ui.databaseBox.enabled
    widget.cleanup()
