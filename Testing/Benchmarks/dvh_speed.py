"""DVHs of a whole structure set, from files: ours against dicompyler-core and plastimatch.

    python Testing/Benchmarks/dvh_speed.py [--repeat 5] [--peer-repeat 1]
        [--peers dicompyler plastimatch plastimatch-coarse | none]

The case: 30 ROIs (body included) of 150 contours with 200 points, dose 200 x 200 x 150 voxels of
2.5 x 2.5 x 2 mm, 32 bit, written as DICOM to a temporary folder. All begin at the files and end
with one curve per ROI; imports and the first run are not counted, what numba costs at the start is
given apart. Sides run interleaved; medians and ratios are printed, our time split into its parts,
our peak memory in a process of its own, and the physical limit (bytes to read, boxes to touch).

plastimatch draws the structures on the planning image, which is as exact as its method allows;
`plastimatch-coarse` draws them on the dose grid, which is faster and misses small structures.

Targets: NumPy alone 15 x dicompyler-core and 6 x plastimatch, with numba 40 x and 15 x; peak memory
below 400 MB.
"""

from __future__ import annotations

import argparse
import cProfile
import importlib.util
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from dvh_peers import available, run_peer
from pydicom.dataset import Dataset

from RTPipelineLib.dicom.dose import read_dose
from RTPipelineLib.dicom.structures import read_structure_set
from RTPipelineLib.dicom.write import write_dose, write_structure_set
from RTPipelineLib.dvh.engine import DvhOptions, compute_dvh
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import DVH, Contours, Dose

FRAME = "2.25.43"
# The planning CT that the contours were drawn on; only its geometry matters.
IMAGE = Grid([-250.0, -250.0, -142.0], np.eye(3), [0.98, 0.98, 1.9], (150, 512, 512))
DOSE = Grid([-248.75, -248.75, -149.0], np.eye(3), [2.5, 2.5, 2.0], (150, 200, 200))
NUMPY, NUMBA = "numpy", "numba"
TARGETS = {
    NUMPY: {"dicompyler": 15, "plastimatch": 6},
    NUMBA: {"dicompyler": 40, "plastimatch": 15},
}
MEMORY_MB = 400
PARTS = {  # our functions whose cumulated time makes a part
    "reading": ("read_dose", "read_structure_set"),
    "planes and regions": ("contour_sections",),
    "coverage": ("cover",),
    "dose in boxes": ("_covered_boxes",),
    "sorting": ("add", "curve"),
    "dose in boxes and sorting, compiled": ("_add_compiled",),
}


def write_case(folder: Path, rois: int = 30, contours: int = 150, points: int = 200) -> list[Path]:
    """The two files of the case."""
    random = np.random.default_rng(5)
    grid = DOSE
    z, y, x = np.meshgrid(
        *(grid.origin_mm[a] + np.arange(grid.size_ijk[a]) * grid.spacing_mm[a] for a in (2, 1, 0)),
        indexing="ij",
    )
    array = 60 * np.exp(-((x / 60) ** 4) - (y / 70) ** 4 - (z / 90) ** 4) + 8 * np.exp(
        -((y / 150) ** 2)
    )
    array *= 1 + 0.01 * random.standard_normal(array.shape)
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    planes = -142.0 + 1.9 * np.arange(contours)
    structures = []
    for number in range(1, rois + 1):
        wide, deep = (190, 130) if number == 1 else random.uniform(8, 45, 2)
        centre = np.zeros(2) if number == 1 else random.uniform(-80, 80, 2)
        phase = random.uniform(0, 6, contours)
        loops = [
            np.stack(
                [
                    centre[0] + (wide + 0.02 * wide * np.sin(5 * angle + p)) * np.cos(angle),
                    centre[1] + (deep + 0.02 * deep * np.cos(4 * angle + p)) * np.sin(angle),
                    np.full(points, w),
                ],
                axis=1,
            ).round(2)
            for w, p in zip(planes, phase, strict=True)
        ]
        name = "BODY" if number == 1 else f"ROI {number}"
        structures.append(Contours.from_loops(name, loops, number=number, frame_uid=FRAME))
    study = Dataset()
    study.PatientID, study.PatientName, study.StudyInstanceUID = "SPEED", "Speed", "2.25.44"
    paths = [folder / "RS.dcm", folder / "RD.dcm"]
    write_structure_set(paths[0], structures, patient_from=study, image=None)
    write_dose(paths[1], Dose(array.astype(np.float32), grid, frame_uid=FRAME), patient_from=study)
    return paths


def run_ours(structures: Path, dose: Path, side: str) -> dict[str, DVH]:
    """All ROIs of the files, from reading to curves, by `numpy` or `numba`."""
    grid, options = read_dose(dose), DvhOptions(compiled=side == NUMBA)
    return {
        roi.name: compute_dvh(roi, grid, options) for roi in read_structure_set(structures).rois
    }


