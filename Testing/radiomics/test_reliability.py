"""Reliability against published examples, an analysis of variance and the bounds' own promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from RTPipelineLib.radiomics.reliability import (
    Reliability,
    coefficient_of_variation,
    intraclass_correlation,
    quartile_dispersion,
    repeatability,
)

# Four judges on six targets: Shrout and Fleiss, Psychological Bulletin 86 (1979) 420, table 2.
SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
)


def test_the_published_example() -> None:
    """ICC(3,1) is 0.71 there; psych::ICC of R prints bounds of 0.34 and 0.95 for it."""
    icc, low, high = intraclass_correlation(SHROUT_FLEISS)
    assert (round(float(icc), 2), round(float(low), 2), round(float(high), 2)) == (0.71, 0.34, 0.95)


def test_an_analysis_of_variance_by_another_program() -> None:
    """Mean squares by statsmodels 0.14 (`anova_lm` of a two-way model), put into the formulas."""
    s, k = np.arange(7)[:, None], np.arange(5)[None, :]
    values = 10 * np.sin(1.7 * s) + 3 * np.cos(2.3 * k) + 2 * np.sin(5.1 * s * (k + 1))
    found = intraclass_correlation(np.round(values, 3))
    expected = (0.970703667759003, 0.9161876009927314, 0.9941648879882637)
    np.testing.assert_allclose(found, expected, rtol=1e-9)  # rounding of two summations


@pytest.mark.parametrize("truth", [0.2, 0.75, 0.95])
def test_bounds_hold_the_truth_as_often_as_they_say(truth: float) -> None:
    random = np.random.default_rng(7)
    tables = 20_000
    subject = random.normal(0, np.sqrt(truth), (tables, 12, 1))
    values = subject + random.normal(0, np.sqrt(1 - truth), (tables, 12, 6)) + np.arange(6)
    _, low, high = intraclass_correlation(values)
    below, above = (truth < low).mean(), (truth > high).mean()
    # Each side 2.5 %; the standard error of 20,000 trials is 0.11 %, four of them are allowed.
    assert below == pytest.approx(0.025, abs=0.0045)
    assert above == pytest.approx(0.025, abs=0.0045)


@given(
    offset=st.floats(-1e3, 1e3),
    factor=st.floats(1e-3, 1e150) | st.floats(-1e3, -1e-3),
    seed=st.integers(0, 2**32 - 1),
)
def test_units_and_constant_shifts_do_not_matter(offset: float, factor: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(0, 1, (5, 1)) + random.normal(0, 0.3, (5, 4))
    shifts = np.arange(4) * offset / 1e3
    np.testing.assert_allclose(
        intraclass_correlation((values + shifts) * factor),
        intraclass_correlation(values),
        atol=1e-9,  # of values of order 1, cancellation included
    )


def test_many_features_at_once_are_each_alone() -> None:
    values = np.random.default_rng(3).normal(0, 1, (20, 6, 4)).cumsum(axis=1)
    together = np.array(intraclass_correlation(values))
    apart = np.array([intraclass_correlation(table) for table in values]).T
    np.testing.assert_array_equal(together, apart)


def test_perfect_repetition_and_none_at_all() -> None:
    subjects = np.array([1.0, 2, 5, 9])[:, None]
    icc, low, high = intraclass_correlation(subjects + np.arange(3))  # judges differ by constants
    assert (icc, low, high) == (1, 1, 1)
    assert np.isnan(intraclass_correlation(np.full((4, 3), 7.1))).all()
    assert np.isnan(intraclass_correlation(np.ones((1, 3)))).all()
    icc, low, _ = intraclass_correlation(np.array([[1.0, 2], [2, 1]]))
    assert icc == -1 and low == -1


def test_coefficients_of_variation() -> None:
    np.testing.assert_allclose(coefficient_of_variation([[9.0, 10, 11], [-9, -10, -11]]), 10)
    assert coefficient_of_variation([0.0, 0, 0]) == 0
    assert np.isinf(coefficient_of_variation([-1.0, 0, 1]))
    # Quartiles of 1..9 are 3 and 7.
    assert quartile_dispersion(np.arange(1.0, 10)) == pytest.approx(40)
    assert quartile_dispersion(-np.arange(1.0, 10)) == pytest.approx(40)
    assert quartile_dispersion([4.0, 4, 4]) == 0


def test_classes() -> None:
    random = np.random.default_rng(11)
    subjects = np.linspace(20, 180, 12)[:, None]

    def spread(percent: float) -> np.ndarray:
        return subjects * (1 + random.normal(0, percent / 100, (12, 9)))

    constant = np.full((12, 9), 3.0)
    gone = spread(1)
    gone[2:] = np.nan
    # Hardly any noise but also hardly any difference between the patients: CoV alone would pass.
    alike = 100 + random.normal(0, 1, (12, 9))
    found = repeatability(np.stack([spread(1), spread(13), spread(60), constant, gone, alike]))
    assert found.reliability.tolist() == [
        Reliability.ROBUST,
        Reliability.ACCEPTABLE,
        Reliability.POOR,
        Reliability.NOT_EVALUABLE,
        Reliability.NOT_EVALUABLE,
        Reliability.POOR,
    ]
    assert found.cov_percent[5] < 2
    assert found.reason.tolist()[3:5] == ["the feature does not vary", "2 of at least 3 subjects"]
    assert (found.reason[[0, 1, 2, 5]] == "").all()


def test_a_robust_feature_needs_its_lower_bound_and_not_its_estimate() -> None:
    random = np.random.default_rng(5)
    values = np.linspace(90, 110, 5)[:, None] + random.normal(0, 1.9, (5, 3))
    found = repeatability(values[None])
    assert found.icc[0] > 0.9 > found.icc_low[0]
    assert found.cov_percent[0] < 10
    assert found.reliability[0] != Reliability.ROBUST


def test_a_missing_value_costs_its_subject_for_its_feature() -> None:
    values = np.random.default_rng(2).normal(0, 1, (2, 6, 4)) + np.arange(6)[:, None] * 5
    with_hole = values.copy()
    with_hole[0, 3, 1] = np.nan
    found = repeatability(with_hole)
    whole, rest = repeatability(values), repeatability(np.delete(values, 3, axis=1))
    assert found.subjects.tolist() == [5, 6] and found.left_out.tolist() == [1, 0]
    assert found.icc.tolist() == [rest.icc[0], whole.icc[1]]


def test_nothing_measured_twice_or_nobody_at_all() -> None:
    once = repeatability(np.arange(8.0).reshape(2, 4, 1))
    assert set(once.reason) == {"measured once"}
    assert repeatability(np.empty((3, 0, 4))).reason.tolist() == ["0 of at least 3 subjects"] * 3
