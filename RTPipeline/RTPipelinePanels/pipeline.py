"""Sections "Course" and "Pipeline": what the course consists of, what you decide about it, and the
run that computes what depends on that."""

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

NAME, TEXT = range(2)


class PipelinePanel:
    """`onFinished(out)` is called when a run has ended: there are new results in `out`."""

    def __init__(self, ui, logic, onFinished):
        from RTPipelineLib.scene.panels.run import RunPanel

        self.ui, self.logic, self.onFinished = ui, logic, onFinished
        self.folder = None
        self.before = None
        ui.factsTree.setColumnCount(2)
        ui.factsTree.setHeaderLabels([_("What"), _("In words")])
        self._columns(ui.plansTable, [_("Plan"), _("Weight (1: the whole plan)")], fixed=(0,))
        self._columns(ui.levelsTable, [_("Level"), _("ROI"), _("Gy"), _("Fractions")])
        self._columns(ui.namesTable, [_("ROI"), _("Standard name")], fixed=(0,))
        self._columns(ui.ratiosTable, [_("Structure"), _("a/b (Gy)")])
        ui.addRatioButton.connect("clicked(bool)", self.onAddRatio)
        ui.addLevelButton.connect("clicked(bool)", self.onAddLevel)
        ui.saveDecisionsButton.connect("clicked(bool)", self.onSave)
        ui.outPath.connect("currentPathChanged(QString)", self.onOut)
        self.run = RunPanel(ui, self.start, self.missing, self.onStep, self.onEnd)
        self.show(None)

    def _columns(self, table, titles, fixed=()):
        table.setColumnCount(len(titles))
        table.setHorizontalHeaderLabels(titles)
        table.horizontalHeader().setStretchLastSection(True)
        table.verticalHeader().setVisible(False)
        table.setProperty("fixed", list(fixed))

    def close(self):
        self.run.close()

    # -- the course

    def show(self, course):
        """Another course (None: none). One that lies in an output folder can be decided about."""
        made = course is not None and course.folder.is_dir()
        self.folder = course.folder if made else None
        ui = self.ui
        ui.factsTree.clear()
        for table in (ui.plansTable, ui.levelsTable, ui.namesTable, ui.ratiosTable):
            table.setRowCount(0)
        for label in (ui.decisionsLabel, *self._labels().values()):
            label.text = ""
        if made:
            with slicer.util.tryWithErrorDisplay(_("The course could not be read.")):
                self._fill()
            ui.outPath.currentPath = str(self.folder.parent.parent)
        missing = "" if made else _("Run the pipeline first: decisions belong to its output.")
        for button in (ui.saveDecisionsButton, ui.addLevelButton, ui.addRatioButton, ui.eqd2Box):
            button.enabled, button.toolTip = made, missing
        self.run.update()

    def _fill(self):
        from RTPipelineLib.cohort.facts import course_facts, decisions_of

        self.before = found = decisions_of(self.folder)
        ratios = found.ratios
        self.ui.eqd2Box.checked = ratios.enabled
        usual = [(_("targets"), ratios.target), (_("everything else"), ratios.other)]
        self._rows(self.ui.ratiosTable, [*usual, *ratios.structures])
        for number in range(2):
            item = self.ui.ratiosTable.item(number, 0)
            item.setFlags(item.flags() & ~qt.Qt.ItemIsEditable)
        for fact in course_facts(self.folder):
            self.ui.factsTree.addTopLevelItem(self._item(fact))
        self.ui.factsTree.expandToDepth(0)
        self.ui.factsTree.setColumnWidth(NAME, 180)
        self._rows(self.ui.plansTable, [(label, weight) for _uid, label, weight in found.plans])
        self._rows(self.ui.levelsTable, found.levels)
        self._rows(self.ui.namesTable, found.names)

    def _item(self, fact):
        words = {"Images": _("Images"), "Objects": _("Objects"), "Dose": _("Dose"),
                 "Warnings": _("Warnings"), "because": _("because")}
        item = qt.QTreeWidgetItem([words.get(fact.name, fact.name), fact.text])
        item.setToolTip(TEXT, fact.text)
        for below in fact.below:
            item.addChild(self._item(below))
        return item

    def _rows(self, table, rows):
        table.setRowCount(len(rows))
        for number, row in enumerate(rows):
            for column, text in enumerate(row):
                item = qt.QTableWidgetItem(text)
                if column in table.property("fixed"):
                    item.setFlags(item.flags() & ~qt.Qt.ItemIsEditable)
                table.setItem(number, column, item)

    def _texts(self, table):
        def text(row, column):
            item = table.item(row, column)
            return item.text().strip() if item is not None else ""

        columns = range(table.columnCount)
        return tuple(tuple(text(row, column) for column in columns) for row in range(table.rowCount))

    def onAddLevel(self, checked=False):
        self.ui.levelsTable.setRowCount(self.ui.levelsTable.rowCount + 1)

    def onAddRatio(self, checked=False):
        self.ui.ratiosTable.setRowCount(self.ui.ratiosTable.rowCount + 1)

    def _labels(self):
        """Where a sentence on each key of overrides.yaml stands: below its table."""
        ui = self.ui
        return {
            "dose": ui.plansLabel,
            "prescription": ui.levelsLabel,
            "names": ui.namesLabel,
            "eqd2": ui.ratiosLabel,
        }

    def _wanted(self):
        """The decisions as they stand in the tables."""
        from RTPipelineLib.cohort.facts import AlphaBetas, Decisions

        ui = self.ui
        weights = self._texts(ui.plansTable)
        plans = tuple(
            (uid, label, weight)
            for (uid, label, _old), (_shown, weight) in zip(self.before.plans, weights, strict=True)
        )
        (_targets, target), (_others, other), *single = self._texts(ui.ratiosTable)
        ratios = AlphaBetas(ui.eqd2Box.checked, target, other, tuple(row for row in single if any(row)))
        return Decisions(plans, self._texts(ui.levelsTable), self._texts(ui.namesTable), ratios)

    def onSave(self, checked=False):
        """Into overrides.yaml; where a value is wrong its table says so and nothing is written."""
        from RTPipelineLib.cohort.facts import changes_of, problems_of, usual_ratios
        from RTPipelineLib.overrides import read_course_overrides, save_course_overrides

        with slicer.util.tryWithErrorDisplay(_("The decisions were not saved.")):
            own, usual = read_course_overrides(self.folder), usual_ratios(self.folder)
            after = self._wanted()
            changes = changes_of(self.before, after, own, usual)
            problems = problems_of(changes)
            for number, (key, label) in enumerate(self._labels().items()):
                label.text = problems.get(key, "")
                if key == next(iter(problems), None):
                    self.ui.decisionTabs.setCurrentIndex(number)
            if problems:
                self.ui.decisionsLabel.text = _("Nothing was saved: a value is wrong.")
                return
            if changes:
                save_course_overrides(self.folder, changes)
            self.before = after
            self.ui.decisionsLabel.text = (
                _("Saved. Start the pipeline: only what depends on it runs again.")
                if changes
                else _("Nothing has changed.")
            )

    # -- the run

    def onOut(self, path):
        self.run.attach(Path(path) if path else None)

    def missing(self):
        if not self.ui.outPath.currentPath:
            return _("Choose an output folder first.")
        return "" if self.logic.inputFolder(self.folder) else _("Choose a folder of DICOM first.")

    def start(self):
        out = Path(self.ui.outPath.currentPath)
        return self.logic.startRun(out, self.folder)

    def onStep(self, step):
        self.ui.runLabel.text = f"{step.stage}: {step.message}"

    def onEnd(self):
        self.onFinished(Path(self.ui.outPath.currentPath))
