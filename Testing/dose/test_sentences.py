"""Every flag that a decision can carry is explained."""

from __future__ import annotations

import re
from pathlib import Path

from RTPipelineLib import dose
from RTPipelineLib.dose.select import DECIDED, NEEDS_DECISION
from RTPipelineLib.dose.sentences import SENTENCES, sentence_of

# Modules whose flags end in `DoseDecision.flags`.
MODULES = ("delivered", "evidence", "parts", "select", "usable", "across")
# Words of these modules in the form of a flag that are none.
OTHERS = {NEEDS_DECISION, DECIDED}


def test_every_flag_of_a_decision_has_a_sentence() -> None:
    folder = Path(dose.__file__).parent
    source = "".join((folder / f"{name}.py").read_text(encoding="utf-8") for name in MODULES)
    raised = {*re.findall(r'"([a-z]+(?:-[a-z]+)+)"', source)} - OTHERS
    assert len(raised) > 15
    assert raised <= set(SENTENCES), raised - set(SENTENCES)
    assert set(SENTENCES) - raised <= {"accumulated", "registration-unapproved"}


def test_a_sentence_is_more_than_its_flag() -> None:
    assert all(len(text.split()) > 6 for text in SENTENCES.values())
    assert sentence_of("of-another-room") == "of another room"
