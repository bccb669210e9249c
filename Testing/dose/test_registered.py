"""Doses brought into another frame of reference: a hot spot lands where its landmark lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import SimpleITK
from scipy.spatial.transform import Rotation

from RTPipelineLib.dicom.registration import (
    DeformableRegistration,
    MatrixRegistration,
)
from RTPipelineLib.dose.accumulate import LazyDose, sum_doses
from RTPipelineLib.dose.registered import (
    Chain,
    contradictions,
    into_frame,
    joined_frames,
    route,
    warped,
)
from RTPipelineLib.errors import GeometryError
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Dose

PLANNING, BOOST, THIRD = "1.1", "1.2", "1.3"
SPOT = np.array([11.0, -7.0, 16.0])  # off every axis and every plane of symmetry


def turned(shift_mm: tuple[float, float, float] = (8.0, -5.0, 3.0)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", (10, -15, 25), degrees=True).as_matrix()
    matrix[:3, 3] = shift_mm
    return matrix


def blob(frame: str, centre: np.ndarray = SPOT, spacing: float = 2.0) -> Dose:
    """A Gaussian of 10 Gy (sigma 6 mm) around `centre`."""
    grid = Grid(np.full(3, -40.0), np.eye(3), np.full(3, spacing), (int(80 / spacing) + 1,) * 3)
    index = np.stack(np.meshgrid(*map(np.arange, grid.size_ijk), indexing="ij"), -1).T
    points = grid.to_lps(np.moveaxis(index, 0, -1))
    array = 10 * np.exp(-((points - centre) ** 2).sum(-1) / (2 * 6.0**2))
    return Dose(array.astype(np.float32), grid, frame, sop_uids=(frame,))


def lazy(dose: Dose) -> LazyDose:
    return LazyDose(dose.grid, lambda: dose)


def centroid(dose: Dose) -> np.ndarray:
    k, j, i = np.nonzero(dose.array_gy > 0.05 * dose.array_gy.max())
    weights = dose.array_gy[k, j, i].astype(float)
    return weights @ dose.grid.to_lps(np.stack([i, j, k], -1)) / weights.sum()


def field_of(shift: np.ndarray, *, fold: float = 0.0) -> tuple[Grid, np.ndarray]:
    """A deformation grid whose offsets are `shift`, plus a bend along z that `fold` scales."""
    grid = Grid(np.full(3, -60.0), np.eye(3), np.array([3.0, 4.0, 5.0]), (25, 31, 41))
    offsets = np.broadcast_to(shift, (*grid.shape, 3)).astype(np.float32).copy()
    offsets[..., 0] += (fold * np.sin(np.arange(25) / 4.0))[:, None, None]
    return grid, offsets


def test_a_rigid_registration_moves_the_spot_to_its_landmark() -> None:
    """MatrixRegistration maps source to registered points; so does the dose."""
    matrix = turned()
    landmark = matrix[:3, :3] @ SPOT + matrix[:3, 3]
    registration = MatrixRegistration(BOOST, PLANNING, matrix)
    placed, grid, _ = into_frame([lazy(blob(BOOST))], [BOOST], PLANNING, [registration])
    found = sum_doses(placed, grid=grid)
    assert found.frame_uid == PLANNING
    assert "registered" in found.flags
    assert centroid(found) == pytest.approx(landmark, abs=0.05)
    # Moving the grid does not touch a single value.
    assert np.array_equal(found.array_gy, blob(BOOST).array_gy)


def test_the_same_registration_serves_the_other_direction() -> None:
    matrix = turned()
    registration = MatrixRegistration(BOOST, PLANNING, matrix)
    placed, grid, _ = into_frame([lazy(blob(PLANNING))], [PLANNING], BOOST, [registration])
    back = np.linalg.inv(matrix)
    landmark = back[:3, :3] @ SPOT + back[:3, 3]
    assert centroid(sum_doses(placed, grid=grid)) == pytest.approx(landmark, abs=0.05)


def test_a_sum_over_frames_equals_simpleitk_where_both_reach() -> None:
    matrix = turned()
    own, other = blob(PLANNING, np.zeros(3)), blob(BOOST)
    registration = MatrixRegistration(BOOST, PLANNING, matrix)
    placed, grid, _ = into_frame(
        [lazy(own), lazy(other)], [PLANNING, BOOST], PLANNING, [registration]
    )
    found = sum_doses(placed, grid=grid)
    target = SimpleITK.Image(*[int(n) for n in grid.size_ijk], SimpleITK.sitkFloat32)
    target.SetOrigin(grid.origin_mm.tolist())
    target.SetSpacing(grid.spacing_mm.tolist())
    target.SetDirection(grid.direction.ravel().tolist())
    expected = np.zeros(grid.shape)
    back = np.linalg.inv(matrix)  # ITK maps points of the result to points of the input
    for dose, transform in ((own, np.eye(4)), (other, back)):
        image = SimpleITK.GetImageFromArray(dose.array_gy)
        image.SetOrigin(dose.grid.origin_mm.tolist())
        image.SetSpacing(dose.grid.spacing_mm.tolist())
        affine = SimpleITK.AffineTransform(3)
        affine.SetMatrix(transform[:3, :3].ravel().tolist())
        affine.SetTranslation(transform[:3, 3].tolist())
        moved = SimpleITK.Resample(image, target, affine, SimpleITK.sitkLinear, 0.0)
        expected += SimpleITK.GetArrayFromImage(moved)
    assert found.coverage is not None
    both = found.coverage == 1
    assert both.mean() > 0.1
    assert found.array_gy[both] == pytest.approx(expected[both], abs=1e-3)


def test_a_deformation_is_asked_where_each_voxel_comes_from() -> None:
    """Offsets lead from registered points to source points: the spot moves against them."""
    shift = np.array([6.0, -4.0, 9.0])
    grid, offsets = field_of(shift)
    registration = DeformableRegistration(PLANNING, BOOST, np.eye(4), np.eye(4), grid, offsets)
    placed, where, _ = into_frame([lazy(blob(BOOST))], [BOOST], PLANNING, [registration])
    found = sum_doses(placed, grid=where)
    assert centroid(found) == pytest.approx(SPOT - shift, abs=0.1)
    assert "registered-deformably" in found.flags
    back, where, _ = into_frame([lazy(blob(PLANNING))], [PLANNING], BOOST, [registration])
    assert centroid(sum_doses(back, grid=where)) == pytest.approx(SPOT + shift, abs=0.1)


def test_pre_and_post_matrices_surround_the_offsets() -> None:
    pre, post = turned((2.0, 3.0, -4.0)), turned((-6.0, 1.0, 5.0))
    shift = np.array([4.0, -3.0, 5.0])
    grid, offsets = field_of(shift)
    registration = DeformableRegistration(PLANNING, BOOST, pre, post, grid, offsets)
    # By hand: the registered point x with post (pre x + shift) = SPOT.
    inner = np.linalg.inv(post) @ [*SPOT, 1]
    landmark = (np.linalg.inv(pre) @ [*(inner[:3] - shift), 1])[:3]
    placed, where, _ = into_frame([lazy(blob(BOOST))], [BOOST], PLANNING, [registration])
    assert centroid(sum_doses(placed, grid=where)) == pytest.approx(landmark, abs=0.1)


def test_a_bent_deformation_has_an_inverse() -> None:
    grid, offsets = field_of(np.array([3.0, 0.0, -2.0]), fold=4.0)
    forward = DeformableRegistration(PLANNING, BOOST, turned(), turned(), grid, offsets)
    points = np.random.default_rng(1).uniform(-25, 25, (200, 3))
    there = forward.map_points(points)
    assert forward.inverse().map_points(there) == pytest.approx(points, abs=0.02)


def test_where_a_deformation_folds_its_inverse_is_right_or_unknown() -> None:
    grid, offsets = field_of(np.zeros(3))
    offsets[..., 2] = np.where(np.arange(25)[:, None, None] % 2, 20.0, -20.0)
    forward = DeformableRegistration(PLANNING, BOOST, np.eye(4), np.eye(4), grid, offsets)
    points = np.random.default_rng(2).uniform(-25, 25, (300, 3))
    found = forward.inverse().map_points(points)
    known = np.isfinite(found).all(axis=-1)
    assert (~known).sum() > 0
    assert forward.map_points(found[known]) == pytest.approx(points[known], abs=0.011)


def test_outside_the_deformation_dose_is_not_known() -> None:
    small = Grid(np.full(3, -10.0), np.eye(3), np.full(3, 5.0), (5, 5, 5))
    offsets = np.zeros((5, 5, 5, 3), np.float32)
    registration = DeformableRegistration(PLANNING, BOOST, np.eye(4), np.eye(4), small, offsets)
    dose = blob(BOOST, np.zeros(3))
    found = warped(dose, dose.grid, Chain((registration,)), PLANNING)
    assert found.coverage is not None
    inside = small.contains(dose.grid.to_lps(np.argwhere(np.ones(dose.grid.shape))[:, ::-1]))
    assert np.array_equal(found.coverage.ravel() == 1, inside)
    assert not found.array_gy.ravel()[~inside].any()
    total = sum_doses([found, blob(PLANNING, np.zeros(3))])
    assert total.coverage is not None
    assert sorted(np.unique(total.coverage)) == [0.5, 1.0]


def test_a_scaling_matrix_is_sampled_not_moved() -> None:
    scale = np.diag([1.1, 0.9, 1.0, 1.0])
    registration = MatrixRegistration(BOOST, PLANNING, scale, "RIGID_SCALE")
    placed, grid, _ = into_frame([lazy(blob(BOOST))], [BOOST], PLANNING, [registration])
    assert centroid(sum_doses(placed, grid=grid)) == pytest.approx(SPOT * [1.1, 0.9, 1], abs=0.1)


# -- which registrations lead from frame to frame -------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Chain:
    """Three frames in a row, joined by two registrations."""

    first: MatrixRegistration
    second: MatrixRegistration


@pytest.fixture
def row() -> _Chain:
    return _Chain(
        MatrixRegistration(THIRD, BOOST, turned((1, 2, 3))),
        MatrixRegistration(PLANNING, BOOST, turned((4, 5, 6))),
    )


def test_chains_through_a_common_frame(row: _Chain) -> None:
    """The standard's own example: invert one matrix and multiply by the other (C.20.2-3)."""
    found = route([row.first, row.second], THIRD, PLANNING)
    expected = np.linalg.inv(row.second.matrix) @ row.first.matrix
    assert found.matrix == pytest.approx(expected)
    assert found.is_rigid
    assert found.inverse().matrix == pytest.approx(np.linalg.inv(expected))
    assert joined_frames([row.first, row.second]) == (frozenset({PLANNING, BOOST, THIRD}),)


def test_frames_without_registration(row: _Chain) -> None:
    with pytest.raises(GeometryError, match="no registration joins"):
        route([row.first], THIRD, PLANNING)


def test_registrations_that_contradict_each_other_are_a_persons_decision(row: _Chain) -> None:
    other = MatrixRegistration(BOOST, THIRD, turned((1, 2, 3)))
    assert contradictions([row.first, other]) == (frozenset({THIRD, BOOST}),)
    with pytest.raises(GeometryError, match="in different ways"):
        route([row.first, row.second, other], THIRD, PLANNING)
    same = row.first.inverse()
    assert contradictions([row.first, same]) == ()
    assert route([row.first, same], THIRD, BOOST).matrix == pytest.approx(row.first.matrix)
