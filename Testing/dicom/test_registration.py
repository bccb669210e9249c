"""Registrations: which way each kind maps, proven on points whose images are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_objects import DEFORMABLE_REG, RT_PLAN, SPATIAL_REG, item, rt_object, save
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian
from scipy.spatial.transform import Rotation

from RTPipelineLib.dicom.registration import read_registration
from RTPipelineLib.errors import DicomError, GeometryError

REGISTERED, SOURCE = "1.2.3.5", "1.2.3.6"


def rigid_matrix(angles_deg: Sequence[float], shift_mm: Sequence[float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    matrix[:3, 3] = shift_mm
    return matrix


def matrix_item(matrix: np.ndarray, kind: str = "RIGID") -> pydicom.Dataset:
    return item(
        FrameOfReferenceTransformationMatrix=[f"{v:.12f}"[:16] for v in matrix.ravel()],
        FrameOfReferenceTransformationMatrixType=kind,
    )


def rigid(matrices: Sequence[np.ndarray], kind: str = "RIGID") -> pydicom.Dataset:
    return rt_object(
        SPATIAL_REG,
        "REG",
        RegistrationSequence=[
            item(
                FrameOfReferenceUID=SOURCE,
                MatrixRegistrationSequence=[
                    item(MatrixSequence=[matrix_item(m, kind) for m in matrices])
                ],
            )
        ],
    )


def deformable(
    vectors: np.ndarray | None,
    *,
    pre: np.ndarray | None = None,
    post: np.ndarray | None = None,
    position: Sequence[float] = (0, 0, 0),
    orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
    resolution: Sequence[float] = (2.0, 3.0, 4.0),
) -> pydicom.Dataset:
    """`vectors` `[z, y, x, 3]`."""
    deformation = item(SourceFrameOfReferenceUID=SOURCE)
    if vectors is not None:
        deformation.DeformableRegistrationGridSequence = [
            item(
                ImagePositionPatient=[str(v) for v in position],
                ImageOrientationPatient=[f"{v:.12f}" for v in orientation],
                GridDimensions=list(vectors.shape[2::-1]),
                GridResolution=list(resolution),
                VectorGridData=vectors.astype("<f4").tobytes(),
            )
        ]
    if pre is not None:
        deformation.PreDeformationMatrixRegistrationSequence = [matrix_item(pre)]
    if post is not None:
        deformation.PostDeformationMatrixRegistrationSequence = [matrix_item(post)]
    return rt_object(DEFORMABLE_REG, "REG", DeformableRegistrationSequence=[deformation])


def homogeneous(matrix: np.ndarray, point: np.ndarray) -> np.ndarray:
    return (matrix @ [*point, 1.0])[:3]


# -- rigid ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_matrix_maps_the_source_to_the_registered_frame(tmp_path, syntax):
    """C.20.2.1.1: the matrix transforms a point of the item's frame into that of the object."""
    matrix = rigid_matrix([10, -20, 30], [5, 6, 7])
    registration = read_registration(save(rigid([matrix]), tmp_path / "reg.dcm", syntax))
    (entry,) = registration.matrices
    assert registration.frame_uid == REGISTERED
    assert (entry.from_frame_uid, entry.to_frame_uid, entry.kind) == (SOURCE, REGISTERED, "RIGID")
    points = np.array([[0, 0, 0], [100, -50, 25.0]])
    expected = [homogeneous(matrix, point) for point in points]
    np.testing.assert_allclose(entry.map_points(points), expected, atol=1e-8)
    np.testing.assert_allclose(entry.map_points(points[0]), [5, 6, 7], atol=1e-12)
    back = entry.inverse()
    assert (back.from_frame_uid, back.to_frame_uid) == (REGISTERED, SOURCE)
    np.testing.assert_allclose(back.map_points(entry.map_points(points)), points, atol=1e-9)
    assert registration.flags == ()


