"""Treatment records: what was given, fraction by fraction (PS3.3 C.8.8.16 to C.8.8.23, C.8.8.26).

The header is parsed by `headers.summarise`; what the sessions add up to is decided in `dose/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import DicomError
from .dataset import Header, read_dataset
from .headers import RECORD, kind_of, summarise


@dataclass(frozen=True)
class Session:
    """One beam (or brachytherapy setup) in one fraction. `delivery_type` is TREATMENT,
    CONTINUATION, SETUP, OPEN_PORTFILM or TRMT_PORTFILM; `termination` NORMAL, OPERATOR, MACHINE or
    UNKNOWN."""

    number: int | None
    fraction: int | None
    delivery_type: str
    termination: str
    specified_meterset: float | None
    delivered_meterset: float | None


@dataclass(frozen=True)
class GroupSummary:
    """A fraction group in a treatment summary: fractions planned and delivered, and its type."""

    number: int | None
    type: str
    planned: int | None
    delivered: int | None


@dataclass(frozen=True)
class TreatmentRecord:
    """One treatment record of beams, ion beams or brachytherapy, or a treatment summary."""

    sop_uid: str
    date: str
    time: str
    plan_uids: tuple[str, ...]
    fraction_group: int | None
    beams: tuple[Session, ...]
    brachy: tuple[Session, ...]
    fraction_groups: tuple[GroupSummary, ...]
    flags: tuple[str, ...] = ()

    @classmethod
    def from_summary(cls, summary: Mapping, sop_uid: str) -> TreatmentRecord:
        """The record of a summary made by `headers.summarise`."""
        return cls(
            sop_uid=sop_uid,
            date=summary["date"],
            time=summary["time"],
            plan_uids=tuple(summary["plan_uids"]),
            fraction_group=summary["fraction_group"],
            beams=tuple(Session(**session) for session in summary["beams"]),
            brachy=tuple(Session(**session) for session in summary["brachy"]),
            fraction_groups=tuple(GroupSummary(**group) for group in summary["fraction_groups"]),
            flags=tuple(summary["flags"]),
        )


def read_record(path: str | Path) -> TreatmentRecord:
    """Read a treatment record. Raises `DicomError` when the file is none or cannot be read."""
    header = Header(read_dataset(path))
    if kind_of(header.text("SOPClassUID"), header.text("Modality")) != RECORD:
        raise DicomError("is no treatment record", path)
    return TreatmentRecord.from_summary(summarise(header.ds, RECORD), header.text("SOPInstanceUID"))
