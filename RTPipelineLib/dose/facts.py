"""What the choice of a dose rests on: plain facts about plans, doses and treatment records.

They are made from the header summaries that the index stores; nothing here opens a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# PS3.3 C.8.8.14.1 (300A,00CE): these deliveries are images or positions, not treatment.
NOT_TREATMENT = frozenset({"SETUP", "OPEN_PORTFILM", "TRMT_PORTFILM"})
# PS3.3 C.8.8.9 (300A,000A): plans that never give a patient's course its dose.
NOT_COURSE_INTENTS = frozenset({"VERIFICATION", "MACHINE_QA", "RESEARCH", "SERVICE"})


@dataclass(frozen=True)
class BeamFacts:
    """A beam (or brachy application setup) as one fraction group uses it; dose and meterset are per
    fraction, None when the plan does not say."""

    number: int
    dose_gy: float | None = None
    meterset: float | None = None
    delivery_type: str = ""
    name: str = ""


@dataclass(frozen=True)
class FractionGroup:
    """One fraction group of a plan. `dose_references` are the numbers of the plan's dose references
    that it serves (300C,0050), empty when the plan does not say."""

    number: int
    fractions: int | None = None
    beams: tuple[BeamFacts, ...] = ()
    brachy: tuple[BeamFacts, ...] = ()
    dose_references: tuple[int, ...] = ()

    @property
    def treatment_beams(self) -> tuple[BeamFacts, ...]:
        """The beams that treat: no setup or portal film, and with a dose or meterset where the
        group gives any (a cone-beam CT is often planned as a TREATMENT beam without either)."""
        beams = tuple(b for b in self.beams if b.delivery_type.upper() not in NOT_TREATMENT)
        used = tuple(b for b in beams if b.dose_gy or b.meterset)
        return used or beams

    @property
    def dose_gy(self) -> float | None:
        """Beam and brachy doses x fractions; None when a dose or their number is missing."""
        parts = [*self.treatment_beams, *self.brachy]
        if not parts or not self.fractions or any(not p.dose_gy for p in parts):
            return None
        return self.fractions * sum(p.dose_gy or 0.0 for p in parts)


@dataclass(frozen=True)
class DoseReference:
    """One item of the plan's Dose Reference Sequence (PS3.3 C.8.8.10)."""

    number: int
    target_gy: float | None = None
    kind: str = "TARGET"
    structure_type: str = ""
    description: str = ""
    roi_number: int | None = None
    uid: str = ""


@dataclass(frozen=True)
class PlanFacts:
    """A plan as the selection of doses and the prescription see it.

    `relations` holds (UID of the other plan, RT Plan Relationship). `is_known` is False for a plan
    that a dose references but that is not among the files.
    """

    uid: str
    label: str = ""
    date: str = ""
    intent: str = ""
    approval: str = ""
    relations: tuple[tuple[str, str], ...] = ()
    groups: tuple[FractionGroup, ...] = ()
    references: tuple[DoseReference, ...] = ()
    structure_set_uids: tuple[str, ...] = ()
    ion: bool = False
    is_known: bool = True

    @classmethod
    def from_summary(cls, uid: str, summary: Mapping[str, object]) -> PlanFacts:
        """Facts of an RTPLAN from its header summary."""
        delivery = {b["number"]: b for b in _items(summary, "beams")}
        numbers = {
            _text(r, "uid"): _number(r.get("number")) for r in _items(summary, "dose_references")
        }
        return cls(
            uid=uid,
            label=_text(summary, "label"),
            date=_text(summary, "date"),
            intent=_text(summary, "intent").upper(),
            approval=_text(summary, "approval").upper(),
            relations=tuple(
                (_text(r, "uid"), _text(r, "relationship").upper())
                for r in _items(summary, "related_plans")
            ),
            groups=tuple(_group(g, delivery, numbers) for g in _items(summary, "fraction_groups")),
            references=tuple(_reference(r) for r in _items(summary, "dose_references")),
            structure_set_uids=_texts(summary, "structure_set_uids"),
            ion=bool(summary.get("ion")),
        )

    @property
    def name(self) -> str:
        """Label and the end of the UID, for sentences."""
        tail = self.uid[-12:] or "without UID"
        return f"plan '{self.label}' (..{tail})" if self.label else f"plan ..{tail}"

    @property
    def is_course_plan(self) -> bool:
        """False for a plan made to verify, test or study something."""
        verifies = any(relation == "VERIFIED_PLAN" for _, relation in self.relations)
        return self.intent not in NOT_COURSE_INTENTS and not verifies

    @property
    def target_references(self) -> tuple[DoseReference, ...]:
        """The dose references that prescribe a dose to a target."""
        return tuple(r for r in self.references if r.kind == "TARGET" and r.target_gy)

    @property
    def prescribed_gy(self) -> float | None:
        """The plan's highest target dose, else its beam doses x fractions, else None."""
        levels = [r.target_gy for r in self.target_references if r.target_gy]
        if levels:
            return max(levels)
        doses = [g.dose_gy for g in self.groups]
        if not doses or any(d is None for d in doses):
            return None
        return sum(d or 0.0 for d in doses)

    @property
    def fractions(self) -> int | None:
        """Fractions of all groups together; None when a group does not say."""
        if not self.groups or any(not g.fractions for g in self.groups):
            return None
        return sum(g.fractions or 0 for g in self.groups)


