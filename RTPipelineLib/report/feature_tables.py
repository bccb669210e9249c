"""Cohort tables of image features: one value a row, how reliable each is, and which say the same.

They are made from tables on disk, with the ROI of one name in memory at a time.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..platform import atomic_path
from ..radiomics.clusters import Clusters, correlation_clusters
from ..radiomics.reliability import Repeatability, repeatability
from .tables import Joined, rows_frame

if TYPE_CHECKING:
    import pandas

log = logging.getLogger(__name__)

# <image type>_<class>_<feature>, as pyradiomics names them.
FEATURE = re.compile(r".+_(firstorder|shape|shape2D|glcm|glrlm|glszm|gldm|ngtdm)_\w+")
SUBJECT = ("patient_id", "course_id")
POINT = ("noise", "translation", "rotation_deg", "contour", "volume_percent")
LONG_COLUMNS = (
    *("patient_id", "course_id", "source", "roi_number", "roi_name", "roi_standard_name"),
    *("image", "modality", "engine"),
)
# Features that correlate at least so much (Spearman's rho, whatever its sign) form a cluster.
CLUSTER_CORRELATION = 0.9
CLINICAL, EDITED = "clinical", "edited"
# What the user says is a second scan of the same patient.
Rescans = Literal["images", "courses"] | None
# Perturbed features in memory: 8 bytes each.
_VALUES_AT_A_TIME = 50_000_000


def feature_columns(columns: Sequence[str]) -> list[str]:
    """The columns that hold features."""
    return [name for name in columns if FEATURE.fullmatch(name)]


# -- one value a row ------------------------------------------------------------------------------


def write_long(wide: Path, folder: Path, name: str) -> Joined:
    """Write `<name>.parquet` with a row for every value of a joined table of features.

    Raises `OutputError` when the folder cannot be written.
    """
    import pyarrow
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(wide) as file:
        kept = [c for c in LONG_COLUMNS if c in file.schema_arrow.names]
        features = feature_columns(file.schema_arrow.names)
        fields = [file.schema_arrow.field(c) for c in kept]
        schema = pyarrow.schema(
            [*fields, ("feature", pyarrow.string()), ("value", pyarrow.float64())]
        )
        rows = 0
        with (
            atomic_path(folder / f"{name}.parquet") as target,
            pyarrow.parquet.ParquetWriter(target, schema) as writer,
        ):
            for batch in file.iter_batches(max(1, 200_000 // max(len(features), 1))):
                frame = batch.to_pandas()
                long = frame.melt(kept, features, "feature", "value").dropna(subset=["value"])
                writer.write_table(pyarrow.Table.from_pandas(long, schema, preserve_index=False))
                rows += len(long)
    return Joined(folder / f"{name}.parquet", tuple(schema.names), rows)


# -- reliability ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Group:
    """One kind of measurement of one ROI: rows of the table `robustness` have these in front."""

    variation: str
    roi: str
    source: str
    modality: str


def reliability_table(
    features: Path, perturbed: Sequence[Path], rescans: Rescans = None
) -> tuple[pandas.DataFrame, list[tuple[Path, str]]]:
    """ICC, CoV, QCD and class of every feature, by ROI, source and kind of variation; and the
    (path, reason) of every file that cannot be read.

    `features` is the joined table of all courses; `perturbed` are the files
    `radiomics/robustness.parquet` of the courses. Kinds of variation: `perturbation`;
    `manual-automatic`, the clinical ROI beside the one that the program `source` made, by standard
    name; and `scan-rescan`, the first two `rescans` of one modality, images of a course or courses
    of a patient, where the user says that they are that.
    """
    files, failures = _readable(perturbed)
    rows: dict[_Group, list[dict[str, object]]] = {}
    for group, names, values in chain(_perturbed(files), _repeated(features, rescans)):
        rows.setdefault(group, []).extend(_statistics(group, names, values))
    return rows_frame(chain(*rows.values()), "robustness"), failures


def _statistics(
    group: _Group, names: Sequence[str], values: np.ndarray
) -> Iterator[dict[str, object]]:
    found: Repeatability = repeatability(values)
    for number, feature in enumerate(names):
        yield {
            **vars(group),
            "feature": feature,
            "subjects": int(found.subjects[number]),
            "left_out": int(found.left_out[number]),
            "measurements": int(found.measurements[number]),
            "icc": float(found.icc[number]),
            "icc_low": float(found.icc_low[number]),
            "icc_high": float(found.icc_high[number]),
            "cov_percent": float(found.cov_percent[number]),
            "qcd_percent": float(found.qcd_percent[number]),
            "reliability": str(found.reliability[number]),
            "reason": str(found.reason[number]),
        }


_Values = tuple[_Group, list[str], np.ndarray]
_KEYS = ("source", "roi_name", "roi_standard_name", "modality")


@dataclass(frozen=True, eq=False)
class _PerturbedFile:
    """A course's table of perturbed features: what its rows are about, and its features."""

    path: Path
    rows: pandas.DataFrame
    names: tuple[str, ...]

    def values(self, names: Sequence[str]) -> np.ndarray:
        """(rows, features), nan where the file has no such feature."""
        own = [name for name in names if name in self.names]
        return _read(self.path, own).reindex(columns=list(names)).to_numpy(np.float64)


