"""Standard names: spellings of one name, and never the other side."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from RTPipelineLib.segmentation.anatomy import tg263
from RTPipelineLib.structures.names import (
    DECIDED,
    EXACT,
    PATTERN,
    SYNONYM,
    TG263,
    TG263_SPELLING,
    NameRow,
    NameRule,
    Naming,
    StandardNames,
    shared_names,
)

TABLE = tg263()
NAMING = Naming(TABLE)
PAIRED = sorted(name for name, row in TABLE.rows.items() if row.paired)


def standard(name: str) -> str:
    return NAMING.match(name).standard


@pytest.mark.parametrize(
    "name", ["Lung_L", "LT LUNG", "lung left", "LungLt", "LTLUNG", "llung", "Lunge li", "lung-l"]
)
def test_spellings_of_the_left_lung(name):
    assert standard(name) == "Lung_L"


@pytest.mark.parametrize("name", ["Lung_R", "RT LUNG", "lung right", "LungRt", "Rt. Lung", "rlung"])
def test_spellings_of_the_right_lung(name):
    assert standard(name) == "Lung_R"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SPINAL CORD", "SpinalCord"),
        ("Spinal Cord PRV 5mm", "SpinalCord_PRV05"),
        ("Rt optic nerve prv3", "OpticNrv_PRV03_R"),
        ("Femoral Head R", "Femur_Head_R"),
        ("small bowel", "Bowel_Small"),
        ("Left Parotid Gland", "Parotid_L"),
        ("Submandibular_L", "Glnd_Submand_L"),
        ("Oesophagus", "Esophagus"),
        ("Seminal vesicles", "SeminalVes"),
        ("Brain Stem", "Brainstem"),
        ("Lung L+R", "Lungs"),
        ("both kidneys", "Kidneys"),
        ("VB L5", "VB_L5"),
        ("vb_t1", "VB_T01"),
        ("left lower lobe", "Lung_LLL"),
        ("lungs-ptv", "Lungs-PTV"),
        ("ptv 7000", "PTV_7000"),
        ("PTV7000", "PTV_7000"),
        ("PTV 70 Gy", "PTV_70Gy"),
        ("ptv high", "PTV_High"),
        ("gtvp", "GTVp"),
    ],
)
def test_other_spellings_are_applied(name, expected):
    match = NAMING.match(name)
    assert (match.standard, match.how) == (expected, TG263_SPELLING)


@pytest.mark.parametrize(
    "name",
    ["Lung_L^Ex", "Lung~_L", "SpinalCord_PRV05", "CTVn1", "PTV_Liver_4500", "PTV-03", "Lungs-GTV"],
)
def test_names_by_the_rules_of_tg263_stay(name):
    match = NAMING.match(name)
    assert (match.standard, match.how) == (name, TG263)


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("Lung_L_opt", "Lung_L"),
        ("Cord", "SpinalCord"),
        ("Lungg left", "Lung_L"),
        ("zLung_R", "Lung_R"),
        ("_Bladder", "Bladder"),
        ("PTV70", "PTV_7000"),
        ("Bladdr", "Bladder"),
    ],
)
def test_what_only_looks_alike_is_offered(name, offered):
    match = NAMING.match(name)
    assert match.standard == "" and match.how == ""
    assert match.suggestions[0] == offered


@pytest.mark.parametrize("name", ["", "  ", "123", "LEFT_LUNG_R", "Lung", "T1", "Ring_1", "\x00"])
def test_what_cannot_be_known_has_no_name(name):
    assert standard(name) == ""


def test_every_name_of_the_table_is_itself():
    assert len(TABLE.sides) > 500
    for name in TABLE.sides:
        assert standard(name) == name
        assert standard(name.upper()) == name or name.upper() in TABLE.sides


def test_spellings_that_collide_are_refused():
    with pytest.raises(ValueError, match="both spelt"):
        StandardNames([NameRow("Bowel_Small"), NameRow("SmallBowel")])
    with pytest.raises(ValueError, match="another side"):
        StandardNames([NameRow("Lung_L", also=("right lung",))])


# -- laterality -----------------------------------------------------------------------------------

# Letters that begin no word for the other side in any of the languages known.
LEFT_SAFE = st.text("abcefhkmnopqtuvwxyz0123456789äé", max_size=6)
RIGHT_SAFE = st.text("abcdefhkmnopqtuvwxyz0123456789äé", max_size=6)
GAPS = st.sampled_from([" ", "_", "-", ".", "  ", " _ ", "/"])
CASES = st.sampled_from([str, str.upper, str.lower, str.title])


@st.composite
def decorated(draw, sides: list[str], extra: st.SearchStrategy[str]) -> str:
    """An organ with a side word before or behind it, in any case, between other words."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", draw(st.sampled_from(PAIRED))).split("_")
    side = draw(st.sampled_from(sides))
    words = [side, *words] if draw(st.booleans()) else [*words, side]
    if draw(st.booleans()):
        words = [draw(extra), *words]
    if draw(st.booleans()):
        words = [*words, draw(extra)]
    return draw(CASES)(draw(GAPS).join(words))


