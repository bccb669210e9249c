"""RTDOSE and RTSTRUCT as other readers see them: pydicom and GDCM (through SimpleITK)."""

from datetime import datetime

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import RTIonPlanStorage, RTPlanStorage

from RTPipelineLib.dicom.contour_bytes import ds_text
from RTPipelineLib.dicom.new_object import Reference, uid_from, write_dataset
from RTPipelineLib.dicom.write import (
    ImageReference,
    dose_dataset,
    structure_set_dataset,
    write_dose,
    write_structure_set,
)
from RTPipelineLib.errors import DataError, DoseRefused, GeometryError, OutputError
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Contours, Dose, ImagePlanes

ROWS_AND_COLUMNS = {
    "HFS": (1, 0, 0, 0, 1, 0),
    "HFP": (-1, 0, 0, 0, -1, 0),
    "FFS": (-1, 0, 0, 0, 1, 0),
    "FFDL": (0, 1, 0, 1, 0, 0),
    "tilted": (1, 0, 0, 0, 0.8, 0.6),
}


@pytest.fixture
def study():
    ds = Dataset()
    ds.PatientName, ds.PatientID = "Grün^Änne=山田", "P 1"
    ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = "19600203", "F", "063Y"
    ds.StudyInstanceUID, ds.StudyDate, ds.StudyID = "1.2.3", "20240102", "7"
    ds.FrameOfReferenceUID = "1.2.3.4"
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.add_new(0x00091001, "LO", "private")
    return ds


def ramp(orientation=(1, 0, 0, 0, 1, 0), offsets=(0.0, 2.5, 5.0, 7.5), **fields) -> Dose:
    grid = Grid.from_dicom((-10.5, 20.25, 300), orientation, (3, 2), 5, 6, offsets)
    array = np.random.default_rng(1).uniform(0, 60, grid.shape).astype(np.float32)
    return Dose(array, grid, **fields)


def square(z=0.0, name="PTV", **fields) -> Contours:
    loop = np.array([[0, 0, z], [10, 0, z], [10, 10, z], [0, 10 / 3, z]])
    return Contours.from_loops(name, [loop, loop + np.array([0, 0, 2.5])], **fields)


# -- dose ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("position", ROWS_AND_COLUMNS)
def test_gdcm_finds_every_voxel_where_it_was(tmp_path, study, bits, position):
    sitk = pytest.importorskip("SimpleITK")
    dose = ramp(ROWS_AND_COLUMNS[position])
    path = tmp_path / "RD.dcm"
    ds = write_dose(path, dose, patient_from=study, bits=bits)
    image = sitk.ReadImage(str(path))
    values = sitk.GetArrayFromImage(image).astype(np.float64)
    if values.max() > 1000:  # older ITK leaves DoseGridScaling to its caller
        values *= float(ds.DoseGridScaling)
    np.testing.assert_allclose(image.GetSpacing(), (2, 3, 2.5), atol=1e-6)
    for index in ((0, 0, 0), (5, 4, 3), (2, 1, 3)):
        expected = dose.grid.to_lps(np.array(index, dtype=float))
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(index), expected, atol=1e-4)
    # Half a stored step, plus single precision of the reader.
    error = np.abs(values - dose.array_gy).max()
    assert error <= 0.5 * float(ds.DoseGridScaling) + 1e-5


@pytest.mark.parametrize("bits", [16, 32])
def test_the_maximum_takes_the_whole_range(tmp_path, study, bits):
    path = tmp_path / "RD.dcm"
    write_dose(path, ramp(), patient_from=study, bits=bits)
    ds = pydicom.dcmread(path)
    assert ds.BitsAllocated == ds.BitsStored == bits
    assert ds.pixel_array.max() == 2**bits - 1
    assert len(str(ds.DoseGridScaling)) <= 16
    step = float(ds.DoseGridScaling)
    assert np.abs(ds.pixel_array * step - ramp().array_gy).max() <= 0.5 * step * (1 + 1e-6)


