"""Cohort tables of features: every value once, statistics of the right rows, one name a cluster."""

from __future__ import annotations

from hashlib import sha256
from itertools import product
from pathlib import Path

import numpy as np
import pandas
import pytest

from RTPipelineLib.config import Config
from RTPipelineLib.config.section import parameter_presets
from RTPipelineLib.radiomics.reliability import intraclass_correlation
from RTPipelineLib.report.feature_methods import feature_methods
from RTPipelineLib.report.feature_tables import (
    cluster_table,
    feature_columns,
    reliability_table,
    write_long,
)

NAMES = ["original_shape_MeshVolume", "original_firstorder_Mean", "wavelet-LLH_glcm_Id"]
LEVELS = list(product((0.0, 1.0), (0.0, 0.333), (0.0,), (0, 1), (-15.0, 0.0)))
POINT = ["noise", "translation", "rotation_deg", "contour", "volume_percent"]


def who(patient: int, **other: object) -> dict[str, object]:
    row = {
        "patient_id": f"P{patient}",
        "course_id": "C1",
        "source": "clinical",
        "roi_number": 3,
        "roi_name": f"gtv {patient}",
        "roi_standard_name": "GTV",
        "image": "ct",
        "modality": "CT",
        "reason": "",
    }
    return {**row, **other}


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(9)


def perturbed_file(folder: Path, patient: int, values: np.ndarray, **other: object) -> Path:
    """`values` (points, features) as a course's table of perturbed features."""
    rows = [
        who(patient, **other)
        | dict(zip(POINT, level, strict=True))
        | dict(zip(NAMES, v, strict=True))
        for level, v in zip(LEVELS, values, strict=True)
    ]
    path = folder / f"{patient}.parquet"
    pandas.DataFrame(rows).to_parquet(path)
    return path


def features_file(folder: Path, rows: list[dict[str, object]]) -> Path:
    path = folder / "radiomics.parquet"
    pandas.DataFrame(rows).to_parquet(path)
    return path


def row_of(table: pandas.DataFrame, variation: str, feature: str) -> pandas.Series:
    ((_, row),) = table[
        (table["variation"] == variation) & (table["feature"] == feature)
    ].iterrows()
    return row


def test_perturbations_of_all_courses(tmp_path: Path, random: np.random.Generator) -> None:
    values = random.normal(0, 0.1, (6, len(LEVELS), 3)) + 10 * np.arange(1, 7)[:, None, None]
    values[2, 4, 1] = np.nan  # one perturbation failed for one feature
    shuffled = [random.permutation(len(LEVELS)) for _ in range(6)]
    files = []
    for patient, order in enumerate(shuffled):
        path = perturbed_file(tmp_path, patient, values[patient])
        pandas.read_parquet(path).iloc[order].to_parquet(path)  # rows in any order
        files.append(path)
    empty = features_file(tmp_path, [who(n, **dict.fromkeys(NAMES, 1.0)) for n in range(6)])
    table, failures = reliability_table(empty, files)
    assert not failures
    for number, name in enumerate(NAMES):
        row = row_of(table, "perturbation", name)
        used = np.delete(values[..., number], 2, axis=0) if number == 1 else values[..., number]
        expected = intraclass_correlation(used)
        np.testing.assert_allclose([row.icc, row.icc_low, row.icc_high], expected, rtol=1e-12)
        assert (row.subjects, row.left_out) == ((5, 1) if number == 1 else (6, 0))
        assert (row.roi, row.source, row.measurements) == ("GTV", "clinical", len(LEVELS))
        assert row.reliability == "robust"


def test_a_course_of_another_grid_is_left_out(tmp_path: Path, random: np.random.Generator) -> None:
    values = random.normal(0, 1, (5, len(LEVELS), 3)) + 30 * np.arange(5)[:, None, None]
    files = [perturbed_file(tmp_path, n, values[n]) for n in range(5)]
    other = pandas.read_parquet(files[4])
    other.assign(noise=other["noise"] * 2).to_parquet(files[4])
    features = features_file(tmp_path, [who(0, **dict.fromkeys(NAMES, 1.0))])
    row = row_of(reliability_table(features, files)[0], "perturbation", NAMES[0])
    assert (row.subjects, row.left_out, row.measurements) == (4, 1, len(LEVELS))


