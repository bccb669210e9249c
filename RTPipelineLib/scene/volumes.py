"""CT, MR, PET and dose as scalar volumes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import slicer

from ..dicom.suv import SuvScale
from ..geometry import Grid
from ..model import Dose, Volume
from ..resample import resample_onto
from .frames import ijk_to_ras

# What SlicerRT's modules look for in a node and in the study above it.
DOSE_ATTRIBUTE = "DicomRtImport.DoseVolume"
DOSE_COLOURS = "RT Pipeline dose"
# Doses below this share of the highest are not drawn over the image.
LEAST_SHOWN = 0.1
# (window, level) in the unit of the image: soft tissue; PET in SUV.
WINDOWS = {"CT": (400.0, 40.0), "PT": (10.0, 5.0)}
# From low to high: share of the highest dose and its colour (red, green, blue).
DOSE_RAMP = (
    (0.0, (0.0, 0.0, 0.5)),
    (0.25, (0.0, 0.4, 1.0)),
    (0.5, (0.0, 0.8, 0.5)),
    (0.75, (1.0, 0.9, 0.0)),
    (0.95, (1.0, 0.35, 0.0)),
    (1.0, (0.75, 0.0, 0.1)),
)


def add_volume(volume: Volume, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """A scalar volume with the window of its modality; PET in inverted grey. Uneven slices are
    interpolated onto the finest step that occurs."""
    grid = volume.grid.with_uniform_slices()
    array = volume.array
    if grid is not volume.grid:
        array = resample_onto(array.astype(np.float32), volume.grid, grid)
    node = _add(array, grid, name)
    node.SetAttribute("RTPipeline.Unit", volume.unit)
    display = node.GetDisplayNode()
    if volume.modality == "PT":
        display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeInvertedGrey")
    if volume.modality in WINDOWS and volume.unit in ("HU", "SUV"):
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(*WINDOWS[volume.modality])
    return node


def in_suv(volume: Volume, scale: SuvScale) -> Volume:
    """A PET as standardised uptake values by body weight."""
    values = volume.array.astype(np.float32) * np.float32(scale.factor)
    return replace(volume, array=values, unit="SUV")


def add_dose(dose: Dose, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """A dose in Gy with its own colours, from 0 to its highest value, without what is below 10 %.
    SlicerRT's modules recognise it as a dose."""
    grid = dose.grid.with_uniform_slices()
    array = dose.array_gy
    if grid is not dose.grid:
        array = resample_onto(array, dose.grid, grid)
    node = _add(np.ascontiguousarray(array, dtype=np.float32), grid, name)
    node.SetAttribute(DOSE_ATTRIBUTE, "1")
    node.SetAttribute("RTPipeline.Unit", "Gy")
    highest = max(float(array.max()), 1e-6)
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(dose_colours().GetID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0.0, highest)
    display.AutoThresholdOff()
    display.SetThreshold(LEAST_SHOWN * highest, highest)
    display.ApplyThresholdOn()
    return node


def colour_of_dose(share: float) -> tuple[float, float, float]:
    """The colour (0..1) of a share (0..1) of the highest dose."""
    stops = [stop for stop, _ in DOSE_RAMP]
    return tuple(
        float(np.interp(share, stops, [colour[part] for _, colour in DOSE_RAMP]))
        for part in range(3)
    )


def dose_colours() -> slicer.vtkMRMLColorTableNode:
    """The colour table of all doses of the scene."""
    node = slicer.mrmlScene.GetFirstNodeByName(DOSE_COLOURS)
    if node is not None and node.IsA("vtkMRMLColorTableNode"):
        return node
    node = slicer.vtkMRMLColorTableNode()
    node.SetTypeToUser()
    node.SetNumberOfColors(256)
    for number in range(256):
        node.SetColor(number, *colour_of_dose(number / 255), 1.0)
    node.SetName(DOSE_COLOURS)
    node.SetHideFromEditors(True)
    return slicer.mrmlScene.AddNode(node)


def _add(array: np.ndarray, grid: Grid, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(ijk_to_ras(grid))
    slicer.util.updateVolumeFromArray(node, array)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    if display.GetColorNode() is None:
        display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    return node
