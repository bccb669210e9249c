"""Module "RT Pipeline" of 3D Slicer: a placeholder that loads and says what works without it."""

import qt
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)


class RTPipeline(ScriptedLoadableModule):
    """What Slicer shows of the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("RT Pipeline")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Radiotherapy")]
        parent.dependencies = []
        parent.contributors = ["The RT Pipeline contributors"]
        parent.helpText = _("Radiotherapy DICOM to linked courses, doses and DVH tables.")
        parent.acknowledgementText = _("For research use.")


class RTPipelineWidget(ScriptedLoadableModuleWidget):
    """One sentence, until the module is built."""

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        text = _("This module is not built yet. The pipeline runs as PythonSlicer -m RTPipelineLib.")
        label = qt.QLabel(text)
        label.wordWrap = True
        self.layout.addWidget(label)
        self.layout.addStretch(1)


class RTPipelineLogic(ScriptedLoadableModuleLogic):
    """Nothing yet."""
