"""One course in the scene: images, doses, structures by source, isodoses, in their folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import slicer

from ..course import PLANNING, OpenCourse
from ..dicom.dose import read_dose
from ..dicom.image import read_series
from ..dicom.suv import suv_scale
from ..errors import RTPipelineError
from ..geometry import Grid
from ..model import Dose, Structure, Volume
from ..segmentation.anatomy import terms_of
from ..stages.facts import read_facts
from ..stages.nrrd import read_nrrd
from . import hierarchy
from .ahead import Prepared, wanted_images
from .isodoses import add_isodoses
from .segmentations import add_segmentation, labels_state
from .sources import decided_names, sources_of, with_names
from .volumes import add_dose, add_volume, in_suv

Progress = Callable[[str], None]

# Of the highest dose; drawn unless the caller names levels.
ISODOSES = (0.5, 0.8, 0.95)


@dataclass
class Shown:
    """The nodes of one course. `doses_gy` and `structures` are what the nodes were made of;
    `problems` has a sentence for every object that could not be shown, `states` what the labels of
    each segmentation were then."""

    course: OpenCourse
    item: int
    images: list[slicer.vtkMRMLScalarVolumeNode] = field(default_factory=list)
    doses: list[slicer.vtkMRMLScalarVolumeNode] = field(default_factory=list)
    segmentations: dict[str, slicer.vtkMRMLSegmentationNode] = field(default_factory=dict)
    isodoses: list[slicer.vtkMRMLModelNode] = field(default_factory=list)
    doses_gy: list[Dose] = field(default_factory=list)
    structures: dict[str, list[Structure]] = field(default_factory=dict)
    states: dict[str, tuple] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def show_course(
    course: OpenCourse,
    progress: Progress = lambda text: None,
    prepared: Prepared | None = None,
) -> Shown:
    """Load a course into the scene, with what was `prepared` of it. An object that cannot be read
    costs itself only."""
    prepared = prepared or Prepared()
    facts = course.course
    planning = facts.planning_image
    study = planning.study_uid if planning else next((o.study_uid for o in facts.objects), "")
    with _batch():
        item = hierarchy.course_item(course.patient_id, study, course.course_id)
        shown = Shown(course, item)
        grid, reference = _show_images(shown, prepared, progress)
        _show_doses(shown, progress)
        if grid is None and shown.doses_gy:
            grid, reference = shown.doses_gy[0].grid, shown.doses[0]
        if grid is not None:
            _show_structures(shown, prepared, grid, reference, progress)
        progress("isodoses")
        for dose in shown.doses[:1]:
            highest = dose.GetImageData().GetScalarRange()[1]
            shown.isodoses = add_isodoses(dose, [round(s * highest, 1) for s in ISODOSES])
        for model in shown.isodoses:
            hierarchy.place(model, item)
    return shown


def is_of(shown: Shown, course: OpenCourse) -> bool:
    """Whether these are the nodes of a course, wherever its files were read from."""
    return (shown.course.patient_id, shown.course.course_id) == (
        course.patient_id,
        course.course_id,
    )


def is_edited(shown: Shown) -> bool:
    """Whether the voxels of a segment are, or may be, others than those of the files, or a segment
    came or went."""
    nodes = shown.segmentations.items()
    return any(labels_state(node) != shown.states.get(name) for name, node in nodes)


def hide_course(shown: Shown) -> None:
    """Take a course and all of its nodes out of the scene."""
    with _batch():
        hierarchy.remove(shown.item)


# -- images ----------------------------------------------------------------------------------------


def _show_images(
    shown: Shown, prepared: Prepared, progress: Progress
) -> tuple[Grid | None, slicer.vtkMRMLScalarVolumeNode | None]:
    """Add the images; the grid and node of the planning image."""
    grid = node = None
    for entry in wanted_images(shown.course):
        name = entry.description or entry.modality
        progress(f"image {name}")
        with noting(shown, f"image {name}"):
            paths = shown.course.course.image_paths(entry)
            volume: Volume = prepared.images.get(entry.key) or read_series(paths)
            if entry.modality == "PT":
                with noting(shown, f"image {name} is shown in {volume.unit or 'no unit'}"):
                    volume = in_suv(volume, suv_scale(paths))
            added = add_volume(volume, f"{entry.modality} {name}")
            hierarchy.place(
                added,
                shown.item,
                modality=entry.modality,
                uid=entry.series_uid,
                frame_uid=entry.frame_uid,
            )
            shown.images.append(added)
            if entry.role == PLANNING:
                grid, node = volume.grid, added
    return grid, node


# -- doses -----------------------------------------------------------------------------------------


def _show_doses(shown: Shown, progress: Progress) -> None:
    """What the stage `dose` made, or else every dose as it was exported."""
    for name, read, uid in doses_of(shown.course, shown):
        progress(f"dose {name}")
        with noting(shown, f"dose {name}"):
            dose = read()
            node = add_dose(dose, f"Dose {name}")
            hierarchy.place(node, shown.item, modality="RTDOSE", uid=uid, frame_uid=dose.frame_uid)
            shown.doses.append(node)
            shown.doses_gy.append(dose)


def doses_of(course: OpenCourse, shown: Shown) -> list[tuple[str, Callable[[], Dose], str]]:
    """(name, how to read it, SOP Instance UID) of every dose of a course, the total first."""
    sources = ()
    with noting(shown, "dose"):
        sources = read_facts(course.folder, "dose/dose.json").get("sources") or ()
    if sources:
        ordered = sorted(sources, key=lambda source: source["role"] != "total")
        return [(s["name"], lambda s=s: _made_dose(course.folder, s), "") for s in ordered]
    return [
        (
            entry.label or entry.summary.get("summation_type") or "dose",
            lambda entry=entry: read_dose(course.course.path_of(entry)),
            entry.sop_uid,
        )
        for entry in course.course.of_kind("rtdose")
    ]


def _made_dose(folder: Path, source: dict) -> Dose:
    array, grid = read_nrrd(folder / source["nrrd"])
    return Dose(
        array,
        grid,
        frame_uid=source.get("frame_uid", ""),
        dose_type=source.get("dose_type", "PHYSICAL"),
        plan_uids=tuple(source.get("plan_uids") or ()),
        flags=tuple(source.get("flags") or ()),
    )


# -- structures ------------------------------------------------------------------------------------


def _show_structures(
    shown: Shown,
    prepared: Prepared,
    grid: Grid,
    reference: slicer.vtkMRMLScalarVolumeNode,
    progress: Progress,
) -> None:
    """A node for everything that holds structures."""
    names: dict[tuple[object, ...], str] = {}
    with noting(shown, "names of structures"):
        names = decided_names(shown.course)
    for found in sources_of(shown.course, grid):
        progress(f"structures {found.name}")
        with noting(shown, f"structures {found.name}"):
            content, labels = prepared.contents.get(found.name) or (found.read(), None)
            if not content.structures:
                continue
            structures = with_names(content.structures, names)
            known = {
                s.name: codes
                for s in structures
                if (codes := terms_of(s.standard_name, s.interpreted_type))
            }
            node = add_segmentation(
                structures,
                grid,
                found.name,
                source=found.source,
                terms=known | content.terms,
                reference=reference,
                labels=labels,
            )
            hierarchy.place(
                node,
                shown.item,
                modality=found.modality,
                uid=found.uid,
                series_uid=content.series_uid,
            )
            shown.segmentations[found.name] = node
            shown.structures[found.name] = structures
            shown.states[found.name] = labels_state(node)


# -- the scene -------------------------------------------------------------------------------------


@contextmanager
def _batch() -> Iterator[None]:
    """Views and lists follow once, at the end."""
    slicer.mrmlScene.StartState(slicer.vtkMRMLScene.BatchProcessState)
    try:
        yield
    finally:
        slicer.mrmlScene.EndState(slicer.vtkMRMLScene.BatchProcessState)


@contextmanager
def noting(shown: Shown, what: str) -> Iterator[None]:
    """A failure to read becomes a sentence of `problems`."""
    try:
        yield
    except (RTPipelineError, OSError) as error:
        shown.problems.append(f"{what}: {error}")
