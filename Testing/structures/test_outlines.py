"""Masks to contours and back: closed forms, holes, thin walls, and the volume of the round trip."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from RTPipelineLib.dvh.engine import DvhOptions, compute_dvh
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Contours, Dose, Mask
from RTPipelineLib.structures.keyholes import keyholed
from RTPipelineLib.structures.marching_squares import Cells, LabelAreas, closed_loops, level_lines
from RTPipelineLib.structures.outlines import outlines
from RTPipelineLib.structures.voxelise import voxelise

# The round trip may lose no more of the volume of structures over 1 cc.
LOSS = 0.005


def lattice(spacing: tuple[float, float, float], size: tuple[int, int, int]) -> Grid:
    """A grid of `size` (k, j, i) about the origin."""
    extent = (np.array(size[::-1]) - 1) * spacing
    return Grid(-extent / 2, np.eye(3), spacing, size)


def distance(grid: Grid, centre: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    k, j, i = np.indices(grid.shape)
    points = grid.to_lps(np.stack([i, j, k], axis=-1))
    return np.linalg.norm(points - np.array(centre), axis=-1)


def volume_cc(mask: Mask) -> float:
    return float(mask.array.sum(dtype=np.float64)) * mask.grid.voxel_volume_mm3 / 1000


def contours_cc(contours: Contours, between: str = "interpolate") -> float:
    grid = lattice((5.0, 5.0, 5.0), (40, 40, 40))
    dose = Dose(np.ones(grid.shape, dtype=np.float32), grid)
    return compute_dvh(contours, dose, DvhOptions(between_planes=between)).volume_cc


def areas(loops: list[np.ndarray]) -> list[float]:
    return [
        float(np.sum(a[:, 0] * np.roll(a[:, 1], -1) - np.roll(a[:, 0], -1) * a[:, 1]) / 2)
        for a in loops
    ]


# -- level lines ----------------------------------------------------------------------------------


def test_the_level_line_of_a_cone_is_a_circle() -> None:
    y, x = np.indices((61, 61)) - 30.0
    cone = np.clip(1 - np.hypot(x, y) / 28, 0, 1)[None]
    lines = level_lines(Cells.of(cone), np.array([0.5]))
    ((number, loop),) = closed_loops(lines)
    assert number == 0
    radius = np.hypot(*(loop - 30.0).T)
    # The cone is straight along a ray but not along the lattice: 1 / (8 r) of a pixel.
    np.testing.assert_allclose(radius, 14.0, atol=1 / (8 * 14) + 1e-3)
    assert lines.areas(1)[0] == pytest.approx(np.pi * 14**2, rel=2e-3)


def test_outer_loops_and_holes_run_in_opposite_ways() -> None:
    ring = np.zeros((1, 9, 9))
    ring[0, 1:8, 1:8] = 1
    ring[0, 3:6, 3:6] = 0
    loops = [loop for _, loop in closed_loops(level_lines(Cells.of(ring), np.array([0.5])))]
    # Each corner loses (or the hole's gains) an eighth of a pixel: 49 - 0.5 and 9 + .. the hole's
    # corners are cut off, too: 9 - 0.5.
    assert sorted(areas(loops)) == pytest.approx([-8.5, 48.5])


@pytest.mark.parametrize("high", [0.9, 0.2])
def test_touching_corners_are_joined_by_their_mean(high: float) -> None:
    values = np.zeros((1, 4, 4))
    values[0, 1, 1] = values[0, 2, 2] = 1.0
    values[0, 1, 2] = values[0, 2, 1] = high / 2
    loops = closed_loops(level_lines(Cells.of(values), np.array([0.6])))
    assert len(loops) == (1 if 0.5 * (1 + high / 2) >= 0.6 else 2)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.2, 0.8))
def test_loops_enclose_what_the_segments_say(seed: int, share: float) -> None:
    values = np.zeros((2, 12, 12))
    values[:, 1:-1, 1:-1] = np.random.default_rng(seed).random((2, 10, 10))
    lines = level_lines(Cells.of(values), np.full(2, share))
    total = np.zeros(2)
    for number, loop in closed_loops(lines):
        total[number] += areas([loop])[0]
    np.testing.assert_allclose(total, lines.areas(2), atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), level=st.floats(0.01, 0.99))
def test_areas_of_labels_are_those_of_the_lines(seed: int, level: float) -> None:
    labels = np.zeros((2, 16, 17), dtype=bool)
    labels[:, 1:-1, 1:-1] = np.random.default_rng(seed).random((2, 14, 15)) > 0.5
    levels = np.array([level, 1 - level])
    cells = Cells.of(labels)
    np.testing.assert_array_equal(cells.corners, Cells.of(labels.astype(float)).corners)
    counted = LabelAreas(cells, labels.sum(axis=(1, 2)))
    np.testing.assert_allclose(counted.at(levels), level_lines(cells, levels).areas(2), atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.floats(0.0, 3.0), level=st.floats(0.05, 0.95))
def test_labels_have_the_lines_of_shares_of_0_and_1(seed: int, size: float, level: float) -> None:
    """Straight runs of labels are drawn at once; nothing else may come of it."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((2, 25, 31)), size)
    labels = np.zeros((2, 27, 33), dtype=bool)
    labels[:, 1:-1, 1:-1] = noise > 0
    levels = np.full(2, level)
    loops = [
        {(n, frozenset(map(tuple, np.round(loop, 9)))) for n, loop in closed_loops(lines)}
        for lines in (
            level_lines(Cells.of(labels), levels),
            level_lines(Cells.of(labels.astype(float)), levels),
        )
    ]
    assert loops[0] == loops[1]


