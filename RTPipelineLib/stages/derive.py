"""Derived structures of a course: made, written as shares of voxels, read back for the DVH."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..config import Config
from ..config.structures import Derived, Expression, SixMargins
from ..errors import DataError
from ..geometry import Grid
from ..model import Contours, Mask
from ..structures.derived import DERIVED, Definition, Derivation, derive, grid_around
from ..structures.derived import Expression as Recipe
from ..structures.margins import Margins
from . import Problem
from .agreement import is_automatic
from .nrrd import read_nrrd, write_nrrd

FOLDER = "derived"
# Told apart on the screen; the red of targets and the green of organs stay free.
COLOURS = ((0, 170, 255), (255, 170, 0), (170, 0, 255), (0, 200, 150), (255, 100, 180))
# What a person should know of a result that is not what it was meant to be.
_SENTENCES = {
    "structure-empty": "is empty: nothing is left of its sources by this operation and its margins",
    "margin-too-thin": "has no margin where its sources have no surface to grow: they are thinner "
    "than a tenth of a voxel, or nowhere fill one",
}


def definitions_of(derived: Iterable[Derived]) -> list[Definition]:
    """The derived structures of the configuration."""
    return [Definition(item.name, _recipe(item)) for item in derived]


def _recipe(item: Expression) -> Recipe:
    margins = item.margin_mm
    if isinstance(margins, SixMargins):
        six = Margins(**margins.model_dump())
    else:
        six = Margins.even(margins)
    return Recipe(
        tuple(_part(source) for source in item.sources),
        item.operation,
        six,
        None if item.within is None else _part(item.within),
        None if item.minus is None else _part(item.minus),
    )


def _part(part: str | Expression) -> str | Recipe:
    return part if isinstance(part, str) else _recipe(part)


def derived_structures(
    rois: Sequence[Contours | Mask],
    images: Mapping[str, Grid],
    config: Config,
    problems: list[Problem],
) -> list[Mask]:
    """Every derived structure of the configuration, for every structure set that people drew.

    Sources are the ROIs of the set by name or standard name, then those of other sets in its frame
    of reference. One that no set could make is an error of its own; where a set lacks sources that
    another has, nothing is said.
    """
    definitions = definitions_of(config.structures.derived)
    if not definitions:
        return []
    made: list[Mask] = []
    failed: dict[str, str] = {}
    for uid, own in _sets_of_people(rois).items():
        frame_uid = next((roi.frame_uid for roi in own if roi.frame_uid), "")
        others = [r for r in rois if r.structure_set_uid != uid and r.frame_uid == frame_uid]
        try:
            result = _derived(definitions, own, others, images.get(frame_uid), config)
        except DataError as error:
            failed |= {d.name: str(error) for d in definitions}
            continue
        failed |= result.failed
        for mask in result.masks.values():
            made.append(replace(mask, frame_uid=frame_uid, structure_set_uid=uid))
    names = {mask.name for mask in made}
    for name in (d.name for d in definitions):
        if name not in names:
            problems.append(Problem(name, "error", f"{name}: {failed.get(name, 'not made')}"))
        for flags in (mask.flags for mask in made if mask.name == name):
            problems += [
                Problem(name, "warning", f"{name} {text}")
                for flag, text in _SENTENCES.items()
                if flag in flags
            ]
    order = [d.name for d in definitions]
    return [
        replace(mask, number=number, colour_rgb=COLOURS[order.index(mask.name) % len(COLOURS)])
        for number, mask in enumerate(made, start=1)
    ]


def _sets_of_people(rois: Sequence[Contours | Mask]) -> dict[str, list[Contours | Mask]]:
    """ROIs by structure set; sets that programs alone drew only where there are no others."""
    sets: dict[str, list[Contours | Mask]] = {}
    for roi in rois:
        sets.setdefault(roi.structure_set_uid, []).append(roi)
    people = {uid: own for uid, own in sets.items() if not all(map(is_automatic, own))}
    return people or sets


def _derived(
    definitions: Sequence[Definition],
    own: Sequence[Contours | Mask],
    others: Sequence[Contours | Mask],
    grid: Grid | None,
    config: Config,
) -> Derivation:
    keys = config.structures
    return derive(
        definitions,
        _available(own, others),
        grid or grid_around(own),
        end_caps=keys.end_caps,
        between_planes=keys.between_planes,
    )


def _available(
    own: Sequence[Contours | Mask], others: Sequence[Contours | Mask]
) -> dict[str, Contours | Mask]:
    """Structures by ROI name, else by a standard name that only one has; own ones first."""
    found: dict[str, Contours | Mask] = {}
    for rois in (own, others):
        for roi in rois:
            found.setdefault(roi.name, roi)
        standards = [roi.standard_name for roi in rois]
        for roi in rois:
            if roi.standard_name and standards.count(roi.standard_name) == 1:
                found.setdefault(roi.standard_name, roi)
    return found


# -- files ----------------------------------------------------------------------------------------


def write_shares(folder: Path, masks: Sequence[Mask]) -> dict[int, str]:
    """The masks as NRRD with the covered share of each voxel; file names by number."""
    written = {}
    for mask in masks:
        path = folder / FOLDER / f"{mask.number:03d}.nrrd"
        path.parent.mkdir(exist_ok=True)
        write_nrrd(path, mask.array.astype("float32"), mask.grid, {"frame_uid": mask.frame_uid})
        written[mask.number] = f"{FOLDER}/{path.name}"
    return written


def read_shares(folder: Path, facts: Mapping[str, object]) -> list[Mask]:
    """The derived structures that the stage `structures` left in its folder."""
    masks = []
    for roi in facts.get("rois") or ():
        if roi["source"] != DERIVED:
            continue
        path = folder / str(roi["file"])
        try:
            array, grid = read_nrrd(path)
        except RuntimeError as error:
            raise DataError(f"{path} cannot be read; run with --force to make it anew") from error
        masks.append(
            Mask(
                str(roi["roi_name"]),
                array,
                grid,
                number=int(roi["roi_number"]),
                frame_uid=str(roi["frame_uid"]),
                colour_rgb=tuple(roi["colour_rgb"]),
                interpreted_type=str(roi["interpreted_type"]),
                structure_set_uid=str(roi["structure_set_uid"]),
                source=DERIVED,
                flags=tuple(roi["flags"]),
                standard_name=str(roi["roi_standard_name"]),
            )
        )
    return masks
