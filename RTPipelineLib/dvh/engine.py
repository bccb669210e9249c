"""The DVH of a structure in a dose grid.

A structure is a stack of exact sections (`structures.sections`), cut into boxes: cells of a lattice
in the plane times layers across it. Each box contributes its covered volume at the trilinear dose
of the covered part; the boxes' doses, spread over their own range, add up to the curve. Definitions
follow ICRU Report 83; contours PS3.3 C.8.8.6, dose grids PS3.3 C.8.8.3. The benchmark is that of
Nelms et al., Medical Physics 42 (2015) 4435.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..errors import GeometryError
from ..kernels import boxes_kernel
from ..model import DVH, UNKNOWN_SHARE, Contours, Dose, DvhSettings, Mask
from ..structures.coverage import Coverage
from ..structures.sections import (
    ContourSections,
    NoSections,
    contour_sections,
    mask_sections,
)
from .histogram import DoseHistogram
from .layout import DvhOptions, Setup, lay_out_contours, lay_out_mask
from .sampling import AlignedDose

# Boxes handled at once: the working set stays in the processor's cache.
BLOCK_BOXES = 1 << 17
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
        setup = lay_out_contours(sections, dose, options)
        if isinstance(setup, NoSections):
            return _without_numbers(structure, setup)
    else:
        setup = lay_out_mask(sections, dose, options)
    flags = (*setup.coverage.sections.flags, *_sum_flags(structure, dose, options))
    return _integrate(structure, flags, setup, options)


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
    structure: Contours | Mask, flags: tuple[str, ...], setup: Setup, options: DvhOptions
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
    setup: Setup,
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


def _blocks(setup: Setup) -> Iterator[slice]:
    """Runs of layers whose boxes fit into the cache."""
    size = setup.lattice.shape[0] * setup.lattice.shape[1]
    step = max(1, BLOCK_BOXES // size)
    for begin in range(0, len(setup.layers), step):
        yield slice(begin, min(begin + step, len(setup.layers)))


def _covered_boxes(setup: Setup, part: slice) -> _Boxes:
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


def _window(setup: Setup, part: slice) -> tuple[int, Coverage]:
    """Coverage of the planes of some layers, and the plane with which it begins."""
    first, second = setup.layers.first[part], setup.layers.second[part]
    low, high = min(first.min(), second.min()), max(first.max(), second.max())
    return setup.coverage.window(int(low), int(high))


def _weights(setup: Setup, part: slice) -> np.ndarray:
    """(n, 2) volume in cc of a cell that is covered in the first or the second plane of a layer."""
    layers = setup.layers
    thickness = (layers.high_mm[part] - layers.low_mm[part]) * setup.lattice.cell_mm2 / 1000
    both = np.stack([layers.weight_first[part], layers.weight_second[part]], axis=1)
    return (both * thickness[:, None]).astype(np.float32)


def _dvh(
    structure: Contours | Mask,
    flags: tuple[str, ...],
    setup: Setup,
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
