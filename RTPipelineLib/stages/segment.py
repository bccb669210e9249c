"""Stage `segment`: automatic contours of the course's images, one model after another.

`segmentation/segmentation.json` says of every model and image what was asked for, what was found,
what is missing and why; each result is a `.seg.nrrd` that Slicer opens and, in the image's frame of
reference, an RTSTRUCT. A model that fails costs its own structures only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from ..config import Config
from ..course import Course
from ..platform import available_cores, write_json
from ..segmentation.models import find_models
from ..segmentation.run import DONE as MODEL_DONE
from ..segmentation.run import FAILED as MODEL_FAILED
from ..segmentation.run import SKIPPED as MODEL_SKIPPED
from . import DONE, FAILED, PARTIAL, SKIPPED, Need, Outcome, Problem, Stage, Task
from .automatic import SEGMENTATION_FILE
from .facts import read_facts
from .load import IMAGE_FILE
from .nrrd import read_nrrd
from .segment_files import ResultFiles
from .segmenter import Segmenter, SourceImage, settings_of


def _inputs(course: Course) -> Sequence[Path]:
    return [path for image in course.images for path in course.image_paths(image)]


def _run(task: Task) -> Outcome:
    keys = task.config.segmentation
    if not keys.models:
        return Outcome(SKIPPED, "no models are configured (segmentation.models)")
    images = _images(task)
    if not images:
        return Outcome(SKIPPED, "the course has no image that could be read")
    models = find_models(task.config)
    files = ResultFiles(task.output, task.config.output)
    segmenter = Segmenter(models, settings_of(keys), files, task.progress)
    rows = segmenter.rows(images)
    write_json(task.output / Path(SEGMENTATION_FILE).name, {"models": rows})
    return outcome_of(rows)


def _images(task: Task) -> list[SourceImage]:
    """The volumes that the stage `load` wrote."""
    entries = {image.key: image for image in task.course.images}
    return [
        SourceImage(
            Path(volume["file"]).stem,
            volume["modality"],
            volume["frame_uid"],
            volume["role"] == "planning",
            tuple(task.course.image_paths(entries[volume["key"]])),
            partial(read_nrrd, task.folder / volume["file"]),
        )
        for volume in read_facts(task.folder, IMAGE_FILE).get("volumes") or ()
    ]


def outcome_of(rows: Sequence[Mapping[str, object]]) -> Outcome:
    """The stage's outcome: what one model lacks makes it partial, and is a row of failures."""
    problems = []
    for row in rows:
        if row["status"] in (MODEL_FAILED, "partial"):
            where = f" on {row['image']}" if row["image"] else ""
            problems.append(
                Problem(row["model"], "error", f"{row['model']}{where}: {row['reason']}")
            )
        elif row["status"] == MODEL_SKIPPED:
            text = f"{row['model']} did not run: {row['reason']}"
            problems.append(Problem(row["model"], "info", text))
    ran = [row for row in rows if row["status"] != MODEL_SKIPPED]
    if not ran:
        return Outcome(SKIPPED, "; ".join(p.message for p in problems), tuple(problems))
    if all(row["status"] == MODEL_FAILED for row in ran):
        return Outcome(FAILED, problems[0].message, tuple(problems))
    whole = all(row["status"] == MODEL_DONE for row in ran)
    errors = [p.message for p in problems if p.severity == "error"]
    return Outcome(DONE if whole else PARTIAL, "; ".join(errors), tuple(problems))


def _check(config: Config) -> None:
    """Raise `UsageError` when weights, a licence or a program are missing."""
    if config.segmentation.models:
        find_models(config)


def _limit_s(config: Config) -> float:
    """Models watch their own time; this ends what nobody watches. An image may take a model, its
    repetition on the CPU and a first pass."""
    keys = config.segmentation
    return config.run.timeout_s + 3 * len(keys.models) * keys.timeout_s


def _need(config: Config) -> Need:
    keys = config.segmentation
    if not keys.models:
        return Need()
    gpu = any(model.device.startswith("gpu") for model in keys.models)
    return Need(keys.threads or available_cores(), 8.0, gpu)


STAGE = Stage(
    name="segment",
    folder="segmentation",
    run=_run,
    inputs=_inputs,
    needs=("load",),
    parts=("images",),
    sections=("segmentation", "output.rtstruct", "output.seg"),
    need=_need,
    limit_s=_limit_s,
    check=_check,
)
