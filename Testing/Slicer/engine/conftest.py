"""A course of synthetic DICOM, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

MODULE = Path(__file__).parents[3] / "RTPipeline" / "RTPipeline.py"


@pytest.fixture(scope="session")
def module(app):
    """The module "RT Pipeline", from its own file."""
    from Testing.Slicer.standin.app import load_scripted_module

    return load_scripted_module(str(MODULE), app)


@pytest.fixture
def widget(module, scene):
    """Its panel; the scene is empty, no folder chosen, nothing said."""
    import slicer

    module.widgetRepresentation()
    panel = slicer.modules.RTPipelineWidget
    panel.ui.folderPath.currentPath = ""
    panel.ui.messageText.setPlainText("")
    return panel


@pytest.fixture(scope="session")
def dicom(tmp_path_factory: pytest.TempPathFactory):
    """The DICOM folder of one synthetic lung patient."""
    from RTPipelineLib.phantoms.cohort import make_cohort

    folder = tmp_path_factory.mktemp("dicom")
    make_cohort(folder, patients=["DEMO-LUNG"])
    return folder


@pytest.fixture
def shown(scene, dicom):
    """That course in the scene."""
    from RTPipelineLib.scene.display import show_course
    from RTPipelineLib.scene.opening import find_courses

    (course,) = find_courses(dicom)
    return show_course(course)
