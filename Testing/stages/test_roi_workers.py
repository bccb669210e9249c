"""ROIs in processes of their own: the same values, and what a ROI that hangs, a process that dies
or one that takes too much memory costs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from RTPipelineLib.config import Config
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Mask, Volume
from RTPipelineLib.radiomics.engine import Extraction, RoiFeatures
from RTPipelineLib.radiomics.parameters import Parameters
from RTPipelineLib.stages import feature_extraction
from RTPipelineLib.stages.feature_extraction import extracted
from RTPipelineLib.stages.feature_rows import KeptFeatures
from RTPipelineLib.stages.radiomics import _Keeper
from RTPipelineLib.stages.roi_workers import Job, Limits, computed

pytest.importorskip("radiomics.base", reason="pyradiomics is not installed (extra radiomics)")

SHAPE = (24, 300, 300)
PARAMETERS = Parameters("p", "", {"binWidth": 25}, {"Original": {}, "Wavelet": {}})
AMPLE = Limits(2, 300.0, 4000.0)


@pytest.fixture(scope="module")
def image() -> Volume:
    array = np.random.default_rng(3).normal(0, 200, SHAPE).astype(np.int16)
    return Volume(array, Grid((0, 0, 0), np.eye(3), (1, 1, 2), SHAPE), "CT", "HU")


def box(name: str, low: tuple[int, int, int], size: tuple[int, int, int], image: Volume) -> Mask:
    array = np.zeros(SHAPE, bool)
    array[tuple(slice(a, a + n) for a, n in zip(low, size, strict=True))] = True
    return Mask(name, array, image.grid)


@pytest.fixture(scope="module")
def masks(image: Volume) -> list[Mask]:
    return [box(f"box {n}", (6, 20 + 30 * n, 40), (8, 12, 12), image) for n in range(4)]


def job_of(image: Volume, masks: list[Mask]) -> tuple[Job, list[list[int]]]:
    extraction = Extraction(image, PARAMETERS)
    rois = [extraction.prepare(mask) for mask in masks]
    return Job(image.grid, PARAMETERS, rois), extraction.groups(rois)


def children() -> Iterator[psutil.Process]:
    for process in psutil.Process(os.getpid()).children(recursive=True):
        try:
            if any("roi_child" in part for part in process.cmdline()):
                yield process
        except psutil.Error:
            continue


def test_same_values_with_any_number_of_processes(
    image: Volume, masks: list[Mask], tmp_path: Path
) -> None:
    job, groups = job_of(image, masks)
    here = dict(Extraction(image, PARAMETERS).run(job.rois))
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        limits = Limits(number, 300.0, 4000.0)
        found = dict(computed(image.array, job, groups, limits, folder))
        assert found == here
    assert not list(children())


def test_a_killed_process_costs_nothing(image: Volume, masks: list[Mask], tmp_path: Path) -> None:
    job, groups = job_of(image, masks)
    found = {}
    for number, result in computed(image.array, job, groups, AMPLE, tmp_path):
        if not found:
            for process in children():
                process.kill()
        found[number] = result
    assert all(isinstance(result, RoiFeatures) for result in found.values())
    assert sorted(found) == [0, 1, 2, 3]


def test_a_roi_whose_process_dies_again_and_again(
    image: Volume, masks: list[Mask], tmp_path: Path
) -> None:
    job, _ = job_of(image, masks[:1])
    over = threading.Event()

    def kill() -> None:
        while not over.is_set():
            for process in children():
                process.kill()
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        ((number, reason),) = computed(image.array, job, [[0]], AMPLE, tmp_path)
    finally:
        over.set()
        killer.join()
    assert number == 0
    assert "its process died twice" in reason


def test_a_roi_that_takes_too_long(image: Volume, masks: list[Mask], tmp_path: Path) -> None:
    # The largest diameter compares every pair of its surface points.
    plate = box("plate", (2, 2, 2), (20, 290, 290), image)
    job, _ = job_of(image, [*masks[:2], plate])
    limits = Limits(1, 6.0, 4000.0)
    found = dict(computed(image.array, job, [[2, 0, 1]], limits, tmp_path))
    assert "not finished after 6 s" in found[2]
    assert isinstance(found[0], RoiFeatures)
    assert isinstance(found[1], RoiFeatures)
    assert not list(children())


def test_a_roi_that_takes_too_much_memory(image: Volume, tmp_path: Path) -> None:
    # Long enough to be looked at: memory is looked at every second.
    plate = box("plate", (2, 2, 2), (20, 290, 290), image)
    job, groups = job_of(image, [plate])
    ((_, reason),) = computed(image.array, job, groups, Limits(1, 300.0, 30.0), tmp_path)
    assert "needed more than 0.0 GB" in reason


def test_what_is_done_is_not_done_again(
    image: Volume, masks: list[Mask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config().model_copy(
        update={"radiomics": Config().radiomics.model_copy(update={"min_voxels": 1})}
    )
    kept = KeptFeatures(tmp_path / "kept")
    first = {}
    for one in extracted(image, masks, config, _Keeper(kept, image)):
        first[one.structure.name] = one.result
        if len(first) == 2:  # the process ends here
            break

    def nothing(*arguments: object) -> Iterator[tuple[int, RoiFeatures]]:
        job = arguments[1]
        numbers.extend(range(len(job.rois)))
        yield from ()

    numbers: list[int] = []
    monkeypatch.setattr(feature_extraction, "computed", nothing)
    again = {
        one.structure.name: one for one in extracted(image, masks, config, _Keeper(kept, image))
    }
    assert {name: one.result for name, one in again.items()} == first
    assert len(numbers) == 2  # the other two
