"""Run one model on one image, from the array to checked labels."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..config.model_file import ModelMember, ModelStructure, labels_of
from ..errors import OutputError, StageError
from ..geometry import Grid
from ..platform import FolderLock
from .catalogue import Catalogue
from .labels import LabelImage, Segment, read_labels, write_input
from .models import Model, Models, NetworkModel, TaskModel
from .postprocess import Rules, apply_rules
from .programs import (
    INPUT,
    Call,
    Machine,
    available_folds,
    call_nnunet,
    call_totalsegmentator,
    dataset_facts,
)
from .reasons import GPU_MEMORY, explain, failure_kind
from .terms import Term, colour_of, terms_from
from .watch import Limits, run_program

log = logging.getLogger(__name__)

DONE, PARTIAL, FAILED, SKIPPED = "done", "partial", "failed", "skipped"
LEAST_SLICES = 5
GPU_WAIT_S = 2.0

Progress = Callable[[int, str], None]  # percent, message


@dataclass(frozen=True)
class Settings:
    """How programs are run."""

    limits: Limits
    threads: int
    python: Path | None = None
    retry_on_cpu: bool = False


@dataclass(frozen=True)
class Picture:
    """An image to segment: values `[k, j, i]` on a uniform grid, its modality, and a name."""

    array: np.ndarray
    grid: Grid
    modality: str
    name: str


class Result(NamedTuple):
    """What became of a model: its labels (None: nothing to use) and why, the device that it ran
    on, and seconds spent in the programs."""

    status: str
    reason: str
    labels: LabelImage | None
    device: str
    program_s: float


@dataclass
class Runner:
    """Runs models one after another."""

    models: Models
    settings: Settings
    progress: Progress = lambda percent, message: None
    _program_s: float = field(default=0.0, init=False)
    _device: str = field(default="", init=False)

    def run(self, model: Model, picture: Picture, earlier: Mapping[str, np.ndarray]) -> Result:
        """The labels of one model on one image; rules of post-processing may refer to masks that
        `earlier` models found. Raises nothing of the model's own making."""
        self._program_s, self._device = 0.0, model.device
        if picture.modality != model.modality:
            return self._result(
                SKIPPED, f"it is made for {model.modality}, {picture.name} is {picture.modality}"
            )
        if picture.array.shape[0] < LEAST_SLICES:
            count = picture.array.shape[0]
            slices = "one slice" if count == 1 else f"{count} slices"
            return self._result(SKIPPED, f"{picture.name} has {slices}; a volume is needed")
        try:
            if isinstance(model, TaskModel):
                return self._judged(model, self._task(model, picture), ())
            labels, lost = self._networks(model, picture)
            return self._judged(model, _refined(model, labels, earlier), lost)
        except StageError as error:
            return self._result(FAILED, str(error))

    def _result(self, status: str, reason: str, labels: LabelImage | None = None) -> Result:
        return Result(status, reason, labels, self._device, self._program_s)

    def _judged(self, model: Model, labels: LabelImage, lost: tuple[str, ...]) -> Result:
        """An empty result is a failure, whatever the program says."""
        if not labels.array.any():
            return self._result(
                FAILED,
                f"{model.name} found none of its {len(labels.segments)} structures in the image; "
                "look whether the image shows them, and at its orientation and units",
            )
        return self._result(PARTIAL if lost else DONE, "; ".join(lost), labels)

    def _task(self, model: TaskModel, picture: Picture) -> LabelImage:
        catalogue, home = self.models.catalogue, self.models.home
        assert catalogue is not None  # find_models has read it for the first task
        names = {v: n for v, n in model.facts.classes.items() if n in model.names}
        terms = _with_colours(names, catalogue.terms)

        def call(machine: Machine) -> Call:
            image = machine.scratch / f"{INPUT}.nii"
            write_input(image, _as_integers(picture.array), picture.grid)
            return call_totalsegmentator(
                machine,
                image,
                task=model.facts.name,
                fast=model.fast,
                subset=model.subset,
                weights=home.weights_folder,
                licence=home.licence() if model.facts.licensed else "",
            )

        secret = home.licence() if model.facts.licensed else ""
        with self._program(model.name, call, model.device, secret) as output:
            return read_labels(output, picture.grid, names, terms)

    def _networks(
        self, model: NetworkModel, picture: Picture
    ) -> tuple[LabelImage, tuple[str, ...]]:
        """The union of all networks, earlier ones first, and what was lost on the way."""
        values = {name: n for n, name in enumerate(model.names, start=1)}
        array = np.zeros(picture.grid.shape, dtype=np.uint16)
        lost: list[str] = []
        for member in model.file.members:
            try:
                found = self._network(model, member, picture)
            except StageError as error:
                lost.append(str(error))
                continue
            for segment in found.segments:
                if segment.name in values:
                    array[(found.array == segment.value) & (array == 0)] = values[segment.name]
        if len(lost) == len(model.file.members):
            raise StageError("; ".join(lost))
        said = {s.name: s for s in model.file.structures}
        segments = tuple(
            Segment(value, name, _term(said.get(name), value)) for name, value in values.items()
        )
        return LabelImage(array, picture.grid, segments), tuple(lost)

    def _network(self, model: NetworkModel, member: ModelMember, picture: Picture) -> LabelImage:
        names = {value: name for name, value in labels_of(member).items()}
        ending, _ = dataset_facts(member.folder)
        folds = tuple(map(str, member.folds)) or available_folds(member.folder, member.checkpoint)

        def call(machine: Machine) -> Call:
            folder = machine.scratch / "input"
            folder.mkdir(exist_ok=True)
            image = folder / f"{INPUT}_0000{ending}"
            write_input(image, _as_integers(picture.array), picture.grid)
            return call_nnunet(
                machine, image, folder=member.folder, folds=folds, checkpoint=member.checkpoint
            )

        name = f"{model.name} ({member.folder.name})" if model.file.members[1:] else model.name
        with self._program(name, call, model.device) as output:
            return read_labels(output, picture.grid, names, {})

    @contextmanager
    def _program(
        self, name: str, call: Callable[[Machine], Call], device: str, secret: str = ""
    ) -> Iterator[Path]:
        """Run a program, on the CPU once more when the GPU's memory did not suffice and that is
        allowed; yields the file that it was told to write. Raises `StageError`."""

        def listen(line: str, percent: int | None) -> None:
            if percent is None:
                log.info("%s: %s", name, line.replace(secret, "(licence)") if secret else line)
            self.progress(percent or 0, name if percent is None else f"{name}: {percent} %")

        for attempt in (device, "cpu"):
            # In the system's folder, whose path is short: programs put sockets there, whose paths
            # end after 100 letters.
            with tempfile.TemporaryDirectory(prefix="rtp-", ignore_cleanup_errors=True) as folder:
                python = self.settings.python or _python(self.models.catalogue)
                machine = Machine(
                    python,
                    self.settings.python is not None,
                    attempt,
                    self.settings.threads,
                    Path(folder),
                )
                order = call(machine)
                with _turn_on(attempt, lambda: self.progress(0, f"{name}: waits for the GPU")):
                    ending = run_program(
                        order.arguments,
                        env=order.env,
                        cwd=machine.scratch,
                        limits=self.settings.limits,
                        listen=listen,
                    )
                self._program_s += ending.seconds
                self._device = attempt
                if ending.succeeded:
                    yield order.output
                    return
                reason = explain(ending, self.settings.limits)
                reason = reason.replace(secret, "(licence)") if secret else reason
                again = (
                    self.settings.retry_on_cpu
                    and attempt != "cpu"
                    and failure_kind(ending) == GPU_MEMORY
                )
                if not again:
                    raise StageError(f"{name} failed: {reason}")
                log.warning("%s: %s; trying again on the CPU", name, reason)


