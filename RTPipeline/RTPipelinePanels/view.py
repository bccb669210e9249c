"""Section "View": layout, dose wash, isodoses, sources; a click on a row moves the views."""

import qt
import slicer
from slicer.i18n import tr as _


class ViewPanel:
    """How the shown course is drawn; the first click on a row of the metrics goes to the middle of
    the structure, the next to its hot spot, the next to its cold spot."""

    def __init__(self, ui, metricsView, logic, say, onViews):
        self.ui, self.metricsView, self.logic, self.say = ui, metricsView, logic, say
        self.onViews = onViews  # called when there may be new views
        self.turn = None
        self.drawn = None
        for unit in ("%", "Gy", "cGy"):
            ui.unitBox.addItem(unit)
        ui.layoutButton.connect("clicked(bool)", self.onLayout)
        ui.besideButton.connect("clicked(bool)", self.onBeside)
        ui.opacitySlider.connect("valueChanged(int)", self.onOpacity)
        ui.legendBox.connect("toggled(bool)", self.onLegend)
        ui.unitBox.connect("currentIndexChanged(int)", self.onUnit)
        ui.wholeBox.connect("valueChanged(double)", self.onUnit)
        ui.isodoseButton.connect("clicked(bool)", self.onIsodoses)
        ui.levelsEdit.connect("returnPressed()", self.onIsodoses)
        ui.sourceList.connect("itemChanged(QListWidgetItem*)", self.onSource)
        metricsView.connect("clicked(QModelIndex)", self.onRow)

    def update(self):
        """Another course, or none: its sources and its highest dose; what is missing is said."""
        shown = self.logic.shown
        if shown is not self.drawn:
            self.drawn, self.turn = None, None  # the old course's legend goes with its dose
            self.ui.legendBox.checked = False
            self.ui.placeLabel.text = ""
            self.drawn = shown
            self._listSources()
            if shown is not None and shown.doses_gy:
                self.ui.wholeBox.value = self.logic.wholeGy()
        missing = "" if shown is not None else _("Show a course first.")
        noDose = missing or ("" if shown.doses else _("The course has no dose."))
        self.ui.layoutButton.enabled = not missing
        self.ui.layoutButton.toolTip = missing or _("Three slices, 3D, DVH chart and metrics (Ctrl+Shift+L).")
        few = missing or (
            "" if len(shown.segmentations) > 1 else _("The course has one source of structures only.")
        )
        self.ui.besideButton.enabled = not few
        self.ui.besideButton.toolTip = few or _("Each source in an axial view of its own (Ctrl+Shift+B).")
        for widget in (self.ui.opacitySlider, self.ui.legendBox, self.ui.isodoseButton):
            widget.enabled = not noDose
            widget.toolTip = noDose
        self.onUnit()

    def _listSources(self):
        self.ui.sourceList.clear()
        for name, node in (self.drawn.segmentations if self.drawn else {}).items():
            item = qt.QListWidgetItem(name)
            item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable)
            seen = node.GetDisplayVisibility()
            item.setCheckState(qt.Qt.Checked if seen else qt.Qt.Unchecked)
            self.ui.sourceList.addItem(item)

    def onLayout(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("The views could not be laid out.")):
            self.logic.layOut()
            self.onViews()

    def onBeside(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("The views could not be laid out.")):
            self.logic.layBeside(self.ui.opacitySlider.value / 100)
            self._listSources()

    def onOpacity(self, value):
        if self.logic.shown is not None:
            slicer.util.setSliceViewerLayers(foregroundOpacity=value / 100)

    def onLegend(self, on):
        if self.drawn is None:
            return
        with slicer.util.tryWithErrorDisplay(_("The legend could not be shown.")):
            self.logic.showLegend(on, self.ui.unitBox.currentText, self.ui.wholeBox.value)

    def onUnit(self, value=0):
        """Of the isodoses that are drawn next, and of the legend at once."""
        if self.ui.legendBox.checked:
            self.onLegend(True)
        self.ui.wholeBox.enabled = self.ui.unitBox.currentText == "%"
        self.ui.wholeBox.toolTip = (
            _("The dose that is 100 %, such as the prescription.")
            if self.ui.wholeBox.enabled
            else _("Only percent needs a dose that is 100 %.")
        )

    def onIsodoses(self):
        with slicer.util.tryWithErrorDisplay(_("The isodoses could not be drawn."), waitCursor=True):
            missed = self.logic.drawIsodoses(
                self.ui.levelsEdit.text, self.ui.unitBox.currentText, self.ui.wholeBox.value
            )
            if missed:
                self.say(_("The dose does not reach {levels}.").format(levels=", ".join(missed)))

    def onSource(self, item):
        node = self.drawn.segmentations.get(item.text()) if self.drawn else None
        if node is not None:
            node.SetDisplayVisibility(item.checkState() == qt.Qt.Checked)

    def onRow(self, index):
        """The table was clicked: centre, hot spot, cold spot, and round again."""
        row = index.row()
        number = self.turn[1] + 1 if self.turn and self.turn[0] == row else 0
        self.turn = (row, number)
        with slicer.util.tryWithErrorDisplay(_("The views could not be moved.")):
            self.ui.placeLabel.text = self.logic.goTo(self.metricsView.mrmlTableNode(), row, number)
