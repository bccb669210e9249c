"""End caps that follow the trend of the last cross-sections.

Near its end a structure's cross-section, raised to the right power, is a low-order polynomial of
the position: the area for spheres and ellipsoids, its root for cones, its square for a cylinder
that lies in the plane, its power 2/3 for a lying cone. The power that best foretells the last known
section from the three before it is taken, and its parabola continued until it closes, at most one
slice: the next plane holds no contour, so the structure has ended there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

POWERS = (0.5, 2 / 3, 1.0, 2.0)
# The last section must be foretold this well for the trend to be believed.
PREDICTION_TOLERANCE = 0.25
# A trend that closes within so many slices is taken to close within the one that is free.
CLOSES_WITHIN = 1.5
# Powers whose predictions differ by less are equally good; the lower one is taken (a cone's area
# touches zero without crossing it, its root crosses).
EQUALLY_GOOD = 1e-4
PIECES = 8  # of equal thickness, in which a cap is handed on


class Cap(NamedTuple):
    """A cap of `length_mm`, in pieces of equal thickness from the last plane outwards, each holding
    the last section times `scale`."""

    length_mm: float
    scale: np.ndarray


def half_slice_cap(gap_mm: float) -> Cap:
    """The last section, continued for half of the distance to its neighbour."""
    return Cap(gap_mm / 2, np.ones(1))


def adaptive_cap(distance_mm: np.ndarray, area_mm2: np.ndarray) -> Cap:
    """The cap beyond the first section; `distance_mm` (n,) counts inwards from there, ascending.

    Flat ends (the section does not shrink, or would close beyond one slice) become half a slice; so
    do ends whose trend the last four sections do not show.
    """
    gap = float(distance_mm[1])
    if len(distance_mm) < 4 or area_mm2[0] >= area_mm2[1]:
        return half_slice_cap(gap)
    position, area = -distance_mm[:4], area_mm2[:4]
    errors = [
        abs(_section(_parabola(position[1:], area[1:] ** power, 0.0), power) / area[0] - 1)
        for power in POWERS
    ]
    best = min(errors)
    if best > PREDICTION_TOLERANCE:
        return half_slice_cap(gap)
    power = next(p for p, error in zip(POWERS, errors, strict=True) if error <= best + EQUALLY_GOOD)
    outwards = np.linspace(0.0, CLOSES_WITHIN * gap, 301)
    closed = np.flatnonzero(_parabola(position[:3], area[:3] ** power, outwards) <= 0)
    length = min(float(outwards[closed[0]]), gap) if closed.size else gap / 2
    nodes, weights = np.polynomial.legendre.leggauss(4)
    edges = np.arange(PIECES)[:, None] + (nodes + 1) / 2
    values = _parabola(position[:3], area[:3] ** power, edges * length / PIECES)
    scale = _section(values, power) @ (weights / 2) / area[0]
    return Cap(length, np.clip(scale, 0.0, 1.0))


def _section(value: np.ndarray, power: float) -> np.ndarray:
    """Area from its power; nothing below zero."""
    return np.maximum(value, 0.0) ** (1 / power)


def _parabola(x: np.ndarray, y: np.ndarray, at: float | np.ndarray) -> np.ndarray:
    """The parabola through three points, at other places (Lagrange)."""
    at = np.asarray(at, dtype=np.float64)
    total = np.zeros(at.shape)
    for i in range(3):
        a, b = (j for j in range(3) if j != i)
        total += y[i] * (at - x[a]) * (at - x[b]) / ((x[i] - x[a]) * (x[i] - x[b]))
    return total
