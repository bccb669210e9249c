"""The DVH of a structure in a dose grid.

A structure is a stack of exact sections (`structures.sections`), cut into boxes: cells of a lattice
in the plane times layers across it. Each box contributes its covered volume at the trilinear dose
of the covered part; the boxes' doses, spread over their own range, add up to the curve. Definitions
follow ICRU Report 83; contours PS3.3 C.8.8.6, dose grids PS3.3 C.8.8.3. The benchmark is that of
Nelms et al., Medical Physics 42 (2015) 4435.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from ..errors import GeometryError
from ..kernels import boxes_kernel
from ..model import DVH, UNKNOWN_SHARE, Contours, Dose, DvhSettings, Mask
from ..structures.coverage import Coverage, Lattice
from ..structures.interpolation import BetweenPlanes, EndCaps, Layers
from ..structures.polygons import TangledError
from ..structures.sections import (
    TANGLED,
    ContourSections,
    MaskSections,
    NoSections,
    PlaneCoverage,
    contour_sections,
    mask_sections,
)
from .histogram import DoseHistogram
from .sampling import AlignedDose, ObliqueDose, dose_sampler

OutsideDose = Literal["unknown", "zero", "exclude"]

# A structure is cut into about so many boxes: small ones finely, large ones as coarsely as the
# dose voxels (each box carries exact coverage and spreads over its dose range).
TARGET_BOXES = 30_000
# But the block around a structure never holds more (scattered or hollow structures fill little of
# theirs; the second limit is for a step that the caller chose).
MAX_BLOCK_BOXES, MAX_CHOSEN_BOXES = 5e6, 1e8
# Boxes handled at once: the working set stays in the processor's cache.
BLOCK_BOXES = 1 << 17
LEAST_EDGE_MM = 1e-3
MAX_PLANE_CELLS = 1e6
# Smaller structures than the least volume that is reported (D0.03cc) are flagged.
TINY_CC = 0.03
# Cells covered by less are rounding.
LEAST_COVERAGE = 1e-7
# Covered boxes add up to the volume of the structure within this share; what is missing beyond it
# lies outside the dose grid.
ROUNDING = 1e-5
# A voxel of a sum is complete from this share of its doses on.
FULL_SUM = 0.999
SUM_INCOMPLETE = "dose-sum-incomplete"


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


class _Setup(NamedTuple):
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


class _Boxes(NamedTuple):
    """Covered boxes (n,) inside the dose grid: volume, dose at the centre of the covered part, and
    width of the dose range.

    The width is that of the even distribution with the same variance as the dose in the box, whose
    three directions add in quadrature.
    """

    cc: np.ndarray
    mean_gy: np.ndarray
    width_gy: np.ndarray


def compute_dvh(structure: Contours | Mask, dose: Dose, options: DvhOptions | None = None) -> DVH:
    """The DVH of one structure.

    Raises `GeometryError` when the structure and the dose name different frames of reference. A
    broken structure (no contours, no area, outside the grid ..) raises nothing: its DVH has flags
    and nan where there is no number.
    """
    options = options or DvhOptions()
    if structure.frame_uid and dose.frame_uid and structure.frame_uid != dose.frame_uid:
        raise GeometryError(
            f"ROI {structure.name!r} and the dose lie in different frames of reference "
            f"({structure.frame_uid} and {dose.frame_uid}): register them first."
        )
    if isinstance(structure, Contours):
        sections = contour_sections(structure, dose.grid.direction)
    else:
        sections = mask_sections(structure)
    if isinstance(sections, NoSections):
        return _without_numbers(structure, sections)
    if isinstance(sections, ContourSections):
        setup = _setup_contours(sections, dose, options)
        if isinstance(setup, NoSections):
            return _without_numbers(structure, setup)
    else:
        setup = _setup_mask(sections, dose, options)
    flags = (*setup.coverage.sections.flags, *_sum_flags(structure, dose, options))
    return _integrate(structure, flags, setup, options)


def _setup_contours(
    sections: ContourSections, dose: Dose, options: DvhOptions
) -> _Setup | NoSections:
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


def _setup_mask(sections: MaskSections, dose: Dose, options: DvhOptions) -> _Setup:
    """Voxels of a mask, divided to be at most half as large as the dose voxels."""
    sampler = dose_sampler(dose, sections.axes)
    mask = sections.mask
    volume = float(sections.area_mm2.sum()) * float(mask.grid.spacing_mm[2])
    finest = float(dose.grid.spacing_mm.min())
    size = np.array(mask.grid.size_ijk) * mask.grid.spacing_mm
    edge = min(_box_edge(volume, [(0.0, float(length)) for length in size], options), finest / 2)
    parts = [max(1, math.ceil(float(s) / edge - 1e-6)) for s in mask.grid.spacing_mm[:2]]
    # An even number keeps borders on the voxel centres, where the dose bends if the grids coincide.
    parts = [n + n % 2 if n > 1 else n for n in parts]
    coverage = PlaneCoverage(sections, sections.lattice((parts[0], parts[1])))
    layers = sections.layers(
        edge, tuple(sampler.reach[2]) if isinstance(sampler, AlignedDose) else ()
    )
    return _setup(sampler, coverage, layers, edge)


def _setup(
    sampler: AlignedDose | ObliqueDose,
    coverage: PlaneCoverage,
    layers: Layers,
    thickest_mm: float,
) -> _Setup:
    """Without the layers beyond the dose grid, which count for the volume alone."""
    volume_cc = layers.volume_mm3(coverage.sections.area_mm2) / 1000
    inside = layers.between(*sampler.reach_mm(2))
    return _Setup(sampler, coverage.lattice, coverage, inside, thickest_mm, volume_cc)


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


def _sum_flags(structure: Contours | Mask, dose: Dose, options: DvhOptions) -> tuple[str, ...]:
    """Whether part of the structure lies where not every dose of a sum reaches."""
    if dose.coverage is None:
        return ()
    reached = replace(dose, array_gy=dose.coverage, coverage=None)
    share = compute_dvh(structure, reached, replace(options, outside_dose="unknown", step_mm=None))
    if not share.known_cc > 0 or share.min_gy >= FULL_SUM:
        return ()
    missing = share.CV(f"{FULL_SUM}Gy", "cc")
    return (SUM_INCOMPLETE,) if missing >= UNKNOWN_SHARE * share.volume_cc else ()


def _integrate(
    structure: Contours | Mask, flags: tuple[str, ...], setup: _Setup, options: DvhOptions
) -> DVH:
    """Sum the boxes of a structure into its DVH."""
    if not len(setup.layers):
        return _dvh(structure, flags, setup, options, DoseHistogram(0.0, 0.0), 0)
    low, high = setup.layers.low_mm[0], setup.layers.high_mm[-1]
    histogram = DoseHistogram(*setup.sampler.range_gy(setup.lattice, low, high))
    kernel = boxes_kernel() if options.compiled else None
    boxes = 0
    for part in _blocks(setup):
        if kernel is not None and isinstance(setup.sampler, AlignedDose):
            boxes += _add_compiled(kernel, setup, setup.sampler, part, histogram)
            continue
        covered = _covered_boxes(setup, part)
        boxes += len(covered.cc)
        histogram.add(covered.mean_gy, covered.width_gy, covered.cc)
    return _dvh(structure, flags, setup, options, histogram, boxes)


def _add_compiled(
    kernel: Callable[..., tuple[float, ...]],
    setup: _Setup,
    sampler: AlignedDose,
    part: slice,
    histogram: DoseHistogram,
) -> int:
    """`_covered_boxes` and `DoseHistogram.add` in one; returns the number of boxes."""
    layers = setup.layers
    weights = _weights(setup, part)
    begin, coverage = _window(setup, part)
    block, along_u, along_v, along_w = sampler.tables(
        setup.lattice, layers.low_mm[part], layers.high_mm[part]
    )
    none = np.empty((0, 0, 0), dtype=np.float32)
    tables = tuple(none if table is None else table for table in coverage)
    planes = (layers.first[part] - begin, layers.second[part] - begin)
    boxes = (tables, planes, weights, block, tuple(along_w), tuple(along_u), tuple(along_v))
    size = len(weights) * setup.lattice.shape[0] * setup.lattice.shape[1]
    return histogram.add_by(lambda *state: kernel(*boxes, np.float32(LEAST_COVERAGE), *state), size)


def _blocks(setup: _Setup) -> Iterator[slice]:
    """Runs of layers whose boxes fit into the cache."""
    size = setup.lattice.shape[0] * setup.lattice.shape[1]
    step = max(1, BLOCK_BOXES // size)
    for begin in range(0, len(setup.layers), step):
        yield slice(begin, min(begin + step, len(setup.layers)))


def _covered_boxes(setup: _Setup, part: slice) -> _Boxes:
    """The boxes of some layers that are covered at all.

    In a box that is covered in part the dose is taken at the centre of the covered part, and its
    extent is what fits around this centre inside the box.
    """
    layers = setup.layers
    begin, coverage = _window(setup, part)
    first, second = layers.first[part] - begin, layers.second[part] - begin
    weights = _weights(setup, part).T
    cc = coverage.share[first]
    cc *= weights[0][:, None, None]
    if weights[1].any():
        other = coverage.share[second]
        other *= weights[1][:, None, None]
        cc += other
    full = weights[0] + weights[1]
    chosen = np.flatnonzero(cc > LEAST_COVERAGE * full[:, None, None])
    cc = cc.ravel()[chosen]
    dose = setup.sampler.boxes(setup.lattice, layers.low_mm[part], layers.high_mm[part])
    mean, du, dv, dw = (
        a.ravel()[chosen] for a in (dose.mean, dose.across_u, dose.across_v, dose.across_w)
    )
    layer, cell = np.divmod(chosen, setup.lattice.shape[0] * setup.lattice.shape[1])
    if coverage.moment_u is not None and coverage.moment_v is not None:
        edge = np.flatnonzero(cc < full[layer] * (1 - LEAST_COVERAGE))
        place = [(plane[layer[edge]], cell[edge]) for plane in (first, second)]
        for moment, across in ((coverage.moment_u, du), (coverage.moment_v, dv)):
            table = moment.reshape(len(moment), -1)
            shift = sum(
                table[where] * weight[layer[edge]]
                for where, weight in zip(place, weights, strict=True)
            )
            shift = np.clip(shift / cc[edge], -0.5, 0.5)
            mean[edge] += shift * across[edge]
            across[edge] *= 1 - 2 * np.abs(shift)
    boxes = cc, mean, np.sqrt(du * du + dv * dv + dw * dw)
    if not dose.inside.all():
        inside = dose.inside_flat(chosen)
        boxes = tuple(values[inside] for values in boxes)
    return _Boxes(*boxes)


def _window(setup: _Setup, part: slice) -> tuple[int, Coverage]:
    """Coverage of the planes of some layers, and the plane with which it begins."""
    first, second = setup.layers.first[part], setup.layers.second[part]
    low, high = min(first.min(), second.min()), max(first.max(), second.max())
    return setup.coverage.window(int(low), int(high))


def _weights(setup: _Setup, part: slice) -> np.ndarray:
    """(n, 2) volume in cc of a cell that is covered in the first or the second plane of a layer."""
    layers = setup.layers
    thickness = (layers.high_mm[part] - layers.low_mm[part]) * setup.lattice.cell_mm2 / 1000
    both = np.stack([layers.weight_first[part], layers.weight_second[part]], axis=1)
    return (both * thickness[:, None]).astype(np.float32)


def _dvh(
    structure: Contours | Mask,
    flags: tuple[str, ...],
    setup: _Setup,
    options: DvhOptions,
    histogram: DoseHistogram,
    boxes: int,
) -> DVH:
    """The result object, with what semantics section 5 says of volume outside the dose grid."""
    covered_cc = histogram.cc
    missing = setup.volume_cc - covered_cc
    outside_cc = missing if missing > ROUNDING * setup.volume_cc else 0.0
    volume_cc = covered_cc + outside_cc
    notes = list(flags)
    if 0 < setup.volume_cc < TINY_CC:
        notes.append("structure-tiny")
    outside_share = outside_cc / volume_cc if volume_cc > 0 else 0.0
    if outside_share >= UNKNOWN_SHARE:
        notes.append("outside-dose-grid")
        if options.outside_dose == "unknown":
            notes.append("max-may-lie-outside")
        else:
            notes.append(f"outside-dose-{options.outside_dose}")
    if options.outside_dose == "zero" and outside_cc > 0:
        histogram.cc += outside_cc
        histogram.min_gy, histogram.max_gy = 0.0, max(histogram.max_gy, 0.0)
        histogram.add_uniform(np.zeros(1), np.array([outside_cc]))
    dose_gy, at_least_cc = histogram.curve()
    total = histogram.cc
    partial = options.outside_dose == "unknown" and outside_share >= UNKNOWN_SHARE
    mean = histogram.dose_cc / total if total > 0 and not partial else math.nan
    square = histogram.square_cc / total if total > 0 else math.nan
    return DVH(
        name=structure.name,
        number=structure.number,
        volume_cc=volume_cc,
        covered_cc=covered_cc,
        dose_gy=dose_gy,
        at_least_cc=at_least_cc,
        mean_gy=mean,
        std_gy=math.sqrt(max(square - mean**2, 0.0)) if not partial and total > 0 else math.nan,
        min_gy=histogram.min_gy if total > 0 and not partial else math.nan,
        max_gy=histogram.max_gy if total > 0 else math.nan,
        flags=tuple(dict.fromkeys(notes)),
        settings=DvhSettings(
            (*setup.lattice.step_mm, setup.thickest_mm),
            options.end_caps,
            options.between_planes,
            options.outside_dose,
            histogram.rung_gy,
            boxes,
        ),
    )


def _without_numbers(structure: Contours | Mask, reason: NoSections) -> DVH:
    none = np.empty(0)
    return DVH(
        name=structure.name,
        number=structure.number,
        volume_cc=reason.volume_cc,
        covered_cc=reason.volume_cc,
        dose_gy=none,
        at_least_cc=none,
        mean_gy=math.nan,
        std_gy=math.nan,
        min_gy=math.nan,
        max_gy=math.nan,
        flags=reason.flags,
    )