# -- keyholes -------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.3, 0.7))
def test_keyholes_enclose_the_same(seed: int, share: float) -> None:
    """Any number of nested loops: even-odd, by pixel centres and by area."""
    noise = np.random.default_rng(seed).random((18, 18))
    values = np.zeros((1, 20, 20))
    values[0, 1:-1, 1:-1] = ndimage.uniform_filter(noise, 3)
    ranked = np.sort(values[0, 1:-1, 1:-1], axis=None)
    rank = int(share * len(ranked))
    assume(ranked[rank + 1] - ranked[rank] > 1e-4)  # a centre within 2^-17 pixel lies on a line
    level = ranked[rank : rank + 2].mean()  # of no pixel: none lies on a line
    loops = [loop for _, loop in closed_loops(level_lines(Cells.of(values), np.array([level])))]
    joined = keyholed(loops)
    assert len(joined) == sum(area > 0 for area in areas(loops))
    assert sum(areas(joined)) == pytest.approx(sum(areas(loops)), abs=1e-9)
    grid = Grid([0.0, 0.0, 0.0], np.eye(3), [1.0, 1.0, 1.0], (3, 20, 20))
    label = []
    for kind, members in (("CLOSEDPLANAR_XOR", loops), ("CLOSED_PLANAR", joined)):
        points = [
            np.column_stack([m, np.full(len(m), w)]) for w in (0.0, 1.0, 2.0) for m in members
        ]
        contours = Contours.from_loops("A", points, kind)
        label.append(voxelise(contours, grid, "centre", whole=True).array[1])
    np.testing.assert_array_equal(label[0], values[0] >= level)
    np.testing.assert_array_equal(label[1], label[0])


# -- the round trip -------------------------------------------------------------------------------


def shapes(grid: Grid) -> dict[str, np.ndarray]:
    """Labels and shares of many kinds."""
    r = distance(grid)
    k, j, i = np.indices(grid.shape) - np.array(grid.shape)[:, None, None, None] // 2
    single = np.zeros(grid.shape, dtype=bool)
    n, m = grid.shape[0] // 2, grid.shape[1] // 2
    single[n - 6 : n + 6, m, 4:-4] = True
    return {
        "ball": r < 14,
        "small ball": r < 7,
        "shell": (r < 15) & (r > 13),
        "thin shell of shares": np.clip(1 - np.abs(r - 14) / 1.5, 0, 1),
        "ball of shares": np.clip(14.3 - r, 0, 1),
        "two balls": (distance(grid, (9, 0, 0)) < 7) | (distance(grid, (-9, 0, 3)) < 6),
        "ball with cavities": (r < 14)
        & (distance(grid, (6, 0, 0)) > 3)
        & (distance(grid, (-5, 2, 0)) > 4),
        "box": (np.abs(i) < 9) & (np.abs(j) < 6) & (np.abs(k) < 4),
        "one voxel wide": single,
        "cone": np.hypot(i, j) < 12 - 1.5 * (k + 4),
        "faint": np.where(r < 12, 0.4, 0.0),
        "half slices": np.where(
            (np.hypot(i, j) < 11) & (np.abs(k) <= 4), np.where(np.abs(k) == 4, 0.3, 1.0), 0.0
        ),
    }


