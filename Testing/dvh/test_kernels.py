"""Compiled kernels: the same DVH as from NumPy, and none where numba is missing."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from RTPipelineLib import kernels
from RTPipelineLib.dvh.engine import DvhOptions, compute_dvh
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import DVH, Contours, Dose, Mask

# All values are the same single operations; float32 boxes are summed in another order.
ROUNDING = 1e-6


@st.composite
def doses(draw) -> Dose:
    """A rough random dose on a grid of any spacing, uneven slices included."""
    size = draw(st.tuples(*[st.integers(1, 14)] * 3))
    spacing = draw(st.tuples(*[st.floats(0.7, 5.0)] * 3))
    offsets = None
    if size[0] > 2 and draw(st.booleans()):
        steps = draw(st.lists(st.floats(0.5, 6.0), min_size=size[0] - 1, max_size=size[0] - 1))
        offsets = np.concatenate([[0.0], np.cumsum(steps)])
    origin = draw(st.tuples(*[st.floats(-30, 5)] * 3))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    values = 70 * random.random(size, dtype=np.float32)
    if draw(st.booleans()):
        values[values < 40] = 12.5  # whole boxes of one dose
    return Dose(values, Grid(origin, np.eye(3), spacing, size, offsets))


@st.composite
def stacks(draw) -> Contours:
    """Stars on planes of any distance; the radii may cross themselves out of the dose grid."""
    radii = draw(st.lists(st.floats(0.5, 25.0), min_size=3, max_size=12))
    angle = 2 * np.pi * np.arange(len(radii)) / len(radii)
    star = np.stack([np.cos(angle), np.sin(angle)], axis=1) * np.array(radii)[:, None]
    step = draw(st.floats(0.6, 6.0))
    shift = draw(st.tuples(*[st.floats(-10, 10)] * 3))
    sizes = draw(st.lists(st.floats(0.3, 1.0), min_size=2, max_size=7))
    loops = [
        np.hstack([star * size, np.full((len(star), 1), n * step)]) + shift
        for n, size in enumerate(sizes)
    ]
    return Contours.from_loops("star", loops)


def numbers(dvh: DVH) -> np.ndarray:
    percents = (99, 95, 50, 5, 1)
    doses = [dvh.D(f"{percent}%") for percent in percents] + [dvh.D("0.03cc")]
    whole = [dvh.volume_cc, dvh.covered_cc, dvh.mean_gy, dvh.std_gy, dvh.min_gy, dvh.max_gy]
    return np.array([*whole, *doses, *(dvh.V(f"{dose}Gy", "cc") for dose in (10, 30, 60))])


def both(structure: Contours | Mask, dose: Dose, **options) -> tuple[DVH, DVH]:
    pytest.importorskip("numba", reason="numba is not installed")
    return (
        compute_dvh(structure, dose, DvhOptions(**options)),
        compute_dvh(structure, dose, DvhOptions(compiled=True, **options)),
    )


@settings(deadline=None, max_examples=60)
@given(stacks(), doses(), st.sampled_from(["half-slice", "none", "adaptive"]))
def test_compiled_and_plain_are_one(structure, dose, end_caps):
    plain, compiled = both(structure, dose, end_caps=end_caps)
    np.testing.assert_allclose(numbers(compiled), numbers(plain), rtol=ROUNDING, atol=1e-7)
    assert compiled.flags == plain.flags
    assert compiled.settings == plain.settings


@settings(deadline=None, max_examples=20)
@given(doses(), st.integers(0, 99))
def test_masks_too(dose, seed):
    share = np.random.default_rng(seed).random((5, 6, 7), dtype=np.float32)
    mask = Mask(
        "mask", np.where(share < 0.3, 0, share), Grid([-5, -4, -3], np.eye(3), [2.0] * 3, (5, 6, 7))
    )
    plain, compiled = both(mask, dose)
    np.testing.assert_allclose(numbers(compiled), numbers(plain), rtol=ROUNDING, atol=1e-7)


def test_oblique_doses_stay_with_numpy():
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    values = np.random.default_rng(1).random((9, 9, 9), dtype=np.float32)
    dose = Dose(values, Grid([-9.0, -9.0, -3.0], turn, [2.0] * 3, (9, 9, 9)))
    square = np.array([[-3, -3], [3, -3], [3, 3], [-3, 3]])
    loops = [np.hstack([square, np.full((4, 1), float(z))]) for z in range(5)]
    plain, compiled = both(Contours.from_loops("box", loops), dose)
    np.testing.assert_allclose(numbers(compiled), numbers(plain), rtol=ROUNDING)


def test_asking_for_numba_where_it_is_missing_changes_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    for make in (kernels.coverage_kernel, kernels.boxes_kernel):
        make.cache_clear()
        assert make() is None
        make.cache_clear()
    values = np.random.default_rng(2).random((8, 8, 8), dtype=np.float32)
    dose = Dose(values, Grid([0.0] * 3, np.eye(3), [2.0] * 3, values.shape))
    mask = Mask("mask", values > 0.5, dose.grid)
    plain = numbers(compute_dvh(mask, dose))
    compiled = compute_dvh(mask, dose, replace(DvhOptions(), compiled=True))
    np.testing.assert_array_equal(numbers(compiled), plain)
    for make in (kernels.coverage_kernel, kernels.boxes_kernel):
        make.cache_clear()


def test_numba_is_not_imported_before_a_kernel_runs():
    """Importing the engine and computing without kernels leaves numba alone."""
    import subprocess

    code = (
        "import sys, numpy as np; from RTPipelineLib import compute_dvh\n"
        "from RTPipelineLib.geometry import Grid; from RTPipelineLib.model import Dose, Mask\n"
        "g = Grid([0.0] * 3, np.eye(3), [2.0] * 3, (3, 3, 3)); one = np.ones(g.shape, 'f4')\n"
        "compute_dvh(Mask('x', one, g), Dose(one, g)); sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
