"""Decisions of a person: what is accepted, what is refused and how it is said."""

from __future__ import annotations

import pytest

from RTPipelineLib.config import Config
from RTPipelineLib.errors import ConfigError
from RTPipelineLib.overrides import (
    OVERRIDES_FILE,
    TEMPLATE,
    Overrides,
    read_course_overrides,
    read_overrides_file,
    save_course_overrides,
)

FULL = """\
planning_image: 1.2.3
links: {1.2.4: [1.2.5], 1.2.6: 1.2.7}
dose: {plans: {1.2.4: 1.0}}
prescription: [{name: High, roi: PTV1, dose_gy: 70, fractions: 35}]
names: {"LT LUNG": Lung_L}
eqd2: {enabled: true, alpha_beta: {structures: {Cord: 2}}}
"""


def test_a_course_without_file_has_no_decisions(tmp_path):
    assert read_course_overrides(tmp_path) == Overrides()


def test_the_template_decides_nothing(tmp_path):
    (tmp_path / OVERRIDES_FILE).write_text(TEMPLATE, encoding="utf-8")
    assert read_course_overrides(tmp_path) == Overrides()


def test_the_template_uncommented_is_valid(tmp_path):
    lines = [line.removeprefix("# ") for line in TEMPLATE.splitlines()[2:]]
    (tmp_path / OVERRIDES_FILE).write_text("\n".join(lines), encoding="utf-8")
    decisions = read_course_overrides(tmp_path)
    assert decisions.planning_image and decisions.links and decisions.dose
    assert decisions.prescription and decisions.names and decisions.eqd2


def test_all_keys(tmp_path):
    (tmp_path / OVERRIDES_FILE).write_text(FULL, encoding="utf-8")
    decisions = read_course_overrides(tmp_path)
    assert decisions.links == {"1.2.4": ("1.2.5",), "1.2.6": ("1.2.7",)}
    assert decisions.prescription[0]["dose_gy"] == 70
    assert decisions.planning_image == "1.2.3"


def test_a_file_outside_wins_over_the_course(tmp_path):
    (tmp_path / OVERRIDES_FILE).write_text(FULL, encoding="utf-8")
    outside = tmp_path / "mine.yaml"
    outside.write_text('courses: {"P/2024-03_A": {planning_image: 9.9}}', encoding="utf-8")
    mine = read_overrides_file(outside)["P/2024-03_A"]
    merged = read_course_overrides(tmp_path).merged_with(mine)
    assert merged.planning_image == "9.9" and merged.names == {"LT LUNG": "Lung_L"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("planing_image: 1.2", "did you mean planning_image?"),
        ("prescription: [{name: A, dose_gy: high}]", "dose_gy must be a dose in Gy, found 'high'"),
        ("prescription: [{name: A, dose_gy: 0}]", "dose_gy must be a dose in Gy"),
        ("prescription: [{name: A, dose: 3}]", "did you mean dose_gy?"),
        ("prescription: 70", "must be a list"),
        ("dose: 3", "must be keys and values"),
        ("prescription: [{dose_gy: .nan}]", "dose_gy must be a dose in Gy"),
        ("prescription: [{dose_gy: 70, fractions: 3.5}]", "fractions must be a whole number"),
        ("prescription: [{dose_gy: 70, fractions: -1}]", "fractions must be a whole number"),
        ("dose: {plan: {A: 1}}", "did you mean 'plans'?"),
        ("dose: {plans: {A: .nan}}", "dose, plans: A needs a number, found nan"),
        ("dose: {normalisation: {1.2.3: 0}}", "1.2.3 needs a number of Gy above 0"),
        ("dose: {registrations: {a: b}}", "dose, registrations: expected a list of UIDs"),
        ("eqd2: {enable: true}", "eqd2.enable is not a key; did you mean enabled?"),
        ("eqd2: {enabled: 1}", "eqd2.enabled: expected true or false, found 1"),
        (
            "eqd2: {alpha_beta: {structures: {Cord: 0}}}",
            "eqd2.alpha_beta.structures.Cord: expected a number above 0, found 0",
        ),
        ("- a\n- b", "expected keys and values"),
        ("a: [1", "not valid YAML"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_key(tmp_path, text, said):
    path = tmp_path / OVERRIDES_FILE
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_course_overrides(tmp_path)
    assert said in str(caught.value) and str(path) in str(caught.value)


def test_saved_decisions_keep_the_rest_of_the_file(tmp_path):
    path = tmp_path / OVERRIDES_FILE
    path.write_text(TEMPLATE + "planning_image: 1.2.3  # the second CT\nnames: {A: Lung_L}\n")
    save_course_overrides(tmp_path, {"dose": {"plans": {"Boost": 0.4}}, "names": {}})
    text = path.read_text()
    assert text.startswith(TEMPLATE) and "# the second CT" in text and "names: {A" not in text
    assert read_course_overrides(tmp_path).dose == {"plans": {"Boost": 0.4}}
    with pytest.raises(ConfigError, match="dose_gy must be a dose in Gy"):
        save_course_overrides(tmp_path, {"prescription": [{"dose_gy": "much"}]})
    assert path.read_text() == text
    save_course_overrides(tmp_path, {"dose": {}})
    assert read_course_overrides(tmp_path).planning_image == "1.2.3"


def test_saved_decisions_of_a_new_file_come_with_the_template(tmp_path):
    save_course_overrides(tmp_path, {"names": {"LT LUNG": "Lung_L"}})
    assert (tmp_path / OVERRIDES_FILE).read_text().startswith(TEMPLATE)
    assert read_course_overrides(tmp_path).names == {"LT LUNG": "Lung_L"}


def test_ratios_of_a_course_replace_those_of_the_configuration_key_by_key(tmp_path):
    (tmp_path / OVERRIDES_FILE).write_text(FULL, encoding="utf-8")
    usual = Config.model_validate(
        {"dose": {"policy": "each-plan", "eqd2": {"alpha_beta": {"target": 8.0}}}}
    )
    own = read_course_overrides(tmp_path).applied_to(usual)
    assert own.dose.eqd2.enabled and own.dose.policy == "each-plan"
    ratios = own.dose.eqd2.alpha_beta
    assert (ratios.target, ratios.other, dict(ratios.structures)) == (8.0, 3.0, {"Cord": 2.0})
    assert Overrides().applied_to(usual) is usual


def test_structures_may_have_numbers_for_names(tmp_path):
    text = "eqd2: {alpha_beta: {structures: {1: 2}}}"
    (tmp_path / OVERRIDES_FILE).write_text(text, encoding="utf-8")
    decisions = read_course_overrides(tmp_path)
    assert decisions.eqd2 == {"alpha_beta": {"structures": {"1": 2.0}}}
    own = decisions.applied_to(Config())
    assert own.dose.eqd2.alpha_beta.structures == {"1": 2.0} and not own.dose.eqd2.enabled
