"""Section "Run": start, stop and follow the program, which works in a process of its own."""

import qt
import slicer
from slicer.i18n import tr as _

POLL_MS = 500


class RunPanel:
    """Looks twice a second at what the run has printed. A run that another window has started, or
    this one before it crashed, is followed like its own."""

    def __init__(self, ui, logic, configuration, onStep, onEnd):
        self.ui, self.logic, self.configuration = ui, logic, configuration
        self.onStep, self.onEnd = onStep, onEnd
        self.process = None
        self.follower = None
        self.timer = qt.QTimer()
        self.timer.setInterval(POLL_MS)
        self.timer.connect("timeout()", self.poll)
        ui.startButton.connect("clicked(bool)", self.onStart)
        ui.stopButton.connect("clicked(bool)", self.onStop)
        self.update()

    def close(self):
        """Stop looking; the run goes on."""
        self.timer.stop()

    def attach(self):
        """Follow the run of the chosen output folder, if there is one."""
        self.timer.stop()
        self.process = self.logic.runningProcess()
        self.ui.logText.clear()
        self.ui.progressBar.reset()
        if self.process is not None:
            self.follow()
            self.ui.runLabel.text = _("A run goes on here.")
        else:
            self.ui.runLabel.text = self.logic.outcome() if self.logic.hasOutput() else ""
        self.update()

    def follow(self):
        self.follower = self.logic.follower()
        self.timer.start()

    def onStart(self, checked=False, patients=()):
        values = self.configuration.values
        self.begin(lambda: self.logic.start(values, patients), _("Starting ..."))

    def begin(self, start, words):
        """Start a process and follow it."""
        with slicer.util.tryWithErrorDisplay(_("It could not be started.")):
            self.process = start()
            self.ui.logText.clear()
            self.ui.progressBar.reset()
            self.ui.runLabel.text = words
            self.follow()
        self.update()

    def onStop(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("The run could not be stopped."), waitCursor=True):
            self.logic.stop(self.process)
        self.poll()

    def poll(self):
        """New steps and lines, and whether the run has ended."""
        lives = self.logic.lives(self.process)
        for step in self.follower.progress():
            if step.course:
                self.onStep(step)
            else:
                self.ui.progressBar.maximum = max(step.total, 1)
                self.ui.progressBar.value = step.done
                self.ui.runLabel.text = f"{step.stage}: {step.done} / {step.total}  {step.message}"
        for line in self.follower.log():
            self.ui.logText.appendPlainText(line)
        if not lives:
            self.timer.stop()
            self.process = None
            self.ui.runLabel.text = self.logic.outcome()
            self.update()
            self.onEnd()

    def update(self):
        """Buttons that cannot be used say why."""
        missing = self.logic.missingForStart() or self.configuration.problem
        if self.process is not None:
            missing = _("A run goes on.")
        self.ui.startButton.enabled = not missing
        self.ui.startButton.toolTip = missing
        self.ui.stopButton.enabled = self.process is not None
        self.ui.stopButton.toolTip = "" if self.process is not None else _("Nothing runs.")
