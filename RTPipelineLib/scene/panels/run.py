"""Section "Run": start, stop and follow the program, which works in a process of its own."""

import qt
import slicer
from slicer.i18n import tr as _

from ...cohort.background import Follower, lives, outcome, running_process, stop_run

POLL_MS = 500


class RunPanel:
    """Looks twice a second at what a run has printed. A run that another window has started, or
    this one before it crashed, is followed like its own.

    `ui` has startButton, stopButton, progressBar, runLabel and logText. `start()` starts a run and
    returns its process number, `missing()` says what is needed first; `onStep(step)` gets steps of
    single courses and `onEnd()` is called when the run has ended.
    """

    def __init__(self, ui, start, missing, onStep, onEnd):
        self.ui = ui
        self.start, self.missing, self.onStep, self.onEnd = start, missing, onStep, onEnd
        self.out = None
        self.process = None
        self.follower = None
        self.ending = None
        self.timer = qt.QTimer()
        self.timer.setInterval(POLL_MS)
        self.timer.connect("timeout()", self.poll)
        ui.startButton.connect("clicked(bool)", self.onStart)
        ui.stopButton.connect("clicked(bool)", self.onStop)
        self.update()

    def close(self):
        """Stop looking; the run goes on."""
        self.timer.stop()

    def attach(self, out):
        """Look at another output folder (None: none), and follow the run that goes on there."""
        self.timer.stop()
        self.out, self.ending = out, None
        self.process = running_process(out) if out is not None and out.is_dir() else None
        self.ui.logText.clear()
        self.ui.progressBar.reset()
        self.ui.runLabel.text = ""
        if self.process is not None:
            self.ui.runLabel.text = _("A run goes on here.")
            self.follow()
        elif out is not None and (out / "run.json").is_file():
            self.ui.runLabel.text = outcome(out)
        self.update()

    def follow(self):
        self.follower = Follower(self.out)
        self.timer.start()

    def onStart(self, checked=False):
        self.begin(self.start, _("Starting ..."))

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
        self.ending = stop_run(self.process)
        self.ui.runLabel.text = _("Ending the run ...")
        self.update()

    def poll(self):
        """New steps and lines, and whether the run has ended."""
        goes_on = lives(self.process)
        if self.ending is not None and self.ending.done():
            error, self.ending = self.ending.exception(), None
            if error is not None:
                self.ui.runLabel.text = _("The run could not be stopped: {error}").format(error=error)
            self.update()
        for step in self.follower.progress():
            if step.course:
                self.onStep(step)
            else:
                self.ui.progressBar.maximum = max(step.total, 1)
                self.ui.progressBar.value = step.done
                self.ui.runLabel.text = f"{step.stage}: {step.done} / {step.total}  {step.message}"
        for line in self.follower.log():
            self.ui.logText.appendPlainText(line)
        if not goes_on:
            self.timer.stop()
            self.process = self.ending = None
            self.ui.runLabel.text = outcome(self.out)
            self.update()
            self.onEnd()

    def update(self):
        """Buttons that cannot be used say why."""
        missing = self.missing() if self.process is None else _("A run goes on.")
        self.ui.startButton.enabled = not missing
        self.ui.startButton.toolTip = missing
        idle = _("Nothing runs.") if self.process is None else ""
        idle = idle or ("" if self.ending is None else _("It is being ended."))
        self.ui.stopButton.enabled = not idle
        self.ui.stopButton.toolTip = idle
