"""What was prescribed: levels of dose, and who says so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PrescriptionLevel:
    """One prescribed dose: to which target, how much, in how many fractions, and who says so.

    `source` is `user`, `dose-reference`, `beam-dose` or `inferred-from-name`; `roi_name` or
    `roi_number` is given when the source names the target.
    """

    name: str
    dose_gy: float
    source: str
    fractions: int | None = None
    roi_name: str = ""
    roi_number: int | None = None
    plan_uid: str = ""


@dataclass(frozen=True)
class Prescription:
    """All levels of a course; empty when nothing is known (never a default)."""

    levels: tuple[PrescriptionLevel, ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def course(self) -> PrescriptionLevel | None:
        """The highest level, which stands for the course; None when there is none."""
        return max(self.levels, key=lambda level: level.dose_gy, default=None)
