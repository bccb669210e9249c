"""Tables: nothing is lost, invented or run as a formula, and two runs write the same."""

from __future__ import annotations

import csv
import itertools
import logging
from datetime import date
from pathlib import Path

import numpy as np
import openpyxl
import pandas
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from RTPipelineLib.report import tables
from RTPipelineLib.report.codebook import layout
from RTPipelineLib.report.join import join_parquet
from RTPipelineLib.report.tables import (
    FAILURE_COLUMNS,
    arranged,
    metrics_columns,
    rows_frame,
    stream_rows,
    write_table,
    write_workbook,
)

HOSTILE = (
    '=HYPERLINK("http://example.org","PTV")',
    "=1+1",
    "+1",
    "-PTV",
    "@SUM(A1)",
    "https://example.org/a",
    "mailto:x@example.org",
    "12345678901234567890",
    "1e5",
    "007",
    "{=A1}",
    "Prüf, \u03b1/\u03b2; \u524d\u7acb\u817a \U0001f600",
    'a "quoted" name',
    "a\tb",
    "  two  blanks ",
    "<script>alert(1)</script>",
    "NaN",
    "TRUE",
)


@pytest.fixture
def metrics() -> pandas.DataFrame:
    """Rows whose ROI names are hostile and whose numbers are awkward."""
    count = len(HOSTILE)
    numbers = np.random.default_rng(3).uniform(0, 80, count) / 3
    numbers[1], numbers[2], numbers[3] = 0.0, np.nan, 0.1 + 0.2
    return pandas.DataFrame(
        {
            "patient_id": ["P1"] * count,
            "course_id": ["2024-03_A"] * count,
            "roi_number": pandas.array([*range(count - 1), None], dtype="Int64"),
            "roi_name": HOSTILE,
            "Dmean_Gy": numbers,
            "rx_gy": [None] * count,
            "flags": ["", None, *["a;b"] * (count - 2)],
        }
    )


def read_sheet(path: Path, name: str) -> list[list[openpyxl.cell.Cell]]:
    book = openpyxl.load_workbook(path)
    return [list(row) for row in book[name].iter_rows()]


# -- XLSX -----------------------------------------------------------------------------------------


def test_the_workbook_holds_what_the_parquet_file_holds(metrics, tmp_path):
    write_table(metrics, tmp_path, "dvh_metrics")
    record = pandas.read_parquet(tmp_path / "dvh_metrics.parquet")
    write_workbook({"dvh_metrics": record}, tmp_path / "results.xlsx")
    head, *body = read_sheet(tmp_path / "results.xlsx", "dvh_metrics")
    assert [cell.value for cell in head] == list(record.columns)
    assert len(body) == len(record)
    for row, values in zip(body, record.itertuples(index=False), strict=True):
        for cell, value in zip(row, values, strict=True):
            if isinstance(value, str) and value:
                assert (cell.data_type, cell.value) == ("s", value)
            elif isinstance(value, str) or pandas.isna(value):
                assert cell.value is None
            else:
                # XLSX stores 16 significant digits.
                assert cell.data_type == "n"
                assert cell.value == pytest.approx(value, rel=1e-15, abs=0)


def test_no_text_becomes_a_formula_or_a_link(metrics, tmp_path):
    write_workbook({"dvh_metrics": metrics}, tmp_path / "results.xlsx")
    _, *body = read_sheet(tmp_path / "results.xlsx", "dvh_metrics")
    names = [row[3] for row in body]
    assert [cell.value for cell in names] == list(HOSTILE)
    assert {cell.data_type for cell in names} == {"s"}
    assert all(cell.hyperlink is None for cell in names)


