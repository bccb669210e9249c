"""How much of one structure lies inside another, by volume."""

from __future__ import annotations

import math

import numpy as np

from ..geometry import ORTHOGONALITY_TOLERANCE
from ..model import Contours
from .coverage import Lattice
from .interpolation import Layers
from .sections import ContourSections, NoSections, contour_sections

# Cells and layers of about this size; larger cells where two structures span a wide field.
STEP_MM, MAX_CELLS = 1.0, 4e5


def share_inside(inner: Contours, outer: Contours) -> float:
    """Share (0..1) of the volume of `inner` that lies inside `outer`.

    Both are cut into cells of a common lattice times thin layers; every plane's coverage is exact
    (`coverage.cover`), and a cell counts by the smaller of the two covered shares, which differs
    from the truth only where both outlines cross one cell of about 1 mm. The shape between planes
    is interpolated and reaches half a slice beyond the end planes. nan where either has no volume,
    their planes are not parallel, or they lie in different frames of reference.
    """
    if inner.frame_uid and outer.frame_uid and inner.frame_uid != outer.frame_uid:
        return math.nan
    own = contour_sections(inner, np.eye(3))
    if isinstance(own, NoSections):
        return math.nan
    other = contour_sections(outer, own.axes.T)
    if isinstance(other, NoSections) or not _parallel(own, other):
        return math.nan
    lattice = _lattice(own, other)
    cells, around = own.coverage(lattice).share, other.coverage(lattice).share
    layers, near = (_layers(s, c, lattice) for s, c in ((own, cells), (other, around)))
    total = common = 0.0
    for n in range(len(layers)):
        section = _section(layers, n, cells)
        thickness = layers.high_mm[n] - layers.low_mm[n]
        total += float(section.sum()) * thickness
        middle = (layers.low_mm[n] + layers.high_mm[n]) / 2
        hit = np.flatnonzero((near.low_mm <= middle) & (middle < near.high_mm))
        if hit.size:
            both = np.minimum(section, _section(near, int(hit[0]), around))
            common += float(both.sum()) * thickness
    return common / total if total > 0 else math.nan


def _parallel(a: ContourSections, b: ContourSections) -> bool:
    return bool(np.allclose(a.axes, b.axes, atol=ORTHOGONALITY_TOLERANCE))


def _lattice(a: ContourSections, b: ContourSections) -> Lattice:
    """Cells that hold the outlines of both."""
    low = np.minimum(a.bounds_mm[0], b.bounds_mm[0]) - STEP_MM
    high = np.maximum(a.bounds_mm[1], b.bounds_mm[1]) + STEP_MM
    step = max(STEP_MM, math.sqrt(float(np.prod(high - low)) / MAX_CELLS))
    nu, nv = (int(n) for n in np.ceil((high - low) / step))
    return Lattice((float(low[0]), float(low[1])), (step, step), (nv, nu))


def _layers(sections: ContourSections, share: np.ndarray, lattice: Lattice) -> Layers:
    area = share.sum(axis=(1, 2), dtype=np.float64) * lattice.cell_mm2
    return sections.layers(area, "half-slice", "interpolate", STEP_MM, ())


def _section(layers: Layers, n: int, share: np.ndarray) -> np.ndarray:
    """Covered share of every cell in a layer; no more than the whole cell."""
    first, second = layers.weight_first[n], layers.weight_second[n]
    section = first * share[layers.first[n]] + second * share[layers.second[n]]
    return np.clip(section, 0.0, 1.0)
