"""`results/methods.html`: what was done, made from the courses and tables of an output folder."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path

from ..config import Config
from ..course import course_folders
from ..errors import DataError
from ..platform import write_text
from ..report.feature_methods import feature_methods
from ..report.methods import CohortMethods, methods_page
from ..stages import FAILED, PARTIAL, SKIPPED
from ..stages.automatic import SEGMENTATION_FILE
from ..stages.dose import DOSE_FILE
from ..stages.facts import read_facts
from .cohort_report import ON_REQUEST
from .ledger import valid_record

# The stages whose absence takes numbers from the tables.
_EXPECTED = ("load", "structures", "dose", "dvh")


def write_methods(out: Path, config: Config) -> Path:
    """Write the page and return its path; the tables must be there."""
    import pandas

    results = out / "results"
    courses = pandas.read_parquet(results / "courses.parquet")
    missing: Counter[tuple[str, str]] = Counter()
    versions: Counter[tuple[str, str]] = Counter()
    models: dict[str, None] = {}
    own_eqd2 = 0
    for folder in course_folders(out):
        for stage in (*_EXPECTED, *ON_REQUEST):
            record = valid_record(folder, stage)
            if record is None:
                continue
            absent = record.status in (FAILED, PARTIAL)
            absent |= record.status == SKIPPED and stage in _EXPECTED
            if absent:
                missing[stage, record.reason or record.status] += 1
            if stage == "dvh":
                versions.update([("RT Pipeline", record.code_version), *record.versions.items()])
        with suppress(DataError):  # a damaged file is a failure of its own, told by the tables
            for row in read_facts(folder, SEGMENTATION_FILE).get("models") or ():
                models.setdefault(str(row["model"]))
        with suppress(DataError):
            own_eqd2 += "eqd2_decided" in read_facts(folder, DOSE_FILE)
    facts = CohortMethods(
        courses=len(courses),
        patients=courses.patient_id.nunique(),
        config=config,
        decisions=dict(courses.dose_decision.value_counts()),
        prescriptions=dict(courses.rx_source.value_counts()),
        modalities=dict(courses.image_modality.value_counts()),
        models=sorted(models),
        excluded=[(stage, why, count) for (stage, why), count in sorted(missing.items())],
        versions=[(name, version, count) for (name, version), count in sorted(versions.items())],
        features=feature_methods(config, results),
        own_eqd2=own_eqd2,
    )
    path = results / "methods.html"
    write_text(path, methods_page(facts))
    return path
