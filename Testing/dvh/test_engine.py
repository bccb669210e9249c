"""The DVH engine: what must not change a DVH, broken structures, doses that end too early."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from RTPipelineLib.dose.accumulate import sum_doses
from RTPipelineLib.dvh.engine import DvhOptions, compute_dvh
from RTPipelineLib.errors import GeometryError
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import DVH, Contours, Dose, ImagePlanes, Mask

SAME = 1e-6  # relative: shares of cells are kept in single precision


def smooth_dose(spacing=(2.0, 2.5, 3.0), size=(24, 22, 20), offsets=None) -> Dose:
    """A dose without any symmetry."""
    grid = Grid(-np.array(spacing) * (np.array(size) - 1) / 2, np.eye(3), spacing, size[::-1])
    if offsets is not None:
        grid = Grid(grid.origin_mm, np.eye(3), spacing, (len(offsets), *grid.shape[1:]), offsets)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.size_ijk), indexing="ij"), axis=-1)
    x, y, z = np.moveaxis(grid.to_lps(index), -1, 0)
    value = 30 + 20 * np.sin(x / 11 + 0.3) * np.cos(y / 13) + 0.4 * z + 3 * np.sin(z / 5 + y / 7)
    return Dose(np.ascontiguousarray(value.T, dtype=np.float32), grid, frame_uid="1.2")


def bumpy(vertices=60) -> Contours:
    """A structure without any symmetry, with a hole in the middle planes."""
    angle = 2 * np.pi * np.arange(vertices) / vertices
    loops = []
    for n, z in enumerate(np.arange(-12.0, 12.1, 3.0)):
        radius = 9 + 0.25 * z + 1.5 * np.sin(3 * angle + 0.4 * n)
        x, y = radius * np.cos(angle) + 0.1 * z + 0.37, 0.8 * radius * np.sin(angle) - 1.1
        loops.append(np.stack([x, y, np.full(vertices, z)], axis=1))
        if abs(z) < 7:
            ring = 2.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1) + [1.0, -0.5]
            loops.append(np.hstack([ring, np.full((vertices, 1), z)]))
    return Contours.from_loops("bumpy", loops, frame_uid="1.2")


def numbers(dvh: DVH) -> np.ndarray:
    doses = [dvh.D(v) for v in ("98%", "95%", "50%", "5%", "2%", "0.03cc", "1cc")]
    volumes = [dvh.V(f"{d}Gy", "cc") for d in (20, 30, 40)]
    return np.array(
        [dvh.volume_cc, dvh.mean_gy, dvh.std_gy, dvh.min_gy, dvh.max_gy, *doses, *volumes]
    )


def moved(contours: Contours, matrix=None, shift=(0, 0, 0)) -> Contours:
    points = contours.points_mm @ (np.eye(3) if matrix is None else np.asarray(matrix).T)
    return replace(contours, points_mm=points + np.asarray(shift))


REFERENCE = numbers(compute_dvh(bumpy(), smooth_dose()))


@settings(deadline=None, max_examples=15)
@given(st.tuples(*[st.floats(-300, 300)] * 3))
def test_moving_all_changes_nothing(shift):
    dose = smooth_dose()
    grid = replace(dose.grid, origin_mm=dose.grid.origin_mm + shift)
    found = compute_dvh(moved(bumpy(), shift=shift), replace(dose, grid=grid))
    # Vertices near a cell border may fall to its other side: only float32 cells differ.
    np.testing.assert_allclose(numbers(found), REFERENCE, rtol=SAME)


TURNS = [
    [[0, -1, 0], [1, 0, 0], [0, 0, 1]],
    [[-1, 0, 0], [0, -1, 0], [0, 0, 1]],
    [[1, 0, 0], [0, 0, -1], [0, 1, 0]],  # planes become coronal
    [[0, 0, 1], [0, 1, 0], [-1, 0, 0]],  # and sagittal
    [[0, 0, 1], [1, 0, 0], [0, 1, 0]],
    [[-1, 0, 0], [0, 1, 0], [0, 0, 1]],  # a mirror image, header included
]


@pytest.mark.parametrize("turn", TURNS)
def test_turning_all_by_right_angles_changes_nothing(turn):
    dose, turn = smooth_dose(), np.array(turn, dtype=float)
    grid = replace(dose.grid, origin_mm=turn @ dose.grid.origin_mm, direction=turn)
    found = compute_dvh(moved(bumpy(), turn), replace(dose, grid=grid))
    np.testing.assert_allclose(numbers(found), REFERENCE, rtol=SAME)


@pytest.mark.parametrize("turn", TURNS[:5])
def test_another_storage_order_of_the_same_dose_changes_nothing(turn):
    """The same field stored along other axes: rows for columns, slices backwards."""
    dose, turn = smooth_dose(), np.array(turn, dtype=int)
    axis, sign = np.argmax(np.abs(turn), axis=0), turn[np.argmax(np.abs(turn), axis=0), range(3)]
    array, grid = dose.array_gy.transpose([2 - axis[2], 2 - axis[1], 2 - axis[0]]), dose.grid
    corner = np.zeros(3)
    for new in range(3):
        if sign[new] < 0:
            array = np.flip(array, 2 - new)
            corner[axis[new]] = grid.size_ijk[axis[new]] - 1
    stored = Grid(grid.to_lps(corner), turn.astype(float), grid.spacing_mm[axis], array.shape)
    found = compute_dvh(bumpy(), replace(dose, array_gy=array, grid=stored))
    np.testing.assert_allclose(numbers(found), REFERENCE, rtol=SAME)


@settings(deadline=None, max_examples=10)
@given(st.randoms(use_true_random=False), st.booleans(), st.integers(0, 59))
def test_order_direction_and_start_of_contours_do_not_matter(random, backwards, start):
    loops = [np.roll(loop, start, axis=0)[:: -1 if backwards else 1] for loop in bumpy().loops()]
    random.shuffle(loops)
    found = compute_dvh(Contours.from_loops("x", loops, frame_uid="1.2"), smooth_dose())
    np.testing.assert_allclose(numbers(found), REFERENCE, rtol=SAME)


def test_oblique_dose_and_aligned_dose_agree():
    """The same linear field on a grid that is turned by 20 degrees about a skew axis."""
    contours = bumpy()
    gradient = np.array([0.5, -0.3, 0.8])
    found = []
    for angle in (0.0, 0.35):
        k = np.array([[0, -2, 1], [2, 0, -2], [-1, 2, 0]]) / 3.0
        turn = np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k
        size = (41, 41, 41)
        grid = Grid(turn @ np.full(3, -40.0), turn, [2.0] * 3, size)
        index = np.stack(np.meshgrid(*[np.arange(41)] * 3, indexing="ij"), axis=-1)
        value = 40 + grid.to_lps(index) @ gradient
        dose = Dose(value.transpose(2, 1, 0).astype(np.float32), grid, frame_uid="1.2")
        found.append(numbers(compute_dvh(contours, dose)))
    # The lattices differ; what remains is the accuracy of the steps that were chosen (most for the
    # extremes, where a box may reach a little beyond the structure).
    np.testing.assert_allclose(found[1], found[0], rtol=2e-3)
    np.testing.assert_allclose(np.delete(found[1], [3, 4]), np.delete(found[0], [3, 4]), rtol=5e-4)


def test_turned_contour_planes():
    """Planes tilted against the dose grid, in a linear dose: as the same planes untilted."""
    angle = 0.4
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    gradient = np.array([0.5, -0.3, 0.8])

    def linear(direction):
        grid = Grid([-40.0] * 3, np.eye(3), [2.0] * 3, (41, 41, 41))
        x = -40 + 2.0 * np.arange(41)
        field = [direction[2] * x[:, None, None], direction[1] * x[:, None], direction[0] * x]
        return Dose((40 + sum(field)).astype(np.float32), grid, frame_uid="1.2")

    straight = compute_dvh(bumpy(), linear(gradient))
    tilted = compute_dvh(moved(bumpy(), turn), linear(turn @ gradient))
    np.testing.assert_allclose(numbers(tilted), numbers(straight), rtol=5e-4)


def test_uneven_frames():
    """A linear dose on uneven slices is the dose on even ones."""
    even = np.arange(0, 60.1, 3.0)
    uneven = np.concatenate([even[:4], [9.5, 11.0, 12.0], even[7:]])
    doses = []
    for offsets in (even, uneven):
        dose = smooth_dose(offsets=offsets)
        field = np.broadcast_to(10 + offsets[:, None, None], dose.grid.shape)
        doses.append(replace(dose, array_gy=field.astype(np.float32)))
    found = [numbers(compute_dvh(bumpy(), dose)) for dose in doses]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)


@pytest.mark.parametrize("step", [0.4, 2.0])
def test_step_changes_little(step):
    found = compute_dvh(bumpy(), smooth_dose(), DvhOptions(step_mm=step))
    assert max(found.settings.step_mm) <= step + 1e-9
    np.testing.assert_allclose(numbers(found)[:3], REFERENCE[:3], rtol=2e-4)
    np.testing.assert_allclose(numbers(found)[5:11], REFERENCE[5:11], rtol=5e-3)


def test_uniform_dose_is_exact():
    dose = smooth_dose()
    flat = replace(dose, array_gy=np.full(dose.grid.shape, 15.3, dtype=np.float32))
    dvh = compute_dvh(bumpy(), flat)
    assert [dvh.D(v) for v in ("100%", "95%", "0.03cc", "0%")] == pytest.approx([15.3] * 4)
    assert (dvh.V("15.3Gy"), dvh.V("15.31Gy")) == (100.0, 0.0)
    assert (dvh.mean_gy, dvh.min_gy, dvh.max_gy) == pytest.approx((15.3,) * 3)
    assert dvh.std_gy == pytest.approx(0, abs=1e-3)
    assert dvh.gEUD(8) == pytest.approx(15.3)


def test_two_levels_of_dose():
    """A step along k: 10 Gy below, 20 Gy above, the voxels between them on the line."""
    dose = smooth_dose(spacing=(2.0, 2.0, 1.0), size=(30, 30, 41))
    array = np.where(np.arange(41)[:, None, None] <= 19, 10.0, 20.0)
    dose = replace(dose, array_gy=np.broadcast_to(array, dose.grid.shape).astype(np.float32))
    square = np.array([[-5, -5], [5, -5], [5, 5], [-5, 5]])
    loops = [np.hstack([square, np.full((4, 1), z)]) for z in np.arange(-9.5, 10, 1.0)]
    dvh = compute_dvh(Contours.from_loops("box", loops, frame_uid="1.2"), dose)
    assert dvh.volume_cc == pytest.approx(2.0)
    assert dvh.V("20Gy", "cc") == pytest.approx(1.0, rel=1e-5)  # z from 0 to 10
    assert dvh.V("10Gy") == pytest.approx(100)
    assert dvh.V("15Gy", "cc") == pytest.approx(1.05, rel=1e-4)
    assert dvh.D("40%") == pytest.approx(20)
    assert dvh.D("60%") == pytest.approx(10)


def test_mask_and_contours_are_one():
    """A box on voxel borders: mask (boolean, labels, fractions) and contours give the same DVH."""
    dose = smooth_dose(spacing=(2.0, 2.0, 2.0))
    grid = Grid([-9.5, -8.5, -7.5], np.eye(3), [1.0, 1.0, 1.0], (16, 18, 20))
    array = np.zeros(grid.shape, dtype=bool)
    array[2:14, 3:15, 4:16] = True
    square = np.array([[-6, -6], [6, -6], [6, 6], [-6, 6]])
    loops = [np.hstack([square, np.full((4, 1), z)]) for z in np.arange(-5.5, 6, 1.0)]
    drawn = numbers(compute_dvh(Contours.from_loops("box", loops), dose))
    for values in (array, array.astype(np.uint8), array.astype(np.float32)):
        mask = numbers(compute_dvh(Mask("box", values, grid), dose))
        # Mask voxels do not lie on the dose voxels: the bends of the dose fall inside boxes.
        np.testing.assert_allclose(mask, drawn, rtol=1e-3)
    half = compute_dvh(Mask("half", array * 0.5, grid), dose)
    assert half.volume_cc == pytest.approx(drawn[0] / 2)
    assert half.mean_gy == pytest.approx(drawn[1], rel=1e-3)


# -- broken structures ----------------------------------------------------------------------------


def _square(z: float, size: float = 5.0) -> np.ndarray:
    return np.array([[0, 0, z], [size, 0, z], [size, size, z], [0, size, z]], dtype=float)


def _bad(kind: str) -> Contours:
    nan = _square(0.0)
    nan[0, 0] = math.nan
    loops = {
        "empty": [],
        "two points": [_square(0)[:2]],
        "one point": [_square(0)[:1]],
        "nan only": [nan],
        "no area": [_square(0)[[0, 1, 0, 1]]],
        "single plane": [_square(0)],
    }
    return Contours.from_loops(kind, loops[kind], frame_uid="1.2")


REASONS = {
    "empty": "structure-empty",
    "two points": "contour-too-few-points",
    "one point": "contour-too-few-points",
    "nan only": "contour-not-finite",
    "no area": "contour-without-area",
    "single plane": "single-plane-no-thickness",
}


@pytest.mark.parametrize("kind", REASONS)
@pytest.mark.parametrize("caps", ["half-slice", "none", "adaptive"])
def test_broken_structures_have_a_dvh_without_numbers(kind, caps):
    dvh = compute_dvh(_bad(kind), smooth_dose(), DvhOptions(end_caps=caps))
    assert REASONS[kind] in dvh.flags
    assert math.isnan(dvh.volume_cc) if kind == "single plane" else dvh.volume_cc == 0
    values = [dvh.mean_gy, dvh.D("95%"), dvh.D("1cc"), dvh.V("20Gy"), dvh.gEUD(2), dvh.hi]
    assert all(math.isnan(v) for v in [*values, dvh.DC("5%"), dvh.CV("1Gy"), dvh.median_gy])
    assert np.isnan(dvh.curve().volume_percent).all()


def test_broken_loops_cost_themselves_only():
    nan = _square(6.0)
    nan[2, 1] = math.inf
    loops = [_square(z) for z in (-3, 0, 3)]
    good = compute_dvh(Contours.from_loops("x", loops), smooth_dose())
    mixed = compute_dvh(Contours.from_loops("x", [nan, *loops, _square(9)[:2]]), smooth_dose())
    np.testing.assert_array_equal(numbers(mixed), numbers(good))
    assert {"contour-not-finite", "contour-too-few-points"} <= set(mixed.flags)


def test_self_crossing_contour():
    bow = np.array([[-6, -6], [6, 6], [6, -6], [-6, 6]], dtype=float)
    loops = [np.hstack([bow, np.full((4, 1), z)]) for z in (-3.0, 0.0, 3.0)]
    dvh = compute_dvh(Contours.from_loops("bow", loops), smooth_dose())
    assert dvh.volume_cc == pytest.approx(72 * 9 / 1000, rel=1e-5)


def test_tiny_structure():
    loops = [_square(z, 1.0) + np.array([0.3, 0.3, 0]) for z in (0.0, 1.0, 2.0, 3.0, 4.0)]
    for scale in (1.0, 0.1):
        small = [loop * [scale, scale, 1] for loop in loops]
        dvh = compute_dvh(Contours.from_loops("tiny", small), smooth_dose())
        assert dvh.volume_cc == pytest.approx(0.005 * scale**2, rel=1e-5)
        assert 0 < dvh.D("50%") < 60
        assert math.isnan(dvh.D("0.03cc"))


def test_single_plane_takes_its_thickness_from_the_image():
    planes = ImagePlanes(np.array([0.0, 0, 1]), np.arange(-10, 10, 2.5))
    contours = Contours.from_loops("one", [_square(0.0)], image_planes=planes)
    assert compute_dvh(contours, smooth_dose()).volume_cc == pytest.approx(25 * 2.5 / 1000)


def test_frames_of_reference_must_agree():
    with pytest.raises(GeometryError, match="frames of reference"):
        compute_dvh(replace(bumpy(), frame_uid="9.9"), smooth_dose())


# -- outside the dose grid ------------------------------------------------------------------------


def _half_outside(share: float) -> tuple[Contours, Dose]:
    """A box of 10 x 10 x 10 mm of which `share` lies beyond the upper x end of the grid."""
    dose = smooth_dose(spacing=(2.0, 2.0, 2.0), size=(11, 31, 31))
    field = np.broadcast_to(20 + np.arange(11.0), dose.grid.shape)
    end = 10.0 + 1.0  # the last centre and half a voxel
    low = end - 10 * (1 - share)
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10]]) + np.array([low, -5])
    loops = [np.hstack([square, np.full((4, 1), z)]) for z in np.arange(-4.5, 5, 1.0)]
    return (
        Contours.from_loops("box", loops, frame_uid="1.2"),
        replace(dose, array_gy=field.astype(np.float32)),
    )


def test_inside_up_to_half_a_voxel_beyond_the_last_centre():
    dvh = compute_dvh(*_half_outside(0.0))
    assert dvh.dose_coverage_percent == pytest.approx(100)
    assert dvh.flags == ()
    assert dvh.max_gy == pytest.approx(30)
    # The outer half voxel, clamped; 30 Gy counts as reached from 1e-6 of it below.
    assert dvh.V("30Gy") == pytest.approx(10, rel=1e-4)


def test_unknown_dose_outside():
    dvh = compute_dvh(*_half_outside(0.3))
    assert dvh.volume_cc == pytest.approx(1.0)
    assert dvh.dose_coverage_percent == pytest.approx(70, rel=1e-5)
    assert set(dvh.flags) == {"outside-dose-grid", "max-may-lie-outside"}
    empty = [dvh.mean_gy, dvh.min_gy, dvh.std_gy, dvh.gEUD(1), dvh.integral_dose_gycc, dvh.hi]
    assert all(math.isnan(v) for v in [*empty, dvh.D("71%"), dvh.D("95%"), dvh.DC("1%")])
    assert dvh.D("69%") == pytest.approx(27.05, abs=0.01)  # of the covered 7 mm, 0.1 from the end
    assert dvh.D("10%") == pytest.approx(30)
    assert dvh.V("0Gy") == pytest.approx(70, rel=1e-5)  # a lower bound
    assert dvh.max_gy == pytest.approx(30)


def test_zero_dose_outside():
    dvh = compute_dvh(*_half_outside(0.3), DvhOptions(outside_dose="zero"))
    assert "outside-dose-zero" in dvh.flags
    assert dvh.D("95%") == 0
    assert dvh.min_gy == 0
    assert dvh.V("20Gy") == pytest.approx(70, rel=1e-5)
    covered = compute_dvh(*_half_outside(0.3), DvhOptions(outside_dose="exclude"))
    assert dvh.mean_gy == pytest.approx(0.7 * covered.mean_gy, rel=1e-5)


def test_excluded_outside():
    dvh = compute_dvh(*_half_outside(0.3), DvhOptions(outside_dose="exclude"))
    assert "outside-dose-exclude" in dvh.flags
    assert dvh.volume_cc == pytest.approx(1.0)
    assert dvh.V("20Gy") == pytest.approx(100)
    assert dvh.D("100%") == pytest.approx(27.0, abs=0.01)


def test_wholly_outside():
    contours, dose = _half_outside(0.3)
    far = moved(contours, shift=(500, 0, 0))
    for outside in ("unknown", "exclude", "zero"):
        dvh = compute_dvh(far, dose, DvhOptions(outside_dose=outside))
        assert dvh.volume_cc == pytest.approx(1.0)
        assert dvh.dose_coverage_percent == 0
        assert "outside-dose-grid" in dvh.flags
        assert math.isnan(dvh.D("50%")) or outside == "zero"


def test_outside_along_the_planes():
    contours, dose = _half_outside(0.0)
    high = moved(contours, shift=(0, 0, 27.0))  # the grid ends at 31 mm, the box at 32
    dvh = compute_dvh(high, dose)
    assert dvh.dose_coverage_percent == pytest.approx(90, rel=1e-5)


def test_extremes_stay_within_the_dose_of_the_grid():
    """A dose of 0 beside a steep one: interpolation may not round below it."""
    dose = smooth_dose()
    values = np.where(np.arange(dose.grid.shape[2]) < 12, 0.0, 63.7) + np.zeros(dose.grid.shape)
    dvh = compute_dvh(bumpy(), replace(dose, array_gy=values.astype(np.float32)))
    assert dvh.min_gy == 0
    assert not math.copysign(1, dvh.min_gy) < 0
    assert dvh.max_gy == np.float32(63.7)
    assert 0 <= dvh.D("100%") <= dvh.D("0%") <= dvh.max_gy + dvh.settings.dose_resolution_gy


# -- sums whose doses end at different places -----------------------------------------------------


def test_structures_where_a_sum_lacks_a_dose_say_so():
    whole = smooth_dose()
    short = replace(
        whole,
        array_gy=whole.array_gy[:8],
        grid=whole.grid.crop(slice(0, 8), slice(None), slice(None)),
    )
    total = sum_doses([whole, short])
    end = total.grid.k_positions_mm[7] + total.grid.origin_mm[2] + 1.5  # half a slice beyond
    square = np.array([[-5, -5], [5, -5], [5, 5], [-5, 5]])

    def box(low: float, high: float) -> DVH:
        planes = np.linspace(low, high, 9)
        loops = [np.hstack([square, np.full((4, 1), z)]) for z in planes]
        contours = Contours.from_loops("box", loops, frame_uid="1.2")
        return compute_dvh(contours, total, DvhOptions(end_caps="none"))

    assert box(end - 14, end - 4).flags == ()
    assert box(end - 8, end + 8).flags == ("dose-sum-incomplete",)
    assert box(end + 4, end + 14).flags == ("dose-sum-incomplete",)
    assert box(end - 8, end + 8).mean_gy > 0  # the numbers of the doses that are there
