"""From structures and an image to features: masks on the image, the preset that fits, the workers.
What the stage `radiomics` and `rtpipeline radiomics` have in common."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ..config import Config
from ..config.radiomics_file import read_parameters
from ..config.section import parameter_presets
from ..errors import DataError, UsageError
from ..model import Contours, Mask, Volume
from ..platform import available_cores, machine_memory_mb
from ..radiomics.engine import Extraction, PreparedRoi, RoiFeatures, check_features
from ..radiomics.parameters import Parameters
from ..radiomics.roi import Roi, roi_on
from ..structures.voxelise import voxelise
from .roi_workers import Job, Limits, computed

DOSE = "RTDOSE"
PRESETS = {"CT": "ct", "MR": "mr", "PT": "pet", DOSE: "dose"}
LARGE = {"CT": "ct_large"}
SUV = "SUV"
MOST_PROCESSES = 4


@dataclass(frozen=True)
class Extracted:
    """The features of one structure, or why there are none and how severe that is; the parameters
    that were meant for it and the voxels of the image that it has."""

    structure: Contours | Mask
    parameters: Parameters | None
    result: RoiFeatures | str
    voxels: int | None = None
    flags: tuple[str, ...] = ()
    severity: str = "error"


@dataclass
class _Ready:
    """A structure that can be computed: its number among all, and its mask on the image."""

    number: int
    mask: Mask
    roi: PreparedRoi
    flags: tuple[str, ...] = field(default=())


def processes() -> int:
    """How many ROIs are computed at a time."""
    return min(MOST_PROCESSES, available_cores())


def limits_of(config: Config) -> Limits:
    """What the configuration allows the workers of one stage."""
    whole = config.run.memory_gb
    memory_mb = 0.9 * machine_memory_mb() if whole is None else 1000 * whole
    number = processes()
    return Limits(number, config.radiomics.timeout_s, 0.8 * memory_mb / number)


def parameters_for(modality: str, config: Config, *, large: bool = False) -> Parameters:
    """The user's parameter file, else the preset of the modality.

    Doses have their own preset in any case: nothing that fits an image fits them. Raises
    `UsageError` for a modality without a preset, `ConfigError` for a wrong file.
    """
    own = config.radiomics.params
    if own is not None and modality != DOSE:
        return read_parameters(own)
    name = (LARGE if large else PRESETS).get(modality, PRESETS.get(modality))
    if name is None:
        raise UsageError(
            f"there is no preset for the modality {modality or 'unknown'}; name a parameter file "
            f"(radiomics.params, --params); presets are {', '.join(parameter_presets())}"
        )
    return read_parameters(parameter_presets()[name])


class Keeper(Protocol):
    """Where features of an earlier attempt may lie."""

    def read(self, roi: Roi, parameters: Parameters) -> RoiFeatures | None: ...

    def write(self, roi: Roi, parameters: Parameters, found: RoiFeatures) -> None: ...


def extracted(
    image: Volume,
    structures: Sequence[Contours | Mask],
    config: Config,
    keeper: Keeper | None = None,
) -> Iterator[Extracted]:
    """The features of every structure on an image, as they come, or why there are none. A `keeper`
    is asked for each before it is computed, and gets what was computed.

    Raises `UsageError` for parameters that cannot be used, `GeometryError` for an image with uneven
    slices, `DataError` for one in another unit than the parameters are made for.
    """
    usual = parameters_for(image.modality, config)
    coarse = parameters_for(image.modality, config, large=True)
    for parameters in {usual.name: usual, coarse.name: coarse}.values():
        check_features(parameters)
    _check_unit(image, usual)
    ready: dict[str, list[_Ready]] = {usual.name: [], coarse.name: []}
    by_name = {p.name: (p, Extraction(image, p)) for p in (usual, coarse)}
    for number, structure in enumerate(structures):
        name, voxels, flags = usual.name, None, ()
        try:
            mask = on_image(structure, image, config)
            flags = mask.flags
            voxels = roi_on(mask, image.grid).voxels
            if voxels * image.grid.voxel_volume_mm3 > 1000 * config.radiomics.large_cc:
                name = coarse.name
            if voxels < config.radiomics.min_voxels:
                least = config.radiomics.min_voxels
                raise DataError(f"{voxels} voxels; radiomics.min_voxels asks for at least {least}")
            roi = by_name[name][1].prepare(mask)
        except DataError as error:
            small = voxels is None or voxels < config.radiomics.min_voxels
            severity = "info" if small else "error"
            reason = str(error).removeprefix(structure.name).removeprefix(":").strip()
            yield Extracted(structure, by_name[name][0], reason, voxels, flags, severity)
            continue
        known = None if keeper is None else keeper.read(roi.native, by_name[name][0])
        if known is not None:
            yield Extracted(structure, by_name[name][0], known, voxels, flags)
            continue
        ready[name].append(_Ready(number, mask, roi, flags))
    for name, members in ready.items():
        if not members:
            continue
        parameters, extraction = by_name[name]
        for one, result in _by_workers(members, extraction, limits_of(config)):
            found = result
            if isinstance(result, str):
                found = result.removeprefix(one.mask.name).removeprefix(":").strip()
            if keeper is not None and isinstance(found, RoiFeatures):
                keeper.write(one.roi.native, parameters, found)
            voxels = one.roi.native.voxels
            yield Extracted(structures[one.number], parameters, found, voxels, one.flags)


def _by_workers(
    members: Sequence[_Ready], extraction: Extraction, limits: Limits
) -> Iterator[tuple[_Ready, RoiFeatures | str]]:
    rois = [one.roi for one in members]
    # Two orders for each process at least, so that none waits for long at the end.
    groups = extraction.groups(rois, max(1, len(rois) // (2 * limits.processes)))
    job = Job(extraction.image.grid, extraction.parameters, rois)
    with tempfile.TemporaryDirectory(prefix="rtpipeline-") as scratch:
        array = extraction.image.array
        for number, found in computed(array, job, groups, limits, Path(scratch)):
            yield members[number], found


def on_image(structure: Contours | Mask, image: Volume, config: Config) -> Mask:
    """The voxels of the image that belong to a structure. Raises `DataError` when it has none."""
    keys = config.structures
    if not structure.is_drawn:
        raise DataError("nothing is drawn")
    if isinstance(structure, Mask) and structure.grid.offset_in(image.grid) is not None:
        return structure
    return voxelise(
        structure,
        image.grid,
        keys.voxelise,
        end_caps=keys.end_caps,
        between_planes=keys.between_planes,
    )


def _check_unit(image: Volume, parameters: Parameters) -> None:
    if image.modality == "PT" and image.unit != SUV and parameters.name == "pet.yaml":
        raise DataError(
            f"the image is in {image.unit}, and the preset pet is for SUV; name a parameter file "
            "whose bins fit (radiomics.params, --params)"
        )
