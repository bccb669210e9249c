"""Loops to planes: which belong together, which gaps are holes, what is left out."""

import numpy as np
import pytest

from RTPipelineLib.model import Contours, ImagePlanes
from RTPipelineLib.structures.planes import closed_loops, plane_stack

SQUARE = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], dtype=float)


def at(z: float, square: np.ndarray = SQUARE) -> np.ndarray:
    return np.hstack([square, np.full((len(square), 1), z)])


def stack(positions, images=None, axes=None):
    contours = Contours.from_loops("R", [at(z) for z in positions])
    planes = None if images is None else ImagePlanes(np.array([0.0, 0, 1]), np.asarray(images))
    return plane_stack(closed_loops(contours), np.eye(3) if axes is None else axes, planes)


@pytest.mark.parametrize(
    ("positions", "planes"),
    [
        ([0, 3, 6], 3),
        ([0, 0.05, 3, 6], 3),  # 0.1 mm is within 5 % of 3 mm, at most 0.1 mm
        ([0, 0.12, 3, 6, 9], 5),
        ([0, 0.2, 0.4, 0.6], 4),  # thin slices: 5 % of 0.2 mm is 0.01
        ([0, 0.005, 0.2, 0.4, 0.6], 4),
        ([6, 0, 3], 3),
    ],
)
def test_loops_of_one_plane(positions, planes):
    found = stack(positions)
    assert len(found.w_mm) == planes
    assert np.all(np.diff(found.w_mm) > 0)


@pytest.mark.parametrize(
    ("positions", "stray"),
    [
        ([0, 3, 3.3, 6, 9], True),
        ([0, 3, 6, 6.3], True),
        ([0, 0.3, 3, 3.3, 6, 6.3], True),
        ([0, 3, 6, 9], False),
        ([0, 3, 4, 5, 6, 9], False),  # a finer part of the scan
        ([0, 3, 4.6, 6, 9], False),  # a contour on an interpolated slice
        ([0, 0.3], False),
    ],
)
def test_a_contour_beside_its_plane_is_flagged(positions, stray):
    assert ("contour-off-plane" in stack(positions).flags) == stray


def test_regular_coarser_part_is_no_hole():
    images = np.arange(0, 40, 2.0)
    assert not stack([0, 2, 4, 8, 12, 16], images).hole_after.any()


def test_gap_with_empty_images_is_a_hole():
    found = stack([0, 2, 4, 14, 16, 18], np.arange(0, 40, 2.0))
    assert found.hole_after.tolist() == [False, False, True, False, False]
    assert "contour-gap-hole" in found.flags


def test_gap_without_images_is_filled_and_flagged():
    found = stack([0, 2, 4, 14, 16, 18])
    assert not found.hole_after.any()
    assert "contour-gap-filled" in found.flags


def test_gap_where_the_image_has_none_either_is_filled():
    images = np.array([0, 2, 4, 14, 16, 18.0])
    assert not stack([0, 2, 4, 14, 16, 18], images).hole_after.any()


def test_lone_plane():
    assert stack([4], np.arange(0, 9, 1.5)).lone_mm == pytest.approx(1.5)
    assert "single-plane-no-thickness" in stack([4]).flags


def test_oblique_normal_is_found():
    normal = np.array([0.2, -0.3, 1.0])
    normal /= np.linalg.norm(normal)
    u = np.cross(normal, [0, 1.0, 0])
    u /= np.linalg.norm(u)
    axes = np.stack([u, np.cross(normal, u), normal])
    turned = [at(z)[:: 1 if z else -1] @ axes for z in (0, 3, 6)]  # one runs the other way
    loops = closed_loops(Contours.from_loops("R", turned))
    assert abs(loops.normal @ normal) == pytest.approx(1, abs=1e-12)
    assert plane_stack(loops, axes).w_mm == pytest.approx([0, 3, 6])


def test_what_carries_no_volume_is_left_out_and_said():
    bad = at(3.0)
    bad[1, 0] = np.nan
    loops = [at(0), bad, at(6)[:2], at(9)[[0, 1, 0, 1]], at(12), np.empty((0, 3))]
    contours = Contours.from_loops("R", loops)
    found = closed_loops(contours)
    assert len(found.starts) - 1 == 2
    assert set(found.flags) == {
        "contour-not-finite",
        "contour-too-few-points",
        "contour-without-area",
    }
    assert closed_loops(Contours.from_loops("R", [at(0)], kind="OPEN_PLANAR")).flags == (
        "open-or-point-contour",
    )
    assert len(closed_loops(Contours.from_loops("R", []))) == 0