def test_the_header_is_frozen_and_can_be_filtered(metrics, tmp_path):
    write_workbook({"dvh_metrics": metrics}, tmp_path / "results.xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "results.xlsx")["dvh_metrics"]
    assert sheet.freeze_panes == "C2"
    assert sheet.auto_filter.ref == f"A1:G{len(HOSTILE) + 1}"
    assert sheet.column_dimensions["A"].width > 5


def test_a_table_beyond_the_limits_says_that_it_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "XLSX_ROWS", 6)
    frame = pandas.DataFrame({"patient_id": [f"P{n}" for n in range(6)]})
    write_workbook({"quality": frame, "fits": frame[:5]}, tmp_path / "results.xlsx")
    note, head, *body = read_sheet(tmp_path / "results.xlsx", "quality")
    assert note[0].value.startswith("Only 4 of 6 rows and 1 of 1 columns fit here")
    assert note[0].value.endswith("quality.parquet")
    assert head[0].value == "patient_id"
    assert [row[0].value for row in body] == ["P0", "P1", "P2", "P3"]
    assert len(read_sheet(tmp_path / "results.xlsx", "fits")) == 6


def test_curves_are_named_but_not_written(tmp_path):
    curves = pandas.DataFrame({"dose_gy": np.arange(1234.0)})
    curves.to_parquet(tmp_path / "curves.parquet", index=False)
    joined = join_parquet([tmp_path / "curves.parquet"], tmp_path, "dvh_curves")
    write_workbook({"dvh_curves": joined}, tmp_path / "results.xlsx")
    ((cell,),) = read_sheet(tmp_path / "results.xlsx", "dvh_curves")
    assert cell.value == "1,234 rows, too many for a sheet: see dvh_curves.parquet"


def test_values_that_excel_cannot_hold(tmp_path):
    long = "x" * 40_000
    frame = pandas.DataFrame(
        {"text": [long, "a\x01b", None], "number": [np.inf, -np.inf, 1.0], "yes": [True] * 3}
    ).assign(when=date(2024, 3, 1))
    write_workbook({"t": frame}, tmp_path / "results.xlsx")
    _, *body = read_sheet(tmp_path / "results.xlsx", "t")
    assert body[0][0].value == "x" * 32_766 + "…"
    assert openpyxl.utils.escape.unescape(body[1][0].value) == "a\x01b"
    assert [row[1].value for row in body] == ["inf", "-inf", 1]
    assert body[0][2].value is True
    assert body[0][3].value == "2024-03-01"


def test_a_table_without_rows_or_columns(tmp_path):
    frames = {"failures": pandas.DataFrame(columns=FAILURE_COLUMNS), "empty": pandas.DataFrame()}
    write_workbook(frames, tmp_path / "results.xlsx")
    (head,) = read_sheet(tmp_path / "results.xlsx", "failures")
    assert tuple(cell.value for cell in head) == FAILURE_COLUMNS


# -- Parquet and CSV ------------------------------------------------------------------------------


def test_parquet_keeps_every_text_and_number(metrics, tmp_path):
    assert write_table(metrics, tmp_path, "t") == [tmp_path / "t.parquet"]
    back = pandas.read_parquet(tmp_path / "t.parquet")
    assert back["roi_name"].to_list() == list(HOSTILE)
    np.testing.assert_array_equal(back["Dmean_Gy"], metrics["Dmean_Gy"])
    assert back["rx_gy"].isna().all()
    assert back["Dmean_Gy"][1] == 0.0
    assert np.isnan(back["Dmean_Gy"][2])


def test_csv_is_safe_to_open_and_keeps_numbers(metrics, tmp_path):
    write_table(metrics, tmp_path, "t", csv=True, parquet=False)
    data = (tmp_path / "t.csv").read_bytes()
    assert data.startswith(b"patient_id,")
    assert b"\r" not in data
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row, name, number in zip(rows, HOSTILE, metrics["Dmean_Gy"], strict=True):
        assert row["roi_name"][0] not in "=+-@\t"
        assert row["roi_name"].removeprefix("'") == name.replace("\t", " ")
        assert (row["Dmean_Gy"] == "") if np.isnan(number) else float(row["Dmean_Gy"]) == number
        assert row["rx_gy"] == ""
    assert not (tmp_path / "t.parquet").exists()


