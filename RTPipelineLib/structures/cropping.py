"""Body-like structures cut at landmarks, so that volumes of different patients are comparable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import DataError
from ..model import Mask

# Voxels that are covered by less say nothing about where a landmark ends.
LEAST_SHARE = 0.05


def crop_between(mask: Mask, landmarks: Sequence[Mask]) -> Mask:
    """The part of a structure between the lowest and the highest point of its landmarks, along the
    patient's axis from feet to head (LPS z).

    The cuts are planes across that axis; voxels that they cut keep the share that lies between
    them. Raises `DataError` when no landmark has a volume.
    """
    ends = [_ends_mm(landmark) for landmark in landmarks]
    low = min((end[0] for end in ends), default=np.inf)
    high = max((end[1] for end in ends), default=-np.inf)
    if not low < high:
        raise DataError("crop needs landmarks that have a volume")
    bottom, height = _z_spans_mm(mask)
    between = np.minimum(bottom + height, high) - np.maximum(bottom, low)
    share = np.clip(between / height, 0.0, 1.0).astype(np.float32)
    return replace(mask, array=mask.array.astype(np.float32) * share)


def _ends_mm(mask: Mask) -> tuple[float, float]:
    """Lowest and highest z of a mask; a partly covered end voxel is filled from the inside."""
    share = mask.array.astype(np.float64)
    there = share >= LEAST_SHARE
    if not there.any():
        return np.inf, -np.inf
    bottom, height = _z_spans_mm(mask)
    bottom = np.broadcast_to(bottom, share.shape)[there]
    filled = height * share[there]
    return float((bottom + height - filled).min()), float((bottom + filled).max())


def _z_spans_mm(mask: Mask) -> tuple[np.ndarray, float]:
    """Lower end of every voxel `[k, j, i]` along z (it broadcasts), and the voxels' height."""
    grid = mask.grid
    steps = grid.direction[2] * grid.spacing_mm  # of z along i, j, k
    i, j, k = (step * np.arange(n) for step, n in zip(steps, grid.size_ijk, strict=True))
    centre = grid.origin_mm[2] + k[:, None, None] + j[None, :, None] + i[None, None, :]
    height = float(np.abs(steps).sum())
    return centre - height / 2, height
