"""The whole run: index, link, run stages, aggregate. Resumes what is there and never stops at one
course."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ..config import Config, load_config
from ..course import read_course
from ..errors import OutputError, UsageError
from ..overrides import (
    Overrides,
    decisions_for,
    read_overrides_file,
)
from ..platform import available_cores, terminated_as_interrupted, write_text
from ..stages import STAGES, check_names, get_stage
from .accumulated import STAGES_OF_SUMS, accumulate
from .aggregate import failure_row
from .courses import Placement, retire, write_course
from .dry_run import dry_run
from .find import check_dicom_folder, chosen_courses, find_courses
from .ledger import Record, valid_record
from .local import Job, LocalEngine
from .output import hold_output, make_output_folder, noted_run, refuse_newer
from .pseudonymised import COPIES, check_key, pseudonymise_input
from .request import SNAKEMAKE, Reporter, RunRequest
from .results import make_results
from .roster import read_roster
from .snakemake import SnakemakeEngine, find_snakemake

log = logging.getLogger(__name__)

ALL_DONE, SOME_FAILED = 0, 3


def run_pipeline(request: RunRequest, reporter: Reporter) -> int:
    """Carry out a request; returns the exit status (0 or 3).

    Raises `UsageError` for wrong arguments before anything is written, `OutputError` when the
    output folder cannot be written or is in use.
    """
    check_names(request.stages)
    if request.jobs is not None and request.jobs < 1:
        raise UsageError(f"--jobs must be at least 1, found {request.jobs}")
    if request.profile and request.engine != SNAKEMAKE:
        raise UsageError("--profile is Snakemake's: add --engine snakemake")
    if request.engine == SNAKEMAKE:
        find_snakemake()
    check_dicom_folder(request.dicom_dir)
    if request.out.resolve() == request.dicom_dir.resolve():
        raise UsageError(
            f"{request.out} holds the DICOM files; give another folder for the output, it may lie "
            "inside this one"
        )
    refuse_newer(request.out)
    config = load_config(request.config_path)
    outside = read_overrides_file(request.overrides_path) if request.overrides_path else {}
    roster = read_roster(request.roster_path) if request.roster_path else None
    key = config.output.pseudonymise
    check_key(request, key)
    stages = tuple(name for name in STAGES if not request.stages or name in request.stages)
    for name in stages:
        get_stage(name).check(config)
    if request.dry_run:
        dry_run(request, config, outside, stages)
        return ALL_DONE
    out = make_output_folder(request.out)
    facts = _facts(request, key)
    with hold_output(out, "run"), terminated_as_interrupted(), noted_run(out, facts):
        if key is not None:
            request, roster = pseudonymise_input(request, roster, key, reporter)
        write_text(out / "config.yaml", config.to_yaml())
        failed, lost = _run_stages(request, out, config, outside, stages, reporter)
        summary = make_results(out, config, lost, roster)
    asked = summary.about(request.patients, stages)
    for line in asked.lines():
        log.info("%s", line)
    return SOME_FAILED if failed or asked.has_failures else ALL_DONE


def _run_stages(
    request: RunRequest,
    out: Path,
    config: Config,
    outside: dict[str, Overrides],
    stages: tuple[str, ...],
    reporter: Reporter,
) -> tuple[bool, list[dict[str, str]]]:
    """Find the courses and run their stages. Whether any failed, and rows of `failures` for what
    could not be noted in the course folders; all else is on disk, and a thousand courses leave the
    memory before their tables are made."""
    placements = find_courses(request, out / "index.sqlite", config, outside)
    chosen = chosen_courses(placements, request.patients)
    unwritten = _write_courses(placements)
    chosen = [p for p in chosen if p.folder not in unwritten]
    reporter.begin("courses", len(chosen) + len(config.accumulate))
    engine = _engine(request, config, out, reporter)
    records = engine.run(_jobs(chosen, stages, outside))
    sums = accumulate(out, config, outside, request.patients)
    of_sums = tuple(name for name in stages if name in STAGES_OF_SUMS)
    records |= engine.run(_jobs(sums, of_sums, outside))
    reporter.end()
    failed = any(record.is_failure for course in records.values() for record in course)
    return failed, [*unwritten.values(), *_unwritten_failures(records)]


class Engine(Protocol):
    """Runs the stages of many courses."""

    def run(self, work: Sequence[Job]) -> dict[Path, list[Record]]: ...


def _engine(request: RunRequest, config: Config, out: Path, reporter: Reporter) -> Engine:
    overrides = request.overrides_path.resolve() if request.overrides_path else None
    asked = request.jobs or config.run.jobs
    shown = {"force": request.force, "report": reporter.report, "advance": reporter.advance}
    if request.engine == SNAKEMAKE:
        jobs = asked or (None if request.profile else available_cores())
        profile = request.profile
        return SnakemakeEngine(config, out, overrides, jobs=jobs, profile=profile, **shown)
    jobs = asked or available_cores()
    return LocalEngine(config, out / "config.yaml", overrides, jobs=jobs, **shown)


def _write_courses(placements: Sequence[Placement]) -> dict[Path, dict[str, str]]:
    """Write the facts of all courses; by folder those that cannot be written, as rows of
    `failures`."""
    lost = {}
    for placement in placements:
        try:
            write_course(placement)
        except (OSError, OutputError) as error:
            course, folder = placement.course, placement.folder
            lost[folder] = failure_row(
                course.patient_id, course.course_id, "", "course", str(error), folder
            )
            continue
        for folder in placement.superseded:
            retire(folder, placement)
    return lost


def _unwritten_failures(records: Mapping[Path, Sequence[Record]]) -> list[dict[str, str]]:
    """Rows for failures whose record could not be written, so that the course folder hides them."""
    rows = []
    for folder, course_records in records.items():
        for record in course_records:
            if not record.is_failure:
                continue
            known = valid_record(folder, record.stage)
            if known is None or not known.is_failure:
                course = read_course(folder)
                rows.append(
                    failure_row(
                        course.patient_id,
                        course.course_id,
                        record.stage,
                        record.stage,
                        record.reason,
                        folder,
                    )
                )
    return rows


def _jobs(
    placements: Sequence[Placement], stages: tuple[str, ...], outside: Mapping[str, Overrides]
) -> list[Job]:
    return [Job(p.folder, decisions_for(p.folder, p.course, outside), stages) for p in placements]


def _facts(request: RunRequest, key: Path | None) -> dict[str, object]:
    """What `run.json` keeps of a request; no path or name that a pseudonym replaces."""
    dicom_dir = request.dicom_dir if key is None else request.out / COPIES
    return {
        "dicom_dir": str(dicom_dir.resolve()),
        "pseudonymised": key is not None,
        "config": str(request.config_path or ""),
        "overrides": str(request.overrides_path or ""),
        "roster": str(request.roster_path.resolve()) if request.roster_path else "",
        "stages": list(request.stages),
        "patients": list(request.patients) if key is None else [],
    }
