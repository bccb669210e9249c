"""Perturbed images and ROIs: noise that is known, moves and volumes that can be told exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from RTPipelineLib.errors import DataError, GeometryError
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Mask, Volume
from RTPipelineLib.radiomics.noise import noise_sigma
from RTPipelineLib.radiomics.perturbation import Chain, Perturbation, perturbed
from RTPipelineLib.structures.lattice_boxes import Box, on_box

STILL = Chain(noise=(0.0,), translation=(0.0,), contours=1, volume_percent=(0.0,))


def ball(
    radius_mm: float = 12.0, spacing: tuple[float, float, float] = (1.0, 1.0, 2.5)
) -> tuple[Volume, Mask]:
    """A bright ball in noise, and its mask; about 20 mm of room."""
    shape = tuple(int(2 * (radius_mm + 20) / s) for s in spacing[::-1])
    grid = Grid(np.array([-30.0, 5, 100]), np.eye(3), np.array(spacing), shape)
    k, j, i = np.indices(shape)
    centre = (np.array(shape) - 1) / 2
    steps = [(x - c) * s for x, c, s in zip((k, j, i), centre, spacing[::-1], strict=True)]
    inside = sum(x * x for x in steps) < radius_mm**2
    noise = np.random.default_rng(1).normal(0, 10, shape)
    array = (40.0 * inside + noise).astype(np.float32)
    return Volume(array, grid), Mask("GTV", inside, grid, number=3)


def all_of(image: Volume, roi: Mask, chain: Chain, course: str = "C1") -> dict:
    """Every perturbed array with its ROI on the whole image."""

    def whole(mask: Mask | str) -> Mask | str:
        if isinstance(mask, str):
            return mask
        there = on_box(mask, image.grid, Box((0, 0, 0), image.grid.shape))
        return replace(there, array=there.array > 0)

    return {
        point: (part.image.array, whole(mask))
        for part in perturbed(image, roi, chain, course, image.grid.shape)
        for point, mask in part.rois
    }


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


# -- noise --------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.5, 12.0, 300.0])
def test_noise_is_estimated_beneath_structure(sigma: float) -> None:
    _, j, i = np.indices((20, 80, 90))
    smooth = 50 * np.sin(i / 12) + 30 * np.cos(j / 15)
    smooth += 400 * ((i - 40) ** 2 + (j - 40) ** 2 < 400)
    image = sigma / 12 * smooth + np.random.default_rng(4).normal(0, sigma, smooth.shape)
    assert noise_sigma(image) == pytest.approx(sigma, rel=0.06)  # the circle's edge adds 5 %


def test_air_beyond_the_scanned_circle_does_not_count() -> None:
    image = np.random.default_rng(4).normal(0, 12, (10, 80, 80))
    j, i = np.indices((80, 80))
    image[:, (i - 40) ** 2 + (j - 40) ** 2 > 30**2] = -1024  # more than half of the image
    assert noise_sigma(image) == pytest.approx(12, rel=0.1)  # the circle's rim adds some


def test_no_noise_where_nothing_varies() -> None:
    assert noise_sigma(np.full((5, 30, 30), -1000.0)) == 0
    assert noise_sigma(np.arange(8.0).reshape(2, 2, 2)) == 0


def test_noise_adds_as_much_as_was_there() -> None:
    image, roi = ball()
    chain = replace(STILL, noise=(0.0, 0.5, 1.0))
    found = {point.noise: array for point, (array, _) in all_of(image, roi, chain).items()}
    np.testing.assert_array_equal(found[0.0], image.array)
    for level in (0.5, 1.0):
        added = found[level] - image.array
        assert added.std() == pytest.approx(10 * level, rel=0.05)
        assert added.mean() == pytest.approx(0, abs=0.2)
    half, whole = found[0.5] - image.array, found[1.0] - image.array
    assert abs(np.corrcoef(half.ravel(), whole.ravel())[0, 1]) < 0.02  # drawn apart


# -- moves --------------------------------------------------------------------------------------


def test_the_standard_grid_has_81_points_and_the_given_roi_is_one() -> None:
    image, roi = ball(8.0)
    points = Chain().grid()
    assert len(points) == len(set(points)) == 81
    found = all_of(image, roi, Chain())
    assert set(found) == set(points)
    array, mask = found[Perturbation()]
    np.testing.assert_array_equal(array, image.array)
    np.testing.assert_array_equal(mask.array, roi.array)
    assert len({mask.array.tobytes() for _, mask in found.values()}) == 27


def test_a_shift_by_a_whole_voxel_moves_every_value() -> None:
    image, roi = ball()
    found = all_of(image, roi, replace(STILL, translation=(1.0,)))
    ((array, mask),) = found.values()
    inner = (slice(2, -2),) * 3
    shifted = np.roll(image.array, (1, 1, 1), (0, 1, 2))
    np.testing.assert_allclose(array[inner], shifted[inner], atol=1e-3)  # of float32 values of 40
    np.testing.assert_array_equal(mask.array, np.roll(roi.array, (1, 1, 1), (0, 1, 2)))


@given(
    shift=st.floats(-1.5, 1.5),
    radius=st.floats(8.0, 14.0),
    step=st.sampled_from([0.8, 1.0, 2.0, 3.0]),
)
@settings(max_examples=15)
def test_a_shift_moves_image_and_roi_together(shift: float, radius: float, step: float) -> None:
    image, roi = ball(radius, (1.0, 1.2, step))
    smooth = replace(image, array=ndimage.gaussian_filter(roi.array.astype(float), 2))
    ((array, mask),) = all_of(smooth, roi, replace(STILL, translation=(shift,))).values()
    before = np.array(ndimage.center_of_mass(roi.array))
    moved = np.array(ndimage.center_of_mass(mask.array))
    # Balls have as few as five slices, of which each is in or out.
    np.testing.assert_allclose(moved - before, shift, atol=0.3)
    image_moved = np.array(ndimage.center_of_mass(array)) - ndimage.center_of_mass(smooth.array)
    np.testing.assert_allclose(image_moved, shift, atol=0.01)
    assert np.count_nonzero(mask.array) == np.count_nonzero(roi.array)


@pytest.mark.parametrize("degrees", [90.0, -90.0, 180.0])
def test_a_quarter_turn_is_exact(degrees: float) -> None:
    grid = Grid(np.zeros(3), np.eye(3), np.array([1.5, 1.5, 3.0]), (14, 41, 41))
    array = np.random.default_rng(3).normal(0, 5, grid.shape)
    inside = np.zeros(grid.shape, dtype=bool)
    inside[5:9, 14:27, 17:24] = True  # a bar through the centre, longer along j
    image, roi = Volume(array, grid), Mask("Bar", inside, grid)
    ((turned, mask),) = all_of(image, roi, replace(STILL, rotation_deg=(degrees,))).values()
    quarter = round(-degrees / 90)
    np.testing.assert_allclose(turned, np.rot90(array, quarter, (1, 2)), atol=1e-6)
    np.testing.assert_array_equal(mask.array, np.rot90(inside, quarter, (1, 2)))


def test_a_turn_by_a_few_degrees_keeps_distances_in_mm() -> None:
    """A point that lies 20 mm from the centre along i is 20 mm away afterwards, also where the
    voxels are no squares."""
    grid = Grid(np.zeros(3), np.eye(3), np.array([1.0, 2.0, 3.0]), (9, 41, 81))
    array, inside = np.zeros(grid.shape), np.zeros(grid.shape, dtype=bool)
    array[4, 20, 60] = 1.0
    inside[2:7, 15:26, 30:51] = True
    array = ndimage.gaussian_filter(array, (0, 1, 2))
    ((turned, _),) = all_of(
        Volume(array, grid), Mask("R", inside, grid), replace(STILL, rotation_deg=(30.0,))
    ).values()
    _, j, i = ndimage.center_of_mass(turned)
    np.testing.assert_allclose(
        [(i - 40) * 1.0, (j - 20) * 2.0], [20 * np.cos(np.pi / 6), 20 * 0.5], atol=0.05
    )


# -- volume and contour -------------------------------------------------------------------------


@given(percent=st.floats(-40, 60), radius=st.floats(6.0, 14.0))
@settings(max_examples=15)
def test_volume_changes_by_as_much_as_asked(percent: float, radius: float) -> None:
    image, roi = ball(radius)
    ((_, mask),) = all_of(image, roi, replace(STILL, volume_percent=(percent,))).values()
    count = np.count_nonzero(roi.array)
    assert abs(np.count_nonzero(mask.array) - count * (1 + percent / 100)) <= 0.5
    # A ball of the new radius, to a voxel's diagonal: nothing but a margin was added.
    changed = (1 + percent / 100) ** (1 / 3) * radius
    k, j, i = np.indices(roi.array.shape)
    centre = (np.array(roi.array.shape) - 1) / 2
    r = np.sqrt((2.5 * (k - centre[0])) ** 2 + (j - centre[1]) ** 2 + (i - centre[2]) ** 2)
    assert not mask.array[r > changed + 1.5].any()
    assert mask.array[r < changed - 1.5].all()


@pytest.mark.parametrize("method", ["supervoxels", "margin"])
def test_drawings_differ_as_much_as_those_of_two_people(method: str) -> None:
    image, roi = ball(15.0)
    chain = replace(STILL, contours=5, contour_method=method)
    masks = [mask.array for _, mask in all_of(image, roi, chain).values()]
    others = masks[1:]
    overlaps = [dice(mask, roi.array) for mask in others]
    assert all(0.85 < value < 0.995 for value in overlaps)
    assert len({mask.tobytes() for mask in masks}) == 5
    volumes = [np.count_nonzero(mask) / np.count_nonzero(roi.array) for mask in others]
    assert np.mean(volumes) == pytest.approx(1, abs=0.05)
    for mask in others:  # nothing loose
        assert ndimage.label(mask, np.ones((3, 3, 3)))[1] == 1


def test_supervoxels_follow_what_is_to_be_seen() -> None:
    """A ROI drawn too large by 2 mm is drawn back towards the edge of the ball more often than one
    in an image without an edge."""
    image, roi = ball(15.0)
    seen = image.array > 20
    wide = replace(roi, array=ndimage.binary_dilation(roi.array, iterations=2))
    blind = replace(image, array=np.random.default_rng(8).normal(0, 10, roi.array.shape))
    chain = replace(STILL, contours=6)
    gain = []
    for picture in (image, blind):
        masks = [mask.array for _, mask in all_of(picture, wide, chain).values()][1:]
        gain.append(np.mean([dice(mask, roi.array) for mask in masks]))
    assert seen[roi.array].mean() > 0.9
    assert gain[0] > gain[1] + 0.02


def test_bumps_are_as_large_as_asked() -> None:
    image, roi = ball(15.0, (1.0, 1.0, 1.0))
    chain = replace(STILL, contours=7, contour_method="margin", contour_mm=1.5)
    masks = [mask.array for _, mask in all_of(image, roi, chain).values()][1:]
    distance = ndimage.distance_transform_edt(roi.array)
    outside = ndimage.distance_transform_edt(~roi.array)
    level = np.where(roi.array, distance - 0.5, 0.5 - outside)
    rim = [level[mask ^ ndimage.binary_erosion(mask)] - 0.5 for mask in masks]
    # Voxels of 1 mm add 0.4 mm or so; the surface of one ball holds few bumps of 10 mm.
    assert np.sqrt(np.mean([np.mean(part**2) for part in rim])) == pytest.approx(1.5, rel=0.3)


# -- the same anywhere --------------------------------------------------------------------------


def test_the_same_whatever_else_is_asked_for() -> None:
    image, roi = ball(9.0)
    whole = all_of(image, roi, Chain())
    few = all_of(image, roi, Chain(noise=(1.0,), translation=(0.667,), volume_percent=(10.0,)))
    for point, (array, mask) in few.items():
        np.testing.assert_array_equal(array, whole[point][0])
        np.testing.assert_array_equal(mask.array, whole[point][1].array)
    picked = Chain().grid()[70:30:-13]
    found = [
        (point, part.image.array)
        for part in perturbed(image, roi, Chain(), "C1", image.grid.shape, picked)
        for point, _ in part.rois
    ]
    assert {point for point, _ in found} == set(picked)
    for point, array in found:
        np.testing.assert_array_equal(array, whole[point][0])


def test_courses_rois_and_seeds_have_noise_of_their_own() -> None:
    image, roi = ball(8.0)
    chain = replace(STILL, noise=(1.0,))
    base = all_of(image, roi, chain)
    (first,) = (array for array, _ in base.values())
    cases = [
        all_of(image, roi, chain, "C2"),
        all_of(image, replace(roi, number=4), chain),
        all_of(image, replace(roi, source="total"), chain),
        all_of(image, roi, replace(chain, seed=5)),
    ]
    for case in cases:
        ((array, _),) = case.values()
        assert (
            abs(np.corrcoef((array - image.array).ravel(), (first - image.array).ravel())[0, 1])
            < 0.02
        )


def test_only_the_surroundings_change_and_whole_numbers_stay_whole() -> None:
    image, roi = ball(9.0)
    image = replace(image, array=np.rint(image.array).astype(np.int16))
    for part in perturbed(image, roi, Chain(), "C1", (1, 4, 4)):
        assert part.image.array.dtype == np.int16
        changed = np.argwhere(part.image.array != image.array)
        ((point, _), *_) = part.rois
        assert bool(changed.size) == any(point.pose)
        if changed.size:
            covered = np.argwhere(roi.array)
            room = np.array([1, 4, 4]) + 8  # and what the interpolation of the margin needs
            assert (changed.min(axis=0) >= covered.min(axis=0) - room).all()
            assert (changed.max(axis=0) <= covered.max(axis=0) + room).all()


def test_the_rest_of_the_image_does_not_matter() -> None:
    """Within the room, values do not depend on how far the perturbed part reaches, noise apart."""
    image, roi = ball(9.0)
    chain = replace(STILL, translation=(0.4,), rotation_deg=(8.0,))
    (near,) = (part.image.array for part in perturbed(image, roi, chain, "C1", (2, 5, 5)))
    (far,) = (part.image.array for part in perturbed(image, roi, chain, "C1", (6, 15, 15)))
    covered = np.argwhere(roi.array)
    room = tuple(
        slice(low - more, high + more + 1)
        for low, high, more in zip(covered.min(axis=0), covered.max(axis=0), (2, 5, 5), strict=True)
    )
    np.testing.assert_allclose(near[room], far[room], atol=0.02)  # of a noise of 10


# -- what cannot be perturbed -------------------------------------------------------------------


def test_a_roi_of_one_voxel_costs_its_own_points_only() -> None:
    image, roi = ball(6.0)
    one = np.zeros_like(roi.array)
    one[tuple(n // 2 for n in one.shape)] = True
    found = all_of(image, replace(roi, array=one), Chain())
    assert len(found) == 81
    assert isinstance(found[Perturbation()][1], Mask)
    for _, mask in found.values():
        assert mask.array.any() if isinstance(mask, Mask) else mask


def test_hostile_inputs_say_what_is_wrong() -> None:
    image, roi = ball(6.0)
    chain = Chain()
    with pytest.raises(DataError, match="GTV covers no voxel"):
        next(perturbed(image, replace(roi, array=np.zeros_like(roi.array)), chain, "C"))
    hole = image.array.copy()
    hole[tuple(n // 2 for n in hole.shape)] = np.nan
    with pytest.raises(DataError, match="no numbers"):
        next(perturbed(replace(image, array=hole), roi, chain, "C"))
    shifted = image.grid.to_lps(np.array([0.5, 0, 0]))
    grid = Grid(shifted, np.eye(3), image.grid.spacing_mm, roi.array.shape)
    other = replace(roi, grid=grid)
    with pytest.raises(GeometryError, match="other voxels"):
        next(perturbed(image, other, chain, "C"))
    asked = replace(STILL, volume_percent=(-99.9, 2500.0))
    for _, mask in all_of(image, roi, asked).values():
        assert isinstance(mask, str)
        assert "of volume" in mask or "nothing is left" in mask


def test_a_constant_image_and_a_roi_at_the_edge() -> None:
    grid = Grid(np.zeros(3), np.eye(3), np.array([1.0, 1.0, 3.0]), (6, 20, 20))
    inside = np.zeros(grid.shape, dtype=bool)
    inside[:3, :8, :8] = True
    found = all_of(Volume(np.full(grid.shape, 7.0), grid), Mask("Edge", inside, grid), Chain())
    assert len(found) == 81
    for array, mask in found.values():
        np.testing.assert_allclose(array, 7.0)
        assert isinstance(mask, Mask) and mask.array.any()
