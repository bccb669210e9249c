"""Verdicts of reviewers on a course and its structures.

Every verdict is a file of its own in `<course>/review/`, written once and never changed: reviewers
on a shared folder cannot lose each other's words, and nothing that a program computes touches them.
A verdict holds a hash of what its reviewer saw; when the results become others, it is out of date.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from .course import read_course
from .errors import DataError, UsageError
from .platform import folder_name, write_json

SCHEMA = 1
REVIEW_FOLDER = "review"
ACCEPT, REJECT, FLAG, COMMENT = VERDICTS = ("accept", "reject", "flag", "comment")
CURRENT, OUT_OF_DATE, SUPERSEDED = "current", "out of date", "superseded"
# What a reviewer looks at: names, volumes and doses of the structures, and the choice of the dose.
_STRUCTURES, _METRICS = "structures/structures.json", "dvh/metrics.parquet"
_DOSE, _GOALS = "dose/dose.json", "dvh/goals.parquet"
# Numbers that agree to so many digits are the same: another machine may round the last ones.
_DIGITS = 7


@dataclass(frozen=True)
class Verdict:
    """One verdict: on a structure (`item` its name, `source` who drew it) or on the course (both
    empty); `time` is UTC, `seen_hash` that of the results at that time."""

    patient_id: str
    course_id: str
    item: str
    source: str
    verdict: str
    comment: str
    reviewer: str
    time: str
    seen_hash: str


def add_verdict(
    folder: Path, verdict: str, by: str, *, roi: str = "", source: str = "", comment: str = ""
) -> Verdict:
    """Write a verdict on a course (`folder`) or on one of its structures.

    `source` is needed where several sources have a structure of this name. Raises `UsageError` for
    an unknown verdict or structure, for no name, and for a comment without words; `DataError` where
    the course cannot be read; `OutputError` where its folder cannot be written.
    """
    by, comment = by.strip(), comment.strip()
    if verdict not in VERDICTS:
        raise UsageError(f"{verdict!r} is no verdict; say one of {', '.join(VERDICTS)}")
    if not by:
        raise UsageError("a verdict needs the name of its reviewer (--by)")
    if verdict == COMMENT and not comment:
        raise UsageError("a comment needs words (--comment)")
    course = read_course(folder)
    if roi:
        roi, source = _structure(folder, roi, source)
    elif source:
        raise UsageError("--source names who drew a structure: say which one (--roi)")
    time = datetime.now(UTC)
    written = Verdict(
        course.patient_id,
        course.course_id,
        roi,
        source,
        verdict,
        comment,
        by,
        time.isoformat(timespec="microseconds"),
        seen_hash(folder, roi, source),
    )
    name = f"{time:%Y%m%dT%H%M%S%f}-{folder_name(by, 20)}-{secrets.token_hex(4)}.json"
    write_json(folder / REVIEW_FOLDER / name, {"schema": SCHEMA, **asdict(written)})
    return written


def read_verdicts(folder: Path) -> tuple[list[Verdict], list[DataError]]:
    """All verdicts of a course in the order of time, and what could not be read."""
    verdicts, errors = [], []
    for path in verdict_files(folder):
        try:
            verdicts.append(_read(path))
        except DataError as error:
            errors.append(error)
    return sorted(verdicts, key=lambda v: v.time), errors


def verdict_files(folder: Path) -> list[Path]:
    """The files that hold the verdicts of a course, in the order of time."""
    return sorted((folder / REVIEW_FOLDER).glob("*.json"))


def _read(path: Path) -> Verdict:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("schema") != SCHEMA:
            raise DataError(f"{path} was written by a newer version of RT Pipeline: update it")
        verdict = Verdict(**data)
        if not all(isinstance(value, str) for value in asdict(verdict).values()):
            raise TypeError("a value is no text")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path} is no verdict that can be read ({error}); restore it from a copy, or move it "
            "away"
        ) from error
    return verdict


def review_rows(folder: Path) -> tuple[list[dict[str, str]], list[DataError]]:
    """The verdicts of a course as rows of `results/reviews`, each with its `state`: superseded by a
    later one of the same reviewer on the same item, out of date, or current. A comment supersedes
    nothing and is superseded by nothing."""
    verdicts, errors = read_verdicts(folder)
    last = {_place(v): v for v in verdicts if v.verdict != COMMENT}
    now = _Seen(folder)
    rows = []
    for verdict in verdicts:
        if verdict.verdict != COMMENT and last[_place(verdict)] is not verdict:
            state = SUPERSEDED
        elif now.hash_of(verdict.item, verdict.source) != verdict.seen_hash:
            state = OUT_OF_DATE
        else:
            state = CURRENT
        rows.append({**asdict(verdict), "state": state})
    return rows, errors


def _place(verdict: Verdict) -> tuple[str, str, str]:
    return verdict.reviewer, verdict.item, verdict.source


# -- what was seen --------------------------------------------------------------------------------


def seen_hash(folder: Path, item: str = "", source: str = "") -> str:
    """SHA-256 of what a reviewer of a course, or of one of its structures, looks at."""
    return _Seen(folder).hash_of(item, source)


class _Seen:
    """The results of a course as its reviewer sees them, read once."""

    def __init__(self, folder: Path) -> None:
        self._structures = _facts(folder / _STRUCTURES).get("rois") or []
        self._metrics = _rows(folder / _METRICS)
        dose = _facts(folder / _DOSE)
        self._course = [dose.get("decision"), dose.get("prescription"), _rows(folder / _GOALS)]
        self._known: dict[tuple[str, str], str] = {}

    def hash_of(self, item: str, source: str) -> str:
        """The hash for a structure, or for the whole course when `item` is empty."""
        if (item, source) not in self._known:
            rows = [
                row
                for row in (*self._structures, *self._metrics)
                if not item or (row["roi_name"], row["source"]) == (item, source)
            ]
            seen = rows if item else [*rows, *self._course]
            text = json.dumps([_rounded(row) for row in seen], sort_keys=True)
            self._known[item, source] = hashlib.sha256(text.encode()).hexdigest()
        return self._known[item, source]


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.{_DIGITS}g}"
    if isinstance(value, Mapping):
        return {str(key): _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value


def _facts(path: Path) -> Mapping:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); run its stage again") from error


def _rows(path: Path) -> list[dict]:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(path).to_pylist()
    except FileNotFoundError:
        return []
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} cannot be read ({error}); run its stage again") from error


def structures_of(folder: Path) -> list[tuple[str, str]]:
    """(name, source) of the structures of a course that can be judged."""
    return list(dict.fromkeys(_names(_facts(folder / _STRUCTURES).get("rois") or ())))


def _structure(folder: Path, roi: str, source: str) -> tuple[str, str]:
    """Name and source of a structure of the course. Raises `UsageError`."""
    from difflib import get_close_matches

    known = structures_of(folder)
    found = [key for key in known if key[0] == roi and source in ("", key[1])]
    if len(found) == 1:
        return found[0]
    where = f"of the course {folder.parent.name}/{folder.name}"
    if found:
        sources = ", ".join(own for _, own in found)
        raise UsageError(f"several sources have {roi!r} {where}: say which (--source {sources})")
    near = get_close_matches(roi, [name for name, _ in known], 1, 0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    drawn = f" from {source}" if source else ""
    raise UsageError(f"{roi!r}{drawn} is no structure {where}{hint}")


def _names(rois: Iterable[Mapping]) -> Iterator[tuple[str, str]]:
    for roi in rois:
        yield roi["roi_name"], roi["source"]