def test_chained_matrices_are_applied_in_item_order_and_flagged(tmp_path):
    first, second = rigid_matrix([90, 0, 0], [0, 0, 0]), rigid_matrix([0, 0, 0], [0, 0, 10])
    registration = read_registration(save(rigid([first, second]), tmp_path / "reg.dcm"))
    turned_then_moved = homogeneous(second, homogeneous(first, np.array([0, 1, 0])))
    np.testing.assert_allclose(
        registration.matrices[0].map_points(np.array([0, 1, 0])), turned_then_moved, atol=1e-9
    )
    np.testing.assert_allclose(turned_then_moved, [0, 0, 11], atol=1e-9)
    assert registration.flags == ("several-matrices",)


def test_three_chained_matrices_are_m3_m2_m1(tmp_path):
    """Equation C.20.2-2 of PS3.3, on matrices of which no two commute."""
    steps = [
        rigid_matrix(a, b)
        for a, b in (((9, 0, 20), (1, 2, 3)), ((0, 40, 5), (-4, 5, 6)), ((70, 8, 0), (7, -8, 9)))
    ]
    (entry,) = read_registration(save(rigid(steps), tmp_path / "reg.dcm")).matrices
    m1, m2, m3 = steps
    np.testing.assert_allclose(entry.matrix, m3 @ m2 @ m1, atol=1e-9)
    assert not np.allclose(entry.matrix, m1 @ m2 @ m3, atol=1e-2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (np.diag([1, 1, -1, 1]), "no rotation"),  # a mirror
        (np.diag([1, 1, 1.01, 1]), "no rotation"),
        (np.diag([1, 1, 0, 1]), "cannot be applied"),
        (np.diag([1, 1, 1, 2]), "cannot be applied"),
    ],
)
def test_what_is_no_rigid_matrix_is_refused(tmp_path, change, message):
    with pytest.raises(GeometryError, match=message):
        read_registration(save(rigid([change]), tmp_path / "reg.dcm"))


def test_scaled_matrices_keep_their_kind(tmp_path):
    ds = rigid([np.diag([1, 1, 1.01, 1])], "RIGID_SCALE")
    assert read_registration(save(ds, tmp_path / "reg.dcm")).matrices[0].kind == "RIGID_SCALE"


def test_incomplete_matrices_are_refused(tmp_path):
    ds = rigid([np.eye(4)])
    inner = ds.RegistrationSequence[0].MatrixRegistrationSequence[0].MatrixSequence[0]
    inner.FrameOfReferenceTransformationMatrix = [1] * 12
    with pytest.raises(GeometryError, match="12 valid values"):
        read_registration(save(ds, tmp_path / "reg.dcm"))
    with pytest.raises(GeometryError, match="no matrix"):
        read_registration(save(rigid([]), tmp_path / "reg.dcm"))


# -- deformable -----------------------------------------------------------------------------------


def some_vectors() -> np.ndarray:
    """`[z, y, x, 3]`, 5 x 6 x 7 nodes, smooth and different in every component."""
    z, y, x = np.meshgrid(np.arange(5), np.arange(6), np.arange(7), indexing="ij")
    return np.stack([np.sin(x) + y, 0.3 * x * z, np.cos(y) - z], axis=-1).astype(np.float32)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_deformation_maps_the_registered_frame_to_the_source(tmp_path, syntax):
    """C.20.3.1.1 at nodes: post (pre X + offset), X on the grid in the registered frame."""
    vectors = some_vectors()
    pre, post = rigid_matrix([3, 4, 5], [1, 2, 3]), rigid_matrix([-6, 0, 2], [9, 8, 7])
    cosines = Rotation.from_euler("xyz", [20, -10, 35], degrees=True).as_matrix()
    origin, resolution = np.array([-10.0, 20.0, 30.0]), np.array([2.0, 3.0, 4.0])
    ds = deformable(
        vectors, pre=pre, post=post, position=origin, orientation=cosines[:, :2].T.ravel(),
        resolution=resolution,
    )  # fmt: skip
    if syntax == ExplicitVRBigEndian:
        grid = ds.DeformableRegistrationSequence[0].DeformableRegistrationGridSequence[0]
        grid.VectorGridData = vectors.astype(">f4").tobytes()
    (entry,) = read_registration(save(ds, tmp_path / "reg.dcm", syntax)).deformations
    assert (entry.from_frame_uid, entry.to_frame_uid) == (REGISTERED, SOURCE)
    for i, j, k in ((0, 0, 0), (6, 5, 4), (3, 2, 1), (1, 4, 2)):
        node = origin + cosines @ (resolution * [i, j, k])
        expected = homogeneous(post, homogeneous(pre, node) + vectors[k, j, i])
        np.testing.assert_allclose(entry.map_points(node), expected, atol=1e-5)  # float32 offsets


