"""One started application, a clean scene a test, and what message boxes would have said.

These tests need an interpreter with Slicer's engine; `test_in_the_engine.py` starts one.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ENGINE = find_spec("slicer") is not None and find_spec("PySide6") is not None
PACKAGES = all(map(find_spec, ("pandas", "pyarrow", "pydantic", "psutil")))
collect_ignore_glob = [] if ENGINE else ["engine/*"]
collect_ignore_glob += [] if ENGINE and PACKAGES else ["engine_with_packages/*"]
if ENGINE:  # before the first import of Qt and VTK: neither finds a display here
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    if sys.platform == "linux":
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")


@pytest.fixture(scope="session")
def app():
    from Testing.Slicer.standin.boot import start

    return start()


@pytest.fixture
def scene(app):
    import slicer

    from Testing.Slicer.standin import qt

    slicer.mrmlScene.Clear(0)
    qt.slot_errors.clear()
    yield slicer.mrmlScene
    errors = list(qt.slot_errors)
    qt.slot_errors.clear()
    assert not errors, f"exceptions in Qt slots: {errors!r}"


@pytest.fixture
def messages(app, monkeypatch):
    """What slicer.util would have shown in message boxes, as (kind, text)."""
    import slicer

    got = []
    for kind in ("infoDisplay", "warningDisplay", "errorDisplay"):
        monkeypatch.setattr(
            slicer.util, kind, lambda text, *a, _kind=kind, **k: got.append((_kind, text))
        )
    return got
