"""How well a feature is repeated: intraclass correlation, coefficients of variation, classes.

Values come as `(.., subjects, measurements)`: the same feature of the same ROI of several patients,
measured again under perturbation, on a second scan, or on a ROI that somebody else has drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

# Fewer subjects say nothing about the spread between them.
MIN_SUBJECTS = 3
# A feature whose values differ by less than this share of the largest does not vary.
_NO_VARIANCE = 1e-9
_CONFIDENCE = 0.95


class Reliability(StrEnum):
    """Verdict on a feature."""

    ROBUST = "robust"
    ACCEPTABLE = "acceptable"
    POOR = "poor"
    NOT_EVALUABLE = "not evaluable"


# Least lower bound of the ICC and largest CoV in percent; 0.90 and 0.75 are the limits of
# "excellent" and "good" of Koo and Li, Journal of Chiropractic Medicine 15 (2016) 155, who compare
# the bounds with them and not the estimate.
LIMITS = {Reliability.ROBUST: (0.90, 10.0), Reliability.ACCEPTABLE: (0.75, 20.0)}


@dataclass(frozen=True, eq=False)
class Repeatability:
    """Statistics of the features of one table; all fields have the shape of its leading axes.

    `icc`, `icc_low` and `icc_high` are ICC(3,1) and its 95 % bounds; `cov_percent` and
    `qcd_percent` medians over the subjects; `subjects` those with all measurements, `left_out` the
    others. nan where a number is not defined; `reason` says why a class is `not evaluable`.
    """

    subjects: np.ndarray
    left_out: np.ndarray
    measurements: np.ndarray
    icc: np.ndarray
    icc_low: np.ndarray
    icc_high: np.ndarray
    cov_percent: np.ndarray
    qcd_percent: np.ndarray
    reliability: np.ndarray
    reason: np.ndarray


def intraclass_correlation(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ICC(3,1), the same as ICC(C,1), with its lower and upper 95 % bound.

    `values` is `(.., n, k)`: n subjects, k measurements, none missing. A two-way model, single
    measurement, consistency (Shrout and Fleiss, Psychological Bulletin 86 (1979) 420; McGraw and
    Wong, Psychological Methods 1 (1996) 30, table 7). nan where n or k is below 2 or nothing
    varies; 1 where measurements differ by constants only.
    """
    from scipy import stats  # 45 MB in every process that only might need it

    values = np.asarray(values, dtype=np.float64)
    n, k = values.shape[-2:]
    if n < 2 or k < 2:
        nothing = np.full(values.shape[:-2], np.nan)
        return nothing, nothing.copy(), nothing.copy()
    scale = np.abs(values).max(axis=(-2, -1), keepdims=True)
    scaled = values / np.where(scale > 0, scale, 1)  # squares of 1e200 would overflow
    mean = scaled.mean(axis=(-2, -1), keepdims=True)
    subject = scaled.mean(axis=-1, keepdims=True)
    measurement = scaled.mean(axis=-2, keepdims=True)
    between = k * ((subject - mean) ** 2).sum(axis=(-2, -1)) / (n - 1)
    rest = scaled - subject - measurement + mean
    error = (rest**2).sum(axis=(-2, -1)) / ((n - 1) * (k - 1))
    error = np.where(error > _NO_VARIANCE**2, error, 0.0)
    varies = (between > k * _NO_VARIANCE**2) | (error > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        f = between / error
        bounds = (_CONFIDENCE + 1) / 2
        low = f / stats.f.ppf(bounds, n - 1, (n - 1) * (k - 1))
        high = f * stats.f.ppf(bounds, (n - 1) * (k - 1), n - 1)
        results = [np.where(np.isinf(r), 1.0, (r - 1) / (r + k - 1)) for r in (f, low, high)]
    icc, lower, upper = (np.where(varies, r, np.nan) for r in results)
    return icc, lower, upper


def coefficient_of_variation(values: np.ndarray) -> np.ndarray:
    """Sample standard deviation over the last axis as a percentage of the mean's size; 0 where
    nothing varies, inf about a mean of 0."""
    values = np.asarray(values, dtype=np.float64)
    spread = values.std(axis=-1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = 100 * spread / np.abs(values.mean(axis=-1))
    return np.where(spread > 0, share, 0.0)


def quartile_dispersion(values: np.ndarray) -> np.ndarray:
    """Quartile coefficient of dispersion, 100 (Q3 - Q1) / |Q3 + Q1|, over the last axis; 0 where
    nothing varies. Quartiles by linear interpolation (Bonett, Computational Statistics and Data
    Analysis 50 (2006) 2953)."""
    low, high = np.percentile(np.asarray(values, dtype=np.float64), (25, 75), axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = 100 * (high - low) / np.abs(high + low)
    return np.where(high > low, share, 0.0)


def repeatability(values: np.ndarray) -> Repeatability:
    """Statistics and class of every feature of `(features, subjects, measurements)`.

    Values that are missing are nan; subjects with any of them are left out for that feature.
    Features that miss the same subjects are worked on together.
    """
    values = np.asarray(values, dtype=np.float64)
    features, subjects, measurements = values.shape
    complete = np.isfinite(values).all(axis=2)
    results = {name: np.full(features, np.nan) for name in ("icc", "low", "high", "cov", "qcd")}
    patterns, member = np.unique(complete, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        rows = np.flatnonzero(member.ravel() == number)
        part = values[rows][:, pattern]
        if measurements < 2 or not pattern.any():
            continue
        results["icc"][rows], results["low"][rows], results["high"][rows] = intraclass_correlation(
            part
        )
        results["cov"][rows] = np.median(coefficient_of_variation(part), axis=1)
        results["qcd"][rows] = np.median(quartile_dispersion(part), axis=1)
    used = complete.sum(axis=1)
    reason = _reasons(used, measurements, results["icc"])
    return Repeatability(
        used,
        subjects - used,
        np.full(features, measurements),
        *results.values(),
        _classes(results["low"], results["cov"], reason),
        reason,
    )


def _reasons(subjects: np.ndarray, measurements: int, icc: np.ndarray) -> np.ndarray:
    """Why a feature cannot be judged; empty where it can."""
    few = np.array([f"{n} of at least {MIN_SUBJECTS} subjects" for n in subjects], dtype=object)
    rest = np.where(np.isnan(icc), "the feature does not vary", "").astype(object)
    if measurements < 2:
        rest[:] = "measured once"
    return np.where(subjects < MIN_SUBJECTS, few, rest)


def _classes(low: np.ndarray, cov: np.ndarray, reason: np.ndarray) -> np.ndarray:
    verdict = np.full(low.shape, Reliability.POOR.value, dtype=object)
    for name in (Reliability.ACCEPTABLE, Reliability.ROBUST):
        least, most = LIMITS[name]
        verdict[(low >= least) & (cov <= most)] = name.value
    verdict[reason != ""] = Reliability.NOT_EVALUABLE.value
    return verdict
