"""A course to try things on: synthetic DICOM, made on this machine, nothing is downloaded."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from .. import __version__
from ..course import OpenCourse
from ..errors import OutputError
from ..phantoms.cohort import make_cohort
from ..platform import replace_folder
from .opening import find_courses

PATIENT = "DEMO-LUNG"


def sample_course(cache: str | Path) -> OpenCourse:
    """The course of a synthetic patient (4 MB) below `cache`, made in a few seconds unless this
    version of the library has made it there before. Raises `OutputError` when it cannot be written.
    """
    folder = Path(cache) / f"RTPipeline-{__version__}-{PATIENT}"
    if not folder.is_dir():
        _make(folder)
    return find_courses(folder)[0]


def _make(folder: Path) -> None:
    """The patient's DICOM; `folder` is there only when all of it is."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".RTPipeline-"))
    except OSError as error:
        raise OutputError(
            f"{folder.parent} cannot be written: {error}; choose another cache folder in "
            "the settings"
        ) from error
    try:
        make_cohort(scratch, patients=[PATIENT])
        replace_folder(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
