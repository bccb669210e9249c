"""What a cohort costs: time per course, overhead of the engine per stage, memory of the parent,
and a run that finds all done.

Synthetic courses of next to nothing (a few slices, two ROIs, a small dose) go through index, the
cheap stages and aggregation, on two workers. The time per course is that of each further course,
from one size to the next: the start of the program and of its workers is no part of it. It is given
in seconds by the clock and in seconds of computing (all processes together), which hardly depend on
what else the machine does.

Usage: cohort.py [10 100 1000] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
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
    """One command: seconds by the clock, seconds that it and its workers computed, and the largest
    memory of its own process (MB)."""

    seconds: float
    computing_s: float
    peak_mb: float


def run(*arguments: str | Path) -> Cost:
    """Run `rtpipeline` and watch its process, workers apart."""
    command = [sys.executable, "-m", "RTPipelineLib", *map(str, arguments), "--quiet"]
    begin, before = time.perf_counter(), os.times()
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
    after = os.times()  # of children: zero on Windows
    computing = after.children_user + after.children_system
    computing -= before.children_user + before.children_system
    return Cost(time.perf_counter() - begin, computing, peak)


def stage_seconds(out: Path) -> list[float]:
    """What the stages say they took, each."""
    records = sorted(out.glob("*/*/stages/*.json"))
    return [json.loads(path.read_text(encoding="utf-8"))["seconds"] for path in records]


def measure(number: int, folder: Path) -> Cost:
    """Measure and print a cohort of `number` courses; returns what its first run cost."""
    dicom, out = folder / "dicom", folder / "out"
    for _ in tiny_patients(dicom, number):
        pass
    arguments = ("run", dicom, out, "--stages", STAGES, "--jobs", str(JOBS))
    first = run(*arguments)
    inside = stage_seconds(out)
    again = run(*arguments)
    tables = run("aggregate", out)
    overhead = (JOBS * first.seconds - sum(inside)) / len(inside)
    print(
        f"{number:>7} {first.seconds:>9.1f} {first.computing_s:>11.1f} "
        f"{sum(inside) / len(inside):>9.3f} {overhead:>11.3f} {first.peak_mb:>10.0f} "
        f"{again.seconds:>10.1f} {again.peak_mb:>6.0f} {tables.seconds:>11.1f} "
        f"{tables.peak_mb:>6.0f}",
        flush=True,
    )
    return first


def main() -> None:
    """Measure the sizes asked for and print what each further course costs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("sizes", nargs="*", type=int, default=[10, 100])
    parser.add_argument("--keep", metavar="FOLDER", type=Path)
    arguments = parser.parse_args()
    print(
        "courses     run s computing s s a stage  overhead s  parent MB run again s its MB "
        "aggregate s its MB"
    )
    found = {}
    for number in sorted({JOBS, *arguments.sizes}):
        with tempfile.TemporaryDirectory() as scratch:
            base = arguments.keep / str(number) if arguments.keep else Path(scratch)
            found[number] = measure(number, base)
    for (few, small), (many, large) in pairwise(found.items()):
        clock = (large.seconds - small.seconds) / (many - few)
        computing = (large.computing_s - small.computing_s) / (many - few)
        print(f"each course from {few} to {many}: {clock:.3f} s, {computing:.3f} s of computing")


if __name__ == "__main__":
    main()
