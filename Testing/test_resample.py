"""Resampling against closed forms and against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from RTPipelineLib.geometry import Grid
from RTPipelineLib.resample import coverage_of, resample_onto

# A linear field is reproduced to rounding; values reach some hundred Gy, so 1e-6 is absolute here.
EXACT = 1e-6


def linear(points: np.ndarray) -> np.ndarray:
    return 3.0 + points @ np.array([0.5, -0.25, 0.75])


def lattice(grid: Grid) -> np.ndarray:
    """(nk, nj, ni, 3) positions of all voxel centres."""
    k, j, i = np.indices(grid.shape)
    return grid.to_lps(np.stack([i, j, k], axis=-1))


def distance_inside(grid: Grid, points: np.ndarray) -> np.ndarray:
    """How deep points lie between the grid's outer voxel centres, in voxels; negative outside."""
    index = grid.to_index(points)
    return np.minimum(index, np.array(grid.size_ijk) - 1 - index).min(axis=-1)


def axis_aligned() -> st.SearchStrategy[np.ndarray]:
    """The 24 right-handed orientations along the patient axes; the eight positions are in them."""
    turns = Rotation.create_group("O").as_matrix().round()
    return st.sampled_from(list(turns))


def oblique() -> st.SearchStrategy[np.ndarray]:
    angle = st.floats(-180.0, 180.0)
    return st.tuples(angle, angle, angle).map(
        lambda a: Rotation.from_euler("xyz", a, degrees=True).as_matrix()
    )


@st.composite
def grids(draw: st.DrawFn, orientations: st.SearchStrategy[np.ndarray]) -> Grid:
    shape = tuple(draw(st.integers(1, 7)) for _ in range(3))
    spacing = np.array([draw(st.floats(0.5, 5.0)) for _ in range(3)])
    centre = np.array([draw(st.floats(-6.0, 6.0)) for _ in range(3)])
    direction = draw(orientations)
    offsets = None
    if shape[0] > 2 and draw(st.booleans()):
        steps = [draw(st.floats(0.5, 5.0)) for _ in range(shape[0] - 1)]
        offsets = np.concatenate([[0.0], np.cumsum(steps)])
        spacing[2] = float(np.median(steps))
    origin = centre - direction @ ((np.array(shape[::-1]) - 1) / 2 * spacing)
    return Grid(origin, direction, spacing, shape, offsets)


either = st.one_of(axis_aligned(), oblique())


@settings(deadline=None, max_examples=150)
@given(grids(either), grids(either))
def test_linear_field_is_exact_between_centres(source: Grid, target: Grid) -> None:
    points = lattice(target)
    values = resample_onto(linear(lattice(source)), source, target)
    inside = distance_inside(source, points) >= 0
    assert np.abs(values - linear(points))[inside].max(initial=0) < EXACT


@settings(deadline=None, max_examples=150)
@given(grids(either), grids(either))
def test_coverage_is_the_grid_with_its_half_voxels(source: Grid, target: Grid) -> None:
    points = lattice(target)
    covered = coverage_of(source, target)
    index = source.to_index(points)
    deep = np.minimum(index + 0.5, np.array(source.size_ijk) - 0.5 - index).min(axis=-1)
    clear = np.abs(deep) > 1e-5  # the edge itself is a matter of rounding
    assert np.array_equal(covered[clear], deep[clear] > 0)
    ones = resample_onto(np.ones(source.shape), source, target)
    assert np.array_equal(ones > 0.5, covered)
    assert np.all((ones == 0) | (np.abs(ones - 1) < EXACT))


@settings(deadline=None, max_examples=100)
@given(grids(either), grids(either), st.integers(0, 2**32 - 1))
def test_same_as_scipy(source: Grid, target: Grid, seed: int) -> None:
    values = np.random.default_rng(seed).random(source.shape)
    index = source.to_index(lattice(target))
    clamped = np.clip(index, 0, np.array(source.size_ijk) - 1)
    expected = map_coordinates(values, np.moveaxis(clamped[..., ::-1], -1, 0), order=1)
    covered = coverage_of(source, target)
    found = resample_onto(values, source, target)
    assert np.abs(found - expected)[covered].max(initial=0) < EXACT
    assert not found[~covered].any()


@given(axis_aligned(), axis_aligned())
@settings(deadline=None, max_examples=60)
def test_every_orientation_of_the_same_voxels_is_bit_exact(a: np.ndarray, b: np.ndarray) -> None:
    """The same cube of voxels, stored along other axes: values come back untouched."""
    source = Grid(a @ np.full(3, -4.0), a, np.full(3, 2.0), (5, 5, 5))
    target = Grid(b @ np.full(3, -4.0), b, np.full(3, 2.0), (5, 5, 5))
    values = np.random.default_rng(1).random(source.shape, dtype=np.float32)
    there = resample_onto(values, source, target)
    assert there.sum(dtype=np.float64) == pytest.approx(values.sum(dtype=np.float64), rel=1e-12)
    assert np.array_equal(resample_onto(there, target, source), values)


