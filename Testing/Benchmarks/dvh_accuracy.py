"""The analytic DVH benchmark: our errors beside those of dicompyler-core and plastimatch.

    python Testing/Benchmarks/dvh_accuracy.py [--end-caps half-slice adaptive]
        [--spacing 0.2 1 2 3] [--voxel 1 2 3] [--peers dicompyler plastimatch | none]

Nelms et al., Medical Physics 42 (2015) 4435: five shapes, two gradients, contour spacings, dose
voxels and shifts, written as DICOM and read again by every program. Printed is, for each quantity,
the error of largest size in percent over gradients, voxels and shifts. The truth is the closed
form; for half-slice caps from 1 mm on also the best that such caps can give (`best`).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import tempfile
from collections import defaultdict
from functools import cache

import numpy as np
from dvh_peers import PeerCurve, available, run_peer

from RTPipelineLib.dicom.dose import read_dose
from RTPipelineLib.dicom.structures import read_structure_set
from RTPipelineLib.dvh.engine import DvhOptions, compute_dvh
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import DVH
from RTPipelineLib.phantoms.analytic import (
    CONTOUR_SPACINGS_MM,
    SHIFTS_VOXELS,
    VOXELS_MM,
    AnalyticCase,
    DvhTruth,
    Gradient,
    Shape,
)

QUANTITIES = ("volume", "Dmean", "D99", "D95", "D5", "D1", "D0.03cc")
PERCENTS = (99, 95, 5, 1)


def of_truth(truth: DvhTruth) -> list[float]:
    """The seven quantities in closed form."""
    doses = [truth.D_gy(percent) for percent in PERCENTS]
    return [truth.volume_cc, truth.mean_gy, *doses, truth.D_cc_gy(0.03)]


def of_dvh(dvh: DVH) -> list[float]:
    """The seven quantities of ours."""
    doses = [dvh.D(f"{percent}%") for percent in PERCENTS]
    return [dvh.volume_cc, dvh.mean_gy, *doses, dvh.D("0.03cc")]


def of_peer(curve: PeerCurve) -> list[float]:
    """The seven quantities of a peer; all nan when it found no volume."""
    if not curve.volume_cc > 0:
        return [math.nan] * len(QUANTITIES)
    doses = [curve.D(percent / 100 * curve.volume_cc) for percent in PERCENTS]
    return [curve.volume_cc, curve.mean_gy, *doses, curve.D(0.03)]


@cache
def truths(shape: Shape, gradient: Gradient, spacing: float) -> dict[str, list[float]]:
    """Closed forms of a case: `exact`, and `best` of half-slice caps."""
    case = AnalyticCase(shape, gradient, spacing)
    return {"exact": of_truth(case.truth()), "best": of_truth(case.capped_truth())}


def image_grid(case: AnalyticCase) -> Grid:
    """A planning image of 0.5 mm pixels with a slice on every contour plane."""
    centre, planes = case.centre_mm, case.plane_positions_mm
    origin = [centre[0] - 15, centre[1] - 15, centre[2] + planes[0]]
    return Grid(origin, np.eye(3), [0.5, 0.5, case.contour_spacing_mm], (len(planes), 61, 61))


def measure(case: AnalyticCase, caps: list[str], peers: list[str]) -> dict[str, list[float]]:
    """The seven quantities by every program."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = case.write(folder)
        roi, dose = read_structure_set(paths[0]).rois[0], read_dose(paths[1])
        for end_caps in caps:
            found[f"ours {end_caps}"] = of_dvh(compute_dvh(roi, dose, DvhOptions(end_caps)))
        for peer in peers:
            with contextlib.redirect_stdout(io.StringIO()):
                curves = run_peer(peer, *paths, image_grid(case))
            curve = next(iter(curves.values()), None)
            found[peer] = of_peer(curve) if curve else [math.nan] * len(QUANTITIES)
    return found


def main() -> None:
    """Run all cases and print one table for each shape."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--end-caps", nargs="+", default=["half-slice", "adaptive"])
    parser.add_argument("--spacing", nargs="+", type=float, default=CONTOUR_SPACINGS_MM)
    parser.add_argument("--voxel", nargs="+", type=float, default=VOXELS_MM)
    parser.add_argument("--peers", nargs="*", default=available())
    options = parser.parse_args()
    peers = [peer for peer in options.peers if peer != "none"]
    for shape in Shape:
        errors: dict[tuple[float, str], list[np.ndarray]] = defaultdict(list)
        for spacing in options.spacing:
            for gradient in Gradient:
                truth = truths(shape, gradient, spacing)
                for voxel in options.voxel:
                    for shift in SHIFTS_VOXELS:
                        case = AnalyticCase(shape, gradient, spacing, voxel, shift)
                        for name, values in measure(case, options.end_caps, peers).items():
                            exact = 100 * (np.array(values) / truth["exact"] - 1)
                            errors[spacing, name].append(exact)
                            if name == "ours half-slice":
                                best = 100 * (np.array(values) / truth["best"] - 1)
                                errors[spacing, f"{name}, to best"].append(best)
        print(f"\n{shape}, error of largest size in %; contour spacing in mm")
        print(f"{'':34s}" + "".join(f"{name:>9s}" for name in QUANTITIES))
        for (spacing, name), rows in sorted(errors.items()):
            table = np.array(rows)
            filled = np.where(np.isnan(table), -1.0, np.abs(table))
            worst = table[filled.argmax(axis=0), np.arange(len(QUANTITIES))]
            print(f"{spacing:5g}  {name:27s}" + "".join(f"{x:9.2f}" for x in worst), flush=True)


if __name__ == "__main__":
    main()
