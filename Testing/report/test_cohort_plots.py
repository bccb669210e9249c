"""The cohort's curves and metrics: statistics against closed forms, reading in parts, and plots."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from RTPipelineLib.report.cohort_plots import bands_section, boxes_section
from RTPipelineLib.report.cohort_stats import Boxes, Point, band_of, box_of, outliers_of
from RTPipelineLib.report.cohort_tables import CourseDose, read_bands, read_metrics

DOSE = np.arange(0, 60.005, 0.01)


def points(*values: float) -> list[Point]:
    return [Point(v, f"P{n}", "C", f"../P{n}/C/report/course.html") for n, v in enumerate(values)]


# -- statistics -----------------------------------------------------------------------------------


def test_a_box_of_ten_values():
    """1 .. 9 and 100: quartiles 3.25, 5.5, 7.75 (R's type 7), fences -3.5 and 14.5."""
    box = box_of("Heart", "clinical", points(*range(1, 10), 100))
    assert box.quartiles == pytest.approx((3.25, 5.5, 7.75))
    assert box.whiskers == (1, 9)
    assert [point.value for point in box.points] == [100]
    assert outliers_of([Boxes("HI", (box,))]) == [("HI", box, box.points[0])]


def test_few_values_are_no_box_and_no_outliers():
    box = box_of("Heart", "clinical", points(3, 1, 200))
    assert box.quartiles is None and [p.value for p in box.points] == [1, 3, 200]
    assert outliers_of([Boxes("HI", (box,))]) == []
    same = box_of("Heart", "clinical", points(*[7] * 6))
    assert same.quartiles == (7, 7, 7) and same.points == ()


def test_the_band_of_straight_lines_is_straight():
    """21 curves that fall from 100 % at 0 to 0 at 20, 21 .. 40 Gy."""
    dose = np.arange(0, 50, 0.5)
    ends = np.arange(20, 41)
    curves = np.clip(100 * (1 - dose / ends[:, None]), 0, None)
    band = band_of("PTV", "clinical", dose, curves)
    assert band.is_summary and band.courses == 21
    at_10 = band.volume_percent[:, 20]
    expected = [100 * (1 - 10 / end) for end in (21, 25, 30, 35, 39)]
    assert at_10 == pytest.approx(expected)
    assert band.dose_gy[-1] == 39  # where 95 % of the curves have ended
    assert band.volume_percent[:, -1].max() == 0


# -- tables ---------------------------------------------------------------------------------------


def write_tables(folder, courses: int, rows: int | None = None) -> dict:
    """Metrics and curves: courses whose heart gets a step at 20 + n Gy, under two doses."""
    metrics, curves, doses = [], [], {}
    for n in range(courses):
        key = {"patient_id": f"P{n}", "course_id": "C", "roi_number": 1}
        doses[f"P{n}", "C"] = CourseDose("total", f"../P{n}/C/report/course.html")
        for dose, shift in (("plan:a", 5), ("total", 0)):
            for source in ("clinical", "model"):
                row = key | {"source": source, "structure_set_uid": "1.2", "dose_source": dose}
                metrics.append(row | {"roi_standard_name": "Heart", "Dmean_Gy": 20.0 + n + shift})
                end = 20 + n + shift + (10 if source == "model" else 0)
                keep = end + 0.005 > DOSE
                percent = np.where(end - 0.005 > DOSE, 100.0, 0.0)[keep]
                curve = pd.DataFrame({"dose_gy": DOSE[keep], "volume_percent": percent})
                curves.append(curve.assign(**row, volume_cc=1.0))
    pd.DataFrame(metrics).to_parquet(folder / "dvh_metrics.parquet")
    pd.concat(curves).to_parquet(folder / "dvh_curves.parquet", row_group_size=rows)
    return doses


@pytest.mark.parametrize("rows", [None, 3333])  # parts that end within curves too
def test_curves_are_read_in_parts_under_the_course_s_own_dose(tmp_path, rows):
    doses = write_tables(tmp_path, 7, rows)
    metrics, names = read_metrics(tmp_path / "dvh_metrics.parquet", doses)
    (means,) = metrics
    assert means.column == "Dmean_Gy"
    assert [(b.source, b.quartiles) for b in means.boxes] == [
        ("clinical", (21.5, 23, 24.5)),
        ("model", (21.5, 23, 24.5)),
    ]
    clinical, model = read_bands(tmp_path / "dvh_curves.parquet", names)
    assert (clinical.source, model.source, clinical.courses) == ("clinical", "model", 7)
    # Steps at 20 .. 26 Gy: the median falls at 23, that of the model at 33.
    for band, step in ((clinical, 23), (model, 33)):
        middle = dict(zip(band.dose_gy.tolist(), band.volume_percent[2].tolist(), strict=True))
        assert middle[step - 0.5] == 100 and middle[step] == 0


def test_a_name_that_one_course_has_is_not_compared(tmp_path):
    doses = write_tables(tmp_path, 1)
    metrics, names = read_metrics(tmp_path / "dvh_metrics.parquet", doses)
    assert metrics == () and read_bands(tmp_path / "dvh_curves.parquet", names) == ()


def test_what_concerns_targets_is_shown_of_targets_only(tmp_path):
    doses = write_tables(tmp_path, 2)
    path = tmp_path / "dvh_metrics.parquet"
    hearts = pd.read_parquet(path).assign(HI=0.1)
    targets = hearts.assign(roi_standard_name="PTV_High", roi_number=2)
    pd.concat([hearts, targets]).to_parquet(path)
    metrics, _ = read_metrics(path, doses)
    shown = {item.column: {box.name for box in item.boxes} for item in metrics}
    assert shown == {"Dmean_Gy": {"Heart", "PTV_High"}, "HI": {"PTV_High"}}


def test_courses_without_a_decided_dose_are_left_out(tmp_path):
    doses = write_tables(tmp_path, 6)
    del doses["P0", "C"]
    metrics, names = read_metrics(tmp_path / "dvh_metrics.parquet", doses)
    assert {box.count for box in metrics[0].boxes} == {5}
    assert {band.courses for band in read_bands(tmp_path / "dvh_curves.parquet", names)} == {5}


def test_tables_without_the_columns_give_nothing(tmp_path):
    pd.DataFrame({"patient_id": ["P"]}).to_parquet(tmp_path / "a.parquet")
    assert read_metrics(tmp_path / "a.parquet", {}) == ((), {})
    assert read_bands(tmp_path / "a.parquet", {}) == ()


# -- plots ----------------------------------------------------------------------------------------


def test_outliers_lead_to_their_courses():
    box = box_of("Heart <b>", "clinical", points(*range(1, 10), 100))
    html = boxes_section([Boxes("Dmean_Gy", (box,))], "Gy")
    assert 'href="../P9/C/report/course.html"' in html
    assert "P9 / C: 100.00" in html
    assert "1 outlier of 1 course" in html
    assert "<b>" not in html and "Heart &lt;b&gt; (10)" in html
    cgy = boxes_section([Boxes("Dmean_Gy", (box,))], "cGy")
    assert "Dmean [cGy]" in cgy and "P9 / C: 10000" in cgy


def test_circles_stand_where_the_axis_says():
    """0 to 100 Gy over 424 units from 190 on: 50 Gy stand at 402."""
    box = box_of("Heart", "clinical", points(0, 50, 100))
    html = boxes_section([Boxes("Dmean_Gy", (box,))], "Gy")
    assert re.findall('<circle cx="(.*?)"', html) == ["190", "402", "614"]
    log = boxes_section(
        [Boxes("volume_cc", (box_of("Heart", "clinical", points(1, 10, 100)),))], "Gy"
    )
    assert re.findall('<circle cx="(.*?)"', log) == ["190", "402", "614"]


def test_bands_have_words_and_a_table():
    dose = np.arange(0, 50, 0.5)
    ends = np.arange(20, 41)[:, None]
    band = band_of("PTV", "clinical", dose, np.clip(100 * (1 - dose / ends), 0, None))
    html = bands_section([band], "Gy")
    assert "Half of the volume gets 15.00 Gy (quartiles 12.50 to 17.50)." in html
    assert "The bands as a table" in html and html.count("<polygon") == 2
    few = band_of("PTV", "model", dose, np.clip(100 * (1 - dose / ends[:3]), 0, None))
    html = bands_section([few], "cGy")
    assert html.count("<polyline") == 3 and "<polygon" not in html
    assert "PTV (model), 3 courses" in html and "Dose [cGy]" in html


def test_without_names_the_sections_say_so():
    assert "No curves of structures" in bands_section((), "Gy")
    assert "No metrics of structures" in boxes_section((), "Gy")
