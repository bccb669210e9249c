"""All masks of a structure set on a CT: ours beside rt-utils, plastimatch and VTK's image stencil.

    python Testing/Benchmarks/masks.py [--repeat 5] [--peer-repeat 1]

The case is that of `dvh_speed.py`: 30 ROIs of 150 contours with 200 points, on a CT grid of 512 x
512 x 150. Ours and VTK's begin at the contours in memory and end with a mask per ROI; rt-utils
begins at the loaded structure set and CT, as its own function does; plastimatch is a program, so
its time includes reading and writing files. Sides run interleaved, imports are not counted. Peers
that are not installed are left out (rt-utils, vtk and plastimatch are on PyPI; the last also in
Debian). With `centre` our labels are compared with VTK's voxel by voxel, and with rt-utils'.
Targets: 10 x rt-utils and 3 x VTK, no voxel different from VTK's.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from dvh_speed import FRAME, IMAGE, write_case
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from RTPipelineLib.dicom.contour_bytes import ds_text
from RTPipelineLib.dicom.new_object import new_object, write_dataset
from RTPipelineLib.dicom.structures import read_structure_set
from RTPipelineLib.dicom.write import ImageReference, write_structure_set
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Contours
from RTPipelineLib.structures.voxelise import voxelise

Masks = list[np.ndarray]


def write_ct(folder: Path, grid: Grid) -> list[Dataset]:
    """An empty CT series on a grid."""
    study = Dataset()
    study.PatientID, study.StudyInstanceUID = "SPEED", "2.25.44"
    slices = []
    for number, offset in enumerate(grid.k_positions_mm):
        uid = f"2.25.45.{number + 1}"
        ds = new_object(CTImageStorage, ExplicitVRLittleEndian, uid, study, None)
        ds.Modality, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "CT", "2.25.46", FRAME
        ds.SeriesNumber, ds.InstanceNumber = 1, number + 1
        ds.PatientPosition = "HFS"
        ds.ImagePositionPatient = ds_text(grid.origin_mm + grid.normal * offset)
        ds.ImageOrientationPatient = ds_text(grid.direction[:, :2].T.ravel())
        ds.PixelSpacing = ds_text(grid.spacing_mm[[1, 0]])
        ds.SliceThickness = ds_text(grid.spacing_mm[2:])[0]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.Rows, ds.Columns = grid.shape[1:]
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleIntercept, ds.RescaleSlope = "0", "1"
        ds.PixelData = bytes(2 * grid.shape[1] * grid.shape[2])
        write_dataset(folder / f"CT{number:03d}.dcm", ds)
        slices.append(ds)
    return slices


# -- the sides ------------------------------------------------------------------------------------


def ours(rois: list[Contours], rule: str, whole: bool) -> Masks:
    """Masks of all ROIs."""
    return [voxelise(roi, IMAGE, rule, whole=whole).array for roi in rois]


def by_vtk(rois: list[Contours]) -> Masks:
    """vtkPolyDataToImageStencil on closed lines, as an image of the whole CT grid."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy

    masks = []
    for roi in rois:
        points = vtk.vtkPoints()
        points.SetData(numpy_to_vtk(np.ascontiguousarray(roi.points_mm)))
        # Each line ends where it begins.
        ends = np.insert(np.arange(len(roi.points_mm)), roi.starts[1:], roi.starts[:-1])
        offsets = roi.starts + np.arange(len(roi.starts))
        lines = vtk.vtkCellArray()
        lines.SetData(*(numpy_to_vtkIdTypeArray(n.astype(np.int64)) for n in (offsets, ends)))
        outlines = vtk.vtkPolyData()
        outlines.SetPoints(points)
        outlines.SetLines(lines)
        stencil = vtk.vtkPolyDataToImageStencil()
        stencil.SetInputData(outlines)
        stencil.SetOutputOrigin(*IMAGE.origin_mm)
        stencil.SetOutputSpacing(*IMAGE.spacing_mm)
        stencil.SetOutputWholeExtent(*(n for size in IMAGE.size_ijk for n in (0, size - 1)))
        image = vtk.vtkImageStencilToImage()
        image.SetInputConnection(stencil.GetOutputPort())
        image.SetOutputScalarTypeToUnsignedChar()
        image.SetInsideValue(1)
        image.SetOutsideValue(0)
        image.Update()
        scalars = vtk_to_numpy(image.GetOutput().GetPointData().GetScalars())
        masks.append(scalars.reshape(IMAGE.shape).astype(bool))
    return masks


