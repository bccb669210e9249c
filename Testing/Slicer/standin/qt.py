"""A `qt` module with PythonQt manners, made from PySide6.

PythonQt rules reproduced (read from PythonQt's sources, branch patched-9):
* a Q_PROPERTY is an attribute: ``w.enabled = True``, ``w.text`` (calling ``w.text()`` is a TypeError);
  set* and is* methods stay callable; QTimer.singleShot stays a function
* ``name`` is an alias of ``objectName``
* ``obj.connect("clicked(bool)", callable)`` takes the exact C++ signature; an unknown one is an error here
  (PythonQt prints a line and returns False)
* a Python function gets only as many signal arguments as it declares
* an exception in a slot is printed, not raised; here it is also kept in ``slot_errors``
* children can be reached by objectName as attributes; dynamic properties can be read as attributes
* className(), delete(), findChild(ren) with a class name string
"""

import os
import sys
import traceback
import types
import xml.etree.ElementTree as ET

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets  # noqa: E402

STRICT = True
slot_errors = []
_VIRTUAL_GETTERS = {
    "sizeHint",
    "minimumSizeHint",
    "duration",
}  # C++ calls these virtuals: leave them methods


class UnknownSignal(AttributeError):
    pass


def _norm(sig):
    if sig[:1].isdigit():
        sig = sig[1:]
    return bytes(QtCore.QMetaObject.normalizedSignature(sig).data()).decode()


def _argcount(func):
    """Number of positional arguments PythonQt passes, None for all."""
    skip = 0
    if isinstance(func, types.MethodType):
        func, skip = func.__func__, 1
    if isinstance(func, types.FunctionType):
        code = func.__code__
        return None if code.co_flags & 0x04 else code.co_argcount - skip
    return None


def _call(func, args):
    n = _argcount(func)
    try:
        func(*(args if n is None else args[:n]))
    except Exception:
        slot_errors.append(sys.exc_info()[1])
        traceback.print_exc()


def _signal_table(obj):
    table = {}
    for cls in reversed(type(obj).__mro__):
        table.update(cls.__dict__.get("__cppsignals__", {}))
    return table


def _resolve(obj, sig):
    sig = _norm(sig)
    args = sig[sig.index("(") + 1 : -1]
    nargs = 0 if not args else args.count(",") + 1
    table = _signal_table(obj)
    if sig in table:
        return sig, nargs, getattr(obj, table[sig])
    name = sig.split("(")[0]
    if obj.metaObject().indexOfSignal(sig) < 0:
        # a signal may leave off trailing arguments only where C++ has defaults; Qt then lists a clone of it
        if STRICT:
            raise UnknownSignal(f"{obj.metaObject().className()} has no signal {sig}")
        return sig, nargs, None
    inst = getattr(obj, name)
    try:
        inst = inst[args] if args else inst
    except Exception:
        pass
    return sig, nargs, inst


def _connect(self, signal, *rest):
    sig, nargs, inst = _resolve(self, signal)
    if inst is None:
        print(f"PythonQt: QObject::connect() signal '{signal}' does not exist", file=sys.stderr)
        return False
    if len(rest) >= 2 and isinstance(rest[0], QtCore.QObject):
        slotname = rest[1].lstrip("0123456789").split("(")[0]
        func, key = getattr(rest[0], slotname), (rest[0], slotname)
    else:
        func = key = rest[0]
    if not callable(func):
        raise TypeError(f"cannot connect {signal}: {func!r} is not callable")

    # PySide6 decides by the declared arity of the receiver how many arguments it passes
    relay = (
        lambda: _call(func, ()),
        lambda a: _call(func, (a,)),
        lambda a, b: _call(func, (a, b)),
        lambda a, b, c: _call(func, (a, b, c)),
        lambda a, b, c, d: _call(func, (a, b, c, d)),
    )[nargs]
    inst.connect(relay)
    self.__dict__.setdefault("_pq_connections", []).append((sig, key, inst, relay))
    return True


