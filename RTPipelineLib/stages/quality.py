"""Stage `quality`: what a person has to know about a course before believing its numbers.

`quality/quality.json` holds the findings of all checks, each with the check, its severity, what it
concerns, a sentence and what was read; and of every check whether it passed, was skipped or failed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from ..config import Config
from ..course import Course
from ..dicom.structures import read_structure_set
from ..errors import DataError
from ..model import Contours
from ..platform import write_json
from ..quality.course import Result, check_course
from ..quality.flags import raised
from ..quality.model import CourseFacts, Limits, RaisedFlag, RoiFacts, Row
from ..structures.extent import box_of
from . import DONE, PARTIAL, Outcome, Problem, Stage, Task
from .automatic import STRUCTURE_KINDS
from .dvh import CROSSCHECK_FILE, METRICS_FILE, TPS_FILE
from .facts import read_facts, read_rows
from .further import further_structures
from .load import IMAGE_FILE, planning_grids
from .structures import AGREEMENT_FILE, STRUCTURES_FILE

QUALITY_FILE = "quality/quality.json"
SCHEMA = 1


def limits_of(config: Config) -> Limits:
    """The limits of the checks, as the configuration has them."""
    return Limits(**config.quality.model_dump(exclude={"skip"}))


def _run(task: Task) -> Outcome:
    problems: list[Problem] = []
    results = check_course(_facts(task, problems), task.config.quality.skip)
    write_json(task.output / Path(QUALITY_FILE).name, quality_facts(results))
    broken = [r.findings[0].sentence for r in results if r.state == "failed"]
    problems += [Problem("check", "error", sentence) for sentence in broken]
    return Outcome(
        PARTIAL if problems else DONE, problems[0].message if problems else "", tuple(problems)
    )


def quality_facts(results: Sequence[Result]) -> dict[str, object]:
    """The results as `quality/quality.json` holds them."""
    return {
        "schema": SCHEMA,
        "checks": [
            {
                "check": result.check.id,
                "severity": finding.severity,
                "item": finding.item,
                "source": finding.source,
                "sentence": finding.sentence,
                "read": result.check.reads,
            }
            for result in results
            for finding in result.findings
        ],
        "states": {result.check.id: result.state for result in results},
    }


# -- facts ----------------------------------------------------------------------------------------


def _facts(task: Task, problems: list[Problem]) -> CourseFacts:
    course, folder = task.course, task.folder
    found = {
        (row["structure_set_uid"], row["roi_number"]): row
        for row in read_facts(folder, STRUCTURES_FILE).get("rois") or ()
    }
    records = {name: read_facts(folder, f"stages/{name}.json") for name in STAGE.uses}
    given = {name for name, record in records.items() if record.get("status") in (DONE, PARTIAL)}
    metrics = read_rows(folder, METRICS_FILE) if "dvh" in given else ()
    second = (TPS_FILE, CROSSCHECK_FILE) if "dvh" in given else ()
    dose = read_facts(folder, "dose/dose.json") if "dose" in given else {}
    flags = chain(
        _object_flags(course),
        _image_flags(folder, course),
        _dose_flags(dose),
        (
            raised(f, "", row["roi_name"], row["source"])
            for row in found.values()
            for f in row["flags"]
        ),
        _row_flags(metrics),
    )
    return CourseFacts(
        flags=tuple(dict.fromkeys(flags)),
        dose=dose,
        plans={plan.sop_uid: plan.summary for plan in course.of_kind("rtplan")},
        rois=tuple(_roi_facts(task, found, problems)),
        grids=planning_grids(folder),
        metrics=metrics,
        second=tuple(row for name in second for row in read_rows(folder, name)),
        agreement=read_rows(folder, AGREEMENT_FILE) if "structures" in given else (),
        names=tuple(found.values()),
        records={name: record for name, record in records.items() if record},
        limits=limits_of(task.config),
    )


def _object_flags(course: Course) -> Iterator[RaisedFlag]:
    for flag in course.flags:
        yield raised(flag.id, flag.message, _name_of(course, flag.objects))


def _name_of(course: Course, uids: Sequence[str]) -> str:
    """What a person calls the object of a flag: its label or file, an image's description."""
    for uid in uids:
        entry = course.object(uid)
        if entry is not None:
            return entry.path
        for image in course.images:
            if image.key == uid:
                return image.description or image.modality
    return ""


def _image_flags(folder: Path, course: Course) -> Iterator[RaisedFlag]:
    for volume in read_facts(folder, IMAGE_FILE).get("volumes") or ():
        name = _name_of(course, [volume["key"]])
        yield from (raised(flag, "", name) for flag in volume["flags"])


def _dose_flags(dose: dict) -> Iterator[RaisedFlag]:
    parts = (dose.get("decision") or {}, dose.get("prescription") or {})
    general = {flag for part in parts for flag in part.get("flags") or ()}
    yield from (raised(flag) for flag in sorted(general))
    for source in dose.get("sources") or ():
        own = sorted({*source["flags"]} - general)
        yield from (raised(flag, "", source["name"]) for flag in own)


def _row_flags(metrics: Iterable[Row]) -> Iterator[RaisedFlag]:
    """Flags of the DVH rows. One that every row of a dose has concerns the dose, and is raised
    once."""
    rows: defaultdict[object, list[tuple[Row, set[str]]]] = defaultdict(list)
    for row in metrics:
        rows[row["dose_source"]].append((row, set(filter(None, str(row["flags"]).split(";")))))
    for members in rows.values():
        everywhere = set.intersection(*(own for _, own in members)) if len(members) > 1 else set()
        yield from (raised(flag) for flag in sorted(everywhere))
        for row, own in members:
            item, source = str(row["roi_name"]), str(row["source"])
            yield from (raised(flag, "", item, source) for flag in sorted(own - everywhere))


def _roi_facts(task: Task, found: dict, problems: list[Problem]) -> Iterator[RoiFacts]:
    """Every structure that people or programs drew, with the box around it."""
    for roi in (*_drawn(task.course, problems), *further_structures(task, problems)):
        row = found.get((roi.structure_set_uid, roi.number)) or {}
        low, high = box_of([roi]) or (None, None)
        yield RoiFacts(
            name=roi.name,
            standard_name=row.get("roi_standard_name") or roi.standard_name,
            source=roi.source,
            interpreted_type=roi.interpreted_type,
            frame_uid=roi.frame_uid,
            structure_set_uid=roi.structure_set_uid,
            volume_cc=row.get("volume_cc"),
            low_mm=low,
            high_mm=high,
            centre_mm=None if low is None or high is None else (low + high) / 2,
        )


def _drawn(course: Course, problems: list[Problem]) -> Iterator[Contours]:
    for entry in course.of_kind("rtstruct"):
        try:
            yield from read_structure_set(course.path_of(entry)).rois
        except DataError as error:
            path = getattr(error, "path", None) or ""
            problems.append(Problem(entry.path, "error", str(error), str(path)))


def _inputs(course: Course) -> Sequence[Path]:
    return [course.path_of(entry) for kind in STRUCTURE_KINDS for entry in course.of_kind(kind)]


STAGE = Stage(
    name="quality",
    folder="quality",
    run=_run,
    inputs=_inputs,
    uses=("load", "register", "segment", "structures", "dose", "dvh"),
    parts=("images", "objects", "links", "flags", "sum_of"),
    sections=("quality",),
    decisions=("names",),
    edited=True,
)