def test_between_nodes_as_simpleitk_interpolates(tmp_path):
    vectors = some_vectors()
    (entry,) = read_registration(save(deformable(vectors), tmp_path / "reg.dcm")).deformations
    field = SimpleITK.GetImageFromArray(vectors.astype(np.float64), isVector=True)
    field.SetSpacing((2.0, 3.0, 4.0))
    transform = SimpleITK.DisplacementFieldTransform(field)
    points = np.random.default_rng(3).uniform([0, 0, 0], [12, 15, 16], (200, 3))
    expected = [transform.TransformPoint(point) for point in points]
    np.testing.assert_allclose(entry.map_points(points), expected, atol=1e-5)


def test_outside_its_grid_a_deformation_is_unknown(tmp_path):
    (entry,) = read_registration(save(deformable(some_vectors()), tmp_path / "r.dcm")).deformations
    points = np.array([[6, 6, 6], [-1.1, 6, 6], [6, 6, 18.1], [12, 15, 17.9]])
    mapped = entry.map_points(points)
    np.testing.assert_array_equal(np.isnan(mapped).any(axis=1), [False, True, True, False])
    np.testing.assert_array_equal(entry.covers(points), [True, False, False, True])


def test_matrices_without_grid(tmp_path):
    pre = rigid_matrix([0, 0, 90], [1, 0, 0])
    (entry,) = read_registration(save(deformable(None, pre=pre), tmp_path / "r.dcm")).deformations
    assert entry.grid is None
    np.testing.assert_allclose(entry.map_points(np.array([1, 0, 0])), [1, 1, 0], atol=1e-9)
    assert entry.covers(np.zeros((4, 3))).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"GridDimensions": [7, 6, 9]}, "bytes"),
        ({"GridDimensions": [7, 6]}, "lacks sizes"),
        ({"GridDimensions": [7, 6, 0]}, "lacks sizes"),
        ({"GridResolution": [2.0, 3.0, -4.0]}, "positive|ascend"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "right angles"),
        ({"VectorGridData": np.full(630, np.nan, "<f4").tobytes()}, "NaN"),
    ],
)
def test_deformation_grids_that_contradict_themselves(tmp_path, values, message):
    ds = deformable(some_vectors())
    grid = ds.DeformableRegistrationSequence[0].DeformableRegistrationGridSequence[0]
    for keyword, value in values.items():
        setattr(grid, keyword, value)
    with pytest.raises((GeometryError, DicomError), match=message):
        read_registration(save(ds, tmp_path / "reg.dcm"))


def test_other_objects_and_empty_ones_are_refused(tmp_path):
    path: Path = save(rt_object(RT_PLAN, "RTPLAN"), tmp_path / "rp.dcm")
    with pytest.raises(DicomError, match=r"rp.dcm: is no spatial registration"):
        read_registration(path)
    with pytest.raises(DicomError, match="holds no registration"):
        read_registration(save(rt_object(SPATIAL_REG, "REG"), tmp_path / "reg.dcm"))