def test_a_damaged_file_costs_its_course(tmp_path: Path, random: np.random.Generator) -> None:
    values = random.normal(0, 1, (5, len(LEVELS), 3)) + 30 * np.arange(5)[:, None, None]
    files = [perturbed_file(tmp_path, n, values[n]) for n in range(5)]
    files[1].write_bytes(files[1].read_bytes()[:200])
    pandas.read_parquet(files[2]).drop(columns="source").to_parquet(files[2])
    files.append(tmp_path / "gone.parquet")
    features = features_file(tmp_path, [who(0, **dict.fromkeys(NAMES, 1.0))])
    table, failures = reliability_table(features, files)
    assert [path for path, _ in failures] == [files[1], files[2], files[5]]
    assert all("run the course again" in reason for _, reason in failures)
    assert row_of(table, "perturbation", NAMES[0]).subjects == 3


def test_rois_and_sources_are_apart(tmp_path: Path, random: np.random.Generator) -> None:
    values = random.normal(0, 1, (8, len(LEVELS), 3)) + 30 * np.arange(8)[:, None, None]
    files = [perturbed_file(tmp_path, n, values[n]) for n in range(4)]
    files += [perturbed_file(tmp_path, n, values[n], source="total") for n in range(4, 7)]
    files.append(perturbed_file(tmp_path, 7, values[7], roi_standard_name="", roi_name="Liver"))
    features = features_file(tmp_path, [who(0, **dict.fromkeys(NAMES, 1.0))])
    table, _ = reliability_table(features, files)
    found = table[table["feature"] == NAMES[0]].set_index(["roi", "source"])["subjects"].to_dict()
    assert found == {("GTV", "clinical"): 4, ("GTV", "total"): 3, ("Liver", "clinical"): 1}
    alone = table[table["roi"] == "Liver"]
    assert set(alone["reliability"]) == {"not evaluable"}
    assert set(alone["reason"]) == {"1 of at least 3 subjects"}


def test_second_scans_and_automatic_contours(tmp_path: Path, random: np.random.Generator) -> None:
    base = random.normal(0, 30, (8, 3))
    rows = []
    for patient in range(8):
        scans = base[patient] + random.normal(0, 1, (2, 3))
        drawn = base[patient] + random.normal(0, 5, 3)
        rows.append(who(patient, **dict(zip(NAMES, scans[0], strict=True))))
        rows.append(who(patient, image="ct_2", **dict(zip(NAMES, scans[1], strict=True))))
        # A pet and a second ROI of the same standard name are no further measurements.
        rows.append(who(patient, image="pet", modality="PT", **dict.fromkeys(NAMES, 5.0)))
        rows.append(who(patient, roi_number=8, **dict.fromkeys(NAMES, -4.0)))
        if patient < 5:
            rows.append(who(patient, source="total", **dict(zip(NAMES, drawn, strict=True))))
    frame = pandas.DataFrame(rows)
    table, _ = reliability_table(features_file(tmp_path, rows), [], "images")
    first = frame.drop_duplicates(["patient_id", "image", "source"]).set_index("patient_id")
    clinical = first[first["source"] == "clinical"]
    scans = np.stack(
        [clinical[clinical["image"] == image][NAMES[0]].to_numpy() for image in ("ct", "ct_2")], 1
    )
    row = row_of(table, "scan-rescan", NAMES[0])
    np.testing.assert_allclose(row.icc, intraclass_correlation(scans)[0], rtol=1e-12)
    assert (row.subjects, row.measurements, row.modality) == (8, 2, "CT")
    people = clinical[clinical["image"] == "ct"].loc[[f"P{n}" for n in range(5)], NAMES[1]]
    programs = first[first["source"] == "total"][NAMES[1]]
    row = row_of(table[table["modality"] == "CT"], "manual-automatic", NAMES[1])
    both = np.stack([people.to_numpy(), programs.to_numpy()], 1)
    np.testing.assert_allclose(row.icc, intraclass_correlation(both)[0], rtol=1e-12)
    assert (row.subjects, row.source) == (5, "total")