NAMES = tuple(shapes(lattice((1.0, 1.0, 3.0), (16, 44, 44))))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("holes", ["keyhole", "xor"])
@pytest.mark.parametrize("between", ["interpolate", "slab"])
def test_round_trip(name: str, holes: str, between: str) -> None:
    grid = lattice((1.0, 1.0, 3.0), (16, 44, 44))
    mask = Mask(name, shapes(grid)[name], grid)
    assert volume_cc(mask) > 0.25
    contours = outlines(mask, holes=holes, between_planes=between)
    assert contours.flags == ()
    back = voxelise(contours, grid, between_planes=between, whole=True)
    assert volume_cc(back) == pytest.approx(volume_cc(mask), rel=LOSS)
    assert contours_cc(contours, between) == pytest.approx(volume_cc(mask), rel=LOSS)
    if mask.array.dtype == bool and between == "slab":
        label = voxelise(contours, grid, "coverage", between_planes=between, whole=True)
        assert np.mean(label.array[mask.array]) > 0.97
        assert np.count_nonzero(label.array & ~mask.array) < 0.03 * np.count_nonzero(mask.array)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    spacing=st.tuples(st.floats(0.6, 2.0), st.floats(0.6, 2.0), st.floats(0.8, 5.0)),
    size=st.floats(1.2, 3.0),
    label=st.booleans(),
    holes=st.sampled_from(["keyhole", "xor"]),
)
def test_any_blob_keeps_its_volume(
    seed: int, spacing: tuple[float, float, float], size: float, label: bool, holes: str
) -> None:
    grid = lattice(spacing, (14, 36, 36))
    noise = np.random.default_rng(seed).standard_normal(grid.shape)
    smooth = ndimage.gaussian_filter(noise, (size * 0.7, size, size))
    smooth /= smooth.std()
    array = np.zeros(grid.shape, dtype=np.float32)
    array[2:-2, 3:-3, 3:-3] = np.clip(3 * (smooth[2:-2, 3:-3, 3:-3] - 0.6), 0, 1)
    mask = Mask("BLOB", array >= 0.5 if label else array, grid)
    if volume_cc(mask) < 1:
        return
    contours = outlines(mask, holes=holes)
    back = voxelise(contours, grid, whole=True)
    assert volume_cc(back) == pytest.approx(volume_cc(mask), rel=LOSS)
    assert contours.flags == ()


def test_oblique_slices_and_uneven_ones() -> None:
    turn, _ = np.linalg.qr(np.random.default_rng(4).standard_normal((3, 3)))
    turn[:, 2] *= np.linalg.det(turn)
    offsets = np.cumsum([0.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    grid = Grid(turn @ [-20.0, -20.0, -12.0], turn, [1.0, 1.0, 2.0], (12, 41, 41), offsets)
    mask = Mask("BALL", np.clip(10.5 - distance(grid), 0, 1), grid)
    thick = np.diff(np.concatenate([[-1.0], (offsets[1:] + offsets[:-1]) / 2, [26.0]]))
    wanted = float(mask.array.sum(axis=(1, 2)) @ thick) / 1000
    contours = outlines(mask)
    assert contours_cc(contours) == pytest.approx(wanted, rel=LOSS)
    np.testing.assert_allclose(np.linalg.norm(contours.points_mm, axis=1).max(), 10.3, atol=0.5)


def test_what_is_carried_over_and_what_is_empty() -> None:
    grid = lattice((1.0, 1.0, 3.0), (5, 8, 8))
    mask = Mask("A", np.zeros(grid.shape), grid, number=4, frame_uid="1.2", colour_rgb=(1, 2, 3))
    none = outlines(mask)
    assert len(none) == 0
    assert (none.name, none.number, none.frame_uid, none.colour_rgb) == ("A", 4, "1.2", (1, 2, 3))


def test_slices_left_out_one_by_one_are_flagged() -> None:
    grid = lattice((1.0, 1.0, 3.0), (16, 44, 44))
    array = distance(grid) < 14
    array[::2] = False
    contours = outlines(Mask("EVERY OTHER", array, grid))
    assert [flag.split(":")[0] for flag in contours.flags] == ["outline-volume"]
