"""Margins against closed forms: spheres, cubes, planes; and what every margin must obey."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from RTPipelineLib.errors import GeometryError
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Contours, Mask
from RTPipelineLib.structures.algebra import combine
from RTPipelineLib.structures.lattice_boxes import box_of, on_box
from RTPipelineLib.structures.margins import Margins, add_margin
from RTPipelineLib.structures.solid import solid

SIDES = {  # LPS
    "left": (0, 1),
    "right": (0, -1),
    "posterior": (1, 1),
    "anterior": (1, -1),
    "superior": (2, 1),
    "inferior": (2, -1),
}


def body(inside, spacing=(1.0, 1.0, 3.0), reach=26.0, sub=6, direction=None) -> Mask:
    """Shares of the set `inside(points)`, by dense samples; centred near the origin."""
    spacing = np.array(spacing)
    count = 2 * np.ceil(reach / spacing).astype(int) + 1
    direction = np.eye(3) if direction is None else direction
    origin = -direction @ ((count // 2) * spacing) + [0.13, -0.21, 0.4]
    grid = Grid(origin, direction, spacing, tuple(count[::-1]))
    return Mask("body", shares(grid, inside, sub), grid)


def shares(grid: Grid, inside, sub: int) -> np.ndarray:
    """Covered shares by sub x sub x sub samples a voxel, of those that the surface may cross."""
    k, j, i = np.indices(grid.shape)
    index = np.stack([i, j, k], axis=-1).astype(float)
    corners = [
        inside(grid.to_lps(index + half))
        for half in np.ndindex(3, 3, 3)
        for half in [(np.array(half) - 1) * 0.5]
    ]
    count = np.sum(corners, axis=0)
    share = (count == 27).astype(np.float32)
    crossed = index[(count > 0) & (count < 27)]
    steps = (np.arange(sub) + 0.5) / sub - 0.5
    total = np.zeros(len(crossed), dtype=np.float32)
    for offset in product(steps, steps, steps):
        total += inside(grid.to_lps(crossed + np.array(offset)))
    share[(count > 0) & (count < 27)] = total / sub**3
    return share


def volume(mask: Mask) -> float:
    return float(mask.array.sum(dtype=np.float64)) * mask.grid.voxel_volume_mm3


def extent(mask: Mask, axis: int, side: int) -> float:
    """Where the mask ends along a patient axis, on the line of voxels through the origin."""
    i, j, k = np.rint(mask.grid.to_index(np.zeros(3))).astype(int)
    index = [k, j, i]
    index[2 - axis] = slice(None)
    line = mask.array[tuple(index)]
    step, start = float(mask.grid.spacing_mm[axis]), float(mask.grid.origin_mm[axis])
    middle = (k, j, i)[2 - axis]
    if side < 0:
        return start + (middle + 0.5 - line[: middle + 1].sum()) * step
    return start + (middle - 0.5 + line[middle:].sum()) * step


def displacement(mask: Mask, radius: float, bins: int = 10) -> np.ndarray:
    """(bins, 8) how far the surface lies outside a sphere about the origin, by height and turn: the
    difference in volume over the sphere's area."""
    room = on_box(mask, mask.grid, box_of(mask, mask.grid).wider((2, 4, 4)))
    k, j, i = np.indices(room.array.shape)
    points = room.grid.to_lps(np.stack([i, j, k], axis=-1).astype(float))
    exact = shares(room.grid, lambda p: (p**2).sum(-1) < radius**2, 5)
    difference = (room.array - exact) * room.grid.voxel_volume_mm3
    length = np.maximum(np.linalg.norm(points, axis=-1), 1e-9)
    height = np.clip(((points[..., 2] / length + 1) / 2 * bins).astype(int), 0, bins - 1)
    turn = (np.arctan2(points[..., 1], points[..., 0]) + math.pi) / (2 * math.pi) * 8
    number = height * 8 + np.clip(turn.astype(int), 0, 7)
    total = np.bincount(number.ravel(), difference.ravel(), bins * 8)
    return total.reshape(bins, 8) / (4 * math.pi * radius**2 / (bins * 8))