def _disconnect(self, signal=None, *rest):
    conns = self.__dict__.get("_pq_connections", [])
    want = _norm(signal) if signal else None
    if want:
        _resolve(self, signal)
    key = (
        (rest[0], rest[1].lstrip("0123456789").split("(")[0])
        if len(rest) >= 2
        else (rest[0] if rest else None)
    )
    found = False
    for c in list(conns):
        if (want is None or c[0] == want) and (key is None or c[1] == key):
            c[2].disconnect(c[3])
            conns.remove(c)
            found = True
            if key is not None:
                break
    return found


def _patch_properties(cls):
    mo = cls.staticMetaObject
    for i in range(mo.propertyOffset(), mo.propertyCount()):
        name = mo.property(i).name()
        if name in _VIRTUAL_GETTERS or (cls is QtCore.QTimer and name == "singleShot"):
            continue

        def getter(self, _n=name):
            value = self.property(_n)
            return (
                tuple(value) if isinstance(value, list) else value
            )  # PythonQt gives lists as tuples

        def setter(self, value, _n=name):
            ok = self.setProperty(_n, value)
            if not ok:
                raise AttributeError(
                    f"Property '{_n}' of type '{type(self).__name__}' object could not be set to {value!r}"
                )

        setattr(cls, name, property(getter, setter))


def _getattr(self, name):
    if name.startswith("_"):
        raise AttributeError(name)
    if not isinstance(self, QtCore.QObject):
        raise AttributeError(name)
    try:
        if name.encode() in [bytes(n.data()) for n in self.dynamicPropertyNames()]:
            return self.property(name)
        for child in self.children():
            if child.property("objectName") == name:
                return child
    except RuntimeError:
        pass
    raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")


def _is_cpp_like(cls):
    return cls.__module__.startswith("PySide6.") or cls.__name__ in _custom


def _setattr(self, name, value):
    """PythonQt refuses new attributes on C++ objects, so a misspelt property is an error there and here."""
    cls = type(self)
    attr = getattr(cls, name, None)
    if isinstance(attr, QtCore.Property):
        attr.fset(self, value)
        return
    if hasattr(type(attr), "__set__"):
        attr.__set__(self, value)
        return
    from_pyside = isinstance(
        value, QtCore.SignalInstance
    ) or (  # cached signals; QUiLoader's children by name
        isinstance(value, QtCore.QObject) and value.property("objectName") == name
    )
    if STRICT and _is_cpp_like(cls) and not name.startswith("_") and not from_pyside:
        if name.encode() not in [bytes(n.data()) for n in self.dynamicPropertyNames()]:
            raise AttributeError(
                f"'{name}' does not exist on {cls.__name__} or can not be overwritten, and creating new "
                "attributes on C++ objects is not allowed"
            )
        self.setProperty(name, value)
        return
    self.__dict__[name] = value


def _find_children(self, kind=QtCore.QObject, name=""):
    if isinstance(kind, str):
        return [c for c in _orig_find_children(self, QtCore.QObject) if c.inherits(kind)]
    return _orig_find_children(self, kind, name) if name else _orig_find_children(self, kind)


_orig_find_children = QtCore.QObject.findChildren
_done = False


