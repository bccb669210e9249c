"""Features of perturbed images and ROIs by the workers that compute all features, a row for each
perturbation: `radiomics/robustness.parquet`."""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ..config import Config
from ..config.robustness import RobustnessKeys
from ..errors import DataError
from ..geometry import Grid
from ..model import Mask, Volume
from ..radiomics.engine import Began, RoiFeatures
from ..radiomics.parameters import Parameters
from ..radiomics.perturbation import Chain, Perturbation
from ..radiomics.robustness import perturbed_features
from ..radiomics.roi import roi_on
from ..structures.lattice_boxes import cropped
from . import Problem, Task
from .feature_extraction import Extracted, Keeper, limits_of, on_image
from .feature_rows import ImageFacts, feature_row, features_frame
from .roi_workers import Found, Limits, Serve, computed

POINT = tuple(field.name for field in fields(Perturbation))
ROBUSTNESS_FILE = "radiomics/robustness.parquet"


@dataclass(frozen=True)
class PerturbedJob:
    """What a worker computes, beside the image that lies in a file: the points of the grid of each
    ROI, numbered one ROI after another."""

    grid: Grid
    modality: str
    parameters: Parameters
    masks: list[Mask]
    chain: Chain
    course: str

    @cached_property
    def points(self) -> tuple[Perturbation, ...]:
        """Those of one ROI."""
        return self.chain.grid()

    def numbers(self, roi: int) -> range:
        """The numbers of one ROI's points."""
        return range(roi * len(self.points), (roi + 1) * len(self.points))

    def size(self, number: int) -> int:
        """Voxels of the ROI."""
        return self._sizes[number // len(self.points)]

    @cached_property
    def _sizes(self) -> list[int]:
        return [int(np.count_nonzero(mask.array)) for mask in self.masks]

    def orders(self, processes: int) -> list[range]:
        """The numbers that one worker computes in a row: a ROI, or where there are fewer ROIs than
        processes a part of its images."""
        parts = math.ceil(processes / max(len(self.masks), 1))
        images = len(dict.fromkeys(point.pose for point in self.points))
        each = len(self.points) // images  # ROIs on one image
        step = each * math.ceil(images / parts)
        return [
            own[first : first + step]
            for own in map(self.numbers, range(len(self.masks)))
            for first in range(0, len(own), step)
        ]

    def serve(self, array: np.ndarray) -> Serve:
        """What computes the points of these numbers, ROI by ROI."""
        image = Volume(array, self.grid, self.modality)

        def run(numbers: list[int], began: Began) -> Found:
            for roi in dict.fromkeys(number // len(self.points) for number in numbers):
                own = {self.point(n): n for n in numbers if n in self.numbers(roi)}
                yield from self._of_roi(image, roi, own, began)

        return run

    def point(self, number: int) -> Perturbation:
        """Which point it is."""
        return self.points[number % len(self.points)]

    def named(self, number: int) -> Parameters:
        """The parameters with a hash that stands for the perturbation, too."""
        words = (self.parameters.sha256, self.course, self.chain, self.point(number))
        return replace(self.parameters, sha256=hashlib.sha256(repr(words).encode()).hexdigest())

    def _of_roi(
        self, image: Volume, roi: int, own: Mapping[Perturbation, int], began: Began
    ) -> Found:
        def heard(what: str, point: Perturbation | None) -> None:
            began(what, None if point is None else own[point])

        found = perturbed_features(
            image, self.masks[roi], self.parameters, self.chain, self.course, tuple(own), heard
        )
        left = dict(own)
        try:
            for point, result in found:
                yield left.pop(point), result
        except DataError as error:
            for number in left.values():
                yield number, error


@dataclass(frozen=True)
class Measured:
    """An image whose features are known: how to read it again, what rows say of it, what was found
    for each structure, and where perturbed features are kept until the table is written."""

    read: Callable[[], Volume]
    facts: ImageFacts
    found: Sequence[Extracted]
    keeper: Callable[[Volume], Keeper]


def write_robustness(
    task: Task, measured: Sequence[Measured], ids: Mapping[str, str]
) -> list[Problem]:
    """Write the table of perturbed features, where there are any, and return what went wrong: one
    problem for each ROI that lacks some."""
    rows: list[dict[str, object]] = []
    problems: list[Problem] = []
    for one in measured:
        total = perturbations(one.found, task.config)
        if not total:
            continue
        own: list[dict[str, object]] = []
        try:
            for row in perturbed_rows(one, ids, task.config):
                own.append(row)
                task.progress(len(own), total, f"{one.facts.name}: {row['roi_name']} perturbed")
        except DataError as error:
            problems.append(Problem(one.facts.name, "error", f"{one.facts.name}: {error}"))
        rows += own
    if rows:
        frame = features_frame(rows)
        order = ["image", "source", "roi_number", "roi_name", *POINT]
        frame = frame.sort_values(order, kind="stable", ignore_index=True)
        frame.to_parquet(task.output / Path(ROBUSTNESS_FILE).name, index=False)
    elif task.config.radiomics.robustness.enabled and not problems:
        text = "no structure with features is among those that radiomics.robustness.rois names"
        problems.append(Problem("robustness", "warning", text))
    return problems + _lacking(rows)


def _lacking(rows: Sequence[Mapping[str, object]]) -> list[Problem]:
    """A problem for every ROI of which some perturbation has no features."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["reason"]:
            key = (str(row["roi_name"]), str(row["image"]))
            reasons.setdefault(key, []).append(str(row["reason"]))
    return [
        Problem(roi, "warning", f"{roi} on {image}: {len(own)} perturbations failed: {own[0]}")
        for (roi, image), own in reasons.items()
    ]


def perturbations(found: Sequence[Extracted], config: Config) -> int:
    """How many perturbed ROIs there will be for these structures."""
    keys = config.radiomics.robustness
    return keys.enabled * keys.points * sum(_is_asked_for(one, keys) for one in found)


def perturbed_rows(
    measured: Measured, ids: Mapping[str, str], config: Config
) -> Iterator[dict[str, object]]:
    """A row for every perturbation of every ROI of an image that has features and is asked for.

    A perturbation that fails, or a ROI that cannot be perturbed, has its rows with the reason.
    """
    image = measured.read()
    keeper = measured.keeper(image)
    chain, course = config.radiomics.robustness.chain, "/".join(ids.values())
    chosen = [one for one in measured.found if _is_asked_for(one, config.radiomics.robustness)]
    for parameters in {one.parameters.name: one.parameters for one in chosen}.values():
        own = [one for one in chosen if one.parameters.name == parameters.name]
        masks = [cropped(on_image(one.structure, image, config)) for one in own]
        job = PerturbedJob(image.grid, image.modality, parameters, masks, chain, course)
        for number, result in _with_kept(job, image, keeper, limits_of(config)):
            one = replace(own[number // len(job.points)], result=result)
            yield {**feature_row(one, measured.facts, ids), **asdict(job.point(number))}


def _with_kept(
    job: PerturbedJob, image: Volume, keeper: Keeper, limits: Limits
) -> Iterator[tuple[int, RoiFeatures | str]]:
    """The results of all points: those that an earlier attempt kept, then the others, which are
    kept as they come."""
    rois = [roi_on(mask, image.grid) for mask in job.masks]
    orders = []
    for order in job.orders(limits.processes):
        missing = []
        for number in order:
            known = keeper.read(rois[number // len(job.points)], job.named(number))
            if known is None:
                missing.append(number)
            else:
                yield number, known
        orders += [missing] if missing else []
    with tempfile.TemporaryDirectory(prefix="rtpipeline-") as scratch:
        for number, result in computed(image.array, job, orders, limits, Path(scratch)):
            if isinstance(result, RoiFeatures):
                keeper.write(rois[number // len(job.points)], job.named(number), result)
            yield number, result


def _is_asked_for(one: Extracted, keys: RobustnessKeys) -> bool:
    wanted = {name.casefold() for name in keys.rois}
    names = {one.structure.name.casefold(), one.structure.standard_name.casefold()}
    return isinstance(one.result, RoiFeatures) and bool(not wanted or names & wanted)
