"""One small patient in every position, read back by SimpleITK and pydicom alone."""

from dataclasses import replace
from datetime import datetime

import numpy as np
import pydicom
import pytest

from RTPipelineLib.phantoms.anatomy import (
    HEART_HU,
    LIVER_HU,
    LUNG_HU,
    RED,
    head_and_neck,
    pelvis,
    target,
    thorax,
)
from RTPipelineLib.phantoms.ct import ORIENTATIONS
from RTPipelineLib.phantoms.patient import CourseSpec, PatientSpec, PlanSpec, make_patient
from RTPipelineLib.phantoms.scale import busy_patient, tiny_patients
from RTPipelineLib.phantoms.solids import Pile, polygon_area

sitk = pytest.importorskip("SimpleITK")

# Anything but symmetrical: the liver lies on the right and below, the heart left and in front.
SHIFT = np.array([13.0, -207.0, 411.0])
LANDMARKS = {
    (-62, -8, -105): LIVER_HU,
    (24, -34, -30): HEART_HU,
    (-85, 10, 30): LUNG_HU,
    (88, 10, 45): LUNG_HU,
}
PTV = Pile((-70, 20, 30), (25, 25, 30))


def small(position: str, **plan_fields) -> PatientSpec:
    plan = PlanSpec(
        "Small", 5, (("PTV", 30.0),), datetime(2024, 1, 3), (60, 50, 40), (6.0, 6.0, 6.0)
    )
    course = CourseSpec(
        "Small",
        (thorax().adding(target("PTV", PTV, RED)),),
        datetime(2024, 1, 2),
        "Heart",
        position=position,
        plans=(replace(plan, **plan_fields),),
        image_size=(84, 86, 30),
        image_voxel_mm=(5.0, 4.0, 8.0),
        shift_mm=tuple(SHIFT),
    )
    return PatientSpec("SMALL", (course,))


def around(image, point) -> np.ndarray:
    """The 3 x 3 x 3 voxels around a point in patient space, in no particular order."""
    index = np.array(image.TransformPhysicalPointToIndex([float(v) for v in point]))
    array = sitk.GetArrayViewFromImage(image)
    return array[tuple(slice(n - 1, n + 2) for n in index[::-1])]


@pytest.mark.parametrize("position", ORIENTATIONS)
def test_organs_lie_where_they_should_in_every_position(tmp_path, position):
    expected = make_patient(tmp_path, small(position))
    course = expected.courses[0]
    files = list((tmp_path / "SMALL").glob("CT.*"))
    reader = sitk.ImageSeriesReader()
    headers = {f: pydicom.dcmread(f, stop_before_pixels=True) for f in files}
    normal = np.cross(*np.reshape(ORIENTATIONS[position], (2, 3)))
    files.sort(key=lambda f: np.array(headers[f].ImagePositionPatient, dtype=float) @ normal)
    reader.SetFileNames([str(f) for f in files])
    image = reader.Execute()
    assert len(files) == course.series[0].n_slices == 30

    for point, hu in LANDMARKS.items():
        found = around(image, SHIFT + point)
        # 27 voxels with noise of 9 HU: 5 HU is three standard errors of their mean.
        assert found.mean() == pytest.approx(hu, abs=5 + abs(hu) * 0.01)
    landmark = course.series[0]
    assert around(image, landmark.landmark_mm).mean() == pytest.approx(landmark.landmark_hu, abs=6)

    # The table lies where the image columns run to, beyond the patient.
    header = headers[files[0]]
    assert header.PatientPosition == position
    array = sitk.GetArrayViewFromImage(image)
    rows = array.max(axis=(0, 2))
    assert rows[-16:].max() > -600
    assert rows[:3].max() < -900

    dose = pydicom.dcmread(tmp_path / course.plans[0].doses[0].path)
    assert list(dose.ImageOrientationPatient) == list(header.ImageOrientationPatient)
    dose_image = sitk.ReadImage(str(tmp_path / course.plans[0].doses[0].path))
    gy = around(dose_image, SHIFT + PTV.centre_mm).mean()
    gy *= float(dose.DoseGridScaling) if gy > 1e3 else 1.0
    assert gy == pytest.approx(30.3, rel=0.03)


