"""Features as rows of a table, and what keeps them from being computed twice: a file a ROI."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import __version__
from ..platform import atomic_path
from ..radiomics.engine import ENGINE, RoiFeatures, engine_version
from .feature_extraction import Extracted

if TYPE_CHECKING:
    import pandas

_PACKAGES = ("numpy", "SimpleITK", "PyWavelets")
_VALUES = b"rtpipeline"  # key of a file's own facts


@dataclass(frozen=True)
class ImageFacts:
    """What a row says of the image that it is about."""

    name: str
    modality: str
    unit: str
    series_uid: str = ""
    flags: tuple[str, ...] = ()


def versions() -> str:
    """What the values depend on besides the parameters."""
    found = [f"rtpipeline {__version__}"]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return "; ".join(found)


def feature_row(one: Extracted, image: ImageFacts, ids: Mapping[str, str]) -> dict[str, object]:
    """The row of one structure on one image."""
    roi, found, parameters = one.structure, one.result, one.parameters
    done = isinstance(found, RoiFeatures)
    return {
        **ids,
        "source": roi.source,
        "roi_number": roi.number,
        "roi_name": roi.name,
        "roi_standard_name": roi.standard_name,
        "structure_set_uid": roi.structure_set_uid,
        "image": image.name,
        "modality": image.modality,
        "image_unit": image.unit,
        "image_series_uid": image.series_uid,
        "engine": ENGINE,
        "engine_version": engine_version(),
        "versions": versions(),
        "parameters": parameters.name if parameters else "",
        "parameters_sha256": parameters.sha256 if parameters else "",
        "voxels": found.voxels if done else one.voxels,
        "analysed_voxels": found.analysed_voxels if done else None,
        "reason": "" if done else found,
        "notes": "; ".join(found.notes) if done else "",
        "flags": ";".join(dict.fromkeys((*roi.flags, *one.flags, *image.flags))),
        **(found.values if done else {}),
    }


def features_frame(rows: Sequence[Mapping[str, object]]) -> pandas.DataFrame:
    """The rows in the layout of the table `radiomics`; counts as numbers that may be missing."""
    from ..report.tables import rows_frame

    frame = rows_frame(rows, "radiomics")
    counts = dict.fromkeys(("roi_number", "voxels", "analysed_voxels"), "Int64")
    return frame.astype(counts)


class KeptFeatures:
    """Features of ROIs that are done, in a folder that survives the process: after a crash, or when
    something else of the course has changed, they are found again by what they were made from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._used: set[str] = set()

    def key(self, image: str, inside: np.ndarray, place: Sequence[int], parameters: str) -> str:
        """The name of a ROI's file: by image, voxels, parameters and versions."""
        digest = hashlib.sha256()
        facts = (image, list(map(int, place)), list(inside.shape), parameters)
        digest.update(json.dumps([*facts, engine_version(), versions()]).encode())
        digest.update(np.packbits(inside).tobytes())
        return digest.hexdigest()[:32]

    def read(self, key: str) -> RoiFeatures | None:
        """The features of this name; None where there are none that can be read."""
        import pyarrow
        import pyarrow.parquet

        self._used.add(key)
        try:
            table = pyarrow.parquet.read_table(self.folder / f"{key}.parquet")
            facts = json.loads(table.schema.metadata[_VALUES])
        except (OSError, KeyError, ValueError, TypeError, pyarrow.ArrowException):
            return None  # absent, or written by a process that died
        columns = table.to_pydict()
        values = dict(zip(columns["feature"], columns["value"], strict=True))
        return RoiFeatures(values, facts["voxels"], facts["analysed_voxels"], tuple(facts["notes"]))

    def write(self, key: str, found: RoiFeatures) -> None:
        """Keep the features of a ROI. Raises `OutputError` when the folder cannot be written."""
        import pyarrow
        import pyarrow.parquet

        self._used.add(key)
        self.folder.mkdir(parents=True, exist_ok=True)
        facts = {
            "voxels": found.voxels,
            "analysed_voxels": found.analysed_voxels,
            "notes": found.notes,
        }
        table = pyarrow.table(
            {"feature": list(found.values), "value": list(found.values.values())}
        ).replace_schema_metadata({_VALUES: json.dumps(facts).encode()})
        with atomic_path(self.folder / f"{key}.parquet") as target:
            pyarrow.parquet.write_table(table, target)

    def forget_others(self) -> None:
        """Remove what nobody has read or written since this object was made."""
        for path in self.folder.glob("*.parquet"):
            if path.stem not in self._used:
                path.unlink(missing_ok=True)
