"""Automatic contours of one image, without a course: what `rtpipeline segment` does."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from pydantic import ValidationError

from ..config import Config, load_config
from ..config.keys import SegmentationModel
from ..dicom.image import read_series
from ..dicom.index import ImageSeries, Index
from ..errors import DataError, UsageError
from ..geometry import Grid
from ..platform import write_json
from ..resample import resample_onto
from ..segmentation.models import OVERVIEW, find_models
from ..segmentation.run import DONE
from ..stages.segment_files import write_result
from ..stages.segmenter import Segmenter, SourceImage, settings_of

log = logging.getLogger(__name__)

ALL_DONE, SOME_FAILED = 0, 3
VOLUME_ENDINGS = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")


class Reporter(Protocol):
    """What a front end shows of the progress."""

    def report(self, course: str, stage: str, done: int, total: int, message: str) -> None: ...


@dataclass(frozen=True)
class SegmentRequest:
    """What `rtpipeline segment` was asked for."""

    image: Path
    output: Path
    task: str | None = None
    model: Path | None = None
    fast: bool = False
    roi_subset: tuple[str, ...] = ()
    device: str | None = None
    modality: str | None = None
    series: str | None = None
    config_path: Path | None = None


def segment_image(request: SegmentRequest, reporter: Reporter) -> int:
    """Segment an image and write the results beside `segmentation.json`; returns the exit status.

    Raises `UsageError` before any work when something is missing or contradicts itself.
    """
    image = _source(request)
    config = _config(request, image.modality)
    models = find_models(config)
    request.output.mkdir(parents=True, exist_ok=True)
    segmenter = Segmenter(
        models,
        settings_of(config.segmentation),
        partial(write_result, request.output, config.output),
        lambda done, total, text: reporter.report(image.name, "segment", done, total, text),
    )
    rows = segmenter.rows([image])
    write_json(request.output / "segmentation.json", {"models": rows})
    for row in rows:
        reason = f" ({row['reason']})" if row["reason"] else ""
        log.info("%s: %s%s", row["model"], row["status"], reason)
    return ALL_DONE if all(row["status"] == DONE for row in rows) else SOME_FAILED


def _config(request: SegmentRequest, modality: str) -> Config:
    """The configuration with the models that the command line names, else its own, else total."""
    config = load_config(request.config_path)
    if request.task and request.model:
        raise UsageError("give --task or --model, not both")
    own = config.segmentation.models
    if request.task is None and request.model is None and own:
        if request.fast or request.roi_subset or request.device:
            raise UsageError(
                "--fast, --roi-subset and --device belong to --task or --model; the models of "
                f"{request.config_path} have their own"
            )
        return config
    task = request.task
    if task is None and request.model is None:
        if modality not in OVERVIEW:
            raise UsageError(f"TotalSegmentator has no task for {modality}; give --model")
        task = OVERVIEW[modality]
    try:
        model = SegmentationModel(
            task=task,
            folder=request.model,
            fast=request.fast,
            roi_subset=request.roi_subset,
            device=request.device or "cpu",
        )
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise UsageError(f"--{option}: {first['msg'].removeprefix('Value error, ')}") from None
    keys = config.segmentation.model_copy(update={"models": (model,)})
    return config.model_copy(update={"segmentation": keys})


def _source(request: SegmentRequest) -> SourceImage:
    """The image of a file or of a DICOM folder."""
    path = request.image
    if path.is_dir():
        return _series(path, request.series)
    if not path.is_file():
        raise UsageError(f"{path} does not exist; give a volume or a folder with a DICOM series")
    if not path.name.lower().endswith(VOLUME_ENDINGS):
        raise UsageError(
            f"{path} is no volume that can be read ({', '.join(VOLUME_ENDINGS)}); for DICOM give "
            "the folder of the series"
        )
    array, grid, modality = _read_volume(path)
    name = path.name.partition(".")[0]
    modality = request.modality or modality
    if modality not in ("CT", "MR", "PT"):
        raise UsageError(f"{path} does not say what it is; give --modality CT, MR or PT")
    return SourceImage(name, modality, "", True, (), lambda: (array, grid))


def _read_volume(path: Path) -> tuple[np.ndarray, Grid, str]:
    import SimpleITK

    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise UsageError(f"{path} cannot be read: {str(error).strip().splitlines()[-1]}") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise UsageError(f"{path} is not a volume of single values")
    ni, nj, nk = image.GetSize()
    direction = np.array(image.GetDirection()).reshape(3, 3)
    grid = Grid(image.GetOrigin(), direction, image.GetSpacing(), (nk, nj, ni))
    modality = image.GetMetaData("modality") if image.HasMetaDataKey("modality") else ""
    return SimpleITK.GetArrayFromImage(image), grid, modality


def _series(folder: Path, wanted: str | None) -> SourceImage:
    """The one image series of a folder, or the one whose UID was given."""
    with tempfile.TemporaryDirectory() as scratch, Index(Path(scratch) / "index.sqlite") as index:
        index.update(folder)
        series = [s for s in index.series() if s.modality in ("CT", "MR", "PT")]
        chosen = _chosen(folder, series, wanted)
        paths = tuple(folder / name for name in index.series_files(chosen.key))
    try:
        volume = read_series(paths)
    except DataError as error:
        raise UsageError(str(error)) from error
    grid = volume.grid.with_uniform_slices()
    array = volume.array
    if grid is not volume.grid:
        array = resample_onto(array.astype(np.float32), volume.grid, grid)
    return SourceImage(
        folder.name, volume.modality, volume.frame_uid, True, paths, lambda: (array, grid)
    )


def _chosen(folder: Path, series: list[ImageSeries], wanted: str | None) -> ImageSeries:
    fitting = [s for s in series if wanted in (None, s.series_uid, s.key)]
    if len(fitting) == 1:
        return fitting[0]
    known = "; ".join(f"{s.key} ({s.modality}, {s.n_files} files)" for s in series[:10])
    if not series:
        raise UsageError(f"{folder} holds no CT, MR or PET series")
    if not fitting:
        raise UsageError(f"--series {wanted}: {folder} holds {known}")
    raise UsageError(f"{folder} holds {len(fitting)} series, give one by --series: {known}")
