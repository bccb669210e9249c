"""Offscreen slice/3D views on Slicer's own displayable managers (no Qt, no display needed)."""

import slicer
import vtk

SLICE_DMS = [
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager2D",
    "vtkMRMLColorLegendDisplayableManager",
]
THREED_DMS = [
    "vtkMRMLVolumeRenderingDisplayableManager",
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLThreeDReformatDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager3D",
    "vtkMRMLColorLegendDisplayableManager",
]


class _View:
    def __init__(self, size, factory, dms, applogic):
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        self.group.SetRenderer(self.renderer)
        factory.SetMRMLApplicationLogic(applogic)
        for name in dms:
            if hasattr(slicer, name) and not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self.group.Initialize(factory, self.renderer)

    def render(self):
        self.window.Render()

    def png(self, path):
        self.render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.Update()
        w = vtk.vtkPNGWriter()
        w.SetFileName(str(path))
        w.SetInputData(grab.GetOutput())
        w.Write()
        return path

    def array(self):
        from vtk.util import numpy_support as ns

        self.render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.Update()
        im = grab.GetOutput()
        d = im.GetDimensions()
        return ns.vtk_to_numpy(im.GetPointData().GetScalars()).reshape(d[1], d[0], -1)[::-1].copy()


def save(array, path):
    """An array (rows, columns, red green blue) as PNG."""
    from vtk.util import numpy_support as ns

    image = vtk.vtkImageData()
    image.SetDimensions(array.shape[1], array.shape[0], 1)
    colours = ns.numpy_to_vtk(array[::-1].reshape(-1, 3).astype("uint8"), deep=True)
    image.GetPointData().SetScalars(colours)
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.Write()


class SliceView(_View):
    """One of its own, or that of a `logic` which has its slice node."""

    def __init__(
        self, scene, applogic, name="Red", orientation="Axial", size=(512, 512), logic=None
    ):
        super().__init__(
            size,
            slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance(),
            SLICE_DMS,
            applogic,
        )
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        overlay = vtk.vtkRenderer()
        overlay.SetLayer(1)
        overlay.GetActiveCamera().ParallelProjectionOn()
        self.window.SetNumberOfLayers(2)
        self.window.AddRenderer(overlay)
        self.overlay = overlay
        self.mapper = vtk.vtkImageMapper()
        self.mapper.SetColorWindow(255)
        self.mapper.SetColorLevel(127.5)
        self.actor = vtk.vtkActor2D()
        self.actor.SetMapper(self.mapper)
        self.actor.GetProperty().SetDisplayLocationToBackground()
        self.actor.VisibilityOff()
        self.renderer.AddViewProp(self.actor)
        self.logic = logic or self._new_logic(scene, applogic, name, orientation)
        self.node = self.logic.GetSliceNode()
        self.group.SetMRMLDisplayableNode(self.node)
        self.logic.ResizeSliceNode(*size)

    @staticmethod
    def _new_logic(scene, applogic, name, orientation):
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(applogic)
        applogic.GetSliceLogics().AddItem(logic)
        logic.SetMRMLScene(scene)
        logic.AddSliceNode(name).SetOrientation(orientation)
        return logic

    def composite(self):
        return self.logic.GetSliceCompositeNode()

    def set_layers(self, background=None, foreground=None, label=None, fg_opacity=0.5):
        c = self.composite()
        c.SetBackgroundVolumeID(background.GetID() if background else None)
        c.SetForegroundVolumeID(foreground.GetID() if foreground else None)
        c.SetLabelVolumeID(label.GetID() if label else None)
        c.SetForegroundOpacity(fg_opacity)
        self.fit()

    def fit(self):
        self.logic.ResizeSliceNode(*self.window.GetSize())
        self.logic.FitSliceToBackground()
        self.logic.SnapSliceOffsetToIJK()

    def offset(self, mm):
        self.logic.SetSliceOffset(mm)

    def render(self):
        conn = self.logic.GetImageDataConnection()
        self.mapper.SetInputConnection(conn)
        self.actor.SetVisibility(bool(conn))
        super().render()


class ThreeDView(_View):
    def __init__(self, scene, applogic, name="1", size=(512, 512), node=None):
        super().__init__(
            size,
            slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance(),
            THREED_DMS,
            applogic,
        )
        self.renderer.SetUseDepthPeeling(True)
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(applogic)
        applogic.GetViewLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(scene)
        if node is not None:
            self.logic.SetViewNode(node)
        self.node = node or self.logic.AddViewNode(name)
        self.group.SetMRMLDisplayableNode(self.node)

    def reset(self):
        b = [0.0] * 6
        self.node.SetBoxVisible(0)
        self.node.SetAxisLabelsVisible(0)
        self.renderer.ComputeVisiblePropBounds(b)
        cam = self.renderer.GetActiveCamera()
        cam.SetFocalPoint(*[(b[i] + b[i + 1]) / 2 for i in (0, 2, 4)])
        self.renderer.ResetCamera(b)
        self.renderer.ResetCameraClippingRange()
