"""The form of the configuration: all keys, checked by the reader of the YAML file."""

from __future__ import annotations

import pytest

from RTPipelineLib.cohort.form import (
    changed_values,
    form_rows,
    problem_of,
    read_values,
    save,
)
from RTPipelineLib.config import Config, defaults_yaml, load_config
from RTPipelineLib.errors import ConfigError


def test_every_key_of_the_file_is_there_with_its_explanation():
    rows = form_rows(Config())
    keys = {row.key for row in rows}
    assert {"merge", "run.jobs", "dvh.uncertainty", "output.pseudonymise"} <= keys
    assert all(row.explanation for row in rows)
    lines = [line for line in defaults_yaml().splitlines() if line and not line.startswith("#")]
    named = [line for line in lines if ":" in line and not line.lstrip().startswith(("#", "-"))]
    assert len(named) == len(rows)
    assert next(row for row in rows if row.key == "output.csv").choices == ("true", "false")


def test_the_values_of_the_form_are_the_defaults():
    values = {row.key: row.value for row in form_rows(Config()) if not row.is_section}
    assert read_values(values) == Config()
    assert changed_values(Config()) == {}


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("run.jobs", "-3", "expected a number from 1"),
        ("run.jobs", "3", ""),
        ("merge", "plans", "plan"),
        ("dvh.metrics", '["V20Gy"]', "did you mean"),
        ("dvh.metrics", "[", "is not valid YAML"),
        ("output.csv", "perhaps", "true or false"),
    ],
)
def test_a_value_is_judged_alone(key, value, sentence):
    found = problem_of({key: value, "quality": "nonsense"}, key)
    assert sentence in found if sentence else found == ""


def test_saved_and_opened_again(tmp_path):
    path = tmp_path / "config.yaml"
    save(path, {"run.jobs": "2", "output.csv": "true"})
    config = load_config(path)
    assert config.run.jobs == 2
    assert changed_values(config) == {"run.jobs": "2", "output.csv": "true"}
    with pytest.raises(ConfigError):
        save(path, {"run.jobs": "none of them"})
    assert load_config(path) == config
