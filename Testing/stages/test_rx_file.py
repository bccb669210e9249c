"""The user's prescription table in CSV and YAML."""

from __future__ import annotations

import pytest

from RTPipelineLib.errors import ConfigError
from RTPipelineLib.stages.rx_file import read_prescriptions

HEAD = "patient_id,course_id,level,roi,dose_gy,fractions\n"


@pytest.mark.parametrize("separator", [",", ";"])
def test_rows_of_the_course_and_of_the_patient(tmp_path, separator):
    path = tmp_path / "rx.csv"
    text = HEAD + "P1,A,High,PTV1,70,35\nP1,,Low,PTV2,54.5,\nP1,B,Other,PTV,60,30\nP2,A,X,Y,50,25\n"
    path.write_text(text.replace(",", separator), encoding="utf-8-sig")
    assert read_prescriptions(path, "P1", "A") == [
        {"name": "High", "roi": "PTV1", "dose_gy": 70.0, "fractions": 35},
        {"name": "Low", "roi": "PTV2", "dose_gy": 54.5, "fractions": None},
    ]
    assert read_prescriptions(path, "P3", "A") == []


def test_decimal_comma_of_a_spreadsheet(tmp_path):
    path = tmp_path / "rx.csv"
    path.write_text(HEAD.replace(",", ";") + "P1;;High;PTV;59,4;33\n", encoding="utf-8")
    assert read_prescriptions(path, "P1", "A")[0]["dose_gy"] == 59.4


def test_yaml(tmp_path):
    path = tmp_path / "rx.yaml"
    path.write_text("- {patient_id: 007, roi: PTV, dose_gy: 60}\n", encoding="utf-8")
    assert read_prescriptions(path, "7", "A")[0]["name"] == "PTV"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + "P1,A,High,PTV,0,1\n", "row 1: dose_gy must be a number above 0, found '0'"),
        (HEAD + "P1,A,High,PTV,70 Gy,1\n", "found '70 Gy'"),
        (HEAD + "P1,A,High,PTV,nan,1\n", "found 'nan'"),
        ("patient,dose\nP1,3\n", "row 1: patient_id and dose_gy missing"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_row(tmp_path, text, said):
    path = tmp_path / "rx.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_prescriptions(path, "P1", "A")
    assert said in str(caught.value) and str(path) in str(caught.value)


def test_a_yaml_that_is_no_list(tmp_path):
    path = tmp_path / "rx.yaml"
    path.write_text("P1: 70\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="expected a list of rows"):
        read_prescriptions(path, "P1", "A")
