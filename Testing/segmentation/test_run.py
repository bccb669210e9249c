"""One model on one image: every way in which a program can fail has its status and its sentence."""

import re
from pathlib import Path

import numpy as np
import pytest
from living import alive

from RTPipelineLib.config import load_config
from RTPipelineLib.geometry import Grid
from RTPipelineLib.segmentation.models import find_models
from RTPipelineLib.segmentation.run import Picture, Runner, Settings
from RTPipelineLib.segmentation.watch import Limits

# Feet first, oblique, unequal spacing: what comes back must lie where the image lies.
_TILT = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, -1.0]])
_TILT[:, 0] *= -1  # right-handed again
GRID = Grid([10.0, -200.0, 640.0], _TILT, [2.0, 2.5, 3.0], (12, 20, 24))


@pytest.fixture
def picture() -> Picture:
    array = np.full(GRID.shape, 40, dtype=np.int16)
    array[3:9, 5:12, 4:10] = 110  # liver
    array[2:10, 13:18, 4:20] = -800  # a lung
    return Picture(array, GRID, "CT", "ct")


def _runner(folder: Path, models: str = "[{task: total, fast: true}]", **settings) -> Runner:
    path = folder / "config.yaml"
    path.write_text(f"segmentation:\n  models: {models}\n")
    limits = settings.pop("limits", Limits(60, 60))
    return Runner(find_models(load_config(path)), Settings(limits, 1, **settings))


def test_labels_lie_where_the_image_lies(stub, tmp_path, picture):
    runner = _runner(tmp_path)
    result = runner.run(runner.models.models[0], picture, {})
    assert (result.status, result.reason) == ("done", "")
    assert result.labels.grid.same_as(GRID)
    assert np.array_equal(result.labels.mask("liver"), picture.array == 110)
    assert np.array_equal(result.labels.mask("lung_left"), picture.array == -800)
    assert result.labels.counts()["lung_right"] == 0
    ((_, _, arguments),) = stub.calls
    assert "--ml" in arguments
    assert "--fast" in arguments


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("writes nothing", "it wrote no labels.nii.gz"),
        ("finds nothing", "found none of its 4 structures"),
        ("strange values", r"values that stand for nothing: \[77\]"),
        ("moves it", "mm away from the image"),
        ("turns it", "the image has"),
        ("truncates it", "cannot be read"),
    ],
)
def test_every_failure_has_its_sentence(stub, tmp_path, picture, how, words):
    stub.does(how)
    runner = _runner(tmp_path)
    result = runner.run(runner.models.models[0], picture, {})
    assert result.status == "failed"
    assert result.labels is None
    assert re.search(words, result.reason), result.reason


def test_a_hanging_program_is_ended_with_its_children(stub, tmp_path, picture):
    stub.does("hangs")
    runner = _runner(tmp_path, limits=Limits(60, 4))
    result = runner.run(runner.models.models[0], picture, {})
    assert "printed nothing for 4 s" in result.reason
    ((_, pid, _),) = stub.calls
    assert alive([pid]) == []


def test_the_gpu_lacks_memory(stub, tmp_path, picture):
    stub.does("gpu-memory")
    gpu = "[{task: total, fast: true, device: gpu}]"
    runner = _runner(tmp_path, gpu)
    refused = runner.run(runner.models.models[0], picture, {})
    assert "the memory of the GPU did not suffice" in refused.reason
    runner = _runner(tmp_path, gpu, retry_on_cpu=True)
    result = runner.run(runner.models.models[0], picture, {})
    assert (result.status, result.device) == ("done", "cpu")


def test_a_licence_number_stands_nowhere(stub, tmp_path, picture, caplog):
    stub.add_weights(303)
    number = "aca_" + "7" * 14
    licence = tmp_path / "licence"
    licence.write_text(number)
    path = tmp_path / "config.yaml"
    path.write_text(
        f"segmentation:\n  license_file: {licence}\n  models: [{{task: face, device: cpu}}]\n"
    )
    runner = Runner(find_models(load_config(path)), Settings(Limits(60, 60), 1))
    with caplog.at_level("DEBUG"):
        runner.run(runner.models.models[0], picture, {})
    assert "licence (licence)" in caplog.text  # what the program said of it
    assert number not in caplog.text
    assert number not in str(stub.calls)


@pytest.mark.parametrize(
    ("modality", "slices", "words"),
    [("MR", 12, "made for CT"), ("CT", 1, "one slice"), ("CT", 4, "4 slices")],
)
def test_an_image_that_does_not_fit_is_skipped(stub, tmp_path, picture, modality, slices, words):
    part = Picture(
        picture.array[:slices],
        GRID.crop(slice(0, slices), slice(None), slice(None)),
        modality,
        "ct",
    )
    runner = _runner(tmp_path)
    result = runner.run(runner.models.models[0], part, {})
    assert result.status == "skipped"
    assert words in result.reason
    assert stub.calls == []
