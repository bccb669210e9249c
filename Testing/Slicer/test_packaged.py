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
MODULES = sorted(
    path.parent.name
    for path in ROOT.glob("RTPipeline*/CMakeLists.txt")
    if path.parent.name != "RTPipelineLib"
)
PARTS = [*MODULES, "RTPipelineLib"]
INSTALLED = "lib/Slicer-5.12/qt-scripted-modules"
pytestmark = pytest.mark.skipif(CMAKE is None, reason="CMake is not installed")


def configure(source: Path, build: Path, *options: str) -> subprocess.CompletedProcess[str]:
    folder = Path(__file__).parent / "cmake"
    command = [CMAKE, "-S", source, "-B", build, f"-DSlicer_DIR={folder}", *options]
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
    (folder / "Testing").mkdir()
    shutil.copy(ROOT / "Testing" / "CMakeLists.txt", folder / "Testing")
    for name in PARTS:
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
    """The library as a package, the files of all modules flat beside each other."""
    wanted = {f"RTPipelineLib/{name}" for name in files_of(ROOT / "RTPipelineLib")}
    for name in MODULES:
        assert not wanted & files_of(ROOT / name), "two modules have files of one name"
        wanted |= files_of(ROOT / name)
    assert files_of(installed) == wanted


def test_every_tracked_file_is_installed(installed: Path) -> None:
    """What git knows, whatever lies in the folders here."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--", *PARTS],
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("this is no git checkout")
    tracked = [Path(name) for name in listed.stdout.split("\0") if name]
    tracked = [path for path in tracked if path.name != "CMakeLists.txt"]
    assert len(tracked) > 100
    for path in tracked:
        flat = path if path.parts[0] == "RTPipelineLib" else path.relative_to(path.parts[0])
        assert (installed / flat).is_file(), f"{path} is not packaged"


def test_only_modules_lie_where_slicer_looks_for_them(installed: Path) -> None:
    assert sorted(path.stem for path in installed.glob("*.py")) == sorted(MODULES)


def test_the_self_tests_of_every_module_are_declared(source: Path, tmp_path: Path) -> None:
    assert configure(source, tmp_path, "-DBUILD_TESTING=ON").returncode == 0
    declared = (tmp_path / "slicer_tests.txt").read_text("utf-8").split()
    assert sorted(Path(script).stem for script in declared) == sorted(MODULES)


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


# Schema 1.0.2 of the Extensions Index: required keys, and all that it allows with their types.
REQUIRED = {"$schema", "category", "scm_url"}
ALLOWED = {
    **dict.fromkeys(("$schema", "category", "scm_url", "scm_revision", "scm_type"), str),
    **dict.fromkeys(("dicom_support_rule", "build_subdirectory"), str),
    **{"build_dependencies": list, "enabled": bool, "tier": int},
}


def test_the_entry_of_the_extensions_index() -> None:
    entry = json.loads((ROOT / "RTPipeline.json").read_text("utf-8"))
    assert set(entry) >= REQUIRED
    assert {key: type(value) for key, value in entry.items()} == {
        key: ALLOWED[key] for key in entry
    }
    assert entry["category"] == "Radiotherapy" and 1 <= entry["tier"] <= 5
    assert entry["$schema"] == (
        "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/"
        "slicer-extension-catalog-entry-schema-v1.0.2.json#"
    )
    cmake = (ROOT / "CMakeLists.txt").read_text("utf-8")
    assert 'EXTENSION_DEPENDS "NA"' in cmake and entry["build_dependencies"] == []
    assert f'EXTENSION_HOMEPAGE "{entry["scm_url"].removesuffix(".git")}"' in cmake


@pytest.mark.parametrize(
    ("modality", "supported"),
    [("RTDOSE", True), ("RTSTRUCT", True), ("RTPLAN", True), ("US", False)],
)
def test_the_rule_of_dicom_support(modality: str, supported: bool) -> None:
    """The rule is written in what its language and Python have in common."""
    rule = json.loads((ROOT / "RTPipeline.json").read_text("utf-8"))["dicom_support_rule"]
    assert eval(rule, {"__builtins__": {}}, {"Modality": modality}) is supported


def test_the_pictures_of_the_extension_are_there() -> None:
    raw = "https://raw.githubusercontent.com/SlicerRTPipeline/SlicerRTPipeline/main/"
    cmake = (ROOT / "CMakeLists.txt").read_text("utf-8")
    pictures = [part.split('"')[0].split(" ")[0] for part in cmake.split(raw)[1:]]
    assert len(pictures) >= 2 and all((ROOT / name).is_file() for name in pictures)
    assert (ROOT / "RTPipeline.png").read_bytes()[16:24] == bytes([0, 0, 0, 128, 0, 0, 0, 128])
