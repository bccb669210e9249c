"""Output folders of other versions: made anew where that is safe, else refused with the way out."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from RTPipelineLib.cli import main
from RTPipelineLib.course import course_folders, read_course
from RTPipelineLib.phantoms.scale import tiny_patients


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("older")
    list(tiny_patients(folder / "dicom", 2))
    assert main(["run", *map(str, (folder / "dicom", folder / "out")), *STAGES]) == 0
    return folder / "dicom", folder / "out"


STAGES = ("--stages", "load", "--quiet")


def set_schema(path: Path, number: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": number}))


@pytest.mark.parametrize("schema", [0, 99, None])
def test_a_course_of_another_version_is_a_row_and_then_made_anew(run, schema):
    dicom, out = run
    first, second = course_folders(out)
    set_schema(first / "course.json", schema)
    assert main(["aggregate", str(out), "--quiet"]) == 3
    (failure,) = pd.read_parquet(out / "results" / "failures.parquet").to_dict("records")
    assert f"has schema {schema}" in failure["error"] and "run again" in failure["error"]
    assert failure["file"] == str(first) and failure["item"] == "course"
    patients = pd.read_parquet(out / "results" / "courses.parquet").patient_id
    assert patients.to_list() == [read_course(second).patient_id]
    assert main(["run", str(dicom), str(out), *STAGES]) == 0
    assert read_course(first).patient_id == "TINY-00000"
    assert course_folders(out) == [first, second]


def test_a_folder_of_another_version_is_refused_with_the_way_out(run, capsys):
    dicom, out = run
    text = (out / "run.json").read_text()
    set_schema(out / "run.json", 99)
    for command in ("aggregate", "status", "report"):
        assert main([command, str(out)]) == 2
        said = capsys.readouterr().err
        assert "has schema 99, this version reads" in said and "new folder" in said
    assert main(["run", str(dicom), str(out), *STAGES]) == 2
    assert "written by a newer version" in capsys.readouterr().err
    set_schema(out / "run.json", 0)
    assert main(["run", str(dicom), str(out), *STAGES]) == 0
    assert json.loads((out / "run.json").read_text())["schema"] == json.loads(text)["schema"]
