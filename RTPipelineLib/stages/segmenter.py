"""Models on images, one after another: what a course's stage and `rtpipeline segment` share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config.keys import SegmentationKeys
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


Keeper = Callable[[str, Found], dict[str, object]]


def settings_of(keys: SegmentationKeys) -> Settings:
    """How programs are run, as the configuration has it."""
    return Settings(
        Limits(keys.timeout_s, keys.stall_s),
        keys.threads or available_cores(),
        keys.python,
        keys.retry_on_cpu,
    )


class Segmenter:
    """Runs models on images and remembers what they found for those that come later.

    `keep(name, found)` writes a result under a name and returns what the manifest says of its
    files; `progress` gets (done, total, message).
    """

    def __init__(
        self,
        models: Models,
        settings: Settings,
        keep: Keeper,
        progress: Callable[[int, int, str], None],
    ) -> None:
        self.models = models
        self._keep_files, self._progress = keep, progress
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
        result = self._runner.run(model, picture, self.found.get(picture.name, {}))
        row = self._row(model, picture.name, result.status, result.reason)
        row |= {"device": result.device, "program_s": round(result.program_s, 1)}
        if regions:
            row["regions"] = regions
        if result.labels is not None:
            self._remember(model, picture, result.labels)
            row |= self._write(model, picture, image, result.labels)
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

    def _write(
        self, model: Model, picture: Picture, image: SourceImage, labels: LabelImage
    ) -> dict[str, object]:
        """Files of a result, and what the manifest says of it."""
        name = model.name if image.planning else f"{model.name}_{image.name}"
        first = self._numbers.get(model.source, 0)
        self._numbers[model.source] = first + NUMBERS_PER_MODEL
        files = self._keep_files(name, Found(model.name, model.source, image, labels, first))
        facts = statistics(labels, picture.array)
        structures = {
            s.name: {"number": first + s.value, **facts[s.name]}
            for s in labels.segments
            if s.name in facts
        }
        return files | {
            "first_number": first,
            "frame_uid": image.frame_uid,
            "structures": structures,
            "empty": [s.name for s in labels.segments if s.name not in facts],
        }


def _organ_volumes(labels: LabelImage) -> dict[str, float]:
    """Volumes in cc of the organs that stand for body regions."""
    organs = {organ for markers in MARKERS.values() for organ in markers}
    voxel_cc = labels.grid.voxel_volume_mm3 / 1000
    return {name: n * voxel_cc for name, n in labels.counts().items() if name in organs}
