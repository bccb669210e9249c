"""Stage `segment`: automatic contours of the course's images, one model after another.

`segmentation/segmentation.json` says of every model and image what was asked for, what was found,
what is missing and why; each result is a `.seg.nrrd` that Slicer opens and, in the image's frame of
reference, an RTSTRUCT. A model that fails costs its own structures only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..config.keys import SegmentationKeys
from ..course import Course
from ..errors import StageError
from ..platform import available_cores, remove_folder, write_json
from ..segmentation.labels import LabelImage, statistics
from ..segmentation.models import Model, Models, TaskModel, find_models, is_overview
from ..segmentation.regions import MARKERS, judge
from ..segmentation.run import DONE as MODEL_DONE
from ..segmentation.run import FAILED as MODEL_FAILED
from ..segmentation.run import SKIPPED as MODEL_SKIPPED
from ..segmentation.run import Picture, Result, Runner, Settings
from ..segmentation.watch import Limits
from . import DONE, FAILED, PARTIAL, SKIPPED, Outcome, Problem, Stage, Task
from .facts import read_facts
from .load import IMAGE_FILE
from .nrrd import read_nrrd

SEGMENTATION_FILE = "segmentation/segmentation.json"
# ROI numbers of a source's second model begin here, of the third at twice this, and so on.
NUMBERS_PER_MODEL = 1000
_SCRATCH = "scratch"


def settings_of(keys: SegmentationKeys) -> Settings:
    """How programs are run, as the configuration has it."""
    return Settings(
        Limits(keys.timeout_s, keys.stall_s),
        keys.threads or available_cores(),
        keys.python,
        keys.retry_on_cpu,
    )


def _inputs(course: Course) -> Sequence[Path]:
    return [path for image in course.images for path in course.image_paths(image)]


def _run(task: Task) -> Outcome:
    keys = task.config.segmentation
    if not keys.models:
        return Outcome(SKIPPED, "no models are configured (segmentation.models)")
    volumes = read_facts(task.folder, IMAGE_FILE).get("volumes") or []
    if not volumes:
        return Outcome(SKIPPED, "the course has no image that could be read")
    models = find_models(task.config)
    scratch = task.output / _SCRATCH
    scratch.mkdir()
    try:
        rows = _Segmenter(task, models, scratch).rows(volumes)
    finally:
        remove_folder(scratch)
    write_json(task.output / Path(SEGMENTATION_FILE).name, {"models": rows})
    return _outcome(rows)
