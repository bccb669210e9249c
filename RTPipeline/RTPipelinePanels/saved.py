"""What a saved scene brings back: the choices of the panel, and the course that was worked on."""

from typing import Annotated

import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.util import VTKObservationMixin


@parameterNodeWrapper
class RTPipelineParameterNode:
    """What is chosen in the panel; saved with the scene. `course` is its line in the list."""

    folder: str
    course: str
    opacity: Annotated[int, WithinRange(0, 100)] = 40
    levels: str = "95 80 50"
    unit: Annotated[str, Choice(["%", "Gy", "cGy"])] = "%"
    whole: Annotated[float, WithinRange(0, 1000)] = 0.0
    legend: bool = False
    reviewer: str = ""


class SavedState(VTKObservationMixin):
    """Keeps the widgets of `widget` and the scene's parameter node the same. Without the module
    being looked at, a scene gets no node."""

    def __init__(self, widget):
        VTKObservationMixin.__init__(self)
        self.widget = widget
        self.parameters = self.guiTag = None
        self.loaded = False
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onEndImport)
        self.addObserver(scene, scene.EndBatchProcessEvent, self.onEndBatch)

    def close(self):
        self.removeObservers()
        self._follow(None)

    def enter(self):
        """The module is looked at."""
        if self.parameters is None:
            self._follow(self._node())

    def remember(self, folder, course):
        """The course that is worked on."""
        if self.parameters is not None:
            self.parameters.folder = folder
            self.parameters.course = course

    def takeUp(self):
        """What the scene holds, unless a course is being worked on."""
        logic = self.widget.logic
        if slicer.mrmlScene.GetSingletonNode(logic.moduleName, "vtkMRMLScriptedModuleNode") is None:
            return
        self._follow(None)
        parameters = self._node()
        if parameters.course and logic.shown is None:
            try:
                self.widget.takeUp(parameters.folder, parameters.course)
            except Exception as error:  # no box for a scene that may be about something else
                text = _("The scene holds course {course}, which was not found again: {error}")
                self.widget.say(text.format(course=parameters.course, error=error))
            self.widget.updateButtons()
        self._follow(parameters)

    def _node(self):
        return RTPipelineParameterNode(self.widget.logic.getParameterNode())

    def _follow(self, parameters):
        """The widgets show these parameters and write into them; None: nothing."""
        if self.parameters is not None:
            self.parameters.disconnectGui(self.guiTag)
        self.parameters = parameters
        if parameters is not None:
            self.guiTag = parameters.connectGui(self.widget.sceneUi)

    def onStartClose(self, caller, event):
        self._follow(None)

    def onEndClose(self, caller, event):
        if self.widget.parent.isEntered:
            self._follow(self._node())

    def onEndImport(self, caller, event):
        self.loaded = True  # its subject hierarchy is whole when the batch has ended

    def onEndBatch(self, caller, event):
        if self.loaded and not slicer.mrmlScene.IsBatchProcessing():
            self.loaded = False
            self.takeUp()
