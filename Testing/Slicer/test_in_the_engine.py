"""Runs the tests of `engine/` in the interpreter that has Slicer's engine, and reports them.

That interpreter has what Slicer ships and no pandas, pydantic or YAML: loading, viewing, DVH and
CSV must work before anything is installed.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from Testing.Slicer.conftest import ENGINE
from Testing.structures.test_slicer_engine import ENVIRONMENT, slicer_python

ROOT = Path(__file__).parents[2]
FILES = sorted(path.name for path in (Path(__file__).parent / "engine").glob("test_*.py"))


@pytest.mark.skipif(ENGINE, reason="this interpreter has the engine and runs them itself")
@pytest.mark.parametrize("name", FILES)
def test_in_the_engine(name: str) -> None:
    python = slicer_python()
    if python is None:
        pytest.skip(
            f"3D Slicer's engine is not installed: `make slicer`, or name it in {ENVIRONMENT}"
        )
    tried = subprocess.run([python, "-c", "import slicer, PySide6, pytest"], capture_output=True)
    if tried.returncode:
        pytest.skip("the environment of Slicer's engine is incomplete: run `make slicer` again")
    command = [
        python,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"Testing/Slicer/engine/{name}",
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
