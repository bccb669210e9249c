"""Section "What works here": what is installed, what is missing, and a button that brings it."""

import contextlib
import io
from importlib.util import find_spec

import slicer
from slicer.i18n import tr as _

# What pip downloads of them on Linux with Python 3.12 (68 MB), rounded up.
DOWNLOAD_MB = 70
# Installed with Slicer: never replaced.
SHIPPED = ["numpy", "scipy", "SimpleITK", "pydicom", "torch", "requests"]
# Packages of requirements.txt by the module that they bring.
MODULES = {"pandas": "pandas", "pyarrow": "pyarrow", "pydantic": "pydantic", "ruamel.yaml": "ruamel",
           "psutil": "psutil", "tqdm": "tqdm"}


def missingPackages():
    """Packages of requirements.txt that this Python lacks, by name."""
    return [name for name, module in MODULES.items() if find_spec(module) is None]


class PackagesPanel:
    """Nothing is installed before a click, and what Slicer ships is never replaced."""

    def __init__(self, ui, requirements, say, onInstalled):
        self.ui, self.requirements, self.say = ui, requirements, say
        self.onInstalled = onInstalled
        ui.installButton.connect("clicked(bool)", self.onInstall)
        ui.doctorButton.connect("clicked(bool)", self.onDoctor)
        self.update()

    def update(self):
        missing = missingPackages()
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

    def onInstall(self, checked=False):
        """After Slicer has asked."""
        with slicer.util.tryWithErrorDisplay(_("The packages could not be installed."), waitCursor=True):
            from slicer.packaging import load_requirements, pip_ensure

            pip_ensure(load_requirements(self.requirements), skip_packages=SHIPPED, requester="RTPipeline")
        self.update()
        self.onInstalled()

    def onDoctor(self, checked=False):
        """What `rtpipeline doctor` says of this installation."""
        with slicer.util.tryWithErrorDisplay(_("The installation could not be checked."), waitCursor=True):
            from RTPipelineLib.cli import main

            text = io.StringIO()
            with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
                main(["doctor"])
            self.say(text.getvalue())