def contours_of_a_sphere(end_caps: str) -> Mask:
    """A sphere of 20 mm about the origin by contours 3 mm apart."""
    angle = np.linspace(0, 2 * np.pi, 181)[:-1]
    heights = np.arange(-18.0, 19.0, 3.0)
    radii = np.sqrt(400 - heights**2) * math.sqrt(angle[1] / math.sin(angle[1]))
    loops = [
        np.stack([r * np.cos(angle), r * np.sin(angle), np.full(180, z)], axis=1)
        for r, z in zip(radii, heights, strict=True)
    ]
    grid = Grid([-40.1, -40.3, -60.0], np.eye(3), [1, 1, 3], (41, 82, 82))
    return solid(Contours.from_loops("S", loops), grid, end_caps=end_caps)


@pytest.fixture(scope="module")
def sphere() -> Mask:
    return body(lambda p: (p**2).sum(-1) < 20.0**2, sub=8)


@pytest.fixture(scope="module")
def ball() -> Mask:
    return body(lambda p: (p**2).sum(-1) < 10.0**2, (1.0, 1.0, 2.0), 14.0)


# -- spheres --------------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [5.0, 10.0, 3.0, -3.0, -5.0])
def test_a_sphere_grows_and_shrinks_evenly_in_every_direction(sphere, margin):
    found = displacement(add_margin(sphere, margin), 20.0 + margin)
    assert np.abs(found).max() < 0.05


@pytest.mark.parametrize("end_caps", ["adaptive", "half-slice"])
def test_a_sphere_of_contours_3_mm_apart_grows_its_surface_by_5_mm(end_caps):
    mask = contours_of_a_sphere(end_caps)
    grown = add_margin(mask, 5.0)
    for axis in range(3):
        for side in (-1, 1):
            # The end caps of half a slice are flat and end at 19.5 mm.
            assert extent(grown, axis, side) - extent(mask, axis, side) == pytest.approx(
                side * 5, abs=0.1
            )
    found = displacement(grown, 25.0)
    sides = found if end_caps == "adaptive" else found[1:-1]
    assert np.abs(sides).max() < 0.1


@pytest.mark.parametrize("margin", [5.0, -3.0, -5.0])
@pytest.mark.parametrize(
    ("spacing", "mean", "most"), [((1, 1, 3), 0.15, 0.5), ((1, 1, 1), 0.05, 0.1)]
)
def test_labels_are_moved_without_their_steps(margin, spacing, mean, most):
    """A label knows its surface to half a voxel: a twentieth of the longest edge on average, a
    sixth anywhere."""
    share = body(lambda p: (p**2).sum(-1) < 20.0**2, spacing)
    label = Mask("L", share.array >= 0.5, share.grid)
    found = displacement(add_margin(label, margin), 20.0 + margin)
    assert abs(found.mean()) < mean
    assert np.abs(found).max() < most


# -- thin ones ------------------------------------------------------------------------------------


def sheet(axis: int, thick: float, middle: float) -> Mask:
    """A square of 30.4 mm, so thick along an axis: its exact shares of voxels of 1 x 1 x 3 mm."""
    spacing, count = np.array([1.0, 1.0, 3.0]), np.array([41, 41, 15])
    origin = -(count - 1) / 2 * spacing
    low, high = np.full(3, -15.2), np.full(3, 15.2)
    low[axis], high[axis] = middle - thick / 2, middle + thick / 2
    sides = []
    for a in range(3):
        edge = origin[a] + (np.arange(count[a] + 1) - 0.5) * spacing[a]
        covered = np.minimum(high[a], edge[1:]) - np.maximum(low[a], edge[:-1])
        sides.append(np.clip(covered, 0, None) / spacing[a])
    array = sides[2][:, None, None] * sides[1][:, None] * sides[0]
    return Mask("sheet", array, Grid(origin, np.eye(3), spacing, array.shape))


