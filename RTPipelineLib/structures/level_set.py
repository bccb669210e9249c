"""Covered shares of voxels from the distance to a surface."""

from __future__ import annotations

import numpy as np


def share_below_plane(distance_mm: np.ndarray, widths_mm: np.ndarray) -> np.ndarray:
    """Share of a box that lies on the inner side of a plane, exactly.

    `distance_mm` (n,) is that of the box's centre to the plane, positive inside; `widths_mm` (n, 3)
    are the box's edges times the components of the plane's normal. A plane cuts a box in the
    distribution of the sum of three even ones of these widths (Scardovelli and Zaleski, Journal of
    Computational Physics 164 (2000) 228).
    """
    w = np.abs(widths_mm.astype(np.float64))
    w = np.maximum(w, 1e-3 * w.max(axis=1, keepdims=True) + 1e-12)
    half = w.sum(axis=1) / 2
    near = np.clip(half - np.abs(distance_mm), 0.0, None)  # the smaller part: no cancellation
    volume = np.zeros(len(w))
    for corner in range(8):
        picked = [bool(corner >> a & 1) for a in range(3)]
        rest = np.clip(near - w @ np.array(picked, dtype=np.float64), 0.0, None)
        volume += (-1) ** sum(picked) * rest**3
    volume /= 6 * w.prod(axis=1)
    return np.where(distance_mm > 0, 1 - volume, volume)


def coarse_mean(fine: np.ndarray, divide: tuple[int, int, int]) -> np.ndarray:
    """Mean over blocks of `divide` fine voxels."""
    nk, nj, ni = (n // d for n, d in zip(fine.shape, divide, strict=True))
    blocks = fine.reshape(nk, divide[0], nj, divide[1], ni, divide[2])
    return blocks.mean(axis=(1, 3, 5), dtype=np.float32)


def share_in_level_set(level_mm: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Covered share of voxels `[k, j, i]` from the signed distance of their centres (positive
    inside); float32."""
    share = (level_mm > 0).astype(np.float32)
    half = float(np.linalg.norm(spacing_mm)) / 2
    band = np.nonzero(np.abs(level_mm) < half)
    if not band[0].size:
        return share
    slope = np.empty((len(band[0]), 3))
    for axis, step in enumerate(spacing_mm):
        after, before = list(band), list(band)
        after[axis] = np.minimum(band[axis] + 1, level_mm.shape[axis] - 1)
        before[axis] = np.maximum(band[axis] - 1, 0)
        width = np.maximum(after[axis] - before[axis], 1) * step
        slope[:, axis] = (level_mm[tuple(after)] - level_mm[tuple(before)]) / width
    # Interpolated distances do not rise by 1 mm a mm; what counts is where they are 0.
    length = np.maximum(np.linalg.norm(slope, axis=1), 0.1)
    distance = level_mm[band] / length
    share[band] = share_below_plane(distance, slope / length[:, None] * np.array(spacing_mm))
    return share
