"""Whose base classes the modules are built on: Slicer's own where a checkout is named."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

SOURCE = os.environ.get("SLICER_SOURCE", "")


@pytest.mark.parametrize("name", ["ScriptedLoadableModule", "i18n", "parameterNodeWrapper"])
def test_a_checkout_replaces_the_stand_ins(app, name: str) -> None:
    """With SLICER_SOURCE all tests here run on its Base/Python/slicer."""
    file = Path(importlib.import_module(f"slicer.{name}").__file__)
    stand_in = Path(__file__).parents[1] / "standin" / "runtime"
    assert file.is_relative_to(Path(SOURCE) if SOURCE else stand_in)