@pytest.mark.parametrize(
    ("axis", "thick"),
    [(2, 0.4), (2, 1.4), (2, 2.4), (0, 0.15), (0, 0.45), (0, 0.8), (0, 1.2)],
)
@pytest.mark.parametrize("middle", [0.0, 0.3, 0.4, 1.1])
def test_what_fills_no_voxel_grows_like_anything_else(axis, thick, middle):
    mask = sheet(axis, thick, middle)
    grown = add_margin(mask, 5.0)
    low, high = extent(grown, axis, -1), extent(grown, axis, 1)
    assert high - low == pytest.approx(thick + 10, abs=0.02)
    # Where in a voxel it lies is not known.
    assert (low + high) / 2 == pytest.approx(middle, abs=mask.grid.spacing_mm[axis] / 2)
    assert grown.flags == ()


def test_what_has_no_surface_is_flagged():
    rest = add_margin(sheet(0, 0.05, 0.0), 5.0)  # what differences of equal structures leave
    assert rest.flags == ("margin-too-thin",)
    grid = Grid([0, 0, 0], np.eye(3), np.ones(3), (20, 20, 20))
    probability = np.zeros(grid.shape)
    probability[4:16, 4:16, 4:16] = 0.6
    assert add_margin(Mask("P", probability, grid), 5.0).flags == ("margin-too-thin",)


# -- directions -----------------------------------------------------------------------------------


def test_six_margins_give_six_growths(sphere):
    margins = {
        "left": 1.0,
        "right": 2.0,
        "anterior": 3.0,
        "posterior": 4.0,
        "superior": 5.0,
        "inferior": 6.0,
    }
    grown = add_margin(sphere, Margins(**margins))
    for side, (axis, sign) in SIDES.items():
        growth = sign * (extent(grown, axis, sign) - extent(sphere, axis, sign))
        assert growth == pytest.approx(margins[side], abs=0.03)


@pytest.mark.parametrize("long", [7.5, 8.0, 8.5])
@pytest.mark.parametrize("side", ["superior", "inferior"])
def test_a_flat_end_moves_by_its_margin_beside_much_smaller_ones(side, long):
    mask = contours_of_a_sphere("half-slice")
    beside = {"left": 3, "right": 4, "anterior": 5, "posterior": 6, "superior": 7, "inferior": 7}
    sign = 1 if side == "superior" else -1
    after = extent(add_margin(mask, Margins(**(beside | {side: long}))), 2, sign)
    # The end is flat: nothing but rounding keeps it from moving exactly.
    assert sign * (after - extent(mask, 2, sign)) == pytest.approx(long, abs=0.01)


def test_six_margins_shrink_from_six_sides(sphere):
    margins = {
        "left": -1.0,
        "right": -2.0,
        "anterior": -3.0,
        "posterior": -4.0,
        "superior": -5.0,
        "inferior": -6.0,
    }
    cube = body(lambda p: (np.abs(p) < 15.25).all(-1), reach=18.0)
    shrunk = add_margin(cube, Margins(**margins))
    for side, (axis, sign) in SIDES.items():
        growth = sign * (extent(shrunk, axis, sign) - extent(cube, axis, sign))
        assert growth == pytest.approx(margins[side], abs=0.01)


def test_a_side_without_margin_stays_where_it_is():
    cube = body(lambda p: (np.abs(p) < 10.3).all(-1), reach=14.0)
    grown = add_margin(cube, Margins(left=5.0))
    assert extent(grown, 0, 1) - extent(cube, 0, 1) == pytest.approx(5, abs=0.01)
    for axis, sign in [*SIDES.values()][1:]:
        assert extent(grown, axis, sign) == pytest.approx(extent(cube, axis, sign), abs=0.01)
    # Along the four edges of the side that moved, a quarter of a millimetre (see the cube below).
    assert volume(grown) == pytest.approx(volume(cube) * 25.6 / 20.6, rel=0.015)


def test_grow_and_shrink_at_once():
    cube = body(lambda p: (np.abs(p) < 10.3).all(-1), reach=14.0)
    moved = add_margin(cube, Margins(left=5.0, right=-5.0))
    for side in (-1, 1):
        assert extent(moved, 0, side) - extent(cube, 0, side) == pytest.approx(5, abs=0.01)