@pytest.mark.parametrize("bits", [16, 32])
def test_the_dose_at_a_known_point_is_the_planned_one(tmp_path, bits):
    expected = make_patient(tmp_path, small("FFS", bits=bits)).courses[0].plans[0].doses[0]
    ds = pydicom.dcmread(tmp_path / expected.path)
    row, column = np.array(ds.ImageOrientationPatient, dtype=float).reshape(2, 3)
    offset = np.array(expected.point_mm) - np.array(ds.ImagePositionPatient, dtype=float)
    i, j = offset @ row / ds.PixelSpacing[1], offset @ column / ds.PixelSpacing[0]
    k = np.searchsorted(ds.GridFrameOffsetVector, offset @ np.cross(row, column) - 1e-6)
    index = np.rint([k, j, i]).astype(int)
    np.testing.assert_allclose([k, j, i], index, atol=1e-6)
    gy = ds.pixel_array[tuple(index)] * float(ds.DoseGridScaling)
    assert ds.BitsAllocated == expected.bits == bits
    assert gy == pytest.approx(expected.point_gy, abs=0.51 * expected.scaling_gy)
    assert gy == pytest.approx(expected.max_gy, abs=0.51 * expected.scaling_gy)


def test_contours_enclose_the_volume_and_name_their_slices(tmp_path):
    expected = make_patient(tmp_path, small("HFP")).courses[0]
    ds = pydicom.dcmread(tmp_path / expected.structure_set_path)
    assert [roi.ROIName for roi in ds.StructureSetROISequence] == [r.name for r in expected.rois]
    positions = {}
    for path in (tmp_path / "SMALL").glob("CT.*"):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        positions[header.SOPInstanceUID] = header.ImagePositionPatient[2]
    for item, roi in zip(ds.ROIContourSequence, expected.rois, strict=True):
        assert item.ReferencedROINumber == roi.number
        assert len(item.ContourSequence) == roi.n_contours
        area = 0.0
        for contour in item.ContourSequence:
            points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
            area += polygon_area(points[:, :2])
            image = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
            assert positions[image] == pytest.approx(points[0, 2], abs=1e-3)
        # Slices of 8 mm: small organs in z (the PTV's 8 slices, the liver's cut dome) lose most.
        assert area * 8.0 / 1000 == pytest.approx(roi.volume_cc, rel=0.04), roi.name


def test_the_target_gets_its_dose_and_the_air_gets_none(tmp_path):
    expected = make_patient(tmp_path, small("HFS", dose_voxel_mm=(4.0, 4.0, 4.0)))
    ds = pydicom.dcmread(tmp_path / expected.courses[0].plans[0].doses[0].path)
    gy = ds.pixel_array * float(ds.DoseGridScaling)
    k, j, i = np.indices(gy.shape)
    x, y, z = (
        np.array(ds.ImagePositionPatient, dtype=float) + 4.0 * np.stack([i, j, k], axis=-1) - SHIFT
    ).transpose(3, 0, 1, 2)
    ptv = gy[PTV.inside(x, y, z)]
    assert np.percentile(ptv, 5) >= 0.95 * 30
    assert ptv.max() <= 1.1 * 30
    assert np.median(ptv) == pytest.approx(30.3, rel=1e-3)
    body = thorax().body.solid
    wide = thorax().body.solid.inside(x * 0.93, y * 0.93, z)  # and what lies near the skin
    assert gy[~wide].max() < 0.6
    far = body.inside(x, y, z) & ((x > 20) | (z < -60))
    assert 0.1 < gy[far].mean() < 10


def test_the_same_seed_makes_the_same_bytes_and_another_one_does_not(tmp_path):
    content = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_patient(tmp_path / name, small("HFS"), seed=seed)
        files = sorted((tmp_path / name).rglob("*.dcm"))
        content.append({f.relative_to(tmp_path / name): f.read_bytes() for f in files})
    assert len(content[0]) == 33
    assert content[0] == content[1]
    assert not set(content[0]) & set(content[2])  # other UIDs, hence other names


@pytest.mark.parametrize("anatomy", [pelvis, head_and_neck, thorax])
def test_contoured_organs_lie_inside_the_body(anatomy):
    body = anatomy().body.solid
    for organ in anatomy().drawn[1:]:
        for z in np.linspace(-85, 85, 35):
            for loop in organ.solid.outlines(float(z), 48):
                assert body.inside(*loop.T, np.full(48, z)).all(), (organ.name, z)


def test_specifications_scale(tmp_path):
    spec = busy_patient(
        n_rois=5, n_contours=12, vertices=33, dose_size=(20, 18, 16), image_size=(32, 32)
    )
    course = make_patient(tmp_path, spec).courses[0]
    ds = pydicom.dcmread(tmp_path / course.structure_set_path)
    assert [len(item.ContourSequence) for item in ds.ROIContourSequence] == [12] * 5
    assert {c.NumberOfContourPoints for c in ds.ROIContourSequence[3].ContourSequence} == {33}
    dose = pydicom.dcmread(tmp_path / course.plans[0].doses[0].path)
    assert (dose.Columns, dose.Rows, dose.NumberOfFrames) == (20, 18, 16)
    patients = list(tiny_patients(tmp_path / "tiny", 3))
    assert len({p.patient_id for p in patients}) == 3
    assert len(list((tmp_path / "tiny").rglob("*.dcm"))) == 3 * 7
