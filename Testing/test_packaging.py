"""What is built and installed: the wheel, the pins, the extension's lists and make's messages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import RTPipelineLib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
INSTALLED_EXTRAS = ("codecs", "crosscheck", "fast", "plots", "pseudonymise", "seg", "test", "xlsx")


def library_files() -> set[str]:
    """Every file of the library that belongs into a package, relative to the repository."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "RTPipelineLib").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "CMakeLists.txt"
    }


def test_the_wheel_has_every_module_and_data_file(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"slicer_rtpipeline-{RTPipelineLib.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = [name for name in names if name.endswith("entry_points.txt")]
        assert "rtpipeline = RTPipelineLib.cli:main" in archive.read(entry_points).decode()
    inside = {name for name in names if ".dist-info/" not in name}
    assert inside == library_files()
    assert "RTPipelineLib/run/workflow/Snakefile" in inside
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_make_pins_everything_that_it_installs() -> None:
    """Constraints are exact, meet the lower bounds, and reach through to the last dependency."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {}
    for pin in pins:
        (specifier,) = pin.specifier
        assert specifier.operator == "==", str(pin)
        versions[canonicalize_name(pin.name)] = specifier.version
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *(line for e in INSTALLED_EXTRAS for line in extras[e])]
    seen = set()
    while wanted:
        requirement = Requirement(wanted.pop())
        name = canonicalize_name(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        assert name in versions, f"{name} is not pinned in constraints.txt"
        assert requirement.specifier.contains(versions[name]), f"{requirement}: {versions[name]}"
        if name not in seen:
            seen.add(name)
            wanted += metadata.requires(name) or []
    assert set(versions) == seen


def test_dependencies_have_lower_bounds_only() -> None:
    extras = PROJECT["optional-dependencies"].values()
    for line in [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]:
        operators = [specifier.operator for specifier in Requirement(line).specifier]
        assert operators == [">="], line


def test_this_environment_is_the_pinned_one() -> None:
    """What is tested is what the pins say; only where make made the environment."""
    if not (Path(sys.prefix) / ".installed").exists():
        pytest.skip("this environment was not made by make")
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            assert metadata.version(name) == version


def test_the_extension_lists_every_module_file() -> None:
    """Slicer packages silently nothing that is not listed."""
    listing = (ROOT / "RTPipeline" / "CMakeLists.txt").read_text("utf-8")
    listing = listing.replace("${MODULE_NAME}", "RTPipeline")
    present = {
        path.relative_to(ROOT / "RTPipeline").as_posix()
        for path in (ROOT / "RTPipeline").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "CMakeLists.txt"
    }
    assert present
    assert {name for name in present if not re.search(rf"\s{re.escape(name)}\s", listing)} == set()
    top = (ROOT / "CMakeLists.txt").read_text("utf-8")
    for folder in ("RTPipelineLib", "RTPipeline"):
        assert f"add_subdirectory({folder})" in top
        assert (ROOT / folder / "CMakeLists.txt").is_file()


def test_the_extension_metadata_has_no_misspelt_key() -> None:
    """A misspelt key fails silently in the Extensions Index."""
    top = (ROOT / "CMakeLists.txt").read_text("utf-8")
    keys = re.findall(r"^set\(EXTENSION_(\w+)", top, re.MULTILINE)
    expected = "HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS KEYWORDS"
    assert sorted(keys) == sorted(expected.split())


# -- make on a machine that lacks something --------------------------------------------------------


def run_make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    # this test may itself run below make, whose flags must not reach the inner one
    env = {
        key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))
    }
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=60
    )


needs_make = pytest.mark.skipif(
    os.name != "posix" or shutil.which("make") is None, reason="needs make"
)


def fake_python(folder: Path, refuses: str) -> Path:
    """An interpreter that fails for programs which contain some text."""
    script = folder / "python-that-lacks-something"
    script.write_text(
        f'#!/bin/sh\ncase "$2" in *{refuses}*) exit 1;; esac\nexec "{sys.executable}" "$@"\n'
    )
    script.chmod(0o755)
    return script


@needs_make
def test_a_python_that_is_too_old_is_named(tmp_path: Path) -> None:
    python = fake_python(tmp_path, "version_info")
    done = run_make(tmp_path, "demo", f"PYTHON={python}")
    assert done.returncode == 2
    sentence = done.stderr.splitlines()[0]
    assert "Python 3.11, 3.12 or 3.13 is needed" in sentence
    assert str(python) in sentence
    assert not (tmp_path / ".venv").exists()


@needs_make
def test_a_python_without_venv_is_told_what_to_install(tmp_path: Path) -> None:
    python = fake_python(tmp_path, "ensurepip")
    done = run_make(tmp_path, "test", f"PYTHON={python}")
    assert done.returncode == 2
    sentence = done.stderr.splitlines()[0]
    assert f"{python} lacks its venv module" in sentence
    assert "apt install python3-venv" in sentence
    assert not (tmp_path / ".venv").exists()


@needs_make
def test_make_alone_lists_the_targets(tmp_path: Path) -> None:
    done = run_make(tmp_path)
    assert done.returncode == 0
    for target in ("demo", "test", "test-all", "test-cluster", "bench", "lint", "clean"):
        assert f"make {target} " in done.stdout
