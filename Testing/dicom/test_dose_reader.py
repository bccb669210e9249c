"""RT Dose: where every voxel lies, what it is worth, and what is refused."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_objects import dose, ds_text, save
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from scipy.spatial.transform import Rotation

from RTPipelineLib.dicom.dose import dose_grid, read_dose
from RTPipelineLib.dicom.headers import summarise
from RTPipelineLib.errors import DicomError, DoseRefused, GeometryError
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Dose

# Row and column cosines of the eight patient positions for a transverse dose.
ORIENTATIONS = {
    "HFS": (1, 0, 0, 0, 1, 0),
    "HFP": (-1, 0, 0, 0, -1, 0),
    "HFDL": (0, -1, 0, 1, 0, 0),
    "HFDR": (0, 1, 0, -1, 0, 0),
    "FFS": (-1, 0, 0, 0, 1, 0),
    "FFP": (1, 0, 0, 0, -1, 0),
    "FFDL": (0, 1, 0, 1, 0, 0),
    "FFDR": (0, -1, 0, -1, 0, 0),
}
# A Decimal String has 16 characters: cosines carry 1e-13, positions 1e-11 mm; a dose is 1 m wide.
POSITION_MM = 1e-8


def ramp(frames: int = 4, rows: int = 3, columns: int = 5, dtype: str = "<u2") -> np.ndarray:
    """Stored values that name their voxel."""
    count = frames * rows * columns
    return np.arange(1, count + 1, dtype=dtype).reshape(frames, rows, columns)


def positions(ds: pydicom.Dataset, offsets: list[float], every: int = 1) -> np.ndarray:
    """(frames, rows, columns, 3), every n-th row and column, by PS3.3 C.7.6.2.1.1 and C.8.8.3.2."""
    origin = np.array([float(v) for v in ds.ImagePositionPatient])
    cosines = np.array([float(v) for v in ds.ImageOrientationPatient])
    between_rows, between_columns = (float(v) for v in ds.PixelSpacing)
    row, column = cosines[:3], cosines[3:]
    normal = np.cross(row, column)
    r, c = np.arange(0, ds.Rows, every), np.arange(0, ds.Columns, every)
    f, r, c = np.meshgrid(offsets, r, c, indexing="ij")
    return (
        origin
        + f[..., None] * normal
        + r[..., None] * between_rows * column
        + c[..., None] * between_columns * row
    )


def lattice(grid: Grid, every: int = 1) -> np.ndarray:
    """(nk, nj, ni, 3) positions of the voxels of a grid, every n-th row and column."""
    nk, nj, ni = grid.shape
    axes = np.arange(nk), np.arange(0, nj, every), np.arange(0, ni, every)
    k, j, i = np.meshgrid(*axes, indexing="ij")
    return grid.to_lps(np.stack([i, j, k], axis=-1))


def assert_every_voxel(
    read: Dose, ds: pydicom.Dataset, offsets: list[float], values: np.ndarray
) -> None:
    """Each stored value lies where the standard puts it, whatever the order of frames."""
    expected = positions(ds, offsets)
    order = np.argsort(offsets)
    np.testing.assert_allclose(lattice(read.grid), expected[order], atol=POSITION_MM)
    np.testing.assert_allclose(read.array_gy, values[order], rtol=1e-6)


# -- geometry -------------------------------------------------------------------------------------


@given(
    turn=st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1),
    position=st.tuples(*[st.floats(-500, 500)] * 3),
    spacing=st.tuples(*[st.floats(0.5, 5)] * 2),
    steps=st.lists(st.floats(0.5, 5), min_size=1, max_size=5),
    descending=st.booleans(),
)
def test_every_voxel_of_a_random_orientation(
    tmp_path_factory, turn, position, spacing, steps, descending
):
    cosines = Rotation.from_quat(turn).as_matrix()[:, :2].T.ravel()
    offsets = np.concatenate([[0.0], np.cumsum(steps)]) * (-1 if descending else 1)
    stored = ramp(offsets.size)
    ds = dose(stored, position=position, orientation=cosines, spacing=spacing, offsets=offsets)
    path = save(ds, tmp_path_factory.mktemp("dose") / "rd.dcm")
    exact = [float(ds_text(v)) for v in offsets]
    assert_every_voxel(read_dose(path), ds, exact, stored * 0.001)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_descending_frames_are_ascending_ones_flipped(tmp_path, name):
    """The same dose stored from its other end: equal positions, equal values, no mirror image."""
    stored = ramp()
    cosines = ORIENTATIONS[name]
    normal = np.cross(cosines[:3], cosines[3:])
    up = dose(stored, position=(10, 20, 30), orientation=cosines, offsets=[0, 3, 6, 9])
    down = dose(
        stored[::-1].copy(),
        position=np.array([10, 20, 30]) + 9 * normal,
        orientation=cosines,
        offsets=[0, -3, -6, -9],
    )
    first = read_dose(save(up, tmp_path / "up.dcm"))
    second = read_dose(save(down, tmp_path / "down.dcm"))
    assert first.grid.same_as(second.grid)
    np.testing.assert_array_equal(first.array_gy, second.array_gy)
    assert first.flags == second.flags == ()


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_real_headers_of_the_eight_patient_positions(shared_data, name):
    path = shared_data / f"orientations/RD.DICOMORIENT.Dose_{name}_empty.dcm"
    ds = pydicom.dcmread(path)
    assert tuple(float(v) for v in ds.ImageOrientationPatient) == ORIENTATIONS[name]
    offsets = [float(v) for v in ds.GridFrameOffsetVector]
    for source in (ds, summarise(ds)):
        grid = dose_grid(source, path)
        assert grid.shape == (ds.NumberOfFrames, ds.Rows, ds.Columns)
        np.testing.assert_allclose(lattice(grid, 40), positions(ds, offsets, 40), atol=POSITION_MM)
    feet_first = name.startswith("F")
    assert grid.normal[2] == (-1 if feet_first else 1)
    with pytest.raises(DicomError, match="bytes of pixel data"):
        read_dose(path)


def test_absolute_offsets(tmp_path):
    relative = dose(ramp(), position=(1, 2, -50), offsets=[0, 2, 4, 6])
    absolute = dose(ramp(), position=(1, 2, -50), offsets=[-50, -48, -46, -44])
    first = read_dose(save(relative, tmp_path / "a.dcm"))
    second = read_dose(save(absolute, tmp_path / "b.dcm"))
    assert first.grid.same_as(second.grid)
    np.testing.assert_array_equal(first.array_gy, second.array_gy)


def test_absolute_offsets_within_a_thousandth(tmp_path):
    ds = dose(ramp(2), position=(1, 2, -50.0004), offsets=[-50, -48])
    assert read_dose(save(ds, tmp_path / "a.dcm")).grid.shape[0] == 2
    ds = dose(ramp(2), position=(1, 2, -50.004), offsets=[-50, -48])
    with pytest.raises(GeometryError, match=r"begins with -50, expected 0 .* or -50.004"):
        read_dose(save(ds, tmp_path / "b.dcm"))


@pytest.mark.parametrize(
    ("orientation", "offsets", "message"),
    [
        ((1, 0, 0, 0, 1, 0), [5, 7, 9, 11], r"begins with 5, expected 0 \(relative\) or 30"),
        ((-1, 0, 0, 0, -1, 0), [30, 32, 34, 36], r"begins with 30, expected 0 \(relative\);"),
        ((1, 0, 0, 0, 1, 0), None, "4 frames but 0"),
        ((1, 0, 0, 0, 1, 0), [0, 2, 4], "4 frames but 3"),
        ((1, 0, 0, 0, 1, 0), [0, 2, 2, 4], "same offset"),
        ((1, 0, 0, 1, 0, 0), [0, 2, 4, 6], "right angles"),
        ((0, 0, 0, 0, 1, 0), [0, 2, 4, 6], "no direction"),
    ],
)
def test_contradictory_positions_are_refused(tmp_path, orientation, offsets, message):
    ds = dose(ramp(), position=(10, 20, 30), orientation=orientation, offsets=offsets)
    with pytest.raises(GeometryError, match=message) as caught:
        read_dose(save(ds, tmp_path / "rd.dcm"))
    assert "rd.dcm" in str(caught.value)
    assert "export" in str(caught.value)


@pytest.mark.parametrize("missing", ["ImagePositionPatient", "PixelSpacing"])
def test_missing_geometry_is_refused(tmp_path, missing):
    ds = dose(ramp(), offsets=[0, 2, 4, 6], **{missing: None})
    with pytest.raises(GeometryError, match="0 valid values"):
        read_dose(save(ds, tmp_path / "rd.dcm"))


def test_unsorted_frames_are_put_where_their_offsets_say(tmp_path):
    offsets = [0, 6, 2, 4]
    ds = dose(ramp(), offsets=offsets)
    read = read_dose(save(ds, tmp_path / "rd.dcm"))
    assert_every_voxel(read, ds, offsets, ramp() * 0.001)
    assert read.flags == ("frames-sorted",)


def test_uneven_frames(tmp_path):
    offsets = [0, 2, 5, 9]
    ds = dose(ramp(), offsets=offsets)
    read = read_dose(save(ds, tmp_path / "rd.dcm"))
    np.testing.assert_array_equal(read.grid.k_offsets_mm, offsets)
    assert_every_voxel(read, ds, offsets, ramp() * 0.001)
    assert read.flags == ("non-uniform-frames",)


@pytest.mark.parametrize("offsets", [None, [0]])
def test_single_frame(tmp_path, offsets):
    thick = read_dose(save(dose(ramp(1), offsets=offsets, SliceThickness="3.5"), tmp_path / "a"))
    assert thick.grid.spacing_mm[2] == 3.5
    assert thick.flags == ()
    unknown = read_dose(save(dose(ramp(1), offsets=offsets), tmp_path / "b"))
    assert unknown.grid.spacing_mm[2] == 1.0
    assert unknown.flags == ("thickness-assumed",)


def test_feet_first_dose_lies_where_simpleitk_says(shared_data):
    path = shared_data / "orientations/RD.TBB_feet_in_supine.dcm"
    theirs = SimpleITK.ReadImage(str(path))
    ours = read_dose(path)
    for index in ((0, 0, 0), (100, 0, 0), (0, 100, 0), (0, 0, 80), (33, 44, 55)):
        expected = theirs.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(ours.grid.to_lps(np.array(index)), expected, atol=1e-6)
    stored = SimpleITK.GetArrayViewFromImage(theirs)
    scaling = float(pydicom.dcmread(path).DoseGridScaling)
    np.testing.assert_allclose(ours.array_gy, stored * scaling, rtol=1e-6)


def test_negative_offsets_and_oblong_pixels_without_preamble(shared_data):
    path = shared_data / "orientations/rtdose_non_square_pixels.dcm"
    ds = pydicom.dcmread(path, force=True)
    offsets = [float(v) for v in ds.GridFrameOffsetVector]
    assert offsets[1] < 0
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # it has no file meta information
    read = read_dose(path)
    expected = positions(ds, offsets)[np.argsort(offsets)]
    # uneven by the rounding of its offsets (1e-13 mm), which the even grid smooths
    np.testing.assert_allclose(lattice(read.grid), expected, atol=1e-3)
    values = ds.pixel_array[np.argsort(offsets)] * float(ds.DoseGridScaling)
    np.testing.assert_allclose(read.array_gy, values, rtol=1e-6)
    assert "dose-type-missing" in read.flags


def test_eclipse_dose_is_its_nrrd(shared_data):
    folder = shared_data / "eclipse_prostate"
    theirs = SimpleITK.ReadImage(str(folder / "EclipseProstate_Dose.nrrd"))
    ours = read_dose(folder / "RD.eclipse_prostate.dcm")
    np.testing.assert_allclose(
        ours.array_gy, SimpleITK.GetArrayViewFromImage(theirs), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(ours.grid.origin_mm, theirs.GetOrigin(), atol=1e-3)
    np.testing.assert_allclose(ours.grid.spacing_mm, theirs.GetSpacing(), atol=1e-6)


# -- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["<u2", "<u4"])
@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
)
def test_values_of_every_transfer_syntax(tmp_path, dtype, syntax):
    stored = ramp(dtype=dtype)
    stored.flat[-1] = np.iinfo(dtype).max
    ds = dose(stored, offsets=[0, 2, 4, 6], scaling="0.00001234567")
    read = read_dose(save(ds, tmp_path / "rd.dcm", syntax))
    assert read.array_gy.dtype == np.float32
    assert read.array_gy.flags.c_contiguous
    assert read.scaling_gy == 0.00001234567
    exact = (stored.astype(np.float64) * 0.00001234567).astype(np.float32)
    np.testing.assert_array_equal(read.array_gy, exact)


@pytest.mark.parametrize("dtype", ["<u2", "<u4"])
def test_big_endian_values(tmp_path, dtype):
    ds = dose(ramp(dtype=dtype), offsets=[0, 2, 4, 6])
    ds.PixelData = ramp(dtype=dtype).astype(dtype.replace("<", ">")).tobytes()
    read = read_dose(save(ds, tmp_path / "rd.dcm", ExplicitVRBigEndian))
    np.testing.assert_allclose(read.array_gy, ramp() * 0.001, rtol=1e-6)


def test_run_length_compressed_values(tmp_path):
    ds = dose(ramp(), offsets=[0, 2, 4, 6])
    save(ds, tmp_path / "plain.dcm")
    compressed = pydicom.dcmread(tmp_path / "plain.dcm")
    compressed.compress(RLELossless)
    compressed.save_as(tmp_path / "rle.dcm")
    read = read_dose(tmp_path / "rle.dcm")
    np.testing.assert_allclose(read.array_gy, ramp() * 0.001, rtol=1e-6)


def test_signed_values_are_read_and_flagged(tmp_path):
    stored = ramp().astype("<i2")
    read = read_dose(save(dose(stored, offsets=[0, 2, 4, 6]), tmp_path / "a.dcm"))
    assert read.flags == ("signed-dose",)
    stored[0, 0, 0] = -7
    read = read_dose(save(dose(stored, offsets=[0, 2, 4, 6]), tmp_path / "b.dcm"))
    assert read.flags == ("signed-dose", "negative-dose")
    assert read.array_gy[0, 0, 0] == np.float32(-0.007)


@pytest.mark.parametrize("scaling", [None, "0", "-1", ""])
def test_dose_grid_scaling_is_needed(tmp_path, scaling):
    ds = dose(ramp(), offsets=[0, 2, 4, 6], DoseGridScaling=scaling)
    with pytest.raises(DicomError, match="Dose Grid Scaling is"):
        read_dose(save(ds, tmp_path / "rd.dcm"))


def test_relative_units_need_a_normalisation(tmp_path):
    path = save(dose(ramp(), offsets=[0, 2, 4, 6], DoseUnits="RELATIVE"), tmp_path / "rd.dcm")
    with pytest.raises(DoseRefused, match="RELATIVE units"):
        read_dose(path)
    read = read_dose(path, normalisation_gy=50)
    np.testing.assert_allclose(read.array_gy, ramp() * 0.05, rtol=1e-6)
    assert read.flags == ("normalised-by-user",)
    for nonsense in (0.0, -1.0, float("nan")):
        with pytest.raises(DoseRefused, match="makes no dose"):
            read_dose(path, normalisation_gy=nonsense)


def test_unknown_units_are_refused(tmp_path):
    ds = dose(ramp(), offsets=[0, 2, 4, 6], DoseUnits=None)
    with pytest.raises(DoseRefused, match="unknown units"):
        read_dose(save(ds, tmp_path / "rd.dcm"))


@pytest.mark.parametrize("dose_type", ["ERROR", "CODED"])
def test_what_is_no_dose_is_refused(tmp_path, dose_type):
    ds = dose(ramp(), offsets=[0, 2, 4, 6], DoseType=dose_type)
    with pytest.raises(DoseRefused, match=dose_type):
        read_dose(save(ds, tmp_path / "rd.dcm"))


def test_plan_sum_is_a_multi_plan_dose(tmp_path):
    ds = dose(ramp(), offsets=[0, 2, 4, 6], DoseSummationType="PLAN_SUM")
    read = read_dose(save(ds, tmp_path / "rd.dcm"))
    assert read.summation_type == "MULTI_PLAN"
    assert read.flags == ("summation-type-plan-sum",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Rows": 4}, "bytes of pixel data"),
        ({"NumberOfFrames": 3, "GridFrameOffsetVector": [0, 2, 4]}, "bytes of pixel data"),
        ({"BitsAllocated": 32}, "bytes of pixel data"),
        ({"BitsAllocated": 8}, "16 or 32 bits"),
        ({"SamplesPerPixel": 3}, "no monochrome"),
        ({"PixelData": None}, "no pixel data"),
        ({"Rows": None, "Columns": None, "PixelData": None}, "no dose grid"),
    ],
)
def test_pixel_data_that_do_not_fit(tmp_path, change, message):
    ds = dose(ramp(), offsets=[0, 2, 4, 6], **change)
    with pytest.raises(DicomError, match=message) as caught:
        read_dose(save(ds, tmp_path / "rd.dcm"))
    assert caught.value.path == str(tmp_path / "rd.dcm")


def test_truncated_dose(shared_data, tmp_path):
    data = (shared_data / "breast_clinical/rtdose.dcm").read_bytes()
    path = tmp_path / "cut.dcm"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DicomError, match="truncated"):
        read_dose(path)


def test_other_objects_are_refused(shared_data):
    with pytest.raises(DicomError, match=r"rtplan.dcm: is no RT Dose"):
        read_dose(shared_data / "breast_clinical/rtplan.dcm")


def test_real_proton_doses(shared_data):
    """PLAN = BEAM 1 + BEAM 2 within the rounding of three 16-bit grids."""
    doses = [read_dose(path) for path in (shared_data / "proton_beams").glob("RD*.dcm")]
    by_type = {dose.summation_type: dose for dose in doses}
    beams = [dose for dose in doses if dose.summation_type == "BEAM"]
    assert {dose.dose_type for dose in doses} == {"EFFECTIVE"}
    total = sum(beam.array_gy for beam in beams)
    step = sum(dose.scaling_gy for dose in doses) / 2 + 1e-6
    np.testing.assert_allclose(by_type["PLAN"].array_gy, total, rtol=0, atol=step)


def test_breast_dose_as_pydicom_reads_it(shared_data):
    path = shared_data / "breast_clinical/rtdose.dcm"
    ds = pydicom.dcmread(path)
    read = read_dose(path)
    np.testing.assert_array_equal(
        read.array_gy, (ds.pixel_array * float(ds.DoseGridScaling)).astype(np.float32)
    )
    assert read.plan_uids == ("1.2.246.352.71.5.320687012.24189.20090603083342",)
    assert read.structure_set_uid == "1.2.246.352.71.4.320687012.3190.20090511122144"
    assert read.sop_uids == (ds.SOPInstanceUID,)
    assert read.frame_uid == ds.FrameOfReferenceUID
