"""Boolean algebra of covered shares, on shapes whose volumes are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from RTPipelineLib.errors import GeometryError
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Mask
from RTPipelineLib.structures.algebra import combine

STEP = np.array([1.0, 1.0, 2.5])


def box(low, high, start=(0, 0, 0), size=(12, 12, 10)) -> Mask:
    """Exact shares of a box in mm, on a part of one lattice."""
    shares = []
    for axis in range(3):
        edge = (np.arange(size[axis] + 1) + start[axis] - 0.5) * STEP[axis]
        inside = np.clip(edge, low[axis], high[axis])
        shares.append(np.diff(inside) / STEP[axis])
    x, y, z = shares
    array = z[:, None, None] * y[None, :, None] * x[None, None, :]
    return Mask("box", array, Grid(start * STEP, np.eye(3), STEP, array.shape))


# What is off are voxels at edges, where the direction of a surface is none of its faces: in
# boxes as small as these about 1 % of the volume.
def volume(mask: Mask) -> float:
    return float(mask.array.sum(dtype=np.float64)) * mask.grid.voxel_volume_mm3


coordinate = st.floats(0.2, 9.0)
boxes = st.tuples(*[st.tuples(coordinate, coordinate).map(sorted)] * 3).map(
    lambda spans: box([a for a, _ in spans], [b + 1 for _, b in spans])
)


@given(boxes, boxes)
@settings(deadline=None, max_examples=60)
def test_volumes_add_up(a, b):
    both, either = combine("intersection", [a, b]), combine("union", [a, b])
    less, one = combine("subtract", [a, b]), combine("xor", [a, b])
    assert volume(either) == pytest.approx(volume(a) + volume(b) - volume(both), abs=1e-3)
    assert volume(less) == pytest.approx(volume(a) - volume(both), abs=1e-3)
    assert volume(one) == pytest.approx(volume(either) - volume(both), abs=1e-3)
    for result in (both, either, less, one):
        assert result.array.min() >= 0
        assert result.array.max() <= 1


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.5, 0.81])
def test_a_nested_structure_leaves_exactly_its_shell(shift):
    outer = box((2 + shift,) * 3, (9 + shift,) * 3)
    same_side = box((2 + shift, 4, 4), (6, 6, 7))
    assert volume(combine("intersection", [outer, same_side])) == pytest.approx(
        volume(same_side), rel=0.013
    )


@pytest.mark.parametrize("border", [5.0, 5.2, 5.5, 5.77])
def test_neighbours_have_nothing_in_common(border):
    left = box((2, 2, 3), (border, 9, 18))
    right = box((border, 2, 3), (9, 9, 18))
    assert volume(combine("intersection", [left, right])) < 0.011 * volume(left)
    assert volume(combine("union", [left, right])) == pytest.approx(7 * 7 * 15, rel=0.005)


def test_surfaces_at_right_angles_cross_exactly():
    a, b = box((2.3, 1, 1), (8.6, 10, 20)), box((1, 3.4, 1), (10, 7.7, 20))
    both = combine("intersection", [a, b])
    assert volume(both) == pytest.approx(6.3 * 4.3 * 19, rel=0.01)


def test_masks_on_parts_of_one_lattice_meet_on_it():
    near, far = box((1, 1, 1), (6, 6, 9)), box((4, 4, 4), (18, 9, 22), (3, 2, 1), (18, 10, 10))
    either = combine("union", [near, far])
    assert volume(either) == pytest.approx(volume(near) + volume(far) - 2 * 2 * 5, rel=1e-4)
    apart = box((30, 30, 30), (33, 33, 35), (29, 29, 11), (6, 6, 6))
    assert volume(combine("intersection", [near, apart])) == 0
    assert volume(combine("subtract", [near, apart])) == pytest.approx(volume(near))


def test_other_voxels_are_refused():
    mask = box((1, 1, 1), (6, 6, 9))
    other = Mask("other", mask.array, Grid([0.4, 0, 0], np.eye(3), STEP, mask.array.shape))
    with pytest.raises(GeometryError, match="other has voxels of its own"):
        combine("union", [mask, other])
    with pytest.raises(ValueError, match="one of union, intersection, subtract, xor"):
        combine("plus", [mask])
