"""How a structure is laid out for its DVH: the boxes that it is cut into, on the dose voxels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from ..model import Dose
from ..structures.coverage import Lattice
from ..structures.interpolation import BetweenPlanes, EndCaps, Layers
from ..structures.polygons import TangledError
from ..structures.sections import (
    TANGLED,
    ContourSections,
    MaskSections,
    NoSections,
    PlaneCoverage,
)
from .sampling import AlignedDose, ObliqueDose, dose_sampler

OutsideDose = Literal["unknown", "zero", "exclude"]

# A structure is cut into about so many boxes: small ones finely, large ones as coarsely as the
# dose voxels (each box carries exact coverage and spreads over its dose range).
TARGET_BOXES = 30_000
# But the block around a structure never holds more (scattered or hollow structures fill little of
# theirs; the second limit is for a step that the caller chose).
MAX_BLOCK_BOXES, MAX_CHOSEN_BOXES = 5e6, 1e8
LEAST_EDGE_MM = 1e-3
MAX_PLANE_CELLS = 1e6


@dataclass(frozen=True)
class DvhOptions:
    """How to calculate.

    end_caps : what lies beyond the first and the last contour: half a slice, nothing, or the trend
        of the last sections (at most one slice).
    between_planes : `interpolate` the shape, or let each contour stand for its `slab`.
    outside_dose : volume outside the dose grid has `unknown` dose, or `zero`, or is left out
        (`exclude`).
    step_mm : largest edge of the boxes; None chooses it from the size of the structure and the dose
        grid.
    compiled : use numba where it is installed: the same numbers to 1e-6. Worth its start (half a
        second, and some ten more the first time on a machine) for hundreds of DVHs.
    """

    end_caps: EndCaps = "half-slice"
    between_planes: BetweenPlanes = "interpolate"
    outside_dose: OutsideDose = "unknown"
    step_mm: float | None = None
    compiled: bool = False


class Setup(NamedTuple):
    """A structure laid out for sampling.

    Lattice and layers reach no further than the dose grid; `volume_cc` is that of the whole
    structure.
    """

    sampler: AlignedDose | ObliqueDose
    lattice: Lattice
    coverage: PlaneCoverage
    layers: Layers
    thickest_mm: float
    volume_cc: float


def lay_out_contours(
    sections: ContourSections, dose: Dose, options: DvhOptions
) -> Setup | NoSections:
    """Lattice on the dose voxels, coverage, and layers of a contour stack."""
    sampler = dose_sampler(dose, sections.axes)
    rough = sections.layers(sections.area_mm2, options.end_caps, options.between_planes, np.inf, ())
    if not len(rough):
        return NoSections(sections.flags, 0.0)
    corners = (*np.stack(sections.bounds_mm, axis=1), (rough.low_mm[0], rough.high_mm[-1]))
    spans = [_meeting(corners[axis], sampler.reach_mm(axis)) for axis in range(3)]
    edge = _box_edge(rough.volume_mm3(sections.area_mm2), spans, options)
    if isinstance(sampler, AlignedDose):
        cells = [_cells(sampler, axis, *corners[axis], edge) for axis in (0, 1)]
        depth = _spacing(sampler.centres[2], edge)
        # Where layers are thin anyway, let none span a bend of the dose.
        cuts = tuple(sampler.centres[2]) if edge < depth / 2 else ()
    else:
        finest = float(dose.grid.spacing_mm.min())
        step = finest / math.ceil(finest / min(edge, finest))
        cells = [(low - step / 2, step, int((high - low) / step) + 2) for low, high in spans[:2]]
        depth, cuts = finest, ()
    (u0, du, nu), (v0, dv, nv) = cells
    lattice = Lattice((u0, v0), (du, dv), (nv, nu))
    coverage = PlaneCoverage(sections, lattice, compiled=options.compiled)
    crooked = coverage.crooked()
    if crooked:
        try:
            sections = sections.resolved(crooked)
        except TangledError:
            return NoSections((*sections.flags, TANGLED), math.nan)
        coverage = PlaneCoverage(sections, lattice, compiled=options.compiled)
    thickest = float(min(edge, depth))
    layers = sections.layers(
        sections.area_mm2,
        options.end_caps,
        options.between_planes,
        thickest,
        cuts,
        sampler.reach_mm(2),
    )
    return _setup(sampler, coverage, layers, thickest)


def lay_out_mask(sections: MaskSections, dose: Dose, options: DvhOptions) -> Setup:
    """Voxels of a mask, divided to be at most half as large as the dose voxels; layers as thick as
    those of contours."""
    sampler = dose_sampler(dose, sections.axes)
    mask = sections.mask
    volume = float(sections.area_mm2.sum()) * float(mask.grid.spacing_mm[2])
    finest = float(dose.grid.spacing_mm.min())
    size = np.array(mask.grid.size_ijk) * mask.grid.spacing_mm
    alone = _box_edge(volume, [(0.0, float(length)) for length in size], options)
    edge = min(alone, finest / 2)
    parts = [max(1, math.ceil(float(s) / edge - 1e-6)) for s in mask.grid.spacing_mm[:2]]
    # An even number keeps borders on the voxel centres, where the dose bends if the grids coincide.
    parts = [n + n % 2 if n > 1 else n for n in parts]
    coverage = PlaneCoverage(sections, sections.lattice((parts[0], parts[1])))
    if isinstance(sampler, AlignedDose):
        thickest = min(alone, _spacing(sampler.centres[2], finest))
        cuts = tuple(sampler.reach[2])
    else:
        thickest, cuts = edge, ()
    return _setup(sampler, coverage, sections.layers(thickest, cuts), thickest)


def _setup(
    sampler: AlignedDose | ObliqueDose,
    coverage: PlaneCoverage,
    layers: Layers,
    thickest_mm: float,
) -> Setup:
    """Without the layers beyond the dose grid, which count for the volume alone."""
    volume_cc = layers.volume_mm3(coverage.sections.area_mm2) / 1000
    inside = layers.between(*sampler.reach_mm(2))
    return Setup(sampler, coverage.lattice, coverage, inside, thickest_mm, volume_cc)


def _meeting(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """What two intervals have in common; where that is nothing, an end of the second."""
    low = min(max(one[0], other[0]), other[1])
    return low, max(min(one[1], other[1]), low)


def _box_edge(
    volume_mm3: float, spans_mm: Sequence[tuple[float, float]], options: DvhOptions
) -> float:
    """Edge of the boxes for a structure of this volume in a block (u, v, w)."""
    u, v, w = (high - low for low, high in spans_mm)
    plane = math.sqrt(u * v / MAX_PLANE_CELLS)
    if options.step_mm is not None:
        return max(options.step_mm, (u * v * w / MAX_CHOSEN_BOXES) ** (1 / 3), plane)
    edge = (volume_mm3 / TARGET_BOXES) ** (1 / 3)
    return max(edge, (u * v * w / MAX_BLOCK_BOXES) ** (1 / 3), plane, LEAST_EDGE_MM)


def _spacing(centres: np.ndarray, alone: float) -> float:
    return float(np.median(np.diff(centres))) if len(centres) > 1 else alone


def _cells(
    dose: AlignedDose, axis: int, low: float, high: float, edge: float
) -> tuple[float, float, int]:
    """Origin, step and number of cells along one axis: whole fractions of the dose voxels.

    Cell borders lie on the voxel centres, where the interpolated dose has its bends; in structures
    that leave the grid also on its ends, half a voxel outside.
    """
    centres, (start, end) = dose.centres[axis], dose.reach[axis]
    spacing = _spacing(centres, 2 * edge)
    parts = max(1, math.ceil(spacing / edge - 1e-6))
    if (low < start or high > end) and parts % 2:
        parts += 1
    step = spacing / parts
    low, high = _meeting((low, high), (start, end))
    first = math.floor((low - centres[0]) / step + 1e-9)
    count = max(math.ceil((high - centres[0]) / step - 1e-9) - first, 1)
    return centres[0] + first * step, step, count
