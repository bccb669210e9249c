"""The cohort's results: tables and page, made anew when anything they come from has changed.

Beside them lies a note of what they came from and of what they were. Like the index, it knows a
file by path, size and modification time: what only looks at a thousand finished courses shall not
take the time of joining them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from .. import __version__
from ..config import Config
from ..course import course_folders
from ..platform import write_json
from ..report.tables import can_write_workbook
from ..stages import STAGES
from .aggregate import COURSE_TABLES, Summary, aggregate, index_failures
from .cohort_report import write_cohort_report
from .ledger import sha256_of
from .methods import write_methods
from .pseudonymised import copy_failures
from .roster import Roster

NOTE = ".made.json"
SCHEMA = 1
NOT_READ = {"logs"}  # folders of a course that no table looks into


def make_results(
    out: Path, config: Config, lost: Sequence[dict[str, str]], roster: Roster | None
) -> Summary:
    """Write `results/` with its page, or find that what is there still holds. `lost` are rows of
    `failures` for what could not be noted in the course folders."""
    failures = [*lost, *copy_failures(out), *index_failures(out / "index.sqlite")]
    mark = _fingerprint(out, config, failures, roster)
    results = out / "results"
    known = _noted(results, mark)
    if known is not None:
        return known
    summary = aggregate(out, config, failures, roster)
    write_cohort_report(out)
    write_methods(out, config)
    facts = asdict(summary)
    facts["results"] = ""  # the folder may be moved
    note = {"schema": SCHEMA, "mark": mark, "files": _states(results), "summary": facts}
    write_json(results / NOTE, note)
    return summary


def _fingerprint(
    out: Path, config: Config, failures: Sequence[Mapping[str, str]], roster: Roster | None
) -> str:
    """Hash of all that the results come from. Taken before they are made, so that what changes
    meanwhile is seen by the next run."""
    digest = hashlib.sha256()
    known = {
        "made by": [__version__, STAGES, COURSE_TABLES],
        "folder": out.name,  # the page's title
        "config": config.to_yaml(),
        "workbook": can_write_workbook(),
        "failures": failures,
        "roster": [str(roster.path), sha256_of(roster.path)] if roster else [],
    }
    digest.update(json.dumps(known, sort_keys=True).encode())
    for folder in course_folders(out):
        place = folder.relative_to(out).as_posix()
        digest.update(json.dumps([place, *_files(folder)]).encode())
    return digest.hexdigest()


def _noted(results: Path, mark: str) -> Summary | None:
    """The summary of results that came from the same and are still as they were made."""
    try:
        note = json.loads((results / NOTE).read_text(encoding="utf-8"))
        if (note["schema"], note["mark"]) != (SCHEMA, mark):
            return None
        there = _states(results)
        if any(there.get(name) != state for name, state in note["files"].items()):
            return None
        facts = note["summary"]
        return Summary(
            courses=facts["courses"],
            statuses=Counter(facts["statuses"]),
            failures=tuple(facts["failures"]),
            waiting=tuple(facts["waiting"]),
            results=results,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _states(results: Path) -> dict[str, list[int]]:
    """Size and time of every file that is not hidden, by name."""
    return {name: state for name, *state in _files(results)}


def _files(folder: Path, prefix: str = "") -> Iterator[tuple[str, int, int]]:
    """Name, size and modification time of every file below a folder, sorted; hidden ones and logs
    are left out."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.name.startswith(".") or entry.name in NOT_READ:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path), f"{prefix}{entry.name}/")
            continue
        try:
            stat = entry.stat()
            yield f"{prefix}{entry.name}", stat.st_size, stat.st_mtime_ns
        except OSError:  # a link to nowhere
            yield f"{prefix}{entry.name}", -1, 0
