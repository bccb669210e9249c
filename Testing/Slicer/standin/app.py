"""Stand-ins for qSlicerApplication and its managers, on the real scene and logics."""

import importlib.util
import os
import pathlib
import sys
import tempfile

import slicer
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Signal

from . import core, qmrml


class CommandOptions:
    def __init__(self):
        self.runPythonAndExit = False
        self.noMainWindow = True
        self.verboseModuleDiscovery = False


class ModuleManager(QtCore.QObject):
    moduleAboutToBeUnloaded = Signal(str)
    moduleLoaded = Signal(str)
    __cppsignals__ = {
        "moduleAboutToBeUnloaded(QString)": "moduleAboutToBeUnloaded",
        "moduleLoaded(QString)": "moduleLoaded",
    }

    def __init__(self, parent=None):
        super().__init__(parent)
        self._modules = {}

    def module(self, name):
        return self._modules.get(name)

    def modulesNames(self):
        return list(self._modules)

    def factoryManager(self):
        return self

    def loadedModuleNames(self):
        return list(self._modules)

    def isLoaded(self, name):
        return name in self._modules


class Module(QtCore.QObject):
    """qSlicerAbstractCoreModule-like: built-in logic, CLI or scripted."""

    def __init__(self, name, logic=None, path="", parent=None):
        super().__init__(parent)
        self.setProperty("objectName", name)
        self.__dict__["_logic"] = logic
        self.name = name
        for k, v in dict(
            title=name,
            categories=[],
            dependencies=[],
            contributors=[],
            helpText="",
            acknowledgementText="",
            icon=None,
            hidden=False,
            path=path,
            associatedNodeTypes=[],
            index=-1,
            widgetRepresentationCreationEnabled=True,
            defaultDocumentationLink="",
        ).items():
            self.__dict__[k] = v
        self._rep = None

    def logic(self):
        return self._logic

    def __setattr__(self, k, v):
        self.__dict__[k] = v

    def widgetRepresentation(self):
        if self._rep is None and self.__dict__.get("_make"):
            self._rep = self._make()
        return self._rep

    def createNewWidgetRepresentation(self):
        return self._make()


class ScriptedModule(Module):
    pass


class ModuleWidget(qmrml.qMRMLWidget):
    """qSlicerScriptedLoadableModuleWidget-like parent of a scripted module's widget."""

    def __init__(self):
        super().__init__()
        self.isEntered = False
        self._self = None
        self.setLayout(QtWidgets.QVBoxLayout())

    def self(self):
        return self._self

    def enter(self):
        self.isEntered = True
        if hasattr(self._self, "enter"):
            self._self.enter()

    def exit(self):
        self.isEntered = False
        if hasattr(self._self, "exit"):
            self._self.exit()

    def reload(self):
        name = self._self.moduleName
        py = getattr(sys.modules[name], name + "Widget")(self)
        self._self = py
        setattr(slicer.modules, name + "Widget", py)
        py.setup()


class SliceWidget(QtCore.QObject):
    def __init__(self, view):
        super().__init__()
        self.v = view

    def sliceLogic(self):
        return self.v.logic

    def mrmlSliceNode(self):
        return self.v.node

    def sliceView(self):
        return self

    def sliceController(self):
        return self

    def fitSliceToBackground(self):
        self.v.fit()

    def forceRender(self):
        self.v.render()

    def scheduleRender(self):
        pass

    def renderWindow(self):
        return self.v.window

    def setVisible(self, on):
        pass


class ThreeDWidget(SliceWidget):
    def threeDView(self):
        return self

    def threeDController(self):
        return self

    def mrmlViewNode(self):
        return self.v.node

    def resetFocalPoint(self):
        self.v.reset()

    def resetCamera(self, *a, **k):
        self.v.reset()

    def rotateToViewAxis(self, axis):
        pass


class PlotView(QtCore.QObject):
    """qMRMLPlotView-like: a test emits what a click would."""

    dataSelected = Signal(object, object)
    __cppsignals__ = {"dataSelected(vtkStringArray*,vtkCollection*)": "dataSelected"}


