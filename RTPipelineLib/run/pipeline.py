"""The whole run: index, link, run stages, aggregate. Resumes what is there and never stops at one
course."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol

from ..config import Config, load_config
from ..course import course_folders, read_course
from ..dicom.index import Index
from ..dose.across import ACCUMULATED
from ..errors import ConfigError, OutputError, UsageError
from ..linking import Corrections, Inputs, link_courses
from ..overrides import (
    Overrides,
    decisions_for,
    read_course_overrides,
    read_overrides_file,
)
from ..platform import available_cores, write_text
from ..stages import STAGES, check_names, get_stage
from .accumulated import STAGES_OF_SUMS, accumulate
from .aggregate import failure_row
from .courses import Placement, group_by_patient, place, retire, write_course
from .estimate import estimate
from .ledger import Record, current_record, valid_record
from .local import Job, LocalEngine
from .output import hold_output, make_output_folder, noted_run, refuse_newer
from .results import make_results
from .roster import read_roster
from .snakemake import SnakemakeEngine, find_snakemake

log = logging.getLogger(__name__)

ALL_DONE, SOME_FAILED = 0, 3
LOCAL, SNAKEMAKE = ENGINES = ("local", "snakemake")
NOT_USED_YET = ("radiomics", "quality")


class Reporter(Protocol):
    """What a front end shows of a run's progress."""

    def begin(self, title: str, total: int) -> None: ...

    def report(self, course: str, stage: str, done: int, total: int, message: str) -> None: ...

    def advance(self, message: str) -> None: ...

    def end(self) -> None: ...


@dataclass(frozen=True)
class RunRequest:
    """What `rtpipeline run` was asked for; empty `stages` and `patients` mean all."""

    dicom_dir: Path
    out: Path
    config_path: Path | None = None
    overrides_path: Path | None = None
    roster_path: Path | None = None
    stages: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()
    jobs: int | None = None
    force: bool = False
    dry_run: bool = False
    engine: str = LOCAL
    profile: str | None = None


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
    stages = tuple(name for name in STAGES if not request.stages or name in request.stages)
    for name in stages:
        get_stage(name).check(config)
    for key in keys_without_effect(config):
        log.warning("the configuration sets %s, which this version does not use yet", key)
    if request.dry_run:
        return _dry_run(request, config, outside, stages)
    out = make_output_folder(request.out)
    with hold_output(out, "run"), noted_run(out, _facts(request)):
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
    placements = _find_courses(request, out / "index.sqlite", config, outside, reporter)
    chosen = _chosen(placements, request.patients)
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


def keys_without_effect(config: Config) -> list[str]:
    """Keys that differ from their default and that no stage reads yet: nobody shall believe that
    they had an effect."""
    default = Config()
    return [key for key in NOT_USED_YET if config.section_hash(key) != default.section_hash(key)]


def check_dicom_folder(folder: Path) -> None:
    """Raise `UsageError` when the folder is none or cannot be read."""
    if not folder.exists():
        raise UsageError(f"{folder} does not exist; give the folder that holds the DICOM files")
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file; give the folder that holds the DICOM files")


def link_summary(index: Index, dicom_dir: Path) -> str:
    """The courses that a run would find, one a line, for `rtpipeline index`."""
    courses = link_courses(_inputs(index), dicom_root=str(dicom_dir))
    lines = [f"{len(courses)} courses"]
    for placement in place(courses, dicom_dir / "nowhere"):
        course = placement.course
        counts = [
            f"{len(found)} {name}"
            for name in ("rtplan", "rtdose", "rtstruct", "record", "reg", "seg")
            if (found := course.of_kind(name))
        ]
        images = [f"{i.modality} x {len(i.files)}" for i in course.images]
        flags = sorted({flag.id for flag in course.flags})
        lines.append(
            f"  {course.patient_id or '(no PatientID)'} / {course.course_id}: "
            + ", ".join(images + counts)
            + (f"  [{', '.join(flags)}]" if flags else "")
        )
    return "\n".join(lines)


def _find_courses(
    request: RunRequest,
    database: Path,
    config: Config,
    outside: dict[str, Overrides],
    reporter: Reporter,
) -> list[Placement]:
    """Index the DICOM folder and link its objects; damaged and foreign files stay in the index."""
    root = request.dicom_dir.resolve()
    with Index(database) as index:
        report = index.update(root, jobs=request.jobs)
        log.info(
            "%d files: %d new, %d unchanged, %d not readable (%.1f s)",
            report.files,
            report.new,
            report.unchanged,
            report.unreadable,
            report.seconds,
        )
        inputs = _inputs(index)
        damaged = any(item.damaged for item in index.unreadable())
        if not inputs.objects and not inputs.series and not damaged:
            raise UsageError(
                f"no DICOM images or RT objects in {request.dicom_dir} ({report.files} files "
                "looked at); give the folder that holds the export"
            )
        corrections = _corrections(request.out, outside)
        courses = link_courses(
            inputs,
            dicom_root=str(root),
            merge=config.merge,
            max_days_between_plans=config.max_days_between_plans,
            corrections=corrections,
        )
    placements = place(courses, request.out.resolve())
    _warn_of_strangers(request, inputs, corrections, outside, placements)
    return placements


