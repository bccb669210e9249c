"""Cohort tables: all courses joined into `results/`, and every failure a row."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Config
from ..course import Course, course_folders, read_course
from ..dicom.index import Index
from ..errors import DataError
from ..report.codebook import codebook_for
from ..report.tables import (
    FAILURE_COLUMNS,
    Joined,
    concat_parquet,
    join_parquet,
    rows_frame,
    write_table,
    write_workbook,
)
from ..stages import DONE, PARTIAL, STAGES
from ..stages.facts import course_row
from .ledger import Record, read_record

if TYPE_CHECKING:
    import pandas

log = logging.getLogger(__name__)

# Cohort table <- (stage whose record must stand behind it, file in the course folder).
COURSE_TABLES = {
    "agreement": ("structures", "structures/agreement.parquet"),
    "agreement_dose": ("dvh", "dvh/agreement_dose.parquet"),
    "dvh_metrics": ("dvh", "dvh/metrics.parquet"),
    "dvh_curves": ("dvh", "dvh/curves.parquet"),
    "goals": ("dvh", "dvh/goals.parquet"),
    "dvh_tps": ("dvh", "dvh/tps.parquet"),
    "dvh_crosscheck": ("dvh", "dvh/crosscheck.parquet"),
}
# A million rows a course: joined on disk, one course after another.
TOO_LONG = ("dvh_curves",)


@dataclass(frozen=True)
class Summary:
    """What `aggregate` found: courses, statuses of all stages, and the rows of `failures`."""

    courses: int
    statuses: Counter[str]
    failures: tuple[dict[str, str], ...]
    waiting: tuple[str, ...]
    results: Path

    @property
    def has_failures(self) -> bool:
        """True when the exit status has to be 3."""
        return bool(self.failures)

    def about(self, patients: Sequence[str], stages: Sequence[str]) -> Summary:
        """The same with the failures and decisions that concern these patients (none: all) and
        stages. A file that nobody could read may be any patient's."""

        def concerns(row: dict[str, str]) -> bool:
            mine = not patients or row["patient_id"] in ("", *patients)
            return mine and (row["stage"] in stages or row["stage"] not in STAGES)

        waiting = self.waiting
        if patients:
            waiting = tuple(w for w in waiting if w.startswith(tuple(f"{p}/" for p in patients)))
        return replace(self, failures=tuple(filter(concerns, self.failures)), waiting=waiting)

    def lines(self) -> list[str]:
        """The end of a run in a few lines, failures included."""
        counts = ", ".join(f"{n} {status}" for status, n in sorted(self.statuses.items()))
        lines = [f"{self.courses} courses; stages: {counts or 'none'}; tables in {self.results}"]
        lines += [f"needs a decision: {course}" for course in self.waiting]
        for row in self.failures:
            where = "/".join(filter(None, [row["patient_id"], row["course_id"], row["stage"]]))
            named = row["file"] and row["file"] not in row["error"]
            lines.append(f"failed: {where}: {row['file'] + ': ' if named else ''}{row['error']}")
        return lines


def aggregate(out: Path, config: Config, unwritten: Sequence[dict[str, str]] = ()) -> Summary:
    """Write `results/` of an output folder from its course folders and its index.

    A course or table that cannot be read is a row of `failures`, never an absence. `unwritten` are
    such rows (`failure_row`) of what could not be noted in the course folders.
    """
    failures = [*unwritten, *_index_failures(out / "index.sqlite")]
    rows: list[dict] = []
    files: dict[str, list[tuple[Course, Path]]] = {name: [] for name in COURSE_TABLES}
    statuses: Counter[str] = Counter()
    waiting: list[str] = []
    for folder in course_folders(out):
        try:
            course = read_course(folder)
        except DataError as error:
            failures.append(failure_row("", folder.name, "", "course", str(error), folder))
            continue
        records = _records(folder, course, failures)
        statuses.update(record.status for record in records.values())
        row = course_row(course, folder, out)
        row |= {f"stage_{name}": _status(records.get(name)) for name in STAGES}
        rows.append(row)
        if row["dose_decision"] == "needs-decision":
            waiting.append(f"{course.patient_id}/{course.course_id}: {row['dose_reason']}")
        for table, (stage, name) in COURSE_TABLES.items():
            record = records.get(stage)
            if record is not None and record.status in (DONE, PARTIAL) and name in record.outputs:
                files[table].append((course, folder / name))
    results = out / "results"
    tables: dict[str, pandas.DataFrame | Joined] = {"courses": rows_frame(rows, "courses")}
    for table, sources in files.items():
        tables[table] = _joined(table, sources, failures, results, csv=config.output.csv)
    failures.sort(key=lambda row: tuple(str(row[name]) for name in FAILURE_COLUMNS))
    tables["failures"] = rows_frame(failures, "failures")
    _write(tables, results, config)
    return Summary(len(rows), statuses, tuple(failures), tuple(waiting), results)