def _readable(paths: Sequence[Path]) -> tuple[list[_PerturbedFile], list[tuple[Path, str]]]:
    import pyarrow
    import pyarrow.parquet

    files, failures = [], []
    for path in paths:
        try:
            rows = _named(_read(path, [*SUBJECT, *_KEYS, *POINT])).reset_index(drop=True)
            names = tuple(feature_columns(pyarrow.parquet.read_schema(path).names))
            files.append(_PerturbedFile(path, rows, names))
        except (OSError, KeyError, pyarrow.ArrowException) as error:
            what = " ".join(str(error).split())
            reason = f"{path.name} cannot be used ({what}); delete it and run the course again"
            failures.append((path, reason))
    return files, failures


def _perturbed(files: Sequence[_PerturbedFile]) -> Iterator[_Values]:
    """Features, subjects and perturbations of every ROI, some features at a time."""
    names = list(dict.fromkeys(name for file in files for name in file.names))
    rows = sum(len(file.rows) for file in files)
    step = max(1, _VALUES_AT_A_TIME // max(rows, 1))
    subjects = _subjects(files)
    for first in range(0, len(names), step):
        block = names[first : first + step]
        values = [file.values(block) for file in files]
        for group, members in subjects.items():
            counts = Counter(point for _, index in members for point in index)
            # Courses that ran with another grid have these points missing, and are left out.
            points = sorted(point for point, count in counts.items() if 2 * count > len(members))
            found = [_of_points(values[number], index, points) for number, index in members]
            yield group, block, np.stack(found, axis=1)


def _subjects(
    files: Sequence[_PerturbedFile],
) -> dict[_Group, list[tuple[int, dict[tuple[float, ...], int]]]]:
    """For every ROI its subjects: number of the file, and the row of each point."""
    found: dict[_Group, list[tuple[int, dict[tuple[float, ...], int]]]] = {}
    for number, file in enumerate(files):
        for (roi, source, modality), rows in file.rows.groupby(["roi", "source", "modality"]):
            group = _Group("perturbation", roi, source, modality)
            first = _one_a_subject(rows, POINT)
            points = first[list(POINT)].itertuples(index=False, name=None)
            index = dict(zip(points, first.index, strict=True))
            found.setdefault(group, []).append((number, index))
    return dict(sorted(found.items(), key=lambda item: astuple(item[0])))


def _of_points(
    values: np.ndarray, index: Mapping[tuple[float, ...], int], points: Sequence[tuple[float, ...]]
) -> np.ndarray:
    """(features, points) values of one subject, nan where there are none."""
    rows = np.array([index.get(point, -1) for point in points], dtype=np.int64)
    return np.where(rows[:, None] >= 0, values[rows], np.nan).T


def _repeated(path: Path, rescans: Rescans) -> Iterator[_Values]:
    """Features, subjects and two measurements: two scans, or people and programs."""
    frame = _named(_read(path))
    names = feature_columns(frame.columns)
    first = _one_a_subject(frame, ("image", "source", "roi", "modality"))
    # One image of each modality is enough to compare what was drawn on it.
    drawn = _one_a_subject(first, ("source", "roi", "modality"))
    if rescans:
        scans, subject = (first, list(SUBJECT)) if rescans == "images" else (drawn, [SUBJECT[0]])
        for (roi, source, modality), rows in scans.groupby(["roi", "source", "modality"]):
            ordered = rows.sort_values([*SUBJECT, "image"], kind="stable")
            pairs = [own.iloc[:2] for _, own in ordered.groupby(subject) if len(own) > 1]
            yield from _pairs(_Group("scan-rescan", roi, source, modality), pairs, names)
    drawn = drawn[drawn["roi_standard_name"] != ""]
    for (roi, modality), rows in drawn.groupby(["roi", "modality"]):
        people = rows[rows["source"] == CLINICAL].set_index(list(SUBJECT))
        programs_drew = ~rows["source"].isin([CLINICAL, EDITED])
        for source, programs in rows[programs_drew].groupby("source"):
            theirs = programs.set_index(list(SUBJECT))
            both = people.index.intersection(theirs.index)
            pairs = [_below(people.loc[[key]], theirs.loc[[key]]) for key in both]
            yield from _pairs(_Group("manual-automatic", roi, source, modality), pairs, names)


def _below(a: pandas.DataFrame, b: pandas.DataFrame) -> pandas.DataFrame:
    import pandas

    return pandas.concat([a, b])


def _pairs(group: _Group, pairs: Sequence[pandas.DataFrame], names: list[str]) -> Iterator[_Values]:
    if pairs:
        yield group, names, np.stack([p[names].to_numpy(np.float64).T for p in pairs], axis=1)


def _one_a_subject(frame: pandas.DataFrame, keys: Sequence[str]) -> pandas.DataFrame:
    """The first row of each subject for these keys: two ROIs of one name are no two subjects."""
    return frame.drop_duplicates([*SUBJECT, *keys])


def _read(path: Path, columns: Sequence[str] | None = None) -> pandas.DataFrame:
    import pandas

    return pandas.read_parquet(path, columns=None if columns is None else list(columns))


def _named(frame: pandas.DataFrame) -> pandas.DataFrame:
    """The rows with `roi`: the standard name, or the ROI's own where it has none."""
    standard = frame["roi_standard_name"].fillna("").astype(str)
    roi = standard.where(standard != "", frame["roi_name"])
    return frame.assign(roi=roi, roi_standard_name=standard)


# -- clusters -------------------------------------------------------------------------------------


def cluster_table(features: Path, reliability: pandas.DataFrame) -> pandas.DataFrame:
    """Clusters of correlated features by ROI, source and modality, and one feature for each: the
    one that is most robust against perturbation where that is known."""
    frame = _one_a_subject(_named(_read(features)), ("source", "roi", "modality"))
    names = feature_columns(frame.columns)
    known = reliability[reliability["variation"] == "perturbation"]
    known = known.set_index(["roi", "source", "modality", "feature"])["icc_low"]
    rows: list[dict[str, object]] = []
    for (roi, source, modality), part in frame.groupby(["roi", "source", "modality"]):
        values = part[names].to_numpy(np.float64)
        there = np.isfinite(values).any(axis=0)
        own = [name for name, used in zip(names, there, strict=True) if used]
        # A ROI without features is no subject.
        values = values[np.isfinite(values).any(axis=1)][:, there]
        low = np.array([known.get((roi, source, modality, name), np.nan) for name in own])
        found = correlation_clusters(values, CLUSTER_CORRELATION, low)
        head = {"roi": roi, "source": source, "modality": modality, "subjects": len(values)}
        rows += [{**head, **row} for row in _cluster_rows(own, found, low)]
    return rows_frame(rows, "radiomics_clusters")


def _cluster_rows(
    names: Sequence[str], found: Clusters, low: np.ndarray
) -> Iterator[Mapping[str, object]]:
    for number, feature in enumerate(names):
        yield {
            "cluster": int(found.number[number]),
            "feature": feature,
            "representative": bool(found.representative[number]),
            "least_correlation": float(found.least[number]),
            "icc_low": float(low[number]),
            "reason": str(found.reason[number]),
        }