def test_half_voxel_beyond_the_outer_centres_is_clamped() -> None:
    source = Grid(np.zeros(3), np.eye(3), np.full(3, 2.0), (1, 1, 3))
    target = Grid(np.array([-1.5, 0, 0]), np.eye(3), np.full(3, 0.5), (1, 1, 15))
    found = resample_onto(np.array([[[1.0, 2.0, 4.0]]]), source, target)[0, 0]
    # x = -1.5 .. 5.5: voxel centres at 0, 2, 4; the grid ends at -1 and 5
    expected = [0, 1, 1, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 4, 4, 0]
    assert found == pytest.approx(expected)
    assert coverage_of(source, target)[0, 0].tolist() == [False, *[True] * 13, False]


def test_uneven_slices() -> None:
    offsets = np.array([0.0, 1.0, 5.0, 6.0])
    source = Grid(np.zeros(3), np.eye(3), np.ones(3), (4, 1, 1), offsets)
    target = Grid(np.array([0, 0, -1.0]), np.eye(3), np.array([1, 1, 0.5]), (17, 1, 1))
    found = resample_onto(offsets.reshape(4, 1, 1) * 10.0, source, target)[:, 0, 0]
    z = -1.0 + 0.5 * np.arange(17)
    expected = np.where((z >= -0.5) & (z <= 6.5), np.clip(z, 0, 6) * 10, 0)
    assert found == pytest.approx(expected)


def test_adds_weighted_values_to_the_output() -> None:
    grid = Grid(np.zeros(3), np.eye(3), np.ones(3), (2, 2, 2))
    shifted = Grid(np.array([0.5, 0, 0]), np.eye(3), np.ones(3), (2, 2, 2))
    out = np.full(grid.shape, 10.0)
    assert resample_onto(np.ones(grid.shape), grid, shifted, out=out, weight=0.25) is out
    assert out == pytest.approx(np.full(grid.shape, 10.25))


def test_integral_of_a_smooth_dose_is_kept() -> None:
    """Energy: a Gaussian blob that vanishes at the border keeps its integral on a turned, finer
    grid (the trapezoid sums of both lattices are exact here to far below the 0.5 % that linear
    interpolation adds to the second moment)."""
    grid = Grid(np.full(3, -40.0), np.eye(3), np.full(3, 2.0), (41, 41, 41))
    blob = np.exp(-np.sum(lattice(grid) ** 2, axis=-1) / (2 * 8.0**2))
    turn = Rotation.from_euler("xyz", [20, 30, 40], degrees=True).as_matrix()
    target = Grid(turn @ np.full(3, -45.0), turn, np.full(3, 1.5), (61, 61, 61))
    total = resample_onto(blob, grid, target).sum() * target.voxel_volume_mm3
    assert total == pytest.approx((2 * np.pi) ** 1.5 * 8.0**3, rel=1e-4)


def test_apart_gives_nothing() -> None:
    grid = Grid(np.zeros(3), np.eye(3), np.ones(3), (3, 3, 3))
    away = Grid(np.array([50.0, 0, 0]), np.eye(3), np.ones(3), (3, 3, 3))
    assert not resample_onto(np.ones(grid.shape), grid, away).any()
    assert not coverage_of(grid, away).any()


def test_arrays_that_do_not_fit() -> None:
    grid = Grid(np.zeros(3), np.eye(3), np.ones(3), (2, 3, 4))
    with pytest.raises(ValueError, match="array of shape"):
        resample_onto(np.ones((4, 3, 2)), grid, grid)
    with pytest.raises(ValueError, match="output of shape"):
        resample_onto(np.ones(grid.shape), grid, grid, out=np.zeros((4, 3, 2)))


def test_integers_are_resampled_as_real_numbers() -> None:
    grid = Grid(np.zeros(3), np.eye(3), np.ones(3), (1, 1, 2))
    middle = Grid(np.array([0.5, 0, 0]), np.eye(3), np.ones(3), (1, 1, 1))
    assert resample_onto(np.array([[[0, 1]]]), grid, middle).item() == 0.5


@settings(deadline=None, max_examples=30)
@given(grids(axis_aligned()), grids(axis_aligned()))
def test_compiled_values_are_the_same_to_the_last_bit(source: Grid, target: Grid) -> None:
    pytest.importorskip("numba", reason="numba is not installed")
    values = np.random.default_rng(2).random(source.shape, dtype=np.float32)
    out = np.ones(target.shape)
    plain = resample_onto(values, source, target, out=out.copy(), weight=0.7)
    compiled = resample_onto(values, source, target, out=out.copy(), weight=0.7, compiled=True)
    assert np.array_equal(plain, compiled)


def test_compiled_is_optional() -> None:
    """Where numba is missing, asking for it changes nothing."""
    grid = Grid(np.zeros(3), np.eye(3), np.ones(3), (4, 4, 4))
    moved = Grid(np.full(3, 0.25), np.eye(3), np.ones(3), (4, 4, 4))
    values = np.random.default_rng(3).random(grid.shape)
    compiled = resample_onto(values, grid, moved, compiled=True)
    assert np.array_equal(compiled, resample_onto(values, grid, moved))
