"""The rows of `results/quality`: what the checks found in courses and in the cohort."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..config import Config
from ..quality.cohort import (
    COHORT_CHECKS,
    FILES,
    VOLUME_OUTLIER,
    Volume,
    unreadable_files,
    volume_outliers,
)
from ..quality.model import Finding
from ..report.codebook import layout
from ..stages.facts import read_facts
from ..stages.quality import QUALITY_FILE, limits_of

_VOLUME_COLUMNS = [
    *("patient_id", "course_id", "source", "roi_name", "roi_standard_name", "volume_cc"),
]


def course_findings(folder: Path, patient: str, course: str) -> Iterator[dict[str, object]]:
    """The findings of one course. Raises `DataError` for a damaged file."""
    for found in read_facts(folder, QUALITY_FILE).get("checks") or ():
        yield {"patient_id": patient, "course_id": course, **found}


def cohort_findings(
    results: Path, failures: Sequence[Mapping[str, object]], config: Config
) -> Iterator[dict[str, object]]:
    """The findings of the cohort, from `dvh_metrics` in `results` and the rows of `failures`."""
    if FILES not in config.quality.skip:
        for finding in unreadable_files(failures):
            yield _row(FILES, "", "", finding)
    if VOLUME_OUTLIER not in config.quality.skip:
        for volume, finding in volume_outliers(_volumes(results), limits_of(config)):
            yield _row(VOLUME_OUTLIER, volume.patient_id, volume.course_id, finding)


def _row(check: str, patient: str, course: str, finding: Finding) -> dict[str, object]:
    values = (patient, course, check, finding.severity, finding.item, finding.source)
    return dict(
        zip(layout("quality"), (*values, finding.sentence, COHORT_CHECKS[check][1]), strict=True)
    )


def _volumes(results: Path) -> Iterator[Volume]:
    """The volume of every structure once, whatever the number of its doses."""
    import pyarrow.parquet

    path = results / "dvh_metrics.parquet"
    if not path.exists():
        return
    seen = set()
    with pyarrow.parquet.ParquetFile(path) as file:
        if not set(_VOLUME_COLUMNS) <= set(file.schema_arrow.names):
            return
        for batch in file.iter_batches(columns=_VOLUME_COLUMNS):
            for row in batch.to_pylist():
                volume = Volume(*(row[name] for name in _VOLUME_COLUMNS))
                if volume not in seen and volume.volume_cc is not None:
                    seen.add(volume)
                    yield volume
