"""RTSTRUCT reading: our reader against pydicom's decoded values, in one process, interleaved.

    python Testing/Benchmarks/rtstruct.py [--rois 30] [--contours 150] [--points 200] [--repeat 5]

The file (30 ROIs x 150 contours x 200 points by default) is written to a temporary folder. Both
sides begin at the file and end with one float64 array per contour; imports are not counted. Printed
are the medians and their ratio (target: at least 10), and whether all values are equal bit by bit.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from RTPipelineLib.dicom.structures import read_structure_set

RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"


def write_structure_set(path: Path, rois: int, contours: int, points: int) -> None:
    """A structure set of wobbly circles, one contour per 3 mm slice, each with its image."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    images = [generate_uid() for _ in range(contours)]
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = RT_STRUCTURE_SET
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.Modality = "RTSTRUCT"
    ds.StructureSetROISequence, ds.ROIContourSequence = [], []
    for number in range(1, rois + 1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, f"ROI {number}"
        drawn.ReferencedROINumber, drawn.ContourSequence = number, []
        for k in range(contours):
            radius = 30 + number + 3 * np.sin(5 * angle + k)
            x, y = radius * np.cos(angle), radius * np.sin(angle)
            values = np.stack([x, y, np.full(points, 3.0 * k)], axis=1).ravel()
            contour, image = Dataset(), Dataset()
            image.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
            image.ReferencedSOPInstanceUID = images[k]
            contour.ContourImageSequence = [image]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = points
            contour.ContourData = [f"{value:.2f}" for value in values]
            drawn.ContourSequence.append(contour)
        ds.StructureSetROISequence.append(roi)
        ds.ROIContourSequence.append(drawn)
    ds.save_as(path, enforce_file_format=True)


def with_pydicom(path: Path) -> list[np.ndarray]:
    """Every contour through pydicom's decoded values."""
    ds = pydicom.dcmread(path)
    return [
        np.array(contour.ContourData, dtype=np.float64).reshape(-1, 3)
        for roi in ds.ROIContourSequence
        for contour in roi.ContourSequence
    ]


def with_rtpipeline(path: Path) -> list[np.ndarray]:
    """Every contour through our reader."""
    return [loop for roi in read_structure_set(path).rois for loop in roi.loops()]


def main() -> None:
    """Write the file, time both sides, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("rois", 30), ("contours", 150), ("points", 200), ("repeat", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rs.dcm"
        write_structure_set(path, options.rois, options.contours, options.points)
        seconds: dict[str, list[float]] = {"pydicom": [], "rtpipeline": []}
        equal = True
        for _ in range(options.repeat):
            start = time.perf_counter()
            theirs = with_pydicom(path)
            middle = time.perf_counter()
            ours = with_rtpipeline(path)
            end = time.perf_counter()
            seconds["pydicom"].append(middle - start)
            seconds["rtpipeline"].append(end - middle)
            equal &= len(ours) == len(theirs)
            equal &= all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
        size = path.stat().st_size / 1e6
    count = options.rois * options.contours * options.points
    print(f"{options.rois} ROIs, {count:,} points, {size:.1f} MB, median of {options.repeat}")
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name:12s} {median:8.3f} s   {median / count * 1e6:6.2f} us a point")
    print(f"ratio        {medians['pydicom'] / medians['rtpipeline']:8.1f}   (target: 10)")
    print(f"values equal bit by bit: {equal}")


if __name__ == "__main__":
    main()
