"""The check in the real application cannot run here; what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "slicer.yml"


def test_it_runs_in_release_and_preview_on_three_systems() -> None:
    (job,) = YAML(typ="safe").load(WORKFLOW.read_text("utf-8"))["jobs"].values()
    matrix = job["strategy"]["matrix"]
    assert [system["os"] for system in matrix["system"]] == ["linux", "win", "macosx"]
    queries = {slicer["name"]: slicer["query"] for slicer in matrix["slicer"]}
    assert queries["Slicer-5.12"] == "stability=release&version=5.12"
    assert queries["Slicer-preview"] == "stability=nightly"
    installs = {step["if"] for step in job["steps"] if "if" in step}
    assert installs == {f"matrix.system.os == '{system['os']}'" for system in matrix["system"]}


def test_the_folders_that_it_names_are_those_of_the_package() -> None:
    text = WORKFLOW.read_text("utf-8")
    stand_in = (ROOT / "Testing" / "Slicer" / "cmake" / "SlicerConfig.cmake").read_text("utf-8")
    (folder,) = set(re.findall(r"package/(lib/Slicer-5\.12/qt-scripted-modules)", text))
    assert f'LIB_DIR "{folder}"' in stand_in
    assert "$modules/RTPipelineLib/scene/batch.py" in text
    assert (ROOT / "RTPipelineLib" / "scene" / "batch.py").is_file()
