"""The courses of an output folder as rows of a table, and the queue of those to look at."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from ..course import course_folders
from ..errors import DataError
from ..overrides import OVERRIDES_FILE
from ..review import (
    ACCEPT,
    COMMENT,
    CURRENT,
    FLAG,
    OUT_OF_DATE,
    REJECT,
    REVIEW_FOLDER,
    SUPERSEDED,
    review_rows,
)
from ..run.ledger import valid_record
from ..run.state import course_state
from ..stages import STAGES
from ..stages.facts import read_facts

QUALITY_FILE = "quality/quality.json"
NOT_REVIEWED = "not reviewed"
ALL, UNSEEN, STALE, FLAGGED, WARNED, FAILED = FILTERS = (
    "all",
    NOT_REVIEWED,
    OUT_OF_DATE,
    "flagged or rejected",
    "with warnings",
    "failed",
)
# Of several verdicts on a course the gravest shows.
_GRAVITY = (REJECT, FLAG, OUT_OF_DATE, ACCEPT)
NOT_RUN, DONE = "not run", "done"


@dataclass(frozen=True)
class CohortRow:
    """One course: where it lies, how its stages ended (the worst of them, and all), what the dose
    needs, how much quality control found, and what reviewers say."""

    folder: Path
    patient_id: str
    course_id: str
    status: str
    stages: dict[str, str]
    decision: str
    rx_gy: float | None
    errors: int
    warnings: int
    verdict: str = NOT_REVIEWED
    reviewers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """`<patient>/<course>` as the folders are called."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    def passes(self, wanted: str) -> bool:
        """Whether a filter of the queue lets the course through."""
        return {
            ALL: True,
            UNSEEN: self.verdict == NOT_REVIEWED,
            STALE: self.verdict == OUT_OF_DATE,
            FLAGGED: self.verdict in (FLAG, REJECT),
            WARNED: bool(self.errors or self.warnings),
            FAILED: self.status in ("failed", "partial"),
        }[wanted]


def cohort_rows(out: Path, reviewer: str = "") -> list[CohortRow]:
    """All courses of an output folder, from its tables; those that the tables do not have yet, by
    their folders. With `reviewer` that person's verdicts alone are looked at (blinded)."""
    results = out / "results"
    courses = _table(results / "courses.parquet")
    found = {(row["patient_id"], row["course_id"]): Counter() for row in courses}
    for row in _table(results / "quality.parquet", ["patient_id", "course_id", "severity"]):
        found.setdefault((row["patient_id"], row["course_id"]), Counter())[row["severity"]] += 1
    reviews = defaultdict(list)
    for row in _table(results / "reviews.parquet"):
        reviews[row["patient_id"], row["course_id"]].append(row)
    made = _time(results / "reviews.parquet")
    rows, known = [], set()
    for row in courses:
        folder = out / str(row["folder"])
        who = (row["patient_id"], row["course_id"])
        known.add(folder)
        stages = {name: _word(row.get(f"stage_{name}")) for name in STAGES}
        one = CohortRow(
            folder,
            *who,
            _status(stages.values()),
            stages,
            str(row["dose_decision"] or ""),
            row["rx_gy"],
            found[who]["error"],
            found[who]["warning"],
        )
        newer = _time(folder / REVIEW_FOLDER) > made
        rows.append(reviewed(one, None if newer else reviews[who], reviewer))
    for folder in course_folders(out):
        if folder not in known:
            new = CohortRow(folder, folder.parent.name, folder.name, NOT_RUN, {}, "", None, 0, 0)
            rows.append(reviewed(new, None, reviewer))
    return rows


def reviewed(
    row: CohortRow, verdicts: Iterable[dict[str, str]] | None, reviewer: str = ""
) -> CohortRow:
    """The row with what reviewers say: rows of `reviews`, or (None) what the folder has now."""
    if verdicts is None:
        try:
            verdicts, _ = review_rows(row.folder)
        except DataError:
            verdicts = []
    counted = [
        one
        for one in verdicts
        if one["state"] != SUPERSEDED
        and one["verdict"] != COMMENT
        and reviewer in ("", one["reviewer"])
    ]
    words = {one["verdict"] if one["state"] == CURRENT else OUT_OF_DATE for one in counted}
    verdict = next((word for word in _GRAVITY if word in words), NOT_REVIEWED)
    people = tuple(sorted({one["reviewer"] for one in counted}))
    return replace(row, verdict=verdict, reviewers=people)