@contextmanager
def _turn_on(device: str, waiting: Callable[[], None]) -> Iterator[None]:
    """Exclusive use of a GPU among all processes of this user on this computer."""
    if not device.startswith("gpu"):
        yield
        return
    number = device.partition(":")[2] or "0"
    lock = FolderLock(Path(tempfile.gettempdir()) / f"rtpipeline-gpu-{number}", "segmentation")
    while True:
        try:
            lock.__enter__()
            break
        except OutputError:
            waiting()
            time.sleep(GPU_WAIT_S)
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


def _python(catalogue: Catalogue | None) -> Path:
    import sys

    return catalogue.python if catalogue is not None else Path(sys.executable)


def _as_integers(array: np.ndarray) -> np.ndarray:
    """Whole numbers as scanners store them; other images in single precision."""
    if np.issubdtype(array.dtype, np.integer):
        short = array.min() >= -32768 and array.max() <= 32767
        return array.astype(np.int16 if short else np.int32, copy=False)
    return array.astype(np.float32, copy=False)


def _with_colours(names: Mapping[int, str], terms: Mapping[str, Term]) -> dict[str, Term]:
    found = {}
    for value, name in names.items():
        term = terms.get(name, Term())
        found[name] = term if term.colour else replace(term, colour=colour_of(value))
    return found


def _term(said: ModelStructure | None, number: int) -> Term:
    if said is None:
        return Term(colour=colour_of(number))
    codes = said.terminology
    terms = terms_from(codes.category, codes.type, codes.modifier)
    return Term(terms, said.colour or colour_of(number))


def _refined(
    model: NetworkModel, labels: LabelImage, earlier: Mapping[str, np.ndarray]
) -> LabelImage:
    """Post-processing and names as the model file says. Raises `StageError` for a structure that a
    rule refers to and that nobody found."""
    voxel_cc = labels.grid.voxel_volume_mm3 / 1000
    array, segments = labels.array.copy(), {s.name: s for s in labels.segments}

    def other(name: str, asked: ModelStructure) -> np.ndarray:
        mask = labels.mask(name) if name in segments else earlier.get(name)
        if mask is None:
            raise StageError(
                f"{model.name}: {asked.name} refers to {name}, which neither this model nor an "
                "earlier one has"
            )
        return mask

    for said in model.file.structures:
        if said.name not in segments:
            continue  # not in the subset
        segment = segments[said.name]
        rules = Rules(
            other(said.within, said) if said.within else None,
            int(np.ceil((said.min_volume_cc or 0.0) / voxel_cc - 1e-9)),
            other(said.nearest_to, said) if said.nearest_to else None,
            said.largest_component,
        )
        before = labels.array == segment.value
        after = apply_rules(before, labels.grid.spacing_mm, rules)
        array[before & ~after] = 0
        if said.rename:
            segments[said.name] = replace(segment, name=said.rename)
    return LabelImage(array, labels.grid, tuple(segments.values()))
