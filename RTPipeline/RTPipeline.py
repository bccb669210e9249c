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
        parent.helpText = _(
            "One course of radiotherapy from its DICOM folder to an answer: objects linked into courses, "
            "doses summed, structures, DVHs and clinical goals, decisions corrected in place, edits "
            "with their DVH at once, verdicts, export.<br>"
            "1. Choose a folder of DICOM, a patient of the DICOM database or an output folder and find "
            "its courses. 2. Run the pipeline, decide what it asks, run again. 3. Show the course, "
            "compute its DVHs, edit, judge, export.<br>"
            "Tutorial: the README of the extension."
        )
        parent.acknowledgementText = _(
            "Made by the RT Pipeline contributors on 3D Slicer, VTK, SimpleITK, NumPy, SciPy and pydicom. "
            "For research; not a medical device. Every table says by which version it was made and "
            "methods.html of an output folder what to cite."
        )
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
        self.saved = None
        self.courses = []
        self.panels = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/RTPipeline.ui"))
        self.layout.addWidget(uiWidget)
        self.sections = uiWidget.layout()
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = RTPipelineLogic()
        self.setupPipeline()
        self.ui.folderPath.connect("currentPathChanged(QString)", self.onFolderChanged)
        self.ui.databaseBox.connect("activated(int)", self.onPatient)
        self.showPatients()
        self.ui.courseBox.connect("currentIndexChanged(int)", self.onCourseChanged)
        self.ui.findButton.connect("clicked(bool)", self.onFind)
        self.ui.showButton.connect("clicked(bool)", self.onShow)
        self.ui.computeButton.connect("clicked(bool)", self.onCompute)
        self.ui.csvButton.connect("clicked(bool)", self.onSave)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.setupPanels()
        self.updateButtons()
        self.saved.takeUp()

    def setupPipeline(self):
        """The sections that need the packages; without them they are not there."""
        from RTPipelinePanels.packages import missingPackages

        self.pipeline = None
        if missingPackages():
            return
        from RTPipelinePanels.pipeline import PipelinePanel

        widget = slicer.util.loadUI(self.resourcePath("UI/RTPipelineCourse.ui"))
        self.sections.insertWidget(self.sections.indexOf(self.ui.dvhButton), widget)
        self.pipeline = PipelinePanel(
            slicer.util.childWidgetVariables(widget), self.logic, self.onRunFinished
        )
        self.showDecisions()  # a course may have been chosen before the packages were there

    def setupPanels(self):
        """The sections that work on the shown course."""
        from RTPipelinePanels.curves import CurvesPanel
        from RTPipelinePanels.edit import EditPanel
        from RTPipelinePanels.logic import SceneLogic
        from RTPipelinePanels.packages import PackagesPanel
        from RTPipelinePanels.review import ReviewPanel
        from RTPipelinePanels.saved import SavedState
        from RTPipelinePanels.view import ViewPanel

        curves = slicer.util.loadUI(self.resourcePath("UI/RTPipelineCurves.ui"))
        widget = slicer.util.loadUI(self.resourcePath("UI/RTPipelineScene.ui"))
        for section in (curves, widget):
            self.sections.insertWidget(self.sections.indexOf(self.ui.packagesButton), section)
        self.sceneUi = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        logic = SceneLogic(self.logic)
        self.editPanel = EditPanel(self.sceneUi, logic, self.say)
        self.curvesPanel = CurvesPanel(slicer.util.childWidgetVariables(curves), logic, self.ui.metricsView)
        requirements = self.resourcePath("requirements.txt")
        self.packagesPanel = PackagesPanel(self.ui, requirements, self.say, self.setupPipeline)
        self.panels = [
            self.curvesPanel,
            ViewPanel(self.sceneUi, self.ui.metricsView, logic, self.say, self.curvesPanel.watch),
            self.editPanel,
            ReviewPanel(self.sceneUi, logic, self.say),
        ]
        self.saved = SavedState(self)

    def enter(self):
        self.showPatients()
        self.saved.enter()

    def cleanup(self):
        self.removeObservers()
        if self.pipeline is not None:
            self.pipeline.close()
        if self.panels:
            self.editPanel.stop()
            self.curvesPanel.stop()
            self.saved.close()

    def onSceneEndClose(self, caller=None, event=None):
        self.logic.forget()
        self.updateButtons()

    def takeUp(self, folder, course):
        """Work on the course of a saved scene again."""
        self.ui.folderPath.currentPath = folder
        self.listCourses()
        number = self.ui.courseBox.findText(course)
        if number < 0:
            raise ValueError(_("{folder} has no such course any more.").format(folder=folder))
        self.ui.courseBox.setCurrentIndex(number)
        for problem in self.logic.takeUp(self.courses[number]):
            self.say(problem)
        self.ui.metricsView.setMRMLTableNode(self.logic.metrics)

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
            self.listCourses()
        self.updateButtons()

    def listCourses(self):
        self.courses = self.logic.findCourses(self.ui.folderPath.currentPath)
        self.ui.courseBox.clear()
        for course in self.courses:
            self.ui.courseBox.addItem(f"{course.patient_id} / {course.course_id}")

    def onShow(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("The course could not be shown."), waitCursor=True):
            problems = self.logic.showCourse(self.courses[self.ui.courseBox.currentIndex])
            for problem in problems:
                self.say(problem)
            self.saved.remember(self.ui.folderPath.currentPath, self.ui.courseBox.currentText)
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


