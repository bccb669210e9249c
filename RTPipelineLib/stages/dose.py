"""Stage `dose`: which dose is the course's, what was prescribed, and the grids as volumes.

`dose/dose.json` holds the decision with its evidence, the prescription, and one entry for every
dose that DVHs are made of: the course's total and, where there are several plans or no decision,
each plan's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from ..course import Course
from ..dicom.dataset import read_dataset
from ..dicom.derivation import Derivation, PlanShare, add_derivation
from ..dicom.new_object import write_dataset
from ..dicom.write import dose_dataset
from ..dose.across import ACCUMULATED, CourseShare, add_courses
from ..dose.facts import DoseCandidate, PlanFacts
from ..dose.parts import WeightedDose
from ..dose.prescription import dose_scale_flag, prescription_of, stated_totals_gy
from ..dose.registered import DEFORMED
from ..dose.select import DECIDED, FRAMES_DIFFER, NONE, REFUSED, DoseDecision, decide
from ..dose.sentences import sentence_of
from ..errors import DataError, DoseRefused, GeometryError
from ..model import Dose, Prescription
from ..platform import folder_name, write_json
from ..resample import resample_onto
from . import DONE, FAILED, PARTIAL, SKIPPED, Outcome, Problem, Stage, Task
from .course_doses import CourseDoses
from .course_facts import candidates_of, deliveries_of, plan_facts
from .course_rx import RoiHeader, roi_headers, total_prescription, user_table
from .eqd2 import eqd2_facts
from .facts import read_facts
from .nrrd import write_nrrd
from .register import OFFERS_FILE

DOSE_FILE = "dose/dose.json"
TOTAL, PLAN = "total", "plan"
EACH_PLAN = "each-plan"
UNAPPROVED = "registration-unapproved"
# Shares of plans that miss a whole number of fractions by less are that number.
WHOLE_FRACTIONS = 0.01
DICOM, COURSE = "dicom", "course"  # where the RTDOSE of a source lies: as exported, or written here


@dataclass(frozen=True)
class Source:
    """One dose that DVHs are made of: `name` stands in the column `dose_source`."""

    name: str
    role: str
    file: str
    doses: tuple[WeightedDose, ...]
    plan_uids: tuple[str, ...]


def _inputs(course: Course) -> Sequence[Path]:
    # The contours of targets tell which contain which.
    entries = [e for kind in ("rtdose", "reg", "rtstruct") for e in course.of_kind(kind)]
    return [course.path_of(entry) for entry in entries]


def _run(task: Task) -> Outcome:
    course = task.course
    plans = plan_facts(course)
    rois = roi_headers(course)
    table = user_table(task)
    doses = CourseDoses.of(task)
    candidates = candidates_of(course, doses)
    decision = _decide(task, plans, candidates, rois, doses)
    if decision.status == NONE:
        return Outcome(SKIPPED, "the course has no dose")
    problems: list[Problem] = list(doses.registrations.problems)
    prescription = total_prescription(task, plans, rois, decision, table, problems)
    names = task.config.prescription.from_name
    entries = []
    sources = _sources(course, decision)
    for number, source in enumerate(sources):
        task.progress(number, len(sources), source.name)
        try:
            entry = _write_source(task, doses, source, decision, problems)
            if task.config.dose.eqd2.enabled:
                entry |= eqd2_facts(task, doses, source, plans, candidates, decision, problems)
        except DataError as error:
            path = getattr(error, "path", None) or ""
            problems.append(Problem(source.name, "error", str(error), path))
            continue
        own = [plan for plan in plans if plan.uid in source.plan_uids]
        rx = prescription if source.role == TOTAL else prescription_of(own, rois, from_name=names)
        _check_scale(source, entry, rx, problems)
        entries.append({**entry, "prescription": asdict(rx)})
    facts = {
        "decision": decision.to_dict(),
        "prescription": asdict(prescription),
        "sources": entries,
    }
    if task.overrides.eqd2:
        facts["eqd2_decided"] = task.config.dose.eqd2.model_dump()
    write_json(task.output / "dose.json", facts)
    return _outcome(decision, entries, problems)


def _decide(
    task: Task,
    plans: Sequence[PlanFacts],
    candidates: Sequence[DoseCandidate],
    rois: Sequence[RoiHeader],
    doses: CourseDoses,
) -> DoseDecision:
    """Which dose is the course's, or that of the courses that were added."""
    course, joined = task.course, doses.registrations.joined_frames
    if course.sum_of:
        members = course.sum_of
        shares = [
            CourseShare.from_facts(m.course_id, m.date, m.decision, m.problem) for m in members
        ]
        return _with_offers(task, add_courses(shares, candidates, joined))
    decision = decide(
        plans,
        candidates,
        deliveries_of(course),
        task.overrides.dose,
        stated_gy=stated_totals_gy(rois, user_table(task)),
        joined_frames=joined,
    )
    if task.config.dose.policy == EACH_PLAN and len(decision.parts) > 1:
        decision = replace(decision, total=None)
    return _with_offers(task, decision)


