"""Module "RT Pipeline Cohort" of 3D Slicer: a folder of patients, and a queue of courses to review."""

import sys
from importlib.util import find_spec
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

NEEDED = {"pandas": "pandas", "pyarrow": "pyarrow", "pydantic": "pydantic",
          "ruamel.yaml": "ruamel", "psutil": "psutil", "tqdm": "tqdm"}  # fmt: skip


def addLibraryToPath():
    """From source the library lies beside this module's folder; installed it is on the path."""
    home = str(Path(__file__).resolve().parents[1])
    if (Path(home) / "RTPipelineLib").is_dir() and home not in sys.path:
        sys.path.append(home)


class RTPipelineCohort(ScriptedLoadableModule):
    """What Slicer shows of the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("RT Pipeline Cohort")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Radiotherapy")]
        parent.dependencies = []
        parent.contributors = ["The RT Pipeline contributors"]
        parent.helpText = _(
            "Runs RT Pipeline over a folder of patients in the background, shows what became of "
            "every course, and leads reviewers through them."
        )
        parent.acknowledgementText = _("For research use.")


class RTPipelineCohortWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The sections of the panel and what connects them; no work is done here."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from RTPipelineCohortPanels.configuration import ConfigurationPanel
        from RTPipelineCohortPanels.courses import CoursesPanel
        from RTPipelineCohortPanels.results import ResultsPanel
        from RTPipelineCohortPanels.review import ReviewPanel
        from RTPipelineLib.scene.panels.run import RunPanel

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/RTPipelineCohort.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = RTPipelineCohortLogic()
        missing = self.logic.missingPackages()
        ui.packagesLabel.visible = bool(missing)
        sections = (ui.foldersButton, ui.configurationButton, ui.runButton, ui.coursesButton,
                    ui.reviewButton, ui.resultsButton)  # fmt: skip
        for section in sections:
            section.enabled = not missing
        if missing:
            ui.packagesLabel.text = _(
                "Cohorts need {names}. Install them with the button in the module RT Pipeline, "
                "then open this module again."
            ).format(names=", ".join(missing))
            return
        self.configuration = ConfigurationPanel(ui, self.logic)
        self.courses = CoursesPanel(ui, self.logic, self.onChosen, self.onOpen, self.onAgain)
        self.review = ReviewPanel(ui, self.logic, self.courses, self.onOpen)
        self.results = ResultsPanel(ui, self.logic, self.courses, self.onPoint, self.onTables)
        self.configuration.show({})
        self.run = RunPanel(
            ui, self.startRun, self.missingForStart, self.courses.onStep, self.onRunEnd
        )
        ui.outPath.connect("currentPathChanged(QString)", self.onFolders)
        ui.dicomPath.connect("currentPathChanged(QString)", self.onInputs)
        ui.rosterPath.connect("currentPathChanged(QString)", self.onInputs)
        ui.configurationTree.connect("itemChanged(QTreeWidgetItem*,int)", self.onConfigured)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)

    def cleanup(self):
        self.removeObservers()
        if hasattr(self, "run"):
            self.run.close()
            self.logic.stopWatching()

    def onFolders(self, path):
        """Another output folder: its configuration, its courses, and the run that goes on there."""
        with slicer.util.tryWithErrorDisplay(_("The folder could not be read."), waitCursor=True):
            self.logic.setOutput(path)
            if self.logic.hasOutput():
                self.configuration.show(self.logic.ownConfiguration())
                if not self.ui.dicomPath.currentPath:
                    self.ui.dicomPath.currentPath = self.logic.ownInput()
            self.courses.show(self.logic.readRows())
        self.review.show(None)
        self.results.show()
        self.run.attach(self.logic.out)

    def startRun(self, patients=()):
        return self.logic.start(self.configuration.values, patients)

    def missingForStart(self):
        return self.logic.missingForStart() or self.configuration.problem

    def onInputs(self, path):
        self.logic.dicom = self.ui.dicomPath.currentPath
        self.logic.roster = self.ui.rosterPath.currentPath
        self.run.update()

    def onConfigured(self, item, column):
        self.run.update()

    def onRunEnd(self):
        self.courses.onReload()
        self.results.show()
        self.review.update()

    def onChosen(self, row):
        self.review.update()

    def onOpen(self, row):
        """Show a course in the scene in place of the one before."""
        with slicer.util.tryWithErrorDisplay(_("The course could not be shown."), waitCursor=True):
            for problem in self.logic.showCourse(row):
                self.ui.logText.appendPlainText(problem)
        self.review.show(row)

    def onPoint(self, patient, course):
        """A point of a plot was clicked."""
        row = self.courses.find(patient, course)
        if row is not None:
            self.courses.select(row.name)
            self.onOpen(row)

    def onTables(self):
        """Make the tables anew, in a process of its own like a run."""
        self.run.begin(self.logic.updateTables, _("The tables are being made ..."))

    def onAgain(self, patient):
        self.run.begin(lambda: self.startRun((patient,)), _("Starting ..."))

    def onSceneEndClose(self, caller=None, event=None):
        self.logic.shown = None
        if hasattr(self, "review"):
            self.review.show(None)


class RTPipelineCohortLogic(ScriptedLoadableModuleLogic):
    """What the panel asks for, without widgets; raises what the library raises."""

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        addLibraryToPath()
        self.out, self.dicom, self.roster = None, "", ""
        self.reviewer, self.blinded = "", False
        self.shown = self.clicks = None
        self.ahead = ("", None)

    def missingPackages(self):
        """What this Python lacks for whole cohorts, by name."""
        return [name for name, module in NEEDED.items() if find_spec(module) is None]

    # -- folders and configuration

    def setOutput(self, path):
        self.out = Path(path) if path else None

    def hasOutput(self):
        """Whether a run has been here."""
        return self.out is not None and (self.out / "run.json").is_file()

    def ownInput(self):
        """The DICOM folder of the last run."""
        from RTPipelineLib.run.output import read_run

        return str(read_run(self.out).get("dicom_dir", ""))

    def configurationRows(self):
        from RTPipelineLib.cohort.form import form_rows
        from RTPipelineLib.config import Config

        return form_rows(Config())

    def defaultValue(self, key):
        return next(row.value for row in self.configurationRows() if row.key == key)

    def configurationProblem(self, values):
        """The first thing that is wrong, in words; empty when nothing is."""
        from RTPipelineLib.cohort.form import read_values
        from RTPipelineLib.errors import ConfigError

        try:
            read_values(values)
        except ConfigError as error:
            return str(error).splitlines()[0].partition(": ")[2]
        return ""

    def openConfiguration(self, path):
        from RTPipelineLib.cohort.form import changed_values
        from RTPipelineLib.config import load_config

        return changed_values(load_config(Path(path)))

    def ownConfiguration(self):
        """What the last run of the output folder was configured with."""
        path = self.out / "config.yaml"
        return self.openConfiguration(path) if path.is_file() else {}

    def saveConfiguration(self, path, values):
        from RTPipelineLib.cohort.form import save

        save(Path(path), values)

    # -- the run

    def missingForStart(self):
        """What is needed before a run can start, in words."""
        if self.out is None:
            return _("Choose an output folder first.")
        if not self.dicom:
            return _("Choose the DICOM folder first.")
        return ""

    def start(self, values, patients=()):
        """Start a run with these values of the configuration; its process number."""
        from RTPipelineLib.cohort.background import start_run

        config = Path(slicer.app.temporaryPath) / "rtpipeline-cohort.yaml"
        self.saveConfiguration(config, values)
        arguments = [self.dicom, self.out, "--config", config]
        if self.roster:
            arguments += ["--roster", self.roster]
        if patients:
            arguments += ["--patients", ",".join(patients)]
        return start_run(self.out, arguments)

    # -- courses

    def readRows(self):
        from RTPipelineLib.cohort.rows import cohort_rows

        return cohort_rows(self.out, self.whose()) if self.hasOutput() else []

    def whose(self):
        """Whose verdicts count: everybody's, or (blinded) the reviewer's own."""
        return (self.reviewer or " ") if self.blinded else ""

    def reviewedRows(self, rows):
        from RTPipelineLib.cohort.rows import reviewed

        return [reviewed(row, None, self.whose()) for row in rows]

    def sentences(self, row):
        """What is to be known of a course: failures, questions, findings."""
        from RTPipelineLib.cohort.rows import sentences_of

        return sentences_of(row, self.out)

    def failedStage(self, row):
        return next((name for name, state in row.stages.items() if state in ("failed", "partial")), "")

    def stageLog(self, row):
        path = row.folder / "logs" / f"{self.failedStage(row)}.log"
        return path.read_text("utf-8", "replace")

    def saveRows(self, path, rows):
        from RTPipelineLib.cohort.rows import write_rows

        write_rows(Path(path), rows)

    # -- the scene

    def showCourse(self, row):
        """Show a course in place of the one before; what could not be shown, as sentences."""
        from RTPipelineLib.course import open_course
        from RTPipelineLib.scene.display import hide_course, show_course

        name, future = self.ahead
        prepared = future.result() if name == row.name else None
        self.ahead = ("", None)

        if self.shown is not None:
            hide_course(self.shown)
        self.shown = show_course(open_course(row.folder), prepared=prepared)
        image, dose = (nodes[0] if nodes else None for nodes in (self.shown.images, self.shown.doses))
        slicer.util.setSliceViewerLayers(
            background=image, foreground=dose, foregroundOpacity=0.4, fit=True
        )
        return self.shown.problems

    def readAhead(self, row):
        """Decode the next course while a person looks at this one."""
        from RTPipelineLib.course import open_course
        from RTPipelineLib.scene.ahead import prepare_in_background

        if row is not None:
            self.ahead = (row.name, prepare_in_background(open_course(row.folder)))

    # -- review

    def filters(self):
        """(key, title) of the queue's filters."""
        from RTPipelineLib.cohort.rows import ALL, FAILED, FLAGGED, STALE, UNSEEN, WARNED

        return [
            (UNSEEN, _("not reviewed")), (STALE, _("out of date")),
            (FLAGGED, _("flagged or rejected")), (WARNED, _("with warnings")),
            (FAILED, _("failed")), (ALL, _("all")),
        ]  # fmt: skip

    def nextInQueue(self, rows, row, wanted, step):
        from RTPipelineLib.cohort.rows import next_in_queue

        return next_in_queue(rows, row, wanted, step)

    def structures(self, row):
        """(name, source) of the structures that can be judged."""
        from RTPipelineLib.review import structures_of

        return structures_of(row.folder)

    def verdictLines(self, row):
        from RTPipelineLib.cohort.rows import verdict_lines

        return verdict_lines(row.folder, self.whose())

    def judge(self, row, verdict, item, source, comment):
        """Write a verdict; the row as it is now."""
        from RTPipelineLib.cohort.rows import reviewed
        from RTPipelineLib.review import add_verdict

        add_verdict(
            row.folder, verdict, self.reviewer, roi=item, source=source, comment=comment
        )
        return reviewed(row, None, self.whose())

    # -- results

    def plottable(self):
        """Structures and metrics of the cohort's tables."""
        from RTPipelineLib.cohort.values import plottable

        return plottable(self.out) if self.hasOutput() else ((), ())

    def plot(self, kind, structure, metric, other, onPoint):
        """Show a chart; a click on a point names its course."""
        from RTPipelineLib.scene.cohort_charts import show_band, show_box, show_scatter, watch

        if kind == 0:
            show_band(self.out, structure)
        elif kind == 1:
            show_box(self.out, structure, metric)
        else:
            show_scatter(self.out, structure, metric, other)
        self.stopWatching()
        self.clicks = watch(onPoint)

    def stopWatching(self):
        """Heed no clicks on charts."""
        if self.clicks is not None:
            self.clicks.stop()
        self.clicks = None

    def updateTables(self):
        """Start making the tables anew, with the verdicts given meanwhile; the process number."""
        from RTPipelineLib.cohort.background import start_tables

        return start_tables(self.out)

    def report(self):
        """The cohort's page; empty when there is none."""
        path = self.out / "results" / "report.html" if self.out is not None else None
        return str(path) if path is not None and path.is_file() else ""


class RTPipelineCohortTest(ScriptedLoadableModuleTest):
    """Self test, in the application too: an empty folder is no cohort and no error."""

    def setUp(self):
        slicer.mrmlScene.Clear(0)

    def test_a_folder_without_results_has_no_courses(self):
        logic = RTPipelineCohortLogic()
        logic.setOutput(slicer.app.temporaryPath)
        self.assertFalse(logic.hasOutput())
        self.assertEqual(logic.readRows(), [])
        self.assertIn("DICOM", logic.missingForStart())
