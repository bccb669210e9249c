"""The whole run: index, link, run stages, aggregate. Resumes what is there and never stops at one
course."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol

from .. import __version__
from ..config import Config, load_config
from ..course import course_folders
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
from ..platform import FolderLock, available_cores, write_json, write_text
from ..stages import STAGES, check_names, get_stage
from .accumulated import STAGES_OF_SUMS, accumulate
from .aggregate import aggregate
from .cohort_report import write_cohort_report
from .courses import Placement, group_by_patient, place, retire, write_course
from .ledger import current_record
from .local import Job, LocalEngine

log = logging.getLogger(__name__)

RUN_SCHEMA = 1
ALL_DONE, SOME_FAILED = 0, 3
NOT_USED_YET = (
    "structures.derived",
    "structures.voxelise",
    "segmentation",
    "dvh.goals",
    "dvh.crosscheck",
    "radiomics",
    "quality",
    "run.memory_gb",
    "output.rtstruct",
    "output.seg",
)


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
    stages: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()
    jobs: int | None = None
    force: bool = False
    dry_run: bool = False


def run_pipeline(request: RunRequest, reporter: Reporter) -> int:
    """Carry out a request; returns the exit status (0 or 3).

    Raises `UsageError` for wrong arguments before anything is written, `OutputError` when the
    output folder cannot be written or is in use.
    """
    check_names(request.stages)
    if request.jobs is not None and request.jobs < 1:
        raise UsageError(f"--jobs must be at least 1, found {request.jobs}")
    check_dicom_folder(request.dicom_dir)
    if request.out.resolve() == request.dicom_dir.resolve():
        raise UsageError(
            f"{request.out} holds the DICOM files; give another folder for the output, it may lie "
            "inside this one"
        )
    config = load_config(request.config_path)
    outside = read_overrides_file(request.overrides_path) if request.overrides_path else {}
    stages = tuple(name for name in STAGES if not request.stages or name in request.stages)
    for key in keys_without_effect(config):
        log.warning("the configuration sets %s, which this version does not use yet", key)
    if request.dry_run:
        return _dry_run(request, config, outside, stages)
    out = make_output_folder(request.out)
    with FolderLock(out):
        started = datetime.now().astimezone().isoformat(timespec="seconds")
        _note_run(out, request, started, "running")
        write_text(out / "config.yaml", config.to_yaml())
        placements = _find_courses(request, out / "index.sqlite", config, outside, reporter)
        for placement in placements:
            write_course(placement)
            for folder in placement.superseded:
                retire(folder, placement)
        chosen = _chosen(placements, request.patients)
        reporter.begin("courses", len(chosen) + len(config.accumulate))
        engine = LocalEngine(
            config,
            out / "config.yaml",
            request.overrides_path.resolve() if request.overrides_path else None,
            jobs=request.jobs or config.run.jobs or available_cores(),
            force=request.force,
            report=reporter.report,
            advance=reporter.advance,
        )
        records = engine.run(_jobs(chosen, stages, outside))
        sums = accumulate(out, config, outside, request.patients)
        of_sums = tuple(name for name in stages if name in STAGES_OF_SUMS)
        records |= engine.run(_jobs(sums, of_sums, outside))
        reporter.end()
        summary = aggregate(out, config)
        write_cohort_report(out)
        _note_run(out, request, started, "finished")
    for line in summary.lines():
        log.info("%s", line)
    failed = any(record.is_failure for course in records.values() for record in course)
    return SOME_FAILED if failed or summary.has_failures else ALL_DONE


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


def make_output_folder(out: Path) -> Path:
    """Create the output folder and prove that it can be written. Raises `OutputError`."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".write-test"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"{out} cannot be written ({reason}); choose another output folder or free it"
        ) from error
    return out.resolve()


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
    """Print per course which stages would run. The index goes to a temporary file."""
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        placements = _find_courses(
            request, Path(scratch) / "index.sqlite", config, outside, _Silent()
        )
    for placement in _chosen(placements, request.patients):
        course, folder = placement.course, placement.folder
        decisions = decisions_for(folder, course, outside)
        due = []
        for name in stages:
            known = folder.is_dir() and not request.force and not due and decisions is not None
            if not known or not current_record(get_stage(name), course, folder, config, decisions):
                due.append(name)
        print(f"{course.patient_id}\t{course.course_id}\t{', '.join(due) or 'nothing to do'}")
    return ALL_DONE


class _Silent:
    """A reporter that shows nothing."""

    def begin(self, title: str, total: int) -> None: ...

    def report(self, course: str, stage: str, done: int, total: int, message: str) -> None: ...

    def advance(self, message: str) -> None: ...

    def end(self) -> None: ...


def _note_run(out: Path, request: RunRequest, started: str, state: str) -> None:
    write_json(
        out / "run.json",
        {
            "schema": RUN_SCHEMA,
            "version": __version__,
            "state": state,
            "started": started,
            "dicom_dir": str(request.dicom_dir.resolve()),
            "config": str(request.config_path or ""),
            "overrides": str(request.overrides_path or ""),
            "stages": list(request.stages),
            "patients": list(request.patients),
        },
    )


def existing_output(out: Path) -> Path:
    """The output folder of an earlier run. Raises `UsageError` when it is none."""
    read_run(out)
    return out.resolve()


def read_run(out: Path) -> dict[str, object]:
    """What `run.json` says of the last run. Raises `UsageError` when there is none that we know."""
    path = out / "run.json"
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"{out} is not an output folder of rtpipeline run: it has no run.json"
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error}); run again to make it anew") from error
    schema = run.get("schema") if isinstance(run, dict) else None
    if schema != RUN_SCHEMA:
        raise UsageError(
            f"{path} has schema {schema}, this version reads {RUN_SCHEMA}; run again into a new "
            "folder, or use the version of RT Pipeline that wrote it"
        )
    return run
