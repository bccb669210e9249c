"""Volumes of structures in 3D Slicer's engine, for the interpreter that has `slicer`.

    python slicer_engine.py CASE.npz ANSWER.json

Needs numpy and the package `slicer-core` (3D Slicer's own C++ classes), nothing of ours. CASE holds
the axes of an image (4 x 4, index to RAS mm) and its size, contours in RAS mm, labels, and the path
of a `.seg.nrrd`, which Slicer reads itself. All of them end as segments of a
`vtkMRMLSegmentationNode` and are measured as Slicer's Segment Statistics does: voxels of the binary
labelmap, `vtkMassProperties` of the closed surface.
"""

import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

LABELMAP, SURFACE = "Binary labelmap", "Closed surface"


def main(case_path, answer_path):
    """Measure everything."""
    scene = slicer.vtkMRMLScene()
    case = np.load(case_path)
    # The application does this when it loads its module Segmentations.
    factory = slicer.vtkSegmentationConverterFactory.GetInstance()
    factory.RegisterConverterRule(slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule())
    factory.RegisterConverterRule(slicer.vtkClosedSurfaceToBinaryLabelmapConversionRule())
    answer = {}
    answer["contours"] = {
        str(name): of_contours(scene, case, number) for number, name in enumerate(case["names"])
    }
    answer["labels"] = {
        str(name): of_labels(scene, case, number) for number, name in enumerate(case["names"])
    }
    answer["file"] = of_file(scene, str(case["segmentation"]))
    Path(answer_path).write_text(json.dumps(answer), encoding="utf-8")


def of_contours(scene, case, number):
    """Contours as closed surface, and that surface as Slicer's labelmap on the image."""
    node = new_node(scene, case)
    surface = prisms(case[f"points{number}"], case[f"starts{number}"], float(case["thickness"]))
    segment = slicer.vtkSegment()
    segment.AddRepresentation(SURFACE, surface)
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName(SURFACE)
    segmentation.AddSegment(segment, "s")
    if not segmentation.CreateRepresentation(LABELMAP):
        raise RuntimeError("Slicer made no labelmap of the closed surface")
    return {"surface": surface_cc(surface), "labelmap": labelmap_cc(node, "s")}


def of_labels(scene, case, number):
    """Labels as labelmap, and Slicer's closed surface of them, not smoothed."""
    node = new_node(scene, case)
    image = oriented_image(case)
    array = np.ascontiguousarray(case[f"label{number}"], dtype=np.uint8)
    scalars = numpy_to_vtk(array.ravel(), deep=True)
    image.GetPointData().SetScalars(scalars)
    segment = slicer.vtkSegment()
    segment.AddRepresentation(LABELMAP, image)
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName(LABELMAP)
    segmentation.AddSegment(segment, "s")
    return measured(node, "s")


def of_file(scene, path):
    """The segments of a .seg.nrrd, by Slicer's own reader."""
    node = slicer.vtkMRMLSegmentationNode()
    scene.AddNode(node)
    storage = slicer.vtkMRMLSegmentationStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(path)
    if not storage.ReadData(node):
        raise RuntimeError(f"Slicer cannot read {path}")
    segmentation = node.GetSegmentation()
    found = {}
    for n in range(segmentation.GetNumberOfSegments()):
        key = segmentation.GetNthSegmentID(n)
        segment = segmentation.GetSegment(key)
        text = vtk.reference("")
        segment.GetTag("TerminologyEntry", text)
        found[segment.GetName()] = measured(node, key) | {
            "colour": [round(255 * part) for part in segment.GetColor()],
            "terminology": str(text),
        }
    return found


def measured(node, key):
    segmentation = node.GetSegmentation()
    labelmap = labelmap_cc(node, key)
    segmentation.SetConversionParameter("Smoothing factor", "0.0")
    if not segmentation.CreateRepresentation(SURFACE):
        raise RuntimeError("Slicer made no closed surface of the labelmap")
    surface = node.GetClosedSurfaceInternalRepresentation(key)
    return {"labelmap": labelmap, "surface": surface_cc(surface)}


def new_node(scene, case):
    node = slicer.vtkMRMLSegmentationNode()
    scene.AddNode(node)
    geometry = slicer.vtkSegmentationConverter.SerializeImageGeometry(oriented_image(case))
    node.GetSegmentation().SetConversionParameter("Reference image geometry", geometry)
    return node


def oriented_image(case):
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*(int(n) for n in case["size"]))
    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, float(case["matrix"][row, column]))
    image.SetGeometryFromImageToWorldMatrix(matrix)
    return image


def labelmap_cc(node, key):
    """As Segment Statistics: voxels of the segment times the volume of one."""
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(key, image)
    array = vtk_to_numpy(image.GetPointData().GetScalars())
    return float(np.count_nonzero(array) * np.prod(image.GetSpacing()) / 1000)


def surface_cc(surface):
    """As Segment Statistics: `vtkMassProperties` of the triangles."""
    triangles = vtk.vtkTriangleFilter()
    triangles.SetInputData(surface)
    triangles.PassLinesOff()
    mass = vtk.vtkMassProperties()
    mass.SetInputConnection(triangles.GetOutputPort())
    mass.Update()
    return mass.GetVolume() / 1000


def prisms(points, starts, thickness):
    """Each plane's contours as a slab of the thickness of a slice, closed on all sides."""
    planes = {}
    for first, last in pairwise(starts):
        loops = without_channels(points[first:last].tolist())
        planes.setdefault(round(float(points[first, 2]), 2), []).extend(loops)
    everything = vtk.vtkAppendPolyData()
    for loops in planes.values():
        lines, corners = vtk.vtkCellArray(), vtk.vtkPoints()
        for loop in loops:
            lines.InsertNextCell(len(loop) + 1)
            numbers = [corners.InsertNextPoint(*point) for point in loop]
            for number in [*numbers, numbers[0]]:
                lines.InsertCellPoint(number)
        outline = vtk.vtkPolyData()
        outline.SetPoints(corners)
        outline.SetLines(lines)
        inside = vtk.vtkContourTriangulator()
        inside.SetInputData(outline)
        lower = vtk.vtkTransform()
        lower.Translate(0, 0, -thickness / 2)
        moved = vtk.vtkTransformPolyDataFilter()
        moved.SetTransform(lower)
        moved.SetInputConnection(inside.GetOutputPort())
        slab = vtk.vtkLinearExtrusionFilter()
        slab.SetInputConnection(moved.GetOutputPort())
        slab.SetExtrusionTypeToVectorExtrusion()
        slab.SetVector(0, 0, thickness)
        slab.CappingOn()
        outward = vtk.vtkPolyDataNormals()
        outward.SetInputConnection(slab.GetOutputPort())
        outward.ConsistencyOn()
        outward.AutoOrientNormalsOn()
        outward.SplittingOff()
        outward.Update()
        everything.AddInputData(outward.GetOutput())
    everything.Update()
    return everything.GetOutput()


def without_channels(loop):
    """A contour cut at the points that it comes back to: its outer loop and its holes, which were
    joined by channels of no width (VTK's triangulator takes holes as loops of their own)."""
    loops, path, place = [], [], {}
    for point in map(tuple, loop):
        if point in place:
            start = place[point]
            loops.append(path[start:])
            for passed in path[start + 1 :]:
                del place[passed]
            del path[start + 1 :]
        else:
            place[point] = len(path)
            path.append(point)
    return [found for found in [*loops, path] if len(found) >= 3]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
