"""Section "Edit": DVHs that follow the Segment Editor, margins, combinations, source `edited`."""

import qt
import slicer
from slicer.i18n import tr as _

LOOK_MS = 200


class EditPanel:
    """Looks at the chosen segmentation a few times a second, and computes when it was edited."""

    def __init__(self, ui, logic, say):
        self.ui, self.logic, self.say = ui, logic, say
        self.drawn = None
        self.timer = qt.QTimer()
        self.timer.setInterval(LOOK_MS)
        self.timer.connect("timeout()", self.onLook)
        for title, operation in (
            (_("alone"), ""),
            (_("and"), "intersection"),
            (_("or"), "union"),
            (_("without"), "subtract"),
        ):
            ui.operationBox.addItem(title, operation)
        ui.editBox.connect("currentIndexChanged(int)", self.onChosen)
        ui.operationBox.connect("currentIndexChanged(int)", self.onRecipe)
        ui.derivedEdit.connect("textChanged(QString)", self.onRecipe)
        ui.editorButton.connect("clicked(bool)", self.onEditor)
        ui.followButton.connect("toggled(bool)", self.onFollow)
        ui.keepButton.connect("clicked(bool)", self.onKeep)
        ui.deriveButton.connect("clicked(bool)", self.onDerive)

    def update(self):
        """Another course, or none; what is missing is said."""
        ui, shown = self.ui, self.logic.shown
        if shown is not self.drawn:
            self.drawn = shown
            self.stop()
            ui.editBox.clear()
            for name in shown.segmentations if shown is not None else ():
                ui.editBox.addItem(name)
        missing = "" if self.node() else _("Show a course with structures first.")
        ui.editorButton.enabled = not missing
        ui.editorButton.toolTip = missing or _("Edit these segments; their DVHs follow, once computed (Ctrl+Shift+E).")
        chart = missing or ("" if self.logic.chart else _("Compute the DVHs first."))
        ui.followButton.enabled = not chart
        ui.followButton.toolTip = chart or _("Compute a segment again whenever it was edited.")
        folder = missing or (
            "" if shown.course.folder.is_dir() else _("Only a course of an output folder keeps edits.")
        )
        ui.keepButton.enabled = not folder
        ui.keepButton.toolTip = folder or _("Write the segments as RTSTRUCT of the source 'edited'.")
        self.onRecipe()

    def node(self):
        """The chosen segmentation, or None."""
        found = self.drawn.segmentations if self.drawn is not None else {}
        return found.get(self.ui.editBox.currentText)

    def stop(self):
        """Look no more."""
        self.timer.stop()
        self.logic.stopFollowing()
        self.ui.followButton.checked = False

    def onChosen(self, index):
        self.stop()
        boxes = (self.ui.firstBox, self.ui.secondBox)
        for box in boxes:
            box.clear()
        node = self.node()
        for name in self.logic.segmentNames(node) if node else ():
            for box in boxes:
                box.addItem(name)
        self.onRecipe()

    def onEditor(self, checked=False):
        """To the Segment Editor, with this segmentation; what is edited there is followed."""
        with slicer.util.tryWithErrorDisplay(_("The Segment Editor could not be opened.")):
            self.logic.chooseForEditor(self.node())
            if self.ui.followButton.enabled:
                self.ui.followButton.checked = True
            slicer.util.selectModule("SegmentEditor")

    def onFollow(self, on):
        if not on:
            self.timer.stop()
            self.logic.stopFollowing()
            return
        with slicer.util.tryWithErrorDisplay(_("The edits cannot be followed."), waitCursor=True):
            self.logic.follow(self.node())
            self.timer.start()

    def onLook(self):
        """Nothing, most of the time."""
        try:
            lines = self.logic.editedLines()
        except Exception as error:  # said once, not five times a second
            self.stop()
            self.say(str(error))
            return
        for line in lines:
            self.ui.editLabel.text = line

    def onRecipe(self, value=None):
        ui = self.ui
        ui.secondBox.enabled = bool(ui.operationBox.currentData)
        missing = "" if self.node() else _("Show a course with structures first.")
        if not missing and not ui.derivedEdit.text.strip():
            missing = _("Name the new structure first.")
        ui.deriveButton.enabled = not missing
        ui.deriveButton.toolTip = missing or _("Make the structure as `rtpipeline` would.")

    def onDerive(self, checked=False):
        ui = self.ui
        operation = ui.operationBox.currentData
        sources = [ui.firstBox.currentText] + ([ui.secondBox.currentText] if operation else [])
        with slicer.util.tryWithErrorDisplay(_("The structure was not made."), waitCursor=True):
            name = ui.derivedEdit.text.strip()
            self.logic.derive(self.node(), name, sources, operation, ui.marginBox.value)
            ui.editLabel.text = _("{name} was made.").format(name=name)
            for box in (ui.firstBox, ui.secondBox):
                box.addItem(name)

    def onKeep(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("The edits were not kept."), waitCursor=True):
            self.say(_("Kept as {path}.").format(path=self.logic.keep(self.node())))
