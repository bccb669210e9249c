"""Runs the tests of `engine/` in the interpreter that has Slicer's engine, and reports them.

That interpreter has what Slicer ships and no pandas, pydantic or YAML: loading, viewing, DVH and
CSV must work before anything is installed. Those of `engine_with_packages/` find the packages of
this interpreter too, as after a click on "Install packages".
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

from Testing.Slicer.conftest import ENGINE
from Testing.structures.test_slicer_engine import ENVIRONMENT, slicer_python

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
BARE, WITH_PACKAGES = "engine", "engine_with_packages"
FILES = [
    f"{folder}/{path.name}"
    for folder in (BARE, WITH_PACKAGES)
    for path in sorted((HERE / folder).glob("test_*.py"))
]


@pytest.mark.skipif(ENGINE, reason="this interpreter has the engine and runs them itself")
@pytest.mark.parametrize("name", FILES)
def test_in_the_engine(name: str) -> None:
    python = slicer_python()
    if python is None:
        pytest.skip(
            f"3D Slicer's engine is not installed: `make slicer`, or name it in {ENVIRONMENT}"
        )
    paths, imports = [str(ROOT)], "slicer, PySide6, pytest"
    if name.startswith(WITH_PACKAGES):
        paths.append(sysconfig.get_paths()["purelib"])
        imports += ", pandas, pyarrow, pydantic, psutil, ruamel.yaml, tqdm"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    tried = subprocess.run([python, "-c", f"import {imports}"], capture_output=True, env=env)
    if tried.returncode:
        pytest.skip("the environment of Slicer's engine is incomplete: run `make slicer` again")
    command = [
        python,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"Testing/Slicer/{name}",
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
