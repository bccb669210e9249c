"""Image series: where the slices lie, what they are worth, and which of them make one volume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_objects import ENHANCED_CT, RT_PLAN, image, item, pixels, rt_object, save
from hypothesis import given
from hypothesis import strategies as st
from pydicom.pixels import get_decoder
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from scipy.spatial.transform import Rotation

from RTPipelineLib.dicom.image import read_series
from RTPipelineLib.errors import DicomError, GeometryError

ROWS, COLUMNS = 6, 8


def plane(k: int, dtype: str = "<u2") -> np.ndarray:
    """Stored values that name their slice and pixel."""
    return (1000 + 100 * k + np.arange(ROWS * COLUMNS)).reshape(ROWS, COLUMNS).astype(dtype)


def series(folder: Path, heights: Sequence[float], start: int = 0, **values: object) -> list[Path]:
    """A transverse CT with slices at these heights, in files whose order says nothing."""
    paths = []
    for k, z in enumerate(heights):
        name = f"{(start + k) * 7919 % 1009:04d}.dcm"
        paths.append(save(image(plane(k), (-3, -4, z), **values), folder / name))
    return sorted(paths)


# -- geometry -------------------------------------------------------------------------------------


@given(
    turn=st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    spacing=st.tuples(*[st.floats(0.5, 5)] * 3),
    order=st.permutations(range(4)),
)
def test_every_voxel_of_a_random_orientation(tmp_path_factory, turn, origin, spacing, order):
    folder = tmp_path_factory.mktemp("series")
    axes = Rotation.from_quat(turn).as_matrix()
    paths = [
        save(
            image(
                plane(k),
                np.array(origin) + k * spacing[2] * axes[:, 2],
                orientation=axes[:, :2].T.ravel(),
                spacing=(spacing[1], spacing[0]),
                InstanceNumber=order[k],
            ),
            folder / f"{order[k]}.dcm",
        )
        for k in range(4)
    ]
    volume = read_series(sorted(paths))
    k, j, i = np.meshgrid(*(np.arange(n) for n in volume.grid.shape), indexing="ij")
    expected = np.array(origin) + np.stack([i, j, k], axis=-1) * spacing @ axes.T
    # positions and cosines have the 16 characters of a Decimal String
    np.testing.assert_allclose(volume.grid.to_lps(np.stack([i, j, k], -1)), expected, atol=1e-8)
    np.testing.assert_array_equal(volume.array, np.stack([plane(k) for k in range(4)]) - 1024.0)
    assert volume.flags == ()


def with_simpleitk(paths: Sequence[Path]) -> SimpleITK.Image:
    """A transverse head-first series as SimpleITK (GDCM) reads it."""
    heights = {
        p: pydicom.dcmread(p, stop_before_pixels=True).ImagePositionPatient[2] for p in paths
    }
    return SimpleITK.ReadImage([str(path) for path in sorted(paths, key=heights.__getitem__)])


def test_head_phantom_as_simpleitk_reads_it(shared_data):
    paths = list((shared_data / "head_phantom").glob("CT*.dcm"))
    volume = read_series(paths)
    theirs = with_simpleitk(paths)
    assert volume.array.dtype == np.int16
    assert volume.unit == "HU"
    assert volume.flags == ()
    np.testing.assert_array_equal(volume.array, SimpleITK.GetArrayViewFromImage(theirs))
    np.testing.assert_allclose(volume.grid.origin_mm, theirs.GetOrigin(), atol=1e-6)
    np.testing.assert_allclose(volume.grid.spacing_mm, theirs.GetSpacing(), atol=1e-6)
    np.testing.assert_array_equal(volume.grid.direction, np.eye(3))


def test_jpeg_2000_series_with_empty_uids(shared_data):
    paths = list((shared_data / "totalsegmentator_examples/example_ct_dicom").iterdir())
    volume = read_series(paths)
    assert volume.array.shape == (20, 512, 512)
    assert volume.series_uid == ""
    theirs = with_simpleitk(paths)
    np.testing.assert_array_equal(volume.array, SimpleITK.GetArrayViewFromImage(theirs))
    np.testing.assert_allclose(volume.grid.origin_mm, theirs.GetOrigin(), atol=1e-6)


def test_slices_are_ordered_by_position_not_by_number(tmp_path):
    heights = [4.0, 0.0, 2.0]
    for k, z in enumerate(heights):
        save(image(plane(k), (0, 0, z), InstanceNumber=k), tmp_path / f"{k}.dcm")
    volume = read_series(sorted(tmp_path.iterdir()))
    assert [int(slab[0, 0]) for slab in volume.array] == [76, 176, -24]


def test_a_single_slice_is_a_volume(tmp_path):
    volume = read_series(series(tmp_path, [5.0]))
    assert volume.array.shape == (1, ROWS, COLUMNS)
    np.testing.assert_array_equal(volume.grid.spacing_mm, [1, 1, 2])  # Slice Thickness 2
    assert volume.flags == ()
    save(image(plane(0), (0, 0, 0), SliceThickness=None), tmp_path / "thin.dcm")
    volume = read_series([tmp_path / "thin.dcm"])
    assert volume.grid.spacing_mm[2] == 1
    assert volume.flags == ("thickness-assumed",)


def test_uneven_slices_keep_their_positions(tmp_path):
    volume = read_series(series(tmp_path, [0, 2, 4, 7, 10]))
    np.testing.assert_array_equal(volume.grid.k_positions_mm, [0, 2, 4, 7, 10])
    assert volume.flags == ("non-uniform-slices",)


def test_rounded_positions_are_even(tmp_path):
    """Steps of 1.25 mm written with one digit less: 0.01 mm of 1.25 mm."""
    volume = read_series(series(tmp_path, [0, 1.25, 2.51, 3.75, 5.0]))
    assert volume.grid.is_uniform
    assert volume.flags == ()


def test_missing_slices_are_counted(tmp_path):
    volume = read_series(series(tmp_path, [0, 2, 4, 8, 10, 16, 18]))
    assert volume.array.shape[0] == 7
    assert volume.flags == ("non-uniform-slices", "missing-slices:3")
    np.testing.assert_array_equal(volume.grid.k_positions_mm, [0, 2, 4, 8, 10, 16, 18])


def test_tilted_gantry_is_straightened(tmp_path):
    """A linear image, sampled by slices displaced within their planes, keeps its values."""
    tilt = np.radians(12.5)
    step = 3.0
    for k in range(5):
        y0 = 20 + k * step * np.tan(tilt)
        y, x = np.meshgrid(y0 + 2 * np.arange(20), 30 + 2 * np.arange(16), indexing="ij")
        values = np.round(1024 + 5 * x - 4 * y + 30 * k).astype("<u2")
        save(image(values, (30, y0, k * step), spacing=(2, 2)), tmp_path / f"{k}.dcm")
    volume = read_series(sorted(tmp_path.iterdir()))
    assert volume.flags == ("gantry-tilt:12.5",)
    grid = volume.grid
    np.testing.assert_array_equal(grid.direction, np.eye(3))
    np.testing.assert_allclose(grid.spacing_mm, [2, 2, step])
    nk, nj, ni = grid.shape
    assert (nk, ni) == (5, 16)
    assert nj == 20 + 2  # 2.66 mm of displacement need two more rows of 2 mm
    k, j, i = np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij")
    x, y, _ = np.moveaxis(grid.to_lps(np.stack([i, j, k], axis=-1)), -1, 0)
    first_y = 20 + k * step * np.tan(tilt)
    inside = (y >= first_y) & (y <= first_y + 2 * 19)
    expected = 5 * x - 4 * y + 30 * k
    # rounded to whole HU when stored and once more when shifted
    np.testing.assert_allclose(volume.array[inside], expected[inside], atol=1.01)
    assert inside.sum() > 5 * 19 * 16 - 1
    outside = (y < first_y - 2) | (y > first_y + 2 * 20)
    assert np.all(volume.array[outside] == max(volume.array.min(), -1024))


def test_slices_displaced_at_random_are_put_back(tmp_path):
    x0 = [0, 3, -2, 5]
    for k, x in enumerate(x0):
        save(image(plane(k), (x, 0, 2 * k)), tmp_path / f"{k}.dcm")
    volume = read_series(sorted(tmp_path.iterdir()))
    assert volume.flags == ("displaced-slices",)
    assert volume.grid.origin_mm[0] == -2
    for k, x in enumerate(x0):  # whole pixels: nothing is interpolated
        np.testing.assert_array_equal(
            volume.array[k, :, x + 2 : x + 2 + COLUMNS], plane(k).astype(int) - 1024
        )


# -- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_native_transfer_syntaxes(tmp_path, syntax):
    for k in range(2):
        ds = image(plane(k), (0, 0, 2 * k))
        if syntax == ExplicitVRBigEndian:
            ds.PixelData = plane(k, ">u2").tobytes()
        save(ds, tmp_path / f"{k}.dcm", syntax)
    volume = read_series(sorted(tmp_path.iterdir()))
    np.testing.assert_array_equal(volume.array, np.stack([plane(0), plane(1)]) - 1024.0)


def compressed(path: Path, syntax: str, array: np.ndarray) -> Path:
    """A slice in a compressed transfer syntax, encoded by GDCM, CharLS or pydicom."""
    plain = save(image(array, (0, 0, 0)), path)
    if syntax == JPEG2000Lossless:
        picture = SimpleITK.ReadImage(str(plain), SimpleITK.sitkInt16)
        writer = SimpleITK.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG2000")
        for tag, value in (
            ("0008|0016", "1.2.840.10008.5.1.4.1.1.2"),
            ("0008|0060", "CT"),
            ("0028|1052", "-1024"),
            ("0028|1053", "1"),
        ):
            picture.SetMetaData(tag, value)
        writer.SetFileName(str(path))
        writer.Execute(picture)
        return path
    ds = pydicom.dcmread(plain)
    ds.compress(syntax)
    ds.save_as(path)
    return path


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_compressed_transfer_syntaxes(tmp_path, syntax):
    if syntax == JPEGLSLossless:
        pytest.importorskip("jpeg_ls")
    if syntax == JPEG2000Lossless:
        pytest.importorskip("gdcm")
    values = np.add.outer(np.arange(32), 3 * np.arange(24)).astype("<u2") + 900
    path = compressed(tmp_path / "slice.dcm", syntax, values)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(read_series([path]).array[0], values - 1024.0)


def test_an_undecodable_transfer_syntax_is_named(tmp_path):
    """MPEG is no image format of this field and has no decoder anywhere."""
    ds = pydicom.dcmread(save(image(plane(0), (0, 0, 0)), tmp_path / "a.dcm"))
    ds.compress(RLELossless)
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
    ds.save_as(tmp_path / "a.dcm")
    with pytest.raises(DicomError, match=r"MPEG2 .*cannot be decoded"):
        read_series([tmp_path / "a.dcm"])


@pytest.mark.parametrize(
    ("syntax", "package"), [(JPEG2000Lossless, "python-gdcm"), (JPEGLSLossless, "pyjpegls")]
)
def test_a_missing_decoder_names_its_package(tmp_path, monkeypatch, syntax, package):
    ds = pydicom.dcmread(save(image(plane(0), (0, 0, 0)), tmp_path / "a.dcm"))
    ds.compress(RLELossless)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(tmp_path / "a.dcm")
    monkeypatch.setattr(get_decoder(syntax), "_available", {})
    with pytest.raises(DicomError, match=f"no decoder for JPEG.* install the package {package}"):
        read_series([tmp_path / "a.dcm"])


def test_rescale_of_each_slice(tmp_path):
    """PET slices have their own slopes."""
    slopes = ["0.5", "2.25", "0.001"]
    for k, slope in enumerate(slopes):
        ds = image(
            plane(k), (0, 0, 2 * k), modality="PT", RescaleSlope=slope, RescaleIntercept="0",
            Units="BQML",
        )  # fmt: skip
        save(ds, tmp_path / f"{k}.dcm")
    volume = read_series(sorted(tmp_path.iterdir()))
    assert (volume.modality, volume.unit) == ("PT", "BQML")
    assert volume.array.dtype == np.float32
    expected = np.stack([plane(k) * float(slope) for k, slope in enumerate(slopes)])
    np.testing.assert_allclose(volume.array, expected, rtol=1e-6)


def test_mr_has_no_unit_and_no_rescale(tmp_path):
    ds = image(plane(0), (0, 0, 0), modality="MR", RescaleSlope=None, RescaleIntercept=None)
    volume = read_series([save(ds, tmp_path / "mr.dcm")])
    assert (volume.modality, volume.unit, volume.flags) == ("MR", "1", ())
    np.testing.assert_array_equal(volume.array[0], plane(0))


def test_ct_without_rescale_or_in_other_units_is_flagged(tmp_path):
    ds = image(plane(0), (0, 0, 0), RescaleSlope=None, RescaleIntercept=None)
    assert read_series([save(ds, tmp_path / "a.dcm")]).flags == ("rescale-missing",)
    ds = image(plane(0), (0, 0, 0), RescaleType="ED")
    volume = read_series([save(ds, tmp_path / "b.dcm")])
    assert (volume.unit, volume.flags) == ("1", ("unit-unknown",))


def test_fractional_rescale_and_values_beyond_16_bits_are_floats(tmp_path):
    ds = image(plane(0), (0, 0, 0), RescaleSlope="0.5")
    volume = read_series([save(ds, tmp_path / "a.dcm")])
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array[0], plane(0) * 0.5 - 1024)
    metal = np.full((ROWS, COLUMNS), 65000, "<u2")
    for k, values in enumerate([plane(0), metal, plane(2)]):
        save(image(values, (0, 0, 2 * k)), tmp_path / f"m{k}.dcm")
    volume = read_series(sorted(tmp_path.glob("m*")))
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array[1], metal - 1024.0)
    np.testing.assert_array_equal(volume.array[0], plane(0) - 1024.0)


def test_unused_bits_mean_nothing(tmp_path):
    """12 bits stored in 16: the four above are masked, in signed values the sign is extended."""
    for dtype in ("<u2", "<i2"):
        stored = plane(0, dtype)
        stored[0, 0] = -5 if dtype == "<i2" else 0xF001
        stored[0, 1] = 0x1FFB if dtype == "<i2" else 0x1002
        ds = image(stored, (0, 0, 0), BitsStored=12, HighBit=11)
        path = save(ds, tmp_path / "a.dcm")
        expected = pydicom.dcmread(path).pixel_array - 1024.0
        np.testing.assert_array_equal(read_series([path]).array[0], expected)
        assert expected[0, 0] == (-1029 if dtype == "<i2" else -1023)


# -- which slices ---------------------------------------------------------------------------------


def test_phases_of_a_4d_scan_are_parted(tmp_path):
    for phase, name in ((2, "b"), (10, "c"), (1, "a")):
        (tmp_path / name).mkdir()
        series(tmp_path / name, [0, 2, 4], start=phase, TemporalPositionIdentifier=phase,
               SeriesDescription=name, RescaleIntercept=str(-phase))  # fmt: skip
    volume = read_series(sorted(tmp_path.glob("*/*")))
    assert volume.array.shape[0] == 3
    assert volume.flags == ("several-stacks:3",)
    np.testing.assert_array_equal(volume.array[0], plane(0) - 1.0)  # the first by number, not text


def test_the_longest_of_two_acquisitions_is_taken(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    series(tmp_path / "a", [0, 2, 4], AcquisitionNumber=1)
    series(tmp_path / "b", [4, 6, 8, 10], AcquisitionNumber=2)
    volume = read_series(sorted(tmp_path.glob("*/*")))
    assert volume.grid.origin_mm[2] == 4
    assert volume.array.shape[0] == 4
    assert volume.flags == ("several-stacks:2",)


def test_two_attributes_together_part_the_stacks(tmp_path):
    """Echo and acquisition: neither is enough alone."""
    for echo in (1, 2):
        for acquisition in (1, 2):
            folder = tmp_path / f"{echo}{acquisition}"
            folder.mkdir()
            series(folder, [0, 2, 4], EchoNumbers=echo, AcquisitionNumber=acquisition)
    volume = read_series(sorted(tmp_path.glob("*/*")))
    assert volume.array.shape[0] == 3
    assert volume.flags == ("several-stacks:4",)


def test_a_localizer_stays_out(tmp_path):
    paths = series(tmp_path, [0, 2, 4], ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    scout = image(
        plane(9), (0, 0, 0), orientation=(1, 0, 0, 0, 0, -1),
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
    )  # fmt: skip
    flat = image(plane(9), (-3, -4, 6), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    paths += [save(scout, tmp_path / "scout.dcm"), save(flat, tmp_path / "flat.dcm")]
    volume = read_series(paths)
    assert volume.array.shape[0] == 3
    assert volume.flags == ("several-stacks:3",)


def test_identical_copies_count_once(tmp_path):
    paths = series(tmp_path, [0, 2, 4])
    copy = tmp_path / "copy.dcm"
    copy.write_bytes(paths[1].read_bytes())
    again = pydicom.dcmread(paths[2])
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = "1.2.3.99"
    again.save_as(tmp_path / "again.dcm")
    volume = read_series([*paths, copy, tmp_path / "again.dcm"])
    assert volume.array.shape[0] == 3
    assert volume.flags == ("duplicate-slices:2",)


def test_one_uid_with_two_contents_is_refused(tmp_path):
    paths = series(tmp_path, [0, 2, 4])
    other = pydicom.dcmread(paths[1])
    other.PixelData = plane(7).tobytes()
    other.save_as(tmp_path / "other.dcm")
    with pytest.raises(DicomError, match="other content"):
        read_series([*paths, tmp_path / "other.dcm"])


def test_different_slices_at_one_place_are_refused(tmp_path):
    paths = series(tmp_path, [0, 2, 4])
    rival = save(image(plane(8), (-3, -4, 2)), tmp_path / "rival.dcm")
    with pytest.raises(GeometryError, match="at one position"):
        read_series([*paths, rival])


@pytest.mark.parametrize("share", [0.5, 0.97])
def test_a_truncated_slice_refuses_the_series(tmp_path, share):
    paths = series(tmp_path, [0, 2, 4])
    data = paths[1].read_bytes()
    paths[1].write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DicomError) as caught:
        read_series(paths)
    assert caught.value.path == str(paths[1])


def test_what_is_no_image_is_refused(tmp_path):
    paths = series(tmp_path, [0, 2])
    plan = save(rt_object(RT_PLAN, "RTPLAN"), tmp_path / "rp.dcm")
    with pytest.raises(DicomError, match=r"rp.dcm: is no CT, MR or PET image"):
        read_series([*paths, plan])
    with pytest.raises(DicomError, match="at least one file"):
        read_series([])


@pytest.mark.parametrize("missing", ["ImagePositionPatient", "ImageOrientationPatient"])
def test_a_slice_without_position_is_refused(tmp_path, missing):
    path = save(image(plane(0), (0, 0, 0), **{missing: None}), tmp_path / "a.dcm")
    with pytest.raises(GeometryError, match=rf"a.dcm: {missing} has 0 valid values"):
        read_series([path])


def test_a_slope_of_zero_is_refused(tmp_path):
    path = save(image(plane(0), (0, 0, 0), RescaleSlope="0"), tmp_path / "a.dcm")
    with pytest.raises(DicomError, match="Rescale Slope is 0"):
        read_series([path])


# -- multi-frame and the rest ---------------------------------------------------------------------


def enhanced(heights: Sequence[float]) -> pydicom.Dataset:
    """An enhanced CT: position and rescale by frame, the rest shared."""
    ds = rt_object(
        ENHANCED_CT,
        "CT",
        NumberOfFrames=len(heights),
        SharedFunctionalGroupsSequence=[
            item(
                PixelMeasuresSequence=[item(PixelSpacing=[1.5, 1.25], SliceThickness="2")],
                PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
            )
        ],
        PerFrameFunctionalGroupsSequence=[
            item(
                PlanePositionSequence=[item(ImagePositionPatient=[1, 2, z])],
                PixelValueTransformationSequence=[
                    item(RescaleSlope="1", RescaleIntercept=str(-100 * k), RescaleType="HU")
                ],
            )
            for k, z in enumerate(heights)
        ],
    )
    pixels(ds, np.stack([plane(k) for k in range(len(heights))]))
    return ds


def test_enhanced_multi_frame_image(tmp_path):
    volume = read_series([save(enhanced([4, 0, 2]), tmp_path / "e.dcm")])
    assert volume.flags == ()
    np.testing.assert_array_equal(volume.grid.origin_mm, [1, 2, 0])
    np.testing.assert_array_equal(volume.grid.spacing_mm, [1.25, 1.5, 2])
    for k, frame in enumerate([1, 2, 0]):
        np.testing.assert_array_equal(volume.array[k], plane(frame).astype(int) - 100 * frame)


def test_multi_frame_image_without_positions_is_refused(tmp_path):
    ds = enhanced([0, 2])
    del ds.PerFrameFunctionalGroupsSequence
    with pytest.raises(DicomError, match="positions are unknown"):
        read_series([save(ds, tmp_path / "e.dcm")])


def test_progress_ends_at_its_total(tmp_path):
    seen: list[tuple[int, int]] = []
    read_series(
        series(tmp_path, [0, 2, 4]), progress=lambda done, total: seen.append((done, total))
    )
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (6, 6)


def test_uids_of_the_volume(tmp_path):
    volume = read_series(series(tmp_path, [0, 2]))
    assert (volume.study_uid, volume.series_uid, volume.frame_uid) == (
        "1.2.3",
        "1.2.3.4",
        "1.2.3.5",
    )
