"""One file of a folder as one row of the index: its kind, its flags, and what its header says."""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .scan import Refusal, content_digest, scan_header
from .scan_fields import Header
from .scan_layout import Layouts

if TYPE_CHECKING:
    from pydicom import Dataset

# A file to read: path below the root, size, mtime_ns as the walk saw them.
Entry = tuple[str, int, int]

RETRY = -1  # stands for an mtime that never comes back: the file is tried again by every run

IMAGE = "image"
# What `headers.kind_of` calls an image (a test compares them): known here too, because a process
# that reads images alone then starts without pydicom, in a fifth of the time.
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_IMAGE_CLASSES = frozenset(
    _STORAGE + number for number in ("2", "2.1", "2.2", "4", "4.1", "4.4", "128", "128.1", "130")
)
_IMAGE_MODALITIES = frozenset({"CT", "MR", "PT"})
SYNTHETIC = "missing-uid:"  # keys of objects that came without their UID begin so


class ObjectRow(NamedTuple):
    """The columns of table `objects`, after the file's id."""

    kind: str
    sop_class_uid: str
    modality: str
    patient_id: str
    study_uid: str
    series_uid: str
    sop_uid: str
    frame_uid: str
    study_date: str
    series_date: str
    series_time: str
    series_number: str
    series_description: str
    series_key: str
    instance_number: int | None
    position: str
    rows: int
    columns: int
    frames: int
    flags: str  # separated by spaces
    summary: str  # JSON, "" for images


class FileRow(NamedTuple):
    """A file that was read: an object, or the reason why there is none."""

    entry: Entry
    reason: str
    damaged: bool
    content: ObjectRow | None


