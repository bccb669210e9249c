"""A stand-in for the Slicer application on Slicer's real engine (the package slicer-core).

Scene, nodes, logics, displayable managers and `slicer.util` are Slicer's own. Qt is PySide6 with
PythonQt's manners (`qt`); `ctk`, `qmrml` and `app` hold what our modules need of the rest, and
`runtime` the base classes of scripted modules. Each is strict: an unknown property, signal or
method is an error. `start()` puts them where modules look for them.
"""