def _check_scale(source: Source, entry: dict, rx: Prescription, problems: list[Problem]) -> None:
    """Flag a dose whose height does not fit its prescription; nothing is changed."""
    suspect = dose_scale_flag(entry["near_maximum_gy"], rx.course)
    if suspect and rx.course is not None:
        message = (
            f"{source.name}: a near-maximum of {entry['near_maximum_gy']:.2f} Gy does not fit "
            f"{rx.course.dose_gy:g} Gy; one fraction, or a wrong scaling? It was not changed"
        )
        problems.append(Problem(source.name, "warning", message))
        entry["flags"].append(suspect)


def _with_offers(task: Task, decision: DoseDecision) -> DoseDecision:
    """The decision, told of registrations that wait for a person's eyes."""
    offers = read_facts(task.folder, OFFERS_FILE).get("offers") or ()
    if not offers or FRAMES_DIFFER not in decision.flags:
        return decision
    names = ", ".join(str(offer["uid"]) for offer in offers)
    why = (
        f"{decision.evidence[-1]}; offered and not yet accepted: {names} (look at them, then name "
        "them under dose, registrations in overrides.yaml)"
    )
    flags = (*decision.flags, UNAPPROVED)
    return replace(decision, evidence=(*decision.evidence[:-1], why), flags=flags)


def _outcome(decision: DoseDecision, entries: list[dict], problems: list[Problem]) -> Outcome:
    if decision.status == REFUSED:
        why = dict.fromkeys(reason for _, reason in decision.left_out)
        reason = ": ".join(filter(None, ["; ".join(decision.evidence[-1:]), "; ".join(why)]))
        problem = Problem("dose", "error", reason)
        return Outcome(PARTIAL if entries else FAILED, reason, (problem, *problems))
    notes = tuple(Problem(flag, "warning", sentence_of(flag)) for flag in decision.flags)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        status = PARTIAL if entries else FAILED
        return Outcome(status, errors[0].message, (*problems, *notes))
    return Outcome(DONE, "", (*problems, *notes))


def _sources(course: Course, decision: DoseDecision) -> list[Source]:
    """The total, then each plan's own dose unless it is the total itself."""
    labels = _plan_labels(course, decision)
    counted = [uid for uid, weight in decision.plan_weights.items() if weight]
    if course.sum_of:
        name = f"{ACCUMULATED}:" + "+".join(member.course_id for member in course.sum_of)
        total = decision.total
        return [Source(name, TOTAL, "total", total, tuple(counted))] if total else []
    sources = []
    if decision.status == DECIDED and decision.total:
        name = f"plan:{labels[counted[0]]}" if len(counted) == 1 else "sum"
        if not counted:
            name = "dose"
        elif len(counted) > 1:
            name += ":" + "+".join(labels.get(uid, uid[-8:]) for uid in counted)
        sources.append(Source(name, TOTAL, "total", decision.total, tuple(counted)))
    for part in decision.parts:
        if not part.doses or (sources and part.doses == sources[0].doses):
            continue
        label = labels[part.plan_uid]
        file = f"plan_{folder_name(label)}"
        sources.append(Source(f"plan:{label}", PLAN, file, part.doses, (part.plan_uid,)))
    return sources


def _plan_labels(course: Course, decision: DoseDecision) -> dict[str, str]:
    """A name for every plan, unique within the course."""
    uids = [*decision.plan_weights, *(part.plan_uid for part in decision.parts)]
    labels: dict[str, str] = {}
    for uid in dict.fromkeys(uids):
        plan = course.object(uid)
        label = (plan.label if plan else "") or f"..{uid[-8:]}"
        number = sum(1 for other in labels.values() if other.partition("#")[0] == label)
        labels[uid] = f"{label}#{number + 1}" if number else label
    return labels


