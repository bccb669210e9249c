"""What a person decided about a course's dose: the `dose` part of `overrides.yaml`."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import ConfigError
from .facts import DoseCandidate, PlanFacts

KEYS = ("plans", "doses", "normalisation", "registrations")


@dataclass(frozen=True)
class Choices:
    """The user's table.

    `plans` : plan UID (or a label that only one plan has) -> weight in the total; 1 the whole plan,
        0.4 for 10 of 25 fractions, 0 not part of the course. Plans that are not named get 0.
    `doses` : dose SOP Instance UID -> weight; the total is then exactly this sum, whatever the
        types (a FRACTION_SESSION dose with the number of its fractions, say).
    `normalisation` : dose SOP Instance UID -> Gy for which the value 1 of a RELATIVE dose stands.
        It makes the dose usable; the reader applies it, weights do not hold it.
    `registrations` : SOP Instance UIDs of the registrations that may join frames of reference;
        empty for all.
    """

    plans: Mapping[str, float] = field(default_factory=dict)
    doses: Mapping[str, float] = field(default_factory=dict)
    normalisation: Mapping[str, float] = field(default_factory=dict)
    registrations: tuple[str, ...] = ()

    @classmethod
    def from_mapping(cls, values: Mapping[str, object] | None, where: str = "overrides") -> Choices:
        """Checked choices; `ConfigError`, beginning with `where`, for an unknown key, a weight that
        is no number >= 0 or a normalisation that is no number > 0."""
        tables: dict[str, dict[str, float]] = {}
        registrations: tuple[str, ...] = ()
        for key, table in (values or {}).items():
            if key not in KEYS:
                near = difflib.get_close_matches(str(key), KEYS, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else f"; known are {', '.join(KEYS)}"
                raise ConfigError(f"{where}: dose: '{key}' is not a known key{hint}")
            what = f"{where}: dose, {key}"
            if key == "registrations":
                registrations = _uids(what, table)
                continue
            if table is not None and not isinstance(table, Mapping):
                raise ConfigError(f"{what}: expected a table of UID: number, found {table!r}")
            check = _positive if key == "normalisation" else _weight
            tables[key] = {str(k): check(what, k, v) for k, v in (table or {}).items()}
        return cls(**tables, registrations=registrations)

    def check(self, plans: Sequence[PlanFacts], doses: Sequence[DoseCandidate]) -> None:
        """Raise `ConfigError` for an entry that fits no plan or dose of the course, or several."""
        referenced = {uid for dose in doses for uid in dose.plan_uids}
        for key in self.plans:
            hits = [p for p in plans if key in (p.uid, p.label)]
            if len(hits) != 1 and key not in referenced:
                known = ", ".join(f"{p.uid} ('{p.label}')" for p in plans) or "none"
                found = "fits no plan" if not hits else f"fits {len(hits)} plans"
                raise ConfigError(f"overrides, dose, plans: '{key}' {found} of the course: {known}")
        uids = {d.sop_uid for d in doses}
        for table in ("doses", "normalisation"):
            for key in getattr(self, table):
                if key not in uids:
                    raise ConfigError(f"overrides, dose, {table}: {key} is no dose of the course")

    def weight_of(self, plan: PlanFacts) -> float:
        """The user's weight of a plan, 0 when the table does not name it."""
        return self.plans.get(plan.uid, self.plans.get(plan.label, 0.0) if plan.label else 0.0)

    def names(self, plan: PlanFacts) -> bool:
        """True when the table names the plan."""
        return plan.uid in self.plans or (bool(plan.label) and plan.label in self.plans)


def _uids(what: str, value: object) -> tuple[str, ...]:
    uids = [value] if isinstance(value, str) else value or []
    if not isinstance(uids, Sequence) or not all(isinstance(uid, str) for uid in uids):
        raise ConfigError(f"{what}: expected a list of UIDs, found {value!r}")
    return tuple(uids)


def _weight(what: str, key: object, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{what}: {key} needs a number, found {value!r}")
    if value < 0:
        raise ConfigError(f"{what}: {key} needs a number >= 0, found {value!r}")
    return float(value)


def _positive(what: str, key: object, value: object) -> float:
    number = _weight(what, key, value)
    if number == 0:
        raise ConfigError(f"{what}: {key} needs a number of Gy above 0, found {value!r}")
    return number
