"""Isodose surfaces of a dose volume as models."""

from __future__ import annotations

from collections.abc import Sequence

import slicer
import vtk

from .volumes import colour_of_dose

OPACITY = 0.35


def add_isodoses(
    dose: slicer.vtkMRMLScalarVolumeNode, levels_gy: Sequence[float]
) -> list[slicer.vtkMRMLModelNode]:
    """One model for each level that the dose reaches, where the trilinear dose has this value,
    in the colour that the dose volume has there."""
    image, matrix = dose.GetImageData(), vtk.vtkMatrix4x4()
    dose.GetIJKToRASMatrix(matrix)
    place = vtk.vtkTransform()
    place.SetMatrix(matrix)
    low, highest = image.GetScalarRange()
    models = []
    for level in sorted(levels_gy):
        if not low < level < highest:
            continue
        surface = vtk.vtkFlyingEdges3D()
        surface.SetInputData(image)
        surface.SetValue(0, level)
        placed = vtk.vtkTransformPolyDataFilter()
        placed.SetInputConnection(surface.GetOutputPort())
        placed.SetTransform(place)
        placed.Update()
        models.append(_model(placed.GetOutput(), dose, level, highest))
    return models


def _model(
    surface: vtk.vtkPolyData, dose: slicer.vtkMRMLScalarVolumeNode, level: float, highest: float
) -> slicer.vtkMRMLModelNode:
    name = f"{dose.GetName()} {level:g} Gy"
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", name)
    node.SetAndObservePolyData(surface)
    node.SetAttribute("RTPipeline.IsodoseGy", f"{level:g}")
    node.SetAttribute("DicomRtImport.IsodoseModel", "1")  # SlicerRT knows it by this
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.ScalarVisibilityOff()  # else the values of the surface, all the same, give its colour
    display.SetColor(*colour_of_dose(level / highest))
    display.SetOpacity(OPACITY)
    display.BackfaceCullingOff()
    display.SetVisibility2D(True)
    return node
