"""Cohort tables of features appear with the features, go with them, and name what is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas

from RTPipelineLib.config import Config
from RTPipelineLib.report.tables import Joined
from RTPipelineLib.run.feature_results import TABLES, feature_results

MEAN = "original_firstorder_Mean"


def features(folder: Path, subjects: int) -> Joined:
    rows = [
        {
            "patient_id": f"P{n}",
            "course_id": "C1",
            "source": source,
            "roi_number": 1,
            "roi_name": "gtv",
            "roi_standard_name": "GTV",
            "image": "ct",
            "modality": "CT",
            "reason": "",
            MEAN: float(n**2 + shift),
        }
        for n in range(subjects)
        for source, shift in (("clinical", 0.0), ("total", 0.1))
    ]
    frame = pandas.DataFrame(rows)
    frame.to_parquet(folder / "radiomics.parquet")
    return Joined(folder / "radiomics.parquet", tuple(frame.columns), len(frame))


def test_tables_come_and_go_with_the_features(tmp_path: Path) -> None:
    tables, failures = feature_results(features(tmp_path, 12), [], Config(), tmp_path)
    assert set(tables) == set(TABLES) and not failures
    (row,) = tables["robustness"].to_dict("records")
    assert row["variation"] == "manual-automatic" and row["reliability"] == "robust"
    assert row["icc"] == 1 and row["subjects"] == 12  # they differ by a constant
    assert tables["radiomics_clusters"]["representative"].sum() == 2  # one for each source
    assert tables["radiomics_long"].rows == 24
    assert (tmp_path / "radiomics_long.parquet").exists()
    (tmp_path / "robustness.csv").write_text("old")
    tables, _ = feature_results(features(tmp_path, 0), [], Config(), tmp_path)
    assert not tables
    assert not any((tmp_path / f"{name}.parquet").exists() for name in TABLES)
    assert not (tmp_path / "robustness.csv").exists()


def test_a_damaged_course_file_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "course.parquet"
    bad.write_bytes(np.arange(50).tobytes())
    tables, failures = feature_results(features(tmp_path, 3), [bad], Config(), tmp_path)
    ((path, reason),) = failures
    assert path == bad and "run the course again" in reason
    assert len(tables["robustness"]) == 1
