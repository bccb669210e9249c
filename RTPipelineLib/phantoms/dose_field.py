"""A plausible dose: conformal plateaus on the targets, penumbra, and beams that enter the body.

No transport is calculated. What matters here is that the dose has the features on which dose-volume
work depends: steep gradients at target edges, simultaneous levels, a low-dose bath, no dose in air.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from ..geometry import Grid
from .anatomy import Anatomy
from .ct import ORIENTATIONS, box_axes
from .solids import Solid

MARGIN_MM = 5.0  # the half-value surface lies so far outside the target
PENUMBRA_MM = 1.7  # slope of the logistic edge; 20 to 80 % is 2.8 times as long
BEAM_SHARE = 0.45  # dose beside the target where all beams cross, over the prescription
ATTENUATION_PER_MM = 0.0045  # 6 MV photons in water, beyond the build-up
SCATTER_SHARE, SCATTER_MM = 0.04, 70.0
INHOMOGENEITY = 0.006
GANTRY_ANGLES_DEG = (20.0, 72.0, 123.0, 175.0, 226.0, 277.0, 329.0)

Level = tuple[Solid, float]


def plausible_dose(
    anatomy: Anatomy,
    levels: Sequence[Level],
    grid: Grid,
    rng: np.random.Generator,
    position: str = "HFS",
) -> np.ndarray:
    """Dose in Gy, float32 `[k, j, i]`, on an identity-oriented grid in anatomy coordinates.

    `levels` are targets with their doses; where targets overlap the higher dose holds. The median
    dose of the highest target is 1 % above its prescription. `position` is the Patient Position:
    the beams turn with the patient.
    """
    masks: dict[float, np.ndarray] = {}
    for solid, dose in levels:
        masks[dose] = masks.get(dose, False) | _mask(solid, grid)
    lowest, highest = min(masks), max(masks)
    everything = np.logical_or.reduce(list(masks.values()))
    distance = _signed_distance(everything, grid)
    edge = _window(distance - MARGIN_MM)
    beams = BEAM_SHARE * lowest * _beams(everything, grid, position)
    scatter = SCATTER_SHARE * highest * np.exp(-np.maximum(distance, 0) / SCATTER_MM)
    field = lowest * edge + (1 - edge) * beams + scatter
    for below, dose in pairwise(sorted(masks)):
        reached = np.logical_or.reduce([mask for other, mask in masks.items() if other >= dose])
        field += (dose - below) * _window(_signed_distance(reached, grid) - MARGIN_MM)
    waves = gaussian_filter(rng.normal(size=grid.shape), 3.0)
    field *= 1 + INHOMOGENEITY * waves / waves.std()
    field *= np.clip(gaussian_filter(_mask(anatomy.body.solid, grid).astype(np.float32), 0.8), 0, 1)
    field = gaussian_filter(field, 0.6)
    median = float(np.median(field[masks[highest]]))
    return (field * (1.01 * highest / median)).astype(np.float32)


def _mask(solid: Solid, grid: Grid) -> np.ndarray:
    mask = np.zeros(grid.shape, dtype=bool)
    box, x, y, z = box_axes(grid, solid.bounds_mm)
    mask[box] = solid.inside(x, y, z)
    return mask


def _signed_distance(mask: np.ndarray, grid: Grid) -> np.ndarray:
    """mm to the surface of a mask, negative inside."""
    spacing = grid.spacing_mm[::-1]
    outside = distance_transform_edt(~mask, spacing)
    inside = distance_transform_edt(mask, spacing)
    return (outside - inside + np.where(mask, 0.5, -0.5) * spacing.min()).astype(np.float32)


def _beams(target: np.ndarray, grid: Grid, position: str) -> np.ndarray:
    """Sum of fields as wide as the target, 1 where all cross, falling off with depth."""
    points = grid.origin_mm + np.argwhere(target)[:, ::-1] * grid.spacing_mm
    centre = (points.min(axis=0) + points.max(axis=0)) / 2
    reach = np.ptp(points, axis=0) / 2 + MARGIN_MM
    x, y, z = (
        grid.origin_mm[a] + grid.spacing_mm[a] * np.arange(grid.size_ijk[a]) - centre[a]
        for a in range(3)
    )
    along_z = _window(np.abs(z) - reach[2])[:, None, None]
    total = np.zeros(grid.shape, dtype=np.float32)
    row, column = np.array(ORIENTATIONS[position], dtype=np.float64).reshape(2, 3)[:, :2]
    for angle in np.radians(GANTRY_ANGLES_DEG):
        # Gantry 0 shines down the columns, gantry 90 comes from where the rows run to (IEC 61217).
        dx, dy = np.cos(angle) * column - np.sin(angle) * row
        depth = dx * x[None, :] + dy * y[:, None]
        side = dy * x[None, :] - dx * y[:, None]
        half_width = np.hypot(dy * reach[0], dx * reach[1])
        plane = _window(np.abs(side) - half_width) * np.exp(-ATTENUATION_PER_MM * depth)
        total += (along_z * plane).astype(np.float32)
    return total / len(GANTRY_ANGLES_DEG)


def _window(beyond_mm: np.ndarray) -> np.ndarray:
    """1 inside a field, 0 outside, with the penumbra's slope at the edge."""
    return 1 / (1 + np.exp(np.clip(beyond_mm / PENUMBRA_MM, -50, 50)))
