"""Structures as segmentations, one node for each source; segments back to masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..dicom.terms import Code, Terms
from ..errors import DataError
from ..geometry import Grid
from ..model import Mask, Structure
from ..segmentation.terms import UNKNOWN, colour_of
from ..structures.mask_resampling import cropped
from ..structures.voxelise import voxelise
from .frames import grid_of, ijk_to_ras

LABELMAP = "Binary labelmap"
# Coarser images (doses, PET) would show structures as steps.
LARGEST_PIXEL_MM = 1.5
SOURCE = "RTPipeline.Source"
NUMBER, TYPE = "RTPipeline.RoiNumber", "RTPipeline.InterpretedType"
RT_NUMBER = "DicomRtImport.RoiNumber"  # the same for SlicerRT
STANDARD_NAME, FRAME = "RTPipeline.StandardName", "RTPipeline.FrameUID"

Progress = Callable[[int, int, str], None]


def add_segmentation(
    structures: Sequence[Structure],
    grid: Grid,
    name: str,
    *,
    source: str,
    terms: Mapping[str, Terms] | None = None,
    reference: slicer.vtkMRMLScalarVolumeNode | None = None,
    progress: Progress | None = None,
    labels: Sequence[Mask] | None = None,
) -> slicer.vtkMRMLSegmentationNode:
    """A segmentation with one segment a structure, as labelmaps on the lattice of `grid`,
    made finer in its planes where it is coarse.

    Contours become labels by the library's own rule (covered at least one half), since Slicer has
    no rule for planar contours. Labels are coarser than contours: a ball loses the sag of its
    surface over a voxel, about (sum of squared voxel sizes) / 12 R^2 of its volume (2 % at R = 8 mm
    and slices of 4 mm), and a thin tube gains or loses as it lies among the pixels. DVHs come from
    the contours. Structures without volume stay as empty segments. `terms` gives the codes of a
    structure by its name; others are called an anatomical structure. `labels` are those of
    `labels_of` where they have been made before.
    """
    grid = fine_enough(grid.with_uniform_slices())
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.SetAttribute(SOURCE, source)
    node.CreateDefaultDisplayNodes()
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName(LABELMAP)
    if reference is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    segments = []
    for number, structure in enumerate(structures):
        if progress is not None:
            progress(number, len(structures), structure.name)
        mask = labels_of(structure, grid) if labels is None else labels[number]
        segments.append(_segment(structure, mask, grid, (terms or {}).get(structure.name, UNKNOWN)))
    modified = node.StartModify()
    for segment in segments:
        segmentation.AddSegment(segment)
    node.EndModify(modified)
    display = node.GetDisplayNode()
    display.SetAllSegmentsOpacity2DFill(0.0)  # the dose is to be seen below the outlines
    display.SetSliceIntersectionThickness(2)
    return node


def labels_of(structure: Structure, grid: Grid) -> Mask:
    """The part of a lattice (`fine_enough`) that a structure covers, as a segment has it."""
    return cropped(voxelise(structure, grid, "coverage"))


def add_segment(node: slicer.vtkMRMLSegmentationNode, structure: Structure, grid: Grid) -> str:
    """Add a structure to a segmentation whose lattice `grid` is a part of; the segment's ID."""
    mask = labels_of(structure, grid)
    segmentation = node.GetSegmentation()
    key = segmentation.GenerateUniqueSegmentID(structure.name)
    segmentation.AddSegment(_segment(structure, mask, grid, UNKNOWN), key)
    node.GetDisplayNode().SetSegmentOpacity2DFill(key, 0.0)
    return key


def fine_enough(grid: Grid) -> Grid:
    """The lattice of an image with its pixels divided until they are no larger than
    `LARGEST_PIXEL_MM`; the slices stay, so that contours come back in the planes of the image."""
    parts = np.ceil(grid.spacing_mm / LARGEST_PIXEL_MM - 1e-6).astype(int)
    parts[2] = 1
    if (parts == 1).all():
        return grid
    spacing = grid.spacing_mm / parts
    origin = grid.to_lps((1 / parts - 1) / 2)
    nk, nj, ni = grid.shape
    return Grid(origin, grid.direction, spacing, (nk, nj * int(parts[1]), ni * int(parts[0])))


def masks_of(node: slicer.vtkMRMLSegmentationNode) -> list[Mask]:
    """The segments of a node as masks, each on its own part of the lattice, source `edited`;
    segments without voxels are left out. Raises what `mask_of` raises."""
    masks = [mask_of(node, key) for key in node.GetSegmentation().GetSegmentIDs()]
    return [mask for mask in masks if mask is not None]


