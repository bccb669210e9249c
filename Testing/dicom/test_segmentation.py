"""DICOM SEG as we write it through highdicom, and as we and others read it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from RTPipelineLib.dicom.contour_bytes import ds_text
from RTPipelineLib.dicom.new_object import new_object, write_dataset
from RTPipelineLib.dicom.segmentation import read_segmentation
from RTPipelineLib.dicom.segmentation_write import write_segmentation
from RTPipelineLib.dicom.terms import UNSPECIFIED, Code, Terms
from RTPipelineLib.errors import DataError, DicomError, GeometryError
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Mask

pytest.importorskip("highdicom", reason="highdicom is not installed (extra seg)")

FRAME = "2.25.43"
GRIDS = {
    "axial": Grid([-20.0, -15.0, -30.0], np.eye(3), [1.0, 1.2, 3.0], (14, 26, 40)),
    "feet first": Grid(
        [20.0, -15.0, 30.0], np.diag([-1.0, 1.0, -1.0]), [1.0, 1.2, 3.0], (14, 26, 40)
    ),
    "sagittal": Grid(
        [-10.0, -15.0, 30.0],
        np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]]),
        [1.0, 1.2, 2.0],
        (14, 26, 40),
    ),
}


def slices_of(grid: Grid) -> list[Dataset]:
    study = Dataset()
    study.PatientID, study.StudyInstanceUID = "P", "2.25.44"
    study.StudyDate, study.StudyTime, study.StudyID = "20240102", "101500", "1"
    found = []
    for number, offset in enumerate(grid.k_positions_mm):
        ds = new_object(
            CTImageStorage, ExplicitVRLittleEndian, f"2.25.45.{number + 1}", study, None
        )
        ds.Modality, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "CT", "2.25.46", FRAME
        ds.PositionReferenceIndicator = ""
        ds.ImagePositionPatient = ds_text(grid.origin_mm + grid.normal * offset)
        ds.ImageOrientationPatient = ds_text(grid.direction[:, :2].T.ravel())
        ds.PixelSpacing = ds_text(grid.spacing_mm[[1, 0]])
        ds.SliceThickness = ds_text(grid.spacing_mm[2:])[0]
        ds.Rows, ds.Columns = grid.shape[1:]
        found.append(ds)
    return found


def masks_on(grid: Grid) -> list[Mask]:
    """Overlapping ROIs, one of shares, one cropped, one empty."""
    random = np.random.default_rng(1)
    shares = np.zeros(grid.shape, dtype=np.float32)
    shares[3:9, 5:20, 4:30] = random.integers(0, 256, (6, 15, 26)) / 255
    part = (slice(6, 11), slice(10, 25), slice(20, 38))
    label = random.random(tuple(s.stop - s.start for s in part)) > 0.4
    return [
        Mask("PTV_60", shares, grid, number=7, frame_uid=FRAME, colour_rgb=(255, 0, 0)),
        Mask(
            "Lunge, rechts: Ö", label, grid.crop(*part), frame_uid=FRAME, colour_rgb=(30, 144, 255)
        ),
        Mask("EMPTY", np.zeros(grid.shape, dtype=bool), grid),
    ]


def on(grid: Grid, mask: Mask) -> np.ndarray:
    """The mask on the whole grid."""
    whole = np.zeros(grid.shape, dtype=mask.array.dtype)
    offset = mask.grid.offset_in(grid)
    assert offset is not None
    whole[tuple(slice(o, o + n) for o, n in zip(offset, mask.grid.shape, strict=True))] = mask.array
    return whole


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
def test_written_and_read(tmp_path: Path, name: str, kind: str) -> None:
    grid, path = GRIDS[name], tmp_path / "seg.dcm"
    masks = masks_on(grid)
    terms = {
        "PTV_60": Terms(
            Code("49755003", "SCT", "Morphologically Altered Structure"),
            Code("4147007", "SCT", "Mass"),
        )
    }
    write_segmentation(path, masks, slices_of(grid), kind=kind, terms=terms, label="auto 1")
    found = read_segmentation(path)
    assert [mask.name for mask in found.masks] == [mask.name for mask in masks]
    assert [mask.colour_rgb for mask in found.masks] == [mask.colour_rgb for mask in masks]
    assert found.terms == (terms["PTV_60"], UNSPECIFIED, UNSPECIFIED)
    assert found.label == "AUTO_1" and found.series_uids == ("2.25.46",)
    assert found.frame_uid == FRAME and found.masks[2].flags == ("structure-empty",)
    for mine, read in zip(masks[:2], found.masks[:2], strict=True):
        wanted = on(grid, mine)
        if kind == "BINARY":
            wanted = wanted >= 0.5
        np.testing.assert_allclose(on(grid, read), wanted, atol=1e-6)


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
def test_highdicom_reads_the_same(tmp_path: Path, kind: str) -> None:
    import highdicom

    grid, path = GRIDS["axial"], tmp_path / "seg.dcm"
    masks = masks_on(grid)
    write_segmentation(path, masks, slices_of(grid), kind=kind)
    seg = highdicom.seg.segread(path)
    volume = seg.get_volume(segment_numbers=[1, 2], rescale_fractional=True)
    dz, dy, dx = volume.spacing
    for number, mask in enumerate(masks[:2]):
        wanted = (mask.array >= 0.5 if kind == "BINARY" else mask.array).sum(dtype=float)
        read = volume.array[..., number].sum(dtype=float) * dz * dy * dx
        assert read == pytest.approx(wanted * grid.voxel_volume_mm3, rel=1e-5)


def test_the_same_input_makes_the_same_file(tmp_path: Path) -> None:
    grid = GRIDS["axial"]
    for name in ("a.dcm", "b.dcm"):
        write_segmentation(tmp_path / name, masks_on(grid), slices_of(grid))
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()
    assert pydicom.dcmread(tmp_path / "a.dcm").ContentDate == "20240102"


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
def test_a_validator_finds_no_error(tmp_path: Path, kind: str) -> None:
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed (Debian's dicom3tools)")
    grid, path = GRIDS["axial"], tmp_path / "seg.dcm"
    write_segmentation(path, masks_on(grid), slices_of(grid), kind=kind, algorithm="Model 1")
    done = subprocess.run([program, str(path)], capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert "Segmentation" in said and "Error" not in said, said


def test_what_cannot_be_written(tmp_path: Path) -> None:
    grid, path = GRIDS["axial"], tmp_path / "seg.dcm"
    masks, slices = masks_on(grid), slices_of(grid)
    with pytest.raises(DataError, match="no ROI covers"):
        write_segmentation(path, masks[2:], slices)
    with pytest.raises(GeometryError, match=r"frame of reference 9\.9"):
        write_segmentation(path, [replace(masks[0], frame_uid="9.9")], slices)
    shifted = replace(masks[0], grid=replace(grid, origin_mm=grid.origin_mm + 0.3))
    with pytest.raises(GeometryError, match="different lattices"):
        write_segmentation(path, [masks[1], shifted], slices)
    assert not path.exists()


def test_what_cannot_be_read(tmp_path: Path) -> None:
    grid, path = GRIDS["axial"], tmp_path / "seg.dcm"
    write_segmentation(path, masks_on(grid), slices_of(grid))

    def damaged(change: object) -> Path:
        ds = pydicom.dcmread(path)
        change(ds)
        write_dataset(tmp_path / "bad.dcm", ds)
        return tmp_path / "bad.dcm"

    with pytest.raises(DicomError, match="no DICOM SEG"):
        read_segmentation(damaged(lambda ds: setattr(ds, "SOPClassUID", CTImageStorage)))
    with pytest.raises(DicomError, match="export it again"):
        read_segmentation(damaged(lambda ds: ds.PerFrameFunctionalGroupsSequence.pop()))

    def move(ds: Dataset) -> None:
        group = ds.PerFrameFunctionalGroupsSequence[1]
        group.PlanePositionSequence[0].ImagePositionPatient = [-20.0, -15.0, 3.7]

    with pytest.raises(DicomError, match="no even stack"):
        read_segmentation(damaged(move))
    with pytest.raises(DicomError):
        read_segmentation(damaged(lambda ds: setattr(ds, "PixelData", ds.PixelData[:100])))
    (tmp_path / "cut.dcm").write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DicomError):
        read_segmentation(tmp_path / "cut.dcm")
