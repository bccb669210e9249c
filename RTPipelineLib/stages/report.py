"""Stage `report`: the course's page, made from the facts that the other stages left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .. import __version__
from ..course import Course
from ..errors import DataError
from ..platform import write_text
from ..report.content import CourseReport, Notice, ObjectRow, StageRow
from ..report.course_page import course_page
from ..report.figures import PLANNING_SYSTEM, Curve
from ..report.planes import Slices
from ..report.plots import are_possible, write_plots
from ..review import review_rows
from . import DONE, Outcome, Problem, Stage, Task
from .automatic import STRUCTURE_KINDS
from .bands import BAND_COLUMNS, error_model
from .dose import DOSE_FILE
from .dvh import (
    CROSSCHECK_FILE,
    CURVES_FILE,
    GOALS_FILE,
    METRICS_FILE,
    STRUCTURES_FILE,
    TPS_CURVES_FILE,
    TPS_FILE,
)
from .facts import prescription_from, read_facts, read_rows
from .pictures import course_slices
from .quality import QUALITY_FILE
from .structures import AGREEMENT_FILE
from .structures import STRUCTURES_FILE as NAMES_FILE

DATES = {"image": "study_date"}


def _inputs(course: Course) -> Sequence[Path]:
    return [course.path_of(entry) for kind in STRUCTURE_KINDS for entry in course.of_kind(kind)]


def _run(task: Task) -> Outcome:
    notes: list[Problem] = []
    content = _content(task, notes)
    if content.curves and are_possible():
        title = f"{content.patient_id} / {content.course_id}"
        files = write_plots(content.curves, task.output, title, content.units)
        content = replace(content, plots=tuple((path.name, path.name) for path in files))
    elif content.curves:
        message = "no plot files, matplotlib is not installed: install the extra plots"
        notes.append(Problem("plots", "warning", message))
    write_text(task.output / "course.html", course_page(content))
    return Outcome(DONE, "", tuple(notes))


def _content(task: Task, notes: list[Problem]) -> CourseReport:
    course = task.course
    dose = read_facts(task.folder, DOSE_FILE)
    decision = dose.get("decision") or {}
    records = {name: read_facts(task.folder, f"stages/{name}.json") for name in STAGE.uses}
    return CourseReport(
        patient_id=course.patient_id,
        course_id=course.course_id,
        objects=_objects(course),
        decisions=_decisions(decision),
        flags=_findings(task, records),
        checks=_states(task, records),
        verdicts=_verdicts(task, notes),
        names=_names(task, records),
        agreement=(
            read_rows(task.folder, AGREEMENT_FILE) if _has_result(records, "structures") else ()
        ),
        prescription=prescription_from(dose).levels,
        stages=tuple(
            StageRow(name, record["status"], record["reason"], record["seconds"])
            for name, record in records.items()
            if record
        ),
        slices=_slices(task, notes),
        curves=_curves(task.folder) if _has_result(records, "dvh") else (),
        metrics=read_rows(task.folder, METRICS_FILE) if _has_result(records, "dvh") else (),
        goals=read_rows(task.folder, GOALS_FILE) if _has_result(records, "dvh") else (),
        comparisons=(
            (*read_rows(task.folder, TPS_FILE), *read_rows(task.folder, CROSSCHECK_FILE))
            if _has_result(records, "dvh")
            else ()
        ),
        failures=tuple(
            {"stage": name, "item": p["item"], "severity": p["severity"], "error": p["message"]}
            for name, record in records.items()
            for p in record.get("problems") or ()
        ),
        provenance=_provenance(records),
        inputs=tuple(
            (Path(item["path"]).name, item["sha256"])
            for name in ("dose", "dvh")
            for item in records[name].get("inputs") or ()
        ),
        units=task.config.dvh.units,
        bands=error_model(task.config).sentence if task.config.dvh.uncertainty.enabled else "",
        index_href="../../../results/report.html",
    )


def _findings(task: Task, records: dict[str, dict]) -> tuple[Notice, ...]:
    """What quality control found; where it did not run, the flags of the links."""
    if _has_result(records, "quality"):
        found = read_facts(task.folder, QUALITY_FILE).get("checks") or ()
        return tuple(Notice(f["check"], f["severity"], f["sentence"], f["read"]) for f in found)
    return tuple(Notice(flag.id, flag.severity, flag.message) for flag in task.course.flags)


def _states(task: Task, records: dict[str, dict]) -> dict[str, str]:
    """What became of every check."""
    if not _has_result(records, "quality"):
        return {}
    return read_facts(task.folder, QUALITY_FILE).get("states") or {}


def _verdicts(task: Task, notes: list[Problem]) -> tuple[dict[str, str], ...]:
    """What reviewers said; a verdict that cannot be read is a problem of its own."""
    try:
        rows, errors = review_rows(task.folder)
    except DataError as error:
        rows, errors = [], [error]
    notes += [Problem("review", "warning", str(error)) for error in errors]
    return tuple(rows)


def _slices(task: Task, notes: list[Problem]) -> Slices:
    """The pictures; facts that cannot be read cost the pictures only."""
    try:
        return course_slices(task, notes)
    except DataError as error:
        notes.append(Problem("slices", "warning", str(error)))
        return Slices(notes=(f"no pictures: {error}",))


def _names(task: Task, records: dict[str, dict]) -> tuple[dict[str, object], ...]:
    """What was found for each structure."""
    if not _has_result(records, "structures"):
        return ()
    return tuple(read_facts(task.folder, NAMES_FILE).get("rois") or ())


def _has_result(records: dict[str, dict], name: str) -> bool:
    return records[name].get("status") in ("done", "partial")


def _objects(course: Course) -> tuple[ObjectRow, ...]:
    """Images first, then RT objects, each with where its links lead and how they were made."""
    kinds = {entry.sop_uid: entry.kind for entry in course.objects}
    kinds |= {image.key: "image" for image in course.images}
    rows = [
        ObjectRow(
            f"{image.modality} ({len(image.files)} files, {image.role})",
            image.description,
            image.study_date,
            image.key,
            (),
            image.flags,
        )
        for image in course.images
    ]
    for entry in course.objects:
        links = tuple(
            f"{kinds[link.target]} {link.target} ({link.how})"
            for link in course.links
            if link.source == entry.sop_uid
        )
        label = entry.label or str(entry.summary.get("summation_type") or "")
        date = str(entry.summary.get("date") or entry.study_date)
        rows.append(ObjectRow(entry.kind, label, date, entry.sop_uid, links, entry.flags))
    return tuple(rows)


def _decisions(decision: dict) -> tuple[tuple[str, str], ...]:
    """The choice of the dose, its evidence, and what was left out."""
    if not decision:
        return ()
    evidence = "; ".join(decision.get("evidence") or ())
    rows = [("Which dose is the course's?", f"{decision['status']}: {evidence}")]
    rows += [(f"Left out: {uid}", reason) for uid, reason in decision.get("left_out") or ()]
    rows += [
        (f"Plan {part['plan_uid']}", part["problem"])
        for part in decision.get("parts") or ()
        if part["problem"]
    ]
    return tuple(rows)


def _curves(folder: Path) -> tuple[Curve, ...]:
    import pandas

    frames = [(pandas.read_parquet(folder / CURVES_FILE), "")]
    if (folder / TPS_CURVES_FILE).exists():
        frames.append((pandas.read_parquet(folder / TPS_CURVES_FILE), PLANNING_SYSTEM))
    looks = {
        (item["structure_set_uid"], item["roi_number"]): item["colour_rgb"]
        for item in read_facts(folder, STRUCTURES_FILE)
    }
    keys = ["source", "roi_number", "roi_name", "dose_source", "structure_set_uid"]
    curves = []
    for frame, made_by in frames:
        for (source, number, name, dose_source, uid), part in frame.groupby(keys, sort=False):
            colour = looks.get((uid, number))
            curves.append(
                Curve(
                    str(name),
                    part.dose_gy.to_numpy(),
                    part.volume_percent.to_numpy(),
                    tuple(colour) if colour else None,
                    str(dose_source),
                    made_by or str(source),
                    *(part[name].to_numpy() if name in part else None for name in BAND_COLUMNS),
                )
            )
    return tuple(curves)


def _provenance(records: dict[str, dict]) -> tuple[tuple[str, str], ...]:
    """Versions and configuration behind the numbers; no times, so that equal results are equal
    pages."""
    rows = [("RT Pipeline", __version__)]
    for name, record in records.items():
        if record:
            rows.append((f"configuration of stage {name} (SHA-256)", record["config_hash"]))
    versions = next((r["versions"] for r in reversed(records.values()) if r), {})
    rows += list(versions.items())
    return tuple(rows)


STAGE = Stage(
    name="report",
    folder="report",
    run=_run,
    inputs=_inputs,
    uses=("load", "segment", "structures", "dose", "dvh", "quality"),
    sections=("structures", "dvh.units", "dvh.uncertainty"),
    verdicts=True,
    edited=True,
    version=3,
)
