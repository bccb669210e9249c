"""What a dose that we wrote was made of, as the RT Dose module says it (PS3.3 C.8.8.3).

Derivation Code and Referenced Instance Sequence name the doses that were added (PS3.16 CID 7220 and
7221); Plan Overview Sequence says how many fractions of each plan a PLAN_OVERVIEW dose holds;
Spatial Transform of Dose and Referenced Spatial Registration Sequence say how doses were moved.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import RTDoseStorage

from .new_object import Reference, make_dataset, one_line, reference_item

_PRIOR = ("121370", "Composed from prior doses")
_WEIGHTED = ("121378", "Composed with weighting for fractions delivered")
_BIOLOGICAL = ("121377", "Composed with radiobiological effects")
_SOURCE = ("121372", "Source dose for composing current dose")
PLAN_OVERVIEW = "PLAN_OVERVIEW"


@dataclass(frozen=True)
class PlanShare:
    """One plan of a PLAN_OVERVIEW dose and how many of its fractions are in it (None: unknown)."""

    plan_uid: str
    fractions: int | None = None
    label: str = ""


@dataclass(frozen=True)
class Derivation:
    """The doses that were added, whether as EQD2 or BED, the plans' shares, and the registrations
    that moved some of them (`is_rigid`: none of them deformed)."""

    dose_uids: tuple[str, ...]
    is_biological: bool = False
    plans: tuple[PlanShare, ...] = ()
    registrations: tuple[Reference, ...] = ()
    is_rigid: bool = True


def add_derivation(ds: Dataset, made_of: Derivation) -> None:
    """Write into an RTDOSE dataset what it was made of.

    The plans' shares stand in it where its summation type is PLAN_OVERVIEW.
    """
    is_overview = ds.DoseSummationType == PLAN_OVERVIEW
    codes = [_PRIOR]
    codes += [_WEIGHTED] if is_overview else []
    codes += [_BIOLOGICAL] if made_of.is_biological else []
    ds.DerivationCodeSequence = [_code(code) for code in codes]
    ds.ReferencedInstanceSequence = [_source(uid) for uid in made_of.dose_uids]
    if made_of.registrations:
        ds.SpatialTransformOfDose = "RIGID" if made_of.is_rigid else "NON_RIGID"
        ds.ReferencedSpatialRegistrationSequence = [
            reference_item(registration) for registration in made_of.registrations
        ]
    if is_overview and made_of.plans:
        ds.PlanOverviewSequence = [_overview(n, p) for n, p in enumerate(made_of.plans, start=1)]
        numbers = {plan.plan_uid: n for n, plan in enumerate(made_of.plans, start=1)}
        for item in ds.get("ReferencedRTPlanSequence") or ():
            if item.ReferencedSOPInstanceUID in numbers:
                item.ReferencedPlanOverviewIndex = numbers[item.ReferencedSOPInstanceUID]


def _source(uid: str) -> Dataset:
    item = reference_item(Reference(RTDoseStorage, uid))
    item.PurposeOfReferenceCodeSequence = [_code(_SOURCE)]
    return item


def _overview(number: int, plan: PlanShare) -> Dataset:
    item = make_dataset(
        RTPlanLabel=one_line(plan.label, 16),
        TreatmentSite="",
        TreatmentSiteCodeSequence=[],
        PrescriptionOverviewSequence=[],
        PlanOverviewIndex=number,
    )
    if plan.fractions is not None:
        item.NumberOfFractionsIncluded = plan.fractions
    return item


def _code(code: tuple[str, str]) -> Dataset:
    return make_dataset(CodeValue=code[0], CodingSchemeDesignator="DCM", CodeMeaning=code[1])
