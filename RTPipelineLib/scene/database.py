"""Patients of Slicer's DICOM database as folders that the index can read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import slicer

from ..errors import UsageError
from ..platform import folder_name, remove_folder


def database_patients() -> list[tuple[str, str]]:
    """(key, name and ID in words) of every patient; none while no database is open."""
    database = getattr(slicer, "dicomDatabase", None)
    if database is None or not database.isOpen:
        return []
    found = []
    for key in database.patients():
        name, number = (database.fieldForPatient(f, key) for f in ("PatientsName", "PatientID"))
        found.append((key, f"{name} ({number})" if name else number))
    return sorted(found, key=lambda patient: patient[1])


def patient_folder(key: str, cache: str | Path) -> Path:
    """A folder below `cache` with the files of a patient: links where the disk allows them, else
    copies. Made anew each time, so that it is what the database has. Raises `UsageError` for a
    patient without files, `OutputError` when the folder cannot be written."""
    database = slicer.dicomDatabase
    files = [
        path
        for study in database.studiesForPatient(key)
        for series in database.seriesForStudy(study)
        for path in database.filesForSeries(series)
    ]
    if not files:
        raise UsageError("the DICOM database has no files of this patient; import them again")
    number = database.fieldForPatient("PatientID", key)
    folder = Path(cache) / "RTPipelineDICOM" / folder_name(f"{number or 'patient'}-{key}")
    remove_folder(folder)
    folder.mkdir(parents=True)
    _link(files, folder)
    return folder


def _link(files: Iterable[str], folder: Path) -> None:
    for number, path in enumerate(files):
        target = folder / f"{number:06d}.dcm"
        try:
            os.link(path, target)
        except OSError:  # another disk, or one without links
            shutil.copyfile(path, target)
