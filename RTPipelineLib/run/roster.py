"""The roster: which patients a study expects, and what it knows of them, from a CSV file.

A file of the user's, outside the output folder: one row a patient, a column `patient_id`, and any
other columns, which are joined into `results/courses`.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..report.codebook import find_entry

MISSING, NO_DOSE, UNDECIDED, FAILED, UNFINISHED, DONE, UNEXPECTED = (
    "missing",
    "no dose",
    "needs decision",
    "failed",
    "not finished",
    "done",
    "not expected",
)
_BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_SEPARATORS = ",;\t"
NAMED = 10  # missing patients in a message
# Zeros in front are part of a name or code; a number is not written with them.
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})([.]\d+)?")

Cell = str | float | None


@dataclass(frozen=True)
class Roster:
    """Expected patients by PatientID, each with the values of `columns`.

    A column holds numbers when all of its values are plain numbers, else texts; an empty cell is
    None.
    """

    path: Path
    columns: tuple[str, ...]
    patients: Mapping[str, tuple[Cell, ...]]

    def values(self, patient: str) -> dict[str, Cell]:
        """The clinical columns of a patient, None for one who is not expected."""
        cells = self.patients.get(patient, (None,) * len(self.columns))
        return dict(zip(self.columns, cells, strict=True))

    @property
    def numeric(self) -> frozenset[str]:
        """Columns that hold numbers."""
        cells = zip(*self.patients.values(), strict=True)
        kinds = {c: {type(v) for v in v_} for c, v_ in zip(self.columns, cells, strict=False)}
        return frozenset(name for name, kind in kinds.items() if float in kind)


def read_roster(path: Path) -> Roster:
    """Read a roster: UTF-8 (a byte order mark does not matter) or UTF-16, separated by commas,
    semicolons or tabs; with semicolons a comma may be the decimal separator.

    Raises `UsageError`, naming the file and line, for anything that could mean two things.
    """
    text = _text(path)
    first = text.split("\n", 1)[0]
    separator = max(_SEPARATORS, key=first.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows = []
    try:
        for row in lines:
            if any(cell.strip() for cell in row):
                rows.append((lines.line_num, [cell.strip() for cell in row]))
    except csv.Error as error:
        raise UsageError(f"{path}, line {lines.line_num}: {error}; correct the quotes") from error
    if not rows:
        raise UsageError(f"{path} is empty; the first line names the columns, one is patient_id")
    place, names = _header(path, rows[0][1])
    patients: dict[str, tuple[int, list[str]]] = {}
    for line, row in rows[1:]:
        if len(row) != len(names) + 1:
            raise UsageError(
                f"{path}, line {line}: {len(row)} cells where the header has {len(names) + 1}; "
                "put texts that contain the separator into quotes"
            )
        patient = row.pop(place)
        if not patient:
            raise UsageError(f"{path}, line {line}: the patient_id is empty")
        if patient in patients:
            raise UsageError(
                f"{path}, line {line}: patient {patient!r} stands in line {patients[patient][0]} "
                "already; keep one row a patient"
            )
        patients[patient] = (line, row)
    if not patients:
        raise UsageError(f"{path} names no patient; add one row for each expected patient")
    table = [row for _, row in patients.values()]
    columns = [_column([row[n] for row in table], separator) for n in range(len(names))]
    cells = list(zip(*columns, strict=True)) or [()] * len(patients)
    return Roster(path, tuple(names), dict(zip(patients, cells, strict=True)))


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"--roster {path} cannot be read: {error.strerror}") from error
    encoding = _BYTE_ORDER_MARKS.get(data[:2], "utf-8-sig")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(
            f"{path}, line {line}: not {encoding.removesuffix('-sig').upper()}; save it as "
            "'CSV UTF-8'"
        ) from error
    if "\0" in text:
        raise UsageError(f"{path} is no text; give a CSV file (a workbook can be saved as one)")
    return text


def _header(path: Path, names: list[str]) -> tuple[int, list[str]]:
    """Place of the patient's column, and the names of the others."""
    places = [
        n for n, name in enumerate(names) if re.sub(r"[\W_]", "", name).lower() == "patientid"
    ]
    if len(places) != 1:
        found = ", ".join(repr(name) for name in names[:20])
        many = "several columns are" if places else "no column is"
        raise UsageError(f"{path}: {many} named patient_id; found {found}")
    others = [name for n, name in enumerate(names) if n != places[0]]
    for name in others:
        if not name:
            raise UsageError(f"{path}: a column has no name; name or delete it")
        if others.count(name) > 1:
            raise UsageError(f"{path}: several columns are named {name!r}; rename them")
        if find_entry("courses", name) is not None or find_entry("roster", name) is not None:
            raise UsageError(f"{path}: the tables have a column {name!r} themselves; rename it")
    return places[0], others


def _column(texts: Sequence[str], separator: str) -> list[Cell]:
    """The values of one column: all numbers, or all texts."""
    plain = [t.replace(",", ".") if separator == ";" else t for t in texts]
    if any(plain) and all(not text or _NUMBER.fullmatch(text) for text in plain):
        return [float(text) if text else None for text in plain]
    return [text or None for text in texts]


# -- what became of the patients -------------------------------------------------------------------


@dataclass(frozen=True)
class CourseState:
    """What the roster's table needs of a course."""

    doses: int
    waits: bool
    statuses: tuple[str, ...]  # of all stages


def roster_rows(
    roster: Roster, courses: Mapping[str, Sequence[CourseState]]
) -> list[dict[str, object]]:
    """A row for every expected patient and every other one that was found."""
    rows = []
    look_alikes = _look_alikes(courses)
    for patient in sorted({*roster.patients, *courses}):
        own = courses.get(patient, ())
        expected = patient in roster.patients
        note = ""
        if not own:
            others = look_alikes[_bare(patient)] - roster.patients.keys()
            note = f"the files have {', '.join(sorted(others))}: the same ID?" if others else ""
        state = _state(own) if expected else UNEXPECTED
        facts = {"patient_id": patient, "roster_state": state, "courses": len(own), "note": note}
        rows.append({**facts, **roster.values(patient)})
    return rows


def roster_summary(rows: Sequence[Mapping[str, object]]) -> str:
    """How many patients are in which state, and who is missing, in one line."""
    counts = Counter(str(row["roster_state"]) for row in rows)
    line = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
    missing = [str(row["patient_id"]) for row in rows if row["roster_state"] == MISSING]
    named = ", ".join(missing[:NAMED]) + (" .." if len(missing) > NAMED else "")
    return f"{line} (missing: {named})" if missing else line


def _state(courses: Sequence[CourseState]) -> str:
    """The first thing that keeps a patient from being done."""
    statuses = [status for course in courses for status in course.statuses]
    if not courses:
        return MISSING
    if not any(course.doses for course in courses):
        return NO_DOSE
    if any(status in ("failed", "partial") for status in statuses):
        return FAILED
    if any(course.waits for course in courses):
        return UNDECIDED
    return UNFINISHED if "not run" in statuses else DONE


def _look_alikes(patients: Iterable[str]) -> defaultdict[str, set[str]]:
    found = defaultdict(set)
    for patient in patients:
        found[_bare(patient)].add(patient)
    return found


def _bare(patient: str) -> str:
    """An ID without what spreadsheets and people change: case, blanks, zeros in front."""
    return re.sub(r"[\W_]", "", patient).casefold().lstrip("0")
