"""`results/report.html`: the cohort's page, from its courses and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .. import __version__
from ..config import load_config
from ..course import course_folders, read_course
from ..errors import DataError
from ..platform import write_text
from ..report.cohort_page import cohort_page
from ..report.content import CohortReport, CourseLine, StageRow
from ..stages import SKIPPED, STAGES
from ..stages.facts import course_row
from .ledger import valid_record

# Stages that run only when the configuration asks for them.
ON_REQUEST = ("register", "segment", "radiomics")


def write_cohort_report(out: Path) -> Path:
    """Write the page and return its path. Courses that cannot be read stand in its failures, which
    come from `results/failures.parquet`."""
    import pandas
    import pyarrow.parquet

    results = out / "results"
    if not (results / "failures.parquet").exists():
        raise DataError(f"{results} has no tables yet; run `rtpipeline aggregate {out}` first")
    config = load_config(out / "config.yaml")
    failures = pandas.read_parquet(results / "failures.parquet")
    page = CohortReport(
        title=f"Cohort {out.name}",
        courses=_asked_for([line for f in course_folders(out) if (line := _line(f, out))]),
        failures=tuple(failures.to_dict("records")),
        tables=tuple(
            (path.name, pyarrow.parquet.read_metadata(path).num_rows)
            for path in sorted(results.glob("*.parquet"))
        ),
        provenance=(("RT Pipeline", __version__), ("configuration", "config.yaml")),
        units=config.dvh.units,
    )
    path = results / "report.html"
    write_text(path, cohort_page(page))
    return path


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


def _line(folder: Path, out: Path) -> CourseLine | None:
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
    )
