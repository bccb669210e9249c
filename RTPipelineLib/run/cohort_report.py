"""`results/report.html`: the cohort's page, from its courses and tables."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from .. import __version__
from ..config import load_config
from ..course import course_folders, read_course
from ..errors import DataError
from ..platform import write_text
from ..quality.model import SEVERITIES
from ..report.cohort_page import cohort_page
from ..report.cohort_stats import Band, Boxes
from ..report.cohort_tables import CourseDose, Who, read_bands, read_metrics
from ..report.content import CheckLine, CohortReport, CourseLine, StageRow
from ..review import REVIEW_FOLDER, review_rows
from ..stages import SKIPPED, STAGES
from ..stages.facts import course_row
from .ledger import valid_record

# Stages that run only when the configuration asks for them.
ON_REQUEST = ("register", "segment", "radiomics")


def write_cohort_report(out: Path) -> Path:
    """Write the page and return its path. Courses that cannot be read stand in its failures, which
    come from `results/failures.parquet`. Raises `DataError` for tables that cannot be read."""
    import pyarrow

    results = out / "results"
    if not (results / "failures.parquet").exists():
        raise DataError(f"{results} has no tables yet; run `rtpipeline aggregate {out}` first")
    try:
        page = _content(out, results)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(
            f"a table in {results} cannot be read ({error}); run `rtpipeline aggregate {out}`"
        ) from error
    path = results / "report.html"
    write_text(path, cohort_page(page))
    return path


def _content(out: Path, results: Path) -> CohortReport:
    import pandas
    import pyarrow.parquet

    failures = pandas.read_parquet(results / "failures.parquet")
    checks, findings = _quality(results / "quality.parquet")
    lines = [line for f in course_folders(out) if (line := _line(f, out, findings))]
    bands, metrics = _plots(results, lines)
    return CohortReport(
        title=f"Cohort {out.name}",
        courses=_asked_for(lines),
        checks=checks,
        bands=bands,
        metrics=metrics,
        failures=tuple(failures.to_dict("records")),
        tables=tuple(
            (path.name, pyarrow.parquet.read_metadata(path).num_rows)
            for path in sorted(results.glob("*.parquet"))
        ),
        provenance=(("RT Pipeline", __version__), ("configuration", "config.yaml")),
        units=load_config(out / "config.yaml").dvh.units,
    )


def _plots(
    results: Path, lines: Sequence[CourseLine]
) -> tuple[tuple[Band, ...], tuple[Boxes, ...]]:
    """Curves and metrics of the cohort, under the doses of its courses."""
    doses = {
        (line.patient_id, line.course_id): CourseDose(line.dose_source, line.href)
        for line in lines
        if line.dose_source
    }
    tables = [results / f"{name}.parquet" for name in ("dvh_metrics", "dvh_curves")]
    if not all(path.exists() for path in tables):
        return (), ()
    metrics, names = read_metrics(tables[0], doses)
    return read_bands(tables[1], names), metrics


def _quality(path: Path) -> tuple[tuple[CheckLine, ...], dict[Who, Counter[str]]]:
    """What each check found, those with errors first; and how often each course was found to have
    what."""
    import pyarrow.parquet

    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    courses: defaultdict[str, set[Who]] = defaultdict(set)
    by_course: defaultdict[Who, Counter[str]] = defaultdict(Counter)
    if path.exists():
        columns = ["patient_id", "course_id", "check", "severity"]
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(columns=columns):
            for patient, course, check, severity in zip(
                *(column.to_pylist() for column in batch.columns), strict=True
            ):
                found[check][severity] += 1
                if course:  # some findings concern the whole cohort
                    courses[check].add((patient, course))
                    by_course[patient, course][severity] += 1
    lines = [CheckLine(check, counts, len(courses[check])) for check, counts in found.items()]
    lines.sort(key=lambda line: (*(-line.findings.get(s, 0) for s in SEVERITIES[::-1]), line.check))
    return tuple(lines), by_course


def _asked_for(lines: Sequence[CourseLine]) -> tuple[CourseLine, ...]:
    """Without the stages on request that every course skipped: their columns would hide those of
    the others."""
    asked = {row.name for line in lines for row in line.stages if row.status != SKIPPED} | set(
        STAGES
    ).difference(ON_REQUEST)
    return tuple(
        replace(line, stages=tuple(row for row in line.stages if row.name in asked))
        for line in lines
    )


def _line(folder: Path, out: Path, findings: Mapping[Who, Mapping[str, int]]) -> CourseLine | None:
    try:
        course = read_course(folder)
    except DataError:
        return None
    row = course_row(course, folder, out)
    records = {name: valid_record(folder, name) for name in STAGES}
    page = folder / "report" / "course.html"
    waiting = row["dose_decision"] == "needs-decision"
    return CourseLine(
        course.patient_id,
        course.course_id,
        f"../{page.relative_to(out).as_posix()}" if page.exists() else "",
        tuple(StageRow(r.stage, r.status, r.reason, r.seconds) for r in records.values() if r),
        str(row["dose_source"]),
        row["rx_gy"],
        str(row["dose_reason"]) if waiting else "",
        tuple(flag for flag in str(row["flags"]).split(";") if flag),
        findings.get((course.patient_id, course.course_id), {}),
        _verdicts(folder),
    )


def _verdicts(folder: Path) -> Counter[tuple[str, str]]:
    """How often each (verdict, state) was given; what cannot be read stands in the failures."""
    if not (folder / REVIEW_FOLDER).is_dir():
        return Counter()
    try:
        rows, _ = review_rows(folder)
    except DataError:
        return Counter()
    return Counter((row["verdict"], row["state"]) for row in rows)
