"""The user's file of rules for ROI names."""

from __future__ import annotations

from pathlib import Path

import pytest

from RTPipelineLib.config import Config, load_config
from RTPipelineLib.config.names import read_names
from RTPipelineLib.errors import ConfigError
from RTPipelineLib.stages.naming import naming_for

RULES = """\
exact: {Blase: Bladder}
patterns: {"^ptv.*boost": PTV_High}
synonyms: {Parotid: [Ohrspeicheldrüse]}
sites:
  north:
    patient_id: "^N-"
    synonyms: {SpinalCord: [RM]}
  south:
    label: "south"
    exact: {RM: Rectum}
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "names.yaml").write_text(RULES, encoding="utf-8")
    path = tmp_path / "config.yaml"
    path.write_text("structures: {names: names.yaml}\n", encoding="utf-8")
    return load_config(path)


def test_rules_hold_for_their_site_only(config):
    north = naming_for(config, {}, "N-12", "")
    assert north.match("RM").standard == "SpinalCord"
    assert north.match("Blase").standard == "Bladder"
    assert naming_for(config, {}, "X", "").match("RM").standard == ""
    # An exact rule settles what another site's synonym says.
    assert naming_for(config, {}, "N-12", "South").match("RM").standard == "Rectum"


def test_a_change_of_the_file_changes_the_hash(config):
    before = config.section_hash("structures.names")
    file = config.structures.names
    file.write_text(RULES.replace("Blase", "Harnblase"), encoding="utf-8")
    assert config.section_hash("structures.names") != before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('patterns: {"(": Lung_L}', "no regular expression"),
        ("exat: {a: b}", "did you mean exact"),
        ("synonyms: {Lung_L: 3}", "expected a list"),
        ('exact: {a: ""}', "not empty"),
        ("synonyms: {Lung_L: [right lung]}", "another side"),
    ],
)
def test_what_is_wrong_is_said_with_the_line(tmp_path, text, message):
    path = tmp_path / "names.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"names\.yaml, line 1.*" + message):
        read_names(path)


def test_a_wrong_file_is_an_error_of_the_configuration(tmp_path):
    (tmp_path / "names.yaml").write_text('patterns: {"(": Lung_L}', encoding="utf-8")
    path = tmp_path / "config.yaml"
    path.write_text("structures: {names: names.yaml}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"structures\.names.*no regular expression"):
        load_config(path)
