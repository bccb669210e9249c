"""How the loops of one plane combine, by areas known from geometry."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from RTPipelineLib.structures.polygons import plane_region, region_area, robust_region


def box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=float)


@pytest.mark.parametrize("turn", [1, -1])
@pytest.mark.parametrize(
    ("loops", "area", "flags"),
    [
        ([box(0, 0, 10, 10)], 100, ()),
        ([box(0, 0, 10, 10), box(2, 2, 4, 4)], 96, ()),  # a hole
        ([box(0, 0, 10, 10), box(2, 2, 8, 8), box(3, 3, 4, 4)], 65, ()),  # an island in it
        ([box(0, 0, 10, 10), box(0, 2, 4, 4)], 92, ()),  # a hole that touches the outline
        ([box(0, 0, 5, 5), box(5, 0, 9, 5)], 45, ()),  # neighbours that touch
        ([box(0, 0, 5, 5), box(7, 0, 9, 5)], 35, ()),
        ([box(0, 0, 10, 10), box(8, 2, 14, 4)], 108, ("contour-overlap",)),
        ([box(0, 4, 10, 6), box(4, 0, 6, 10)], 36, ("contour-overlap",)),  # no vertex inside
        ([box(0, 0, 10, 10), box(0, 0, 10, 10)[::-1]], 100, ("contour-duplicate",)),
        ([box(0, 0, 10, 10), np.roll(box(0, 0, 10, 10), 1, 0)], 100, ("contour-duplicate",)),
    ],
)
def test_closed_planar(loops, area, flags, turn):
    region, found = plane_region([loop[::turn] for loop in loops], [False] * len(loops))
    assert region_area(region) == pytest.approx(area)
    assert found == flags


@pytest.mark.parametrize(
    ("loops", "area"),
    [
        ([box(0, 0, 10, 10), box(8, 2, 14, 4)], 104),
        ([box(0, 0, 10, 10), box(2, 2, 4, 4)], 96),
        ([box(0, 0, 10, 10), box(0, 0, 10, 10)], 0),
        ([box(0, 4, 10, 6), box(4, 0, 6, 10)], 32),
    ],
)
def test_closed_planar_xor(loops, area):
    region, flags = plane_region(loops, [True] * len(loops))
    assert region_area(region) == pytest.approx(area)
    assert flags == (() if area else ("contour-xor-cancels",))


def test_self_crossing_is_even_odd():
    bow = np.array([[0, 0], [4, 4], [4, 0], [0, 4]], dtype=float)
    assert region_area(robust_region([bow], [False])) == pytest.approx(8)
    # The pentagram without its middle: sides of the star less the inner pentagon, R = 4.
    angle = np.pi / 2 + 2 * np.pi * 2 * np.arange(5) / 5
    star = 4 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    inner = 4 * np.cos(2 * np.pi / 5) / np.cos(np.pi / 5)
    outline = 5 * 4 * inner * np.sin(np.pi / 5)
    middle = 5 / 2 * inner**2 * np.sin(2 * np.pi / 5)
    assert region_area(robust_region([star], [False])) == pytest.approx(outline - middle)


@pytest.mark.parametrize("turn", [1, -1])
def test_keyhole(turn):
    hole = box(3, 3, 6, 6)[[0, 1, 2, 3, 0]][::turn]
    outer = box(0, 0, 10, 10)
    keyhole = np.concatenate([outer[:1], hole, outer[:1], outer[1:], outer[:1]])
    assert region_area(robust_region([keyhole], [False])) == pytest.approx(91)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=12),
    st.integers(0, 2**31),
)
def test_sweep_against_counting_crossings(vertices, seed):
    """Any closed chain, also one that crosses itself and runs back on itself: random points lie
    inside the region just when a ray crosses the chain an odd number of times."""
    loop = np.array(vertices, dtype=float)
    region = robust_region([loop], [False])
    random = np.random.default_rng(seed)
    points = random.uniform(-0.5, 6.5, (200, 2))

    def crossings(edges: np.ndarray) -> np.ndarray:
        x0, y0, x1, y1 = edges.T[:, :, None]
        x, y = points.T
        spans = (y0 > y) != (y1 > y)
        rise = np.where(y1 == y0, 1, y1 - y0)
        return (spans & (x < x0 + (y - y0) * (x1 - x0) / rise)).sum(axis=0)

    drawn = np.concatenate([loop, np.roll(loop, -1, axis=0)], axis=1)
    assert np.array_equal(crossings(region) % 2, crossings(drawn) % 2)
