"""What automatic segmentation costs beside TotalSegmentator's own time, on a full-size CT.

    python Testing/Benchmarks/segmentation.py [--repeat 3] [--python INTERPRETER]

A synthetic thorax of 512 x 512 x 150 voxels (0.8 x 0.8 x 2 mm) as DICOM goes through
`rtpipeline segment --task total --fast` as a user would type it. The real TotalSegmentator runs in
its own interpreter (`make segmentation` makes one; RTPIPELINE_SEGMENTATION_PYTHON names another)
on the tests' hand-made network: of two stages, which is much faster than a trained one, and once of
the size that nnU-Net plans for such volumes, which takes as long as a trained one. The noisy labels
make far more contours than organs do. Our part is all of the command's time but the seconds in
which the program of the model ran: start, catalogue, reading the series, checking the labels,
statistics, `.seg.nrrd` and RTSTRUCT. Sides run interleaved, medians are printed. Target: our part
below 10 % of the program's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from RTPipelineLib.dicom.structures import read_structure_set
from RTPipelineLib.phantoms.anatomy import thorax
from RTPipelineLib.phantoms.patient import CourseSpec, PatientSpec, make_patient

REPOSITORY = Path(__file__).parents[2]
TARGET_PERCENT = 10
SIZE, VOXEL_MM = (512, 512, 150), (0.8, 0.8, 2.0)


def find_python(named: str | None) -> Path | None:
    """The interpreter that has TotalSegmentator, if there is one."""
    folder = REPOSITORY / ".venv-segmentation"
    known = [folder / "bin" / "python", folder / "Scripts" / "python.exe"]
    named = named or os.environ.get("RTPIPELINE_SEGMENTATION_PYTHON")
    return next((path for path in ([Path(named)] if named else known) if path.exists()), None)


def write_ct(folder: Path) -> Path:
    """The folder of the series."""
    created = datetime(2024, 1, 2, 3, 4, 5)
    course = CourseSpec(
        "Thorax", (thorax(),), created, "Heart", image_size=SIZE, image_voxel_mm=VOXEL_MM
    )
    spec = PatientSpec(
        "BENCH", (course,), file_name=lambda kind, ds: f"{kind}/{kind}.{ds.SOPInstanceUID}.dcm"
    )
    make_patient(folder, spec)
    return folder / "BENCH" / "CT"


def segment(series: Path, output: Path, config: Path) -> tuple[float, float]:
    """Seconds of the whole command, and of the model's program in it."""
    arguments = ["segment", str(series), "-o", str(output), "--task", "total", "--fast"]
    start = time.perf_counter()
    command = [sys.executable, "-m", "RTPipelineLib", *arguments, "--config", str(config)]
    subprocess.run([*command, "--quiet"], check=True, cwd=REPOSITORY)
    whole = time.perf_counter() - start
    (row,) = json.loads((output / "segmentation.json").read_text())["models"]
    return whole, float(row["program_s"])


def main() -> None:
    """Make the case, run it, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--python")
    options = parser.parse_args()
    python = find_python(options.python)
    if python is None:
        print("left out: TotalSegmentator is not installed (make segmentation)")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        series = write_ct(folder / "dicom")
        networks = {"two stages": (), "full size": ("--full-size",)}
        script = REPOSITORY / "Testing" / "segmentation" / "standin_weights.py"
        for network, option in networks.items():
            weights = folder / network
            subprocess.run([python, script, weights, *option], check=True, capture_output=True)
        sides = [("two stages", "true"), ("two stages", "false")] * options.repeat
        times: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for turn, (network, rtstruct) in enumerate([*sides, ("full size", "true")]):
            config = folder / "config.yaml"
            config.write_text(
                f"segmentation:\n  python: {python}\n  weights: {folder / network}\n"
                f"output:\n  rtstruct: {rtstruct}\n"
            )
            found = segment(series, folder / f"out-{turn}", config)
            times.setdefault((network, rtstruct), []).append(found)
        written = folder / "out-0" / "RS_total_fast.dcm"
        loops = sum(len(roi) for roi in read_structure_set(written).rois)
        size = " x ".join(map(str, SIZE))
        print(f"{size} voxels, RTSTRUCT of {loops:,} loops, {written.stat().st_size / 1e6:.0f} MB")
        for (network, rtstruct), seconds in times.items():
            program = statistics.median(p for _, p in seconds)
            ours = statistics.median(whole - p for whole, p in seconds)
            print(
                f"network of {network}, {'with' if rtstruct == 'true' else 'without':7s} RTSTRUCT: "
                f"program {program:6.1f} s   ours {ours:6.2f} s   "
                f"{100 * ours / program:5.1f} %   (target: {TARGET_PERCENT})"
            )


if __name__ == "__main__":
    main()
