"""Module "RT Pipeline" of 3D Slicer: one course, from its folder into the scene."""

import sys
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

# What pip downloads of them on Linux with Python 3.12 (68 MB), rounded up.
DOWNLOAD_MB = 70
# Installed with Slicer: never replaced.
SHIPPED = ["numpy", "scipy", "SimpleITK", "pydicom", "torch", "requests"]


def addLibraryToPath():
    """From source the library lies beside this module's folder; installed it is on the path."""
    home = str(Path(__file__).resolve().parents[1])
    if (Path(home) / "RTPipelineLib").is_dir() and home not in sys.path:
        sys.path.append(home)


class RTPipeline(ScriptedLoadableModule):
    """What Slicer shows of the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("RT Pipeline")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Radiotherapy")]
        parent.dependencies = []
        parent.contributors = ["The RT Pipeline contributors"]
        parent.helpText = _("Radiotherapy DICOM to linked courses, doses and DVH tables.")
        parent.acknowledgementText = _("For research use.")
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """A button in the module Sample Data; what it shows is made here, not downloaded."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="RT Pipeline",
        sampleName="RTPipelineSample",
        uris="",
        fileNames="",
        nodeNames="Synthetic lung course",
        customDownloader=showSampleData,
        thumbnailFileName=str(Path(__file__).parent / "Resources" / "Icons" / "RTPipelineSample.png"),
    )


def showSampleData(source=None):
    with slicer.util.tryWithErrorDisplay(_("The sample course could not be shown."), waitCursor=True):
        RTPipelineLogic().showSample()


class RTPipelineWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Folder, course, DVH; what works here and what to install."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.courses = []
        self.panels = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/RTPipeline.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = RTPipelineLogic()
        self.pipeline = None
        if not self.logic.missingPackages():
            from RTPipelinePanels.pipeline import PipelinePanel

            courseWidget = slicer.util.loadUI(self.resourcePath("UI/RTPipelineCourse.ui"))
            self.layout.addWidget(courseWidget)
            addLibraryToPath()
            self.pipeline = PipelinePanel(
                slicer.util.childWidgetVariables(courseWidget), self.logic, self.onRunFinished
            )
        self.ui.folderPath.connect("currentPathChanged(QString)", self.onFolderChanged)
        self.ui.databaseBox.connect("activated(int)", self.onPatient)
        self.showPatients()
        self.ui.courseBox.connect("currentIndexChanged(int)", self.onCourseChanged)
        self.ui.findButton.connect("clicked(bool)", self.onFind)
        self.ui.showButton.connect("clicked(bool)", self.onShow)
        self.ui.computeButton.connect("clicked(bool)", self.onCompute)
        self.ui.csvButton.connect("clicked(bool)", self.onSave)
        self.ui.installButton.connect("clicked(bool)", self.onInstall)
        self.ui.doctorButton.connect("clicked(bool)", self.onDoctor)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.setupPanels()
        self.updatePackages()
        self.updateButtons()

    def setupPanels(self):
        """The sections that work on the shown course."""
        addLibraryToPath()
        from RTPipelinePanels.curves import CurvesPanel
        from RTPipelinePanels.edit import EditPanel
        from RTPipelinePanels.logic import SceneLogic
        from RTPipelinePanels.review import ReviewPanel
        from RTPipelinePanels.view import ViewPanel

        widget = slicer.util.loadUI(self.resourcePath("UI/RTPipelineScene.ui"))
        self.layout.addWidget(widget)
        self.sceneUi = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        logic = SceneLogic(self.logic)
        self.editPanel = EditPanel(self.sceneUi, logic, self.say)
        curves = slicer.util.loadUI(self.resourcePath("UI/RTPipelineCurves.ui"))
        self.layout.addWidget(curves)
        self.panels = [
            CurvesPanel(slicer.util.childWidgetVariables(curves), logic, self.ui.metricsView),
            ViewPanel(self.sceneUi, self.ui.metricsView, logic, self.say),
            self.editPanel,
            ReviewPanel(self.sceneUi, logic, self.say),
        ]

    def enter(self):
        self.showPatients()

    def cleanup(self):
        self.removeObservers()
        if self.pipeline is not None:
            self.pipeline.close()
        if self.panels:
            self.editPanel.stop()

    def onSceneEndClose(self, caller=None, event=None):
        self.logic.forget()
        self.updateButtons()

    def updateButtons(self):
        """A disabled button says what is missing."""
        states = (
            (self.ui.findButton, self.ui.folderPath.currentPath, _("Choose a folder first.")),
            (self.ui.showButton, self.courses, _("Find the courses of a folder first.")),
            (self.ui.computeButton, self.logic.hasDose(), _("Show a course with a dose and structures first.")),
            (self.ui.csvButton, self.logic.rows, _("Compute the DVHs first.")),
        )
        for button, ready, missing in states:
            button.enabled = bool(ready)
            button.toolTip = "" if ready else missing
        for panel in self.panels:
            panel.update()

    def updatePackages(self):
        missing = self.logic.missingPackages()
        self.ui.installButton.enabled = bool(missing)
        if missing:
            text = _(
                "Viewing, DVHs and CSV work now. Whole pipelines also need {names}: about {size} MB "
                "from PyPI, installed into Slicer's own Python."
            ).format(names=", ".join(missing), size=DOWNLOAD_MB)
            self.ui.installButton.toolTip = ""
        else:
            text = _("All packages of the pipeline are installed.")
            self.ui.installButton.toolTip = _("Nothing is missing.")
        self.ui.packagesLabel.text = text

    def say(self, text):
        self.ui.messageText.appendPlainText(text)

    def onFolderChanged(self, path):
        self.courses = []
        self.logic.folder = path
        self.ui.courseBox.clear()
        self.showDecisions()
        self.updateButtons()

    def showPatients(self):
        """What the DICOM database has now."""
        box = self.ui.databaseBox
        box.clear()
        patients = self.logic.databasePatients()
        box.addItem(_("choose ...") if patients else _("the DICOM database has none"), "")
        for key, words in patients:
            box.addItem(words, key)
        box.enabled = bool(patients)

    def onPatient(self, number):
        key = self.ui.databaseBox.itemData(number)
        if key:
            with slicer.util.tryWithErrorDisplay(_("The patient could not be read."), waitCursor=True):
                self.ui.folderPath.currentPath = self.logic.patientFolder(key)
                self.onFind()

    def onCourseChanged(self, number):
        self.showDecisions()

    def showDecisions(self):
        """Links and decisions of the chosen course, where the pipeline has been."""
        if self.pipeline is not None:
            number = self.ui.courseBox.currentIndex
            self.pipeline.show(self.courses[number] if 0 <= number < len(self.courses) else None)

    def onRunFinished(self, out):
        """The results of a run take the place of the folder that they were made from."""
        from RTPipelineLib.course import course_folders

        if not course_folders(out):
            return  # it was cancelled before there was anything
        number = max(self.ui.courseBox.currentIndex, 0)
        self.ui.folderPath.currentPath = str(out)
        self.onFind()
        self.ui.courseBox.setCurrentIndex(min(number, self.ui.courseBox.count - 1))

    def onFind(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("The folder could not be read."), waitCursor=True):
            self.courses = self.logic.findCourses(self.ui.folderPath.currentPath)
            self.ui.courseBox.clear()
            for course in self.courses:
                self.ui.courseBox.addItem(f"{course.patient_id} / {course.course_id}")
        self.updateButtons()

    def onShow(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("The course could not be shown."), waitCursor=True):
            problems = self.logic.showCourse(self.courses[self.ui.courseBox.currentIndex])
            for problem in problems:
                self.say(problem)
        self.updateButtons()

    def onCompute(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("The DVHs could not be computed."), waitCursor=True):
            self.ui.metricsView.setMRMLTableNode(self.logic.computeDvhs())
        self.updateButtons()

    def onSave(self, checked=False):
        path = qt.QFileDialog.getSaveFileName(None, _("Save as CSV"), "dvh_metrics.csv", "CSV (*.csv)")
        path = path[0] if isinstance(path, tuple) else path
        if path:
            with slicer.util.tryWithErrorDisplay(_("The table could not be saved.")):
                self.logic.saveCsv(path)

    def onInstall(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("The packages could not be installed."), waitCursor=True):
            self.logic.installPackages(self.resourcePath("requirements.txt"))
        self.updatePackages()

    def onDoctor(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("The installation could not be checked."), waitCursor=True):
            self.say(self.logic.doctor())


