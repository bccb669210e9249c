"""Make `slicer`, `qt` and `ctk` importable as scripted modules expect them."""

import os
import sys
import types
from functools import cache
from pathlib import Path

RUNTIME = Path(__file__).parent / "runtime"


@cache
def start():
    """The one application of this process."""
    # A Slicer checkout, if there is one: its own base classes are used.
    source = os.environ.get("SLICER_SOURCE", "")
    import slicer
    import slicer.util

    from . import qt

    sys.modules["qt"] = qt.build_qt_module()
    from . import ctk, qmrml

    sys.modules["ctk"] = ctk.build_ctk_module(absent=bool(source))
    from . import app

    application = app.Application([sys.argv[0]])
    application.boot()
    slicer.app, slicer.mrmlScene = application, application.mrmlScene()
    for name in ("modules", "moduleNames"):
        module = types.ModuleType(f"slicer.{name}")
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)
    for name, logic in application._logics.items():
        module = app.Module(name, logic, parent=application)
        application._manager._modules[name] = module
        setattr(slicer.modules, name.lower(), module)
        setattr(slicer.moduleNames, name, name)
    for name, widget in qmrml.CLASSES.items():
        setattr(slicer, name, widget)
    for name in qmrml.ABSENT if source else ():
        setattr(slicer, name, type(name, (), {}))
    slicer.qSlicerApplication = app.Application
    slicer.qSlicerScriptedLoadableModuleWidget = app.ModuleWidget
    slicer.qSlicerScriptedLoadableModule = app.ScriptedModule
    if source:
        slicer.__path__.append(str(Path(source) / "Base" / "Python" / "slicer"))
    slicer.__path__.append(str(RUNTIME / "slicer"))
    return application
