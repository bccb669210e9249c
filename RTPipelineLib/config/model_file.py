"""The description of an nnU-Net v2 model: what it segments, in which images, and what is done to
its output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from ..errors import ConfigError
from .reading import read_section
from .section import ExistingPath, Names, PositiveFloat, Section, Text

CodeText = tuple[Text, Text, Text]
Byte = Annotated[int, Field(ge=0, le=255)]
Fold = Annotated[int, Field(ge=0)] | Literal["all"]


class SegmentTerm(Section):
    """Codes of a structure: coding scheme, value, meaning."""

    category: CodeText | None = Field(None, description="[SCT, 123037004, Anatomical Structure]")
    type: CodeText | None = Field(None, description="[SCT, 10200004, Liver]")
    modifier: CodeText | None = Field(None, description="[SCT, 7771000, Left]")


class ModelStructure(Section):
    """A structure that a model finds, and what is done to it."""

    name: Text = Field(description="its label in dataset.json")
    rename: Text | None = Field(None, description="its name in the results")
    colour: tuple[Byte, Byte, Byte] | None = Field(None, description="red, green, blue, 0 to 255")
    terminology: SegmentTerm = Field(SegmentTerm(), description="codes")
    largest_component: bool = Field(False, description="keep only the largest connected part")
    within: Text | None = Field(
        None, description="keep only what lies in this structure of this or an earlier model"
    )
    nearest_to: Text | None = Field(
        None, description="keep only the connected part that is nearest to this structure"
    )
    min_volume_cc: PositiveFloat | None = Field(
        None, description="cc; smaller connected parts are removed"
    )


class ModelMember(Section):
    """One trained network: an nnU-Net v2 folder with plans.json and dataset.json."""

    folder: ExistingPath = Field(description="holds plans.json, dataset.json and fold_<n>")
    folds: tuple[Fold, ...] = Field((), description="empty: all that are there")
    checkpoint: Text = Field("checkpoint_final.pth", description="file in each fold's folder")


def _some(members: tuple) -> tuple:
    if not members:
        raise ValueError("there is no member in the list")
    return members


class ModelFile(Section):
    """A model of one or more networks that see the same image."""

    name: Text = Field(description="names its results")
    modality: Literal["CT", "MR", "PT"] = Field("CT", description="of the images that it knows")
    requires_region: Names = Field((), description="body regions that the image must show")
    members: Annotated[tuple[ModelMember, ...], AfterValidator(_some)] = Field(
        description="networks in order of precedence: where two of them label a voxel, the earlier "
        "one wins"
    )
    structures: tuple[ModelStructure, ...] = Field(
        (), description="what is said of single structures; labels not named here stay as they are"
    )


def read_model(path: Path) -> ModelFile:
    """The model that a YAML file, a folder with `model.yaml`, or a bare nnU-Net folder describes.

    Raises `ConfigError` with line and key of everything that is wrong.
    """
    path = Path(path)
    file = path / "model.yaml" if path.is_dir() else path
    if file.is_file():
        return read_section(file, ModelFile)
    if (path / "dataset.json").is_file() and (path / "plans.json").is_file():
        return ModelFile(name=path.name, members=(ModelMember(folder=path),))
    raise ConfigError(
        f"{path} holds neither model.yaml nor an nnU-Net v2 model (dataset.json, plans.json and "
        "fold_<n>)"
    )


def labels_of(member: ModelMember) -> dict[str, int]:
    """Label values by name, from the member's dataset.json. Raises `ConfigError`."""
    path = member.folder / "dataset.json"
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))["labels"]
        found = {str(name): int(value) for name, value in labels.items() if value != 0}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} is not the dataset.json of an nnU-Net v2 model with one value per label "
            f"({error})"
        ) from error
    return found
