"""The paragraph on image features for the methods section of a paper, from what a run left."""

from __future__ import annotations

from pathlib import Path

from .. import __version__
from ..config import Config
from ..config.radiomics_file import read_parameters
from ..config.section import parameter_presets
from ..errors import ConfigError
from ..radiomics.methods import Extracted, methods_paragraph
from ..radiomics.parameters import Parameters
from .feature_tables import CLUSTER_CORRELATION

_COLUMNS = ("modality", "parameters", "parameters_sha256", "engine_version", "reason")


def feature_methods(config: Config, results: Path) -> str:
    """The paragraph, and a line for each of its references (plain text); empty when no ROI has
    features.

    `results` holds the cohort's tables. Settings are those of the file whose hash stands in the
    rows. Raises `OSError` when a table cannot be read.
    """
    import pandas

    if not (results / "robustness.parquet").exists():
        return ""
    variation = pandas.read_parquet(results / "robustness.parquet", columns=["variation"])
    perturbed = bool((variation["variation"] == "perturbation").any())
    frame = pandas.read_parquet(results / "radiomics.parquet", columns=list(_COLUMNS))
    frame = frame[frame["reason"] == ""]
    files = _known_files(config)
    groups = frame.groupby(["modality", "parameters", "parameters_sha256"])
    extracted = [
        Extracted(modality, len(rows), name, sha256, files.get(sha256))
        for (modality, name, sha256), rows in groups
    ]
    return methods_paragraph(
        __version__,
        ", ".join(sorted(frame["engine_version"].unique())),
        extracted,
        config.radiomics.robustness.chain if perturbed else None,
        CLUSTER_CORRELATION,
    )


def _known_files(config: Config) -> dict[str, Parameters]:
    """The configuration's parameter file and all presets, by their hash."""
    found = {}
    own = config.radiomics.params
    for path in (*([] if own is None else [own]), *parameter_presets().values()):
        try:
            parameters = read_parameters(path)
        except ConfigError:
            continue  # it is not what the rows were made by any more
        found[parameters.sha256] = parameters
    return found
