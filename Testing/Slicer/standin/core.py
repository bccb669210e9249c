"""Scene + application logic + module logics, the part of Slicer that slicer-core really has."""

import slicer
import vtk


def new_scene():
    scene = slicer.vtkMRMLScene()
    cross = slicer.vtkMRMLCrosshairNode()
    cross.SetCrosshairName("default")
    scene.AddNode(cross)
    return scene


def new_applogic(scene):
    al = slicer.vtkSlicerApplicationLogic()
    al.SetMRMLScene(scene)
    al.GetColorLogic().SetMRMLScene(scene)
    al.GetColorLogic().AddDefaultColorNodes()
    al.SetSliceLogics(vtk.vtkCollection())
    al.SetViewLogics(vtk.vtkCollection())
    slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance().SetMRMLApplicationLogic(al)
    slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance().SetMRMLApplicationLogic(al)
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    return al


# Slicer module name -> C++ logic class that slicer-core ships
LOGICS = {
    "Annotations": "vtkSlicerAnnotationModuleLogic",
    "Cameras": "vtkSlicerCamerasModuleLogic",
    "Colors": "vtkSlicerColorLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Data": "vtkSlicerDataModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Reformat": "vtkSlicerReformatLogic",
    "SceneViews": "vtkSlicerSceneViewsModuleLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Units": "vtkSlicerUnitsLogic",
    "ViewControllers": "vtkSlicerViewControllersLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "Volumes": "vtkSlicerVolumesLogic",
}


def register_converters():
    """The application does this when it loads its module Segmentations."""
    factory = slicer.vtkSegmentationConverterFactory.GetInstance()
    factory.RegisterConverterRule(slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule())
    factory.RegisterConverterRule(slicer.vtkClosedSurfaceToBinaryLabelmapConversionRule())


def new_logics(scene, al, share=None):
    out = {}
    for name, cls in LOGICS.items():
        cls = getattr(slicer, cls, None)
        if cls is None:
            continue
        try:
            lo = cls()
        except TypeError:
            continue
        if share and hasattr(lo, "SetModuleShareDirectory"):
            lo.SetModuleShareDirectory(share.get(name, ""))
        lo.SetMRMLApplicationLogic(al)
        lo.SetMRMLScene(scene)
        al.SetModuleLogic(name, lo)
        out[name] = lo
    return out


class SubjectHierarchySync:
    """Stand-in for the Qt-side qSlicerSubjectHierarchyPluginLogic: gives each shown node an item."""

    KINDS = (
        "vtkMRMLVolumeNode",
        "vtkMRMLModelNode",
        "vtkMRMLSegmentationNode",
        "vtkMRMLMarkupsNode",
        "vtkMRMLTransformNode",
        "vtkMRMLTableNode",
        "vtkMRMLPlotChartNode",
        "vtkMRMLPlotSeriesNode",
        "vtkMRMLTextNode",
        "vtkMRMLSequenceNode",
        "vtkMRMLSequenceBrowserNode",
    )

    def __init__(self, scene):
        self.scene = scene
        self._tags = [
            scene.AddObserver(scene.NodeAddedEvent, self._added),
            scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._removed),
        ]

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _added(self, caller, event, node):
        if node is None or self.scene.IsImporting() or node.GetHideFromEditors():
            return
        if any(node.IsA(k) for k in self.KINDS):
            sh = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)
            if sh and not sh.GetItemByDataNode(node):
                sh.CreateItem(sh.GetSceneItemID(), node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _removed(self, caller, event, node):
        sh = self.scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
        if sh and node is not None and node is not sh:
            item = sh.GetItemByDataNode(node)
            if item:
                sh.RemoveItem(item, False, False)
