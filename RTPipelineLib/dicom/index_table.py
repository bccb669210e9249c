"""The table that `rtpipeline index` prints."""

from __future__ import annotations

import re
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .index import DicomObject, ImageSeries, Index, UnreadableFile

NAMES = {
    "rtstruct": "RTSTRUCT",
    "rtplan": "RTPLAN",
    "rtdose": "RTDOSE",
    "record": "treatment records",
    "reg": "registrations",
    "seg": "segmentations",
    "other": "other",
}
MOST = 20  # lines of one list of trouble; the rest is counted


def describe(index: Index, width: int = 100) -> str:
    """Patients, studies, series and objects of an index, then unreadable files and duplicates.

    Lines are folded at `width`; no name or birth date of a patient is in them.
    """
    series, objects = index.series(), index.objects()
    unreadable, duplicates = index.unreadable(), index.duplicates()
    broken = [f"{shown(file.path)}: {file.reason}" for file in unreadable if file.damaged]
    foreign = [file for file in unreadable if not file.damaged]
    studies: dict[str, dict[str, list[ImageSeries | DicomObject]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for item in (*series, *objects):
        studies[item.patient_id][item.study_uid].append(item)
    lines = [
        shown(str(index.root)),
        f"{counted(len(studies), 'patient')}, "
        f"{len(series)} image series, {counted(len(objects), 'other object')}, "
        f"{len(broken)} damaged, {len(foreign)} not used",
    ]
    for patient in sorted(studies):
        lines += ["", f"Patient {shown(patient) or '(without PatientID)'}"]
        for items in sorted(studies[patient].values(), key=_date):
            lines += _study(items)
    lines += _listed("Damaged or not accessible", len(broken), broken)
    lines += _listed("Not used", len(foreign), _by_reason(foreign))
    different = [f"{uid}: {_paths(paths)}" for uid, paths, same in duplicates if not same]
    lines += _listed("Same SOP Instance UID, different content", len(different), different)
    copies = [_paths(paths) for _, paths, same in duplicates if same]
    lines += _listed("Identical copies, read once", len(copies), copies)
    return "\n".join(part for line in lines for part in _fold(line, width))


def shown(text: str) -> str:
    """Text from outside as one printable line."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(number: int, noun: str) -> str:
    """`1 patient`, `2 patients`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _date(items: Sequence[ImageSeries | DicomObject]) -> str:
    return min((item.study_date for item in items if item.study_date), default="")


def _study(items: Sequence[ImageSeries | DicomObject]) -> Iterator[str]:
    uid = items[0].study_uid
    date = re.sub(r"^(\d{4})(\d\d)(\d\d)$", r"\1-\2-\3", shown(_date(items)))
    yield f"  Study {date or '(without date)'}  {shown(uid) or '(without UID)'}"
    kinds: dict[str, list[DicomObject]] = defaultdict(list)
    for item in items:
        if hasattr(item, "n_files"):
            yield _image(item)
        else:
            kinds[item.kind].append(item)
    for kind, name in NAMES.items():
        if kind in kinds:
            yield _objects(name, kinds[kind])


def _image(series: ImageSeries) -> str:
    size = f"{series.columns} x {series.rows} x {series.n_frames}"
    about = f"    {series.modality or 'image':<18}{size:<17}{shown(series.description)}"
    return about.rstrip() + _flags(series.flags)


def _objects(name: str, objects: Sequence[DicomObject]) -> str:
    details = Counter(filter(None, map(_detail, objects)))
    texts = [text if number == 1 else f"{text} ({number})" for text, number in details.items()]
    line = f"    {name:<18}{len(objects):<4} {', '.join(map(shown, texts))}"
    return line.rstrip() + _flags(dict.fromkeys(f for item in objects for f in item.flags))


def _detail(item: DicomObject) -> str:
    keys = {"rtdose": "summation_type", "reg": "", "record": "date", "other": ""}
    key = keys.get(item.kind, "label")
    return str(item.summary.get(key) or "") if key else item.modality


def _flags(flags: Iterable[str]) -> str:
    text = ", ".join(flags)
    return f"  [{text}]" if text else ""


def _paths(paths: Sequence[str]) -> str:
    return ", ".join(map(shown, paths))


def _by_reason(files: Sequence[UnreadableFile]) -> list[str]:
    """One line a reason, with how many files of which endings have it."""
    endings: dict[str, Counter[str]] = defaultdict(Counter)
    for file in files:
        suffix = PurePosixPath(file.path).suffix.lower()
        endings[file.reason][shown(suffix) if len(suffix) <= 8 else "other"] += 1
    return [
        f"{reason}: "
        + ", ".join(
            f"{number} {suffix or 'without ending'}" for suffix, number in found.most_common()
        )
        for reason, found in endings.items()
    ]


def _listed(title: str, number: int, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    rest = [f"  .. and {len(lines) - MOST} more"] if len(lines) > MOST else []
    return ["", f"{title}: {number}", *(f"  {line}" for line in lines[:MOST]), *rest]


def _fold(line: str, width: int) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    folded = textwrap.wrap(
        line,
        width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
        drop_whitespace=True,
    )
    return folded or [""]
