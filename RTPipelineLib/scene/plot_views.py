"""Clicks in Slicer's plot views."""

from __future__ import annotations

from collections.abc import Callable

import slicer
import vtk

_SELECTED = "dataSelected(vtkStringArray*,vtkCollection*)"


def watch_plots(chosen: Callable[[str, int], None]) -> None:
    """Call `chosen` with the series (its node's ID) and the number of the point that is clicked,
    and nobody else who watched before. Without a window there is nothing to click."""
    manager = slicer.app.layoutManager()
    if manager is None:
        return
    for number in range(manager.plotViewCount):
        view = manager.plotWidget(number).plotView()
        view.disconnect(_SELECTED)
        view.connect(_SELECTED, lambda ids, points: _tell(ids, points, chosen))


def _tell(
    ids: vtk.vtkStringArray, points: vtk.vtkCollection, chosen: Callable[[str, int], None]
) -> None:
    for number in range(ids.GetNumberOfValues()):
        indices = points.GetItemAsObject(number)
        if indices is not None and indices.GetNumberOfValues():
            chosen(ids.GetValue(number), int(indices.GetValue(0)))
            return
