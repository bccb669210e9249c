"""Section "Review and export": verdicts on the shown course, and its files for others."""

import qt
import slicer
from slicer.i18n import tr as _


class ReviewPanel:
    """Accept, reject or flag, with who and a comment; what was said before, and if it still holds."""

    def __init__(self, ui, logic, say):
        self.ui, self.logic, self.say = ui, logic, say
        self.drawn = None
        for button, verdict, key in (
            (ui.acceptButton, "accept", "Ctrl+Shift+A"),
            (ui.rejectButton, "reject", "Ctrl+Shift+R"),
            (ui.flagButton, "flag", "Ctrl+Shift+F"),
        ):
            button.setShortcut(qt.QKeySequence(key))
            button.connect("clicked(bool)", lambda checked, v=verdict: self.onVerdict(v))
        ui.reviewerEdit.connect("textChanged(QString)", self.onReviewer)
        ui.exportButton.connect("clicked(bool)", self.onExport)

    def update(self):
        """Verdicts so far; which buttons work."""
        with slicer.util.tryWithErrorDisplay(_("The verdicts could not be read.")):
            self.ui.verdictsText.setPlainText("\n".join(self.logic.verdictLines()))
        self.onReviewer()
        shown = self.logic.shown
        if shown is not self.drawn:
            self.drawn = shown
            self.ui.itemBox.clear()
            self.ui.itemBox.addItem(_("the whole course"), ("", ""))
            for name, source in self.logic.judged():
                self.ui.itemBox.addItem(f"{name} ({source})", (name, source))
        self.ui.exportButton.enabled = shown is not None
        self.ui.exportButton.toolTip = (
            _("Table, curves, figures, RTSTRUCT, RTDOSE and page into a folder.")
            if shown is not None
            else _("Show a course first.")
        )

    def onReviewer(self, text=""):
        missing = self.logic.whyNoReview()
        if not missing and not self.ui.reviewerEdit.text.strip():
            missing = _("Say who you are first.")
        for button in (self.ui.acceptButton, self.ui.rejectButton, self.ui.flagButton):
            button.enabled = not missing
            button.toolTip = missing or button.shortcut.toString()

    def onVerdict(self, verdict):
        with slicer.util.tryWithErrorDisplay(_("The verdict was not written.")):
            item, source = self.ui.itemBox.itemData(self.ui.itemBox.currentIndex)
            by, comment = self.ui.reviewerEdit.text, self.ui.commentEdit.text
            self.logic.review(verdict, by, comment, item, source)
            self.ui.commentEdit.text = ""
        self.update()

    def onExport(self, checked=False):
        folder = qt.QFileDialog.getExistingDirectory(None, _("Export to a folder"))
        if not folder:
            return
        with slicer.util.tryWithErrorDisplay(_("The course was not exported."), waitCursor=True):
            paths, problems = self.logic.export(folder)
            self.say(_("{n} files were written to {folder}.").format(n=len(paths), folder=folder))
            for problem in problems:
                self.say(problem)
