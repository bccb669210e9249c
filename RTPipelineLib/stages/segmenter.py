"""Models on images, one after another: what a course's stage and `rtpipeline segment` share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from pydicom.dataset import Dataset

from ..config.keys import SegmentationKeys
from ..config.model_file import ModelStructure
from ..geometry import Grid
from ..platform import available_cores
from ..segmentation.labels import LabelImage, statistics
from ..segmentation.models import Model, Models, TaskModel, is_overview
from ..segmentation.regions import MARKERS, judge
from ..segmentation.run import SKIPPED, Picture, Runner, Settings
from ..segmentation.watch import Limits

# ROI numbers of a source's second model begin here, of the third at twice this, and so on.
NUMBERS_PER_MODEL = 1000


@dataclass(frozen=True)
class SourceImage:
    """An image to segment: `load` gives its values `[k, j, i]` on a uniform grid, `slices` are the
    DICOM files that it came from (none for a loose volume), `planning` marks a course's own."""

    name: str
    modality: str
    frame_uid: str
    planning: bool
    slices: tuple[Path, ...]
    load: Callable[[], tuple[np.ndarray, Grid]]


@dataclass(frozen=True)
class Found:
    """A model's result on an image, with the ROI number of each structure."""

    model: str
    source: str
    image: SourceImage
    labels: LabelImage
    first_number: int


class Files(Protocol):
    """Where results go: `prepare` has what `write` needs of an image, while the model still runs;
    `write` keeps a result under a name and returns what the manifest says of its files."""

    def prepare(self, image: SourceImage) -> list[Dataset]: ...

    def write(self, name: str, found: Found, slices: Sequence[Dataset]) -> dict[str, object]: ...


def settings_of(keys: SegmentationKeys) -> Settings:
    """How programs are run, as the configuration has it."""
    return Settings(
        Limits(keys.timeout_s, keys.stall_s),
        keys.threads or available_cores(),
        keys.python,
        keys.retry_on_cpu,
    )


class Segmenter:
    """Runs models on images, puts what they find into `files` and remembers it for models that come
    later; `progress` gets (done, total, message)."""

    def __init__(
        self,
        models: Models,
        settings: Settings,
        files: Files,
        progress: Callable[[int, int, str], None],
    ) -> None:
        self.models = models
        self._files, self._progress = files, progress
        self.found: dict[str, dict[str, np.ndarray]] = {}  # image -> structure -> mask
        self.seen_cc: dict[str, dict[str, float]] = {}  # image -> organ -> volume, once looked
        self._numbers: dict[str, int] = {}
        self._done, self._total = 0, 1
        self._runner = Runner(models, settings, self._say)

    def rows(self, images: Sequence[SourceImage]) -> list[dict[str, object]]:
        """The manifest: one row for every model on every image of its modality."""
        orders = [
            (model, [image for image in images if image.modality == model.modality])
            for model in self.models.models
        ]
        self._total = 100 * sum(max(1, len(fitting)) for _, fitting in orders)
        rows = []
        for model, fitting in orders:
            if not fitting:
                seen = ", ".join(sorted({image.modality for image in images}))
                reason = f"it is made for {model.modality}, there is {seen}"
                rows.append(self._row(model, "", SKIPPED, reason))
                self._done += 100
            for image in fitting:
                rows.append(self._one(model, image))
                self._done += 100
        return rows

    def _say(self, percent: int, message: str) -> None:
        self._progress(self._done + percent, self._total, message)

    def _one(self, model: Model, image: SourceImage) -> dict[str, object]:
        array, grid = image.load()
        picture = Picture(array, grid, image.modality, image.name)
        regions = ""
        if model.requires_region:
            allowed, regions = self._gate(model, picture)
            if not allowed:
                return self._row(model, picture.name, SKIPPED, regions)
        with ThreadPoolExecutor(1) as aside:
            slices = aside.submit(self._files.prepare, image)
            result = self._runner.run(model, picture, self.found.get(picture.name, {}))
            row = self._row(model, picture.name, result.status, result.reason)
            row |= {"device": result.device, "program_s": round(result.program_s, 1)}
            if regions:
                row["regions"] = regions
            if result.labels is not None:
                self._remember(model, picture, result.labels)
                facts = aside.submit(statistics, result.labels, picture.array)
                row |= self._write(model, image, result.labels, slices.result())
                row |= self._structures(result.labels, row["first_number"], facts.result())
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

    def _remember(self, model: Model, picture: Picture, labels: LabelImage) -> None:
        said = self._said_structures()
        wanted = {name for s in said for name in (s.within, s.nearest_to) if name}
        masks = self.found.setdefault(picture.name, {})
        masks |= {name: mask for name in wanted if (mask := labels.mask(name)) is not None}
        if is_overview(model):
            self.seen_cc[picture.name] = _organ_volumes(labels)

    def _said_structures(self) -> list[ModelStructure]:
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

    def _write(
        self, model: Model, image: SourceImage, labels: LabelImage, slices: Sequence[Dataset]
    ) -> dict[str, object]:
        """Files of a result, and what the manifest says of them."""
        name = model.name if image.planning else f"{model.name}_{image.name}"
        first = self._numbers.get(model.source, 0)
        self._numbers[model.source] = first + NUMBERS_PER_MODEL
        found = Found(model.name, model.source, image, labels, first)
        files = self._files.write(name, found, slices)
        return files | {"first_number": first, "frame_uid": image.frame_uid}

    def _structures(
        self, labels: LabelImage, first: int, facts: Mapping[str, Mapping[str, float]]
    ) -> dict[str, object]:
        """What the manifest says of the structures that were found and of those that were not."""
        there = [segment for segment in labels.segments if segment.name in facts]
        return {
            "structures": {s.name: {"number": first + s.value, **facts[s.name]} for s in there},
            "empty": [s.name for s in labels.segments if s.name not in facts],
        }


def _organ_volumes(labels: LabelImage) -> dict[str, float]:
    """Volumes in cc of the organs that stand for body regions."""
    organs = {organ for markers in MARKERS.values() for organ in markers}
    voxel_cc = labels.grid.voxel_volume_mm3 / 1000
    return {name: n * voxel_cc for name, n in labels.counts().items() if name in organs}
