"""Stand-ins for the CTK widgets scripted modules use. Only names that CTK's headers expose to PythonQt."""

import types

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from .qt import register_custom

CLASSES = {}


def widget(cls):
    CLASSES[cls.__name__] = cls
    return register_custom(cls)


def simple(kind, name, default=None, hook=None):
    """A Q_PROPERTY with its setName slot kept in the instance; hook(self, value) runs after a change."""
    key = "_p_" + name

    def get(self):
        value = self.__dict__.get(key, default)
        return tuple(value) if isinstance(value, list) else value

    def put(self, value):
        self.__dict__[key] = value
        if hook:
            hook(self, value)

    return Property(kind, get, put)


@widget
class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    contentsCollapsed = Signal(bool)
    __cppsignals__ = {"contentsCollapsed(bool)": "contentsCollapsed"}
    BAR = 26

    def __init__(self, *args):
        text, parent = "", None
        for a in args:
            if isinstance(a, str):
                text = a
            elif a is not None:
                parent = a
        super().__init__(parent)
        self._collapsed = False
        self.setText(text)
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(4, self.BAR, 4, 4)
        self.setSizePolicy(QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.Preferred)
        self.toggled.connect(lambda on: self._set_collapsed(not on))

    def _set_collapsed(self, value):
        value = bool(value)
        if value == self._collapsed:
            return
        self._collapsed = value
        self.setChecked(not value)
        self._apply()
        self.contentsCollapsed.emit(value)

    def _apply(self):
        for c in self.children():
            if isinstance(c, QtWidgets.QWidget):
                if self._collapsed:
                    c.setProperty("_ctk_hidden", c.isHidden())
                    c.setVisible(False)
                elif not c.property("_ctk_hidden"):
                    c.setVisible(True)
        self.setMaximumHeight(self.BAR if self._collapsed else 16777215)
        self.updateGeometry()

    def childEvent(self, event):
        super().childEvent(event)

    def event(self, event):
        if event.type() == QtCore.QEvent.Polish and self._collapsed:
            self._apply()
        return super().event(event)

    collapsed = Property(
        bool, lambda s: s._collapsed, lambda s, v: s._set_collapsed(v), notify=contentsCollapsed
    )
    flat = simple(bool, "flat", False)
    collapsedHeight = simple(int, "collapsedHeight", 10)
    contentsLineWidth = simple(int, "contentsLineWidth", 1)

    def sizeHint(self):
        if self._collapsed:
            return QtCore.QSize(120, self.BAR)
        lay = self.layout()
        s = lay.totalSizeHint() if lay else QtCore.QSize(120, 0)
        return QtCore.QSize(max(120, s.width()), max(self.BAR, s.height()))

    def minimumSizeHint(self):
        if self._collapsed or not self.layout():
            return QtCore.QSize(40, self.BAR)
        return self.layout().totalMinimumSize()

    def hitButton(self, pos):
        return pos.y() < self.BAR

    def paintEvent(self, event):
        p = QtGui.QPainter(self)
        bar = QtCore.QRect(0, 0, QtWidgets.QWidget.size.fget(self).width(), self.BAR - 4)
        p.fillRect(bar, QtGui.QColor(214, 219, 230))
        p.setPen(QtGui.QColor(40, 40, 40))
        mark = "\u25b6" if self._collapsed else "\u25bc"
        p.drawText(
            bar.adjusted(8, 0, 0, 0),
            Qt.AlignVCenter | Qt.AlignLeft,
            f"{mark}  {self.text.replace('&&', '&')}",
        )
        if not self._collapsed:
            p.setPen(QtGui.QColor(190, 190, 200))
            p.drawRect(self.rect.adjusted(0, 0, -1, -1))
        p.end()


@widget
class ctkPathLineEdit(QtWidgets.QWidget):
    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    __cppsignals__ = {
        "currentPathChanged(QString)": "currentPathChanged",
        "validInputChanged(bool)": "validInputChanged",
    }
    Files, Dirs, Readable, Writable, Executable = 0x002, 0x001, 0x010, 0x020, 0x040

    def __init__(self, parent=None):
        super().__init__(parent)
        lay = QtWidgets.QHBoxLayout(self)
        lay.setContentsMargins(0, 0, 0, 0)
        self._edit = QtWidgets.QComboBox(self)
        self._edit.setEditable(True)
        self._edit.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
        self._browse = QtWidgets.QToolButton(self)
        self._browse.setText("...")
        lay.addWidget(self._edit)
        lay.addWidget(self._browse)
        self._edit.editTextChanged.connect(self.currentPathChanged)
        self._browse.clicked.connect(lambda *_: self.browse())

    def setCurrentPath(self, path):
        if str(path) != self.currentPath:
            self._edit.setEditText(str(path))

    def comboBox(self):
        return self._edit

    def browse(self):
        path, _ = QtWidgets.QFileDialog.getOpenFileName(self)
        if path:
            self.setCurrentPath(path)

    def addCurrentPathToHistory(self):
        settings = QtCore.QSettings()
        if self.settingKey:
            old = [p for p in (settings.value(self.settingKey) or []) if p != self.currentPath]
            settings.setValue(self.settingKey, [self.currentPath, *old][:5])

    def retrieveHistory(self):
        old = QtCore.QSettings().value(self.settingKey) or []
        self._edit.clear()
        self._edit.addItems([old] if isinstance(old, str) else list(old))

    currentPath = Property(str, lambda s: s._edit.currentText, lambda s, v: s.setCurrentPath(v))
    filters = simple(int, "filters", 0x012)
    nameFilters = simple("QStringList", "nameFilters", [])
    label = simple(str, "label", "")
    settingKey = simple(str, "settingKey", "", lambda s, v: s.retrieveHistory())
    showBrowseButton = Property(
        bool, lambda s: not s._browse.isHidden(), lambda s, v: s._browse.setVisible(v)
    )
    showHistoryButton = simple(bool, "showHistoryButton", True)
    minimumContentsLength = simple(int, "minimumContentsLength", 0)


# Slicer's own parameterNodeWrapper asks whether a widget is one of these; none of ours is.
ABSENT = (
    "ctkCheckablePushButton",
    "ctkCheckBox",
    "ctkColorPickerButton",
    "ctkComboBox",
    "ctkDirectoryButton",
    "ctkDoubleRangeSlider",
    "ctkDoubleSlider",
    "ctkDoubleSpinBox",
    "ctkRangeWidget",
    "ctkSliderWidget",
)


def build_ctk_module(absent=False):
    """With `absent` the names of further widgets are there, as classes that nothing is made of."""
    ctk = types.ModuleType("ctk")
    for name in ABSENT if absent else ():
        setattr(ctk, name, type(name, (), {}))
    for k, v in CLASSES.items():
        setattr(ctk, k, v)
    return ctk
