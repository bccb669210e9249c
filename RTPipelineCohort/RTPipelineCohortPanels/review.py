"""Section "Review": a queue of courses, and verdicts with who and when."""

import qt
import slicer
from slicer.i18n import tr as _


class ReviewPanel:
    """Walks through the courses of the table; keys: A accept, R reject, F flag, N next, P previous
    with Ctrl+Shift, so that they never write into a field."""

    def __init__(self, ui, logic, courses, onOpen):
        self.ui, self.logic, self.courses, self.onOpen = ui, logic, courses, onOpen
        self.row = None
        for key, title in self.logic.filters():
            ui.queueBox.addItem(title, key)
        ui.queueBox.connect("currentIndexChanged(int)", self.onQueue)
        ui.reviewerEdit.connect("textChanged(QString)", self.onReviewer)
        ui.blindBox.connect("toggled(bool)", self.onReviewer)
        ui.nextButton.connect("clicked(bool)", self.onNext)
        ui.previousButton.connect("clicked(bool)", self.onPrevious)
        self.shortcuts = []
        for button, verdict, key in (
            (ui.acceptButton, "accept", "Ctrl+Shift+A"),
            (ui.rejectButton, "reject", "Ctrl+Shift+R"),
            (ui.flagButton, "flag", "Ctrl+Shift+F"),
            (ui.remarkButton, "comment", "Ctrl+Shift+C"),
            (ui.nextButton, None, "Ctrl+Shift+N"),
            (ui.previousButton, None, "Ctrl+Shift+P"),
        ):
            button.setShortcut(qt.QKeySequence(key))
            if verdict:
                button.connect("clicked(bool)", lambda checked, v=verdict: self.onVerdict(v))
        ui.commentEdit.connect("textChanged(QString)", self.onComment)
        self.show(None)

    def show(self, row):
        """A course is looked at (None: no more)."""
        self.row = row
        self.ui.itemBox.clear()
        self.ui.itemBox.addItem(_("the whole course"), ("", ""))
        if row is not None:
            for name, source in self.logic.structures(row):
                self.ui.itemBox.addItem(f"{name} ({source})", (name, source))
        self.ui.commentEdit.text = ""
        self.update()

    def update(self):
        """Verdicts so far, the place in the queue, and which buttons work."""
        row, ui = self.row, self.ui
        ui.verdictsText.setPlainText("\n".join(self.logic.verdictLines(row)) if row else "")
        rows = self.courses.ordered()
        left = sum(one.passes(self.queue()) for one in rows)
        name = row.name if row is not None else _("no course is open")
        ui.positionLabel.text = _("{name}; {left} of {number} courses in this queue").format(
            name=name, left=left, number=len(rows)
        )
        missing = ""
        if row is None:
            missing = _("Open a course first: Next, or double-click it in the table.")
        elif not ui.reviewerEdit.text.strip():
            missing = _("Say who you are first.")
        for button in (ui.acceptButton, ui.rejectButton, ui.flagButton):
            button.enabled = not missing
            button.toolTip = missing or button.shortcut.toString()
        words = missing or ("" if ui.commentEdit.text.strip() else _("Write a comment first."))
        ui.remarkButton.enabled = not words
        ui.remarkButton.toolTip = words or ui.remarkButton.shortcut.toString()
        ui.nextButton.toolTip = ui.nextButton.shortcut.toString()
        ui.previousButton.toolTip = ui.previousButton.shortcut.toString()
        ui.nextButton.enabled = ui.previousButton.enabled = bool(rows)

    def queue(self):
        return self.logic.filters()[max(self.ui.queueBox.currentIndex, 0)][0]

    def onQueue(self, index):
        self.update()

    def onComment(self, text):
        self.update()

    def onReviewer(self, value=None):
        """Another person, or blinded: the verdicts that count are others."""
        self.logic.reviewer = self.ui.reviewerEdit.text.strip()
        self.logic.blinded = self.ui.blindBox.checked
        if self.courses.rows:
            self.courses.show(self.logic.reviewedRows(self.courses.rows.values()))
        self.update()

    def onNext(self, checked=False):
        self.go(1)

    def onPrevious(self, checked=False):
        self.go(-1)

    def go(self, step):
        """Open the next course that the queue lets through."""
        row = self.logic.nextInQueue(self.courses.ordered(), self.row, self.queue(), step)
        if row is None:
            self.ui.positionLabel.text = _("There is no further course in this queue.")
            return
        self.courses.select(row.name)
        self.onOpen(row)
        self.logic.readAhead(
            self.logic.nextInQueue(self.courses.ordered(), row, self.queue(), step)
        )

    def onVerdict(self, verdict):
        with slicer.util.tryWithErrorDisplay(_("The verdict could not be written.")):
            item, source = self.ui.itemBox.itemData(self.ui.itemBox.currentIndex)
            self.row = self.logic.judge(
                self.row, verdict, item, source, self.ui.commentEdit.text
            )
            self.ui.commentEdit.text = ""
            self.courses.replace(self.row)
        self.update()
