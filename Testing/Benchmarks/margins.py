"""A margin of 10 mm around 500 cc: ours against the Euclidean distance transform of labels.

    python Testing/Benchmarks/margins.py [--repeat 5]

A sphere of 49 mm radius on voxels of 1 x 1 x 3 mm of a CT of 512 x 512 x 150. The others grow the
label by whole voxels (SciPy's distance transform, on the structure's own box and on the whole
image); ours grows the surface that lies inside the voxels. Printed are medians, ratios, and how far
each result's volume is from that of the exact sphere, in per cent.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Mask
from RTPipelineLib.structures.margins import Margins, add_margin

CT = Grid([-256.0, -256.0, -225.0], np.eye(3), [1.0, 1.0, 3.0], (150, 512, 512))
RADIUS_MM, MARGIN_MM = 49.0, 10.0
FINE = 6  # a voxel's share is counted on so many points an axis


def sphere() -> Mask:
    """Shares of the voxels of a sphere about the middle of the CT, cropped to it."""
    centre = np.round(CT.to_index(np.zeros(3))).astype(int)
    reach = np.ceil((RADIUS_MM + 5) / CT.spacing_mm).astype(int)
    low, high = (centre - reach)[::-1], (centre + reach + 1)[::-1]
    grid = CT.crop(*(slice(int(a), int(b)) for a, b in zip(low, high, strict=True)))
    share = np.zeros(grid.shape, dtype=np.float32)
    offsets = (np.arange(FINE) + 0.5) / FINE - 0.5
    axes = [grid.origin_mm[a] + grid.spacing_mm[a] * np.arange(grid.size_ijk[a]) for a in range(3)]
    for dz in offsets:
        for dy in offsets:
            for dx in offsets:
                x, y, z = (
                    axis + d * step
                    for axis, d, step in zip(axes, (dx, dy, dz), CT.spacing_mm, strict=True)
                )
                square = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2
                share += square <= RADIUS_MM**2
    return Mask("sphere", share / FINE**3, grid)


def grown_label(label: np.ndarray, grid: Grid) -> np.ndarray:
    """The label and every voxel whose centre lies within the margin of one of its centres."""
    return ndimage.distance_transform_edt(~label, sampling=grid.spacing_mm[::-1]) <= MARGIN_MM


def main() -> None:
    """Grow, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    mask = sphere()
    wide = np.ceil(MARGIN_MM / CT.spacing_mm[::-1]).astype(int) + 1
    box = np.pad(mask.array >= 0.5, [(int(w), int(w)) for w in wide])
    whole = np.zeros(CT.shape, dtype=bool)
    offset = mask.grid.offset_in(CT)
    whole[tuple(slice(o, o + n) for o, n in zip(offset, mask.array.shape, strict=True))] = (
        mask.array >= 0.5
    )
    voxel = CT.voxel_volume_mm3
    exact = 4 / 3 * np.pi * (RADIUS_MM + MARGIN_MM) ** 3
    sides: dict[str, tuple[Callable[[], float], int]] = {
        "rtpipeline": (
            lambda: float(add_margin(mask, Margins.even(MARGIN_MM)).array.sum(dtype=float)) * voxel,
            repeat,
        ),
        "scipy, own box": (lambda: float(grown_label(box, CT).sum()) * voxel, repeat),
        "scipy, whole CT": (lambda: float(grown_label(whole, CT).sum()) * voxel, 1),
    }
    ours = 0.0
    for name, (grow, times) in sides.items():
        seconds = []
        for _ in range(times):
            start = time.perf_counter()
            volume = grow()
            seconds.append(time.perf_counter() - start)
        median = statistics.median(seconds)
        ours = ours or median
        error = 100 * (volume / exact - 1)
        print(f"{name:16s} {median:7.2f} s  {median / ours:6.2f} x   volume {error:+.2f} %")


if __name__ == "__main__":
    main()