@dataclass(frozen=True)
class PartReference:
    """Which beams (or brachy setups) of which fraction group a dose holds. `group` is None when the
    dose does not say."""

    plan_uid: str
    group: int | None = None
    beams: tuple[int, ...] = ()
    brachy: tuple[int, ...] = ()


@dataclass(frozen=True)
class DoseCandidate:
    """A dose object as the selection sees it. `content` identifies its grid and values: two objects
    with the same `content` are the same dose under two UIDs; empty when it was not compared."""

    sop_uid: str
    summation_type: str = "PLAN"
    units: str = "GY"
    dose_type: str = "PHYSICAL"
    plan_uids: tuple[str, ...] = ()
    parts: tuple[PartReference, ...] = ()
    frame_uid: str = ""
    content: str = ""
    has_values: bool = True

    @classmethod
    def from_summary(
        cls, sop_uid: str, frame_uid: str, summary: Mapping[str, object], content: str = ""
    ) -> DoseCandidate:
        """Facts of an RTDOSE from its header summary."""
        return cls(
            sop_uid=sop_uid,
            summation_type=_text(summary, "summation_type").upper(),
            units=_text(summary, "units").upper(),
            dose_type=_text(summary, "dose_type").upper(),
            plan_uids=tuple(dict.fromkeys(_texts(summary, "plan_uids"))),
            parts=tuple(
                PartReference(
                    _text(r, "plan_uid"),
                    _number(r.get("fraction_group")),
                    _numbers(r.get("beams")),
                    _numbers(r.get("brachy")),
                )
                for r in _items(summary, "referenced_beams")
            ),
            frame_uid=frame_uid,
            content=content,
            has_values=bool(summary.get("has_pixels", True)),
        )


@dataclass(frozen=True)
class BeamDelivery:
    """One beam of one fraction as a treatment record reports it (PS3.3 C.8.8.21); `beam` is None
    for a treatment summary (C.8.8.23), which counts fractions of a whole group."""

    plan_uid: str
    beam: int | None
    fraction: int | None
    delivery_type: str = "TREATMENT"
    termination: str = "NORMAL"
    specified_meterset: float | None = None
    delivered_meterset: float | None = None
    group: int | None = None


def deliveries_from_summary(summary: Mapping[str, object]) -> tuple[BeamDelivery, ...]:
    """The beams that a treatment record reports, for each plan that it references; for a treatment
    summary, its fractions."""
    group = _number(summary.get("fraction_group"))
    found: list[BeamDelivery] = []
    for plan_uid in _texts(summary, "plan_uids"):
        for beam in (*_items(summary, "beams"), *_items(summary, "brachy")):
            if _number(beam.get("number")) is not None:
                found.append(
                    BeamDelivery(
                        plan_uid,
                        _number(beam.get("number")),
                        _number(beam.get("fraction")),
                        _text(beam, "delivery_type").upper() or "TREATMENT",
                        _text(beam, "termination").upper(),
                        _value(beam.get("specified_meterset")),
                        _value(beam.get("delivered_meterset")),
                        group,
                    )
                )
        for item in _items(summary, "fraction_groups"):
            for fraction in range(1, (_number(item.get("delivered")) or 0) + 1):
                number = _number(item.get("number"))
                found.append(BeamDelivery(plan_uid, None, fraction, group=number))
    return tuple(found)


