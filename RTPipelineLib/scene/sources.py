"""What of a course holds structures, each read on its own: structure sets, DICOM SEG objects,
automatic, derived and edited ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..course import ObjectEntry, OpenCourse, edited_files
from ..dicom.segmentation import read_segmentation
from ..dicom.structures import read_structure_set
from ..dicom.terms import Terms
from ..geometry import Grid
from ..model import CLINICAL, EDITED, Structure
from ..segmentation.anatomy import standard_name_of
from ..stages.automatic import SEG, automatic_masks
from ..stages.facts import read_facts
from ..stages.seg_nrrd import read_segments

DERIVED_FILE = "structures/derived.seg.nrrd"
STRUCTURES_FILE = "structures/structures.json"


@dataclass(frozen=True)
class Content:
    """Structures, the codes that their file states by name, and the image series that it names."""

    structures: list[Structure]
    terms: Mapping[str, Terms] = field(default_factory=dict)
    series_uid: str = ""


@dataclass(frozen=True)
class Source:
    """One node of the scene to be: its name, who made the structures, how to read them; modality
    and SOP Instance UID of the object that they come from."""

    name: str
    source: str
    read: Callable[[], Content]
    modality: str = "SEG"
    uid: str = ""


def sources_of(course: OpenCourse, grid: Grid) -> Iterator[Source]:
    """Everything of a course that holds structures, contours in the planes of `grid`."""
    facts, folder = course.course, course.folder
    for number, entry in enumerate(facts.of_kind("rtstruct"), 1):
        name = f"{entry.label or 'Structure set'} {number}"
        yield _of_set(name, CLINICAL, facts.path_of(entry), grid, entry.sop_uid)
    for number, entry in enumerate(facts.of_kind("seg"), 1):
        yield _of_seg(f"{entry.label or 'SEG'} {number}", facts.path_of(entry), entry)
    yield Source("Automatic", "automatic", lambda: Content(list(automatic_masks(folder))))
    derived = folder / DERIVED_FILE
    if derived.exists():
        yield Source("Derived", "derived", lambda: Content(list(read_segments(derived))))
    for path in edited_files(folder):
        yield _of_set(f"Edited {path.stem.removeprefix('RS_')}", EDITED, path, grid)


def _of_set(name: str, source: str, path: Path, grid: Grid, uid: str = "") -> Source:
    def read() -> Content:
        found = read_structure_set(path)
        rois = [replace(roi.on_image(grid), source=source) for roi in found.rois]
        return Content(list(rois), series_uid=next(iter(found.series_uids), ""))

    return Source(name, source, read, "RTSTRUCT", uid)


def _of_seg(name: str, path: Path, entry: ObjectEntry) -> Source:
    def read() -> Content:
        found = read_segmentation(path)
        masks = [replace(mask, source=SEG) for mask in found.masks]
        stated = zip(masks, found.terms, strict=True)
        terms = {mask.name: codes for mask, codes in stated if codes is not None}
        return Content(list(masks), terms, next(iter(found.series_uids), ""))

    return Source(name, SEG, read, "SEG", entry.sop_uid)


def decided_names(course: OpenCourse) -> dict[tuple[object, ...], str]:
    """The standard names that the stage `structures` gave, by structure set, number and source."""
    rows = read_facts(course.folder, STRUCTURES_FILE).get("rois") or ()
    return {
        (row["structure_set_uid"], row["roi_number"], row["source"]): row["roi_standard_name"]
        for row in rows
    }


def with_names(
    structures: Sequence[Structure], names: Mapping[tuple[object, ...], str]
) -> list[Structure]:
    """The structures with standard names: those given in `names`, else those of the table."""
    found = []
    for structure in structures:
        given = names.get((structure.structure_set_uid, structure.number, structure.source))
        name = standard_name_of(structure.name) if given is None else given
        found.append(replace(structure, standard_name=name))
    return found
