"""The module "RT Pipeline Cohort" before anything is installed: it comes up and says what to do."""

from __future__ import annotations

from pathlib import Path

import slicer

from Testing.Slicer.standin.app import load_scripted_module

MODULE = Path(__file__).parents[3] / "RTPipelineCohort" / "RTPipelineCohort.py"


def test_it_names_what_is_missing(app, scene, messages) -> None:
    module = load_scripted_module(str(MODULE), app)
    module.widgetRepresentation()
    widget = slicer.modules.RTPipelineCohortWidget
    text = widget.ui.packagesLabel.text
    assert "pyarrow" in text and "RT Pipeline" in text
    assert not widget.ui.runButton.enabled and not widget.ui.coursesButton.enabled
    widget.cleanup()
    assert messages == []
