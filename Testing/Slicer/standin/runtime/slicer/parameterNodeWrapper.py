"""Own small stand-in for Slicer's package of this name: typed members (str, int, float, bool) of a
parameter node, and widgets whose property SlicerParameterName names one, each following the other."""

import typing

import slicer

__all__ = ["Choice", "WithinRange", "parameterNodeWrapper"]

_TEXTS = {
    str: (str, str),
    int: (str, int),
    float: (repr, float),
    bool: (lambda value: str(bool(value)), lambda text: text == "True"),
}
# Class of a widget: its property and the signal of a change.
_WIDGETS = {
    "QCheckBox": ("checked", "toggled(bool)"),
    "QSlider": ("value", "valueChanged(int)"),
    "QDoubleSpinBox": ("value", "valueChanged(double)"),
    "QComboBox": ("currentText", "currentIndexChanged(int)"),
    "QLineEdit": ("text", "textChanged(QString)"),
}


class Choice:
    def __init__(self, choices):
        self.choices = list(choices)


class WithinRange:
    def __init__(self, minimum, maximum):
        self.range = (minimum, maximum)


class _Connection:
    """Widgets of one panel, by parameter."""

    def __init__(self, wrapper, widgets):
        self.wrapper, self.widgets, self.slots, self.busy = wrapper, widgets, [], False
        for name, widget in widgets.items():
            property_, signal = _WIDGETS[widget.className()]
            limits = wrapper.limits.get(name)
            if widget.className() == "QSlider" and limits is None:
                raise RuntimeError("a slider needs a parameter WithinRange")  # Slicer's does too
            if limits is not None:
                widget.setRange(*limits.range)
            choice = wrapper.choices.get(name)
            if choice is not None:
                widget.clear()
                widget.addItems([str(one) for one in choice.choices])
            slot = self._slot(name, widget, property_)
            self.write(name)
            widget.connect(signal, slot)
            self.slots.append((widget, signal, slot))
        self.tag = wrapper.parameterNode.AddObserver("ModifiedEvent", lambda *_: self.writeAll())

    def _slot(self, name, widget, property_):
        def changed():
            if not self.busy:
                setattr(self.wrapper, name, getattr(widget, property_))

        return changed

    def write(self, name):
        widget = self.widgets[name]
        property_, _ = _WIDGETS[widget.className()]
        value = getattr(self.wrapper, name)
        if getattr(widget, property_) != value:
            if property_ == "currentText":
                widget.setCurrentText(value)
            else:
                setattr(widget, property_, value)

    def writeAll(self):
        if self.busy:
            return
        self.busy = True
        try:
            for name in self.widgets:
                self.write(name)
        finally:
            self.busy = False

    def close(self):
        self.wrapper.parameterNode.RemoveObserver(self.tag)
        for widget, signal, slot in self.slots:
            widget.disconnect(signal, slot)


def _member(name, kind, default):
    write, read = _TEXTS[kind]

    def get(self):
        text = self.parameterNode.GetParameter(name)
        return read(text) if text or kind is str else default

    def put(self, value):
        if not isinstance(value, kind) and not (kind is float and isinstance(value, int)):
            raise TypeError(f"{name} takes {kind.__name__}, not {value!r}")
        self.parameterNode.SetParameter(name, write(value))

    return property(get, put)


def parameterNodeWrapper(cls):
    hints = typing.get_type_hints(cls, include_extras=True)
    defaults, cls.choices, cls.limits = {}, {}, {}
    for name, hint in hints.items():
        kind = hint
        if typing.get_origin(hint) is typing.Annotated:
            kind, *notes = typing.get_args(hint)
            cls.choices.update({name: note for note in notes if isinstance(note, Choice)})
            cls.limits.update({name: note for note in notes if isinstance(note, WithinRange)})
        first = cls.choices[name].choices[0] if name in cls.choices else kind()
        defaults[name] = getattr(cls, name, first)
        setattr(cls, name, _member(name, kind, defaults[name]))

    def init(self, parameterNode):
        self.parameterNode, self.connections = parameterNode, {}
        with slicer.util.NodeModify(parameterNode):
            there = set(parameterNode.GetParameterNames())
            for name in set(defaults) - there:
                setattr(self, name, defaults[name])

    def connectGui(self, gui):
        found = {}
        for widget in vars(gui).values():
            name = widget.property("SlicerParameterName")
            if name:
                found[name] = widget
        self.connections[len(self.connections)] = _Connection(self, found)
        return len(self.connections) - 1

    def disconnectGui(self, tag):
        self.connections.pop(tag).close()

    cls.__init__, cls.connectGui, cls.disconnectGui = init, connectGui, disconnectGui
    return cls
