"""RT Pipeline: radiotherapy DICOM to course-level, reviewable, research-grade data.

from RTPipelineLib import open_course, compute_dvh, sum_doses
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .course import open_course
    from .dose.accumulate import sum_doses
    from .dvh.engine import compute_dvh

__version__ = "0.1.0"

__all__ = ["__version__", "compute_dvh", "open_course", "sum_doses"]

_HOMES = {"compute_dvh": "dvh.engine", "open_course": "course", "sum_doses": "dose.accumulate"}


def __getattr__(name: str) -> object:
    """Import a public function when it is first asked for: `import RTPipelineLib` stays light."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
