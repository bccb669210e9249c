"""Groups of features that say the same, and one of each group to go on with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Ranks of fewer subjects correlate by chance.
MIN_SUBJECTS = 10


@dataclass(frozen=True, eq=False)
class Clusters:
    """Which features belong together, all `(features,)`.

    `number` counts clusters from 1 in the order of their first feature, 0 for features without
    one: those of `reason`. `representative` marks one of each cluster. `least` is the smallest
    absolute correlation of a feature with another one of its cluster, 1 for a feature alone.
    """

    number: np.ndarray
    representative: np.ndarray
    least: np.ndarray
    reason: np.ndarray


def correlation_clusters(
    values: np.ndarray, threshold: float, robustness: np.ndarray | None = None
) -> Clusters:
    """Cluster features by Spearman's rank correlation.

    `values` is `(subjects, features)`. Complete linkage on 1 - |rho|: any two features of a cluster
    correlate by at least `threshold` (0..1), whatever the sign. A cluster is represented by its
    feature of the greatest `robustness` (features,), as the lower bound of an ICC, where that is
    known for one of them, and otherwise by the one that correlates best with the others.

    Features that are missing for a subject or never vary are in no cluster; with fewer than 10
    subjects none is.
    """
    values = np.asarray(values, dtype=np.float64)
    subjects, features = values.shape
    reason = np.full(features, "", dtype=object)
    reason[~np.isfinite(values).all(axis=0)] = "missing for some subject"
    if subjects:
        reason[(reason == "") & (np.ptp(values, axis=0) == 0)] = "the same for all subjects"
    if subjects < MIN_SUBJECTS:
        reason[:] = f"{subjects} of at least {MIN_SUBJECTS} subjects"
    usable = np.flatnonzero(reason == "")
    number = np.zeros(features, dtype=np.int64)
    chosen = np.zeros(features, dtype=bool)
    least = np.full(features, np.nan)
    if usable.size:
        rho = np.abs(_spearman(values[:, usable]))
        number[usable] = _numbers(rho, threshold)
        known = np.full(features, np.nan) if robustness is None else np.asarray(robustness, float)
        for cluster in range(1, number.max() + 1):
            members = np.flatnonzero(number[usable] == cluster)
            among = rho[np.ix_(members, members)]
            least[usable[members]] = among.min(axis=1)
            chosen[usable[_best(members, among, known[usable])]] = True
    return Clusters(number, chosen, least, reason)


def _spearman(values: np.ndarray) -> np.ndarray:
    """(features, features) rank correlations."""
    from scipy import stats  # 45 MB in every process that only might need it

    ranks = stats.rankdata(values, axis=0)
    ranks -= ranks.mean(axis=0)
    ranks /= np.linalg.norm(ranks, axis=0)
    rho = np.clip(ranks.T @ ranks, -1, 1)
    np.fill_diagonal(rho, 1)
    return rho


def _numbers(rho: np.ndarray, threshold: float) -> np.ndarray:
    """Cluster of each feature, counted in the order of first features."""
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    if len(rho) == 1:
        return np.ones(1, dtype=np.int64)
    tree = hierarchy.linkage(squareform(1 - rho, checks=False), "complete")
    # Rounding does not part features that are the same.
    flat = hierarchy.fcluster(tree, 1 - threshold + 1e-12, "distance")
    _, first, inverse = np.unique(flat, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse] + 1


def _best(members: np.ndarray, among: np.ndarray, robustness: np.ndarray) -> int:
    """The member that stands for its cluster."""
    known = robustness[members]
    if np.isfinite(known).any():
        known = np.where(np.isfinite(known), known, -np.inf)
        members, among = members[known == known.max()], among[known == known.max()]
    return int(members[among.mean(axis=1).argmax()])
