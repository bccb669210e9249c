"""Section "Results": plots over the cohort, tables made anew, the report."""

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

BAND, BOXES, SCATTER = range(3)


class ResultsPanel:
    """`onPoint(patient, course)` is called for a point that was clicked."""

    def __init__(self, ui, logic, courses, onPoint, onUpdate):
        self.ui, self.logic, self.courses = ui, logic, courses
        self.onPoint, self.onUpdate = onPoint, onUpdate
        for title in (_("DVH band"), _("Box plot"), _("Scatter plot")):
            ui.plotBox.addItem(title)
        ui.plotBox.connect("currentIndexChanged(int)", self.onKind)
        ui.plotButton.connect("clicked(bool)", self.onPlot)
        ui.updateButton.connect("clicked(bool)", self.onUpdateClicked)
        ui.exportButton.connect("clicked(bool)", self.onExport)
        ui.reportButton.connect("clicked(bool)", self.onReport)
        self.show()

    def show(self):
        """What there is to plot in the output folder, and which buttons work."""
        structures, metrics = self.logic.plottable()
        for box, names in (
            (self.ui.structureBox, structures),
            (self.ui.metricBox, metrics),
            (self.ui.otherBox, metrics),
        ):
            kept = box.currentText
            box.clear()
            box.addItems(list(names))
            if kept in names:
                box.setCurrentText(kept)
        self.onKind(self.ui.plotBox.currentIndex)
        has = self.logic.hasOutput()
        missing = "" if has else _("Choose an output folder with results first.")
        for button, ready, why in (
            (self.ui.plotButton, structures, _("There is nothing to plot yet.")),
            (self.ui.updateButton, has, missing),
            (self.ui.exportButton, self.courses.rows, _("There are no courses yet.")),
            (self.ui.reportButton, self.logic.report(), missing),
        ):
            button.enabled = bool(ready)
            button.toolTip = "" if ready else why

    def onKind(self, index):
        self.ui.metricBox.enabled = index != BAND
        self.ui.otherBox.enabled = index == SCATTER

    def onPlot(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("The plot could not be made."), waitCursor=True):
            self.logic.plot(
                self.ui.plotBox.currentIndex,
                self.ui.structureBox.currentText,
                self.ui.metricBox.currentText,
                self.ui.otherBox.currentText,
                self.onPoint,
            )

    def onUpdateClicked(self, checked=False):
        self.onUpdate()

    def onExport(self, checked=False):
        path = qt.QFileDialog.getSaveFileName(None, _("Save as CSV"), "courses.csv", "CSV (*.csv)")
        path = path[0] if isinstance(path, tuple) else path
        if path:
            with slicer.util.tryWithErrorDisplay(_("The table could not be saved.")):
                self.logic.saveRows(path, self.courses.ordered())

    def onReport(self, checked=False):
        path = Path(self.logic.report())
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path)))
