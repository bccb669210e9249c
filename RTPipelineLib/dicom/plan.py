"""RT Plan, RT Ion Plan and brachytherapy plans (PS3.3 C.8.8.9 to C.8.8.15, C.8.8.24 ff).

The header is parsed by `headers.summarise`; a summary that the index stored becomes a `Plan`
through `Plan.from_summary` without opening the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import DicomError
from .dataset import Header, read_dataset
from .headers import RTPLAN, kind_of, summarise


@dataclass(frozen=True)
class DoseReference:
    """A prescribed or tracked dose (C.8.8.10), for all fractions; `type` is TARGET or
    ORGAN_AT_RISK, `structure_type` POINT, VOLUME, COORDINATES or SITE."""

    number: int | None
    uid: str
    structure_type: str
    type: str
    description: str
    roi_number: int | None
    target_gy: float | None


@dataclass(frozen=True)
class Share:
    """What one beam (or brachytherapy application setup) gives in **one** fraction of a group."""

    number: int | None
    dose_gy: float | None
    meterset: float | None = None
    dose_reference_uid: str = ""


@dataclass(frozen=True)
class FractionGroup:
    """Beams and setups that are given together, `fractions` times (C.8.8.13)."""

    number: int | None
    fractions: int | None
    beams: tuple[Share, ...] = ()
    brachy: tuple[Share, ...] = ()


@dataclass(frozen=True)
class Beam:
    """One beam of a plan; `delivery_type` is TREATMENT, SETUP, OPEN_PORTFILM .., or empty. Some
    systems call their set-up beams TREATMENT, too: those have no dose and no meterset."""

    number: int | None
    name: str
    delivery_type: str
    radiation_type: str


@dataclass(frozen=True)
class Plan:
    """One plan. `label` is empty when it contains the patient's name; `related_plans` are pairs of
    SOP Instance UID and RT Plan Relationship."""

    sop_uid: str
    label: str
    date: str
    time: str
    intent: str
    approval: str
    geometry: str
    structure_set_uids: tuple[str, ...]
    dose_uids: tuple[str, ...]
    related_plans: tuple[tuple[str, str], ...]
    dose_references: tuple[DoseReference, ...]
    fraction_groups: tuple[FractionGroup, ...]
    beams: tuple[Beam, ...]
    is_ion: bool
    is_brachy: bool
    flags: tuple[str, ...] = ()

    @classmethod
    def from_summary(cls, summary: Mapping, sop_uid: str) -> Plan:
        """The plan of a summary made by `headers.summarise`."""
        return cls(
            sop_uid=sop_uid,
            **{k: summary[k] for k in ("label", "date", "time", "intent", "approval", "geometry")},
            structure_set_uids=tuple(summary["structure_set_uids"]),
            dose_uids=tuple(summary["dose_uids"]),
            related_plans=tuple((p["uid"], p["relationship"]) for p in summary["related_plans"]),
            dose_references=tuple(DoseReference(**r) for r in summary["dose_references"]),
            fraction_groups=tuple(
                FractionGroup(
                    number=group["number"],
                    fractions=group["fractions"],
                    beams=tuple(Share(**beam) for beam in group["beams"]),
                    brachy=tuple(Share(**setup) for setup in group["brachy"]),
                )
                for group in summary["fraction_groups"]
            ),
            beams=tuple(Beam(**beam) for beam in summary["beams"]),
            is_ion=summary["ion"],
            is_brachy=summary["brachy"],
            flags=tuple(summary["flags"]),
        )


def read_plan(path: str | Path) -> Plan:
    """Read an RT Plan or RT Ion Plan. Raises `DicomError` when the file is none or damaged."""
    header = Header(read_dataset(path))
    if kind_of(header.text("SOPClassUID"), header.text("Modality")) != RTPLAN:
        raise DicomError("is no RT Plan", path)
    return Plan.from_summary(summarise(header.ds, RTPLAN), header.text("SOPInstanceUID"))
