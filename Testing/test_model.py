"""The dataclasses: what they refuse, and the little that they derive."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import (
    Contours,
    Dose,
    ImagePlanes,
    Mask,
    Prescription,
    PrescriptionLevel,
    Volume,
    is_target,
)

GRID = Grid(np.array([1.0, 2.0, 3.0]), np.eye(3), np.array([1.0, 1.0, 2.5]), (4, 3, 2))
TRIANGLE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0.0]])
SQUARE = np.array([[0, 0, 2], [1, 0, 2], [1, 1, 2], [0, 1, 2.0]])


@pytest.mark.parametrize(
    "make",
    [
        lambda array: Volume(array, GRID),
        lambda array: Dose(array, GRID),
        lambda array: Mask("x", array, GRID),
        lambda array: Dose(np.zeros(GRID.shape), GRID, coverage=array),
    ],
)
def test_arrays_have_the_shape_of_their_grid(make) -> None:
    make(np.zeros(GRID.shape))
    with pytest.raises(ValueError, match="shape"):
        make(np.zeros(GRID.shape[::-1]))


def test_contours_hold_their_loops_in_order() -> None:
    roi = Contours.from_loops("PTV", [TRIANGLE, SQUARE], number=7, interpreted_type="PTV")
    assert len(roi) == 2
    assert roi.kinds == ("CLOSED_PLANAR", "CLOSED_PLANAR")
    assert roi.number == 7
    np.testing.assert_array_equal(roi.starts, [0, 3, 7])
    for loop, expected in zip(roi.loops(), [TRIANGLE, SQUARE], strict=True):
        np.testing.assert_array_equal(loop, expected)
        assert np.shares_memory(loop, roi.points_mm)


def test_an_empty_roi_is_a_roi() -> None:
    roi = Contours.from_loops("empty", [])
    assert len(roi) == 0
    assert list(roi.loops()) == []
    assert roi.points_mm.shape == (0, 3)


@pytest.mark.parametrize(
    ("points", "starts", "kinds"),
    [
        (np.zeros((3, 2)), [0, 3], ("CLOSED_PLANAR",)),
        (np.zeros((3, 3)), [0, 2], ("CLOSED_PLANAR",)),
        (np.zeros((3, 3)), [1, 3], ("CLOSED_PLANAR",)),
        (np.zeros((3, 3)), [0, 3], ()),
        (np.zeros((3, 3)), [0, 1, 3], ("CLOSED_PLANAR",)),
    ],
)
def test_loops_that_do_not_fit_the_points_are_refused(points, starts, kinds) -> None:
    with pytest.raises(ValueError, match=r"shape|starts"):
        Contours("x", points, np.array(starts), kinds)


def test_planes_of_a_grid_lie_along_its_normal() -> None:
    turned = np.column_stack([[0, 1, 0], [0, 0, 1], [1, 0, 0]]).astype(float)  # slices along x
    grid = Grid(np.array([5.0, 6.0, 7.0]), turned, np.array([1, 1, 2.5]), (4, 3, 2))
    planes = ImagePlanes.from_grid(grid)
    np.testing.assert_allclose(planes.positions_mm, [5, 7.5, 10, 12.5])
    assert planes.spacing_mm == 2.5
    centres = grid.to_lps([[0, 0, k] for k in range(4)])
    np.testing.assert_allclose(centres @ planes.normal, planes.positions_mm)


def test_planes_of_uneven_slices() -> None:
    offsets = np.array([0.0, 2.0, 4.0, 9.0])
    grid = Grid(np.array([0, 0, -10.0]), np.eye(3), np.array([1, 1, 2.0]), (4, 1, 1), offsets)
    planes = ImagePlanes.from_grid(grid)
    np.testing.assert_allclose(planes.positions_mm, [-10, -8, -6, -1])
    assert planes.spacing_mm == 2.0
    single = grid.crop(slice(0, 1), slice(None), slice(None))
    assert ImagePlanes.from_grid(single).spacing_mm == 0.0


def test_on_image_leaves_the_original() -> None:
    roi = Contours.from_loops("PTV", [TRIANGLE])
    placed = roi.on_image(GRID)
    assert roi.image_planes is None
    np.testing.assert_allclose(placed.image_planes.positions_mm, [3, 5.5, 8, 10.5])
    assert placed.points_mm is roi.points_mm


def test_nothing_can_be_reassigned() -> None:
    roi = Contours.from_loops("PTV", [TRIANGLE])
    with pytest.raises(dataclasses.FrozenInstanceError):
        roi.name = "CTV"


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("whatever", "PTV", True),
        ("whatever", "gtv", True),
        ("PTV_60", "", True),
        ("ctv n", "", True),
        ("_GTVp", "", True),
        ("ITV", "", True),
        ("PTV_60", "ORGAN", False),
        ("PTV ring", "AVOIDANCE", False),
        ("zPTV_opt", "", False),
        ("Bladder-PTV", "", False),
        ("Bladder", "", False),
        ("Bladder", "ORGAN", False),
    ],
)
def test_targets(name: str, kind: str, expected: bool) -> None:
    assert is_target(name, kind) is expected
    roi = Contours.from_loops(name, [TRIANGLE], interpreted_type=kind)
    assert roi.is_target is expected
    mask = Mask(name, np.zeros(GRID.shape), GRID, interpreted_type=kind)
    assert mask.is_target is expected


def test_the_highest_level_stands_for_the_course() -> None:
    low = PrescriptionLevel("PTV54", 54.0, "user")
    high = PrescriptionLevel("PTV66", 66.0, "user", fractions=33)
    assert Prescription((low, high)).course is high
    assert Prescription().course is None
