"""DVHs of a whole structure set, from files: ours against dicompyler-core and plastimatch.

    python Testing/Benchmarks/dvh_speed.py [--repeat 5] [--peers dicompyler plastimatch | none]

The case: 30 ROIs (body included) of 150 contours with 200 points, dose 200 x 200 x 150 voxels of
2.5 x 2.5 x 2 mm, 32 bit, written as DICOM to a temporary folder. All begin at the files and end
with one curve per ROI; imports are not counted. Sides run interleaved; medians and ratios are
printed, our time split into its parts, our peak memory, and the physical limit (bytes to read,
boxes to touch). Targets with NumPy alone: 15 x dicompyler-core, 6 x plastimatch, peak below 400
MB.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from dvh_peers import available, run_peer
from pydicom.dataset import Dataset

from RTPipelineLib.dicom.dose import read_dose
from RTPipelineLib.dicom.structures import read_structure_set
from RTPipelineLib.dicom.write import write_dose, write_structure_set
from RTPipelineLib.dvh.engine import compute_dvh
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import DVH, Contours, Dose

FRAME = "2.25.43"
# The planning CT that the contours were drawn on; only its geometry matters.
IMAGE = Grid([-250.0, -250.0, -142.0], np.eye(3), [0.98, 0.98, 1.9], (150, 512, 512))
PARTS = {  # our functions whose cumulated time makes a part
    "read dose": "read_dose",
    "read structures": "read_structure_set",
    "planes and regions": "contour_sections",
    "coverage": "coverage",
    "dose in boxes": "boxes",
    "covered boxes": "_covered_boxes",
    "counting sort": "add",
    "curve": "curve",
}


def write_case(folder: Path, rois: int = 30, contours: int = 150, points: int = 200) -> list[Path]:
    """The two files of the case."""
    random = np.random.default_rng(5)
    grid = Grid([-248.75, -248.75, -149.0], np.eye(3), [2.5, 2.5, 2.0], (150, 200, 200))
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


def run_ours(structures: Path, dose: Path) -> dict[str, DVH]:
    """All ROIs of the files, from reading to curves."""
    grid = read_dose(dose)
    return {roi.name: compute_dvh(roi, grid) for roi in read_structure_set(structures).rois}


def print_parts(structures: Path, dose: Path, seconds: float) -> None:
    """Where our time goes: shares from a profile, scaled to the unprofiled time."""
    profile = cProfile.Profile()
    profile.runcall(run_ours, structures, dose)
    statistic = pstats.Stats(profile).stats
    total = max(entry[3] for entry in statistic.values())
    for part, function in PARTS.items():
        spent = sum(
            entry[3]
            for (file, _, name), entry in statistic.items()
            if name == function and "RTPipelineLib" in file
        )
        print(f"    {part:20s} {spent / total * seconds:7.3f} s")


def main() -> None:
    """Write the case, run everybody, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--peer-repeat", type=int, default=1)
    parser.add_argument("--peers", nargs="*", default=available())
    options = parser.parse_args()
    peers = [peer for peer in options.peers if peer != "none"]
    with tempfile.TemporaryDirectory() as name:
        paths = write_case(Path(name))
        times: dict[str, list[float]] = {"rtpipeline": []}
        memory = 0.0
        for turn in range(options.repeat):
            for side in ["rtpipeline", *(peers if turn < options.peer_repeat else [])]:
                start = time.perf_counter()
                if side == "rtpipeline":
                    curves = run_ours(*paths)
                    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                else:
                    run_peer(side, *paths, IMAGE)
                times.setdefault(side, []).append(time.perf_counter() - start)
        boxes = sum(dvh.settings.boxes for dvh in curves.values())
        size = sum(path.stat().st_size for path in paths)
        ours = statistics.median(times["rtpipeline"])
        print(
            f"{len(curves)} ROIs, {size / 1e6:.0f} MB to read, {boxes / 1e6:.1f} million boxes; "
            f"peak memory {memory:.0f} MB (with Python and the written case)"
        )
        for side, seconds in times.items():
            median = statistics.median(seconds)
            print(f"{side:12s} {median:8.3f} s   {median / ours:6.1f} x")
        print_parts(*paths, ours)
        floor = size / 3e9 + boxes * 4 / 5e9
        print(
            f"physical limit (3 GB/s read, each box touched once): {floor:.3f} s, "
            f"{ours / floor:.0f} x"
        )


if __name__ == "__main__":
    main()
