"""Structure sets: contours exactly as stored, and one bad contour costs one contour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_objects import item, save, structure_set
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from RTPipelineLib.dicom.decimals import parse_decimals
from RTPipelineLib.dicom.structures import read_structure_set
from RTPipelineLib.errors import DicomError
from RTPipelineLib.model import Contours

SQUARE = np.array([[0, 0, 5], [10, 0, 5], [10, 10.5, 5], [-0.25, 10, 5]])


def contour(points: np.ndarray = SQUARE, kind: str = "CLOSED_PLANAR", **values: object) -> dict:
    """A Contour Sequence item."""
    return {
        "ContourGeometricType": kind,
        "NumberOfContourPoints": len(points),
        "ContourData": [f"{v:g}" for v in points.ravel()],
    } | values


def text(data: bytes, points: int = 4) -> dict:
    """A Contour Sequence item whose stored Contour Data are these bytes, right or wrong."""
    return {
        "ContourGeometricType": "CLOSED_PLANAR",
        "NumberOfContourPoints": points,
        "ContourData": data,
    }


def write(contours: list[dict], path: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    """A structure set with these contours.

    pydicom writes no malformed decimal string: those go out as long text and are renamed.
    """
    ds = structure_set([{**c, "ContourData": None} for c in contours])
    made = ds.ROIContourSequence[0].ContourSequence
    for sequence_item, wanted in zip(made, contours, strict=True):
        data = wanted["ContourData"]
        if isinstance(data, bytes):
            sequence_item.add_new(0x30060050, "LT", data.decode("latin-1"))
        else:
            sequence_item.ContourData = data
    save(ds, path, syntax)
    path.write_bytes(path.read_bytes().replace(b"\x06\x30\x50\x00LT", b"\x06\x30\x50\x00DS"))
    return path


def read_one(
    contours: list[dict], tmp_path: Path, syntax: str = ExplicitVRLittleEndian
) -> Contours:
    """The only ROI of a structure set with these contours."""
    (roi,) = read_structure_set(write(contours, tmp_path / "rs.dcm", syntax)).rois
    return roi


# -- numbers --------------------------------------------------------------------------------------


@given(st.lists(st.from_regex(r"-?[0-9]{0,9}\.?[0-9]{0,9}", fullmatch=True), min_size=1))
def test_decimals_are_what_float_makes_of_them(parts):
    raw = "\\".join(parts).encode()
    try:
        expected = [float(part) for part in parts]
    except ValueError:
        with pytest.raises(ValueError):
            parse_decimals(raw)
        return
    assert parse_decimals(raw).tobytes() == np.array(expected).tobytes()


@given(st.lists(st.floats(allow_nan=False).map(repr), min_size=1, max_size=30))
def test_every_float_comes_back_bit_by_bit(parts):
    expected = np.array([float(part) for part in parts])
    assert parse_decimals("\\".join(parts).encode()).tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    "value",
    ["-0", "-0.0", "+1.5", " 7 ", "1e3", "1E-3", ".5", "5.", "00012", "123456789012345",
     "1234567890123456", "9007199254740993", "0.1234567890123456", "-99999.99999999999"],
)  # fmt: skip
def test_unusual_but_valid_decimals(value):
    assert parse_decimals(f"1\\{value}".encode()).tobytes() == np.array([1, float(value)]).tobytes()


@pytest.mark.parametrize("value", ["", "-", ".", "-.", "1.2.3", "1-2", "--1", "1,5", "#", "\0"])
def test_what_is_no_decimal_raises(value):
    with pytest.raises(ValueError):
        float(value)
    with pytest.raises(ValueError):
        parse_decimals(f"1\\{value}".encode())


# -- contours -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ],
)
def test_contours_of_every_transfer_syntax(tmp_path, syntax):
    other = np.array([[1, 2, 3.0], [4, 5, 6], [7, 8, 9]])
    path = save(structure_set([contour(), contour(other, "OPEN_PLANAR")]), tmp_path / "s", syntax)
    structures = read_structure_set(path)
    (roi,) = structures.rois
    assert structures.label == "CT_1"
    assert structures.patient_id == "P1"
    assert structures.study_uid == "1.2.3"
    assert structures.flags == ()
    assert (roi.name, roi.number, roi.interpreted_type) == ("Organ", 1, "ORGAN")
    assert roi.colour_rgb == (255, 0, 10)
    assert roi.frame_uid == "1.2.3.5"
    assert roi.structure_set_uid == structures.sop_uid
    assert roi.kinds == ("CLOSED_PLANAR", "OPEN_PLANAR")
    first, second = roi.loops()
    np.testing.assert_array_equal(first, SQUARE)
    np.testing.assert_array_equal(second, other)
    assert roi.flags == ()


def test_points_and_open_contours_keep_their_kinds(tmp_path):
    kinds = ["POINT", "OPEN_NONPLANAR", "CLOSEDPLANAR_XOR"]
    roi = read_one([contour(SQUARE[:1], "POINT"), *(contour(kind=k) for k in kinds[1:])], tmp_path)
    assert roi.kinds == tuple(kinds)
    assert [len(loop) for loop in roi.loops()] == [1, 4, 4]


@pytest.mark.parametrize(
    ("data", "flag"),
    [
        (b"0\\0\\5\\10\\0\\5\\10\\10", "contour-broken:1"),  # not whole points
        (b"0\\0\\5\\10\\O\\5\\10\\10\\5", "contour-broken:1"),  # a letter
        (b"0\\0\\5\\10\\\\5\\10\\10\\5", "contour-broken:1"),  # one coordinate is empty
        (b"0\\0\\5\\10\\nan\\5\\10\\10\\5", "contour-nonfinite:1"),
        (b"0\\0\\5\\10\\inf\\5\\10\\10\\5", "contour-nonfinite:1"),
        (b"0\\0\\5\\10\\1e999\\5\\10\\10\\5", "contour-nonfinite:1"),
        (b"", "contour-empty:1"),
        (b"   ", "contour-empty:1"),
        (b"\\\\\\", "contour-empty:1"),
        (b"\xff\xfe\\1\\2", "contour-broken:1"),
    ],
)
def test_a_bad_contour_is_left_out_and_named(tmp_path, data, flag):
    roi = read_one([contour(), text(data), contour(SQUARE + 1)], tmp_path)
    first, second = roi.loops()
    np.testing.assert_array_equal(first, SQUARE)
    np.testing.assert_array_equal(second, SQUARE + 1)
    assert roi.flags == (flag,)


@pytest.mark.parametrize(
    ("data", "flags"),
    [
        (b"0\\0\\5\\10\\0\\5\\10\\10\\5", ()),
        (b" 0\\0 \\ 5\\1e1\\0\\5\\10\\+10\\5.0E0 ", ()),
        (b"0\\0\\5\\10\\0\\5\\10\\10\\5\0", ()),
        (b"0\\0\\5\\10\\0\\5\\10\\10\\5\\", ("contour-separator:0",)),
        (b"\\0\\0\\5\\10\\0\\5\\10\\10\\5", ("contour-separator:0",)),
        (b"0\\0\\5\\\\10\\0\\5\\\\10\\10\\5", ("contour-separator:0",)),
    ],
)
def test_odd_but_readable_text(tmp_path, data, flags):
    roi = read_one([text(data, points=3)], tmp_path)
    np.testing.assert_array_equal(roi.points_mm, [[0, 0, 5], [10, 0, 5], [10, 10, 5]])
    assert roi.flags == flags


def test_wrong_number_of_points_is_flagged_and_kept(tmp_path):
    roi = read_one([contour(), contour(NumberOfContourPoints=3)], tmp_path)
    assert len(roi) == 2
    assert roi.flags == ("contour-count:1",)


def test_missing_number_of_points_is_no_fault(tmp_path):
    wanted = contour()
    del wanted["NumberOfContourPoints"]
    assert read_one([wanted], tmp_path).flags == ()


def test_missing_type_is_assumed_closed_and_flagged(tmp_path):
    roi = read_one([contour(), contour(kind="")], tmp_path)
    assert roi.kinds == ("CLOSED_PLANAR", "CLOSED_PLANAR")
    assert roi.flags == ("contour-type-assumed:1",)


def large_circle(points: int = 9000) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.round(np.stack([100 * np.cos(angle), 100 * np.sin(angle), 0 * angle], axis=1), 4)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_contours_beyond_64_kb(tmp_path, syntax):
    """In explicit VR pydicom writes such a value as UN, as PS3.5 6.2.2 says."""
    circle = large_circle()
    roi = read_one([contour(), contour(circle)], tmp_path, syntax)
    np.testing.assert_array_equal(list(roi.loops())[1], circle)
    assert roi.flags == ()


def test_a_contour_whose_length_overflowed_is_left_out(tmp_path):
    """Writers that store the length of a long DS modulo 65536 lose its end: here byte by byte."""
    circle = large_circle()
    path = write([contour(), contour(circle), contour(SQUARE + 1)], tmp_path / "rs.dcm")
    data = path.read_bytes()
    at = data.index(b"\x06\x30\x50\x00UN\0\0")
    length = int.from_bytes(data[at + 8 : at + 12], "little")
    assert length > 65536
    short = data[:at] + b"\x06\x30\x50\x00DS" + (length % 65536).to_bytes(2, "little")
    path.write_bytes(short + b"    " + data[at + 12 :])  # 4 bytes of padding keep the item's length
    structures = read_structure_set(path)
    assert structures.flags == ("contours-unreadable",)  # what follows may be lost, and it says so
    (roi,) = structures.rois
    assert all(len(loop) == 4 for loop in roi.loops())
    assert roi.flags == ("contours-unreadable", "contour-broken:1")


# -- ROIs -----------------------------------------------------------------------------------------


def rois(numbers: list[int | None]) -> list:
    return [
        item(ROIName=f"R{k}", **({} if n is None else {"ROINumber": n}))
        for k, n in enumerate(numbers)
    ]


def drawn(numbers: list[int]) -> list:
    """ROI Contour Sequence items whose one contour lies at z = its place in the sequence."""
    loops = [np.column_stack([SQUARE[:, :2], np.full(4, k)]) for k in range(len(numbers))]
    return [
        item(ReferencedROINumber=n, ContourSequence=[item(**contour(loop))])
        for n, loop in zip(numbers, loops, strict=True)
    ]


def read_rois(tmp_path, declared: list, contours: list, **values: object):
    ds = structure_set([], StructureSetROISequence=declared, ROIContourSequence=contours, **values)
    structures = read_structure_set(save(ds, tmp_path / "rs.dcm"))
    planes = [(r.name, [float(loop[0, 2]) for loop in r.loops()], r.flags) for r in structures.rois]
    return structures, planes


def test_rois_stand_in_the_order_of_the_structure_set(tmp_path):
    _, planes = read_rois(tmp_path, rois([7, 3, 5]), drawn([3, 7]))
    assert planes == [("R0", [1.0], ()), ("R1", [0.0], ()), ("R2", [], ())]


def test_contours_of_an_undeclared_roi_are_kept_without_name(tmp_path):
    _, planes = read_rois(tmp_path, rois([1]), drawn([1, 9]))
    assert planes == [("R0", [0.0], ()), ("", [1.0], ("roi-undeclared",))]


def test_duplicate_roi_numbers_share_the_contours_in_order(tmp_path):
    structures, planes = read_rois(tmp_path, rois([1, 1, 2]), drawn([1, 1, 2, 1]))
    assert planes == [
        ("R0", [0.0], ("duplicate-roi-number",)),
        ("R1", [1.0, 3.0], ("duplicate-roi-number", "contours-split")),
        ("R2", [2.0], ()),
    ]
    assert "duplicate-roi-number" in structures.flags


def test_split_contours_are_joined_and_flagged(tmp_path):
    _, planes = read_rois(tmp_path, rois([1]), drawn([1, 1]))
    assert planes == [("R0", [0.0, 1.0], ("contours-split",))]


def test_roi_without_number(tmp_path):
    _, planes = read_rois(tmp_path, rois([None, 2]), drawn([2]))
    assert planes == [("R0", [], ("roi-number-missing",)), ("R1", [0.0], ())]


def test_frame_of_an_roi_falls_back_to_that_of_the_set(tmp_path):
    frame = item(
        FrameOfReferenceUID="1.9",
        RTReferencedStudySequence=[
            item(
                ReferencedSOPInstanceUID="1.3",
                RTReferencedSeriesSequence=[item(SeriesInstanceUID=f"1.{n}") for n in (4, 5)],
            )
        ],
    )
    other = item(FrameOfReferenceUID="1.10")
    declared = [*rois([1]), item(ROINumber=2, ROIName="own", ReferencedFrameOfReferenceUID="1.8")]
    one, _ = read_rois(tmp_path, declared, [], ReferencedFrameOfReferenceSequence=[frame])
    assert [r.frame_uid for r in one.rois] == ["1.9", "1.8"]
    assert one.frame_uid == "1.9"
    assert one.series_uids == ("1.4", "1.5")
    two, _ = read_rois(tmp_path, declared, [], ReferencedFrameOfReferenceSequence=[frame, other])
    assert [r.frame_uid for r in two.rois] == ["", "1.8"]
    assert two.rois[0].flags == ("roi-frame-missing",)
    assert "several-frames" in two.flags


def test_wrong_modality_is_still_a_structure_set(tmp_path):
    path = save(structure_set([contour()], Modality="RTDOSE"), tmp_path / "rs.dcm")
    assert len(read_structure_set(path).rois[0]) == 1
    path = save(structure_set([contour()], SOPClassUID="1.2.3", Modality="OT"), tmp_path / "rs.dcm")
    assert len(read_structure_set(path).rois[0]) == 1


def test_other_objects_are_refused(shared_data):
    path = shared_data / "breast_clinical/rtdose.dcm"
    with pytest.raises(DicomError, match=r"rtdose.dcm: is no RT Structure Set"):
        read_structure_set(path)


def test_truncated_structure_set_is_refused(shared_data, tmp_path):
    data = (shared_data / "breast_clinical/rtss.dcm").read_bytes()
    for share in (0.3, 0.6, 0.9):
        path = tmp_path / "cut.dcm"
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(DicomError, match="copy it again"):
            read_structure_set(path)


def test_real_structure_sets_as_pydicom_reads_them(shared_data):
    paths = [*shared_data.glob("*/RS*.dcm"), shared_data / "breast_clinical/rtss.dcm"]
    assert len(paths) >= 4
    for path in paths:
        ds = pydicom.dcmread(path)
        expected = {
            int(roi.ReferencedROINumber): [
                np.array(c.ContourData, dtype=np.float64).reshape(-1, 3)
                for c in roi.get("ContourSequence", [])
            ]
            for roi in ds.ROIContourSequence
        }
        structures = read_structure_set(path)
        names = [str(roi.ROIName) for roi in ds.StructureSetROISequence]
        assert [roi.name for roi in structures.rois] == names
        for roi in structures.rois:
            loops = expected.get(roi.number, [])
            assert len(roi) == len(loops)
            assert all(np.array_equal(a, b) for a, b in zip(roi.loops(), loops, strict=True))
            assert roi.flags == ()