def sentences_of(row: CohortRow, out: Path) -> list[str]:
    """What is to be known of a course: failures and questions, then what quality control found."""
    state = course_state(row.folder, out)
    found = [state.problem, *state.remarks]
    found += [f"needs a decision: {state.question}"] if state.question else []
    found += [
        f"{item.get('severity')}: {item.get('sentence')}"
        for item in read_facts(row.folder, QUALITY_FILE).get("checks") or ()
        if item.get("severity") != "info"
    ]
    return [text for text in found if text]


def verdict_lines(folder: Path, reviewer: str = "") -> list[str]:
    """The verdicts on a course, the newest first, and what has become other since the last one.
    With `reviewer` that person's alone."""
    verdicts, errors = review_rows(folder)
    own = [one for one in verdicts if reviewer in ("", one["reviewer"])]
    lines = [_in_words(one) for one in reversed(own)]
    if own and any(one["state"] == OUT_OF_DATE for one in own):
        lines[:0] = changes_since(folder, max(one["time"] for one in own))
    return lines + [str(error) for error in errors]


def _in_words(one: Mapping[str, str]) -> str:
    what = f"{one['item']} ({one['source']})" if one["item"] else "the course"
    words = f": {one['comment']}" if one["comment"] else ""
    when = one["time"][:16].replace("T", " ")
    return f"{when}  {one['verdict']}  {what}, by {one['reviewer']} [{one['state']}]{words}"


def changes_since(folder: Path, time: str) -> list[str]:
    """What has happened to a course since a moment (ISO 8601): decisions edited, stages run."""
    moment = datetime.fromisoformat(time)
    found = []
    decided = _time(folder / OVERRIDES_FILE)
    if decided > moment.timestamp():
        found.append("since then the decisions (overrides.yaml) were edited")
    ran = []
    for stage in STAGES:
        record = valid_record(folder, stage)
        if record is not None and datetime.fromisoformat(record.started) > moment:
            ran.append(stage)
    if ran:
        found.append(f"since then these stages ran again: {', '.join(ran)}")
    return found


def write_rows(path: Path, rows: Sequence[CohortRow]) -> None:
    """Rows as CSV for a spreadsheet. Raises `OSError` when that fails."""
    names = ("patient_id", "course_id", "status", "decision", "rx_gy", "errors", "warnings")
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "verdict", "reviewers", *(f"stage_{name}" for name in STAGES)])
        for row in rows:
            values = [getattr(row, name) for name in names]
            stages = [row.stages.get(name, "") for name in STAGES]
            writer.writerow([*values, row.verdict, ";".join(row.reviewers), *stages])


def next_in_queue(
    rows: Sequence[CohortRow], current: CohortRow | None, wanted: str, step: int = 1
) -> CohortRow | None:
    """The course after (`step` 1) or before (-1) the current one that a filter lets through; None
    when there is none on that side."""
    names = [row.name for row in rows]
    start = names.index(current.name) if current is not None and current.name in names else None
    if start is None:
        places = range(len(rows)) if step > 0 else range(len(rows) - 1, -1, -1)
    else:
        places = range(start + step, len(rows) if step > 0 else -1, step)
    return next((rows[place] for place in places if rows[place].passes(wanted)), None)


def _status(words: Iterable[str]) -> str:
    """The gravest of the stages' states; a stage that was skipped is no fault."""
    found = set(words)
    return next((word for word in ("failed", "partial", NOT_RUN) if word in found), DONE)


def _word(status: object) -> str:
    """The state of a stage without its reason."""
    return str(status or "").partition(":")[0].strip()


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _table(path: Path, columns: list[str] | None = None) -> list[dict]:
    """The rows of a table; none where it has not been made yet or is being made."""
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(path, columns=columns).to_pylist()
    except (OSError, pyarrow.ArrowException):
        return []
