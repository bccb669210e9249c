"""Exact coverage against closed forms: areas, centroids, circular segments."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from RTPipelineLib.structures.coverage import Lattice, cover, crooked_planes
from RTPipelineLib.structures.polygons import loop_edges

# Coverage is stored as float32: 6e-8 a cell; some hundred cells are summed.
ROUNDING = 2e-5


def _edges(loop: np.ndarray) -> np.ndarray:
    return loop_edges(np.asarray(loop, dtype=float), np.array([0, len(loop)]))


def _cover(loop: np.ndarray, rows: int = 12, columns: int = 12):
    edges = _edges(loop)
    return cover(edges, np.zeros(len(edges), dtype=int), (1, rows, columns))


def _star(radii: list[float], x: float, y: float) -> np.ndarray:
    angle = 2 * np.pi * np.arange(len(radii)) / len(radii)
    return np.stack([x + radii * np.cos(angle), y + radii * np.sin(angle)], axis=1)


def test_rectangle_covers_its_cells_by_their_exact_share():
    coverage = _cover([[1.25, 2.5], [3.5, 2.5], [3.5, 4.0], [1.25, 4.0]])
    expected = np.outer([0.5, 1.0], [0.75, 1.0, 0.5])
    assert_allclose(coverage.share[0, 2:4, 1:4], expected, atol=1e-7)
    assert coverage.share.sum() == pytest.approx(2.25 * 1.5, abs=1e-6)
    # The covered part of cell [2, 1] is x 1.25..2, y 2.5..3: centre (+0.125, +0.25) of the cell's.
    assert coverage.moment_u[0, 2, 1] == pytest.approx(0.375 * 0.125, abs=1e-7)
    assert coverage.moment_v[0, 2, 1] == pytest.approx(0.375 * 0.25, abs=1e-7)


def test_triangle_in_one_cell():
    coverage = _cover([[2.0, 2.0], [3.0, 2.0], [2.0, 3.0]])
    assert coverage.share[0, 2, 2] == pytest.approx(0.5)
    # Its centroid lies a third from each leg.
    assert coverage.moment_u[0, 2, 2] / 0.5 == pytest.approx(1 / 3 - 1 / 2, abs=1e-6)
    assert coverage.moment_v[0, 2, 2] / 0.5 == pytest.approx(1 / 3 - 1 / 2, abs=1e-6)


def test_disc_rows_are_circular_segments():
    angle = 2 * np.pi * np.arange(20000) / 20000
    coverage = _cover(np.stack([6 + 4.5 * np.cos(angle), 6 + 4.5 * np.sin(angle)], axis=1))

    def below(y: float) -> float:  # area of the disc below height y over its centre
        y = np.clip(y, -4.5, 4.5)
        return 4.5**2 * np.arccos(-y / 4.5) + y * np.sqrt(4.5**2 - y**2)

    heights = np.arange(13) - 6.0
    rows = np.diff([below(y) for y in heights])
    assert_allclose(coverage.share[0].sum(axis=1), rows, atol=ROUNDING)  # 20000-gon: 1e-6
    assert_allclose(coverage.share[0].sum(axis=0), rows, atol=ROUNDING)


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.floats(0.2, 5.0), min_size=3, max_size=40),
    st.floats(5.5, 6.5),
    st.floats(5.5, 6.5),
)
def test_area_and_centroid_of_any_star(radii, x, y):
    loop = _star(radii, x, y)
    coverage = _cover(loop)
    x0, y0 = loop.T
    x1, y1 = np.roll(loop, -1, axis=0).T
    cross = x0 * y1 - x1 * y0
    area = cross.sum() / 2
    share = coverage.share[0].astype(float)
    assert share.sum() == pytest.approx(area, abs=ROUNDING)
    assert share.min() > -1e-6
    assert share.max() < 1 + 1e-6
    centres = np.arange(12) + 0.5
    moment_x = (share * centres).sum() + coverage.moment_u.sum(dtype=float)
    moment_y = (share * centres[:, None]).sum() + coverage.moment_v.sum(dtype=float)
    assert moment_x == pytest.approx(((x0 + x1) * cross).sum() / 6, abs=12 * ROUNDING)
    assert moment_y == pytest.approx(((y0 + y1) * cross).sum() / 6, abs=12 * ROUNDING)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0.5, 5.0), min_size=3, max_size=20), st.integers(1, 4))
def test_finer_cells_sum_to_coarse_ones(radii, parts):
    loop = _star(radii, 6.1, 5.9)
    coarse = _cover(loop).share[0]
    fine = _cover(loop * parts, 12 * parts, 12 * parts).share[0]
    summed = fine.reshape(12, parts, 12, parts).sum(axis=(1, 3)) / parts**2
    assert_allclose(summed, coarse, atol=1e-6)


def test_planes_are_apart():
    one, two = (_edges(_star([r] * 8, 6, 6)) for r in (2.0, 3.0))
    plane = np.repeat([0, 1], 8)
    both = cover(np.concatenate([one, two]), plane, (2, 12, 12))
    assert_allclose(both.share[0], _cover(_star([2.0] * 8, 6, 6)).share[0])
    assert_allclose(both.share[1], _cover(_star([3.0] * 8, 6, 6)).share[0])


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(0.2, 30.0), min_size=3, max_size=20),
    st.tuples(st.floats(-9, 9), st.floats(-9, 9)),
    st.booleans(),
)
def test_a_part_of_the_lattice_is_covered_as_in_the_whole(radii, shift, compiled):
    """Edges may leave the lattice on all sides; nothing of that changes what is inside."""
    if compiled:
        pytest.importorskip("numba", reason="numba is not installed")
    loop = _star(radii, 50 + shift[0], 50 + shift[1])
    plane = np.zeros(len(loop), dtype=int)
    whole = cover(_edges(loop), plane, (1, 100, 100))
    corner = np.array([41, 47])  # u, v
    part = cover(_edges(loop - corner), plane, (1, 9, 12), compiled=compiled)
    for cut, full in zip(part, whole, strict=True):
        assert_allclose(cut[0], full[0, 47:56, 41:53], atol=ROUNDING)


def test_work_on_long_edges_is_done_in_parts(monkeypatch):
    """The same result however few pieces, edges or cells are handled at once."""
    edges = np.concatenate([_edges(_star([r, 2.0] * 9, 6.2, 5.9)) for r in (5.0, 4.0, 3.0)])
    plane = np.repeat([0, 1, 2], 18)
    whole = cover(edges, plane, (3, 12, 12))
    for name in ("PIECES", "BLOCK_EDGES", "BLOCK_CELLS"):
        monkeypatch.setattr(f"RTPipelineLib.structures.coverage.{name}", 7)
    for part, full in zip(cover(edges, plane, (3, 12, 12)), whole, strict=True):
        assert_allclose(part, full, atol=1e-7)


def test_loops_that_cross_themselves_are_noticed():
    bow = [[2, 2], [8, 8], [8, 2], [2, 8]]
    assert crooked_planes(_cover(np.array(bow))).tolist() == [0]
    twice = np.concatenate([_star([3.0] * 6, 6, 6)] * 2)
    assert crooked_planes(_cover(twice)).tolist() == [0]
    assert crooked_planes(_cover(_star([3.0] * 6, 6, 6))).size == 0


def test_lattice_in_mm():
    lattice = Lattice((10.0, 20.0), (2.0, 0.5), (4, 4))
    assert lattice.to_cells(np.array([[10.0, 20.0, 14.0, 21.0]])).tolist() == [[0, 0, 2, 2]]
    assert lattice.cell_mm2 == 1.0