def mask_of(node: slicer.vtkMRMLSegmentationNode, key: str) -> Mask | None:
    """The segment with the ID `key` as a mask of the source `edited`, or None when it is empty.

    Raises `DataError` when a segment has no labelmap and none can be made, or when the node lies
    under a transform that was not hardened.
    """
    if node.GetParentTransformNode() is not None:
        raise DataError(
            f"segmentation {node.GetName()} lies under a transform; harden it or take it out first"
        )
    segmentation = node.GetSegmentation()
    if not segmentation.ContainsRepresentation(LABELMAP) and not segmentation.CreateRepresentation(
        LABELMAP
    ):
        raise DataError(f"Slicer cannot make labelmaps of the segmentation {node.GetName()}")
    return _mask(segmentation.GetSegment(key), segmentation.GetSegmentIndex(key) + 1)


def labels_state(node: slicer.vtkMRMLSegmentationNode) -> tuple:
    """What changes when the voxels of a segment do, or when a segment comes or goes; names, colours
    and what is seen change nothing."""
    segmentation = node.GetSegmentation()
    found = []
    for key in segmentation.GetSegmentIDs():
        labels = segmentation.GetSegment(key).GetRepresentation(LABELMAP)
        found.append((key, labels.GetMTime() if labels is not None else 0))
    return tuple(found)


def terminology(terms: Terms) -> str:
    """Codes as Slicer's segments store them."""

    def text(code: Code | None) -> str:
        return "^".join((code.scheme, code.value, code.meaning)) if code else "^^"

    parts = [text(terms.category), text(terms.kind), text(terms.modifier)]
    context = "Segmentation category and type - 3D Slicer General Anatomy list"
    return "~".join([context, *parts, "", "^^", "^^"])


def _segment(structure: Structure, mask: Mask, grid: Grid, terms: Terms) -> slicer.vtkSegment:
    segment = slicer.vtkSegment()
    segment.SetName(structure.name)
    colour = structure.colour_rgb or colour_of(structure.number)
    segment.SetColor(*(part / 255 for part in colour))
    segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), terminology(terms))
    segment.SetTag(NUMBER, str(structure.number))
    segment.SetTag(RT_NUMBER, str(structure.number))
    segment.SetTag(TYPE, structure.interpreted_type)
    segment.SetTag(STANDARD_NAME, structure.standard_name)
    segment.SetTag(FRAME, structure.frame_uid)
    segment.AddRepresentation(LABELMAP, _labelmap(mask, grid))
    return segment


def _labelmap(mask: Mask, grid: Grid) -> slicer.vtkOrientedImageData:
    """Labels in the geometry of the whole grid with the extent of the part, so that all segments
    share one lattice."""
    image = slicer.vtkOrientedImageData()
    image.SetGeometryFromImageToWorldMatrix(ijk_to_ras(grid))
    k, j, i = mask.grid.offset_in(grid)
    if not mask.array.any():
        image.SetExtent(0, -1, 0, -1, 0, -1)
        return image
    nk, nj, ni = mask.array.shape
    image.SetExtent(i, i + ni - 1, j, j + nj - 1, k, k + nk - 1)
    values = np.ascontiguousarray(mask.array, dtype=np.uint8)
    image.GetPointData().SetScalars(numpy_to_vtk(values.ravel(), deep=True))
    return image


def _mask(segment: slicer.vtkSegment, number: int) -> Mask | None:
    """The voxels of a segment, or None when it has none; layers may hold several segments."""
    image = segment.GetRepresentation(LABELMAP)
    if image is None or image.IsEmpty() or image.GetPointData().GetScalars() is None:
        return None
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    extent = image.GetExtent()
    shape = tuple(extent[2 * axis + 1] - extent[2 * axis] + 1 for axis in (2, 1, 0))
    inside = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape)
    inside = inside == segment.GetLabelValue()
    if not inside.any():
        return None

    def tag(name: str) -> str:
        value = vtk.reference("")
        return str(value) if segment.GetTag(name, value) else ""

    stored = tag(NUMBER)
    return Mask(
        segment.GetName(),
        inside,
        grid_of(matrix, extent),
        number=int(stored) if stored.isdigit() and int(stored) > 0 else number,
        frame_uid=tag(FRAME),
        colour_rgb=tuple(round(255 * part) for part in segment.GetColor()),
        interpreted_type=tag(TYPE),
        source="edited",
        standard_name=tag(STANDARD_NAME),
    )