class PlotWidget(QtCore.QObject):
    def __init__(self, node):
        super().__init__()
        self._node, self._view = node, PlotView()

    def plotView(self):
        return self._view

    def mrmlPlotViewNode(self):
        return self._node


class LayoutManager(QtCore.QObject):
    """The views of the scene's layout, which Slicer's own layout logic makes; each slice view has
    its logic at once, render windows are made on first use only."""

    def __init__(self, app):
        super().__init__()
        self.__dict__["_app"], self.__dict__["_widgets"], self.__dict__["_logics"] = app, {}, {}
        self.__dict__["_layouts"] = slicer.vtkMRMLLayoutLogic()
        self._layouts.SetMRMLScene(app._scene)
        self._layouts.GetLayoutNode().SetViewArrangement(3)
        self._layouts.GetLayoutNode().AddObserver("ModifiedEvent", self._follow)
        self._follow()

    def _follow(self, caller=None, event=None):
        for node in self._nodes("vtkMRMLSliceNode"):
            if node.GetID() not in self._logics:
                logic = slicer.vtkMRMLSliceLogic()
                logic.SetMRMLApplicationLogic(self._app._applogic)
                self._app._applogic.GetSliceLogics().AddItem(logic)
                logic.SetMRMLScene(self._app._scene)
                logic.SetSliceNode(node)
                self._logics[node.GetID()] = logic

    def _nodes(self, kind):
        views = self._layouts.GetViewNodes()
        found = (views.GetItemAsObject(n) for n in range(views.GetNumberOfItems()))
        return [node for node in found if node.IsA(kind)]

    def _widget(self, node, make):
        if node.GetID() not in self._widgets:
            self._widgets[node.GetID()] = make(node)
        return self._widgets[node.GetID()]

    @property
    def layout(self):
        return self._layouts.GetLayoutNode().GetViewArrangement()

    def setLayout(self, n):
        self._layouts.GetLayoutNode().SetViewArrangement(n)

    def sliceViewNames(self):
        return [node.GetLayoutName() for node in self._nodes("vtkMRMLSliceNode")]

    def sliceWidget(self, name):
        from . import views

        (node,) = (n for n in self._nodes("vtkMRMLSliceNode") if n.GetLayoutName() == name)
        logic = self._logics[node.GetID()]
        app = self._app
        return self._widget(
            node,
            lambda _: SliceWidget(views.SliceView(app._scene, app._applogic, name, logic=logic)),
        )

    @property
    def threeDViewCount(self):
        return len(self._nodes("vtkMRMLViewNode"))

    def threeDWidget(self, i):
        from . import views

        node = self._nodes("vtkMRMLViewNode")[i]
        app = self._app
        return self._widget(
            node, lambda _: ThreeDWidget(views.ThreeDView(app._scene, app._applogic, node=node))
        )

    tableViewCount = 0

    @property
    def plotViewCount(self):
        return len(self._nodes("vtkMRMLPlotViewNode"))

    def plotWidget(self, i):
        return self._widget(self._nodes("vtkMRMLPlotViewNode")[i], PlotWidget)

    def mrmlSliceLogics(self):
        return self._app._applogic.GetSliceLogics()

    def resetSliceViews(self, *a):
        for w in self._widgets.values():
            if type(w) is SliceWidget:
                w.v.fit()

    def resetThreeDViews(self):
        for w in self._widgets.values():
            if type(w) is ThreeDWidget:
                w.v.reset()


