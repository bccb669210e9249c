"""Slices of a course for its page, from the facts that the other stages left."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..course import Course, ObjectEntry
from ..dicom.structures import read_structure_set
from ..errors import DataError
from ..geometry import Grid
from ..model import CLOSED_TYPES, Contours, ImagePlanes, Mask
from ..report.planes import (
    AXIAL,
    CORONAL,
    FINER,
    SAGITTAL,
    Outline,
    Picture,
    Plane,
    Slices,
    View,
    grey,
    jpeg,
    window_for,
)
from ..report.slices import levels_of
from ..structures.derived import DERIVED
from ..structures.extent import box_of
from . import Problem, Task
from .agreement import is_automatic
from .derive import read_shares
from .dose import DOSE_FILE
from .dvh import sets_for
from .facts import prescription_from, read_facts
from .further import further_structures
from .load import IMAGE_FILE
from .nrrd import grid_from_dict, read_nrrd
from .structures import STRUCTURES_FILE

log = logging.getLogger(__name__)

MOST = 24  # structures: more outlines hide each other and what is below them
MARGIN_MM = 10.0  # around what is shown, in the planes
ALONG_MM = 60.0  # above and below the targets and the high dose
THIN = 0.12  # a picture whose sides have a smaller ratio shows nothing
HIGH = 0.5  # share of the highest dose that is the high dose

Structures = Sequence[Contours | Mask]


class _Values(NamedTuple):
    """An array `[k, j, i]` on its grid."""

    array: np.ndarray
    grid: Grid


class _Scene(NamedTuple):
    """What is cut: the image with the values that it shows, the dose (None: none) with its levels,
    the structures, and the corners of what is shown (LPS mm)."""

    image: _Values
    window: tuple[float, float]
    dose: _Values | None
    levels_gy: tuple[float, ...]
    structures: Structures
    low_mm: np.ndarray
    high_mm: np.ndarray


class _Place(NamedTuple):
    """Where the planes meet (LPS mm) and what that is; the boxes of what has to be seen; and the
    hottest point (None without a dose)."""

    middle_mm: np.ndarray
    through: str
    boxes: Sequence[tuple[np.ndarray, np.ndarray]]
    hottest_mm: np.ndarray | None

    @classmethod
    def of(cls, image: Grid, target: Contours | Mask | None, dose: _Values | None) -> _Place:
        """The middle of the target, else of the high dose, else of the image."""
        hot = hottest = None
        if dose is not None and dose.array.max() > 0:
            high = dose.array >= HIGH * dose.array.max()
            hot = box_of([Mask("", high, dose.grid)])
            place = np.unravel_index(int(np.argmax(dose.array)), dose.array.shape)
            hottest = dose.grid.to_lps(np.array(place[::-1], dtype=np.float64))
        drawn = box_of([target]) if target is not None else None
        boxes = [box for box in (drawn, hot) if box is not None]
        what = "the image"
        if boxes:
            what = target.name if target is not None and drawn else "the high dose"
        middle = np.mean(boxes[0] if boxes else _corners(image), axis=0)
        through = f"through the middle of {what}"
        if not image.contains(middle):
            through = f"nearest in the image to the middle of {what}"
        return cls(_on_voxel(image, middle), through, boxes, hottest)


class _Cut(NamedTuple):
    """A plane, where it lies (LPS mm along its axis), what it goes through, and the hottest
    point."""

    plane: Plane
    place_mm: float
    through: str
    hottest_mm: np.ndarray | None


def course_slices(task: Task, problems: list[Problem]) -> Slices:
    """Planes through the middle of the target (else of the high dose, else of the image), and an
    axial one through the hottest point. Raises `DataError` for facts that cannot be read."""
    facts = read_facts(task.folder, IMAGE_FILE).get("volumes") or ()
    volume = next((v for v in facts if v["role"] == "planning"), None)
    if volume is None:
        return Slices(notes=("no pictures: the course has no planning image",))
    image = _read(task.folder / volume["file"])
    notes: list[str] = []
    entry = _dose_entry(task, volume["frame_uid"], notes)
    dose = _read(task.folder / entry["nrrd"]) if entry else None
    structures = _structures(task, volume, entry, problems)
    shown = _chosen(structures)
    if len(shown) < len(structures):
        notes.append(f"{len(structures) - len(shown)} further structures are not drawn")
    rx = prescription_from(entry).course if entry else None
    highest = float(dose.array.max()) if dose else 0.0
    reference = rx.dose_gy if rx else highest
    place = _Place.of(image.grid, _target(shown, entry), dose)
    scene = _Scene(
        image,
        window_for(volume["modality"], image.array[:: max(1, len(image.array) // 20)]),
        dose,
        levels_of(reference, highest) if dose else (),
        shown,
        *_box(image.grid, shown, place),
    )
    cuts = _cuts(scene, place)
    missing = {plane.name for plane in (AXIAL, SAGITTAL, CORONAL)} - {c.plane.name for c in cuts}
    if missing:
        notes.append(f"the image is too thin for a picture: {', '.join(sorted(missing))}")
    pictures = tuple(_picture(task, scene, cut, problems) for cut in cuts)
    return Slices(
        pictures,
        scene.levels_gy,
        reference,
        "the prescription" if rx else "the highest dose",
        str(entry["name"]) if entry else "",
        tuple(notes),
    )


# -- what is there --------------------------------------------------------------------------------


def _read(path: Path) -> _Values:
    try:
        return _Values(*read_nrrd(path))
    except RuntimeError as error:
        raise DataError(f"{path} cannot be read; run with --force to make it anew") from error


def _dose_entry(task: Task, frame_uid: str, notes: list[str]) -> dict | None:
    """The course's dose, or the first of several plans', in the frame of reference of the image."""
    sources = read_facts(task.folder, DOSE_FILE).get("sources") or ()
    if not sources:
        notes.append("the course has no dose that could be drawn")
        return None
    here = [source for source in sources if source["frame_uid"] == frame_uid]
    if not here:
        notes.append("no dose is drawn: it lies in another frame of reference than the image")
        return None
    total = next((source for source in here if source["role"] == "total"), None)
    if total is None and len(here) > 1:
        notes.append(f"only the dose {here[0]['name']} is drawn: which one counts is not decided")
    return total or here[0]


def _structures(
    task: Task, volume: dict, entry: dict | None, problems: list[Problem]
) -> list[Contours | Mask]:
    """All structures of the image's frame of reference that enclose something."""
    facts = read_facts(task.folder, STRUCTURES_FILE)
    names = {
        (row["structure_set_uid"], row["roi_number"], row["source"]): row["roi_standard_name"]
        for row in facts.get("rois") or ()
    }
    planes = ImagePlanes.from_grid(grid_from_dict(volume["grid"]))
    found: list[Contours | Mask] = []
    for structure_set in _sets(task.course, entry):
        try:
            rois = read_structure_set(task.course.path_of(structure_set)).rois
        except DataError as error:
            path = str(getattr(error, "path", None) or "")
            problems.append(Problem(structure_set.path, "warning", str(error), path))
            continue
        found += [replace(roi, image_planes=planes) for roi in rois]
    found += further_structures(task, problems)
    found += read_shares(task.folder, facts)
    return [
        replace(roi, standard_name=names.get((roi.structure_set_uid, roi.number, roi.source), ""))
        for roi in found
        if roi.frame_uid in ("", volume["frame_uid"]) and _encloses(roi)
    ]


