"""Stand-ins for the qMRML widgets, on the real MRML scene. Names only as the qMRML headers expose to PythonQt."""

import vtk
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Qt, Signal

from .ctk import simple
from .qt import register_custom

CLASSES = {}
# As `ABSENT` of the stand-in for ctk.
ABSENT = (
    "qMRMLNodeComboBox",
    "qMRMLRangeWidget",
    "qMRMLSliderWidget",
    "qMRMLSpinBox",
    "qSlicerWidget",
)


def widget(cls):
    CLASSES[cls.__name__] = cls
    return register_custom(cls)


class _SceneHolder:
    """Scene observation shared by the widgets below."""

    def _observe(self, scene, events):
        self._unobserve()
        self._scene = scene
        self._tags = [scene.AddObserver(e, f) for e, f in events] if scene else []

    def _unobserve(self):
        if getattr(self, "_scene", None) is not None:
            for t in getattr(self, "_tags", []):
                self._scene.RemoveObserver(t)
        self._tags = []

    def mrmlScene(self):
        return getattr(self, "_scene", None)


@widget
class qMRMLWidget(QtWidgets.QWidget):
    mrmlSceneChanged = Signal(object)
    __cppsignals__ = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}

    def __init__(self, parent=None, *a):
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if scene is self._scene:
            return
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)


class _TableModel(QtCore.QAbstractTableModel):
    def __init__(self, view):
        super().__init__(view)
        self.node = None

    def _t(self):
        return self.node.GetTable() if self.node else None

    def _header(self):
        return bool(self.node and self.node.GetUseColumnTitleAsColumnHeader())

    def rowCount(self, parent=QtCore.QModelIndex()):
        t = self._t()
        return (
            0
            if t is None or parent.isValid()
            else t.GetNumberOfRows() + (0 if self._header() else 1)
        )

    def columnCount(self, parent=QtCore.QModelIndex()):
        t = self._t()
        return 0 if t is None or parent.isValid() else t.GetNumberOfColumns()

    def data(self, index, role=Qt.DisplayRole):
        t = self._t()
        if t is None or not index.isValid():
            return None
        col = t.GetColumn(index.column())
        row = index.row() - (0 if self._header() else 1)
        if row < 0:
            return col.GetName() if role == Qt.DisplayRole else None
        if isinstance(col, vtk.vtkBitArray):
            if role == Qt.CheckStateRole:
                return Qt.Checked if col.GetValue(row) else Qt.Unchecked
            return None
        if role in (Qt.DisplayRole, Qt.EditRole):
            return t.GetValue(row, index.column()).ToString()
        return None

    def headerData(self, section, orientation, role=Qt.DisplayRole):
        t = self._t()
        if role == Qt.DisplayRole and t is not None:
            if orientation == Qt.Horizontal and self._header():
                return t.GetColumnName(section)
            return str(section + 1)
        return None

    def flags(self, index):
        f = super().flags(index)
        return f if self.node is None or self.node.GetLocked() else f | Qt.ItemIsEditable


@widget
class qMRMLTableView(QtWidgets.QTableView, _SceneHolder):
    mrmlSceneChanged = Signal(object)
    _selectionChanged = Signal()
    __cppsignals__ = {
        "mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged",
        "selectionChanged()": "_selectionChanged",
    }

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene, self._tag = None, None
        self._m = _TableModel(self)
        self.setModel(self._m)
        self.selectionModel().selectionChanged.connect(lambda *a: self._selectionChanged.emit())

    def setMRMLScene(self, scene):
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlTableNode(self):
        return self._m.node

    def setMRMLTableNode(self, node):
        if self._m.node is not None and self._tag is not None:
            self._m.node.RemoveObserver(self._tag)
        self._m.beginResetModel()
        self._m.node = node
        self._m.endResetModel()
        self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._changed) if node else None

    def _changed(self, *a):
        self._m.beginResetModel()
        self._m.endResetModel()

    def tableModel(self):
        return self._m

    transposed = simple(bool, "transposed", False)
    firstRowLocked = simple(bool, "firstRowLocked", False)
    firstColumnLocked = simple(bool, "firstColumnLocked", False)
