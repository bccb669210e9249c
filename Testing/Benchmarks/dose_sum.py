"""Sum of many doses on different grids: ours, scipy and SimpleITK in one run.

    python Testing/Benchmarks/dose_sum.py [--n 30] [--size 256 256 200] [--repeat 3]

Doses are smooth fields on grids that differ in origin, spacing and extent; they lie as raw files in
a temporary folder, and every side begins there:

* numpy, numba: `sum_doses` over lazy loaders, without and with compiled code (where installed);
* scipy: all doses loaded, then `map_coordinates(order=1)` of each onto the union grid;
* SimpleITK: one dose at a time, linear `Resample` onto the union grid.

Each side runs in a process of its own, which gives its peak memory; the sides alternate, and
medians are compared. map_coordinates of the full size takes minutes: `--scipy-n 5` runs it on the
first 5 doses and scales its time (its memory is then that of 5).

Required: NumPy at least 8 x map_coordinates and 1.5 x SimpleITK, numba 25 x and 5 x; peak memory of
ours below sum + one dose + 200 MB; sums equal within 1e-4 Gy.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from RTPipelineLib.dose import accumulate
from RTPipelineLib.dose.accumulate import LazyDose, sum_doses, sum_grid
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Dose

# times faster than (map_coordinates, SimpleITK)
TARGETS = {"numpy": (8.0, 1.5), "numba": (25.0, 5.0)}
SLACK_MB = 200.0
EQUAL_GY = 1e-4


def grid_of(number: int, size: list[int]) -> Grid:
    """Grids of a course: 2 to 3 mm, shifted by some millimetres."""
    random = np.random.default_rng(number)
    spacing = np.array([2.5, 2.5, 3.0]) * random.uniform(0.9, 1.1, 3).round(2)
    origin = np.array([-320.0, -320.0, -300.0]) + random.uniform(-20, 20, 3).round(1)
    return Grid(origin, np.eye(3), spacing, (size[2], size[1], size[0]))


def write_dose(folder: Path, number: int, size: list[int]) -> None:
    """A smooth dose of at most 2 Gy per plan, float32."""
    grid = grid_of(number, size)
    axes = [grid.origin_mm[a] + grid.spacing_mm[a] * np.arange(size[a]) for a in range(3)]
    x, y, z = (np.exp(-((axis / (60 + 20 * number % 7)) ** 2)).astype(np.float32) for axis in axes)
    (2.0 * z[:, None, None] * y[:, None] * x).tofile(folder / f"{number}.raw")


def read_dose(folder: Path, number: int, grid: Grid) -> Dose:
    values = np.fromfile(folder / f"{number}.raw", np.float32).reshape(grid.shape)
    return Dose(values, grid, "F", plan_uids=(str(number),))


def ours(folder: Path, grids: list[Grid], union: Grid) -> np.ndarray:
    """`sum_doses` over lazy loaders."""
    doses = [LazyDose(g, partial(read_dose, folder, n, g)) for n, g in enumerate(grids)]
    return sum_doses(doses, grid=union).array_gy


def scipy_side(folder: Path, grids: list[Grid], union: Grid) -> np.ndarray:
    """Everything loaded, map_coordinates of each."""
    from scipy.ndimage import map_coordinates

    doses = [read_dose(folder, n, g) for n, g in enumerate(grids)]
    total = np.zeros(union.shape)
    for dose in doses:
        local = [
            (union.origin_mm[a] - dose.grid.origin_mm[a] + union.spacing_mm[a] * np.arange(n))
            / dose.grid.spacing_mm[a]
            for a, n in enumerate(union.size_ijk)
        ]
        coordinates = np.stack(np.meshgrid(*local[::-1], indexing="ij"))
        total += map_coordinates(dose.array_gy, coordinates, order=1)
    return total


def simpleitk_side(folder: Path, grids: list[Grid], union: Grid) -> np.ndarray:
    """One dose at a time through SimpleITK's linear resampling."""
    import SimpleITK as sitk  # noqa: N813 - everybody calls it so

    def image(values: np.ndarray, grid: Grid) -> sitk.Image:
        made = sitk.GetImageFromArray(values)
        made.SetOrigin(grid.origin_mm.tolist())
        made.SetSpacing(grid.spacing_mm.tolist())
        return made

    total = np.zeros(union.shape)
    like = sitk.Image(*[int(n) for n in union.size_ijk], sitk.sitkUInt8)
    like.SetOrigin(union.origin_mm.tolist())
    like.SetSpacing(union.spacing_mm.tolist())
    for number, grid in enumerate(grids):
        moved = sitk.Resample(
            image(read_dose(folder, number, grid).array_gy, grid), like, sitk.Transform(),
            sitk.sitkLinear, 0.0, sitk.sitkFloat32,
        )  # fmt: skip
        total += sitk.GetArrayViewFromImage(moved)
    return total


