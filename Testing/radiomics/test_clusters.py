"""Correlation clusters: what was put together is found, and every cluster keeps its promise."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from RTPipelineLib.radiomics.clusters import correlation_clusters


def groups(random: np.random.Generator, subjects: int = 40) -> np.ndarray:
    """Three features that rise together (one of them falls), two others, and one alone."""
    a, b, c = random.normal(0, 1, (3, subjects))
    noise = random.normal(0, 0.05, (2, subjects))
    return np.stack([a, np.exp(a), b, -a + noise[0], b**3 + noise[1], c], axis=1)


def test_features_that_were_made_from_one_are_one_cluster() -> None:
    found = correlation_clusters(groups(np.random.default_rng(0)), 0.9)
    assert found.number.tolist() == [1, 1, 2, 1, 2, 3]
    assert found.representative.sum() == 3
    assert found.representative[5] and found.least[5] == 1


def test_the_most_robust_feature_stands_for_its_cluster() -> None:
    values = groups(np.random.default_rng(0))
    robustness = np.array([0.2, np.nan, np.nan, 0.8, np.nan, np.nan])
    found = correlation_clusters(values, 0.9, robustness)
    assert found.representative.tolist() == [
        False,
        False,
        *found.representative[2:3],
        True,
        *found.representative[4:5],
        True,
    ]
    assert found.representative[[2, 4]].sum() == 1


@given(seed=st.integers(0, 2**32 - 1), threshold=st.floats(0.1, 0.99))
@settings(max_examples=40)
def test_any_two_of_a_cluster_correlate_as_promised(seed: int, threshold: float) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(0, 1, (15, 4)) @ random.normal(0, 1, (4, 12))
    values += random.normal(0, 0.3, values.shape)
    found = correlation_clusters(values, threshold)
    rho = np.abs(stats.spearmanr(values).statistic)
    for cluster in range(1, found.number.max() + 1):
        members = np.flatnonzero(found.number == cluster)
        assert found.representative[members].sum() == 1
        among = rho[np.ix_(members, members)]
        assert among.min() >= threshold - 1e-9
        np.testing.assert_allclose(found.least[members], among.min(axis=1), atol=1e-12)


def test_what_cannot_be_clustered_says_why() -> None:
    values = groups(np.random.default_rng(0))
    values[3, 1] = np.nan
    values[:, 4] = 7
    found = correlation_clusters(values, 0.9)
    assert found.number[[1, 4]].tolist() == [0, 0]
    assert found.reason[[1, 4]].tolist() == [
        "missing for some subject",
        "the same for all subjects",
    ]
    few = correlation_clusters(values[:9], 0.9)
    assert set(few.reason) == {"9 of at least 10 subjects"} and not few.number.any()
    assert correlation_clusters(np.empty((0, 3)), 0.9).number.tolist() == [0, 0, 0]
    assert correlation_clusters(np.empty((20, 0)), 0.9).number.size == 0
