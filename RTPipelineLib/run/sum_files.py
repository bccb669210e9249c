"""The sum of loose RTDOSE files, written as one RTDOSE that says what it was made of."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import RTIonPlanStorage, RTPlanStorage

from ..config import Config
from ..dicom.dataset import Header, read_dataset
from ..dicom.derivation import PLAN_OVERVIEW, Derivation, PlanShare, add_derivation
from ..dicom.dose import dose_grid, read_dose
from ..dicom.headers import RTDOSE, kind_of, summarise
from ..dicom.new_object import MANUFACTURER, Reference, write_dataset
from ..dicom.registration import Registration, read_registration
from ..dicom.write import dose_dataset
from ..dose.accumulate import LazyDose, sum_doses
from ..dose.eqd2 import Delivery, is_biological, sum_converted
from ..dose.facts import DoseCandidate
from ..dose.parts import PART_TYPES
from ..dose.registered import DEFORMED, REGISTERED, into_frame
from ..errors import DicomError, DoseRefused, GeometryError, UsageError
from ..model import Dose

log = logging.getLogger(__name__)

ALL_DONE = 0
WHOLE_TYPES = frozenset({"PLAN", "MULTI_PLAN"})
_ALPHA_BETA = re.compile(r"a/b\D{0,3}(\d+(?:\.\d+)?)", re.I)


@dataclass(frozen=True)
class SumRequest:
    """What `rtpipeline sum-dose` was asked for; empty tuples and None where nothing was said."""

    doses: tuple[Path, ...]
    output: Path
    weights: tuple[float, ...] = ()
    alpha_beta_gy: float | None = None
    fractions: tuple[int, ...] = ()
    registration: Path | None = None


@dataclass(frozen=True, eq=False)
class _Input:
    """One file: its header, what it says, and its part in the sum."""

    path: Path
    header: Dataset
    facts: DoseCandidate
    comment: str
    weight: float
    fractions: int | None

    @property
    def is_ion(self) -> bool:
        """True when the dose references an ion plan."""
        plans = Header(self.header).items("ReferencedRTPlanSequence")
        return any(plan.text("ReferencedSOPClassUID") == RTIonPlanStorage for plan in plans)

    def lazy(self) -> LazyDose:
        """The dose, read when its turn comes."""
        return LazyDose(dose_grid(self.header, self.path), partial(read_dose, self.path))


def sum_files(request: SumRequest) -> int:
    """Add the doses of some files and write the sum; returns the exit status.

    One file is in memory at a time. The sum lies in the frame of reference of the first file and
    belongs to its study. Raises `UsageError` for arguments that do not fit, `DoseRefused` and
    `GeometryError` for doses that must not be added, `DicomError` for files that are no doses, and
    `OutputError` when the output cannot be written.
    """
    _check_arguments(request)
    inputs = _read_headers(request)
    _check_inputs(inputs)
    registration = read_registration(request.registration) if request.registration else None
    total = _total(request, inputs, registration)
    _warn(inputs, total)
    _write(request, inputs, total, registration)
    log.info(
        "%s: %d doses, maximum %.4g Gy, %s %s",
        request.output,
        len(inputs),
        float(total.array_gy.max()),
        total.dose_type,
        total.summation_type,
    )
    return ALL_DONE


def numbers(option: str, text: str | None) -> tuple[float, ...]:
    """Positive numbers separated by commas. Raises `UsageError` naming the option."""
    if text is None:
        return ()
    values = []
    for part in text.split(","):
        try:
            value = float(part)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            raise UsageError(f"{option}: {part.strip()!r} is no number above 0")
        values.append(value)
    return tuple(values)


def whole_numbers(option: str, text: str | None) -> tuple[int, ...]:
    """The same for numbers of fractions."""
    values = numbers(option, text)
    for value in values:
        if value != int(value):
            raise UsageError(f"{option}: {value:g} is no whole number")
    return tuple(int(value) for value in values)


# -- what may be added -----------------------------------------------------------------------------


def _check_arguments(request: SumRequest) -> None:
    count = len(request.doses)
    for option, values in (("--weights", request.weights), ("--fractions", request.fractions)):
        if values and len(values) != count:
            raise UsageError(f"{option} has {len(values)} numbers for {count} files; give one each")
    if request.alpha_beta_gy is not None and not request.fractions:
        raise UsageError("--eqd2 needs --fractions, the number of fractions of each file's dose")
    files = [*request.doses, *filter(None, [request.registration])]
    for path in files:
        if not path.is_file():
            raise UsageError(f"{path} is not a file")
    output = request.output
    if output.is_dir():
        raise UsageError(f"{output} is a folder; name the file to write")
    if output.exists() and (any(output.samefile(path) for path in files) or not _is_ours(output)):
        raise UsageError(
            f"{output} exists and is no dose that RT Pipeline wrote; choose a new name"
        )


def _is_ours(path: Path) -> bool:
    try:
        header = Header(read_dataset(path, stop_before_pixels=True))
    except DicomError:
        return False
    return (header.text("Manufacturer"), header.text("Modality")) == (MANUFACTURER, "RTDOSE")


def _read_headers(request: SumRequest) -> list[_Input]:
    weights = request.weights or (1.0,) * len(request.doses)
    fractions: Sequence[int | None] = request.fractions or (None,) * len(request.doses)
    inputs = []
    for path, weight, number in zip(request.doses, weights, fractions, strict=True):
        ds = read_dataset(path, stop_before_pixels=True)
        header = Header(ds)
        if kind_of(header.text("SOPClassUID"), header.text("Modality")) != RTDOSE:
            found = header.text("Modality") or "an object of no known kind"
            raise DicomError(f"is no RT Dose but {found}; give RTDOSE files", path)
        summary = summarise(ds, RTDOSE)
        facts = DoseCandidate.from_summary(
            header.text("SOPInstanceUID"), header.text("FrameOfReferenceUID"), summary
        )
        kind = "MULTI_PLAN" if facts.summation_type == "PLAN_SUM" else facts.summation_type
        facts = replace(facts, summation_type=kind, dose_type=facts.dose_type or "PHYSICAL")
        if facts.units != "GY":
            raise DoseRefused(
                f"{path}: the dose is in {facts.units or 'unknown'} units, not GY; export it as "
                "absolute dose"
            )
        comment = str(summary["comment"])
        inputs.append(_Input(path, ds, facts, comment, weight, number))
    return inputs


def _check_inputs(inputs: Sequence[_Input]) -> None:
    first = inputs[0]
    for number, item in enumerate(inputs):
        if item.facts.dose_type != first.facts.dose_type:
            raise DoseRefused(
                f"{first.path} is {first.facts.dose_type} and {item.path} "
                f"{item.facts.dose_type}; these are never added"
            )
        if is_biological(item.comment) != is_biological(first.comment):
            raise DoseRefused(
                f"only one of {first.path} and {item.path} is BED or EQD2; these are never added"
            )
        _check_alpha_beta(first, item)
        for other in inputs[:number]:
            _check_pair(other, item)


def _check_alpha_beta(first: _Input, item: _Input) -> None:
    found = [_ALPHA_BETA.search(x.comment) for x in (first, item) if is_biological(x.comment)]
    values = {float(match[1]) for match in found if match}
    if len(values) > 1:
        raise DoseRefused(f"{first.path} and {item.path} have different a/b; these are never added")


def _check_pair(a: _Input, b: _Input) -> None:
    """A dose twice, or a plan and its own parts, would count twice."""
    if a.facts.sop_uid and a.facts.sop_uid == b.facts.sop_uid:
        raise DoseRefused(
            f"{a.path} and {b.path} are the same dose ({a.facts.sop_uid}); name it once, with a "
            "weight if it counts more than once"
        )
    for whole, part in ((a, b), (b, a)):
        shared = {*whole.facts.plan_uids} & {*part.facts.plan_uids}
        if not shared:
            continue
        kinds = whole.facts.summation_type, part.facts.summation_type
        if (kinds[0] in WHOLE_TYPES and kinds[1] in PART_TYPES) or kinds == ("MULTI_PLAN", "PLAN"):
            raise DoseRefused(
                f"{whole.path} ({kinds[0]}) already holds {part.path} ({kinds[1]}) of plan "
                f"{shared.pop()}; a plan and its own parts are never added"
            )


# -- the sum ---------------------------------------------------------------------------------------


def _total(
    request: SumRequest, inputs: Sequence[_Input], registration: Registration | None
) -> Dose:
    frames = [item.facts.frame_uid for item in inputs]
    for item in inputs:
        if item.facts.frame_uid != frames[0] and registration is None:
            raise GeometryError(
                f"{inputs[0].path} and {item.path} lie in different frames of reference; give the "
                "registration that joins them (--registration)"
            )
    mappings = registration.mappings if registration else ()
    limit = Config().dose.max_grid_voxels
    lazy, grid, flags = into_frame(
        [item.lazy() for item in inputs], frames, frames[0], mappings, limit
    )
    if request.alpha_beta_gy is None:
        total = sum_doses(lazy, [item.weight for item in inputs], grid=grid)
    else:
        deliveries = _deliveries(inputs, lazy)
        total = sum_converted(deliveries, request.alpha_beta_gy, grid=grid)
    if registration is not None:
        flags = (*flags, *registration.flags)
    kind = total.summation_type
    if not {item.facts.summation_type for item in inputs} <= WHOLE_TYPES | PART_TYPES:
        kind = PLAN_OVERVIEW  # sessions and the like: some fractions of a plan, not the plan
    return replace(total, summation_type=kind, flags=(*total.flags, *flags))


def _deliveries(inputs: Sequence[_Input], doses: Sequence[LazyDose]) -> list[Delivery]:
    """What is given in the same fractions: the partial doses of one fraction group of a plan."""
    groups: dict[object, list[int]] = {}
    for number, item in enumerate(inputs):
        facts = item.facts
        key: object = number
        if facts.summation_type in ("BEAM", "BRACHY") and len(facts.plan_uids) == 1:
            key = (*facts.plan_uids, *sorted({part.group or 0 for part in facts.parts}))
        groups.setdefault(key, []).append(number)
    deliveries = []
    for members in groups.values():
        own = [inputs[number] for number in members]
        if len({(item.fractions, item.weight) for item in own}) > 1:
            raise UsageError(
                f"{own[0].path} and {own[1].path} are beams of the same fractions: give them the "
                "same number of fractions and the same weight"
            )
        deliveries.append(
            Delivery(
                tuple(doses[number] for number in members),
                own[0].fractions or 0,
                own[0].weight,
                own[0].is_ion,
                " ".join(item.comment for item in own),
            )
        )
    return deliveries


def _warn(inputs: Sequence[_Input], total: Dose) -> None:
    """Say what a person should know about the sum."""
    patients = {Header(item.header).text("PatientID") for item in inputs}
    if len(patients) > 1:
        log.warning("the doses have different PatientIDs; the sum takes that of %s", inputs[0].path)
    seen: dict[str, _Input] = {}
    for item in inputs:
        for uid in item.facts.plan_uids:
            other = seen.setdefault(uid, item)
            kinds = {other.facts.summation_type, item.facts.summation_type}
            if other is not item and kinds <= WHOLE_TYPES:
                log.warning("%s and %s are both of plan %s", other.path, item.path, uid)
    parts = [item for item in inputs if item.facts.summation_type in PART_TYPES]
    if parts:
        log.warning(
            "%d partial doses are added as given; that they make up whole plans was not checked",
            len(parts),
        )
    if total.coverage is not None:
        share = 100 * float((total.coverage < 1).mean())
        log.warning("%.3g %% of the sum's grid is not reached by every dose", share)
    for flag in dict.fromkeys(total.flags):
        if flag in ("sum-grid-coarsened", "several-matrices"):
            log.warning("%s", flag)


# -- the file --------------------------------------------------------------------------------------


def _write(
    request: SumRequest,
    inputs: Sequence[_Input],
    total: Dose,
    registration: Registration | None,
) -> None:
    is_eqd2 = request.alpha_beta_gy is not None
    quantity = f"EQD2 a/b {request.alpha_beta_gy:g} Gy" if is_eqd2 else ""
    if not is_eqd2 and is_biological(inputs[0].comment):
        quantity = inputs[0].comment
    ds = dose_dataset(
        total,
        patient_from=inputs[0].header,
        plans=_plans(inputs),
        comment=quantity or "sum of doses",
        derivation=_sentence(inputs, quantity),
        description=quantity or "Sum of doses",
    )
    moved = REGISTERED in total.flags and registration is not None
    used = (Reference(registration.sop_class_uid, registration.sop_uid),) if moved else ()
    sources = tuple(item.facts.sop_uid for item in inputs)
    is_rigid = DEFORMED not in total.flags
    add_derivation(ds, Derivation(sources, bool(quantity), _shares(inputs), used, is_rigid))
    write_dataset(request.output, ds)


def _plans(inputs: Sequence[_Input]) -> list[Reference]:
    """The plans of all doses, each once, with the class by which its dose names it."""
    found: dict[str, Reference] = {}
    for item in inputs:
        for plan in Header(item.header).items("ReferencedRTPlanSequence"):
            uid = plan.text("ReferencedSOPInstanceUID")
            if uid:
                kind = plan.text("ReferencedSOPClassUID") or RTPlanStorage
                found.setdefault(uid, Reference(kind, uid))
    return list(found.values())


def _shares(inputs: Sequence[_Input]) -> tuple[PlanShare, ...]:
    """How many fractions of each plan are in the sum, where that is known and whole."""
    given: dict[str, set[float | None]] = {}
    for item in inputs:
        known = item.fractions if len(item.facts.plan_uids) == 1 else None
        for uid in item.facts.plan_uids:
            given.setdefault(uid, set()).add(None if known is None else known * item.weight)
    shares = []
    for uid, numbers_given in given.items():
        value = numbers_given.pop() if len(numbers_given) == 1 else None
        is_whole = value is not None and abs(value - round(value)) < 1e-3
        shares.append(PlanShare(uid, round(value) if is_whole and value else None))
    return tuple(shares)


def _sentence(inputs: Sequence[_Input], quantity: str) -> str:
    """Weights, fractions and sources, for a person; without the UIDs where they take too much."""
    head = f"RT Pipeline sum-dose{', ' + quantity if quantity else ''}: "

    def term(item: _Input, name: str) -> str:
        fractions = f" ({item.fractions} fractions)" if item.fractions else ""
        return f"{item.weight:g} x {name}{fractions}"

    whole = head + " + ".join(term(item, item.facts.sop_uid) for item in inputs)
    if len(whole) <= 1024:
        return whole
    return head + " + ".join(term(item, f"[{n}]") for n, item in enumerate(inputs, start=1))
