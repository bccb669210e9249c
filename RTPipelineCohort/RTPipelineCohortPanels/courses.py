"""Section "Courses": the cohort as a table to sort and filter, and what became of each course."""

import qt
import slicer
from slicer.i18n import tr as _

PATIENT, COURSE, STATUS, DOSE, PRESCRIPTION, ERRORS, WARNINGS, VERDICT, REVIEWERS = range(9)


class CoursesPanel:
    """`onChosen(row)` is called for the course that is selected, `onShow(row)` to see it."""

    def __init__(self, ui, logic, onChosen, onShow, onAgain):
        self.ui, self.logic = ui, logic
        self.onChosen, self.onShow, self.onAgain = onChosen, onShow, onAgain
        self.rows = {}
        self.model = qt.QStandardItemModel()
        self.sorted = qt.QSortFilterProxyModel()
        self.sorted.setSourceModel(self.model)
        self.sorted.setFilterKeyColumn(-1)
        self.sorted.setFilterCaseSensitivity(qt.Qt.CaseInsensitive)
        self.sorted.setSortRole(qt.Qt.UserRole)
        view = ui.courseView
        view.setModel(self.sorted)
        view.setSortingEnabled(True)
        view.sortByColumn(PATIENT, qt.Qt.AscendingOrder)
        view.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        view.setSelectionMode(qt.QAbstractItemView.SingleSelection)
        view.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        view.verticalHeader().setVisible(False)
        view.connect("doubleClicked(QModelIndex)", self.onDoubleClicked)
        self.selection = view.selectionModel()
        self.selection.connect(
            "currentRowChanged(QModelIndex,QModelIndex)", self.onCurrentRow
        )
        ui.courseFilter.connect("textChanged(QString)", self.sorted.setFilterFixedString)
        ui.reloadButton.connect("clicked(bool)", self.onReload)
        ui.showButton.connect("clicked(bool)", self.onShowClicked)
        ui.stageLogButton.connect("clicked(bool)", self.onLog)
        ui.againButton.connect("clicked(bool)", self.onAgainClicked)
        self._addColumnsMenu()
        self.show([])

    def titles(self):
        return [
            _("Patient"), _("Course"), _("Status"), _("Dose"), _("Rx (Gy)"),
            _("Errors"), _("Warnings"), _("Verdict"), _("Reviewers"),
        ]  # fmt: skip

    def _addColumnsMenu(self):
        menu = qt.QMenu(self.ui.columnsButton)
        for column, title in enumerate(self.titles()):
            action = menu.addAction(title)
            action.setCheckable(True)
            action.setChecked(True)
            action.connect("toggled(bool)", lambda on, c=column: self.showColumn(c, on))
        self.ui.columnsButton.setMenu(menu)
        self.ui.columnsButton.setPopupMode(qt.QToolButton.InstantPopup)

    def showColumn(self, column, on):
        self.ui.courseView.setColumnHidden(column, not on)

    def show(self, rows):
        """All courses anew, the same one selected if it is still there."""
        current = self.current()
        self.rows = {row.name: row for row in rows}
        self.model.clear()
        self.model.setHorizontalHeaderLabels(self.titles())
        for row in rows:
            self.model.appendRow(self._items(row))
        if current is not None:
            self.select(current.name)
        self.ui.courseView.resizeColumnsToContents()
        self._describe()

    def _items(self, row):
        values = (
            row.patient_id, row.course_id, row.status, row.decision, row.rx_gy, row.errors,
            row.warnings, row.verdict, ", ".join(row.reviewers),
        )  # fmt: skip
        items = []
        for value in values:
            item = qt.QStandardItem("" if value is None else str(value))
            item.setData(-1.0 if value is None else value, qt.Qt.UserRole)
            items.append(item)
        items[0].setData(row.name, qt.Qt.UserRole + 1)
        return items

    def replace(self, row):
        """One course has changed."""
        self.rows[row.name] = row
        number = self._number(row.name)
        if number is not None:
            for column, item in enumerate(self._items(row)):
                self.model.setItem(number, column, item)
        self._describe()

    def onStep(self, step):
        """What the run does with a course now stands in its status."""
        number = self._number(step.course)
        if number is None:
            patient, _slash, course = step.course.partition("/")
            self.model.appendRow([qt.QStandardItem(text) for text in (patient, course, "")])
            number = self.model.rowCount() - 1
            self.model.item(number, 0).setData(step.course, qt.Qt.UserRole + 1)
        self.model.item(number, STATUS).setText(_("running: {stage}").format(stage=step.stage))

    def _number(self, name):
        for number in range(self.model.rowCount()):
            if self.model.item(number, 0).data(qt.Qt.UserRole + 1) == name:
                return number
        return None

    def current(self):
        """The row that is selected."""
        index = self.ui.courseView.currentIndex()
        if not index.isValid():
            return None
        first = self.sorted.mapToSource(self.sorted.index(index.row(), 0))
        return self.rows.get(self.model.data(first, qt.Qt.UserRole + 1))

    def find(self, patient, course):
        """The row of a course, if it is there."""
        rows = self.rows.values()
        return next((r for r in rows if (r.patient_id, r.course_id) == (patient, course)), None)

    def ordered(self):
        """The rows as they are sorted and filtered now."""
        found = []
        for number in range(self.sorted.rowCount()):
            first = self.sorted.mapToSource(self.sorted.index(number, 0))
            row = self.rows.get(self.model.data(first, qt.Qt.UserRole + 1))
            if row is not None:
                found.append(row)
        return found

    def select(self, name):
        """Make a course the current one, if the filter shows it."""
        number = self._number(name)
        if number is not None:
            index = self.sorted.mapFromSource(self.model.index(number, 0))
            if index.isValid():
                self.ui.courseView.setCurrentIndex(index)

    def onCurrentRow(self, current, previous):
        self._describe()
        self.onChosen(self.current())

    def onDoubleClicked(self, index):
        self.onShowClicked()

    def onShowClicked(self, checked=False):
        if self.current() is not None:
            self.onShow(self.current())

    def onReload(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("The tables could not be read."), waitCursor=True):
            self.show(self.logic.readRows())

    def onLog(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("The log could not be read.")):
            self.ui.logText.setPlainText(self.logic.stageLog(self.current()))

    def onAgainClicked(self, checked=False):
        self.onAgain(self.current().patient_id)

    def _describe(self):
        """What is to be known of the current course, and which buttons work."""
        row = self.current()
        sentences = self.logic.sentences(row) if row is not None else []
        self.ui.courseLabel.text = "\n".join(sentences)
        missing = "" if row is not None else _("Select a course first.")
        failed = bool(row is not None and self.logic.failedStage(row))
        for button, ready, why in (
            (self.ui.showButton, row is not None, missing),
            (self.ui.stageLogButton, failed, missing or _("No stage of this course has failed.")),
            (self.ui.againButton, row is not None, missing),
        ):
            button.enabled = bool(ready)
            button.toolTip = "" if ready else why
