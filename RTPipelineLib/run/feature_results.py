"""The tables of `results/` that say something of image features over the whole cohort."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Config
from ..report.feature_tables import cluster_table, reliability_table, write_long
from ..report.tables import Joined

if TYPE_CHECKING:
    import pandas

TABLES = ("radiomics_long", "radiomics_clusters", "robustness")


def feature_results(
    features: Joined, perturbed: Sequence[Path], config: Config, results: Path
) -> tuple[dict[str, pandas.DataFrame | Joined], list[tuple[Path, str]]]:
    """The tables made from the joined features and from the courses' perturbed ones, and the
    (path, reason) of every file that cannot be used.

    Without features there is no table, and those of an earlier run go. Raises `OutputError` when
    the folder cannot be written.
    """
    if not features.rows:
        for name in TABLES:
            for suffix in (".parquet", ".csv"):
                (results / f"{name}{suffix}").unlink(missing_ok=True)
        return {}, []
    rescans = config.radiomics.robustness.rescans
    reliability, failures = reliability_table(features.path, perturbed, rescans)
    tables = {
        "radiomics_long": write_long(features.path, results, "radiomics_long"),
        "radiomics_clusters": cluster_table(features.path, reliability),
        "robustness": reliability,
    }
    return tables, failures