def test_dose_says_what_it_is(tmp_path, study):
    dose = ramp(dose_type="EFFECTIVE", summation_type="MULTI_PLAN", structure_set_uid="1.9")
    plans = [Reference(RTIonPlanStorage, "1.7"), Reference(RTPlanStorage, "1.8")]
    write_dose(
        tmp_path / "RD.dcm",
        dose,
        patient_from=study,
        plans=plans,
        comment="sum of two\\plans" + "x" * 99,
        derivation="1.7 + 1.8",
        created=datetime(2024, 5, 6, 7, 8, 9),
    )
    ds = pydicom.dcmread(tmp_path / "RD.dcm")
    assert (ds.DoseUnits, ds.DoseType, ds.DoseSummationType) == ("GY", "EFFECTIVE", "MULTI_PLAN")
    assert [tuple(str(e.value) for e in item) for item in ds.ReferencedRTPlanSequence] == plans
    assert ds.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID == "1.9"
    assert ds.FrameIncrementPointer == pydicom.tag.Tag("GridFrameOffsetVector")
    assert ds.GridFrameOffsetVector == [0, 2.5, 5, 7.5]
    assert ds.FrameOfReferenceUID == "1.2.3.4"
    assert ds.Manufacturer == "RT Pipeline"
    assert ds.DoseComment.startswith("sum of two/plans")
    assert len(ds.DoseComment) == 64
    assert (ds.InstanceCreationDate, ds.InstanceCreationTime) == ("20240506", "070809")
    assert ds.PatientName == study.PatientName
    for keyword in ("PatientID", "PatientBirthDate", "PatientAge", "StudyInstanceUID", "StudyID"):
        assert ds[keyword].value == study[keyword].value
    assert 0x00091001 not in ds


def test_malformed_values_of_the_study_are_left_out(tmp_path, study):
    study.PatientWeight = "60.50"
    study.save_as(tmp_path / "study.dcm", implicit_vr=True, little_endian=True)
    content = (tmp_path / "study.dcm").read_bytes()
    (tmp_path / "study.dcm").write_bytes(content.replace(b"60.50", b"sixty"))
    broken = pydicom.dcmread(tmp_path / "study.dcm", force=True)
    ds = write_dose(tmp_path / "RD.dcm", ramp(), patient_from=broken)
    assert "PatientWeight" not in ds
    assert pydicom.dcmread(tmp_path / "RD.dcm").PatientName == study.PatientName
    assert float(dose_dataset(ramp(), patient_from=study).PatientWeight) == 60.5
    study.StudyInstanceUID = ""
    with pytest.raises(DataError, match="Study Instance UID"):
        dose_dataset(ramp(), patient_from=study)


def test_uneven_frames_keep_their_positions(tmp_path, study):
    write_dose(tmp_path / "RD.dcm", ramp(offsets=(0, 2, 5, 9)), patient_from=study)
    ds = pydicom.dcmread(tmp_path / "RD.dcm")
    assert ds.GridFrameOffsetVector == [0, 2, 5, 9]
    assert ds.SliceThickness is None


def test_a_left_handed_grid_is_turned_round(tmp_path, study):
    right = ramp()
    flipped = Grid(
        right.grid.to_lps(np.array([0.0, 0, 3])),
        right.grid.direction * [1, 1, -1],
        right.grid.spacing_mm,
        right.grid.shape,
    )
    left = Dose(right.array_gy[::-1], flipped)
    first = dose_dataset(right, patient_from=study)
    second = dose_dataset(left, patient_from=study)
    assert first.PixelData == second.PixelData
    assert first.ImagePositionPatient == second.ImagePositionPatient
    assert first.GridFrameOffsetVector == second.GridFrameOffsetVector
    assert first.SOPInstanceUID == second.SOPInstanceUID


def test_what_cannot_be_stored_is_refused(study):
    negative, unknown = ramp(), ramp()
    negative.array_gy[0, 0, 0] = -0.1
    unknown.array_gy[0, 0, 0] = np.nan
    with pytest.raises(DoseRefused, match="negative"):
        dose_dataset(negative, patient_from=study)
    with pytest.raises(DoseRefused, match="finite"):
        dose_dataset(unknown, patient_from=study)
    with pytest.raises(ValueError, match="16 or 32"):
        dose_dataset(ramp(), patient_from=study, bits=8)
    del study.FrameOfReferenceUID
    with pytest.raises(GeometryError, match="frame of reference"):
        dose_dataset(ramp(), patient_from=study)


def test_a_dose_of_nothing_is_a_dose(tmp_path, study):
    dose = ramp()
    write_dose(tmp_path / "RD.dcm", Dose(dose.array_gy * 0, dose.grid), patient_from=study)
    ds = pydicom.dcmread(tmp_path / "RD.dcm")
    assert ds.pixel_array.max() == 0
    assert float(ds.DoseGridScaling) > 0