SIDES = {"numpy": ours, "numba": ours, "scipy": scipy_side, "simpleitk": simpleitk_side}


def child(side: str, folder: Path, number: int, size: list[int], of: int) -> None:
    """Run one side, imports and first calls excluded; print seconds and peak memory."""
    run = SIDES[side]
    with (
        tempfile.TemporaryDirectory() as warm,
        patch.object(accumulate, "COMPILE_FROM", 0 if side == "numba" else math.inf),
    ):
        small = [grid_of(n, [4, 4, 4]) for n in range(2)]
        for n in range(2):
            np.zeros(64, np.float32).tofile(Path(warm) / f"{n}.raw")
        run(Path(warm), small, sum_grid(small)[0])
        grids = [grid_of(n, size) for n in range(number)]
        union, _ = sum_grid(grid_of(n, size) for n in range(of))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        start, busy = time.perf_counter(), time.process_time()
        total = run(folder, grids, union)
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    np.save(folder / f"sum-{side}.npy", total)
    print(json.dumps({"seconds": seconds, "cpu": busy, "peak_mb": peak - before}))


def measure(side: str, folder: Path, number: int, size: list[int], of: int) -> dict[str, float]:
    """One run of one side in a process of its own."""
    command = [sys.executable, __file__, "--child", side, str(folder), "--n", str(number), "--size"]
    done = subprocess.run(
        [*command, *map(str, size), "--of", str(of)], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=30)
    parser.add_argument("--size", type=int, nargs=3, default=[256, 256, 200], help="ni nj nk")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--scipy-n", type=int, help="doses for map_coordinates; its time is scaled")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--of", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child[0], Path(args.child[1]), args.n, args.size, args.of)
        return 0
    with tempfile.TemporaryDirectory() as name:
        return compare(Path(name), args)


def compare(folder: Path, args: argparse.Namespace) -> int:
    """Write the doses, run the sides in turn, print medians, ratios and differences."""
    for number in range(args.n):
        write_dose(folder, number, args.size)
    union, _ = sum_grid(grid_of(n, args.size) for n in range(args.n))
    sum_mb, one_mb = np.prod(union.shape) * 4 / 2**20, np.prod(args.size) * 4 / 2**20
    print(f"{args.n} doses of {args.size}, union {union.size_ijk}: sum {sum_mb:.0f} MB as float32")
    sides = [s for s in SIDES if s != "numba" or importlib.util.find_spec("numba")]
    counts = {side: args.n for side in sides} | {"scipy": args.scipy_n or args.n}
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for turn in range(args.repeat):
        for side in sides:
            if side != "scipy" or not turn:  # once is enough: it takes minutes, its bar is far
                runs[side].append(measure(side, folder, counts[side], args.size, args.n))
    scaled = {
        side: {
            key: statistics.median(r[key] for r in runs[side]) * args.n / counts[side]
            for key in ("seconds", "cpu")
        }
        for side in sides
    }
    for side in sides:
        peak = max(r["peak_mb"] for r in runs[side])
        times = f"{scaled[side]['seconds']:7.2f} s {scaled[side]['cpu']:7.2f} s of processors"
        print(f"{side:10s} {times}   peak {peak:6.0f} MB")
    bound = sum_mb + one_mb + SLACK_MB
    print(f"memory bound: sum + one dose + {SLACK_MB:.0f} MB = {bound:.0f} MB")
    met = all([_meets(side, scaled, runs, bound) for side in TARGETS if side in sides])
    mine = np.load(folder / "sum-numpy.npy")
    others = [side for side in sides if counts[side] == args.n]
    worst = max(float(np.abs(mine - np.load(folder / f"sum-{s}.npy")).max()) for s in others)
    print(f"largest difference {worst:.1e} Gy, largest dose {mine.max():.1f} Gy")
    met = met and worst < EQUAL_GY
    print("met" if met else "NOT met")
    return 0 if met else 1


def _meets(
    side: str,
    scaled: dict[str, dict[str, float]],
    runs: dict[str, list[dict[str, float]]],
    bound: float,
) -> bool:
    """Print how much faster one of our sides is, and whether that is enough."""
    own = scaled[side]["seconds"]
    ratios = [scaled[other]["seconds"] / own for other in ("scipy", "simpleitk")]
    needed = TARGETS[side]
    print(
        f"{side}: {ratios[0]:.1f} x map_coordinates (needed {needed[0]:g}), "
        f"{ratios[1]:.1f} x SimpleITK (needed {needed[1]:g})"
    )
    fast = ratios[0] >= needed[0] and ratios[1] >= needed[1]
    return fast and max(r["peak_mb"] for r in runs[side]) < bound


if __name__ == "__main__":
    sys.exit(main())