def _sets(course: Course, entry: dict | None) -> list[ObjectEntry]:
    """The structure sets of a dose; without a dose, all."""
    if entry is None:
        return list(course.of_kind("rtstruct"))
    return [structure_set for structure_set, _ in sets_for(course, entry)]


def _encloses(roi: Contours | Mask) -> bool:
    return roi.is_drawn and (isinstance(roi, Mask) or bool(CLOSED_TYPES.intersection(roi.kinds)))


def _chosen(structures: Structures) -> Structures:
    """The structures that are drawn: targets and the patient's outline first, then what people
    drew, what programs drew of the same (of anything where people drew nothing), and the derived
    ones."""
    derived = [roi for roi in structures if roi.source == DERIVED]
    programs = [roi for roi in structures if is_automatic(roi)]
    people = [roi for roi in structures if roi.source != DERIVED and not is_automatic(roi)]
    people.sort(key=lambda roi: 0 if roi.is_target else 1 if _is_external(roi) else 2)
    names = {roi.standard_name for roi in people} - {""}
    if people:
        programs = [roi for roi in programs if roi.standard_name in names]
    return [*people, *programs, *derived][:MOST]


def _is_external(roi: Contours | Mask) -> bool:
    return roi.interpreted_type.upper() == "EXTERNAL" or roi.standard_name == "Body"


