"""Clicks in Slicer's plot views."""

from __future__ import annotations

from collections.abc import Callable

import slicer
import vtk

_SELECTED = "dataSelected(vtkStringArray*,vtkCollection*)"


class PlotClicks:
    """Calls `chosen` with the series (its node's ID) and the number of a point that is clicked.

    A layout makes its views when it is first shown: call `watch` after each. `stop` ends it.
    Without a window there is nothing to click.
    """

    def __init__(self, chosen: Callable[[str, int], None]) -> None:
        self._chosen = chosen
        self._views: list[object] = []
        self._slot = self._tell  # one object: what was connected is what is disconnected
        self.watch()

    def watch(self) -> None:
        """Heed the views that have come since."""
        manager = slicer.app.layoutManager()
        for number in range(manager.plotViewCount if manager is not None else 0):
            view = manager.plotWidget(number).plotView()
            if view not in self._views:
                view.connect(_SELECTED, self._slot)
                self._views.append(view)

    def stop(self) -> None:
        """Heed no more clicks; may be called twice."""
        for view in self._views:
            view.disconnect(_SELECTED, self._slot)
        self._views = []

    def _tell(self, ids: vtk.vtkStringArray, points: vtk.vtkCollection) -> None:
        for number in range(ids.GetNumberOfValues()):
            indices = points.GetItemAsObject(number)
            if indices is not None and indices.GetNumberOfValues():
                self._chosen(ids.GetValue(number), int(indices.GetValue(0)))
                return
