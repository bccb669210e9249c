"""What the checks are given, and what they say.

A check reads the facts of one course and says what a person has to know before believing a number.
It never changes a number and never touches a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..geometry import Grid
from ..model import is_target

INFO, WARNING, ERROR = SEVERITIES = ("info", "warning", "error")
Row = Mapping[str, object]


class Finding(NamedTuple):
    """One thing that a check found: how bad it is, a sentence with the remedy, the `item` that it
    concerns (an ROI, a file, a UID; empty: the course) and, for structures, their `source`."""

    severity: str
    sentence: str
    item: str = ""
    source: str = ""


@dataclass(frozen=True)
class Check:
    """A check: its `id`, what it looks at, what it `reads`, and the function that does it."""

    id: str
    about: str
    reads: str
    find: Callable[[CourseFacts], Iterable[Finding]]


class RaisedFlag(NamedTuple):
    """A flag that a stage or the index raised: its `id`, with what follows a colon as `detail`; the
    sentence that came with it (empty: none), and what it concerns."""

    id: str
    detail: str
    sentence: str
    item: str = ""
    source: str = ""


@dataclass(frozen=True)
class RoiFacts:
    """A structure: its names, type and flags, and the box around its vertices or covered voxels
    (LPS mm; None where nothing is drawn)."""

    name: str
    standard_name: str
    source: str
    interpreted_type: str
    frame_uid: str
    structure_set_uid: str = ""
    volume_cc: float | None = None
    low_mm: np.ndarray | None = None
    high_mm: np.ndarray | None = None
    centre_mm: np.ndarray | None = None

    @property
    def is_target(self) -> bool:
        """True for a target volume."""
        return is_target(self.name, self.interpreted_type)

    @property
    def is_external(self) -> bool:
        """True for the outline of the patient."""
        return self.interpreted_type.upper() == "EXTERNAL" or self.standard_name == "Body"


@dataclass(frozen=True)
class Limits:
    """From where on a check speaks; the keys of the configuration section `quality`."""

    max_rx_gy: float = 100.0
    max_fraction_gy: float = 34.0
    beam_dose_percent: float = 10.0
    target_d98_percent: float = 85.0
    target_d50_percent: float = 95.0
    min_dice: float = 0.6
    max_hd95_mm: float = 15.0
    volume_z: float = 3.5
    min_courses: int = 8


@dataclass(frozen=True)
class CourseFacts:
    """All that the checks read of one course, as plain values.

    `flags` are those of its objects, images, doses and structures; `dose` what the stage `dose`
    decided; `plans` the summaries of the plans by UID; `grids` the planning image by frame of
    reference; `metrics`, `second` (stored curves and second calculations) and `agreement` are rows
    of the tables; `records` the status and problems of each stage; `names` what the stage
    `structures` found for each ROI.
    """

    flags: tuple[RaisedFlag, ...] = ()
    dose: Mapping[str, object] = field(default_factory=dict)
    plans: Mapping[str, Row] = field(default_factory=dict)
    rois: tuple[RoiFacts, ...] = ()
    grids: Mapping[str, Grid] = field(default_factory=dict)
    metrics: tuple[Row, ...] = ()
    second: tuple[Row, ...] = ()
    agreement: tuple[Row, ...] = ()
    names: tuple[Row, ...] = ()
    records: Mapping[str, Row] = field(default_factory=dict)
    limits: Limits = Limits()