@pytest.mark.parametrize("side", SIDES)
def test_only_the_side_that_is_asked_for_shrinks(side):
    cube = body(lambda p: (np.abs(p) < 10.3).all(-1), reach=14.0)
    shrunk = add_margin(cube, Margins(**{side: -5.0}))
    for other, (axis, sign) in SIDES.items():
        growth = sign * (extent(shrunk, axis, sign) - extent(cube, axis, sign))
        assert growth == pytest.approx(-5 if other == side else 0, abs=0.01)


def test_directions_follow_the_patient_and_not_the_array():
    flipped = np.diag([-1.0, -1.0, 1.0])
    mask = body(lambda p: (p**2).sum(-1) < 100, (1, 1, 2), 13.0, direction=flipped)
    grown = add_margin(mask, Margins(left=4.0))
    points = grown.grid.corners_mm(edges=True)
    assert points[:, 0].max() > 13.5
    assert points[:, 0].min() > -11.5


def test_six_directions_on_an_oblique_grid_are_refused_and_one_is_not():
    turn = math.radians(20)
    oblique = np.array(
        [[1, 0, 0], [0, math.cos(turn), -math.sin(turn)], [0, math.sin(turn), math.cos(turn)]]
    )
    mask = body(lambda p: (p**2).sum(-1) < 100, (1, 1, 2), 13.0, direction=oblique)
    with pytest.raises(GeometryError, match="oblique"):
        add_margin(mask, Margins(left=4.0))
    assert volume(add_margin(mask, 4.0)) == pytest.approx(4 / 3 * math.pi * 14**3, rel=0.01)


# -- shapes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [3.0, 5.0, 10.0])
def test_the_corner_of_a_cube_becomes_round(margin):
    """The surface is known on lines 0.5 mm apart: an edge is missed by up to 0.25 mm across its two
    sides, a corner by 0.25 mm across each of them, which is 0.29 mm along its diagonal and 0.17 mm
    on average over the eighth of a sphere."""
    array = np.zeros((30, 30, 30))
    array[5:25, 5:25, 5:25] = 1  # a cube of 20 mm
    grid = Grid([0.5, 0.5, 0.5], np.eye(3), [1, 1, 1], (30, 30, 30))
    grown = add_margin(Mask("cube", array, grid), margin)
    faces, edges = 20**3 + 6 * 400 * margin, 12 * 20 * math.pi / 4
    exact = faces + edges * margin**2 + 4 / 3 * math.pi * margin**3  # Steiner
    least = faces + edges * (margin - 0.18) ** 2 + 4 / 3 * math.pi * (margin - 0.29) ** 3
    assert least * 0.997 < volume(grown) < exact * 1.001
    # Around the corner at 25 mm the surface is an eighth of a sphere.
    k, j, i = np.indices(grown.array.shape)
    points = grown.grid.to_lps(np.stack([i, j, k], axis=-1).astype(float)) - 25.0
    eighth = (points > 0).all(axis=-1)
    distance = np.linalg.norm(points, axis=-1)
    half = math.sqrt(3) / 2  # of a voxel, along its diagonal
    assert grown.array[eighth & (distance < margin - 0.29 - half)].min(initial=1) > 0.99
    assert grown.array[eighth & (distance > margin + half)].max() < 0.01
    radius = (grown.array[eighth].sum() * 6 / math.pi) ** (1 / 3)
    assert margin - 0.2 < radius < margin + 0.01