class Application(QtWidgets.QApplication):
    """qSlicerApplication-like."""

    startupCompleted = Signal()
    mrmlSceneChanged = Signal(object)
    __cppsignals__ = {
        "startupCompleted()": "startupCompleted",
        "mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged",
    }

    def __init__(self, argv, version="5.12.0", tmp=None):
        super().__init__(argv)
        self.setOrganizationName("NA-MIC")
        self.setApplicationName("Slicer")
        tmp = tmp or tempfile.mkdtemp(prefix="slicerharness_")
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, tmp)
        d = self.__dict__
        d["temporaryPath"] = os.path.join(tmp, "tmp")
        os.makedirs(d["temporaryPath"], exist_ok=True)
        d["cachePath"] = os.path.join(tmp, "cache")
        d["slicerHome"] = tmp
        d["extensionsInstallPath"] = os.path.join(tmp, "ext")
        d["documentationBaseUrl"] = "https://slicer.readthedocs.io/en/latest/"
        d["applicationVersion"] = version
        d["majorVersion"], d["minorVersion"] = (int(p) for p in version.split(".")[:2])
        d["revision"], d["os"], d["arch"] = "0", "linux", "amd64"
        d["releaseType"] = "Stable"
        d["launcherExecutableFilePath"] = sys.executable
        d["_testing"] = True
        self._manager = ModuleManager(self)
        self._options = CommandOptions()
        self._layout = None
        self._paused = 0
        self._settings = QtCore.QSettings()

    # scene
    def boot(self):
        core.register_converters()
        self._scene = core.new_scene()
        self._applogic = core.new_applogic(self._scene)
        self._logics = core.new_logics(self._scene, self._applogic)
        self._sh = core.SubjectHierarchySync(self._scene)
        self._applogic.SetTemporaryPath(self.temporaryPath)
        self._remote = slicer.vtkMRMLRemoteIOLogic()
        self._remote.SetMRMLScene(self._scene)
        self._remote.GetCacheManager().SetRemoteCacheDirectory(self.temporaryPath)
        self._remote.AddDataIOToScene()
        self._dataio = slicer.vtkDataIOManagerLogic()
        self._dataio.SetMRMLApplicationLogic(self._applogic)
        self._dataio.SetAndObserveDataIOManager(self._remote.GetDataIOManager())

    def mrmlScene(self):
        return self._scene

    def applicationLogic(self):
        return self._applogic

    def moduleLogic(self, name):
        return self._logics.get(name)

    def moduleManager(self):
        return self._manager

    def layoutManager(self):
        if self._layout is None:
            self._layout = LayoutManager(self)
        return self._layout

    def commandOptions(self):
        return self._options

    def testingEnabled(self):
        return self._testing

    def settings(self):
        return self._settings

    userSettings = revisionUserSettings = settings

    def pauseRender(self):
        self._paused += 1

    def resumeRender(self):
        self._paused -= 1

    def setRenderPaused(self, on):
        pass

    def moduleDocumentationUrl(self, name):
        return self.documentationBaseUrl + "user_guide/modules/" + name.lower() + ".html"

    def translate(self, context, text):
        return text

    def startupEnvironment(self):
        e = QtCore.QProcessEnvironment.systemEnvironment()

        class Env:
            keys = staticmethod(e.keys)
            value = staticmethod(e.value)

        return Env


def load_scripted_module(path, parent_app):
    """What qSlicerScriptedLoadableModule does: import file, make <Name>(parent), register it."""
    path = str(pathlib.Path(path).resolve())
    name = os.path.splitext(os.path.basename(path))[0]
    folder = os.path.dirname(path)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(name, path)
    mod = importlib.util.module_from_spec(spec)
    sys.modules[name] = mod
    spec.loader.exec_module(mod)
    m = ScriptedModule(name, path=path, parent=parent_app)
    logic = (
        slicer.vtkSlicerScriptedLoadableModuleLogic()
        if hasattr(slicer, "vtkSlicerScriptedLoadableModuleLogic")
        else None
    )
    m.__dict__["_logic"] = logic
    setattr(slicer.modules, name.lower(), m)
    setattr(slicer.moduleNames, name, name)
    inst = getattr(mod, name)(m)
    setattr(slicer.modules, name + "Instance", inst)
    parent_app._manager._modules[name] = m

    def make():
        w = ModuleWidget()
        w.setMRMLScene(slicer.mrmlScene)
        py = getattr(sys.modules[name], name + "Widget")(w)
        w._self = py
        setattr(slicer.modules, name + "Widget", py)
        py.setup()
        return w

    m._make = make
    return m
