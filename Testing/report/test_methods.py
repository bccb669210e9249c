"""The methods page says what the configuration and the run did, and nothing else."""

import re
from dataclasses import replace

from RTPipelineLib.config import Config
from RTPipelineLib.report.methods import CohortMethods, changed_settings, methods_page

FACTS = CohortMethods(
    courses=3,
    patients=2,
    config=Config(),
    decisions={"decided": 2, "needs-decision": 1},
    prescriptions={"dose-reference": 3},
    modalities={"CT": 3},
    models=(),
    excluded=(),
    versions=(("RT Pipeline", "1.2.3", 3),),
)


def configured(**parts):
    return replace(FACTS, config=Config.model_validate(parts))


def text_of(facts):
    page = methods_page(facts)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_counts_and_defaults_are_said():
    text = text_of(FACTS)
    assert "3 courses of 2 patients" in text
    assert "decided (2), needs-decision (1)" in text
    assert "half a slice beyond" in text and "interpolated between contours" in text
    assert "All settings are the defaults" in text and "Nothing is missing" in text
    assert "1.2.3" in text
    for absent in ("EQD2", "2 Gy fractions", "Automatic", "Second calculations", "Set-up"):
        assert absent not in text


def test_what_was_configured_is_said_with_its_reference():
    text = text_of(
        configured(
            merge="plan",
            dose={"eqd2": {"enabled": True}, "outside_dose": "zero"},
            structures={"end_caps": "none", "between_planes": "slab"},
            dvh={"uncertainty": {"enabled": True, "systematic_mm": 2.5}},
        )
    )
    for said in (
        "Plans each for itself",
        "a/b 10 Gy for targets and 3 Gy",
        "counts as 0 Gy",
        "nothing beyond the first",
        "as slabs",
        "2.5 mm (systematic)",
        "Fowler",
        "van Herk",
    ):
        assert said in text
    assert "dose.eqd2.enabled True" in text and "merge plan" in text


def test_models_are_cited():
    text = text_of(replace(FACTS, models=("totalsegmentator",)))
    assert "Wasserthal" in text and "Isensee" in text
    assert "Wasserthal" not in text_of(replace(FACTS, models=("own_nnunet",)))


def test_every_number_in_brackets_has_its_reference():
    page = methods_page(configured(dose={"eqd2": {"enabled": True}}))
    numbers = {int(n) for group in re.findall(r"\[([\d, ]+)\]", page) for n in group.split(",")}
    assert numbers == set(range(1, page.count("<li>") + 1))


def test_what_is_missing_stands_there_escaped():
    excluded = (("dvh", "no <b>dose</b> that could be used", 1),)
    page = methods_page(replace(FACTS, excluded=excluded))
    assert "no &lt;b&gt;dose&lt;/b&gt; that could be used" in page


def test_only_what_differs_is_a_changed_setting():
    assert changed_settings(Config()) == []
    config = Config.model_validate({"dvh": {"geud_a": {"Rectum": 8.0}}})
    assert changed_settings(config) == [("dvh.geud_a.Rectum", "8.0")]


def test_image_features_are_told_where_there_are_any():
    assert "Image features" not in text_of(FACTS)
    text = text_of(replace(FACTS, features="Extracted with <x>.\n[1] A paper."))
    assert "Image features Extracted with &lt;x&gt;. [1] A paper." in text
