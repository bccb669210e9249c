"""Values of one structure over the cohort, for plots in which every point is a course."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from pathlib import Path

from ..report.cohort_stats import Band, Point
from ..report.cohort_tables import CourseDose, Who, read_bands, read_metrics

METRICS, CURVES, COURSES = (f"{name}.parquet" for name in ("dvh_metrics", "dvh_curves", "courses"))
_NOT_METRICS = {"roi_number", "rx_gy", "rx_level", "dose_coverage_percent"}


def plottable(out: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Standard names of structures, and columns of metrics, that the tables of an output folder
    have."""
    import pyarrow
    import pyarrow.parquet

    path = out / "results" / METRICS
    if not path.is_file():
        return (), ()
    schema = pyarrow.parquet.read_schema(path)
    names = pyarrow.parquet.read_table(path, columns=["roi_standard_name"])[0].unique()
    metrics = [
        field.name
        for field in schema
        if pyarrow.types.is_floating(field.type) and field.name not in _NOT_METRICS
    ]
    return tuple(sorted(name for name in names.to_pylist() if name)), tuple(metrics)


def values_of(out: Path, structure: str, columns: tuple[str, ...]) -> list[tuple[Who, tuple]]:
    """(patient, course) and the values of these columns, of every course whose own dose gives all
    of them; of several structures of this standard name in a course the first counts."""
    found: dict[Who, tuple[float, ...]] = {}
    for who, row in _rows(out, structure, columns):
        values = tuple(row[column] for column in columns)
        if all(value is not None and isfinite(value) for value in values):
            found.setdefault(who, values)
    return sorted(found.items())


def points_of(out: Path, structure: str, column: str) -> list[Point]:
    """The values of one column as points of a box plot."""
    return [Point(values[0], *who) for who, values in values_of(out, structure, (column,))]


def band_of_structure(out: Path, structure: str) -> Band | None:
    """The DVHs of a structure over the cohort, as the report has them; None where fewer than two
    courses have it."""
    results = out / "results"
    _, names = read_metrics(results / METRICS, doses_of(out))
    own = {key: name for key, name in names.items() if name == structure}
    bands = read_bands(results / CURVES, own)
    return next(iter(sorted(bands, key=lambda band: -band.courses)), None)


def doses_of(out: Path) -> dict[Who, CourseDose]:
    """Which dose is each course's own."""
    import pyarrow.parquet

    columns = ["patient_id", "course_id", "dose_source"]
    rows = pyarrow.parquet.read_table(out / "results" / COURSES, columns=columns).to_pylist()
    return {
        (row["patient_id"], row["course_id"]): CourseDose(row["dose_source"] or "") for row in rows
    }


def _rows(out: Path, structure: str, columns: tuple[str, ...]) -> Iterator[tuple[Who, dict]]:
    import pyarrow.parquet

    who = ("patient_id", "course_id", "dose_source", "roi_standard_name")
    doses = doses_of(out)
    with pyarrow.parquet.ParquetFile(out / "results" / METRICS) as file:
        wanted = list(dict.fromkeys((*who, *columns)))
        for batch in file.iter_batches(batch_size=2_000, columns=wanted):
            for row in batch.to_pylist():
                key = row["patient_id"], row["course_id"]
                own = doses.get(key)
                is_own = own is not None and own.dose_source == row["dose_source"]
                if is_own and row["roi_standard_name"] == structure:
                    yield key, row