@given(decorated(["L", "Lt", "left", "links", "lt"], LEFT_SAFE))
def test_a_left_name_never_becomes_or_is_offered_a_right_one(name):
    match = NAMING.match(name)
    names = [match.standard, *match.suggestions]
    assert not [n for n in names if TABLE.side_of(n) == "R"]


@given(decorated(["R", "Rt", "right", "rechts", "rt"], RIGHT_SAFE))
def test_a_right_name_never_becomes_or_is_offered_a_left_one(name):
    match = NAMING.match(name)
    names = [match.standard, *match.suggestions]
    assert not [n for n in names if TABLE.side_of(n) == "L"]


@given(st.text(max_size=40))
def test_any_text_is_a_name(name):
    match = NAMING.match(name)
    assert match.standard == "" or not match.suggestions


@given(st.sampled_from(PAIRED), st.sampled_from(["", " ", "_", "-"]), CASES)
def test_the_two_sides_are_told_apart_however_they_are_written(organ, gap, case):
    left, right = (standard(case(f"{organ}{gap}{side}")) for side in ("left", "right"))
    assert (left or f"{organ}_L", right or f"{organ}_R") == (f"{organ}_L", f"{organ}_R")


# -- rules of the user ----------------------------------------------------------------------------


def test_rules_come_before_the_table_and_decisions_before_rules():
    rules = (
        NameRule(EXACT, "Blase", "Bladder"),
        NameRule(PATTERN, "^ohr.*dr", "Parotid_L"),
        NameRule(SYNONYM, "Myelon", "SpinalCord"),
        NameRule(EXACT, "Heart", "Heart_Special"),
    )
    naming = Naming(TABLE, rules, {"Heart": "Pericardium"})
    assert naming.match("BLASE ").standard == "Bladder"
    assert naming.match("Ohrspeicheldr").how == PATTERN
    assert naming.match("MYELON").how == SYNONYM
    assert Naming(TABLE, rules).match("Heart").standard == "Heart_Special"
    assert (naming.match("Heart").standard, naming.match("Heart").how) == ("Pericardium", DECIDED)


def test_a_synonym_of_a_paired_organ_keeps_the_side():
    naming = Naming(TABLE, (NameRule(SYNONYM, "Ohrspeicheldrüse", "Parotid"),))
    assert naming.match("Ohrspeicheldrüse li").standard == "Parotid_L"
    assert naming.match("RE Ohrspeicheldrüse").standard == "Parotid_R"
    assert naming.match("Ohrspeicheldrüse").standard == ""


def test_rules_that_disagree_are_a_conflict_and_an_exact_one_settles_it():
    rules = (NameRule(PATTERN, "lung", "Lung_L"), NameRule(PATTERN, "left", "Lung_LUL"))
    match = Naming(TABLE, rules).match("left lung a")
    assert match.standard == "" and match.suggestions == ("Lung_L", "Lung_LUL")
    assert "disagree" in match.conflicts[0]
    exact = (*rules, NameRule(EXACT, "left lung a", "Lung_LLL"))
    assert Naming(TABLE, exact).match("left lung a").standard == "Lung_LLL"


def test_a_pattern_cannot_change_the_side():
    naming = Naming(TABLE, (NameRule(PATTERN, "lung", "Lung_L"),))
    match = naming.match("Lung_R")
    assert match.standard == "Lung_R" and "another side" in match.conflicts[0]
    assert naming.match("RT LUNG x").standard == ""


def test_a_person_may_correct_a_side_and_it_is_said():
    match = Naming(TABLE, decided={"Lung_R": "Lung_L"}).match("Lung_R")
    assert match.standard == "Lung_L" and "another side" in match.conflicts[0]


def test_rois_that_share_a_name_are_listed():
    matches = [NAMING.match(name) for name in ("Lung_L", "LT LUNG", "Heart")]
    assert shared_names(matches) == {"Lung_L": ("Lung_L", "LT LUNG")}