def rt_utils_side(folder: Path) -> Callable[[], Masks]:
    """rt-utils with the series and the structure set loaded."""
    from rt_utils import RTStructBuilder

    loaded = RTStructBuilder.create_from(str(folder / "ct"), str(folder / "RS.dcm"))

    def run() -> Masks:
        names = loaded.get_roi_names()
        return [loaded.get_roi_mask_by_name(name).transpose(2, 0, 1) for name in names]

    return run


def plastimatch_side(folder: Path, program: list[str]) -> Callable[[], Masks]:
    """`plastimatch convert` to one image of bits."""

    def run() -> Masks:
        command = [*program, "convert", "--input", str(folder / "RS.dcm"), "--referenced-ct"]
        command += [str(folder / "ct"), "--output-ss-img", str(folder / "masks.nrrd")]
        subprocess.run(command, check=True, capture_output=True)
        return []

    return run


def sides(folder: Path, rois: list[Contours]) -> dict[str, Callable[[], Masks]]:
    """What can run here."""
    found: dict[str, Callable[[], Masks]] = {
        "ours, centre": lambda: ours(rois, "centre", False),
        "ours, centre, whole CT": lambda: ours(rois, "centre", True),
        "ours, coverage": lambda: ours(rois, "coverage", False),
        "ours, fraction": lambda: ours(rois, "fraction", False),
    }
    if importlib.util.find_spec("vtk"):
        found["VTK image stencil"] = lambda: by_vtk(rois)
    if importlib.util.find_spec("rt_utils"):
        found["rt-utils"] = rt_utils_side(folder)
    program = shutil.which("plastimatch")
    if program:
        found["plastimatch (from files)"] = plastimatch_side(folder, [program])
    return found


# -- on the outline -------------------------------------------------------------------------------


def print_differences(mine: Masks, theirs: Masks, who: str) -> None:
    """How many voxels differ."""
    wrong = [int(np.count_nonzero(a != b)) for a, b in zip(mine, theirs, strict=True)]
    total = sum(int(np.count_nonzero(a)) for a in mine)
    print(f"{who}: {sum(wrong)} of {total} voxels differ, in {np.count_nonzero(wrong)} ROIs")


def main() -> None:
    """Write the case, run everybody, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--peer-repeat", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "ct").mkdir()
        slices = write_ct(folder / "ct", IMAGE)
        write_case(folder)
        rois = read_structure_set(folder / "RS.dcm").rois
        image = ImageReference.of(slices)
        write_structure_set(folder / "RS.dcm", rois, patient_from=slices[0], image=image)
        rois = [roi.on_image(IMAGE) for roi in rois]
        times: dict[str, list[float]] = {}
        last: dict[str, Masks] = {}
        for turn in range(options.repeat):
            for side, run in sides(folder, rois).items():
                slow = side.startswith(("rt-utils", "plastimatch"))
                if slow and turn >= options.peer_repeat:
                    continue
                start = time.perf_counter()
                masks = run()
                times.setdefault(side, []).append(time.perf_counter() - start)
                if side.startswith(("VTK", "rt-utils", "ours, centre, whole")) and turn == 0:
                    last[side] = masks
                del masks
        reference = statistics.median(times["ours, centre"])
        print(f"{len(rois)} ROIs on {' x '.join(map(str, IMAGE.size_ijk))} voxels")
        for side, seconds in times.items():
            median = statistics.median(seconds)
            print(f"{side:26s} {median:8.3f} s   {median / reference:6.1f} x")
        mine = last.pop("ours, centre, whole CT")
        for side, theirs in last.items():
            print_differences(mine, theirs, side)


if __name__ == "__main__":
    main()