def test_second_courses_are_scans_where_the_user_says_so(
    tmp_path: Path, random: np.random.Generator
) -> None:
    values = random.normal(0, 1, (6, 2, 3)) + 20 * np.arange(6)[:, None, None]
    rows = [
        who(patient, course_id=f"C{scan}", **dict(zip(NAMES, values[patient, scan], strict=True)))
        for scan in (1, 0)
        for patient in range(6)
    ]
    rows.append(who(7, **dict.fromkeys(NAMES, 3.0)))  # scanned once
    path = features_file(tmp_path, rows)
    assert reliability_table(path, [])[0].empty
    assert reliability_table(path, [], "images")[0].empty
    row = row_of(reliability_table(path, [], "courses")[0], "scan-rescan", NAMES[2])
    np.testing.assert_allclose(
        [row.icc, row.icc_low, row.icc_high], intraclass_correlation(values[..., 2]), rtol=1e-12
    )
    assert (row.subjects, row.measurements) == (6, 2)


def test_every_value_is_one_row_of_the_long_table(
    tmp_path: Path, random: np.random.Generator
) -> None:
    values = random.normal(0, 1, (40, 3))
    values[5] = np.nan  # a ROI that failed
    rows = [who(n, **dict(zip(NAMES, v, strict=True))) for n, v in enumerate(values)]
    joined = write_long(features_file(tmp_path, rows), tmp_path, "long")
    long = pandas.read_parquet(joined.path)
    assert joined.rows == len(long) == 39 * 3
    wide = long.pivot(index="patient_id", columns="feature", values="value")
    kept = [n for n in range(40) if n != 5]
    np.testing.assert_array_equal(wide.loc[[f"P{n}" for n in kept], NAMES], values[kept])
    assert feature_columns(["roi_name", "voxels", *NAMES]) == NAMES


def test_clusters_by_roi_with_the_most_robust_in_front(
    tmp_path: Path, random: np.random.Generator
) -> None:
    base, alone = random.normal(0, 1, (2, 20))
    rows = [
        who(n, **dict(zip(NAMES, (base[n], 3 * base[n] + 1, alone[n]), strict=True)))
        for n in range(20)
    ]
    rows.append(who(20, **dict.fromkeys(NAMES, np.nan)))  # no features, no subject
    path = features_file(tmp_path, rows)
    none, _ = reliability_table(path, [])
    known = pandas.DataFrame(
        [
            {"variation": "perturbation", "roi": "GTV", "source": "clinical", "modality": "CT",
             "feature": name, "icc_low": low}
            for name, low in zip(NAMES, (0.5, 0.95, 0.7), strict=True)
        ]
    )  # fmt: skip
    table = cluster_table(path, known).set_index("feature")
    assert table.loc[NAMES, "cluster"].tolist() == [1, 1, 2]
    assert table.loc[NAMES, "representative"].tolist() == [False, True, True]
    assert set(table["subjects"]) == {20}
    assert cluster_table(path, none)["representative"].sum() == 2
    few = cluster_table(features_file(tmp_path, rows[:4]), none)
    assert set(few["reason"]) == {"4 of at least 10 subjects"}
    assert not few["representative"].any()


def test_nothing_at_all(tmp_path: Path) -> None:
    path = features_file(tmp_path, [who(1), who(2)])  # no feature was extracted
    table, _ = reliability_table(path, [])
    assert table.empty
    assert cluster_table(path, table).empty
    assert write_long(path, tmp_path, "long").rows == 0


def test_the_paragraph_of_a_run(tmp_path: Path) -> None:
    preset = parameter_presets()["ct"]
    known = {"parameters": "ct.yaml", "parameters_sha256": sha256(preset.read_bytes()).hexdigest()}
    gone = {"parameters": "mine.yaml", "parameters_sha256": "0" * 64}
    rows = [who(n, engine_version="pyradiomics 3.1", **known) for n in range(3)]
    rows.append(who(4, engine_version="pyradiomics 3.1", modality="MR", **gone))
    rows.append(who(5, reason="too small", engine_version="", **known))
    features_file(tmp_path, rows)
    assert feature_methods(Config(), tmp_path) == ""  # a run without the tables of features
    robustness = tmp_path / "robustness.parquet"
    pandas.DataFrame({"variation": ["manual-automatic"]}).to_parquet(robustness)
    text = feature_methods(Config(), tmp_path)
    assert "CT images (3 ROIs; ct.yaml" in text and "resampled to 1 x 1 x 1 mm" in text
    assert "MR images (1 ROI; mine.yaml, SHA-256 000000000000) were analysed by" in text
    assert "perturbations" not in text
    pandas.DataFrame({"variation": ["perturbation"]}).to_parquet(robustness)
    assert "81 perturbations" in feature_methods(Config(), tmp_path)
