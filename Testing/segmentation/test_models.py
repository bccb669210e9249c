"""What is asked for is checked before any work: tasks, classes, weights, licences, networks."""

import json
from pathlib import Path

import pytest

from RTPipelineLib.config import Config, load_config
from RTPipelineLib.errors import ConfigError, UsageError
from RTPipelineLib.segmentation.models import find_models


def _config(folder: Path, models: str, more: str = "") -> Config:
    path = folder / "config.yaml"
    path.write_text(f"segmentation:\n  models: {models}\n{more}", encoding="utf-8")
    return load_config(path)


def _network(folder: Path, name: str = "net", labels: dict | None = None, folds=(0,)) -> Path:
    """A folder that looks like a trained network."""
    network = folder / name
    network.mkdir()
    dataset = {"labels": {"background": 0} | (labels or {"GTV": 1}), "channel_names": {"0": "CT"}}
    (network / "dataset.json").write_text(json.dumps(dataset))
    (network / "plans.json").write_text("{}")
    for fold in folds:
        (network / f"fold_{fold}").mkdir()
        (network / f"fold_{fold}" / "checkpoint_final.pth").write_bytes(b"x")
    return network


def test_a_task_and_its_facts(stub, tmp_path):
    found = find_models(_config(tmp_path, "[{task: total, fast: true, roi_subset: [liver]}]"))
    (model,) = found.models
    assert (model.name, model.source, model.modality) == ("total_fast", "totalsegmentator", "CT")
    assert model.names == ("liver",)


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ("[{task: totl, fast: true}]", "did you mean total"),
        ("[{task: total, fast: true, roi_subset: [livr]}]", "did you mean liver"),
        ("[{task: lungs_only, roi_subset: [lung_left]}]", "roi_subset works with"),
        ("[{task: lungs_only, fast: true}]", "has no fast model"),
        ("[{task: total, fast: true, requires_region: [torax]}]", "did you mean thorax"),
        ("[{task: total, fast: true}, {task: total, fast: true}]", "two models are named"),
    ],
)
def test_mistakes_are_named(stub, tmp_path, models, words):
    with pytest.raises(UsageError, match=words):
        find_models(_config(tmp_path, models))


def test_missing_weights_come_with_the_command(stub, tmp_path):
    with pytest.raises(UsageError) as error:
        find_models(_config(tmp_path, "[{task: total}]"))
    assert "Dataset291, Dataset292" in str(error.value)
    assert "totseg_download_weights -t total" in str(error.value)
    assert "segmentation.weights" in str(error.value)


def test_a_model_with_a_region_needs_the_weights_of_the_first_pass(stub, tmp_path):
    models = "[{task: lungs_only, requires_region: [thorax]}]"
    find_models(_config(tmp_path, models))
    import shutil

    shutil.rmtree(stub.weights / "Dataset297")
    with pytest.raises(UsageError, match="Dataset297"):
        find_models(_config(tmp_path, models))


def test_a_licence_is_needed_and_read_from_a_file(stub, tmp_path):
    stub.add_weights(303)
    with pytest.raises(UsageError, match=r"segmentation\.license_file"):
        find_models(_config(tmp_path, "[{task: face}]"))
    licence = tmp_path / "licence.txt"
    licence.write_text("aca_" + "X" * 14 + "\n")
    more = f"  license_file: {licence}\n"
    assert (
        find_models(_config(tmp_path, "[{task: face}]", more)).home.licence() == "aca_" + "X" * 14
    )
    licence.write_text("too short")
    with pytest.raises(UsageError, match="does not hold a licence number"):
        find_models(_config(tmp_path, "[{task: face}]", more))


def test_without_totalsegmentator_there_is_one_message(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    try:
        import totalsegmentator  # noqa: F401

        pytest.skip("TotalSegmentator is installed in this interpreter")
    except ImportError:
        pass
    with pytest.raises(UsageError, match=r"not installed.*segmentation\.python"):
        find_models(_config(tmp_path, "[{task: total}]"))


def test_a_bare_network_needs_no_totalsegmentator(tmp_path):
    network = _network(tmp_path)
    found = find_models(_config(tmp_path, f"[{{folder: {network}}}]"))
    assert found.catalogue is None
    assert (found.models[0].name, found.models[0].names) == ("net", ("GTV",))


def test_a_model_file_with_rules(tmp_path):
    _network(tmp_path, "first", {"GTV": 1})
    _network(tmp_path, "second", {"GTV": 1, "Node": 2})
    (tmp_path / "model.yaml").write_text(
        "name: lung\nmembers:\n- {folder: first}\n- {folder: second, folds: [0]}\n"
        "structures:\n- {name: Node, rename: GTVn, largest_component: true, within: GTV,"
        " colour: [1, 2, 3]}\n"
    )
    found = find_models(_config(tmp_path, f"[{{folder: {tmp_path / 'model.yaml'}}}]"))
    (model,) = found.models
    assert model.names == ("GTV", "Node")
    assert model.file.structures[0].colour == (1, 2, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\nmembers: []\n", "no member"),
        ("name: x\nmembers:\n- {folder: first, folds: [3]}\n", "no checkpoint_final.pth in fold_3"),
        ("name: x\nmembers:\n- {folder: first}\nstructures:\n- {name: GTW}\n", "did you mean GTV"),
        ("name: x\nmembrs:\n- {folder: first}\n", "members"),
        ("name: x\nmembers:\n- {folder: nothing}\n", "no file or folder"),
    ],
)
def test_mistakes_in_a_model_file(tmp_path, text, words):
    _network(tmp_path, "first")
    (tmp_path / "model.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        find_models(_config(tmp_path, f"[{{folder: {tmp_path / 'model.yaml'}}}]"))


def test_a_network_of_two_channels_is_refused(tmp_path):
    network = _network(tmp_path)
    dataset = json.loads((network / "dataset.json").read_text())
    dataset["channel_names"] = {"0": "CT", "1": "PET"}
    (network / "dataset.json").write_text(json.dumps(dataset))
    with pytest.raises(ConfigError, match="needs 2 images at once"):
        find_models(_config(tmp_path, f"[{{folder: {network}}}]"))