def _index_failures(database: Path) -> list[dict[str, str]]:
    """Damaged files and UIDs with two contents; files that are not DICOM are listed by `index`
    only."""
    if not database.exists():
        return []
    with Index(database) as index:
        failures = [
            failure_row("", "", "index", "file", item.reason, item.path)
            for item in index.unreadable()
            if item.damaged
        ]
        for uid, paths, identical in index.duplicates():
            if not identical:
                message = (
                    f"{len(paths)} files have the same SOP Instance UID {uid} but different "
                    f"content ({', '.join(paths)}); none of them was used, keep the right one"
                )
                failures.append(failure_row("", "", "index", "duplicate", message, paths[0]))
    return failures


def _records(folder: Path, course: Course, failures: list[dict[str, str]]) -> dict[str, Record]:
    """The course's stage records; what failed, and records that cannot be read, become failures."""
    records = {}
    for name in STAGES:
        try:
            record = read_record(folder, name)
        except DataError as error:
            failures.append(
                failure_row(course.patient_id, course.course_id, name, "record", str(error), folder)
            )
            continue
        if record is None:
            continue
        records[name] = record
        errors = [p for p in record.problems if p.severity == "error"]
        for problem in errors:
            failures.append(
                failure_row(
                    course.patient_id,
                    course.course_id,
                    name,
                    problem.item,
                    problem.message,
                    problem.file,
                )
            )
        if record.is_failure and not errors:
            failures.append(
                failure_row(course.patient_id, course.course_id, name, name, record.reason, "")
            )
    return records


def _joined(
    table: str,
    sources: Iterable[tuple[Course, Path]],
    failures: list[dict[str, str]],
    results: Path,
    *,
    csv: bool,
) -> pandas.DataFrame | Joined:
    """One table of all courses; a file that cannot be used becomes a failure."""
    sources = sorted(sources, key=lambda source: (source[0].patient_id, source[0].course_id))
    courses = {path: course for course, path in sources}
    joined: pandas.DataFrame | Joined
    if table in TOO_LONG:
        joined = join_parquet(list(courses), results, table, csv=csv)
        unreadable = joined.failures
    else:
        joined, unreadable = concat_parquet(list(courses), table)
    for path, reason in unreadable:
        course = courses[path]
        failures.append(
            failure_row(course.patient_id, course.course_id, "aggregate", table, reason, path)
        )
    return joined


def _write(tables: dict[str, pandas.DataFrame | Joined], results: Path, config: Config) -> None:
    """Parquet always, `failures.csv` always, workbook and other CSV as configured."""
    columns = {n: list(t.columns) for n, t in tables.items()}
    tables = {**tables, "codebook": codebook_for(columns)}
    for name, table in tables.items():
        if isinstance(table, Joined):  # it is on disk already
            continue
        record = name != "codebook"
        as_csv = config.output.csv or name in ("failures", "codebook")
        write_table(table, results, name, csv=as_csv, parquet=record)
    if config.output.xlsx:
        write_workbook(tables, results / "results.xlsx")


def _status(record: Record | None) -> str:
    if record is None:
        return "not run"
    return f"{record.status}: {record.reason}" if record.reason else record.status


def failure_row(
    patient: str, course: str, stage: str, item: str, error: str, file: Path | str
) -> dict[str, str]:
    """One row of `failures`."""
    values = (patient, course, stage, item, "error", error, str(file))
    return dict(zip(FAILURE_COLUMNS, values, strict=True))
