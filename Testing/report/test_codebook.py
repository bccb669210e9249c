"""Columns: their order is the contract's, and each one is explained."""

from __future__ import annotations

import pytest

from RTPipelineLib.config import Config, load_config
from RTPipelineLib.dvh.metrics import MetricSettings, metric_columns
from RTPipelineLib.report.codebook import (
    ENTRIES,
    codebook,
    codebook_for,
    find_entry,
    layout,
    ordered,
    undocumented,
)

# As the interfaces page has it; programs outside the project read these names.
CONTRACT_FIRST = [
    "patient_id",
    "course_id",
    "source",
    "roi_number",
    "roi_name",
    "roi_standard_name",
    "volume_cc",
    "dose_coverage_percent",
    "rx_gy",
    "rx_level",
    "rx_source",
    "dose_source",
    "Dmean_Gy",
    "Dmin_Gy",
    "Dmax_Gy",
    "D99%_Gy",
    "D98%_Gy",
    "D95%_Gy",
    "D50%_Gy",
    "D5%_Gy",
    "D2%_Gy",
    "D1%_Gy",
    "D0.03cc_Gy",
    "D0.1cc_Gy",
    "D1cc_Gy",
    "D2cc_Gy",
]
CONTRACT_INDICES = ["HI", "CI_RTOG", "CI_Paddick", "GI", "gEUD_Gy", "integral_dose_Gycc"]
CONTRACT_LAST = ["flags", "dose_uids", "structure_set_uid", "plan_uids"]


def test_the_metrics_have_the_order_of_the_contract():
    assert layout("dvh_metrics") == CONTRACT_FIRST + CONTRACT_INDICES + CONTRACT_LAST
    levels = ["V5Gy_%", "V9.5Gy_%", "V10Gy_%", "V5Gy_cc", "V95%_%", "V100%_%", "V95%_cc"]
    users = ["D0.5cc_Gy", "V95%@PTV_High_%", "EQD2_Dmean_Gy", "a new one", "b new one"]
    wanted = CONTRACT_FIRST + levels + CONTRACT_INDICES + users + CONTRACT_LAST
    assert ordered("dvh_metrics", reversed(wanted)) == wanted


def test_failures_have_the_columns_of_the_contract():
    assert layout("failures") == [
        "patient_id",
        "course_id",
        "stage",
        "item",
        "severity",
        "error",
        "file",
    ]


def test_the_order_of_an_unknown_table_is_kept():
    assert ordered("something", ["b", "a", "b"]) == ["b", "a"]


def test_every_column_stands_once_with_a_definition():
    for table, entries in ENTRIES.items():
        names = [entry.column for entry in entries]
        assert len(names) == len(set(names)), table
        assert all(entry.definition for entry in entries), table
    frame = codebook()
    assert list(frame.columns) == ["table", "column", "unit", "definition", "source"]
    assert len(frame) == sum(map(len, ENTRIES.values()))


@pytest.mark.parametrize(
    ("column", "unit", "words"),
    [
        ("V20Gy_%", "%", "at least 20 Gy"),
        ("V12.5Gy_cc", "cc", "at least 12.5 Gy"),
        ("V95%_%", "%", "at least 95 % of rx_gy"),
        ("V95%@PTV_High_cc", "cc", "at least 95 % of the level PTV_High"),
        ("D0.5cc_Gy", "Gy", "hottest 0.5 cc"),
        ("D95%_Gy", "Gy", "hottest 95 %"),
        ("DC5%_Gy", "Gy", "coldest 5 %"),
        ("CV12Gy_cc", "cc", "less than 12 Gy"),
        ("EQD2_D2%_Gy", "Gy", "D2% of the dose in 2 Gy fractions"),
        ("Dmean_Gy_high", "as Dmean_Gy", "band of Dmean_Gy"),
    ],
)
def test_families_are_written_out(column, unit, words):
    entry = find_entry("dvh_metrics", column)
    assert (entry.column, entry.unit) == (column, unit)
    assert words in entry.definition


def test_only_present_columns_are_explained_and_missing_entries_show():
    tables = {"dvh_metrics": ["patient_id", "V20Gy_%", "mystery"], "new": ["x"]}
    frame = codebook_for(tables)
    assert frame["column"].to_list() == ["patient_id", "V20Gy_%", "mystery", "x"]
    assert undocumented(tables) == [("dvh_metrics", "mystery"), ("new", "x")]
    assert frame["definition"].to_list()[2:] == ["(undocumented)"] * 2


def test_every_metric_that_can_be_asked_for_is_explained(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        'dvh: {metrics: ["D0.5cc[Gy]", "D90%[%]", "V35Gy[%]", "V95%[cc]", "DC5%[Gy]", "DC2cc[%]", '
        '"CV12Gy[cc]", "CV95%[%]"]}'
    )
    for config in (Config(), load_config(path)):
        columns = metric_columns(
            MetricSettings(
                dose_levels_gy=config.dvh.dose_levels_gy,
                dose_levels_percent=config.dvh.dose_levels_percent,
                metrics=config.dvh.metrics,
            )
        )
        assert undocumented({"dvh_metrics": columns}) == []
        assert len(columns) >= 2 * 14 + 2 * 7
