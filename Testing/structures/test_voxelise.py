"""Contours and masks on grids: exact shares, pixel centres, and volumes that never change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from RTPipelineLib.dvh.engine import DvhOptions, compute_dvh
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Contours, Dose, ImagePlanes, Mask
from RTPipelineLib.structures.mask_resampling import cropped, resample_mask
from RTPipelineLib.structures.volume import volume_cc as contour_volume_cc
from RTPipelineLib.structures.voxelise import voxelise

CT = Grid([-40.0, -30.0, -20.0], np.eye(3), [1.1, 0.9, 2.5], (17, 70, 75))


def rotation(angles: list[float]) -> np.ndarray:
    """A turn about x, then y, then z (rad)."""
    out = np.eye(3)
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        a, b = (n for n in range(3) if n != axis)
        turn[[a, a, b, b], [a, b, a, b]] = (
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        )
        out = turn @ out
    return out


def star(centre: np.ndarray, w: float, mean: float, seed: int, points: int = 40) -> np.ndarray:
    """A loop around `centre` whose radius wanders, simple by construction."""
    random = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    radius = mean * (1 + 0.3 * np.sin(2 * angle + random.uniform(0, 6)))
    radius += mean * 0.05 * random.standard_normal(points)
    x, y = centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)
    return np.stack([x, y, np.full(points, w)], axis=1)


def stars(positions: np.ndarray, mean: float = 12.0, seed: int = 0) -> Contours:
    """A stack of stars, each with a hole."""
    centre = np.array([1.3, 0.7])
    loops = [star(centre, w, mean, seed + n) for n, w in enumerate(positions)]
    loops += [star(centre, w, mean / 3, seed + n + 99) for n, w in enumerate(positions)]
    return Contours.from_loops("STAR", loops)


def box(low: list[float], high: list[float], positions: np.ndarray) -> Contours:
    (x0, y0), (x1, y1) = low, high
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    return Contours.from_loops(
        "BOX", [np.array([(x, y, w) for x, y in corners]) for w in positions]
    )


def volume_cc(mask: Mask) -> float:
    return float(mask.array.sum(dtype=np.float64)) * mask.grid.voxel_volume_mm3 / 1000


def dose_like(grid: Grid) -> Dose:
    return Dose(np.ones(grid.shape, dtype=np.float32), grid)


def brute_centres(contours: Contours, grid: Grid) -> np.ndarray:
    """Even-odd by angles of all loops within a quarter of a slice, one pixel row at a time."""
    out = np.zeros(grid.shape, dtype=bool)
    ni, nj, nk = grid.size_ijk
    for k in range(nk):
        w = grid.origin_mm[2] + k * grid.spacing_mm[2]
        for loop in contours.loops():
            if abs(loop[0, 2] - w) > 0.25 * grid.spacing_mm[2]:
                continue
            for j in range(nj):
                points = grid.to_lps(
                    np.stack([np.arange(ni), np.full(ni, j), np.full(ni, k)], axis=1)
                )[:, :2]
                spokes = loop[None, :, :2] - points[:, None, :]
                angle = np.arctan2(spokes[..., 1], spokes[..., 0])
                step = np.diff(angle, axis=1, append=angle[:, :1])
                winding = np.rint(((step + np.pi) % (2 * np.pi) - np.pi).sum(axis=1) / 2 / np.pi)
                out[k, j] ^= winding != 0
    return out


# -- shares ---------------------------------------------------------------------------------------


def test_a_box_covers_what_it_covers() -> None:
    low, high = [-5.3, -4.7], [6.1, 3.3]
    mask = voxelise(box(low, high, CT.k_positions_mm[4:9] - 20), CT, whole=True)
    expected = 1.0
    for axis, shape in ((0, (1, 1, -1)), (1, (1, -1, 1))):
        borders = (
            CT.origin_mm[axis] + (np.arange(CT.size_ijk[axis] + 1) - 0.5) * CT.spacing_mm[axis]
        )
        inside = np.clip(
            np.minimum(borders[1:], high[axis]) - np.maximum(borders[:-1], low[axis]), 0, None
        )
        expected = expected * (inside / CT.spacing_mm[axis]).reshape(shape)
    slices = np.zeros(17)
    slices[4:9] = 1
    np.testing.assert_allclose(mask.array, expected * slices[:, None, None], atol=1e-6)
    assert mask.flags == ()


@pytest.mark.parametrize("caps", ["half-slice", "none", "adaptive"])
@pytest.mark.parametrize("between", ["interpolate", "slab"])
def test_mask_and_dvh_have_the_same_volume(caps: str, between: str) -> None:
    contours = stars(np.arange(-12.0, 13.0, 3.0))
    grid = Grid([-40.0, -40.0, -30.0], np.eye(3), [1.7, 1.3, 0.7], (90, 70, 60))
    options = DvhOptions(end_caps=caps, between_planes=between)
    wanted = compute_dvh(contours, dose_like(grid), options).volume_cc
    mask = voxelise(contours, grid, end_caps=caps, between_planes=between)
    assert volume_cc(mask) == pytest.approx(wanted, rel=2e-6)
    assert mask.array.min() >= 0 and mask.array.max() <= 1 + 1e-6
    assert compute_dvh(mask, dose_like(grid)).volume_cc == pytest.approx(wanted, rel=2e-6)


@settings(max_examples=25, deadline=None)
@given(
    gaps=st.lists(st.floats(0.5, 5.0), min_size=1, max_size=8),
    spacing=st.tuples(*(st.floats(0.4, 4.0),) * 3),
    mean=st.floats(2.0, 15.0),
    seed=st.integers(0, 1000),
)
def test_any_stack_on_any_grid_keeps_its_volume(
    gaps: list[float], spacing: tuple[float, float, float], mean: float, seed: int
) -> None:
    positions = np.cumsum([-sum(gaps) / 2, *gaps])
    size = tuple(int(np.ceil(60 / s)) for s in reversed(spacing))
    grid = Grid([-30.0, -30.0, -30.0], np.eye(3), spacing, size)
    contours = stars(positions, mean, seed)
    wanted = compute_dvh(contours, dose_like(grid)).volume_cc
    mask = voxelise(contours, grid)
    assert mask.array.max() <= 1 + 1e-5
    # Where neighbouring areas differ so much that their curve is not believed, thin layers cut it
    # a little differently from thick ones: 1e-3.
    assert volume_cc(mask) == pytest.approx(wanted, rel=1e-3)


def test_a_ball_has_the_volume_of_a_ball() -> None:
    radius, positions = 20.0, np.arange(-18.0, 19.0, 2.0)
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    loops = [
        np.stack([r * np.cos(angle), r * np.sin(angle), np.full(200, w)], axis=1)
        for w, r in zip(positions, np.sqrt(radius**2 - positions**2), strict=True)
    ]
    grid = Grid([-25.0, -25.0, -25.0], np.eye(3), [1.0, 1.0, 1.0], (51, 51, 51))
    mask = voxelise(Contours.from_loops("BALL", loops), grid, end_caps="adaptive")
    assert volume_cc(mask) == pytest.approx(4 / 3 * np.pi * radius**3 / 1000, rel=2e-3)
    label = voxelise(Contours.from_loops("BALL", loops), grid, "coverage", end_caps="adaptive")
    assert label.array.dtype == bool
    # The caps are one voxel thick or none.
    assert volume_cc(label) == pytest.approx(volume_cc(mask), rel=0.015)


@pytest.mark.parametrize("step_mm", [(1.133, 1.133, 4.0), (1.0, 1.0, 2.0)])
@pytest.mark.parametrize("radius", [8.0, 15.0])
def test_labels_of_a_ball_are_smaller_by_the_sag_of_its_surface(step_mm, radius) -> None:
    """The cause of labels with less volume than their contours: a voxel that a convex surface
    halves has its centre inside, by about the mean sag of the surface over the voxel. A step h
    along a tangent sags by h^2 / 24 R, two thirds of each axis are tangential on average, so V
    changes by about -(sum of h^2) / 12 R^2. Shares have the volume itself."""
    places = np.random.default_rng(0).uniform(-2, 2, (30, 3))
    size = tuple(int(60 / h) + 1 for h in reversed(step_mm))
    grid = Grid([-30.0, -30.0, -30.0], np.eye(3), step_mm, size)
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    labels, shares = [], []
    for x, y, z in places:
        loops = []
        for plane in grid.k_positions_mm - 30.0:
            section = radius**2 - (plane - z) ** 2
            if section > 0.01:
                u, v = np.sqrt(section) * np.cos(angle), np.sqrt(section) * np.sin(angle)
                loops.append(np.stack([x + u, y + v, np.full_like(u, plane)], axis=1))
        ball = Contours.from_loops("ball", loops).on_image(grid)
        drawn_cc = contour_volume_cc(ball)
        labels.append(volume_cc(voxelise(ball, grid, "coverage")) / drawn_cc - 1)
        shares.append(volume_cc(voxelise(ball, grid)) / drawn_cc - 1)
    expected = -np.square(step_mm).sum() / (12 * radius**2)
    assert np.abs(shares).max() < 1e-4  # single precision
    chance = np.std(labels) / np.sqrt(len(labels))
    assert np.mean(labels) < -3 * chance  # a bias, not chance
    # Its size within a factor: oblique voxels sag over the part that the surface cuts out only.
    assert 1.5 * expected < np.mean(labels) < 0.4 * expected


def test_what_lies_outside_is_cut_off_exactly_and_flagged() -> None:
    contours = stars(CT.k_positions_mm[3:9] - 20)
    whole = voxelise(contours, CT, whole=True)
    assert whole.flags == ()
    k, j, i = slice(5, 8), slice(20, 35), slice(30, 41)
    part = voxelise(contours, CT.crop(k, j, i), whole=True)
    # What the area between two contours exceeds their fading by goes to another rim.
    np.testing.assert_allclose(part.array, whole.array[k, j, i], atol=5e-3)
    assert part.flags == ("outside-grid",)
    away = voxelise(contours, CT.crop(slice(0, 2), j, i))
    assert away.flags == ("outside-grid",) and not away.array.any()


def test_slices_of_uneven_thickness() -> None:
    offsets = np.array([0.0, 2.0, 3.0, 6.0, 7.0, 11.0, 12.0])
    grid = Grid([-20.0, -20.0, -5.0], np.eye(3), [1.0, 1.0, 2.0], (7, 40, 40), offsets)
    mask = voxelise(box([-5, -5], [5, 5], np.array([-3.0, -1.0, 1.0, 3.0])), grid, whole=True)
    # The box spans -4..4; the slices' borders lie at -4, -2.5, -0.5, 1.5, 4.
    np.testing.assert_allclose(mask.array[:, 20, 20], [0, 1, 1, 1, 1, 0, 0], atol=1e-6)
    centre = voxelise(box([-5, -5], [5, 5], np.array([-3.0, 3.0])), grid, "centre", whole=True)
    np.testing.assert_array_equal(centre.array[:, 20, 20], [1, 1, 1, 1, 1, 0, 0])


# -- pixel centres --------------------------------------------------------------------------------


def test_pixel_centres_are_those_inside_the_own_contour() -> None:
    contours = stars(CT.k_positions_mm[3:7] - 20)
    mask = voxelise(contours, CT, "centre", whole=True)
    assert mask.array.dtype == bool and mask.array.any()
    np.testing.assert_array_equal(mask.array, brute_centres(contours, CT))


def test_keyholes_crossings_and_xor_by_pixel_centres() -> None:
    grid = Grid([0.5, 0.5, 0.0], np.eye(3), [1.0, 1.0, 3.0], (1, 8, 8))
    outer = [(0, 0), (8, 0), (8, 8), (0, 8)]
    keyhole = [
        (0, 0),
        (8, 0),
        (8, 8),
        (0, 8),
        (0, 4),
        (2, 4),
        (2, 6),
        (6, 6),
        (6, 2),
        (2, 2),
        (2, 4),
        (0, 4),
    ]
    bow_tie = [(0, 0), (8, 8), (8, 0), (0, 8)]
    ring = np.ones((8, 8), dtype=bool)
    ring[2:6, 2:6] = False
    planes = ImagePlanes(np.array([0.0, 0.0, 1.0]), np.array([-3.0, 0.0, 3.0]))

    def label(*loops: list, kind: str = "CLOSED_PLANAR") -> np.ndarray:
        points = [np.array([(x, y, 0.0) for x, y in loop]) for loop in loops]
        contours = Contours.from_loops("A", points, kind, image_planes=planes)
        return voxelise(contours, grid, "centre", whole=True).array[0]

    np.testing.assert_array_equal(label(keyhole), ring)
    inner = [(2, 2), (6, 2), (6, 6), (2, 6)]
    np.testing.assert_array_equal(label(outer, inner), ring)
    np.testing.assert_array_equal(label(outer, inner, kind="CLOSEDPLANAR_XOR"), ring)
    tie = label(bow_tie)
    assert tie[4, 0] and tie[4, 7] and not tie[0, 4] and not tie[7, 4]


def test_centres_on_the_outline_are_inside() -> None:
    grid = Grid([0.0, 0.0, 0.0], np.eye(3), [1.0, 1.0, 1.0], (3, 8, 8))
    square = voxelise(box([2, 3], [5, 6], np.arange(3.0)), grid, "centre", whole=True).array[1]
    expected = np.zeros((8, 8), dtype=bool)
    expected[3:7, 2:6] = True
    np.testing.assert_array_equal(square, expected)
    diamond = np.array([(3, 1), (5, 3), (3, 5), (1, 3)])
    loops = [np.column_stack([diamond, np.full(4, w)]) for w in range(3)]
    found = voxelise(Contours.from_loops("A", loops), grid, "centre", whole=True).array[1]
    y, x = np.indices((8, 8))
    np.testing.assert_array_equal(found, np.abs(x - 3) + np.abs(y - 3) <= 2)


def test_which_contour_stands_for_a_slice() -> None:
    grid = Grid([0.0, 0.0, 0.0], np.eye(3), [1.0, 1.0, 1.0], (24, 10, 10))
    images = ImagePlanes(np.array([0.0, 0.0, 1.0]), np.arange(24.0))
    parts = [
        box([1, 1], [2 + n, 8], np.array([w])) for n, w in enumerate([4.0, 6.0, 8.0, 16.0, 18.0])
    ]
    loops = [loop for part in parts for loop in part.loops()]
    contours = Contours.from_loops("A", loops, image_planes=images)
    for caps, expected in (
        ("half-slice", [0, 0, 0, 1, 1, 2, 2, 3, 3, 0, 0, 0, 0, 0, 0, 4, 4, 5, 5, 0, 0, 0, 0, 0]),
        ("none", [0, 0, 0, 0, 1, 2, 2, 3, 3, 0, 0, 0, 0, 0, 0, 0, 4, 5, 5, 0, 0, 0, 0, 0]),
    ):
        mask = voxelise(contours, grid, "centre", end_caps=caps, whole=True)
        widths = mask.array[:, 5].sum(axis=1)
        np.testing.assert_array_equal(widths, [n + 1 if n else 0 for n in expected])


# -- turned grids ---------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
@pytest.mark.parametrize("rule", ["fraction", "centre"])
def test_axes_in_any_order(order: tuple[int, int, int], rule: str) -> None:
    """The same voxels named otherwise hold the same values."""
    contours = stars(CT.k_positions_mm[3:9] - 20)
    plain = voxelise(contours, CT, rule, whole=True).array
    turned = Grid(
        CT.origin_mm,
        CT.direction[:, order],
        CT.spacing_mm[list(order)],
        tuple(CT.size_ijk[n] for n in reversed(order)),
    )
    found = voxelise(contours, turned, rule, whole=True).array
    back = [2 - order.index(axis) for axis in (2, 1, 0)]
    np.testing.assert_allclose(found.transpose(back), plain, atol=1e-6)


@settings(max_examples=6, deadline=None)
@given(angles=st.lists(st.floats(0.05, 1.4), min_size=3, max_size=3))
def test_oblique_grids(angles: list[float]) -> None:
    turn = rotation(angles)
    positions = np.arange(-10.0, 11.0, 2.0)
    contours = stars(positions, 10.0)
    shape = (36, 36, 36)
    grid = Grid(turn @ [-26.0, -26.0, -26.0], turn, [1.5, 1.5, 1.5], shape)
    wanted = compute_dvh(contours, dose_like(CT)).volume_cc
    fraction = voxelise(contours, grid, whole=True)
    # A sample of each voxel's share is good to some percent; summed over the surface, to 0.3 %.
    assert volume_cc(fraction) == pytest.approx(wanted, rel=3e-3)
    assert fraction.array.max() <= 1 and fraction.flags == ()
    centre = voxelise(contours, grid, "centre", whole=True)
    slabs = compute_dvh(contours, dose_like(CT), DvhOptions(between_planes="slab")).volume_cc
    assert volume_cc(centre) == pytest.approx(slabs, rel=0.04)
    far = np.abs(fraction.array - centre.array) > 0.999
    assert far.sum() <= 0.01 * centre.array.sum()


# -- masks to other grids -------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    spacing=st.tuples(*(st.floats(0.5, 4.0),) * 3),
    shift=st.tuples(*(st.floats(-2.0, 2.0),) * 3),
    flips=st.tuples(*(st.sampled_from([-1.0, 1.0]),) * 3),
)
def test_resampling_keeps_the_volume(
    spacing: tuple[float, ...], shift: tuple[float, ...], flips: tuple[float, ...]
) -> None:
    mask = voxelise(stars(CT.k_positions_mm[3:9] - 20), CT)
    direction = np.diag(flips)
    origin = np.array(shift) - 40.0 * np.array(flips)
    grid = Grid(origin, direction, spacing, tuple(int(80 / s) + 1 for s in reversed(spacing)))
    moved = resample_mask(mask, grid)
    assert volume_cc(moved) == pytest.approx(volume_cc(mask), rel=1e-5)
    assert moved.array.max() <= 1 + 1e-5 and moved.flags == ()


def test_the_same_lattice_keeps_the_values() -> None:
    mask = voxelise(stars(CT.k_positions_mm[3:9] - 20), CT)
    whole = resample_mask(mask, CT, whole=True)
    assert whole.grid.same_as(CT)
    again = cropped(whole)
    np.testing.assert_array_equal(again.array, cropped(mask).array)
    part = resample_mask(mask, CT.crop(slice(4, 6), slice(0, 70), slice(0, 75)), whole=True)
    np.testing.assert_array_equal(part.array, whole.array[4:6])
    assert part.flags == ("outside-grid",)
    label = voxelise(mask, CT, "coverage", whole=True)
    np.testing.assert_array_equal(label.array, whole.array >= 0.5 - 1e-6)


def test_nearest_takes_the_value_at_the_centre() -> None:
    source = Grid([0.0, 0.0, 0.0], np.eye(3), [3.0, 3.0, 3.0], (4, 4, 4))
    values = np.random.default_rng(3).random(source.shape) > 0.5
    mask = Mask("A", values, source)
    grid = Grid([-1.0, -1.0, -1.0], np.eye(3), [1.0, 1.0, 1.0], (12, 12, 12))
    fine = voxelise(mask, grid, "centre", whole=True)
    np.testing.assert_array_equal(fine.array, values.repeat(3, 0).repeat(3, 1).repeat(3, 2))


@pytest.mark.parametrize("angle", [0.1, 0.7])
def test_resampling_onto_an_oblique_grid(angle: float) -> None:
    mask = voxelise(stars(CT.k_positions_mm[3:9] - 20), CT)
    turn = rotation([angle, -angle, angle / 2])
    grid = Grid(turn @ [-30.0, -30.0, -30.0], turn, [1.5, 1.5, 2.0], (30, 40, 40))
    moved = resample_mask(mask, grid)
    assert volume_cc(moved) == pytest.approx(volume_cc(mask), rel=5e-3)


# -- nothing to draw ------------------------------------------------------------------------------


def test_structures_without_volume_are_empty_and_say_why() -> None:
    none = voxelise(Contours.from_loops("NONE", []), CT)
    assert not none.array.any() and "structure-empty" in none.flags
    lone = voxelise(box([0, 0], [5, 5], np.array([1.0])), CT, "centre")
    assert not lone.array.any() and "single-plane-no-thickness" in lone.flags
    empty = Mask("EMPTY", np.zeros(CT.shape, dtype=bool), CT)
    assert not voxelise(empty, CT).array.any()


def test_a_structure_of_absurd_size_costs_no_more_than_the_grid() -> None:
    huge = box([-1e7, -1e7], [1e7, 1e7], np.array([-1e6, 1e6]))
    mask = voxelise(huge, CT)
    assert mask.array.min() == pytest.approx(1.0) and mask.array.shape == CT.shape
    assert mask.flags == ("outside-grid",)