def _write_source(
    task: Task,
    doses: CourseDoses,
    source: Source,
    decision: DoseDecision,
    problems: list[Problem],
) -> dict[str, object]:
    """Write one dose as NRRD, the total as RTDOSE too, and return its facts.

    `record` names the RTDOSE that holds the exact numbers: the planning system's own where one
    object is the whole dose, else the sum that is written here. `coverage` names the share of its
    doses that reach each voxel of a sum, where not all do.
    """
    uids = [part.sop_uid for part in source.doses]
    exact = [part.weight for part in source.doses] == [1.0] and not doses.choices.normalisation
    exact = exact and uids[0] not in doses.stacks
    dose = doses.read(uids[0]) if exact else doses.total(source.doses)
    dose = replace(dose, plan_uids=source.plan_uids or dose.plan_uids)
    write_grid(task.output / f"{source.file}.nrrd", dose)
    if source.role == TOTAL or not exact:
        try:
            _write_rtdose(task.output / f"{source.file}.dcm", dose, source, doses, decision)
        except (DoseRefused, GeometryError) as error:
            if not exact:
                raise
            # The planning system's own object holds the numbers; only a copy of it is missing.
            path = doses.entry(uids[0]).path
            message = f"{path}: no {source.file}.dcm is written of it: {error}"
            problems.append(Problem(source.name, "warning", message, path))
    coverage = ""
    if dose.coverage is not None:
        coverage = f"dose/{source.file}_coverage.nrrd"
        share = replace(dose, array_gy=dose.coverage, coverage=None)
        write_grid(task.output / Path(coverage).name, share, unit="share")
    return {
        "name": source.name,
        "role": source.role,
        "nrrd": f"dose/{source.file}.nrrd",
        "coverage": coverage,
        "record": doses.entry(uids[0]).path if exact else f"dose/{source.file}.dcm",
        "record_in": DICOM if exact else COURSE,
        "resampled": not dose.grid.is_uniform,
        "doses": [asdict(part) for part in source.doses],
        "plan_uids": list(source.plan_uids),
        "structure_set_uid": dose.structure_set_uid,
        "frame_uid": dose.frame_uid,
        "dose_type": dose.dose_type,
        "max_gy": float(dose.array_gy.max()),
        "near_maximum_gy": _near_maximum_gy(dose),
        "registrations": [reference.sop_uid for reference in doses.references(uids)],
        "flags": list(dict.fromkeys([*dose.flags, *decision.flags])),
    }


def write_grid(path: Path, dose: Dose, unit: str = "Gy") -> None:
    """A dose as NRRD, which has even slices only."""
    grid = dose.grid.with_uniform_slices()
    array = dose.array_gy
    if grid is not dose.grid:
        array = resample_onto(dose.array_gy, dose.grid, grid)
    fields = {"modality": "RTDOSE", "unit": unit, "frame_uid": dose.frame_uid}
    write_nrrd(path, array, grid, fields)


def _near_maximum_gy(dose: Dose) -> float:
    """D2 % of the voxels that get more than a tenth of the maximum: a dose's height in one number,
    untouched by single hot voxels and by how far the grid reaches."""
    values = dose.array_gy[dose.array_gy > 0.1 * dose.array_gy.max()]
    return float(np.percentile(values, 98)) if values.size else 0.0


def _write_rtdose(
    path: Path, dose: Dose, source: Source, doses: CourseDoses, decision: DoseDecision
) -> None:
    """The dose as an RTDOSE of its study, saying what it was made of."""
    uids = tuple(part.sop_uid for part in source.doses)
    own = next(uid for uid in uids if doses.entry(uid).frame_uid == dose.frame_uid)
    header = read_dataset(doses.course.path_of(doses.entry(own)), stop_before_pixels=True)
    terms = " + ".join(f"{part.weight:g} x {part.sop_uid}" for part in source.doses)
    ds = dose_dataset(
        dose, patient_from=header, comment=source.name, derivation=f"RT Pipeline: {terms}"
    )
    made_of = Derivation(
        doses.members(uids),
        plans=tuple(_share(doses.course, uid, decision) for uid in source.plan_uids),
        registrations=doses.references(uids),
        is_rigid=DEFORMED not in dose.flags,
    )
    add_derivation(ds, made_of)
    write_dataset(path, ds)


def _share(course: Course, uid: str, decision: DoseDecision) -> PlanShare:
    """How many fractions of a plan are in its course's total; None where that is no whole
    number."""
    plan = course.object(uid)
    if plan is None:
        return PlanShare(uid)
    fractions = PlanFacts.from_summary(uid, plan.summary).fractions
    given = (fractions or 0) * decision.plan_weights.get(uid, 0.0)
    whole = round(given) if given and abs(given - round(given)) < WHOLE_FRACTIONS else None
    return PlanShare(uid, whole, plan.label)


STAGE = Stage(
    name="dose",
    folder="dose",
    run=_run,
    inputs=_inputs,
    uses=("register",),
    parts=("objects", "links", "sum_of"),
    sections=("dose", "prescription"),
    decisions=("dose", "prescription", "eqd2"),
    version=3,
)
