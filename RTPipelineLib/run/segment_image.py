"""Automatic contours of one image, without a course: what `rtpipeline segment` does."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from ..config import Config, load_config
from ..config.keys import SegmentationModel
from ..errors import UsageError
from ..platform import write_json
from ..segmentation.models import OVERVIEW, find_models
from ..segmentation.run import DONE
from ..stages.segment_files import ResultFiles
from ..stages.segmenter import Segmenter, settings_of
from .loose_image import find_image

log = logging.getLogger(__name__)

ALL_DONE, SOME_FAILED = 0, 3


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
    image = find_image(request.image, request.modality, request.series)
    config = _config(request, image.modality)
    models = find_models(config)
    request.output.mkdir(parents=True, exist_ok=True)
    segmenter = Segmenter(
        models,
        settings_of(config.segmentation),
        ResultFiles(request.output, config.output),
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
