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
from ..platform import available_cores, remove_folder, write_json
from ..segmentation.labels import LabelImage, statistics
from ..segmentation.models import Model, Models, TaskModel, find_models, is_overview
from ..segmentation.regions import MARKERS, judge
from ..segmentation.run import DONE as MODEL_DONE
from ..segmentation.run import FAILED as MODEL_FAILED
from ..segmentation.run import SKIPPED as MODEL_SKIPPED
from ..segmentation.run import Picture, Runner, Settings
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


class _Segmenter:
    """Runs the models of a course and keeps what they found for those that come later."""

    def __init__(self, task: Task, models: Models, scratch: Path) -> None:
        self.task = task
        self.models = models
        self.found: dict[str, dict[str, np.ndarray]] = {}  # image -> structure -> mask
        self.seen_cc: dict[str, dict[str, float]] = {}  # image -> organ -> volume, once looked
        self._numbers: dict[str, int] = {}
        self._done, self._total = 0, 1
        self._runner = Runner(models, settings_of(task.config.segmentation), scratch, self._say)

    def rows(self, volumes: Sequence[dict]) -> list[dict]:
        """One row for every model on every image of its modality."""
        orders = [(model, self._volumes_for(model, volumes)) for model in self.models.models]
        self._total = 100 * sum(max(1, len(fitting)) for _, fitting in orders)
        rows = []
        for model, fitting in orders:
            if not fitting:
                seen = ", ".join(sorted({v["modality"] for v in volumes}))
                rows.append(self._row(model, "", MODEL_SKIPPED, f"it is made for {model.modality}, "
                                      f"the course has {seen}"))  # fmt: skip
                self._done += 100
            for volume in fitting:
                rows.append(self._one(model, volume))
                self._done += 100
        return rows

    def _say(self, percent: int, message: str) -> None:
        self.task.progress(self._done + percent, self._total, message)

    @staticmethod
    def _volumes_for(model: Model, volumes: Sequence[dict]) -> list[dict]:
        return [v for v in volumes if v["modality"] == model.modality]

    def _one(self, model: Model, volume: dict) -> dict:
        array, grid = read_nrrd(self.task.folder / volume["file"])
        picture = Picture(array, grid, volume["modality"], Path(volume["file"]).stem)
        regions = ""
        if model.requires_region:
            allowed, regions = self._gate(model, picture)
            if not allowed:
                return self._row(model, picture.name, MODEL_SKIPPED, regions)
        result = self._runner.run(model, picture, self.found.get(picture.name, {}))
        row = self._row(model, picture.name, result.status, result.reason)
        row |= {"device": result.device, "program_s": round(result.program_s, 1)}
        if regions:
            row["regions"] = regions
        if result.labels is not None:
            self._keep(model, picture, result.labels)
            row |= self._write(model, picture, volume, result.labels)
        return row

    def _gate(self, model: Model, picture: Picture) -> tuple[bool, str]:
        """Whether the image shows the regions that a model needs, from what was found before or
        else from a fast first pass."""
        if picture.name not in self.seen_cc:
            overview = self.models.overview(picture.modality, model.device)
            if overview is None:
                return False, f"nothing can tell which regions {picture.modality} images show"
            result = self._runner.run(overview, picture, {})
            if result.labels is None:
                return False, f"the first pass that looks for body regions: {result.reason}"
            self.seen_cc[picture.name] = _organ_volumes(result.labels)
        return judge(model.requires_region, self.seen_cc[picture.name])

    def _keep(self, model: Model, picture: Picture, labels: LabelImage) -> None:
        wanted = {name for file in self._files() for name in (file.within, file.nearest_to) if name}
        masks = self.found.setdefault(picture.name, {})
        masks |= {name: mask for name in wanted if (mask := labels.mask(name)) is not None}
        if is_overview(model):
            self.seen_cc[picture.name] = _organ_volumes(labels)

    def _files(self) -> list:
        """What model files say of structures, of all models."""
        networks = [m for m in self.models.models if not isinstance(m, TaskModel)]
        return [structure for model in networks for structure in model.file.structures]

    def _row(self, model: Model, image: str, status: str, reason: str) -> dict:
        row: dict[str, object] = {
            "model": model.name,
            "source": model.source,
            "image": image,
            "status": status,
            "reason": reason,
        }
        if isinstance(model, TaskModel):
            row |= {"task": model.facts.name, "fast": model.fast, "roi_subset": list(model.subset)}
            row["versions"] = dict(self.models.catalogue.versions) if self.models.catalogue else {}
        else:
            row["networks"] = [str(m.folder) for m in model.file.members]
        return row

    def _write(self, model: Model, picture: Picture, volume: dict, labels: LabelImage) -> dict:
        """Files of a result, and what the manifest says of them."""
        name = model.name if volume["role"] == "planning" else f"{model.name}_{picture.name}"
        first = self._numbers.get(model.source, 0)
        self._numbers[model.source] = first + NUMBERS_PER_MODEL
        counts = labels.counts()
        numbers = {s.name: first + s.value for s in labels.segments}
        facts = statistics(labels, picture.array)
        return {
            "file": f"segmentation/{name}.seg.nrrd",
            "first_number": first,
            "structures": {n: {"number": numbers[n], **facts[n]} for n in numbers if counts[n]},
            "empty": [n for n in numbers if not counts[n]],
        }


def _organ_volumes(labels: LabelImage) -> dict[str, float]:
    """Volumes in cc of the organs that stand for body regions."""
    organs = {organ for markers in MARKERS.values() for organ in markers}
    voxel_cc = labels.grid.voxel_volume_mm3 / 1000
    return {name: n * voxel_cc for name, n in labels.counts().items() if name in organs}


def _outcome(rows: Sequence[dict]) -> Outcome:
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


STAGE = Stage(
    name="segment",
    folder="segmentation",
    run=_run,
    inputs=_inputs,
    needs=("load",),
    parts=("images",),
    sections=("segmentation", "output.rtstruct", "output.seg"),
)
