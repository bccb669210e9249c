"""Features of 20 ROIs (2 to 500 cc) on a CT of 512 x 512 x 150: ours against pyradiomics.

    python Testing/Benchmarks/radiomics.py [--rois 20] [--whole 2] [--processes 2]

pyradiomics is called ROI by ROI, with the same parameter file and a padding of ten standard
deviations of the widest Laplacian of Gaussian, where its default of 5 voxels gives other values.

* ct_native, nothing resampled: its file does not crop, so every filter runs over the whole image.
  That takes minutes a ROI and the same for each, so it is measured for `--whole` ROIs and printed
  as such, times their number. Beside it stands what a careful user does: preCrop with the padding.
* ct, resampled to 1 mm: pyradiomics crops by itself.

Printed are seconds (ours with the start of its processes), ratios, the largest memory of all our
processes together, and how far the values are apart: relative to the value, or for location and
skewness of filtered images, which scatter around zero, to the scale of the image.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from RTPipelineLib.config.radiomics_file import read_parameters
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Mask, Volume
from RTPipelineLib.platform import look_at_trees
from RTPipelineLib.radiomics.engine import Extraction, RoiFeatures
from RTPipelineLib.radiomics.parameters import LOG_SIGMAS, Parameters
from RTPipelineLib.stages.roi_workers import Job, Limits, computed

# This file has the name of pyradiomics' module, which must be found instead.
sys.path[:] = [path for path in sys.path if Path(path).resolve() != Path(__file__).resolve().parent]

SHAPE, SPACING = (150, 512, 512), (0.9766, 0.9766, 2.0)
SMALLEST_CC, LARGEST_CC = 2.0, 500.0
CENTRED = ("Mean", "Median", "Skewness", "10Percentile", "90Percentile", "Minimum", "Maximum")


def ct() -> Volume:
    """Noise with the grain of soft tissue."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(1).standard_normal(SHAPE, dtype=np.float32)
    array = 40 + 220 * gaussian_filter(noise, (0.6, 1.2, 1.2))
    return Volume(array.astype(np.int16), Grid((0, 0, 0), np.eye(3), SPACING, SHAPE), "CT", "HU")


