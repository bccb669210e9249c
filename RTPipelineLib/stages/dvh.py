"""Stage `dvh`: every structure under every dose of the course, a row each.

`dvh/metrics.parquet` and `dvh/curves.parquet`; `dvh/goals.parquet` when there are goals;
`dvh/tps.parquet` and `dvh/tps_curves.parquet` when the planning system stored DVHs in a dose;
`dvh/crosscheck.parquet` when other programs are asked; `dvh/agreement_dose.parquet` when two
sources of a structure were compared. A structure that cannot be computed has its row too, with
empty metrics and the reason in `flags`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..course import REFERENCED, Course, ObjectEntry
from ..dicom.dose import read_dose
from ..dicom.structures import read_structure_set
from ..dose.registered import REGISTERED
from ..errors import DataError
from ..model import CLINICAL, Contours, ImagePlanes, Mask
from ..platform import write_json
from ..resample import resample_onto
from . import DONE, FAILED, PARTIAL, SKIPPED, Outcome, Problem, Stage, Task
from .agreement import agreement_frame
from .agreement_dose import AgreementDoses
from .automatic import STRUCTURE_KINDS
from .comparisons import (
    Comparison,
    beside_planning_system,
    beside_programs,
    comparison_frame,
    stored_curves_frame,
)
from .derive import read_shares
from .dose import COURSE, DOSE_FILE
from .dvh_tables import CURVE_STEP_GY, curves_frame, metrics_frame
from .eqd2 import with_eqd2
from .evaluation import Evaluated, evaluate, options_of
from .facts import prescription_from, read_facts
from .further import further_structures
from .goal_rows import goals_frame
from .isodoses import DoseSource
from .load import planning_planes
from .naming import named_rois
from .nrrd import read_nrrd
from .structures import STRUCTURES_FILE as DRAWN_FILE

METRICS_FILE = "dvh/metrics.parquet"
CURVES_FILE = "dvh/curves.parquet"
STRUCTURES_FILE = "dvh/structures.json"
GOALS_FILE = "dvh/goals.parquet"
TPS_FILE = "dvh/tps.parquet"
TPS_CURVES_FILE = "dvh/tps_curves.parquet"
CROSSCHECK_FILE = "dvh/crosscheck.parquet"
AGREEMENT_DOSE_FILE = "dvh/agreement_dose.parquet"


def _inputs(course: Course) -> Sequence[Path]:
    kinds = (*STRUCTURE_KINDS, "rtdose", "reg")
    entries = [entry for kind in kinds for entry in course.of_kind(kind)]
    return [course.path_of(entry) for entry in entries]


def _run(task: Task) -> Outcome:
    facts = read_facts(task.folder, DOSE_FILE)
    if not facts.get("sources"):
        return Outcome(SKIPPED, "the course has no dose that could be used")
    problems: list[Problem] = []
    further = further_structures(task, problems)
    if not task.course.of_kind("rtstruct") and not further:
        return Outcome(SKIPPED, "the course has no structure set")
    planes = planning_planes(task.folder)
    derived = read_shares(task.folder, read_facts(task.folder, DRAWN_FILE))
    agreement = AgreementDoses(task, planes)
    results: list[Evaluated] = []
    stored, checked = Comparison(), Comparison()
    for number, entry in enumerate(facts["sources"]):
        task.progress(number, len(facts["sources"]), entry["name"])
        try:
            source = _load_source(task, entry)
            structures = _structures_for(task, entry, planes, problems)
            structures += [mask for mask in further if mask.frame_uid == entry["frame_uid"]]
            sets = {roi.structure_set_uid for roi in structures}
            structures += [mask for mask in derived if mask.structure_set_uid in sets]
        except DataError as error:
            path = getattr(error, "path", None) or ""
            problems.append(Problem(entry["name"], "error", str(error), path))
            continue
        here = evaluate(structures, source, task.config)
        if task.config.dose.eqd2.enabled:
            here = with_eqd2(task, entry, here, options_of(task.config), problems)
        rx = source.prescription.course
        path = _record_path(task, entry)
        agreement.add(here, source, task.config, problems)
        clinical = [result for result in here if result.roi.source == CLINICAL]
        results += [result for result in here if result.roi.source != CLINICAL]
        clinical = beside_planning_system(clinical, path, rx.dose_gy if rx else None, stored)
        results += beside_programs(task.config.dvh.crosscheck, task.course, clinical, path, checked)
    if not results:
        reason = problems[0].message if problems else "no structure set could be read"
        return Outcome(FAILED, reason, tuple(problems))
    problems += [result.problem for result in results if result.problem is not None]
    problems += checked.problems
    _write(task, results, stored, checked)
    _write_differences(task, agreement.rows)
    errors = [problem for problem in problems if problem.severity == "error"]
    status = PARTIAL if errors else DONE
    return Outcome(status, errors[0].message if errors else "", tuple(problems))


def _write(
    task: Task, results: Sequence[Evaluated], stored: Comparison, checked: Comparison
) -> None:
    """All tables of the stage."""
    ids = {"patient_id": task.course.patient_id, "course_id": task.course.course_id}
    metrics_frame(results, ids).to_parquet(task.output / "metrics.parquet", index=False)
    curves_frame(results, ids).to_parquet(task.output / "curves.parquet", index=False)
    write_json(task.output / "structures.json", [_appearance(result.roi) for result in results])
    tables = {}
    if task.config.dvh.goals is not None:
        tables[GOALS_FILE] = goals_frame(task.config.dvh.goals, results, ids)
    if stored.rows:
        tables[TPS_FILE] = comparison_frame(stored.rows, ids, "dvh_tps")
    if stored.curves:
        tables[TPS_CURVES_FILE] = stored_curves_frame(stored.curves, ids, CURVE_STEP_GY)
    if checked.rows:
        tables[CROSSCHECK_FILE] = comparison_frame(checked.rows, ids, "dvh_crosscheck")
    for name, frame in tables.items():
        frame.to_parquet(task.output / Path(name).name, index=False)


def _write_differences(task: Task, rows: Sequence[dict[str, object]]) -> None:
    if rows:
        ids = {"patient_id": task.course.patient_id, "course_id": task.course.course_id}
        frame = agreement_frame(rows, ids, "agreement_dose")
        frame.to_parquet(task.output / Path(AGREEMENT_DOSE_FILE).name, index=False)


def _appearance(roi: Contours | Mask) -> dict[str, object]:
    """How a structure is shown wherever its curve is drawn."""
    return {
        "structure_set_uid": roi.structure_set_uid,
        "roi_number": roi.number,
        "roi_name": roi.name,
        "source": roi.source,
        "colour_rgb": roi.colour_rgb,
        "interpreted_type": roi.interpreted_type,
    }


# -- facts of the course --------------------------------------------------------------------------


def _record_path(task: Task, entry: dict) -> Path:
    """The RTDOSE that holds the exact numbers of a source."""
    folder = task.folder if entry["record_in"] == COURSE else Path(task.course.dicom_root)
    return folder / entry["record"]


def _load_source(task: Task, entry: dict) -> DoseSource:
    dose = read_dose(_record_path(task, entry))
    if entry.get("coverage"):
        share, grid = read_nrrd(task.folder / entry["coverage"])
        dose = replace(dose, coverage=resample_onto(share, grid, dose.grid))
    return DoseSource(
        entry["name"],
        dose,
        prescription_from(entry),
        tuple(entry["plan_uids"]),
        tuple(entry["flags"]),
    )


def _structures_for(
    task: Task, entry: dict, planes: dict[str, ImagePlanes], problems: list[Problem]
) -> list[Contours]:
    """The structure sets that belong to a dose: those its plans or itself refer to."""
    found: list[Contours] = []
    for structure_set, how in sets_for(task.course, entry):
        try:
            content = read_structure_set(task.course.path_of(structure_set))
        except DataError as error:
            path = getattr(error, "path", None) or ""
            problems.append(Problem(structure_set.path, "error", str(error), path))
            continue
        rois = named_rois(content, task.config, task.overrides.names)
        mark = () if how == REFERENCED else (f"structure-set-by-{how}",)
        if REGISTERED in entry["flags"]:
            rois = _of_frame(rois, entry, structure_set, problems)
        for roi in rois:
            flags = (*roi.flags, *mark)
            found.append(replace(roi, flags=flags, image_planes=planes.get(roi.frame_uid)))
    return found


def _of_frame(
    rois: Sequence[Contours], entry: dict, structure_set: ObjectEntry, problems: list[Problem]
) -> list[Contours]:
    """The ROIs in the frame of reference of a sum over frames."""
    own = [roi for roi in rois if roi.frame_uid in ("", entry["frame_uid"])]
    if len(own) < len(rois):
        message = (
            f"{len(rois) - len(own)} structures lie in another frame of reference than "
            f"{entry['name']} and are reported under the doses of their own plan"
        )
        problems.append(Problem(entry["name"], "warning", message, structure_set.path))
    return own


def sets_for(course: Course, entry: dict) -> list[tuple[ObjectEntry, str]]:
    """Structure sets of a dose, each once, with how the link was made."""
    sources = [*entry["plan_uids"], *(part["sop_uid"] for part in entry["doses"])]
    found: dict[str, tuple[ObjectEntry, str]] = {}
    for uid in sources:
        for structure_set, how in course.targets_of(uid, "rtstruct"):
            found.setdefault(structure_set.sop_uid, (structure_set, how))
        if found and uid in entry["plan_uids"][-1:]:
            break  # the plans name their structure sets; the doses' own links add nothing
    if not found:
        sets = [s for s in course.of_kind("rtstruct") if s.frame_uid == entry["frame_uid"]]
        found = {s.sop_uid: (s, "frame-of-reference") for s in sets}
    return list(found.values())


STAGE = Stage(
    name="dvh",
    folder="dvh",
    run=_run,
    inputs=_inputs,
    needs=("dose",),
    uses=("load", "segment", "structures"),
    parts=("objects", "links", "sum_of"),
    sections=("dose", "structures", "dvh"),
    decisions=("names", "dose", "eqd2"),
    edited=True,
    version=5,
)