def _target(shown: Structures, entry: dict | None) -> Contours | Mask | None:
    """The target of the highest level of the prescription, else the first planning target, else any
    target."""
    targets = [roi for roi in shown if roi.is_target]
    levels = prescription_from(entry).levels if entry else ()
    for level in sorted(levels, key=lambda level: -level.dose_gy):
        for roi in targets:
            if level.roi_name == roi.name:
                return roi
    planning = [roi for roi in targets if roi.name.upper().startswith("PTV")]
    return next(iter([*planning, *targets]), None)


# -- where to cut ---------------------------------------------------------------------------------


def _corners(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    corners = grid.corners_mm(edges=True)
    return corners.min(axis=0), corners.max(axis=0)


def _on_voxel(grid: Grid, point_mm: np.ndarray) -> np.ndarray:
    """The centre of the voxel of the image that is nearest to a point."""
    index = np.clip(np.rint(grid.to_index(point_mm)), 0, np.array(grid.size_ijk) - 1)
    return grid.to_lps(index)


def _box(image: Grid, shown: Structures, place: _Place) -> tuple[np.ndarray, np.ndarray]:
    """What the pictures show: the patient's outline sideways, and along the patient what has to be
    seen with some distance; never more than the image."""
    low, high = _corners(image)
    outline = box_of([roi for roi in shown if _is_external(roi)])
    if outline is not None:
        low[:2] = np.maximum(low[:2], outline[0][:2] - MARGIN_MM)
        high[:2] = np.minimum(high[:2], outline[1][:2] + MARGIN_MM)
    if place.boxes:
        low[2] = max(low[2], min(box[0][2] for box in place.boxes) - ALONG_MM)
        high[2] = min(high[2], max(box[1][2] for box in place.boxes) + ALONG_MM)
    whole = _corners(image)
    return (low, high) if np.all(high > low) else whole


def _cuts(scene: _Scene, place: _Place) -> list[_Cut]:
    """Three planes through the middle, as far as they show something, and an axial one through the
    hottest point if that lies in another slice."""
    hot = place.hottest_mm
    cuts = [
        _Cut(plane, float(place.middle_mm[plane.axis]), place.through, hot)
        for plane in (AXIAL, SAGITTAL, CORONAL)
        if _is_wide(np.delete(scene.high_mm - scene.low_mm, plane.axis))
    ]
    if hot is None or scene.dose is None:
        return cuts
    near = scene.dose.grid.spacing_mm.max() / 2
    cuts = [
        cut if abs(hot[cut.plane.axis] - cut.place_mm) <= near else cut._replace(hottest_mm=None)
        for cut in cuts
    ]
    if (
        cuts
        and cuts[0].hottest_mm is None
        and np.all((hot >= scene.low_mm) & (hot <= scene.high_mm))
    ):
        z = float(_on_voxel(scene.image.grid, hot)[AXIAL.axis])
        cuts.insert(1, _Cut(AXIAL, z, "through the hottest point", hot))
    return cuts


def _is_wide(sides_mm: np.ndarray) -> bool:
    return bool(sides_mm.min() >= THIN * sides_mm.max())


def _picture(task: Task, scene: _Scene, cut: _Cut, problems: list[Problem]) -> Picture:
    """One plane with all that it cuts."""
    view = View.of(cut.plane, cut.place_mm, scene.low_mm, scene.high_mm)
    pixels = grey(*view.sampled(*scene.image, FINER), scene.window)
    isodoses, highest = [], None
    if scene.dose is not None:
        values, there = view.sampled(*scene.dose)
        dose = np.where(there > 0, values, 0)
        highest = float(dose.max())
        isodoses = [view.at_least(dose, level) for level in scene.levels_gy]
    rows, columns = pixels.shape
    return Picture(
        cut.plane,
        cut.place_mm,
        cut.through,
        jpeg(pixels),
        columns * view.pixel_mm,
        rows * view.pixel_mm,
        tuple(_outlines(task, view, scene.structures, problems)),
        tuple(isodoses),
        None if cut.hottest_mm is None else view.place_of(cut.hottest_mm),
        highest,
    )


def _outlines(
    task: Task, view: View, structures: Structures, problems: list[Problem]
) -> list[Outline]:
    """The structures that a plane cuts."""
    keys = task.config.structures
    found = []
    for roi in structures:
        try:
            loops = view.region(roi, keys.end_caps, keys.between_planes)
        except Exception as error:  # the boundary: an unforeseen shape costs one outline
            log.exception("outline of %s", roi.name)
            message = f"{roi.name} is not drawn: {type(error).__name__}: {error}"
            problems.append(Problem(roi.name, "warning", message))
            continue
        if loops:
            found.append(Outline(roi.name, roi.source, roi.colour_rgb, loops))
    return found
