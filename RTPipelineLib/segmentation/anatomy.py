"""The table of standard names that comes with RT Pipeline, and the codes of what they name.

Names are those of AAPM TG-263 (see `structures.names`), codes those of SNOMED CT that DICOM uses
for the same anatomy (PS3.16 Annex D and its context groups); names without such a code have none.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ..dicom.terms import ANATOMY, Code, Terms
from ..structures.name_words import BOTH, LEFT, RIGHT
from ..structures.names import NameRow, StandardNames

TABLE = "structures/tg263.csv"
# PS3.16 CID 244.
SIDES = {
    LEFT: Code("7771000", "SCT", "Left"),
    RIGHT: Code("24028007", "SCT", "Right"),
    BOTH: Code("51440002", "SCT", "Bilateral"),
}
# PS3.16 CID 7150 and 9534.
_REGION = Code("309825002", "SCT", "Spatial and Relational Concept")
TARGETS = {
    "GTV": Terms(_REGION, Code("228791009", "SCT", "GTV")),
    "CTV": Terms(_REGION, Code("228792002", "SCT", "CTV")),
    "PTV": Terms(_REGION, Code("228793007", "SCT", "PTV")),
}
# What follows in a target's name is its level, its organ, its number.
_TARGET = re.compile(r"(GTV|CTV|PTV)(?![a-z])")


class TableRow(NamedTuple):
    """One row of the table: a name, its spellings, and the code of the organ without its side."""

    names: NameRow
    code: Code | None


@cache
def standard_names() -> tuple[TableRow, ...]:
    """The rows of the table."""
    path = Path(__file__).resolve().parents[1] / TABLE
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(
            TableRow(
                NameRow(
                    row["name"],
                    bool(row["sides"]),
                    row["both"],
                    tuple(filter(None, row["also"].split(";"))),
                ),
                Code(row["sct"], "SCT", row["meaning"]) if row["sct"] else None,
            )
            for row in csv.DictReader(file)
        )


@cache
def tg263() -> StandardNames:
    """The names of AAPM TG-263, searchable by spelling."""
    return StandardNames([row.names for row in standard_names()])


def standard_name_of(name: str) -> str:
    """The standard name of an ROI without a person's decisions and rules; empty: none."""
    return tg263().find(name.strip())


def terms_of(standard_name: str, interpreted_type: str = "") -> Terms | None:
    """The codes of what a standard name names, or else of a target by its RT ROI Interpreted Type
    (PS3.3 C.8.8.8); None where there are none."""
    target = _TARGET.match(standard_name)
    if target:
        return TARGETS[target.group(1)]
    return _terms().get(standard_name) or TARGETS.get(interpreted_type)


@cache
def _terms() -> dict[str, Terms]:
    found = {}
    for names, code in standard_names():
        if code is None:
            continue
        found[names.name] = Terms(ANATOMY, code)
        if names.paired:
            found[f"{names.name}_L"] = Terms(ANATOMY, code, SIDES[LEFT])
            found[f"{names.name}_R"] = Terms(ANATOMY, code, SIDES[RIGHT])
        if names.both:
            found[names.both] = Terms(ANATOMY, code, SIDES[BOTH])
    return found
