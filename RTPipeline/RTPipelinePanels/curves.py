"""Section "Curves and goals": what the chart shows, and which clinical goals are met."""

import qt
import slicer
from slicer.i18n import tr as _

COLOURS = {"pass": "#2e7d32", "tolerable": "#b26a00", "fail": "#b71c1c"}


class CurvesPanel:
    """Curves can be hidden one by one; a click on one goes to its structure like a click on its row
    of the metrics."""

    def __init__(self, ui, logic, metricsView):
        self.ui, self.logic, self.metricsView = ui, logic, metricsView
        self.chart = None
        self.series = {}
        self.turn = None
        self.clicks = None
        ui.curveList.connect("itemChanged(QListWidgetItem*)", self.onCurve)
        ui.planningBox.connect("toggled(bool)", self.onPlanning)
        ui.bandBox.connect("toggled(bool)", self.onBand)
        ui.allButton.connect("clicked(bool)", self.onAll)
        ui.noneButton.connect("clicked(bool)", self.onNone)
        titles = [_("Structure"), _("Goal"), _("Value"), _("Result")]
        ui.goalsTable.setColumnCount(len(titles))
        ui.goalsTable.setHorizontalHeaderLabels(titles)
        ui.goalsTable.horizontalHeader().setStretchLastSection(True)
        ui.goalsTable.verticalHeader().setVisible(False)

    def update(self):
        """Another chart: its curves, and the goals of its course."""
        chart = self.logic.chart
        if chart is not self.chart:
            self.chart, self.turn = chart, None
            self.ui.planningBox.checked = self.ui.bandBox.checked = False
            self._goals()
        if chart is not None:
            self.watch()
        self._list()
        missing = "" if chart is not None else _("Compute the DVHs first.")
        processed = missing or self.logic.missingTables()
        for widget, why in (
            (self.ui.allButton, missing), (self.ui.noneButton, missing),
            (self.ui.planningBox, processed), (self.ui.bandBox, processed),
        ):  # fmt: skip
            widget.enabled = not why
            widget.toolTip = why

    def watch(self):
        """Heed clicks in all plot views that there are now."""
        if self.clicks is None:
            self.clicks = self.logic.watchCurves(self.onPoint)
        self.clicks.watch()

    def stop(self):
        """Heed clicks no more."""
        if self.clicks is not None:
            self.clicks.stop()
        self.clicks = None

    def _list(self):
        """Every curve that the chart has had, checked when it shows it."""
        drawn = self.logic.curves(self.chart) if self.chart is not None else {}
        self.series = {**(self.series if self.chart is not None else {}), **drawn}
        self.series = {name: node for name, node in self.series.items() if node.GetScene()}
        box = self.ui.curveList
        box.blockSignals(True)
        box.clear()
        for name in self.series:
            item = qt.QListWidgetItem(name)
            item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable)
            item.setCheckState(qt.Qt.Checked if name in drawn else qt.Qt.Unchecked)
            box.addItem(item)
        box.blockSignals(False)

    def onCurve(self, item):
        self.logic.showCurve(
            self.chart, self.series[item.text()], item.checkState() == qt.Qt.Checked
        )

    def onAll(self, checked=False):
        self._all(True)

    def onNone(self, checked=False):
        self._all(False)

    def _all(self, on):
        for node in self.series.values():
            self.logic.showCurve(self.chart, node, on)
        self._list()

    def onPlanning(self, on):
        self._further(on, self.logic.addPlanningCurves, " (planning system)", _("The planning system stored no DVHs."))

    def onBand(self, on):
        self._further(on, self.logic.addBands, (" (low)", " (high)"), _("No uncertainty was configured (dvh.uncertainty)."))

    def _further(self, on, add, endings, none):
        """Curves that come with a tick and go without it."""
        if self.chart is None:
            return
        self.ui.curvesLabel.text = ""
        with slicer.util.tryWithErrorDisplay(_("The curves could not be read."), waitCursor=True):
            if on and not add(self.chart):
                self.ui.curvesLabel.text = none
            if not on:
                for name in [name for name in self.series if name.endswith(endings)]:
                    self.logic.removeCurve(self.chart, self.series.pop(name))
        self._list()

    def _goals(self):
        """Failed goals first; a sign and a word beside the colour."""
        lines = self.logic.goals() if self.chart is not None and not self.logic.missingTables() else []
        table = self.ui.goalsTable
        table.setRowCount(len(lines))
        for row, line in enumerate(lines):
            texts = (line.structure, line.goal, line.value, f"{line.sign} {line.result}")
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setFlags(qt.Qt.ItemIsEnabled)
                item.setToolTip(line.reason)
                table.setItem(row, column, item)
            if line.result in COLOURS:
                table.item(row, 3).setForeground(qt.QBrush(qt.QColor(COLOURS[line.result])))
        self.ui.goalsLabel.text = (
            "" if lines else _("No goals: configure them (dvh.goals) and run the pipeline.")
        )

    def onPoint(self, seriesId, index):
        """A curve was clicked: to the middle of its structure, then to its hot and cold spot."""
        table = self.metricsView.mrmlTableNode()
        row = self.logic.rowOf(table, seriesId)
        if row is None:
            return
        number = self.turn[1] + 1 if self.turn and self.turn[0] == row else 0
        self.turn = (row, number)
        with slicer.util.tryWithErrorDisplay(_("The views could not be moved.")):
            self.ui.curvesLabel.text = self.logic.goTo(table, row, number)