class RTPipelineLogic(ScriptedLoadableModuleLogic):
    """What the panel asks for, without widgets; raises what the library raises."""

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self.folder = ""
        self.forget()

    def forget(self):
        """No course is shown, nothing is computed."""
        self.shown = self.chart = self.metrics = None
        self.rows = []

    def findCourses(self, folder):
        """The courses of an output folder, of one course, or of a folder of DICOM."""
        addLibraryToPath()
        from RTPipelineLib.scene.opening import find_courses

        return find_courses(folder)

    def databasePatients(self):
        """(key, words) of the patients of Slicer's DICOM database."""
        addLibraryToPath()
        from RTPipelineLib.scene.database import database_patients

        return database_patients()

    def patientFolder(self, key):
        """A folder with the files of a patient of the database."""
        addLibraryToPath()
        from RTPipelineLib.scene.database import patient_folder

        return str(patient_folder(key, slicer.app.cachePath))

    def showCourse(self, course):
        """Load a course into the scene and the slice views; what could not be shown, as sentences."""
        addLibraryToPath()
        from RTPipelineLib.scene.display import show_course

        self.forget()
        self.shown = show_course(course)
        image, dose = (nodes[0] if nodes else None for nodes in (self.shown.images, self.shown.doses))
        slicer.util.setSliceViewerLayers(background=image, foreground=dose, foregroundOpacity=0.4, fit=True)
        return self.shown.problems

    def showSample(self):
        """Make the synthetic course, if it is not there yet, and show it."""
        addLibraryToPath()
        from RTPipelineLib.scene.samples import sample_course

        return self.showCourse(sample_course(slicer.app.cachePath))

    def hasDose(self):
        """Whether the shown course has a dose and structures."""
        return self.shown is not None and bool(self.shown.doses_gy and self.shown.structures)

    def computeDvhs(self):
        """Table of metrics of the shown course; a chart of its curves comes with it."""
        addLibraryToPath()
        from RTPipelineLib.scene.dvh_course import dvhs_of, show_dvhs

        dvhs, self.rows = dvhs_of(self.shown)
        self.chart, self.metrics = show_dvhs(self.shown, dvhs, self.rows)
        return self.metrics

    def keepRow(self, row):
        """The metrics of an edited structure, instead of those of its last edit."""
        keys = ("source", "structure_set", "roi_name")
        self.rows = [r for r in self.rows if any(r[key] != row[key] for key in keys)] + [row]

    def saveCsv(self, path):
        """Write the metrics that were computed last."""
        addLibraryToPath()
        from RTPipelineLib.scene.dvh_course import write_csv

        write_csv(path, self.rows)

    def inputFolder(self, courseFolder):
        """The DICOM folder of a run: that of the output folder's last run, or the chosen one."""
        addLibraryToPath()
        from RTPipelineLib.errors import UsageError
        from RTPipelineLib.run.output import read_run

        if courseFolder is None:
            return self.folder
        try:
            return str(read_run(courseFolder.parent.parent).get("dicom_dir", ""))
        except UsageError:
            return ""

    def startRun(self, out, courseFolder):
        """Run the pipeline, for the course's patient alone where there is one; its process."""
        from RTPipelineLib.cohort.background import start_run
        from RTPipelineLib.course import read_course

        arguments = [self.inputFolder(courseFolder), out]
        config = out / "config.yaml"
        if config.is_file():
            arguments += ["--config", config]
        if courseFolder is not None:
            arguments += ["--patients", read_course(courseFolder).patient_id]
        return start_run(out, arguments)

    def missingPackages(self):
        """Packages of requirements.txt that this Python lacks, by name."""
        from importlib.util import find_spec

        names = {"pandas": "pandas", "pyarrow": "pyarrow", "pydantic": "pydantic", "ruamel.yaml": "ruamel",
                 "psutil": "psutil", "tqdm": "tqdm"}
        return [name for name, module in names.items() if find_spec(module) is None]

    def installPackages(self, requirements):
        """Install into Slicer's Python after Slicer has asked; what Slicer ships stays as it is."""
        import slicer.packaging

        wanted = slicer.packaging.load_requirements(requirements)
        slicer.packaging.pip_ensure(wanted, skip_packages=SHIPPED, requester="RTPipeline")

    def doctor(self):
        """What `rtpipeline doctor` says of this installation."""
        import contextlib
        import io

        addLibraryToPath()
        from RTPipelineLib.cli import main

        text = io.StringIO()
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            main(["doctor"])
        return text.getvalue()


class RTPipelineTest(ScriptedLoadableModuleTest):
    """Self test, in the application too: a course without files comes up and goes again."""

    def setUp(self):
        slicer.mrmlScene.Clear(0)

    def test_sample_course(self):
        logic = RTPipelineLogic()
        self.assertEqual(logic.showSample(), [])
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"), 1)
        table = logic.computeDvhs()
        self.assertEqual(table.GetNumberOfRows(), len(logic.shown.structures.popitem()[1]))

    def test_wrong_folder_is_refused(self):
        with self.assertRaises(Exception) as caught:
            RTPipelineLogic().findCourses("there is no such folder")
        self.assertIn("is not a folder", str(caught.exception))