def test_negative_numbers_stay_numbers_in_csv(tmp_path):
    write_table(pandas.DataFrame({"shift": [-1.5]}), tmp_path, "t", csv=True)
    assert (tmp_path / "t.csv").read_text() == "shift\n-1.5\n"


@given(text=st.text(max_size=30))
@settings(max_examples=40)
def test_no_csv_cell_starts_a_formula_or_breaks_its_line(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("csv")
    write_table(pandas.DataFrame({"a": ["x", text]}, dtype=object), folder, "t", csv=True)
    with (folder / "t.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    cell = rows[2][0] if rows[2] else ""
    assert len(rows) == 3
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert not set(cell) & {"\n", "\r", "\x00", "\u2028"}


def test_a_write_that_fails_leaves_the_old_table(tmp_path):
    good = pandas.DataFrame({"a": [1]})
    write_table(good, tmp_path, "t")
    with pytest.raises(Exception, match=r"Conversion failed|Expected bytes|tried to convert"):
        write_table(pandas.DataFrame({"a": [1, "x"]}, dtype=object), tmp_path, "t")
    assert pandas.read_parquet(tmp_path / "t.parquet")["a"].to_list() == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


# -- order ----------------------------------------------------------------------------------------


def test_rows_are_sorted_by_patient_course_source_number_and_dose():
    keys = ["patient_id", "course_id", "source", "roi_number", "dose_source"]
    rows = list(
        itertools.product(["P1", "P2"], ["A", "B"], ["auto", "clinical"], [2, 10], ["course", "p"])
    )
    frame = pandas.DataFrame(rows, columns=keys)
    mixed = frame.sample(frac=1, random_state=5)
    pandas.testing.assert_frame_equal(arranged(mixed, "dvh_metrics"), frame)


def test_curves_of_two_structure_sets_do_not_mingle():
    frame = pandas.DataFrame(
        {"roi_name": "PTV", "structure_set_uid": ["1.2", "1.1"] * 3, "dose_gy": [2, 2, 1, 1, 0, 0]}
    )
    found = arranged(frame, "dvh_curves")
    assert found["structure_set_uid"].to_list() == ["1.1"] * 3 + ["1.2"] * 3
    assert found["dose_gy"].to_list() == [0, 1, 2] * 2


def test_rows_get_every_column_and_survive_an_undecodable_file_name(tmp_path):
    rows = [
        {"patient_id": "P2", "error": "damaged", "file": "caf\udce9.dcm"},
        {"patient_id": "P1", "error": "x", "host": "n7"},
    ]
    frame = rows_frame(rows, "failures")
    assert list(frame.columns) == [*FAILURE_COLUMNS, "host"]
    assert frame["file"].to_list()[1] == "caf\\udce9.dcm"
    assert frame["patient_id"].to_list() == ["P1", "P2"]
    write_table(frame, tmp_path, "failures", csv=True)
    assert list(rows_frame([], "failures").columns) == list(FAILURE_COLUMNS)


def test_columns_of_metrics():
    assert metrics_columns(["flags", "V20Gy_%", "V5Gy_%", "patient_id"]) == [
        "patient_id",
        "V5Gy_%",
        "V20Gy_%",
        "flags",
    ]


# -- joining courses ------------------------------------------------------------------------------


def joined_frame(
    folder: Path, paths: list[Path], table: str = "dvh_metrics"
) -> tuple[pandas.DataFrame, list]:
    """The joined table as a frame, and what was left out."""
    joined = join_parquet(sorted(paths), folder, table)
    frame = pandas.read_parquet(joined.path)
    assert (list(frame.columns), len(frame)) == (list(joined.columns), joined.rows)
    return frame, list(joined.failures)


def course_file(folder: Path, name: str, **columns: object) -> Path:
    path = folder / name / "metrics.parquet"
    path.parent.mkdir(parents=True)
    frame = pandas.DataFrame({"patient_id": [name], "roi_number": [1], **columns})
    frame.to_parquet(path, index=False)
    return path


def test_columns_that_only_some_courses_have_stay_empty_elsewhere(tmp_path, caplog):
    paths = [
        course_file(tmp_path, "P2", **{"V20Gy_%": [1.5], "flags": ["x"], "rx_gy": [None]}),
        course_file(tmp_path, "P1", **{"V5Gy_%": [0.0], "flags": [None], "rx_gy": [70]}),
    ]
    with caplog.at_level(logging.WARNING):
        frame, failures = joined_frame(tmp_path / "joined", paths)
    assert failures == []
    expected = ["patient_id", "roi_number", "rx_gy", "V5Gy_%", "V20Gy_%", "flags"]
    assert list(frame.columns) == expected
    assert frame["patient_id"].to_list() == ["P1", "P2"]
    assert frame["V5Gy_%"][0] == 0.0
    assert np.isnan(frame["V5Gy_%"][1])
    assert np.isnan(frame["V20Gy_%"][0])
    assert frame["rx_gy"][0] == 70.0
    assert "some of 2 courses lack columns" in caplog.text
    assert "V5Gy_% (1), V20Gy_% (1)" in caplog.text


def test_a_bad_file_costs_itself_only(tmp_path):
    good = course_file(tmp_path, "P1", volume_cc=[1.0])
    whole = good.read_bytes()
    bad = {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "text": b"not a parquet file at all",
        "flipped": whole[:20] + bytes(255 - b for b in whole[20:-100]) + whole[-100:],
    }
    paths = [good]
    for name, data in bad.items():
        path = tmp_path / name / "metrics.parquet"
        path.parent.mkdir()
        path.write_bytes(data)
        paths.append(path)
    paths.append(tmp_path / "missing" / "metrics.parquet")
    paths.append(tmp_path)
    paths.append(course_file(tmp_path, "P2", volume_cc=["a text"]))
    frame, failures = joined_frame(tmp_path / "joined", paths)
    assert frame["patient_id"].to_list() == ["P1"]
    assert {path for path, _ in failures} == set(paths[1:])
    reasons = {path.parent.name: reason for path, reason in failures}
    assert reasons["missing"] == "metrics.parquet is missing; run the course again"
    assert "volume_cc" in reasons["P2"]
    assert all("run the course again" in reason and "\n" not in reason for _, reason in failures)


def test_a_course_without_rows_changes_nothing(tmp_path):
    first = course_file(tmp_path, "P1", volume_cc=[1.0])
    empty = tmp_path / "P0" / "metrics.parquet"
    empty.parent.mkdir()
    pandas.DataFrame(columns=["patient_id", "roi_number", "volume_cc"]).to_parquet(empty)
    frame, failures = joined_frame(tmp_path / "joined", [empty, first])
    assert failures == []
    assert frame["volume_cc"].to_list() == [1.0]


def test_the_same_courses_in_any_order_give_the_same_bytes(tmp_path):
    paths = [
        course_file(tmp_path, f"P{n}", **{f"V{n}Gy_%": [n / 7], "flags": ["x"]}) for n in range(4)
    ]
    written = []
    for number, order in enumerate((paths, paths[::-1])):
        folder = tmp_path / f"results{number}"
        joined = join_parquet(sorted(order), folder, "dvh_metrics", csv=True)
        write_workbook({"dvh_metrics": joined}, folder / "results.xlsx")
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert written[0] == written[1]
    assert sorted(written[0]) == ["dvh_metrics.csv", "dvh_metrics.parquet", "results.xlsx"]


def test_the_types_of_the_most_courses_count(tmp_path):
    odd = course_file(tmp_path, "P0", rx_gy=["seventy"])  # of an older version, and first
    paths = [course_file(tmp_path, f"P{n}", rx_gy=[70.0 + n]) for n in (1, 2)]
    paths.append(course_file(tmp_path, "P3", rx_gy=[73]))  # whole numbers fit
    frame, failures = joined_frame(tmp_path / "joined", [odd, *paths])
    assert frame["rx_gy"].to_list() == [71.0, 72.0, 73.0]
    ((path, reason),) = failures
    assert path == odd and "rx_gy" in reason and "run the course again" in reason


def test_a_table_from_disk_fills_a_sheet_as_one_from_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_BLOCK_ROWS", 2)
    rows = [{"patient_id": f"P{n}", "courses": n} for n in range(7)]
    types = {"patient_id": pyarrow.string(), "courses": pyarrow.int64()}
    table = stream_rows(iter(rows), types, tmp_path, "roster", csv=True)
    assert table.rows == 7 and len((tmp_path / "roster.csv").read_text().splitlines()) == 8
    for limit, kept in ((8, 7), (7, 5)):
        monkeypatch.setattr(tables, "XLSX_ROWS", limit)
        for name, source in (("a", table), ("b", rows_frame(rows, "roster")[list(types)])):
            write_workbook({"roster": source}, tmp_path / f"{name}.xlsx")
        sheets = [
            [[cell.value for cell in row] for row in read_sheet(tmp_path / f"{n}.xlsx", "roster")]
            for n in "ab"
        ]
        assert sheets[0] == sheets[1] and sheets[0][-1] == [f"P{kept - 1}", kept - 1]


# -- tables that are longer than the memory -------------------------------------------------------


def curve_file(folder: Path, patient: str, **columns: object) -> Path:
    path = folder / patient / "curves.parquet"
    path.parent.mkdir(parents=True)
    frame = {"patient_id": patient, "roi_name": ["=B", "=B", "A"], "dose_gy": [0.0, 0.01, 0.0]}
    pandas.DataFrame({**frame, **columns}).to_parquet(path, index=False)
    return path


def test_a_table_joined_on_disk_is_the_one_joined_in_memory(tmp_path):
    paths = [
        curve_file(tmp_path, "P1", volume_cc=[2, 1, 3]),
        curve_file(tmp_path, "P2", volume_cc=[2.5, 1.5, 3.5], volume_percent=[100.0, 50.0, 100.0]),
        curve_file(tmp_path, "P3", volume_cc=[None, None, None]),
    ]
    parts = [arranged(pandas.read_parquet(path), "dvh_curves") for path in paths]
    parts[2]["volume_cc"] = np.nan  # it holds no number
    frame = arranged(pandas.concat(parts, ignore_index=True), "dvh_curves")
    write_table(frame, tmp_path / "memory", "dvh_curves", csv=True)
    joined = join_parquet(paths, tmp_path / "disk", "dvh_curves", csv=True)
    assert (list(joined.columns), joined.rows, joined.failures) == (list(frame.columns), 9, ())
    pandas.testing.assert_frame_equal(
        pandas.read_parquet(tmp_path / "disk" / "dvh_curves.parquet"), frame
    )
    texts = [(tmp_path / way / "dvh_curves.csv").read_bytes() for way in ("memory", "disk")]
    assert texts[0] == texts[1]


def test_a_bad_file_costs_a_table_joined_on_disk_itself_only(tmp_path):
    good = curve_file(tmp_path, "P1")
    whole = good.read_bytes()
    flipped = tmp_path / "P0" / "curves.parquet"  # its footer is whole, its rows are not
    flipped.parent.mkdir()
    flipped.write_bytes(whole[:20] + bytes(255 - b for b in whole[20:200]) + whole[200:])
    joined = join_parquet([flipped, good, tmp_path / "none.parquet"], tmp_path, "dvh_curves")
    assert [path for path, _ in joined.failures] == [flipped, tmp_path / "none.parquet"]
    assert joined.rows == len(pandas.read_parquet(tmp_path / "dvh_curves.parquet")) == 3


def test_no_file_gives_a_table_joined_on_disk_without_rows(tmp_path):
    assert join_parquet([], tmp_path, "dvh_curves").columns == tuple(layout("dvh_curves"))
    found = pandas.read_parquet(tmp_path / "dvh_curves.parquet")
    assert (list(found.columns), len(found)) == (layout("dvh_curves"), 0)
