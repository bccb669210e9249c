"""The input of a run as pseudonymised DICOM in the output folder, so that nothing that comes after
ever meets an identifier.

`OUT/dicom/<pseudonym>/<name>.dcm` are the copies. Beside the key file, `<key>.copies.json` says of
which file each is the copy; a file that has not changed since is not copied again, the copy of one
that has gone goes too.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..dicom.confidential import check_profile, make_confidential
from ..dicom.dataset import read_dataset
from ..dicom.headers import OTHER, kind_of
from ..dicom.index_walk import walk_folder
from ..dicom.pseudonyms import PseudonymKey
from ..dicom.scan import Refusal, scan_header
from ..errors import DataError, DicomError, UsageError
from ..platform import atomic_path, write_json
from .aggregate import failure_row
from .output import read_run
from .request import Reporter, RunRequest
from .roster import Roster

log = logging.getLogger(__name__)

COPIES = "dicom"  # folder of OUT
LOST = "lost.json"  # in it: files that have no copy
NOTE_EVERY_S = 5.0  # what a killed run copies again


def check_key(request: RunRequest, key_path: Path | None) -> None:
    """Raise `UsageError` when the output would mix pseudonyms and identifiers, or hold the key."""
    out = request.out.resolve()
    try:
        before = bool(read_run(out).get("pseudonymised"))
    except UsageError:
        before = key_path is not None
    if before != (key_path is not None):
        have, want = ("pseudonyms", "without") if before else ("identifiers", "with")
        raise UsageError(
            f"{out} has results with {have}; run {want} output.pseudonymise into another folder"
        )
    if key_path is None:
        return
    if key_path.resolve().is_relative_to(out):
        raise UsageError(
            f"output.pseudonymise: {key_path} would lie in the output, which it can undo; keep it "
            "elsewhere"
        )
    check_profile()


def pseudonymise_input(
    request: RunRequest, roster: Roster | None, key_path: Path, reporter: Reporter
) -> tuple[RunRequest, Roster | None]:
    """Copy what is new and return the request and the roster as they are from now on: DICOM folder
    and patients by their pseudonyms. Raises `UsageError` and `OutputError`."""
    key = PseudonymKey(key_path)
    copies = request.out.resolve() / COPIES
    _copy(request.dicom_dir.resolve(), copies, key, reporter)
    patients = tuple(key.pseudonym(p) if key.knows(p) else p for p in request.patients)
    request = replace(request, dicom_dir=copies, patients=patients)
    return request, roster and pseudonymous_roster(roster, key)


def pseudonymous_roster(roster: Roster, key: PseudonymKey) -> Roster:
    """A roster by pseudonyms in place of patient IDs."""
    patients = {key.pseudonym(patient): cells for patient, cells in roster.patients.items()}
    return replace(roster, patients=patients)


def copy_failures(out: Path) -> list[dict[str, str]]:
    """Rows of `failures` for the files that could not be pseudonymised."""
    try:
        lost = json.loads((out / COPIES / LOST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [failure_row("", "", "index", "file", reason, name) for name, reason in lost.items()]


def _copy(source: Path, copies: Path, key: PseudonymKey, reporter: Reporter) -> None:
    note_path = key.path.with_name(f"{key.path.name}.copies.json")
    known = _noted(note_path, source)
    walk = walk_folder(source, copies / "none")
    files = {
        name: [size, time_ns]
        for name, size, time_ns in walk.files
        if not _own(name, source, copies)
    }
    changed = [name for name, state in files.items() if not _holds(known.get(name), state, copies)]
    for name in known.keys() - files.keys():
        if copy := known.pop(name)["copy"]:
            (copies / copy).unlink(missing_ok=True)
    reporter.begin("pseudonymise", len(changed))
    noted = time.monotonic()
    for name in changed:
        old = known.pop(name, {}).get("copy", "")
        copy, reason = _copied(source / name, name, copies, key)
        if old and old != copy:
            (copies / old).unlink(missing_ok=True)
        known[name] = {"state": files[name], "copy": copy, "lost": reason}
        reporter.advance(copy)
        if time.monotonic() - noted > NOTE_EVERY_S:
            _note(note_path, source, known, key)
            noted = time.monotonic()
    reporter.end()
    _note(note_path, source, known, key)
    lost = {key.file_name(name): str(one["lost"]) for name, one in known.items() if one["lost"]}
    lost |= {key.file_name(row.entry[0]): "it may not be read" for row in walk.unreadable}
    copies.mkdir(parents=True, exist_ok=True)
    write_json(copies / LOST, lost)
    log.info(
        "%d files pseudonymised, %d unchanged, %d lost; %s says which is which",
        len(changed),
        len(files) - len(changed),
        len(lost),
        note_path,
    )


def _copied(path: Path, name: str, copies: Path, key: PseudonymKey) -> tuple[str, str]:
    """Where the copy of a file lies below `copies`, and why there is none though the file is DICOM
    that matters."""
    header = scan_header(path)
    if isinstance(header, Refusal):
        return "", header.reason if header.damaged else ""
    if kind_of(header.sop_class_uid, header.modality) == OTHER:
        return "", ""  # reports, pictures, documents: nothing reads them
    try:
        ds = read_dataset(path)
        if str(ds.get("BurnedInAnnotation", "")) == "YES":
            return "", "its pixels show text (Burned In Annotation is YES)"
        patient = str(ds.get("PatientID", "") or "")
        make_confidential(ds, key)
        copy = f"{key.pseudonym(patient) or 'no-patient-id'}/{key.file_name(name)}.dcm"
        (copies / copy).parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(copies / copy) as temporary:
            ds.save_as(temporary, enforce_file_format=False)  # UIDs may be missing, as before
    except DicomError as error:
        return "", error.reason
    except DataError as error:
        return "", str(error)
    except (ValueError, TypeError, AttributeError, KeyError, NotImplementedError) as error:
        return "", f"its values cannot be cleaned ({type(error).__name__})"
    key.note(patient)
    return copy, ""


def _own(name: str, source: Path, copies: Path) -> bool:
    """Whether a file of the input is one of the copies: the output may lie in the input."""
    return (source / name).is_relative_to(copies.parent)


def _holds(known: Mapping[str, object] | None, state: list[int], copies: Path) -> bool:
    """Whether a file is as it was when it was copied, and the copy is there."""
    if known is None or known["state"] != state:
        return False
    return not known["copy"] or (copies / str(known["copy"])).is_file()


def _noted(path: Path, source: Path) -> dict[str, dict]:
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        return dict(note["files"]) if note["source"] == str(source) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _note(path: Path, source: Path, known: Mapping[str, object], key: PseudonymKey) -> None:
    write_json(path, {"source": str(source), "files": known})
    key.save()
