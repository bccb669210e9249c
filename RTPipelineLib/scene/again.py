"""A course that a saved scene holds, taken up again: its nodes as they are, its files read anew."""

from __future__ import annotations

import slicer

from ..course import OpenCourse
from ..dicom.image import read_series
from . import hierarchy
from .display import Shown, doses_of, noting
from .sources import decided_names, sources_of, with_names
from .volumes import DOSE_ATTRIBUTE


def take_up(course: OpenCourse) -> Shown | None:
    """What `show_course` gave, with the nodes that the scene holds of the course; None when it
    holds none. An object that cannot be read any more costs itself only. Segments may have been
    edited before the scene was saved: they count as edited (`states` has none of them)."""
    item = hierarchy.find_course(course.patient_id, course.course_id)
    if not item:
        return None
    volumes = hierarchy.nodes_of(item, "vtkMRMLScalarVolumeNode")
    shown = Shown(course, item)
    shown.images = [node for node in volumes if not node.GetAttribute(DOSE_ATTRIBUTE)]
    shown.isodoses = [
        node
        for node in hierarchy.nodes_of(item, "vtkMRMLModelNode")
        if node.GetAttribute("RTPipeline.IsodoseGy")
    ]
    there = {node.GetName(): node for node in volumes if node.GetAttribute(DOSE_ATTRIBUTE)}
    for name, read, _ in doses_of(course, shown):
        if f"Dose {name}" in there:
            with noting(shown, f"dose {name}"):
                dose = read()
                shown.doses.append(there[f"Dose {name}"])
                shown.doses_gy.append(dose)
    _read_structures(shown)
    return shown


def last_dvhs(
    shown: Shown,
) -> tuple[slicer.vtkMRMLPlotChartNode | None, slicer.vtkMRMLTableNode | None]:
    """Chart and metrics that were computed last, where the scene holds them."""
    charts = hierarchy.nodes_of(shown.item, "vtkMRMLPlotChartNode")
    tables = hierarchy.nodes_of(shown.item, "vtkMRMLTableNode")
    metrics = [table for table in tables if table.GetAttribute("RTPipeline.Metrics")]
    return (charts[-1], metrics[-1]) if charts and metrics else (None, None)


def _read_structures(shown: Shown) -> None:
    course = shown.course
    nodes = hierarchy.nodes_of(shown.item, "vtkMRMLSegmentationNode")
    there = {node.GetName(): node for node in nodes}
    planning = course.course.planning_image
    grid = shown.doses_gy[0].grid if shown.doses_gy else None
    if planning is not None:
        with noting(shown, "planning image"):
            grid = read_series(course.course.image_paths(planning)).grid
    if grid is None:
        return
    names: dict[tuple[object, ...], str] = {}
    with noting(shown, "names of structures"):
        names = decided_names(course)
    for found in sources_of(course, grid):
        if found.name in there:
            with noting(shown, f"structures {found.name}"):
                structures = with_names(found.read().structures, names)
                shown.segmentations[found.name] = there[found.name]
                shown.structures[found.name] = structures
