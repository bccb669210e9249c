"""The user's mapping of ROI names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from ..structures.name_words import read_words
from .reading import read_section
from .section import Names, Section, Text


def _regular_expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    return text


def _of_one_side(synonyms: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    for standard, texts in synonyms.items():
        side = read_words(standard).side
        for text in texts:
            if read_words(text).side not in ("", side):
                raise ValueError(
                    f"{text!r} states another side than {standard}; leave the side out of both, or "
                    "name the same"
                )
    return synonyms


Pattern = Annotated[Text, AfterValidator(_regular_expression)]


class NameRules(Section):
    """Rules for ROI names."""

    exact: Mapping[Text, Text] = Field(
        {},
        description="ROI name: standard name; the whole name, case aside. Settles what patterns "
        "and synonyms say",
    )
    patterns: Mapping[Pattern, Text] = Field(
        {}, description="regular expression: standard name; found anywhere in the name, case aside"
    )
    synonyms: Annotated[Mapping[Text, Names], AfterValidator(_of_one_side)] = Field(
        {},
        description="standard name: other names of it, spelt in any way. For a paired organ "
        "without side (Lung), the side is read from the ROI name",
    )


class Site(NameRules):
    """Rules for the structure sets of one site."""

    patient_id: Pattern | None = Field(
        None, description="regular expression found in the PatientID of this site's patients"
    )
    label: Pattern | None = Field(
        None, description="regular expression found in the label of its structure sets"
    )

    def holds_for(self, patient_id: str, label: str) -> bool:
        """True when these are rules for such a structure set."""
        return all(
            pattern is None or re.search(pattern, text, re.IGNORECASE)
            for pattern, text in ((self.patient_id, patient_id), (self.label, label))
        )


class NameFile(NameRules):
    """A file of rules for ROI names, for all structure sets and for those of single sites."""

    sites: Mapping[Text, Site] = Field(
        {}, description="further rules by site, each with patient_id or label, or both"
    )

    def rules_for(self, patient_id: str, label: str) -> tuple[NameRules, ...]:
        """The rules for one structure set: the common ones and those of its sites."""
        sites = (site for site in self.sites.values() if site.holds_for(patient_id, label))
        return (self, *sites)


def read_names(path: Path) -> NameFile:
    """The user's mapping file.

    Raises `ConfigError` with one line for everything that is wrong in it, as `load_config` does.
    """
    return read_section(Path(path), NameFile)
