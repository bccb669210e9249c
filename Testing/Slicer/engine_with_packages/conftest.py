"""A cohort of synthetic DICOM that the program has run over, and the module, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

MODULE = Path(__file__).parents[3] / "RTPipelineCohort" / "RTPipelineCohort.py"


@pytest.fixture(scope="session")
def dicom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients, one of them with a damaged file and one with two courses."""
    from RTPipelineLib.phantoms.cohort import make_cohort

    folder = tmp_path_factory.mktemp("dicom")
    make_cohort(folder, patients=["DEMO-BROKEN", "DEMO-TWICE"])
    return folder


@pytest.fixture(scope="session")
def finished(dicom, tmp_path_factory) -> Path:
    """The output of a whole run over them."""
    from RTPipelineLib.cli import main

    out = tmp_path_factory.mktemp("finished") / "out"
    assert main(["run", str(dicom), str(out), "--quiet"]) == 3
    return out


@pytest.fixture(scope="session")
def module(app):
    from Testing.Slicer.standin.app import load_scripted_module

    return load_scripted_module(str(MODULE), app)


@pytest.fixture
def widget(module, scene):
    """A new panel."""
    import slicer

    made = module.createNewWidgetRepresentation()
    yield slicer.modules.RTPipelineCohortWidget
    slicer.modules.RTPipelineCohortWidget.cleanup()
    made.deleteLater()
