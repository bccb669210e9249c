"""Bands around a DVH against closed forms: linear doses, spheres, error functions."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.special import erf
from scipy.stats import norm

from RTPipelineLib.dvh.engine import DvhOptions, compute_dvh
from RTPipelineLib.dvh.metrics import MetricSettings, metric_row
from RTPipelineLib.dvh.uncertainty import (
    LEAVES_GRID,
    Band,
    ErrorModel,
    band,
    blurred,
    shifted,
    shifts_mm,
    variants_of,
)
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Contours, Dose

SLOPE = 0.5  # Gy/mm
MIDDLE = 50.0  # Gy at the origin
RADIUS, SLICE = 10.0, 2.0  # mm
SPHERE_CC = 4 / 3 * math.pi * RADIUS**3 / 1000
ONLY_SHIFTS = ErrorModel(contour_spacing=False)
# float32 doses of 50 Gy are 4 uGy apart; sums of thousands of boxes stay below ten times that.
ROUNDING_GY = 4e-5


def lattice(half_mm: float = 60.0, spacing=(2.5, 2.5, 2.5)) -> Grid:
    size = [2 * round(half_mm / s) + 1 for s in spacing]
    origin = [-(n - 1) / 2 * s for n, s in zip(size, spacing, strict=True)]
    return Grid(np.array(origin), np.eye(3), np.array(spacing), tuple(size[::-1]))


def linear_dose(gradient=(SLOPE, 0.0, 0.0), grid: Grid | None = None) -> Dose:
    grid = grid or lattice()
    k, j, i = np.indices(grid.shape)
    points = grid.to_lps(np.stack([i, j, k], axis=-1))
    return Dose((MIDDLE + points @ np.array(gradient)).astype(np.float32), grid)


def sphere(centre=(0.0, 0.0, 0.0), offset: float = 1.0, vertices: int = 180) -> Contours:
    """A sphere; `offset` moves its planes along z, the sphere stays."""
    angle = 2 * np.pi * np.arange(vertices) / vertices
    # The polygon has the area of its circle.
    stretch = math.sqrt(2 * np.pi / vertices / math.sin(2 * np.pi / vertices))
    loops = []
    for z in np.arange(-20, 21) * SLICE + offset:
        if abs(z) >= RADIUS:
            continue
        r = math.sqrt(RADIUS**2 - z**2) * stretch
        loop = np.stack([r * np.cos(angle), r * np.sin(angle), np.full(vertices, z)], axis=1)
        loops.append(loop + centre)
    return Contours.from_loops("sphere", loops)


def band_of(roi: Contours, dose: Dose, errors: ErrorModel, options=None, metrics=()) -> Band:
    options = options or DvhOptions()

    def values_of(dvh, _number=None):
        return metric_row(dvh, MetricSettings(metrics=metrics), rx_gy=MIDDLE)

    planned = compute_dvh(roi, dose, options)
    return band(roi, planned, values_of(planned), variants_of(dose, options, errors), values_of)


def mean_of(roi: Contours, dose: Dose) -> float:
    return compute_dvh(roi, dose).mean_gy


# -- shifts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_shift_along_a_gradient_changes_the_mean_by_their_product(axis, sign):
    gradient = SLOPE * np.eye(3)[axis]
    dose = linear_dose(gradient)
    for direction in range(3):
        shift = sign * 3.3 * np.eye(3)[direction]
        change = mean_of(sphere(), shifted(dose, shift)) - mean_of(sphere(), dose)
        assert change == pytest.approx(gradient @ shift, abs=ROUNDING_GY)


@pytest.mark.parametrize(("systematic", "method"), [(3.0, "6-shifts"), (4.1, "14-shifts")])
def test_the_band_of_the_mean_is_the_shift_times_the_gradient(systematic, method):
    errors = replace(ONLY_SHIFTS, systematic_mm=systematic, method=method)
    found = band_of(sphere(), linear_dose(), errors)
    mean = mean_of(sphere(), linear_dose())
    assert found.high["Dmean_Gy"] - mean == pytest.approx(SLOPE * systematic, abs=ROUNDING_GY)
    assert mean - found.low["Dmean_Gy"] == pytest.approx(SLOPE * systematic, abs=ROUNDING_GY)
    # A linear dose shifts the whole curve: each dose at a volume moves as the mean does.
    for name in ("D95%_Gy", "D2%_Gy", "D0.1cc_Gy"):
        width = found.high[name] - found.low[name]
        assert width == pytest.approx(2 * SLOPE * systematic, abs=0.005)  # the curve's own error


def test_shifts_along_the_diagonals_are_as_long_as_those_along_the_axes():
    shifts = shifts_mm(replace(ONLY_SHIFTS, systematic_mm=2.0, method="14-shifts"))
    assert np.linalg.norm(shifts, axis=1) == pytest.approx(np.full(14, 2.0))
    assert len(np.unique(shifts.round(9), axis=0)) == 14
    assert shifts.sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-12)
    gradient = SLOPE / math.sqrt(3) * np.ones(3)  # steepest along a diagonal
    mean = mean_of(sphere(), linear_dose(gradient))
    errors = replace(ONLY_SHIFTS, systematic_mm=2.0)
    along_axes = band_of(sphere(), linear_dose(gradient), errors)
    corners = band_of(sphere(), linear_dose(gradient), replace(errors, method="14-shifts"))
    assert corners.high["Dmean_Gy"] - mean == pytest.approx(SLOPE * 2.0, abs=ROUNDING_GY)
    expected = SLOPE * 2.0 / math.sqrt(3)
    assert along_axes.high["Dmean_Gy"] - mean == pytest.approx(expected, abs=ROUNDING_GY)


def test_shifting_a_dose_copies_nothing_and_is_the_opposite_of_shifting_the_structure():
    dose = linear_dose((0.3, -0.2, 0.4))
    shift = np.array([1.7, -2.9, 0.6])
    moved = shifted(dose, shift)
    assert moved.array_gy is dose.array_gy
    structure = replace(sphere(), points_mm=sphere().points_mm + shift)
    assert mean_of(sphere(), moved) == pytest.approx(mean_of(structure, dose), abs=ROUNDING_GY)
    variants = variants_of(dose, DvhOptions(), ErrorModel(method="14-shifts"))
    assert all(variant.dose.array_gy is dose.array_gy for variant in variants)


def test_in_a_uniform_dose_the_bands_of_doses_have_no_width():
    grid = lattice()
    dose = Dose(np.full(grid.shape, 40, dtype=np.float32), grid)
    found = band_of(sphere(), dose, ErrorModel(random_mm=2.0))
    for name in ("Dmean_Gy", "Dmin_Gy", "Dmax_Gy", "D98%_Gy", "D2%_Gy", "V20Gy_%", "V50Gy_%"):
        assert found.low[name] is not None
        assert found.high[name] == pytest.approx(found.low[name], rel=1e-6, abs=1e-9), name
    assert found.high_percent == pytest.approx(found.low_percent, abs=1e-4)


def test_no_errors_no_width_and_nothing_to_compute():
    errors = ErrorModel(systematic_mm=0.0, contour_spacing=False)
    assert variants_of(linear_dose(), DvhOptions(), errors) == []
    found = band_of(sphere(), linear_dose(), errors)
    assert found.low == found.high
    assert np.array_equal(found.low_percent, found.high_percent)


# -- the curve ------------------------------------------------------------------------------------


def test_the_band_of_the_curve_is_the_curve_moved_by_the_shift():
    found = band_of(sphere(), linear_dose(), ONLY_SHIFTS)
    planned = compute_dvh(sphere(), linear_dose())
    at = found.dose_gy

    def moved(by: float) -> np.ndarray:
        return np.interp(at - by, planned.dose_gy, 100 * planned.at_least_cc / planned.volume_cc)

    # 1.2 mm lattices that lie differently in a sphere of 4 cc: a tenth of a percent.
    assert found.low_percent == pytest.approx(moved(-3 * SLOPE), abs=0.2)
    assert found.high_percent == pytest.approx(moved(3 * SLOPE), abs=0.2)
    assert at[-1] == pytest.approx(MIDDLE + SLOPE * (RADIUS + 3), abs=0.02)
    assert found.low_percent[0] == pytest.approx(100)
    assert found.high_percent[-1] == 0


@settings(deadline=None, max_examples=8)
@example((0.0, 0.0, 0.0), 0.0, 2.3e-309, "6-shifts")
@given(
    st.tuples(*[st.floats(-0.3, 0.3)] * 3),
    st.floats(0, 5),
    st.floats(0, 4),
    st.sampled_from(["6-shifts", "14-shifts", "monte-carlo"]),
)
def test_the_planned_value_lies_in_the_band(gradient, systematic, random, method):
    errors = ErrorModel(systematic, random, method, draws=20)
    dose = linear_dose(gradient)
    found = band_of(sphere(), dose, errors)
    planned = compute_dvh(sphere(), dose)
    row = metric_row(planned, rx_gy=MIDDLE)
    assert all(found.low[n] <= row[n] <= found.high[n] for n in row if found.low[n] is not None)
    curve = planned.curve().volume_percent
    points = slice(0, len(curve))
    assert np.all(found.low_percent[points] <= curve)
    assert np.all(curve <= found.high_percent[points])


# -- random errors --------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.3, 2.0, 5.0])
def test_a_blur_leaves_a_linear_dose_as_it_is(sigma):
    offsets = np.cumsum([0, *([2.0, 3.0, 2.5] * 15)])
    grid = replace(lattice(), shape=(46, 49, 49), k_offsets_mm=offsets)
    dose = linear_dose((0.2, -0.1, 0.3), grid)
    inner = (slice(13, -13),) * 3  # 30 mm inside: six sigma
    assert blurred(dose, sigma).array_gy[inner] == pytest.approx(dose.array_gy[inner], abs=3e-5)


@pytest.mark.parametrize("axis", range(3))
def test_a_blurred_step_is_the_error_function(axis):
    """A step is a ramp between two voxel centres, whose convolution is the mean of the error
    function over the ramp; for voxels much finer than sigma it is the error function itself."""
    spacing, sigma = 0.5, 3.0
    line = (np.arange(121) >= 60).astype(np.float32) * 20
    shape = [3, 3, 3]
    shape[axis] = 121
    array = np.broadcast_to(line.reshape([-1 if a == axis else 1 for a in range(3)]), shape)
    grid = Grid(np.zeros(3), np.eye(3), np.full(3, spacing), tuple(shape))
    found = np.moveaxis(blurred(Dose(array, grid), sigma).array_gy, axis, 0)[:, 1, 1]
    x = (np.arange(121) - 59.5) * spacing
    assert found == pytest.approx(10 * (1 + erf(x / (sigma * math.sqrt(2)))), abs=0.02)

    def integral(x):  # of the error function's step
        return x * norm.cdf(x / sigma) + sigma * norm.pdf(x / sigma)

    ramp = 20 * (integral(x + spacing / 2) - integral(x - spacing / 2)) / spacing
    assert found == pytest.approx(ramp, abs=1e-5)


def test_a_blur_that_is_wide_against_the_voxels_is_that_of_scipy():
    grid = lattice(20.0, (1.0, 1.25, 2.0))
    values = np.random.default_rng(3).random(grid.shape)
    smooth = gaussian_filter(60 * values, 3.0, mode="nearest").astype(np.float32)
    sigma = 6.0
    theirs = gaussian_filter(
        smooth.astype(np.float64), sigma / grid.spacing_mm[::-1], mode="nearest", truncate=8
    )
    # Linear interpolation between voxels adds a variance of at most h^2/6 to that of the blur.
    width = float(np.ptp(smooth))
    assert blurred(Dose(smooth, grid), sigma).array_gy == pytest.approx(theirs, abs=0.02 * width)
    assert np.ptp(theirs) < 0.6 * width  # the blur did something


def test_edges_go_on_as_they_are_and_the_blur_widens_no_range():
    grid = lattice(10.0)
    dose = Dose(np.random.default_rng(5).random(grid.shape).astype(np.float32), grid)
    array = blurred(dose, 4.0).array_gy
    assert array.dtype == np.float32
    assert array.shape == grid.shape
    assert array.min() >= dose.array_gy.min() - 1e-6
    assert array.max() <= dose.array_gy.max() + 1e-6
    uniform = Dose(np.full(grid.shape, 7, dtype=np.float32), grid)
    assert blurred(uniform, 30.0).array_gy == pytest.approx(np.full(grid.shape, 7.0), rel=1e-6)


def test_random_errors_alone_blur_the_dose_once():
    grid = lattice(spacing=(0.5, 2.5, 2.5))
    step = (grid.origin_mm[0] + 0.5 * np.arange(241) > 11).astype(np.float32) * 60
    dose = Dose(np.broadcast_to(step, grid.shape), grid)
    errors = ErrorModel(systematic_mm=0.0, random_mm=4.0, contour_spacing=False)
    assert len(variants_of(dose, DvhOptions(), errors)) == 1
    found = band_of(sphere(), dose, errors)
    planned = mean_of(sphere(), dose)
    # Mean over the sphere of the normal distribution up to the step at 11.25 mm (voxels: 0.5 mm).
    z, weight = np.polynomial.legendre.leggauss(60)
    share = weight @ (norm.cdf((RADIUS * z - 11.25) / 4.0) * (1 - z**2)) / (4 / 3)
    assert found.high["Dmean_Gy"] == pytest.approx(60 * share, rel=0.005)  # the step is a ramp
    assert found.low["Dmean_Gy"] == pytest.approx(planned, abs=1e-9)


# -- Monte Carlo ----------------------------------------------------------------------------------


def test_monte_carlo_is_reproducible_and_within_its_statistical_error():
    sigma, draws = 2.0, 200
    errors = ErrorModel(sigma, 0.0, "monte-carlo", draws, seed=11, contour_spacing=False)
    dose = linear_dose()
    found = band_of(sphere(), dose, errors)
    few = replace(errors, draws=20)
    first, again = band_of(sphere(), dose, few), band_of(sphere(), dose, few)
    assert first.low == again.low
    assert first.high == again.high
    other = band_of(sphere(), dose, replace(few, seed=12))
    assert other.low["Dmean_Gy"] != first.low["Dmean_Gy"]
    # Dmean is normally distributed with SLOPE sigma; the standard error of its 5th percentile is
    # sqrt(p (1 - p) / n) / density; three of them.
    spread = SLOPE * sigma
    quantile = norm.ppf(0.95)
    error = 3 * spread * math.sqrt(0.05 * 0.95 / draws) / norm.pdf(quantile)
    mean = mean_of(sphere(), dose)
    assert found.high["Dmean_Gy"] - mean == pytest.approx(spread * quantile, abs=error)
    assert mean - found.low["Dmean_Gy"] == pytest.approx(spread * quantile, abs=error)


# -- spacing of the contours ----------------------------------------------------------------------


@pytest.mark.parametrize("caps", ["half-slice", "none", "adaptive"])
@pytest.mark.parametrize("offset", [0.0, 0.3, 0.7, 1.0])
def test_the_variants_of_a_sphere_enclose_its_volume(caps, offset):
    errors = ErrorModel(systematic_mm=0.0)
    options = DvhOptions(end_caps=caps)
    found = band_of(sphere(offset=offset), linear_dose(), errors, options)
    assert found.low["volume_cc"] <= SPHERE_CC * (1 + 1e-3)  # vertices on a polygon
    assert found.high["volume_cc"] >= SPHERE_CC * (1 - 1e-3)
    # What lies beyond the end planes is less than two slices of the end sections' size.
    assert 0.01 < found.high["volume_cc"] / found.low["volume_cc"] - 1 < 0.1
    assert len(variants_of(linear_dose(), options, errors)) == 5


# -- what is not known ----------------------------------------------------------------------------


def test_a_metric_that_a_variant_lacks_has_no_band():
    found = band_of(sphere(), linear_dose(), ErrorModel(), metrics=("D4.19cc[Gy]", "D9cc[Gy]"))
    assert compute_dvh(sphere(), linear_dose()).D("4.19cc") > 0
    for name in ("D4.19cc_Gy", "D9cc_Gy", "CI_RTOG"):  # smaller without caps; never; no isodoses
        assert found.low[name] is None
        assert found.high[name] is None
    assert found.low["D1cc_Gy"] < found.high["D1cc_Gy"]


def test_a_shift_out_of_the_grid_leaves_lower_ends_only():
    """The sphere ends 2 mm from the end of the grid: shifts of 3 mm along x lose a cap."""
    dose = linear_dose()
    edge = dose.grid.corners_mm(edges=True)[:, 0].max()
    roi = sphere(centre=(edge - RADIUS - 2, 0, 0))
    assert not compute_dvh(roi, dose).is_partial
    found = band_of(roi, dose, ONLY_SHIFTS)
    assert found.flags == (LEAVES_GRID,)
    assert found.low["Dmean_Gy"] is None  # the mean of part of a structure is not its mean
    assert {found.high[name] for name in found.high if name != "volume_cc"} == {None}
    # The volume is that of the structure alone; how it is cut into boxes follows the dose grid.
    assert found.high["volume_cc"] == pytest.approx(found.low["volume_cc"], rel=1e-3)
    assert found.low["V50Gy_%"] == pytest.approx(100 * (1 - cap_share(1.0)), abs=0.05)
    assert np.isnan(found.high_percent).all()
    assert np.isfinite(found.low_percent).all()
    excluded = band_of(roi, dose, ONLY_SHIFTS, DvhOptions(outside_dose="exclude"))
    assert excluded.flags == ()
    assert excluded.low["Dmean_Gy"] < excluded.high["Dmean_Gy"]


def cap_share(height: float) -> float:
    """Volume of a cap of the sphere, relative to the sphere."""
    return math.pi * height**2 * (3 * RADIUS - height) / 3 / (SPHERE_CC * 1000)


def test_a_structure_without_volume_has_no_band():
    empty = Contours.from_loops("nothing", [])
    found = band_of(empty, linear_dose(), ErrorModel())
    assert set(found.low.values()) == {None}
    assert np.isnan(found.low_percent).all()
