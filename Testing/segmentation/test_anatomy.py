"""The codes of standard names, against the dictionary of DICOM's codes that pydicom carries."""

from __future__ import annotations

import pytest
from pydicom.sr._concepts_dict import concepts  # what pydicom.sr.codes is made of

from RTPipelineLib.dicom.terms import ANATOMY, Code
from RTPipelineLib.segmentation.anatomy import (
    SIDES,
    TARGETS,
    standard_name_of,
    standard_names,
    terms_of,
)


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    """Meanings of every SNOMED CT code that DICOM uses, in lower case."""
    found: dict[str, set[str]] = {}
    for codes in concepts["SCT"].values():
        for value, (meaning, _) in codes.items():
            found.setdefault(value, set()).add(meaning.casefold())
    return found


def test_every_code_is_one_of_dicom_and_means_what_it_says(known) -> None:
    codes = [row.code for row in standard_names() if row.code is not None]
    codes += [*SIDES.values(), *(code for terms in TARGETS.values() for code in terms[:2])]
    assert len(codes) > 100
    wrong = [code for code in codes if code.meaning.casefold() not in known.get(code.value, ())]
    assert wrong == []


def test_no_two_names_share_a_code() -> None:
    values = [row.code.value for row in standard_names() if row.code is not None]
    assert len(values) == len(set(values))


@pytest.mark.parametrize(
    ("roi", "code", "side"),
    [
        ("Bladder", "89837001", None),
        ("lt kidney", "64033007", "Left"),
        ("Lung_R", "39607008", "Right"),
        ("Lungs", "39607008", "Bilateral"),
        ("SpinalCord", "2748008", None),
        ("PTV_7000", "228793007", None),
    ],
)
def test_rois_have_the_codes_of_their_organ_and_side(roi, code, side) -> None:
    terms = terms_of(standard_name_of(roi))
    assert terms.kind.value == code and terms.kind.scheme == "SCT"
    assert (terms.modifier.meaning if terms.modifier else None) == side


@pytest.mark.parametrize("name", ["", "zRing", "Bladder-CTV", "PTVopt", "Shell", "kidney"])
def test_what_is_not_known_has_no_codes(name) -> None:
    assert terms_of(name) is None


def test_a_target_without_standard_name_is_known_by_its_type() -> None:
    assert terms_of("", "CTV") == TARGETS["CTV"] and terms_of("", "ORGAN") is None


def test_an_organ_is_an_anatomical_structure() -> None:
    assert terms_of("Liver") == (ANATOMY, Code("10200004", "SCT", "Liver"), None)