@pytest.mark.parametrize("offset", [0.0, 0.2, 0.5, 0.7])
@pytest.mark.parametrize("margin", [2.3, -2.3])
def test_a_plane_moves_by_less_than_a_voxel(offset, margin):
    array = np.ones((20, 20, 20))
    array[:5], array[15:] = 0, 0
    array[14] = offset
    grid = Grid([0, 0, 0], np.eye(3), [2, 2, 2.5], (20, 20, 20))
    moved = add_margin(Mask("slab", array, grid), margin)
    k = round(float(grid.to_index(moved.grid.origin_mm)[2]))
    j, i = (n // 2 for n in moved.array.shape[1:])
    line = moved.array[:, j, i]
    thick = line.sum() * 2.5
    assert thick == pytest.approx((9 + offset) * 2.5 + 2 * margin, abs=0.05)
    assert k >= 0


# -- laws -----------------------------------------------------------------------------------------


def moved(mask: Mask, array: np.ndarray, by: np.ndarray) -> Mask:
    return Mask(
        mask.name, array, Grid(mask.grid.origin_mm + by, np.eye(3), np.ones(3), array.shape)
    )


@st.composite
def blobs(draw) -> Mask:
    """A union of balls on 1 mm voxels."""
    balls = draw(
        st.lists(st.tuples(*[st.floats(-4, 4)] * 3, st.floats(3, 7)), min_size=1, max_size=3)
    )
    axis = np.arange(-12, 13, dtype=float)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    level = np.full(x.shape, -np.inf)
    for a, b, c, r in balls:
        level = np.maximum(level, r - np.sqrt((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2))
    share = np.clip(level + 0.5, 0, 1)
    return Mask("blob", share, Grid([-12, -12, -12], np.eye(3), np.ones(3), share.shape))


@given(blobs(), st.floats(-4, 6))
@settings(deadline=None, max_examples=6)
def test_a_margin_moves_and_turns_with_its_structure(blob, margin):
    plain = add_margin(blob, margin)
    there = add_margin(moved(blob, blob.array, np.array([10.0, -7, 3])), margin)
    np.testing.assert_allclose(there.array, plain.array, atol=1e-5)
    for axes in ((2, 1, 0), (1, 2, 0)):
        turned = add_margin(moved(blob, blob.array.transpose(axes), np.zeros(3)), margin)
        np.testing.assert_allclose(turned.array, plain.array.transpose(axes), atol=0.2)
    mirrored = add_margin(moved(blob, blob.array[:, ::-1], np.zeros(3)), margin)
    np.testing.assert_allclose(mirrored.array, plain.array[:, ::-1], atol=0.2)


@given(blobs(), st.floats(-5, 8), st.floats(0.0, 3))
@settings(deadline=None, max_examples=6)
def test_a_larger_margin_never_gives_less(blob, margin, more):
    small, large = add_margin(blob, margin), add_margin(blob, margin + more)
    left = combine("subtract", [small, large])
    assert left.array.max() < 0.3  # of single voxels: below 3 mm the points of a surface show
    assert volume(left) <= 0.004 * volume(large) + 1.0


@given(st.floats(2, 6), st.floats(2, 6))
@settings(deadline=None, max_examples=6)
def test_two_margins_in_turn_are_their_sum_for_a_convex_body(ball, a, b):
    twice, once = add_margin(add_margin(ball, a), b), add_margin(ball, a + b)
    area = 4 * math.pi * (10 + a + b) ** 2
    assert abs(volume(twice) - volume(once)) / area < 0.06


def test_what_vanishes_and_what_is_empty(ball):
    assert not add_margin(ball, -12.0).array.any()
    empty = Mask("E", np.zeros((3, 3, 3)), Grid([0, 0, 0], np.eye(3), [1, 1, 1], (3, 3, 3)))
    assert not add_margin(empty, 5.0).array.any()
    np.testing.assert_allclose(add_margin(ball, 0.0).array.sum(), ball.array.sum(), rtol=1e-6)


def test_a_large_structure_in_blocks_is_the_same(monkeypatch, ball):
    whole = add_margin(ball, 4.0)
    monkeypatch.setattr("RTPipelineLib.structures.margins.BLOCK_VOXELS", 20_000)
    parts = add_margin(ball, 4.0)
    np.testing.assert_allclose(parts.array, whole.array, atol=0.03)


def test_uneven_slices_are_refused():
    grid = Grid([0, 0, 0], np.eye(3), [1, 1, 2], (4, 3, 3), np.array([0.0, 2, 4, 9]))
    with pytest.raises(GeometryError, match="evenly spaced"):
        add_margin(Mask("U", np.ones((4, 3, 3)), grid), 2.0)