# A number (59.4 or 59p4) that stands alone or right after "TV", perhaps with its unit; not a
# length, a volume, a count of fractions, nor a vertebra (`PTV_T12`), unless gray is written behind
# it.
_DOSE_IN_NAME = re.compile(
    r"(?P<before>^|TV|[^A-Z0-9.])?(?<![0-9.])(?P<whole>\d{1,4})(?:[.P](?P<decimals>\d{1,2}))?(?![0-9.])"
    r"(?:[ _]?(?P<unit>C?GY)|(?![ _]?(?:MM|CM|CC|FX|%)))"
)
MAX_GY, MIN_GY, MIN_CGY = 100.0, 4.0, 400.0


def dose_in_name(name: str) -> float | None:
    """The dose in Gy that a target's name states (`PTV_7000`, `PTV60`, `PTV_70Gy`, `PTV59.4`).

    Whole numbers from 400 are centigray, as is anything marked cGy; numbers from 4 to 100 are gray.
    Smaller ones count targets (`PTV1`) and give None, as does a name with two different doses.
    """
    found: set[float] = set()
    for match in _DOSE_IN_NAME.finditer(name.upper()):
        unit, decimals = match["unit"], match["decimals"]
        value = float(f"{match['whole']}.{decimals}" if decimals else match["whole"])
        if match["before"] is None and not unit and value < MIN_CGY:
            continue
        if unit == "CGY" or (not unit and value >= MIN_CGY):
            value /= 100.0
        if unit or MIN_GY <= value <= MAX_GY:
            found.add(value)
    return found.pop() if len(found) == 1 else None


def _group(
    item: Mapping[str, object],
    delivery: Mapping[object, Mapping[str, object]],
    reference_numbers: Mapping[str, int | None],
) -> FractionGroup:
    def parts(key: str) -> tuple[BeamFacts, ...]:
        return tuple(
            BeamFacts(
                int(b["number"]),
                _value(b.get("dose_gy")),
                _value(b.get("meterset")),
                _text(delivery.get(b["number"], {}), "delivery_type") if key == "beams" else "",
                _text(delivery.get(b["number"], {}), "name") if key == "beams" else "",
            )
            for b in _items(item, key)
            if _number(b.get("number")) is not None
        )

    # The group names its dose references (300C,0050), or each beam does (300A,0083).
    by_beam = (reference_numbers.get(_text(b, "dose_reference_uid")) for b in _items(item, "beams"))
    served = _numbers(item.get("dose_references")) or tuple({n for n in by_beam if n is not None})
    return FractionGroup(
        number=_number(item.get("number")) or 0,
        fractions=_number(item.get("fractions")),
        beams=parts("beams"),
        brachy=parts("brachy"),
        dose_references=served,
    )


def _reference(item: Mapping[str, object]) -> DoseReference:
    return DoseReference(
        number=_number(item.get("number")) or 0,
        target_gy=_value(item.get("target_gy")),
        kind=_text(item, "type").upper(),
        structure_type=_text(item, "structure_type").upper(),
        description=_text(item, "description"),
        roi_number=_number(item.get("roi_number")),
        uid=_text(item, "uid"),
    )


def _items(mapping: Mapping[str, object], key: str) -> Iterable[Mapping[str, object]]:
    return mapping.get(key) or ()  # type: ignore[return-value]


def _text(mapping: Mapping[str, object], key: str) -> str:
    value = mapping.get(key)
    return "" if value is None else str(value)


def _texts(mapping: Mapping[str, object], key: str) -> tuple[str, ...]:
    return tuple(str(v) for v in (mapping.get(key) or ()) if v)  # type: ignore[union-attr]


def _value(value: object) -> float | None:
    return None if value in (None, "") else float(value)  # type: ignore[arg-type]


def _number(value: object) -> int | None:
    return None if value in (None, "") else int(value)  # type: ignore[call-overload]


def _numbers(values: object) -> tuple[int, ...]:
    return tuple(int(v) for v in (values or ()))  # type: ignore[union-attr]
