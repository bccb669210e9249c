"""CMake, with a strict stand-in for Slicer's macros, installs the extension; it runs from there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from Testing.structures.test_slicer_engine import slicer_python

ROOT = Path(__file__).parents[2]
CMAKE = shutil.which("cmake")
INSTALLED = "lib/Slicer-5.12/qt-scripted-modules"
pytestmark = pytest.mark.skipif(CMAKE is None, reason="CMake is not installed")


def configure(source: Path, build: Path) -> subprocess.CompletedProcess[str]:
    folder = Path(__file__).parent / "cmake"
    command = [CMAKE, "-S", source, "-B", build, f"-DSlicer_DIR={folder}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def files_of(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "CMakeLists.txt"
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What CMake needs of the repository."""
    folder = tmp_path_factory.mktemp("source")
    shutil.copy(ROOT / "CMakeLists.txt", folder)
    for name in ("RTPipeline", "RTPipelineLib"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def installed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    build, prefix = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("prefix")
    done = configure(source, build)
    assert done.returncode == 0, done.stderr
    subprocess.run([CMAKE, "--install", build, "--prefix", prefix], check=True, capture_output=True)
    return prefix / INSTALLED


def test_every_file_is_installed(installed: Path) -> None:
    library = {f"RTPipelineLib/{name}" for name in files_of(ROOT / "RTPipelineLib")}
    assert files_of(installed) == library | files_of(ROOT / "RTPipeline")


def test_only_modules_lie_where_slicer_looks_for_them(installed: Path) -> None:
    assert [path.name for path in installed.glob("*.py")] == ["RTPipeline.py"]


def test_the_library_runs_from_there(installed: Path, tmp_path: Path) -> None:
    command = [sys.executable, installed / "RTPipelineLib" / "scene" / "batch.py", "--version"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0 and done.stdout.startswith("rtpipeline ")


def test_the_module_loads_from_there(installed: Path, tmp_path: Path) -> None:
    python = slicer_python()
    if python is None:
        pytest.skip("3D Slicer's engine is not installed: `make slicer`")
    program = f"""
import os, sys
os.environ["QT_QPA_PLATFORM"] = "offscreen"
sys.path.append({str(ROOT / "Testing" / "Slicer")!r})
from standin.boot import start
from standin.app import load_scripted_module
module = load_scripted_module({str(installed / "RTPipeline.py")!r}, start())
module.widgetRepresentation()
import RTPipelineLib.scene.display
print(RTPipelineLib.__file__)
"""
    done = subprocess.run(
        [python, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert Path(done.stdout.split()[-1]).is_relative_to(installed)


@pytest.mark.parametrize(
    ("file", "right", "wrong", "says"),
    [
        ("RTPipeline/CMakeLists.txt", "Resources/UI/", "Resources/Ui/", "listed, but not there"),
        ("RTPipeline/CMakeLists.txt", "RESOURCES $", "RESOURCE $", "listed, but not there"),
        ("RTPipelineLib/CMakeLists.txt", "TARGET_NAME", "TARGET_NAMES", "unknown arguments"),
        ("CMakeLists.txt", "EXTENSION_KEYWORDS", "EXTENSION_KEYWORD", "KEYWORDS is not set"),
        ("CMakeLists.txt", "subdirectory(RTPipelineLib)", "subdirectory(Lib)", "Lib"),
    ],
)
def test_a_misspelt_name_fails(
    source: Path, tmp_path: Path, file: str, right: str, wrong: str, says: str
) -> None:
    copy = tmp_path / "source"
    shutil.copytree(source, copy)
    text = (copy / file).read_text("utf-8")
    assert right in text
    (copy / file).write_text(text.replace(right, wrong), "utf-8")
    done = configure(copy, tmp_path / "build")
    assert done.returncode != 0 and says in done.stderr


def test_the_entry_of_the_extensions_index() -> None:
    entry = json.loads((ROOT / "RTPipeline.json").read_text("utf-8"))
    assert entry["category"] == "Radiotherapy" and entry["build_dependencies"] == []
    assert "catalog-entry-schema-v1.0.2" in entry["$schema"]
    assert (ROOT / "RTPipeline.png").read_bytes()[16:24] == bytes([0, 0, 0, 128, 0, 0, 0, 128])