def read_files(root: str, entries: Sequence[Entry]) -> list[FileRow]:
    """Reads the headers of these files below `root`; never raises for what a file is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's: a flag or a reason says what matters
        layouts = Layouts()
        return [_read_file(root, entry, layouts) for entry in entries]


def _read_file(root: str, entry: Entry, layouts: Layouts) -> FileRow:
    name, size, _ = entry
    path = os.path.join(root, name)  # noqa: PTH118 - pathlib costs as much as the scan's file access
    try:
        header = scan_header(path, layouts)
        if isinstance(header, Refusal):
            return FileRow(entry, header.reason, header.damaged, None)
        content = object_row(path, name, header)
    except OSError as error:
        gone = isinstance(error, FileNotFoundError)
        reason = "it disappeared while it was read; run again" if gone else cannot_be_read(error)
        return FileRow((name, size, RETRY), reason, not gone, None)
    if isinstance(content, Refusal):
        return FileRow(entry, content.reason, content.damaged, None)
    return FileRow(entry, "", False, content)


def cannot_be_read(error: OSError) -> str:
    """The sentence for a file or folder that the system will not let us read."""
    what = error.strerror or type(error).__name__
    return f"it cannot be read ({what.lower()}), so what it holds is unknown; give access to it"


def object_row(path: str, name: str, header: Header) -> ObjectRow | Refusal:
    """The row of a file whose header was read. Raises OSError."""
    flags: list[str] = []
    sop_class = header.sop_class_uid
    if not sop_class:
        sop_class = header.meta_class_uid
        flags.append("sop-class-from-file-meta" if sop_class else "sop-class-missing")
    kind, contradiction = _kind(sop_class, header)
    if contradiction:
        flags.append("modality-contradicts-class")

    summary = ""
    if kind not in (IMAGE, "other"):
        try:
            summarised = _summary(path, header, sop_class)
        except OSError:
            raise
        except Exception as error:  # a parser on a hostile file: the file is what is wrong
            why = " ".join(str(error).split()) or type(error).__name__
            reason = f"its {kind.upper()} content cannot be parsed ({why}); export it again"
            return Refusal(reason, True)
        flags += map(str, summarised.pop("flags", ()))  # type: ignore[call-overload]
        summary = json.dumps(summarised)

    sop_uid = header.sop_uid
    if not sop_uid:
        sop_uid = header.meta_sop_uid
        flags.append("sop-uid-from-file-meta" if sop_uid else "sop-uid-missing")
    if not sop_uid and summary:
        sop_uid = SYNTHETIC + content_digest(path)[:16]
    if not header.study_uid:
        flags.append("study-uid-missing")
    if not header.series_uid:
        flags.append("series-uid-missing")
    if kind == IMAGE and not header.has_pixels:
        flags.append("pixel-data-missing")
    if kind == IMAGE and "LOCALIZER" in header.image_type:
        flags.append("localizer")
    description = header.series_description
    if description and _names_patient(description, header.patient_name):
        description = ""
        flags.append("label-contains-name")
    return ObjectRow(
        kind=kind,
        sop_class_uid=sop_class,
        modality=header.modality,
        patient_id=header.patient_id,
        study_uid=header.study_uid,
        series_uid=header.series_uid,
        sop_uid=sop_uid,
        frame_uid=header.frame_uid,
        study_date=header.study_date,
        series_date=header.series_date,
        series_time=header.series_time,
        series_number=header.series_number,
        series_description=description,
        series_key=header.series_uid or _synthetic_series(header, name),
        instance_number=_integer(header.instance_number),
        position=header.position,
        rows=header.rows,
        columns=header.columns,
        frames=_integer(header.frames) or 1,
        flags=" ".join(dict.fromkeys(flags)),
        summary=summary,
    )


def _kind(sop_class_uid: str, header: Header) -> tuple[str, bool]:
    """The kind of an object, and whether its Modality contradicts it."""
    if sop_class_uid in _IMAGE_CLASSES:
        return IMAGE, bool(header.modality) and header.modality not in _IMAGE_MODALITIES
    from .headers import kind_of

    kind = kind_of(sop_class_uid, header.modality)
    # Makers' private classes carry an image modality for things that are no image at all.
    if kind == IMAGE and not header.rows:
        return "other", False
    known = kind != "other" and header.modality
    return kind, bool(known) and kind_of("", header.modality) != kind


def _summary(path: str, header: Header, sop_class_uid: str) -> dict[str, object]:
    """`headers.summarise` of an RT object, whose contours and pixels are not read."""
    from pydicom import dcmread

    from .headers import summarise

    with Path(path).open("rb") as file:
        source = file
        if header.contours is not None:  # tens of MB of which the summary needs nothing
            begin, end = header.contours
            kept = file.read(begin)
            file.seek(end)
            source = BytesIO(kept + file.read())
        dataset: Dataset = dcmread(source, stop_before_pixels=True, force=True)
        if not header.sop_class_uid:
            dataset.SOPClassUID = sop_class_uid
        return summarise(dataset)


def _synthetic_series(header: Header, name: str) -> str:
    """A key for slices that belong together although nobody gave their series a UID.

    Without a frame of reference too, only the folder tells two patients' anonymised scans apart.
    """
    folder = "" if header.frame_uid else os.path.dirname(name)  # noqa: PTH120
    same = (
        header.frame_uid,
        folder,
        header.patient_id,
        header.study_uid,
        header.modality,
        _rounded(header.orientation),
        _rounded(header.pixel_spacing),
        header.rows,
        header.columns,
        header.series_number,
        header.series_description,
        header.series_date,
        header.series_time,
    )
    return SYNTHETIC + hashlib.sha256(repr(same).encode()).hexdigest()[:16]


def _rounded(numbers: str) -> tuple[float | str, ...]:
    """Direction cosines and spacings differ in their last digits within one series."""
    try:
        return tuple(round(float(number), 3) + 0.0 for number in numbers.split("\\"))
    except ValueError:
        return (numbers,)


def _integer(text: str) -> int | None:
    try:
        number = int(text)
    except ValueError:
        return None
    return number if abs(number) < 2**31 else None  # IS has 32 bits


def _names_patient(text: str, patient_name: str) -> bool:
    """True when the text holds a part (three letters or more) of the patient's name."""
    parts = re.split(r"[\W_\d]+", _plain(patient_name))
    plain = _plain(text)
    return any(len(part) >= 3 and part in plain for part in parts)


def _plain(text: str) -> str:
    """Lower case without accents: `José` and `JOSE` are one name."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c))