def run(side: str, paths: list[Path]) -> None:
    """Ours or a peer's whole computation."""
    if side in TARGETS:
        run_ours(*paths, side)
    elif side == "plastimatch-coarse":
        run_peer("plastimatch", *paths, DOSE)
    else:
        run_peer(side, *paths, IMAGE)


def alone(side: str, paths: list[Path], cache: Path) -> tuple[float, float]:
    """Peak memory in MB, and seconds of the first run, in a process of its own."""
    command = [sys.executable, __file__, "--alone", side, *map(str, paths)]
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    memory, seconds = done.stdout.split()
    return float(memory), float(seconds)


def report_alone(side: str, paths: list[Path]) -> None:
    """What `alone` reads: the process's own high-water mark, which a parent's does not enter."""
    start = time.perf_counter()
    run_ours(*paths, side)
    seconds = time.perf_counter() - start
    status = Path("/proc/self/status")
    if status.exists():
        marks = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        print(float(marks["VmHWM"].split()[0]) / 1024, seconds)
    else:
        print("nan", seconds)


def print_parts(paths: list[Path], side: str, seconds: float) -> None:
    """Where our time goes: shares from a profile, scaled to the unprofiled time."""
    profile = cProfile.Profile()
    profile.runcall(run_ours, *paths, side)
    statistic = pstats.Stats(profile).stats
    total = max(entry[3] for entry in statistic.values())
    rest = seconds
    for part, functions in PARTS.items():
        spent = sum(
            entry[3]
            for (file, _, name), entry in statistic.items()
            # `cover` of a plane stack calls `cover` of the edges: one of them counts.
            if name in functions and "RTPipelineLib" in file and not file.endswith("coverage.py")
        )
        if spent:
            rest -= spent / total * seconds
            print(f"    {part:36s} {spent / total * seconds:7.3f} s")
    print(f"    {'the rest':36s} {rest:7.3f} s")


def measure(sides: list[str], peers: list[str], paths: list[Path], options: argparse.Namespace):
    """Seconds of every side, interleaved; the first run of ours is not counted."""
    for side in sides:
        run(side, paths)
    times: dict[str, list[float]] = {}
    for turn in range(options.repeat):
        for side in [*sides, *(peers if turn < options.peer_repeat else [])]:
            start = time.perf_counter()
            run(side, paths)
            times.setdefault(side, []).append(time.perf_counter() - start)
    return {side: statistics.median(seconds) for side, seconds in times.items()}


def print_sides(sides: list[str], peers: list[str], median: dict[str, float]) -> None:
    """Seconds, and how many times faster we are than each peer."""
    for side in sides:
        print(f"{side:20s} {median[side]:8.3f} s")
    for peer in peers:
        ratios = []
        for side in sides:
            target = TARGETS[side].get(peer)
            wanted = f" (target {target} x)" if target else ""
            ratios.append(f"{median[peer] / median[side]:6.1f} x {side}{wanted}")
        print(f"{peer:20s} {median[peer]:8.3f} s  = {', '.join(ratios)}")


def main() -> None:
    """Write the case, run everybody, print."""
    known = [peer for name in available() for peer in (name, f"{name}-coarse")]
    known = [peer for peer in known if peer != "dicompyler-coarse"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--peer-repeat", type=int, default=1)
    parser.add_argument("--peers", nargs="*", default=known)
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        report_alone(options.alone[0], [Path(path) for path in options.alone[1:]])
        return
    peers = [peer for peer in options.peers if peer != "none"]
    sides = [NUMPY, *([NUMBA] if importlib.util.find_spec("numba") else [])]
    with tempfile.TemporaryDirectory() as name:
        paths = write_case(Path(name))
        curves = run_ours(*paths, NUMPY)
        boxes = sum(dvh.settings.boxes for dvh in curves.values())
        size = sum(path.stat().st_size for path in paths)
        print(f"{len(curves)} ROIs, {size / 1e6:.0f} MB to read, {boxes / 1e6:.1f} million boxes")
        median = measure(sides, peers, paths, options)
        print_sides(sides, peers, median)
        floor = size / 3e9 + boxes * 4 / 5e9
        print(f"physical limit (3 GB/s read, each box touched once): {floor:.3f} s")
        for side in sides:
            print(f"{side}: {median[side] / floor:.0f} x the limit")
            print_parts(paths, side, median[side])
        cache = Path(name) / "cache"
        for side in [*sides, *sides[1:]]:
            memory, first = alone(side, paths, cache)
            print(
                f"{side} in a process of its own: peak {memory:.0f} MB (limit {MEMORY_MB}), first "
                f"run {first:.2f} s"
            )
        if NUMBA in sides:
            print("(numba: the first line with compilation, the second from its cache)")


if __name__ == "__main__":
    main()
