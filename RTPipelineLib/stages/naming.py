"""Standard names for the ROIs of a structure set: a person's, the configuration's, AAPM TG-263."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from ..config import Config
from ..config.names import NameRules, read_names
from ..dicom.structures import StructureSet
from ..model import Contours, Mask
from ..segmentation.anatomy import tg263
from ..structures.names import EXACT, PATTERN, SYNONYM, NameRule, Naming

S = TypeVar("S", Contours, Mask)


def naming_for(
    config: Config, decided: Mapping[str, str], patient_id: str = "", label: str = ""
) -> Naming:
    """How the ROIs of a structure set get their standard names; `decided` by a person."""
    sections: Sequence[NameRules] = ()
    if config.structures.names is not None:
        sections = read_names(config.structures.names).rules_for(patient_id, label)
    rules = []
    for section in sections:
        rules += [NameRule(EXACT, text, name) for text, name in section.exact.items()]
        rules += [NameRule(PATTERN, text, name) for text, name in section.patterns.items()]
        rules += [
            NameRule(SYNONYM, text, name)
            for name, texts in section.synonyms.items()
            for text in texts
        ]
    return Naming(tg263(), tuple(rules), decided)


def named(rois: Sequence[S], naming: Naming) -> list[S]:
    """The same structures with their standard names."""
    return [replace(roi, standard_name=naming.match(roi.name).standard) for roi in rois]


def named_rois(
    structure_set: StructureSet, config: Config, decided: Mapping[str, str] | None = None
) -> list[Contours]:
    """The ROIs of a structure set with their standard names."""
    naming = naming_for(config, decided or {}, structure_set.patient_id, structure_set.label)
    return named(structure_set.rois, naming)


def by_name(values: Mapping[str, float], roi: Contours | Mask) -> float | None:
    """What a table of the configuration says of a structure: by its own name, else by its standard
    name."""
    return values.get(roi.name, values.get(roi.standard_name))
