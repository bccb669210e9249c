"""Perturbed features by worker processes: the same values in any number of them, rows for all that
fails, and nothing computed twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas
import pytest

from RTPipelineLib.config import Config
from RTPipelineLib.config.keys import RadiomicsKeys
from RTPipelineLib.config.robustness import RobustnessKeys
from RTPipelineLib.course import Course
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Mask, Volume
from RTPipelineLib.overrides import Overrides
from RTPipelineLib.radiomics.engine import RoiFeatures
from RTPipelineLib.radiomics.parameters import Parameters
from RTPipelineLib.radiomics.perturbation import Perturbation
from RTPipelineLib.radiomics.robustness import perturbed_features
from RTPipelineLib.stages import Task
from RTPipelineLib.stages import perturbed_features as stage
from RTPipelineLib.stages.feature_extraction import Extracted
from RTPipelineLib.stages.feature_rows import ImageFacts, KeptFeatures
from RTPipelineLib.stages.perturbed_features import (
    POINT,
    Measured,
    PerturbedJob,
    perturbed_rows,
    write_robustness,
)
from RTPipelineLib.stages.radiomics import STAGE, _Keeper
from RTPipelineLib.stages.roi_workers import Limits

pytest.importorskip("radiomics.base", reason="pyradiomics is not installed (extra radiomics)")

SHAPE = (20, 60, 60)
GRID = Grid((0, 0, 0), np.eye(3), (1, 1, 2), SHAPE)
PARAMETERS = Parameters(
    "p.yaml", "ab", {"binWidth": 25}, {"Original": {}}, {"firstorder": ["Mean"], "shape": []}
)
KEYS = RobustnessKeys(enabled=True, noise=(0.0, 1.0), translation=(0.0, 0.5), contours=2)
IDS = {"patient_id": "P1", "course_id": "C1"}
MEAN = "original_firstorder_Mean"


def config_of(keys: RobustnessKeys = KEYS, **radiomics: object) -> Config:
    own = RadiomicsKeys(enabled=True, robustness=keys, **radiomics)
    return Config().model_copy(update={"radiomics": own})


def image() -> Volume:
    array = np.random.default_rng(3).normal(50, 20, SHAPE).astype(np.int16)
    return Volume(array, GRID, "CT", "HU")


def ball(name: str, radius: float, number: int, centre: float = 30.0) -> Mask:
    k, j, i = np.indices(SHAPE)
    r2 = (2 * (k - 10.0)) ** 2 + (j - centre) ** 2 + (i - 30.0) ** 2
    return Mask(name, r2 <= radius**2, GRID, number=number)


def measured(masks: list[Mask], folder: Path) -> Measured:
    some = RoiFeatures({MEAN: 1.0}, 100, 100)
    found = [Extracted(mask, PARAMETERS, some, 100) for mask in masks]
    facts = ImageFacts("ct", "CT", "HU")
    return Measured(image, facts, found, partial(_Keeper, KeptFeatures(folder / "kept")))


def by_point(rows: list[dict[str, object]], roi: str) -> Mapping[Perturbation, object]:
    return {
        Perturbation(**{name: row[name] for name in POINT}): row.get(MEAN)
        for row in rows
        if row["roi_name"] == roi
    }


def test_the_same_in_one_process_and_in_three(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = [ball("GTV", 8, 1), ball("Node", 6, 2)]
    found = []
    for number in (1, 3):
        monkeypatch.setattr(stage, "limits_of", lambda _, n=number: Limits(n, 100.0, 4000.0))
        folder = tmp_path / str(number)
        rows = list(perturbed_rows(measured(masks, folder), IDS, config_of()))
        assert len(rows) == 2 * KEYS.points
        found.append({name: by_point(rows, name) for name in ("GTV", "Node")})
    assert found[0] == found[1]
    here = perturbed_features(image(), masks[0], PARAMETERS, KEYS.chain, "P1/C1")
    assert found[0]["GTV"] == {point: one.values[MEAN] for point, one in here}


def test_a_roi_with_nothing_left_costs_itself(tmp_path: Path) -> None:
    # Shrunk by half, three voxels have no margin that leaves a body with two dimensions.
    thin = ball("Seed", 1.0, 2)
    keys = KEYS.model_copy(update={"volume_percent": (0.0, -50.0)})
    task = Task(Course("P1", "C1", ""), tmp_path, tmp_path, config_of(keys), Overrides())
    problems = write_robustness(task, [measured([ball("GTV", 8, 1), thin], tmp_path)], IDS)
    frame = pandas.read_parquet(tmp_path / "robustness.parquet")
    assert len(frame) == 2 * keys.points
    whole, seed = (frame[frame["roi_name"] == name] for name in ("GTV", "Seed"))
    assert (whole["reason"] == "").all() and whole[MEAN].notna().all()
    failed = seed[seed["reason"] != ""]
    assert len(failed) and failed[MEAN].isna().all()
    assert seed[seed["reason"] == ""][MEAN].notna().all()
    (problem,) = problems
    assert problem.item == "Seed" and problem.severity == "warning"
    assert f"{len(failed)} perturbations failed" in problem.message


def test_a_time_limit_gives_rows_with_the_reason(tmp_path: Path) -> None:
    # The largest diameter compares every pair of some 10,000 points of the surface.
    inside = np.zeros(SHAPE, bool)
    inside[1:-1, 1:-1, 1:-1] = True
    keys = RobustnessKeys(
        enabled=True, noise=(0.0, 1.0), translation=(0.0,), contours=1, volume_percent=(0.0,)
    )
    config = config_of(keys, timeout_s=0.01)
    one = measured([Mask("Body", inside, GRID, number=1)], tmp_path)
    rows = list(perturbed_rows(one, IDS, config))
    assert len(by_point(rows, "Body")) == len(rows) == 2
    assert all("radiomics.timeout_s" in row["reason"] and MEAN not in row for row in rows)


def test_what_was_computed_before_a_crash_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = measured([ball("GTV", 8, 1)], tmp_path)
    rows = perturbed_rows(one, IDS, config_of())
    first = [next(rows) for _ in range(5)]
    rows.close()  # the process ends here
    asked: list[int] = []

    def computed(array: object, job: PerturbedJob, orders: list[list[int]], *_: object) -> object:
        asked.extend(number for order in orders for number in order)
        return iter(())

    monkeypatch.setattr(stage, "computed", computed)
    again = list(perturbed_rows(one, IDS, config_of()))
    assert by_point(again, "GTV") == by_point(first, "GTV")
    assert len(asked) == KEYS.points - 5
    other = config_of(KEYS.model_copy(update={"seed": 2}))
    assert not list(perturbed_rows(one, IDS, other))  # drawn otherwise: nothing is known


def test_only_what_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = [ball("GTV", 8, 1), replace(ball("leber", 8, 2), standard_name="Liver")]
    one = measured([*masks, ball("Cord", 8, 3)], tmp_path)
    one = replace(one, found=[*one.found, replace(one.found[0], result="too small")])
    monkeypatch.setattr(stage, "computed", lambda *args: ((n, "x") for o in args[2] for n in o))
    keys = KEYS.model_copy(update={"rois": ("gtv", "LIVER")})
    names = [row["roi_name"] for row in perturbed_rows(one, IDS, config_of(keys))]
    assert {name: names.count(name) for name in names} == {
        "GTV": KEYS.points,
        "leber": KEYS.points,
    }


def test_a_name_that_no_structure_has_is_told(tmp_path: Path) -> None:
    config = config_of(KEYS.model_copy(update={"rois": ("GVT",)}))
    task = Task(Course("P1", "C1", ""), tmp_path, tmp_path, config, Overrides())
    (problem,) = write_robustness(task, [measured([ball("GTV", 8, 1)], tmp_path)], IDS)
    assert problem.severity == "warning" and "radiomics.robustness.rois" in problem.message
    off = replace(task, config=config_of(RobustnessKeys()))
    assert write_robustness(off, [measured([ball("GTV", 8, 1)], tmp_path)], IDS) == []
    assert not (tmp_path / "robustness.parquet").exists()


def test_orders_hold_every_point_once_and_images_whole() -> None:
    for rois, processes in ((1, 4), (3, 2), (2, 3), (5, 1)):
        masks = [ball(str(n), 5, n) for n in range(rois)]
        job = PerturbedJob(GRID, "CT", PARAMETERS, masks, KEYS.chain, "C")
        orders = job.orders(processes)
        assert len(orders) >= min(processes, rois * 4)
        assert sorted(n for order in orders for n in order) == list(range(rois * KEYS.points))
        for order in orders:
            poses = {job.point(n).pose for n in order}
            assert len(order) == len(poses) * KEYS.points // 4


def test_the_stage_runs_again_for_all_keys_but_those_of_the_cohort() -> None:
    assert "radiomics.robustness.seed" in STAGE.sections
    same = config_of(KEYS.model_copy(update={"rescans": "images"}))
    other = config_of(KEYS.model_copy(update={"seed": 9}))
    mark = config_of().section_hash(*STAGE.sections)
    assert same.section_hash(*STAGE.sections) == mark != other.section_hash(*STAGE.sections)