# -- structures ------------------------------------------------------------------------------------


def image_reference(**fields) -> ImageReference:
    planes = ImagePlanes(np.array([0.0, 0, 1]), np.array([0.0, 2.5, 5.0]))
    return ImageReference("1.2.3", "1.5", "1.2.3.4", ("1.5.1", "1.5.2", "1.5.3"), planes=planes)


def test_structure_set_says_what_was_drawn_on_what(tmp_path, study):
    rois = [
        square(number=4, colour_rgb=(255, 0, 10), interpreted_type="PTV"),
        square(1.0, "Rectum", number=2, interpreted_type="ORGAN", generation_algorithm="AUTOMATIC"),
        Contours.from_loops("Empty", [], number=9),
    ]
    write_structure_set(
        tmp_path / "RS.dcm", rois, patient_from=study, image=image_reference(), label="A" * 20
    )
    ds = pydicom.dcmread(tmp_path / "RS.dcm")
    assert ds.file_meta.TransferSyntaxUID.is_implicit_VR
    assert ds.StructureSetLabel == "A" * 16
    assert ds.StructureSetName == "A" * 20
    frame = ds.ReferencedFrameOfReferenceSequence[0]
    series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert frame.FrameOfReferenceUID == "1.2.3.4"
    assert frame.RTReferencedStudySequence[0].ReferencedSOPInstanceUID == "1.2.3"
    assert series.SeriesInstanceUID == "1.5"
    assert [i.ReferencedSOPInstanceUID for i in series.ContourImageSequence] == [
        "1.5.1",
        "1.5.2",
        "1.5.3",
    ]
    assert [i.ROINumber for i in ds.StructureSetROISequence] == [4, 2, 9]
    assert [i.ReferencedROINumber for i in ds.ROIContourSequence] == [4, 2, 9]
    assert [i.RTROIInterpretedType for i in ds.RTROIObservationsSequence] == ["PTV", "ORGAN", ""]
    assert ds.StructureSetROISequence[1].ROIGenerationAlgorithm == "AUTOMATIC"
    assert ds.ROIContourSequence[0].ROIDisplayColor == [255, 0, 10]
    assert "ContourSequence" not in ds.ROIContourSequence[2]
    first, second = ds.ROIContourSequence[0].ContourSequence
    assert first.ContourImageSequence[0].ReferencedSOPInstanceUID == "1.5.1"
    assert second.ContourImageSequence[0].ReferencedSOPInstanceUID == "1.5.2"
    assert (first.ContourGeometricType, first.NumberOfContourPoints) == ("CLOSED_PLANAR", 4)
    # A contour between the slices belongs to none of them.
    assert "ContourImageSequence" not in ds.ROIContourSequence[1].ContourSequence[0]
    points = np.array(second.ContourData, dtype=float).reshape(-1, 3)
    np.testing.assert_allclose(points, list(rois[0].loops())[1], atol=1e-12)


def test_an_image_is_referenced_by_its_slices_in_any_order(study):
    slices = []
    for n, z in ((1, 30.0), (2, 10.0), (3, 20.0)):
        ds = Dataset()
        ds.SOPInstanceUID, ds.SOPClassUID = f"1.5.{n}", "1.2.840.10008.5.1.4.1.1.4"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.5"
        ds.FrameOfReferenceUID = "1.2.3.4"
        ds.ImagePositionPatient = [0, 0, z]
        ds.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]  # feet first: slices ascend along -z
        slices.append(ds)
    image = ImageReference.of(slices)
    assert image.instance_uids == ("1.5.1", "1.5.3", "1.5.2")
    ds = structure_set_dataset([square(20.0)], patient_from=study, image=image)
    contour = ds.ROIContourSequence[0].ContourSequence[0]
    assert contour.ContourImageSequence[0].ReferencedSOPInstanceUID == "1.5.3"
    assert contour.ContourImageSequence[0].ReferencedSOPClassUID == slices[0].SOPClassUID


def test_the_dataset_in_memory_reads_like_the_file(study):
    ds = structure_set_dataset([square()], patient_from=study, image=image_reference())
    contour = ds.ROIContourSequence[0].ContourSequence[1]
    assert contour.ContourData[2] == 2.5
    assert ds.StructureSetROISequence[0].ROINumber == 1  # 0 is no number: counted from 1


