"""Section "Configuration": the keys of the YAML file with their explanations, checked as typed."""

import qt
import slicer
from slicer.i18n import tr as _

KEY, VALUE, MEANING = range(3)


class ConfigurationPanel:
    """A tree of keys; `values` holds what differs from the defaults, by dotted key."""

    def __init__(self, ui, logic):
        self.ui, self.logic = ui, logic
        self.values = {}
        self._items = {}
        self._filling = False
        tree = ui.configurationTree
        tree.setColumnCount(3)
        tree.setHeaderLabels([_("Key"), _("Value"), _("Meaning")])
        tree.connect("itemDoubleClicked(QTreeWidgetItem*,int)", self.onDoubleClicked)
        tree.connect("itemChanged(QTreeWidgetItem*,int)", self.onChanged)
        ui.configurationFilter.connect("textChanged(QString)", self.onFilter)
        ui.openConfiguration.connect("clicked(bool)", self.onOpen)
        ui.saveConfiguration.connect("clicked(bool)", self.onSave)
        ui.resetConfiguration.connect("clicked(bool)", self.onReset)

    def show(self, values):
        """Fill the tree: the defaults with `values` in their places."""
        self.values = dict(values)
        tree = self.ui.configurationTree
        self._filling = True
        tree.clear()
        self._items = {}
        for row in self.logic.configurationRows():
            parent, _dot, name = row.key.rpartition(".")
            item = qt.QTreeWidgetItem([name, self.values.get(row.key, row.value), row.explanation])
            tip = row.explanation
            if row.choices:
                tip += " " + _("One of: {choices}.").format(choices=", ".join(row.choices))
            for column in (KEY, VALUE, MEANING):
                item.setToolTip(column, tip)
            item.setData(KEY, qt.Qt.UserRole, "" if row.is_section else row.key)
            if not row.is_section:
                item.setFlags(item.flags() | qt.Qt.ItemIsEditable)
            if parent:
                self._items[parent].addChild(item)
            else:
                tree.addTopLevelItem(item)
            self._items[row.key] = item
            self._mark(item, row.key)
        tree.setColumnWidth(KEY, 190)
        tree.setColumnWidth(VALUE, 130)
        self._filling = False
        self.say()

    def onDoubleClicked(self, item, column):
        if column == VALUE and item.data(KEY, qt.Qt.UserRole):
            self.ui.configurationTree.editItem(item, VALUE)

    def onChanged(self, item, column):
        """A value was typed: keep it, mark it, and say what is wrong with it."""
        key = item.data(KEY, qt.Qt.UserRole)
        if self._filling or column != VALUE or not key:
            return
        text = item.text(VALUE).strip()
        if text == self.logic.defaultValue(key):
            self.values.pop(key, None)
        else:
            self.values[key] = text
        self._filling = True
        self._mark(item, key)
        self._filling = False
        self.say()

    def _mark(self, item, key):
        """Changed keys are bold."""
        font = item.font(KEY)
        font.setBold(key in self.values)
        item.setFont(KEY, font)
        item.setFont(VALUE, font)

    def say(self):
        """The first problem, or how many keys differ."""
        self.problem = self.logic.configurationProblem(self.values)
        text = self.problem or _("Keys that differ from the defaults: {number}.").format(
            number=len(self.values)
        )
        self.ui.configurationProblem.text = text
        self.ui.saveConfiguration.enabled = not self.problem
        self.ui.saveConfiguration.toolTip = self.problem

    def onFilter(self, text):
        """Show the keys that have the text in their name or explanation, and their sections."""
        wanted = text.strip().lower()
        shown = set()
        for key, item in self._items.items():
            if not wanted or wanted in key.lower() or wanted in item.text(MEANING).lower():
                parts = key.split(".")
                shown |= {".".join(parts[: n + 1]) for n in range(len(parts))}
        for key, item in self._items.items():
            item.setHidden(key not in shown)
            item.setExpanded(bool(wanted))

    def onOpen(self, checked=False):
        path = qt.QFileDialog.getOpenFileName(None, _("Open configuration"), "", "YAML (*.yaml *.yml)")
        path = path[0] if isinstance(path, tuple) else path
        if path:
            with slicer.util.tryWithErrorDisplay(_("The configuration could not be read.")):
                self.show(self.logic.openConfiguration(path))

    def onSave(self, checked=False):
        path = qt.QFileDialog.getSaveFileName(None, _("Save configuration"), "config.yaml", "YAML (*.yaml)")
        path = path[0] if isinstance(path, tuple) else path
        if path:
            with slicer.util.tryWithErrorDisplay(_("The configuration could not be saved.")):
                self.logic.saveConfiguration(path, self.values)

    def onReset(self, checked=False):
        self.show({})
