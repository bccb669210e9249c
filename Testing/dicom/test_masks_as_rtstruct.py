"""Masks written as an RTSTRUCT, as other programs read it back."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from RTPipelineLib.dicom.contour_bytes import ds_text
from RTPipelineLib.dicom.new_object import new_object, write_dataset
from RTPipelineLib.dicom.structures import read_structure_set
from RTPipelineLib.dicom.write import ImageReference, write_structure_set
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Mask
from RTPipelineLib.structures.outlines import outlines
from RTPipelineLib.structures.voxelise import voxelise

FRAME = "2.25.43"
GRID = Grid([-60.0, -50.0, -30.0], np.eye(3), [1.0, 1.2, 3.0], (24, 90, 120))
# Volumes of the round trip through a file.
LOSS = 0.01


def write_ct(folder: Path) -> list[Dataset]:
    study = Dataset()
    study.PatientID, study.StudyInstanceUID, study.StudyDate = "P", "2.25.44", "20240102"
    slices = []
    for number, offset in enumerate(GRID.k_positions_mm):
        uid = f"2.25.45.{number + 1}"
        ds = new_object(CTImageStorage, ExplicitVRLittleEndian, uid, study, None)
        ds.Modality, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "CT", "2.25.46", FRAME
        ds.InstanceNumber, ds.PatientPosition = number + 1, "HFS"
        ds.ImagePositionPatient = ds_text(GRID.origin_mm + GRID.normal * offset)
        ds.ImageOrientationPatient = ds_text(GRID.direction[:, :2].T.ravel())
        ds.PixelSpacing, ds.SliceThickness = ds_text(GRID.spacing_mm[[1, 0]]), "3"
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.Rows, ds.Columns = GRID.shape[1:]
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleIntercept, ds.RescaleSlope = "0", "1"
        ds.PixelData = bytes(2 * GRID.shape[1] * GRID.shape[2])
        write_dataset(folder / f"CT{number:03d}.dcm", ds)
        slices.append(ds)
    return slices


def masks() -> list[Mask]:
    """A ball of shares, a shell (its hole as a keyhole), and a ball that overlaps both."""
    k, j, i = np.indices(GRID.shape)
    points = GRID.to_lps(np.stack([i, j, k], axis=-1))
    r = np.linalg.norm(points - [3.0, 2.0, 5.0], axis=-1)
    other = np.linalg.norm(points - [10.0, 2.0, 5.0], axis=-1)
    shares = np.clip(18.5 - r, 0, 1).astype(np.float32)
    return [
        Mask("PTV_60", shares, GRID, 1, FRAME, (255, 0, 0), "PTV"),
        Mask("Shell", (r < 25) & (r > 20), GRID, 2, FRAME, (30, 144, 255), "ORGAN"),
        Mask("Ball", other < 15, GRID, 3, FRAME),
    ]


def volume_cc(array: np.ndarray) -> float:
    return float(array.sum(dtype=np.float64)) * GRID.voxel_volume_mm3 / 1000


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rtstruct")
    (folder / "ct").mkdir()
    slices = write_ct(folder / "ct")
    rois = [outlines(mask) for mask in masks()]
    image = ImageReference.of(slices)
    write_structure_set(folder / "RS.dcm", rois, patient_from=slices[0], image=image)
    return folder


def test_everything_that_a_structure_set_says(written: Path) -> None:
    ds = pydicom.dcmread(written / "RS.dcm")
    assert [roi.ROIGenerationAlgorithm for roi in ds.StructureSetROISequence] == ["AUTOMATIC"] * 3
    seen = [item.RTROIInterpretedType for item in ds.RTROIObservationsSequence]
    assert seen == ["PTV", "ORGAN", ""]
    labels = [item.ROIObservationLabel for item in ds.RTROIObservationsSequence]
    assert labels == ["PTV_60", "Shell", "Ball"]
    (frame,) = ds.ReferencedFrameOfReferenceSequence
    assert frame.FrameOfReferenceUID == FRAME
    for item in ds.ROIContourSequence:
        for contour in item.ContourSequence:
            (image,) = contour.ContourImageSequence
            number = int(image.ReferencedSOPInstanceUID.rsplit(".", 1)[1]) - 1
            assert float(contour.ContourData[2]) == pytest.approx(-30 + 3 * number)


def test_we_read_the_same_volumes(written: Path) -> None:
    for mask, roi in zip(masks(), read_structure_set(written / "RS.dcm").rois, strict=True):
        back = voxelise(roi.on_image(GRID), GRID)
        assert volume_cc(back.array) == pytest.approx(volume_cc(mask.array), rel=LOSS / 2)


def test_plastimatch_reads_the_same_volumes(written: Path, tmp_path: Path) -> None:
    import SimpleITK

    program = shutil.which("plastimatch") or shutil.which(
        "plastimatch", path=str(Path(sys.executable).parent)
    )
    if program is None:
        pytest.skip("plastimatch is not installed")
    command = [program, "convert", "--input", str(written / "RS.dcm"), "--referenced-ct"]
    command += [str(written / "ct"), "--output-prefix", str(tmp_path), "--prefix-format", "nrrd"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    for mask in masks():
        read = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / f"{mask.name}.nrrd")))
        assert volume_cc(read) == pytest.approx(volume_cc(mask.array), rel=LOSS)


def test_vtk_reads_the_same_voxels(written: Path) -> None:
    """Slicer's engine: the image stencil, voxel by voxel as our labels by pixel centres."""
    if importlib.util.find_spec("vtk") is None:
        pytest.skip("vtk is not installed")
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    for mask, roi in zip(masks(), read_structure_set(written / "RS.dcm").rois, strict=True):
        points, lines = vtk.vtkPoints(), vtk.vtkCellArray()
        points.SetData(numpy_to_vtk(roi.points_mm))
        for first, last in zip(roi.starts[:-1].tolist(), roi.starts[1:].tolist(), strict=True):
            lines.InsertNextCell(last - first + 1)
            for number in [*range(first, last), first]:
                lines.InsertCellPoint(number)
        outline, stencil = vtk.vtkPolyData(), vtk.vtkPolyDataToImageStencil()
        outline.SetPoints(points)
        outline.SetLines(lines)
        stencil.SetInputData(outline)
        stencil.SetOutputOrigin(*GRID.origin_mm)
        stencil.SetOutputSpacing(*GRID.spacing_mm)
        stencil.SetOutputWholeExtent(*(n for size in GRID.size_ijk for n in (0, size - 1)))
        image = vtk.vtkImageStencilToImage()
        image.SetInputConnection(stencil.GetOutputPort())
        image.Update()
        theirs = vtk_to_numpy(image.GetOutput().GetPointData().GetScalars())
        mine = voxelise(roi.on_image(GRID), GRID, "centre", whole=True).array
        np.testing.assert_array_equal(mine, theirs.reshape(GRID.shape) > 0)
        assert volume_cc(mine) == pytest.approx(volume_cc(mask.array), rel=LOSS)


def test_a_validator_finds_no_error(written: Path) -> None:
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed (Debian's dicom3tools)")
    done = subprocess.run([program, str(written / "RS.dcm")], capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert "RTStructureSet" in said and "Error" not in said, said
