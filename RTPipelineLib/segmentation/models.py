"""The models that a configuration asks for, checked before any work starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import Config
from ..config.keys import SegmentationKeys, SegmentationModel
from ..config.model_file import ModelFile, labels_of, read_model
from ..errors import ConfigError, UsageError
from .catalogue import Catalogue, Home, TaskFacts, read_catalogue
from .programs import available_folds, dataset_facts
from .regions import check_regions

TOTALSEGMENTATOR = "totalsegmentator"
# The fast first pass that tells which regions an image shows.
OVERVIEW = {"CT": "total", "MR": "total_mr"}


@dataclass(frozen=True)
class TaskModel:
    """A task of TotalSegmentator."""

    name: str
    facts: TaskFacts
    fast: bool
    subset: tuple[str, ...]
    device: str
    requires_region: tuple[str, ...]

    source = TOTALSEGMENTATOR

    @property
    def modality(self) -> str:
        """Of the images that it knows."""
        return self.facts.modality

    @property
    def names(self) -> tuple[str, ...]:
        """The structures that it is expected to look for."""
        return self.subset or tuple(self.facts.classes.values())


@dataclass(frozen=True)
class NetworkModel:
    """One or more nnU-Net networks that a model file describes."""

    name: str
    file: ModelFile
    subset: tuple[str, ...]
    device: str
    requires_region: tuple[str, ...]

    @property
    def source(self) -> str:
        """What its structures are listed under."""
        return self.name

    @property
    def modality(self) -> str:
        """Of the images that it knows."""
        return self.file.modality

    @property
    def names(self) -> tuple[str, ...]:
        """The structures that it is expected to look for."""
        found = dict.fromkeys(n for member in self.file.members for n in labels_of(member))
        return tuple(name for name in found if not self.subset or name in self.subset)


Model = TaskModel | NetworkModel


@dataclass(frozen=True)
class Models:
    """All models of a configuration in their order, the catalogue of the installed TotalSegmentator
    (None when no model needs it), and where its weights and licence are."""

    models: tuple[Model, ...]
    catalogue: Catalogue | None
    home: Home

    def overview(self, modality: str, device: str) -> TaskModel | None:
        """The fast first pass for images of this modality; None where there is none."""
        if self.catalogue is None or modality not in OVERVIEW:
            return None
        name = OVERVIEW[modality]
        return TaskModel(f"{name}_overview", self.catalogue.task(name), True, (), device, ())


def find_models(config: Config) -> Models:
    """The models of a configuration.

    Raises `UsageError` or `ConfigError` (one message for all that is missing) when a task, class,
    region or folder does not exist, weights or a licence are missing, or TotalSegmentator is not
    installed.
    """
    keys = config.segmentation
    home = Home(keys.weights, keys.license_file)
    gated = any(model.requires_region or _file_regions(model) for model in keys.models)
    catalogue = None
    if gated or any(model.task for model in keys.models):
        catalogue = read_catalogue(keys.python)
    models = tuple(_model(model, catalogue) for model in keys.models)
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"segmentation.models: two models are named {name}; their results would overwrite "
                "each other"
            )
    found = Models(models, catalogue, home)
    _check_ready(found, keys)
    return found


def _file_regions(model: SegmentationModel) -> tuple[str, ...]:
    return read_model(model.folder).requires_region if model.folder is not None else ()


def _model(wanted: SegmentationModel, catalogue: Catalogue | None) -> Model:
    if wanted.task is not None and catalogue is not None:
        facts = catalogue.task(wanted.task)
        catalogue.check_subset(facts, wanted.roi_subset)
        if wanted.fast and "fast" not in facts.weights:
            raise UsageError(f"the task {facts.name} has no fast model; set fast: false")
        check_regions(wanted.requires_region)
        name = f"{facts.name}_fast" if wanted.fast else facts.name
        return TaskModel(
            name, facts, wanted.fast, wanted.roi_subset, wanted.device, wanted.requires_region
        )
    file = read_model(Path(str(wanted.folder)))
    regions = wanted.requires_region or file.requires_region
    check_regions(regions)
    if wanted.fast:
        raise ConfigError(f"{wanted.folder}: fast is an option of TotalSegmentator's tasks")
    model = NetworkModel(file.name, file, wanted.roi_subset, wanted.device, regions)
    _check_network(model)
    return model


def _check_network(model: NetworkModel) -> None:
    """Raise `ConfigError` when a network cannot be used as the model file says."""
    from difflib import get_close_matches

    known = {name for member in model.file.members for name in labels_of(member)}
    for name in [*(s.name for s in model.file.structures), *model.subset]:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"labels are {', '.join(sorted(known))}"
            raise ConfigError(f"model {model.name}: no network has a label {name!r}; {hint}")
    for member in model.file.members:
        folds = available_folds(member.folder, member.checkpoint)
        lacking = {str(fold) for fold in member.folds} - set(folds)
        if not folds or lacking:
            which = f"fold_{min(lacking)}" if lacking else "any fold_<n>"
            raise ConfigError(f"{member.folder}: no {member.checkpoint} in {which}")
        _, channels = dataset_facts(member.folder)
        if channels > 1:
            raise ConfigError(
                f"{member.folder}: the network needs {channels} images at once; only networks of "
                "one channel can be run"
            )


def _check_ready(found: Models, keys: SegmentationKeys) -> None:
    """Raise `UsageError` with all that is missing and the commands that fetch it."""
    if found.catalogue is None:
        return
    folder = found.home.weights_folder
    missing: list[str] = []
    unlicensed: list[str] = []
    for model in _runs(found):
        missing += found.catalogue.missing_weights(
            model.facts, model.fast, bool(model.subset), folder
        )
        if model.facts.licensed and not found.home.licence():
            unlicensed.append(model.name)
    problems = []
    if missing:
        names = tuple(dict.fromkeys(missing))
        commands = found.catalogue.fetch_commands(names)
        python = keys.python or found.catalogue.python
        fetch = " and ".join(commands) or "TotalSegmentator's own downloader"
        problems.append(
            f"weights are missing in {folder}: {', '.join(names)}; fetch them with: {fetch} (of "
            f"{Path(python).parent}), or name another folder in segmentation.weights"
        )
    if unlicensed:
        problems.append(
            f"{', '.join(unlicensed)} needs a licence number of TotalSegmentator (free for "
            "non-commercial use at https://backend.totalsegmentator.com/license-academic/): name a "
            "file with it in segmentation.license_file"
        )
    if problems:
        raise UsageError("; and ".join(problems))


def _runs(found: Models) -> Sequence[TaskModel]:
    """All tasks that may run, the overview where a gated model comes before any task that could
    stand for it."""
    runs = [model for model in found.models if isinstance(model, TaskModel)]
    seen: set[str] = set()
    for model in found.models:
        if model.requires_region and model.modality not in seen:
            first = found.overview(model.modality, model.device)
            runs += [first] if first is not None else []
        if is_overview(model):
            seen.add(model.modality)
    return runs


def is_overview(model: Model) -> bool:
    """True for a model whose structures tell which regions an image shows."""
    return isinstance(model, TaskModel) and (
        model.facts.name == OVERVIEW.get(model.modality) and not model.subset
    )