def structures(image: Volume, count: int) -> list[Mask]:
    """Ellipsoids scattered over a body, volumes evenly spaced on a logarithmic scale."""
    random = np.random.default_rng(2)
    size_mm = np.array(SPACING) * np.array(SHAPE[::-1])
    masks = []
    for number, volume in enumerate(np.geomspace(SMALLEST_CC, LARGEST_CC, count)):
        radius = (volume * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
        axes = radius * np.array([1.15, 0.87, 1.0])
        low, high = 0.25 * size_mm + axes, 0.75 * size_mm - axes
        centre = random.uniform(np.minimum(low, high), np.maximum(low, high))
        first = np.floor((centre - axes) / SPACING).astype(int).clip(0)
        last = np.ceil((centre + axes) / SPACING).astype(int)
        box = tuple(slice(int(a), int(b) + 1) for a, b in zip(first[::-1], last[::-1], strict=True))
        grid = image.grid.crop(*box)
        index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
        away = (index[..., ::-1] * SPACING + grid.origin_mm - centre) / axes
        masks.append(Mask(f"{volume:.0f} cc ({number})", (away**2).sum(axis=-1) <= 1, grid))
    return masks


class PeakMemory:
    """The largest memory of this process and its children while it runs, in MB."""

    def __enter__(self) -> PeakMemory:
        import os

        self.mb, self._over, self._pid = 0.0, threading.Event(), os.getpid()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            self.mb = max(self.mb, look_at_trees([self._pid])[self._pid].memory_mb)


def ours(
    image: Volume, masks: Sequence[Mask], parameters: Parameters, processes: int
) -> tuple[float, dict[int, RoiFeatures]]:
    """Seconds and features by ROI."""
    start = time.perf_counter()
    extraction = Extraction(image, parameters)
    rois = [extraction.prepare(mask) for mask in masks]
    groups = extraction.groups(rois, max(1, len(rois) // (2 * processes)))
    job = Job(image.grid, parameters, rois)
    limits = Limits(processes, 3600.0, 1e6)
    with tempfile.TemporaryDirectory() as scratch:
        found = dict(computed(image.array, job, groups, limits, Path(scratch)))
    return time.perf_counter() - start, found


def theirs(
    image: Volume, masks: Sequence[Mask], parameters: Parameters, setting: Mapping[str, object]
) -> tuple[float, list[dict[str, float]]]:
    """Seconds and features of each ROI by pyradiomics, with these settings on top of the file's."""
    import SimpleITK
    from radiomics import featureextractor

    extractor = featureextractor.RadiomicsFeatureExtractor(
        {
            "setting": {**parameters.settings, **setting},
            "imageType": {name: dict(own) for name, own in parameters.image_types.items()},
            "featureClass": {name: [] for name in parameters.feature_classes},
        }
    )
    volume = SimpleITK.GetImageFromArray(image.array)
    volume.SetSpacing(SPACING)
    seconds, found = 0.0, []
    for mask in masks:
        array = np.zeros(SHAPE, np.uint8)
        offset = mask.grid.offset_in(image.grid)
        array[tuple(slice(a, a + n) for a, n in zip(offset, mask.array.shape, strict=True))] = (
            mask.array
        )
        label = SimpleITK.GetImageFromArray(array)
        label.CopyInformation(volume)
        start = time.perf_counter()
        values = extractor.execute(volume, label)
        seconds += time.perf_counter() - start
        found.append({k: float(v) for k, v in values.items() if not k.startswith("diagnostics")})
    return seconds, found


def apart(a: Mapping[str, float], b: Mapping[str, float]) -> tuple[float, str]:
    """The largest difference of two ROIs' features, and which it is."""
    if set(a) != set(b):
        return float("inf"), "different features"
    worst = (0.0, "none")
    for name, value in b.items():
        image, _, feature = name.rpartition("_firstorder_")
        scale = abs(value)
        if image and feature in CENTRED:
            scale = max(scale, 1.0 if feature == "Skewness" else b[f"{image}_firstorder_Range"])
        if scale > 0:
            worst = max(worst, (abs(a[name] - value) / scale, name))
    return worst


def padding(parameters: Parameters) -> int:
    """Ten standard deviations of the widest filter, in voxels."""
    widest = max(float(s) for s in parameters.image_types["LoG"]["sigma"])
    spacing = parameters.resampled_mm or SPACING
    return int(np.ceil(LOG_SIGMAS * widest / min(spacing)))


def compare(
    label: str,
    seconds: float,
    count: int,
    mine: float,
    found: Mapping[int, RoiFeatures],
    other: Mapping[int, dict[str, float]],
    shown: str = "",
) -> None:
    """Print one line of the comparison."""
    worst = max(apart(found[n].values, values) for n, values in other.items())
    total = seconds * count / len(other)
    print(
        f"  {label}: {total:8.1f} s{shown}, {total / mine:5.1f} x ours; "
        f"largest difference {worst[0]:.1e} ({worst[1]})",
        flush=True,
    )


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rois", type=int, default=20)
    parser.add_argument("--whole", type=int, default=2)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--presets", nargs="+", default=["ct_native", "ct"])
    arguments = parser.parse_args()
    logging.getLogger("radiomics").setLevel(logging.ERROR)
    image = ct()
    masks = structures(image, arguments.rois)
    print(f"{len(masks)} ROIs on {SHAPE[::-1]} voxels of {SPACING} mm")
    for preset in arguments.presets:
        parameters = read_parameters(Path(preset))
        pad = padding(parameters)
        wide = replace(parameters, settings={**parameters.settings, "padDistance": pad})
        with PeakMemory() as peak:
            mine, found = ours(image, masks, wide, arguments.processes)
        values = sum(len(one.values) for one in found.values())
        print(f"{preset}: {values} features; padding of pyradiomics {pad} voxels")
        print(f"  ours, {arguments.processes} processes: {mine:8.1f} s, {peak.mb:.0f} MB")
        crop = {"padDistance": pad}
        if parameters.resampled_mm is None:
            chosen = np.linspace(0, len(masks) - 1, arguments.whole).round().astype(int)
            some = [masks[n] for n in chosen]
            seconds, lists = theirs(image, some, parameters, crop)
            compare(
                "pyradiomics, whole image",
                seconds,
                len(masks),
                mine,
                found,
                dict(zip(map(int, chosen), lists, strict=True)),
                f" ({len(some)} ROIs took {seconds:.1f} s)",
            )
            crop["preCrop"] = True
        seconds, lists = theirs(image, masks, parameters, crop)
        compare(
            "pyradiomics, cropped    ", seconds, len(masks), mine, found, dict(enumerate(lists))
        )


if __name__ == "__main__":
    main()