def test_names_that_dicom_cannot_hold(study):
    rois = [square(name="x" * 70), square(name="a\\b\nc")]
    ds = structure_set_dataset(rois, patient_from=study, image=image_reference())
    assert ds.StructureSetROISequence[0].ROIName == "x" * 64
    assert ds.StructureSetROISequence[0].ROIDescription == "x" * 70
    assert ds.StructureSetROISequence[1].ROIName == "a/b/c"


def test_frames_must_agree(study):
    with pytest.raises(GeometryError, match="PTV lies in frame"):
        structure_set_dataset(
            [square(frame_uid="1.9")], patient_from=study, image=image_reference()
        )
    with pytest.raises(GeometryError, match="no frame of reference"):
        structure_set_dataset([square()], patient_from=study, image=None)
    ds = structure_set_dataset([square(frame_uid="1.9")], patient_from=study, image=None)
    assert ds.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID == "1.9"


def test_broken_coordinates_name_their_roi(study):
    with pytest.raises(DataError, match="PTV has coordinates"):
        structure_set_dataset([square(np.inf)], patient_from=study, image=image_reference())


@settings(deadline=None)
@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=30))
def test_decimal_strings_are_short_and_near(values):
    texts = ds_text(np.array(values))
    assert max(map(len, texts)) <= 16
    for text, value in zip(texts, values, strict=True):
        # 13 decimals below 10, one fewer for each further digit: half a unit of the last place.
        assert abs(float(text) - value) <= max(1e-13, abs(value) * 1e-13)
    assert pydicom.valuerep.DSfloat(texts[0], validation_mode=pydicom.config.RAISE) == float(
        texts[0]
    )


@pytest.mark.parametrize(
    ("size", "places"), [(1, 4), (1000, 4), (5, 2), (1e5, 1), (1e-3, 4), (1e7, 4), (1e4, 7)]
)
def test_coordinates_encoded_at_once_are_the_same_strings(study, size, places):
    """Few places behind the point take another way through the encoder than many."""
    rng = np.random.default_rng(3)
    loops = [np.round(rng.uniform(-size, size, (n, 3)), places) for n in (3, 7, 50)]
    loops[0][0] = [0.0, -0.0, 1.0]
    roi = Contours.from_loops("PTV", loops, number=1, frame_uid="1.9")
    ds = structure_set_dataset([roi], patient_from=study, image=None)
    for item, loop in zip(ds.ROIContourSequence[0].ContourSequence, loops, strict=True):
        assert [v.original_string for v in item.ContourData] == ds_text(loop.ravel())


# -- files -----------------------------------------------------------------------------------------


def test_the_same_input_makes_the_same_bytes(tmp_path, study):
    for name in ("a", "b"):
        write_dose(tmp_path / f"{name}.rd", ramp(), patient_from=study)
        write_structure_set(
            tmp_path / f"{name}.rs", [square()], patient_from=study, image=image_reference()
        )
    assert (tmp_path / "a.rd").read_bytes() == (tmp_path / "b.rd").read_bytes()
    assert (tmp_path / "a.rs").read_bytes() == (tmp_path / "b.rs").read_bytes()
    other = Dose(ramp().array_gy * 2, ramp().grid)
    assert (
        dose_dataset(other, patient_from=study).SOPInstanceUID
        != dose_dataset(ramp(), patient_from=study).SOPInstanceUID
    )


def test_uids_are_valid_and_differ():
    uids = {uid_from("a", "b"), uid_from("ab"), uid_from("a", 1), uid_from("a")}
    assert len(uids) == 4
    assert all(pydicom.uid.UID(uid).is_valid for uid in uids)
    assert uid_from("a", 1) == uid_from("a", 1)


def test_a_failed_write_leaves_what_was_there(tmp_path, study):
    path = tmp_path / "RD.dcm"
    path.write_bytes(b"old")
    ds = dose_dataset(ramp(), patient_from=study)
    ds.PixelData = None  # pydicom meets it after it has written the elements before it
    ds["PixelData"].VR = "XX"
    with pytest.raises(Exception, match="XX"):
        write_dataset(path, ds)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["RD.dcm"]


def test_a_place_that_cannot_be_written_is_said(tmp_path, study):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"a file is where a folder should be; choose"):
        write_dose(tmp_path / "file" / "RD.dcm", ramp(), patient_from=study)