class RTPipelineLogic(ScriptedLoadableModuleLogic):
    """What the panel asks for, without widgets; raises what the library raises."""

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        addLibraryToPath()
        self.folder = ""
        self.forget()

    def forget(self):
        """No course is shown, nothing is computed."""
        self.shown = self.chart = self.metrics = None
        self.rows = []

    def findCourses(self, folder):
        """The courses of an output folder, of one course, or of a folder of DICOM."""
        from RTPipelineLib.scene.opening import find_courses

        return find_courses(folder)

    def databasePatients(self):
        """(key, words) of the patients of Slicer's DICOM database."""
        from RTPipelineLib.scene.database import database_patients

        return database_patients()

    def patientFolder(self, key):
        """A folder with the files of a patient of the database."""
        from RTPipelineLib.scene.database import patient_folder

        return str(patient_folder(key, slicer.app.cachePath))

    def showCourse(self, course):
        """Load a course into the scene and the slice views, instead of what an earlier click loaded
        of it; what could not be shown, as sentences."""
        from RTPipelineLib.scene.display import hide_course, is_edited, is_of, show_course

        old, notes = self.shown, []
        if old is not None and is_of(old, course):
            if is_edited(old):
                notes = [_("Its segments were edited or come from a saved scene: they stay in the scene beside the new.")]
            else:
                hide_course(old)
        self.forget()
        self.shown = show_course(course)
        image, dose = (nodes[0] if nodes else None for nodes in (self.shown.images, self.shown.doses))
        slicer.util.setSliceViewerLayers(background=image, foreground=dose, foregroundOpacity=0.4, fit=True)
        return notes + self.shown.problems

    def takeUp(self, course):
        """Work on a course that the scene holds already; what could not be read, as sentences."""
        from RTPipelineLib.scene.again import last_dvhs, take_up

        self.forget()
        self.shown = take_up(course)
        if self.shown is None:
            return [_("The scene does not hold the course any more: show it again.")]
        self.chart, self.metrics = last_dvhs(self.shown)
        return self.shown.problems

    def showSample(self):
        """Make the synthetic course, if it is not there yet, and show it."""
        from RTPipelineLib.scene.samples import sample_course

        return self.showCourse(sample_course(slicer.app.cachePath))

    def hasDose(self):
        """Whether the shown course has a dose and structures."""
        return self.shown is not None and bool(self.shown.doses_gy and self.shown.structures)

    def computeDvhs(self):
        """Table of metrics of the shown course; a chart of its curves comes with it."""
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
        from RTPipelineLib.scene.dvh_course import write_csv

        write_csv(path, self.rows)

    def inputFolder(self, courseFolder):
        """The DICOM folder of a run: that of the output folder's last run, or the chosen one."""
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
