"""What a cohort costs: time per course, overhead of the engine per stage, memory of the parent,
and a run that finds all done.

Synthetic courses of next to nothing (a few slices, two ROIs, a small dose) go through index, the
cheap stages and aggregation, on two workers. The start of the program and of its workers, taken
from a cohort of two courses, is not part of the time per course.

Usage: cohort.py [10 100 1000] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

LIBRARY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(LIBRARY))

from RTPipelineLib.phantoms.scale import tiny_patients  # noqa: E402

STAGES = "load,structures,dose,dvh"
JOBS = 2
LOOK_S = 0.1


@dataclass(frozen=True)
class Cost:
    """One command: wall seconds, and the largest memory of its own process (MB)."""

    seconds: float
    peak_mb: float


def run(*arguments: str | Path) -> Cost:
    """Run `rtpipeline` and watch its process, workers apart."""
    command = [sys.executable, "-m", "RTPipelineLib", *map(str, arguments), "--quiet"]
    begin = time.perf_counter()
    process = subprocess.Popen(command, cwd=LIBRARY)
    watched = psutil.Process(process.pid)
    peak = 0.0
    while process.poll() is None:
        try:
            peak = max(peak, watched.memory_info().rss / 1e6)
        except psutil.Error:
            break
        time.sleep(LOOK_S)
    if process.wait() != 0:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return Cost(time.perf_counter() - begin, peak)


def stage_seconds(out: Path) -> list[float]:
    """What the stages say they took, each."""
    records = sorted(out.glob("*/*/stages/*.json"))
    return [json.loads(path.read_text(encoding="utf-8"))["seconds"] for path in records]


def measure(number: int, folder: Path, start_s: float = 0.0) -> Cost:
    """Measure and print a cohort of `number` courses; returns what its first run cost."""
    dicom, out = folder / "dicom", folder / "out"
    for _ in tiny_patients(dicom, number):
        pass
    arguments = ("run", dicom, out, "--stages", STAGES, "--jobs", str(JOBS))
    first = run(*arguments)
    inside = stage_seconds(out)
    again = run(*arguments)
    tables = run("aggregate", out)
    seconds = first.seconds - start_s
    each = seconds / number
    overhead = (JOBS * seconds - sum(inside)) / len(inside)
    print(
        f"{number:>7} {first.seconds:>9.1f} {each:>10.3f} {sum(inside) / len(inside):>9.3f} "
        f"{overhead:>11.3f} {first.peak_mb:>10.0f} {again.seconds:>10.1f} {tables.seconds:>11.1f} "
        f"{tables.peak_mb:>11.0f}",
        flush=True,
    )
    return first


def main() -> None:
    """Measure the sizes asked for and print how the time per course grows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("sizes", nargs="*", type=int, default=[10, 100])
    parser.add_argument("--keep", metavar="FOLDER", type=Path)
    arguments = parser.parse_args()
    print(
        "courses     run s s a course s a stage  overhead s  parent MB run again s aggregate s"
        "  its MB"
    )
    found, start_s = {}, 0.0
    for number in [JOBS, *arguments.sizes]:
        with tempfile.TemporaryDirectory() as scratch:
            base = arguments.keep / str(number) if arguments.keep else Path(scratch)
            seconds = measure(number, base, start_s).seconds
        if start_s:
            found[number] = (seconds - start_s) / number
        else:
            start_s = seconds
    smallest, largest = min(found), max(found)
    ratio = found[largest] / found[smallest]
    print(f"time per course, {largest} to {smallest} courses: {ratio:.2f}")


if __name__ == "__main__":
    main()
