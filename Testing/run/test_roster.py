"""The roster: which files it takes, what it says of those that it refuses, and the tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from RTPipelineLib.cli import main
from RTPipelineLib.errors import UsageError
from RTPipelineLib.phantoms.scale import tiny_patients
from RTPipelineLib.run.roster import CourseState, read_roster, roster_rows


def written(folder: Path, data: bytes | str) -> Path:
    path = folder / "roster.csv"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


TABLE = "patient_id;arm;age;code\r\n0012;A;64,5;007\r\nMüller;B;;010\r\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_spreadsheets_write(tmp_path, encoding):
    roster = read_roster(written(tmp_path, TABLE.encode(encoding)))
    assert roster.patients == {"0012": ("A", 64.5, "007"), "Müller": ("B", None, "010")}
    assert roster.columns == ("arm", "age", "code") and roster.numeric == {"age"}


def test_commas_quotes_and_other_names_of_the_column(tmp_path):
    roster = read_roster(written(tmp_path, 'arm,Patient ID\n"A, late",P1\n\n,P2\n'))
    assert roster.patients == {"P1": ("A, late",), "P2": (None,)}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", "is empty"),
        ("id,arm\n1,A\n", "no column is named patient_id; found 'id', 'arm'"),
        ("patient_id,PatientID\n1,2\n", "several columns are named patient_id"),
        ("patient_id,arm,arm\n1,A,B\n", "several columns are named 'arm'"),
        ("patient_id,flags\n1,A\n", "the tables have a column 'flags' themselves"),
        ("patient_id,\n1,A\n", "a column has no name"),
        ("patient_id,arm\n1,A\n2\n", "line 3: 1 cells where the header has 2"),
        ("patient_id,arm\n1,A\n,B\n", "line 3: the patient_id is empty"),
        ("patient_id,arm\n1,A\n2,B\n1,C\n", "line 4: patient '1' stands in line 2 already"),
        ("patient_id,arm\n", "names no patient"),
        ('patient_id,arm\n1,"A\n', "correct the quotes"),
        ("patient_id,arm\n1,A\n2,M\xfcller\n".encode("latin-1"), "line 3: not UTF-8; save it as"),
        (b"PK\x03\x04\0\0patient_id", "is no text"),
    ],
)
def test_what_could_mean_two_things_is_refused(tmp_path, data, words):
    with pytest.raises(UsageError, match=r"roster\.csv") as caught:
        read_roster(written(tmp_path, data))
    assert words in str(caught.value)


def test_the_state_of_a_patient_is_the_first_thing_in_the_way(tmp_path):
    names = ["0007", "missing", "planned", "failed", "waits", "half", "done"]
    roster = read_roster(written(tmp_path, "patient_id\n" + "\n".join(names)))
    found = {
        "7": [CourseState(1, False, ("done",))],
        "planned": [CourseState(0, False, ("done",))],
        "failed": [CourseState(1, True, ("done", "partial"))],
        "waits": [CourseState(1, False, ("done",)), CourseState(2, True, ("done",))],
        "half": [CourseState(1, False, ("done", "not run"))],
        "done": [CourseState(1, False, ("done", "skipped"))],
    }
    rows = {row["patient_id"]: row for row in roster_rows(roster, found)}
    assert {name: row["roster_state"] for name, row in rows.items()} == {
        "0007": "missing",
        "7": "not expected",
        "missing": "missing",
        "planned": "no dose",
        "failed": "failed",
        "waits": "needs decision",
        "half": "not finished",
        "done": "done",
    }
    assert rows["0007"]["note"] == "the files have 7: the same ID?"
    assert rows["missing"]["note"] == ""


def test_clinical_columns_stand_in_the_tables_of_a_run(tmp_path):
    list(tiny_patients(tmp_path / "dicom", 2))
    path = written(tmp_path, "patient_id,arm,age\nTINY-00000,A,64\nTINY-00009,B,70\n")
    arguments = ["run", str(tmp_path / "dicom"), str(tmp_path / "out"), "--stages", "load"]
    assert main([*arguments, "--roster", str(path), "--quiet"]) == 0
    results = tmp_path / "out" / "results"
    courses = pd.read_parquet(results / "courses.parquet").set_index("patient_id")
    assert courses.arm["TINY-00000"] == "A" and courses.age["TINY-00000"] == 64.0
    assert pd.isna(courses.arm["TINY-00001"]) and pd.isna(courses.age["TINY-00001"])
    roster = pd.read_csv(results / "roster.csv").set_index("patient_id")
    assert roster.roster_state.to_dict() == {
        "TINY-00000": "not finished",
        "TINY-00001": "not expected",
        "TINY-00009": "missing",
    }
    codebook = pd.read_csv(results / "codebook.csv").set_index(["table", "column"])
    assert codebook.definition["courses", "arm"] == "Column arm of roster.csv"
    path.write_text("patient_id\nTINY-00001\n")  # the next aggregation reads it anew
    assert main(["aggregate", str(tmp_path / "out"), "--quiet"]) == 0
    assert "arm" not in pd.read_parquet(results / "courses.parquet").columns
    path.unlink()
    assert main(["aggregate", str(tmp_path / "out"), "--quiet"]) == 2