def _warn_of_strangers(
    request: RunRequest,
    inputs: Inputs,
    corrections: Corrections,
    outside: Mapping[str, Overrides],
    placements: Sequence[Placement],
) -> None:
    """Say which decisions and which older courses belong to nothing that was found."""
    uids = {item.sop_uid for item in inputs.objects} | {series.key for series in inputs.series}
    for uid in sorted({*corrections.links, *corrections.planning_images} - uids):
        log.warning("overrides: %s is not among the files, the decision has no effect", uid)
    keys = [f"{p.course.patient_id}/{p.course.course_id}" for p in placements]
    for key in sorted(outside.keys() - set(keys)):
        near = get_close_matches(key, keys, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        log.warning("%s: there is no course %s%s", request.overrides_path, key, hint)
    found = {folder for p in placements for folder in (p.folder, *p.superseded)}
    for folder in course_folders(request.out.resolve()):
        if folder not in found and not folder.name.startswith(ACCUMULATED):
            log.warning(
                "course %s/%s: none of its files is in %s any more; its old results are kept",
                folder.parent.name,
                folder.name,
                request.dicom_dir,
            )


def _inputs(index: Index) -> Inputs:
    """Objects and series of the index. Of a UID that stands for two different contents nothing is
    used: RT objects are left out, and a series gets all files of it, which its reader refuses."""
    conflicts = {uid: paths for uid, paths, identical in index.duplicates() if not identical}
    rivals = {path: paths for paths in conflicts.values() for path in paths}

    def files_of(key: str) -> list[str]:
        files = index.series_files(key)
        return list(dict.fromkeys(p for path in files for p in (path, *rivals.get(path, ()))))

    objects = [item for item in index.objects() if item.sop_uid not in conflicts]
    return Inputs(objects, index.series(), files_of)


def _corrections(out: Path, outside: dict[str, Overrides]) -> Corrections:
    """All link decisions of all courses; UIDs are unique, so they need no course."""
    decisions = []
    for folder in course_folders(out):
        try:
            decisions.append(read_course_overrides(folder))
        except ConfigError as error:
            log.error("%s; its links are not heeded and the course fails", error)
    links: dict[str, tuple[str, ...]] = {}
    planning: set[str] = set()
    for item in [*decisions, *outside.values()]:
        links |= item.links
        planning |= {item.planning_image} - {""}
    return Corrections(links, frozenset(planning))


def _chosen(placements: Sequence[Placement], patients: Sequence[str]) -> list[Placement]:
    if not patients:
        return list(placements)
    groups = group_by_patient(placements)
    for patient in patients:
        if patient not in groups:
            raise UsageError(f"--patients: no patient {patient!r}; there are {_some(groups)}")
    return [placement for patient in dict.fromkeys(patients) for placement in groups[patient]]


def _some(names: Sequence[str] | dict, limit: int = 10) -> str:
    shown = sorted(repr(name) for name in names)
    return ", ".join(shown[:limit]) + (
        f" and {len(shown) - limit} more" if len(shown) > limit else ""
    )


def _dry_run(
    request: RunRequest, config: Config, outside: dict[str, Overrides], stages: tuple[str, ...]
) -> int:
    """Print per course which stages would run, and say what that would take. The index goes to a
    temporary file."""
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        placements = _find_courses(
            request, Path(scratch) / "index.sqlite", config, outside, _Silent()
        )
    plan = []
    for placement in _chosen(placements, request.patients):
        course, folder = placement.course, placement.folder
        decisions = decisions_for(folder, course, outside)
        due = []
        for name in stages:
            known = folder.is_dir() and not request.force and not due and decisions is not None
            if not known or not current_record(get_stage(name), course, folder, config, decisions):
                due.append(name)
        print(f"{course.patient_id}\t{course.course_id}\t{', '.join(due) or 'nothing to do'}")
        plan.append((course, due))
    jobs = request.jobs or config.run.jobs or available_cores()
    for line in estimate(plan, request.out.resolve()).lines(jobs):
        log.info("%s", line)
    return ALL_DONE


class _Silent:
    """A reporter that shows nothing."""

    def begin(self, title: str, total: int) -> None: ...

    def report(self, course: str, stage: str, done: int, total: int, message: str) -> None: ...

    def advance(self, message: str) -> None: ...

    def end(self) -> None: ...


def _facts(request: RunRequest) -> dict[str, object]:
    """What `run.json` keeps of a request."""
    return {
        "dicom_dir": str(request.dicom_dir.resolve()),
        "config": str(request.config_path or ""),
        "overrides": str(request.overrides_path or ""),
        "roster": str(request.roster_path.resolve()) if request.roster_path else "",
        "stages": list(request.stages),
        "patients": list(request.patients),
    }
