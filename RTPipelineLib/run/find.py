"""From a folder of DICOM to its courses, each in its place in the output folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from ..config import Config
from ..course import course_folders
from ..dicom.index import Index
from ..dose.across import ACCUMULATED
from ..errors import ConfigError, UsageError
from ..linking import Corrections, Inputs, link_courses
from ..linking.inputs import inputs_of
from ..overrides import Overrides, read_course_overrides
from .courses import Placement, group_by_patient, place
from .request import RunRequest

log = logging.getLogger(__name__)


def check_dicom_folder(folder: Path) -> None:
    """Raise `UsageError` when the folder is none or cannot be read."""
    if not folder.exists():
        raise UsageError(f"{folder} does not exist; give the folder that holds the DICOM files")
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file; give the folder that holds the DICOM files")


def link_summary(index: Index, dicom_dir: Path) -> str:
    """The courses that a run would find, one a line, for `rtpipeline index`."""
    courses = link_courses(inputs_of(index), dicom_root=str(dicom_dir))
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


def find_courses(
    request: RunRequest,
    database: Path,
    config: Config,
    outside: Mapping[str, Overrides],
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
        inputs = inputs_of(index)
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


def _corrections(out: Path, outside: Mapping[str, Overrides]) -> Corrections:
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


def chosen_courses(placements: Sequence[Placement], patients: Sequence[str]) -> list[Placement]:
    """The courses of these patients (none: all). Raises `UsageError` for one that is not there."""
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
