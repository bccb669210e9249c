"""What a run would take: time and disk, from records of earlier runs in the same folder, or from
stated assumptions about the size of the input."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from ..course import Course, course_folders
from ..stages import DONE, PARTIAL, get_stage
from .ledger import valid_record

ENOUGH = 200  # records of a stage that an estimate looks at


@dataclass(frozen=True)
class Rate:
    """What a stage takes: seconds and GB written (10^9 bytes), fixed and per GB that it reads."""

    seconds: float
    seconds_per_gb: float = 0.0
    gb: float = 0.0
    gb_per_gb: float = 0.0


# Orders of magnitude for one core of an office computer: a CT of 100 MB with a clinical plan.
ASSUMED: Mapping[str, Rate] = {
    "load": Rate(1.0, 20.0, 0.0001, 1.5),
    "register": Rate(1.0, 30.0, 0.0001),
    "segment": Rate(300.0, 600.0, 0.005),
    "structures": Rate(10.0, 0.0, 0.005),
    "dose": Rate(2.0, 30.0, 0.001, 1.0),
    "dvh": Rate(5.0, 20.0, 0.002),
    "radiomics": Rate(120.0, 600.0, 0.005),
    "quality": Rate(2.0, 0.0, 0.00005),
    "report": Rate(5.0, 0.0, 0.002),
}
OTHERS = Rate(10.0, 20.0, 0.001)


@dataclass(frozen=True)
class Estimate:
    """Seconds of all stages after each other, GB written, and by stage the number of records that
    this comes from, 0 for an assumption."""

    seconds: float
    written_gb: float
    records: Mapping[str, int]

    def lines(self, jobs: int) -> list[str]:
        """For people: the sum, and what it rests on."""
        if not self.records:
            return ["nothing to do"]
        seen = [f"{name} ({n})" for name, n in self.records.items() if n]
        assumed = [name for name, n in self.records.items() if not n]
        hours, minutes = divmod(round(self.seconds / jobs / 60), 60)
        lines = [
            f"about {hours} h {minutes:02d} min with {jobs} stages at a time, and "
            f"{self.written_gb:.2g} GB of disk"
        ]
        if seen:
            lines.append(f"from records of earlier runs here (how many): {', '.join(seen)}")
        if assumed:
            lines.append(
                f"assumed from the size of the files, right within a factor of ten: "
                f"{', '.join(assumed)}"
            )
        return lines


def estimate(due: Sequence[tuple[Course, Sequence[str]]], out: Path) -> Estimate:
    """What the stages that are due for these courses would take."""
    names = dict.fromkeys(name for _, stages in due for name in stages)
    rates, records = {}, {}
    for name in names:
        rates[name], records[name] = _rate(name, out)
    seconds = written = 0.0
    sizes: defaultdict[Path, float] = defaultdict(float)
    for course, stages in due:
        for name in stages:
            rate, read = rates[name], 0.0
            if rate.seconds_per_gb or rate.gb_per_gb:
                read = sum(_gb(path, sizes) for path in get_stage(name).inputs(course))
            seconds += rate.seconds + read * rate.seconds_per_gb
            written += rate.gb + read * rate.gb_per_gb
    return Estimate(seconds, written, records)


def _gb(path: Path, sizes: dict[Path, float]) -> float:
    if path not in sizes:
        try:
            sizes[path] = path.stat().st_size / 1e9
        except OSError:
            sizes[path] = 0.0
    return sizes[path]


def _rate(name: str, out: Path) -> tuple[Rate, int]:
    """The mean of earlier records of a stage, or the assumption; and the number of records."""
    found = []
    for folder in course_folders(out) if out.is_dir() else ():
        record = valid_record(folder, name)
        if record is not None and record.status in (DONE, PARTIAL):
            found.append(record)
        if len(found) == ENOUGH:
            break
    if not found:
        return ASSUMED.get(name, OTHERS), 0
    seconds = mean(record.seconds for record in found)
    return Rate(seconds, gb=mean(sum(r.outputs.values()) for r in found) / 1e9), len(found)