def patch_pyside():
    global _done
    if _done:
        return
    _done = True
    for mod in (QtCore, QtGui, QtWidgets, QtNetwork):
        for key in dir(mod):
            cls = getattr(mod, key)
            if isinstance(cls, type) and issubclass(cls, QtCore.QObject):
                _patch_properties(cls)
                cls.__setattr__ = _setattr  # every Shiboken class has one of its own
    Q = QtCore.QObject
    # QObject.connect/disconnect are looked up natively by PySide6 (static and instance in one), so a plain
    # class attribute is not enough; QFile, QLibrary, QProcess and QMenu have lookups of their own.
    for cls in {
        c
        for mod in (QtCore, QtGui, QtWidgets, QtNetwork)
        for c in (getattr(mod, k) for k in dir(mod))
        if isinstance(c, type) and issubclass(c, Q) and "__getattribute__" in c.__dict__
    }:

        def lookup(self, name, _o=cls.__getattribute__):
            if name == "connect":
                return _connect.__get__(self)
            if name == "disconnect":
                return _disconnect.__get__(self)
            return _o(self, name)

        cls.__getattribute__ = lookup
    Q.className = lambda self: self.metaObject().className()
    Q.name = property(
        lambda self: self.property("objectName"), lambda self, v: self.setProperty("objectName", v)
    )
    Q.delete = lambda self: self.deleteLater()
    Q.__getattr__ = _getattr
    Q.findChildren = _find_children
    color_name = QtGui.QColor.name
    QtGui.QColor.name = lambda self, fmt=0: color_name(self, QtGui.QColor.NameFormat(fmt))
    for cls in (QtWidgets.QDialog, QtWidgets.QMenu, QtCore.QEventLoop, QtCore.QCoreApplication):
        if not hasattr(cls, "exec_"):
            cls.exec_ = cls.exec
    # things PythonQt takes more loosely than PySide6
    QtWidgets.QApplication.setOverrideCursor = staticmethod(
        lambda c, _o=QtWidgets.QApplication.setOverrideCursor: _o(
            c if isinstance(c, QtGui.QCursor) else QtGui.QCursor(c)
        )
    )
    for cls in (QtWidgets.QComboBox, QtWidgets.QListWidgetItem, QtWidgets.QTableWidgetItem):
        for meth in ("setItemData", "itemData", "setData", "data"):
            orig = getattr(cls, meth, None)
            if orig is not None and cls is QtWidgets.QComboBox and meth == "setItemData":

                def set_item_data(self, idx, value, role=QtCore.Qt.UserRole, _o=orig):
                    return _o(self, idx, value, QtCore.Qt.ItemDataRole(role))

                cls.setItemData = set_item_data


_custom = {}


def register_custom(cls):
    _custom[cls.__name__] = cls
    return cls


class QUiLoader(QtUiTools.QUiLoader):
    """Builds the widgets natively, makes custom widgets from the stand-ins, wires <connections> in Python."""

    def __init__(self, parent=None):
        super().__init__(parent)
        for cls in _custom.values():
            self.registerCustomWidget(cls)

    def load(self, device, parent=None):
        if isinstance(device, str):
            data = open(device, "rb").read()
        else:
            data = bytes(device.readAll().data())
        root = ET.fromstring(data)
        used = {w.get("class") for w in root.iter("widget")}
        declared = {c.findtext("class") for c in root.iter("customwidget")}
        missing = sorted((used & declared) - set(_custom))
        if missing:
            raise RuntimeError(f"no stand-in for custom widget class(es): {missing}")
        links = []
        for conns in list(root.findall("connections")):
            for c in conns.findall("connection"):
                links.append([c.findtext(k) for k in ("sender", "signal", "receiver", "slot")])
            root.remove(conns)
        buf = QtCore.QBuffer()
        buf.setData(ET.tostring(root))
        buf.open(QtCore.QIODevice.ReadOnly)
        top = super().load(buf, parent)
        if top is None:
            return None
        byname = {
            w.property("objectName"): w for w in [top, *_orig_find_children(top, QtCore.QObject)]
        }
        for sender, signal, receiver, slot in links:
            s, r = byname.get(sender), byname.get(receiver)
            if s is None or r is None:
                raise RuntimeError(
                    f".ui connection names a missing object: {sender}.{signal} -> {receiver}.{slot}"
                )
            s.connect(signal, r, slot)
        return top


def build_qt_module():
    patch_pyside()
    qt = types.ModuleType("qt")
    for mod in (QtCore, QtGui, QtWidgets, QtNetwork, QtUiTools):
        for key in dir(mod):
            if not key.startswith("_"):
                setattr(qt, key, getattr(mod, key))
    qt.QUiLoader = QUiLoader
    return qt
