"""Cohort tables: all courses joined into `results/`, and every failure a row."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Config
from ..course import Course, course_folders, read_course
from ..dicom.index import Index
from ..errors import DataError
from ..report.codebook import codebook_for, layout
from ..report.join import join_parquet
from ..report.tables import (
    FAILURE_COLUMNS,
    Joined,
    can_write_workbook,
    rows_frame,
    stream_rows,
    write_table,
    write_workbook,
)
from ..review import REVIEW_FOLDER, review_rows
from ..review_agreement import agreement_rows
from ..stages import DONE, PARTIAL, STAGES
from ..stages.facts import course_row
from ..stages.perturbed_features import ROBUSTNESS_FILE
from .feature_results import feature_results
from .findings import cohort_findings, course_findings
from .ledger import Record, read_record
from .roster import CourseState, Roster, roster_rows, roster_summary

if TYPE_CHECKING:
    import pandas
    import pyarrow

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
    "radiomics": ("radiomics", "radiomics/features.parquet"),
}
# Files in the course folder that cohort tables are made from in another way.
COURSE_FILES = {"robustness": ("radiomics", ROBUSTNESS_FILE)}
COUNTS = ("image_files", "image_series", "structure_sets", "plans", "doses")  # in `courses`
SHOWN = 20  # lines of one kind at the end of a run


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
        lines += [f"needs a decision: {course}" for course in self.waiting[:SHOWN]]
        if len(self.waiting) > SHOWN:
            lines.append(f"and {len(self.waiting) - SHOWN} more need one: rtpipeline status")
        for row in self.failures[:SHOWN]:
            where = "/".join(filter(None, [row["patient_id"], row["course_id"], row["stage"]]))
            named = row["file"] and row["file"] not in row["error"]
            lines.append(f"failed: {where}: {row['file'] + ': ' if named else ''}{row['error']}")
        if len(self.failures) > SHOWN:
            more = len(self.failures) - SHOWN
            lines.append(f"and {more} more failures: {self.results / 'failures.csv'}")
        return lines


def aggregate(
    out: Path,
    config: Config,
    failures: Sequence[dict[str, str]],
    roster: Roster | None = None,
) -> Summary:
    """Write `results/` of an output folder from its course folders, one course at a time in memory.

    A course or table that cannot be read is a row of `failures`, never an absence. `failures` are
    such rows (`failure_row`) of what does not stand in the course folders.
    """
    import pyarrow

    results, csv = out / "results", config.output.csv
    gathered = _Gathered(list(failures))
    tables: dict[str, pandas.DataFrame | Joined] = {
        "courses": stream_rows(
            gathered.course_rows(out, roster), _course_types(roster), results, "courses", csv=csv
        )
    }
    for table in COURSE_TABLES:
        tables[table] = gathered.joined(table, results, csv=csv)
    tables |= gathered.feature_tables(tables["radiomics"], results, config)
    tables["quality"] = stream_rows(
        gathered.quality_rows(results, config),
        dict.fromkeys(layout("quality"), pyarrow.string()),
        results,
        "quality",
        csv=csv,
    )
    tables["reviews"] = stream_rows(
        gathered.review_rows(),
        dict.fromkeys(layout("reviews"), pyarrow.string()),
        results,
        "reviews",
        csv=csv,
    )
    if pairs := agreement_rows(gathered.reviews):
        tables["reviewer_agreement"] = rows_frame(pairs, "reviewer_agreement")
    tables |= _roster_table(roster, gathered, results)
    rows = sorted(
        gathered.failures, key=lambda row: tuple(str(row[name]) for name in FAILURE_COLUMNS)
    )
    tables["failures"] = rows_frame(rows, "failures")
    of_roster = {c: f"Column {c} of {roster.path.name}" for c in roster.columns} if roster else {}
    _write(tables, of_roster, results, config)
    waiting = tuple(gathered.waiting)
    courses = tables["courses"].rows
    return Summary(courses, gathered.statuses, tuple(rows), waiting, results)


class _Gathered:
    """What is kept of every course while the cohort is read: failures, counts, and where its tables
    are."""

    def __init__(self, failures: list[dict[str, str]]) -> None:
        self.failures = failures
        self.statuses: Counter[str] = Counter()
        self.waiting: list[str] = []
        self.reviews: list[dict[str, str]] = []
        self.states: defaultdict[str, list[CourseState]] = defaultdict(list)
        self._checked: list[tuple[Path, str, str]] = []
        self._reviewed: list[tuple[Path, str, str]] = []
        self._files: dict[str, dict[Path, tuple[str, str]]] = {
            name: {} for name in (*COURSE_TABLES, *COURSE_FILES)
        }

    def course_rows(self, out: Path, roster: Roster | None) -> Iterator[dict[str, object]]:
        """The rows of `courses`, by patient and course."""
        for folder in self._sorted(course_folders(out)):
            try:
                course = read_course(folder)
            except DataError as error:  # it was readable a moment ago
                self._unreadable(folder, error)
                continue
            records = _records(folder, course, self.failures)
            self.statuses.update(record.status for record in records.values())
            row = course_row(course, folder, out)
            row |= {f"stage_{name}": _status(records.get(name)) for name in STAGES}
            waits = row["dose_decision"] == "needs-decision"
            if waits:
                self.waiting.append(f"{course.patient_id}/{course.course_id}: {row['dose_reason']}")
            for table, (stage, name) in (COURSE_TABLES | COURSE_FILES).items():
                record = records.get(stage)
                good = record is not None and record.status in (DONE, PARTIAL)
                if good and name in record.outputs:
                    who = (course.patient_id, course.course_id)
                    self._files[table][folder / name] = who
            if (folder / REVIEW_FOLDER).is_dir():
                self._reviewed.append((folder, course.patient_id, course.course_id))
            checked = records.get("quality")
            if checked is not None and checked.status in (DONE, PARTIAL):
                self._checked.append((folder, course.patient_id, course.course_id))
            if roster is not None:
                row |= roster.values(course.patient_id)
                found = (records.get(name) for name in STAGES)
                statuses = tuple(record.status if record else "not run" for record in found)
                state = CourseState(len(course.of_kind("rtdose")), waits, statuses)
                self.states[course.patient_id].append(state)
            yield row

    def _sorted(self, folders: Sequence[Path]) -> list[Path]:
        """The readable course folders by patient and course; the others become failures."""
        keys = []
        for folder in folders:
            try:
                course = read_course(folder)
                keys.append((course.patient_id, course.course_id, folder))
            except DataError as error:
                self._unreadable(folder, error)
        return [folder for *_, folder in sorted(keys)]

    def _unreadable(self, folder: Path, error: DataError) -> None:
        self.failures.append(failure_row("", folder.name, "", "course", str(error), folder))

    def joined(self, table: str, results: Path, *, csv: bool) -> Joined:
        """One table of all courses; a file that cannot be used becomes a failure."""
        files = self._files[table]
        joined = join_parquet(list(files), results, table, csv=csv)
        for path, reason in joined.failures:
            self.failures.append(failure_row(*files[path], "aggregate", table, reason, path))
        return joined

    def review_rows(self) -> Iterator[dict[str, str]]:
        """The rows of `reviews`: every verdict on every course."""
        for folder, patient, course in self._reviewed:
            try:
                rows, errors = review_rows(folder)
            except DataError as error:
                rows, errors = [], [error]
            self.reviews += rows
            yield from rows
            self.failures += [
                failure_row(patient, course, "aggregate", "reviews", str(error), folder)
                for error in errors
            ]

    def quality_rows(self, results: Path, config: Config) -> Iterator[dict[str, object]]:
        """The rows of `quality`: those of every course, then those of the cohort."""
        for folder, patient, course in self._checked:
            try:
                yield from course_findings(folder, patient, course)
            except DataError as error:
                self.failures.append(
                    failure_row(patient, course, "aggregate", "quality", str(error), folder)
                )
        yield from cohort_findings(results, self.failures, config)

    def feature_tables(
        self, features: Joined, results: Path, config: Config
    ) -> dict[str, pandas.DataFrame | Joined]:
        """What the features of all courses say together."""
        files = self._files["robustness"]
        tables, failures = feature_results(features, list(files), config, results)
        for path, reason in failures:
            self.failures.append(failure_row(*files[path], "aggregate", "robustness", reason, path))
        return tables


def _course_types(roster: Roster | None) -> dict[str, pyarrow.DataType]:
    """Columns of `courses` with their types, which do not depend on what the courses hold."""
    import pyarrow

    columns = [*layout("courses"), *(f"stage_{name}" for name in STAGES)]
    types = dict.fromkeys(columns, pyarrow.string())
    types |= dict.fromkeys(COUNTS, pyarrow.int64()) | {"rx_gy": pyarrow.float64()}
    return types | (_roster_types(roster) if roster else {})


def _roster_types(roster: Roster) -> dict[str, pyarrow.DataType]:
    import pyarrow

    return {
        c: pyarrow.float64() if c in roster.numeric else pyarrow.string() for c in roster.columns
    }


def _roster_table(roster: Roster | None, gathered: _Gathered, results: Path) -> dict[str, Joined]:
    """`results/roster`: what became of every expected patient; without a roster there is none, and
    that of an earlier run goes."""
    import pyarrow

    if roster is None:
        for suffix in (".parquet", ".csv"):
            (results / f"roster{suffix}").unlink(missing_ok=True)
        return {}
    types = dict.fromkeys(layout("roster"), pyarrow.string()) | {"courses": pyarrow.int64()}
    rows = roster_rows(roster, gathered.states)
    log.info("roster: %s", roster_summary(rows))
    types |= _roster_types(roster)
    return {"roster": stream_rows(rows, types, results, "roster", csv=True)}


def index_failures(database: Path) -> list[dict[str, str]]:
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


def _write(
    tables: dict[str, pandas.DataFrame | Joined],
    of_roster: dict[str, str],
    results: Path,
    config: Config,
) -> None:
    """Parquet always, `failures.csv` always, workbook and other CSV as configured."""
    columns = {n: list(t.columns) for n, t in tables.items()}
    tables = {**tables, "codebook": codebook_for(columns, of_roster)}
    for name, table in tables.items():
        if isinstance(table, Joined):  # it is on disk already
            continue
        record = name != "codebook"
        as_csv = config.output.csv or name in ("failures", "codebook")
        write_table(table, results, name, csv=as_csv, parquet=record)
    workbook = results / "results.xlsx"
    if config.output.xlsx and can_write_workbook():
        write_workbook(tables, workbook)
    else:
        workbook.unlink(missing_ok=True)  # that of an earlier run would not be of these tables
        if config.output.xlsx:
            log.warning("there is no results.xlsx: pip install 'slicer-rtpipeline[xlsx]'")


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
