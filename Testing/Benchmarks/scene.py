"""How long a large course takes into Slicer's scene: CT 512 x 512 x 150, 30 structures, dose.

    .venv-slicer/bin/python Testing/Benchmarks/scene.py

Arrays are made beforehand; what is timed is what opening a course does after reading its files.
"""

from __future__ import annotations

import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
SLICES, PIXELS, ROIS = 150, 512, 30


def main() -> None:
    """Print seconds of each part."""
    from RTPipelineLib.geometry import Grid
    from RTPipelineLib.model import Contours, Dose, Volume
    from Testing.Slicer.standin.boot import start

    start()
    from RTPipelineLib.scene.isodoses import add_isodoses
    from RTPipelineLib.scene.segmentations import add_segmentation
    from RTPipelineLib.scene.volumes import add_dose, add_volume

    shape = (SLICES, PIXELS, PIXELS)
    image = Grid(np.array([-250.0, -250.0, 0.0]), np.eye(3), np.array([0.977, 0.977, 3.0]), shape)
    coarse = Grid(np.array([-250.0, -200.0, 0.0]), np.eye(3), np.full(3, 3.0), (150, 134, 167))
    random = np.random.default_rng(0)
    ct = Volume(random.integers(-1000, 1000, shape).astype(np.int16), image, unit="HU")
    k, j, i = np.ogrid[:150, :134, :167]
    bell = np.exp(-((i - 83) ** 2 + (j - 67) ** 2 + (k - 75) ** 2) / 2000)
    dose = Dose((60 * bell).astype(np.float32), coarse)
    rois = [roi(Contours, random, number).on_image(image) for number in range(ROIS)]
    total = 0.0
    nodes = {}
    parts = {
        "CT": lambda: add_volume(ct, "CT"),
        "dose": lambda: add_dose(dose, "dose"),
        "30 structures": lambda: add_segmentation(
            rois, image, "RS", source="clinical", reference=nodes["CT"]
        ),
        "isodoses": lambda: add_isodoses(nodes["dose"], [20, 40, 55]),
    }
    for name, add in parts.items():
        begin = time.perf_counter()
        nodes[name] = add()
        seconds = time.perf_counter() - begin
        total += seconds
        print(f"{name:14s} {seconds:6.2f} s")
    print(f"{'together':14s} {total:6.2f} s")


def roi(kind: type, random: np.random.Generator, number: int):
    """An ellipsoid as contours of 200 points; the first is as large as a body."""
    radius = np.array([180.0, 120.0, 200.0]) if number == 0 else random.uniform(10, 60, 3)
    centre = np.array([0.0, 0.0, 225.0]) + (0 if number == 0 else random.uniform(-60, 60, 3))
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    loops = []
    for z in np.arange(SLICES) * 3.0:
        share = 1 - ((z - centre[2]) / radius[2]) ** 2
        if share > 0.01:
            x = centre[0] + radius[0] * np.sqrt(share) * np.cos(angle)
            y = centre[1] + radius[1] * np.sqrt(share) * np.sin(angle)
            loops.append(np.stack([x, y, np.full_like(x, z)], axis=1))
    return kind.from_loops(f"ROI{number}", loops, number=number + 1)


if __name__ == "__main__":
    if not (find_spec("slicer") and find_spec("PySide6")):
        print("needs the environment of Slicer's engine (`make slicer`)")
        sys.exit(0)
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    sys.path.insert(0, str(ROOT))
    main()
