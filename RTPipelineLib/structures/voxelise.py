"""Contours and masks to masks on any grid.

Three rules: `fraction` is the covered share of every voxel, through the same sections and layers as
the DVH, so that both have the same volume; `coverage` is a label where that share is at least one
half; `centre` is a label where the voxel's centre lies inside the contour that stands for its
slice, which most other programs do, and equals theirs voxel by voxel (`scanline.py` says what
happens on the outline itself, `slabs.py` which contour stands for a slice).

Masks come on the part of the grid that the structure touches: a bladder on a CT takes a megabyte,
not 157. `resample_mask(mask, grid)` puts them onto the whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..geometry import Grid
from ..model import Contours, Mask
from .coverage import Lattice
from .interpolation import BetweenPlanes, EndCaps, Layers
from .mask_resampling import beyond, resample_mask, slice_borders
from .polygons import region_area
from .scanline import centres_inside, points_inside
from .sections import ContourSections, NoSections, contour_sections
from .slabs import own_planes

Rule = Literal["fraction", "coverage", "centre"]

# A share of one half that rounding made a little smaller is one half.
HALF = 0.5 - 1e-6
# Shares below are rounding.
LEAST_SHARE = 1e-6
# Grids oblique to the contours are reached through a finer one: so many cells along each edge of
# the smallest voxel, and no more in all.
FINER, MOST_CELLS = 2, 200_000_000


def voxelise(
    structure: Contours | Mask,
    grid: Grid,
    rule: Rule = "fraction",
    *,
    end_caps: EndCaps = "half-slice",
    between_planes: BetweenPlanes = "interpolate",
    whole: bool = False,
) -> Mask:
    """The mask of a structure on `grid`, or with `whole = False` on the part of it that it touches.

    `fraction` gives float32 shares 0..1, `coverage` and `centre` booleans. The options are those of
    the DVH; `between_planes` does not apply to `centre`. Contours oblique to the grid take longer
    and are exact to a fraction of a voxel only. A structure without volume gives an empty mask of
    one voxel that carries the flags; one that reaches beyond the grid is flagged `outside-grid`.
    """
    if isinstance(structure, Mask):
        mask = resample_mask(structure, grid, nearest=rule == "centre")
    else:
        mask = _of_contours(structure, grid, rule, end_caps, between_planes)
    if rule != "fraction" and mask.array.dtype != bool:
        mask = replace(mask, array=mask.array >= HALF)
    return resample_mask(mask, grid, whole=True) if whole else mask


def _of_contours(
    contours: Contours, grid: Grid, rule: Rule, end_caps: EndCaps, between_planes: BetweenPlanes
) -> Mask:
    sections = contour_sections(contours, grid.direction)
    if isinstance(sections, NoSections):
        return _mask(contours, np.zeros((1, 1, 1), dtype=bool), _first_voxel(grid), sections.flags)
    window = _window(sections, grid)
    if window is None and rule == "centre":
        array, part = _oblique_centres(sections, grid, end_caps)
    elif window is None:
        finer = _finer_grid(sections, grid)
        fine = _of_contours(contours, finer, "fraction", end_caps, between_planes)
        return resample_mask(fine, grid)
    elif rule == "centre":
        array, part = _centres(sections, window, end_caps), window.grid
    else:
        array, part = _fractions(sections, window, end_caps, between_planes), window.grid
    flags = sections.flags
    if _reaches_beyond(sections, grid, end_caps, between_planes):
        flags = (*flags, "outside-grid")
    return _mask(contours, array, part, flags)


def _mask(contours: Contours, array: np.ndarray, grid: Grid, flags: tuple[str, ...]) -> Mask:
    return Mask(
        name=contours.name,
        array=array,
        grid=grid,
        number=contours.number,
        frame_uid=contours.frame_uid,
        colour_rgb=contours.colour_rgb,
        interpreted_type=contours.interpreted_type,
        structure_set_uid=contours.structure_set_uid,
        source=contours.source,
        flags=flags,
        standard_name=contours.standard_name,
    )


def _first_voxel(grid: Grid) -> Grid:
    return grid.crop(slice(0, 1), slice(0, 1), slice(0, 1))


# -- grids along the contours ---------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Window:
    """The part of a grid around a structure, seen in the frame of its contours.

    `axes` are the grid's axes (0 = i) along u, v and w; `lattice` the voxels in the plane, `w_mm`
    (n,) the slices' centres and `borders_mm` (n + 1,) what lies between them.
    """

    grid: Grid
    axes: tuple[int, int, int]
    lattice: Lattice
    w_mm: np.ndarray
    borders_mm: np.ndarray

    def to_grid(self, array: np.ndarray) -> np.ndarray:
        """`[w, v, u]` to `[k, j, i]`."""
        place = {axis: number for number, axis in enumerate(reversed(self.axes))}
        return array.transpose([place[axis] for axis in (2, 1, 0)])


def _window(sections: ContourSections, grid: Grid) -> _Window | None:
    """The voxels around a structure; None when the grid is oblique to its contours, or is uneven in
    their plane."""
    fit = np.abs(sections.axes @ grid.direction) > 1 - 1e-12
    if not fit.any(axis=1).all():
        return None
    axes = tuple(int(a) for a in fit.argmax(axis=1))
    if grid.k_offsets_mm is not None and axes[2] != 2:
        return None
    low, high = sections.bounds_mm
    w = sections.stack.w_mm
    reach = _widest_cap(sections)
    spans = [(low[0], high[0]), (low[1], high[1]), (w[0] - reach, w[-1] + reach)]
    parts = {axis: _touched(grid, axis, *span) for axis, span in zip(axes, spans, strict=True)}
    part = grid.crop(parts[2], parts[1], parts[0])
    start = [float(sections.axes[n] @ part.origin_mm) for n in range(3)]
    du, dv = (float(part.spacing_mm[axis]) for axis in axes[:2])
    nu, nv = (part.size_ijk[axis] for axis in axes[:2])
    lattice = Lattice((start[0] - du / 2, start[1] - dv / 2), (du, dv), (nv, nu))
    if axes[2] == 2:
        # Of the whole grid: a slice's neighbours say how thick it is, cropped away or not.
        borders = slice_borders(grid)[parts[2].start : parts[2].stop + 1]
        centres = grid.k_positions_mm[parts[2]]
        shift = float(sections.axes[2] @ grid.origin_mm)
        return _Window(part, axes, lattice, centres + shift, borders + shift)
    centres = start[2] + part.spacing_mm[axes[2]] * np.arange(part.size_ijk[axes[2]])
    borders = np.append(centres, centres[-1] + part.spacing_mm[axes[2]])
    return _Window(part, axes, lattice, centres, borders - part.spacing_mm[axes[2]] / 2)


def _widest_cap(sections: ContourSections) -> float:
    """No cap is longer than this."""
    w = sections.stack.w_mm
    gaps = [w[1] - w[0], w[-1] - w[-2]] if len(w) > 1 else [0.0]
    return max(*gaps, np.nan_to_num(sections.stack.lone_mm))


def _touched(grid: Grid, axis: int, low: float, high: float) -> slice:
    """The voxels along one axis that the span low..high (positions along that axis) touches; at
    least one."""
    start = float(grid.origin_mm @ grid.direction[:, axis])
    if axis == 2:
        borders = slice_borders(grid) + start
    else:
        borders = start + grid.spacing_mm[axis] * (np.arange(grid.size_ijk[axis] + 1) - 0.5)
    first = int(np.searchsorted(borders, low, side="right")) - 1
    last = int(np.searchsorted(borders, high, side="left"))
    first = min(max(first, 0), len(borders) - 2)
    return slice(first, min(max(last, first + 1), len(borders) - 1))


def _reaches_beyond(
    sections: ContourSections, grid: Grid, end_caps: EndCaps, between_planes: BetweenPlanes
) -> bool:
    """True when a part of the structure lies outside the grid."""
    layers = sections.layers(sections.area_mm2, end_caps, between_planes, np.inf, ())
    (u0, v0), (u1, v1) = sections.bounds_mm
    ends = [(u0, u1), (v0, v1), (layers.low_mm[0], layers.high_mm[-1])]
    corners = np.array([[ends[a][(n >> a) & 1] for a in range(3)] for n in range(8)])
    return beyond(grid, corners @ sections.axes)


# -- pixel centres --------------------------------------------------------------------------------


def _centres(sections: ContourSections, window: _Window, end_caps: EndCaps) -> np.ndarray:
    """`[k, j, i]` booleans of the window."""
    own = own_planes(sections.stack, window.w_mm, end_caps)
    used, of_slice = np.unique(own[own >= 0], return_inverse=True)
    row = np.full(len(sections.stack.w_mm), -1)
    row[used] = np.arange(len(used))
    chosen = row[sections.plane] >= 0
    # Whole numbers are voxel centres here, not borders.
    edges = window.lattice.to_cells(sections.edges[chosen]) - 0.5
    table = centres_inside(edges, row[sections.plane[chosen]], (len(used), *window.lattice.shape))
    if len(used) == len(own):
        return window.to_grid(table)
    array = np.zeros((len(own), *window.lattice.shape), dtype=bool)
    array[own >= 0] = table[of_slice]
    return window.to_grid(array)


def _oblique_centres(
    sections: ContourSections, grid: Grid, end_caps: EndCaps
) -> tuple[np.ndarray, Grid]:
    """The same where the grid is oblique to the contours: each voxel centre lies in the slab of one
    contour, and is looked up in it."""
    part = grid.crop(*_box_around(sections, grid))
    array = np.zeros(part.shape, dtype=bool)
    j, i = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in part.shape[1:]), indexing="ij")
    for k in range(part.shape[0]):
        index = np.stack([i.ravel(), j.ravel(), np.full(i.size, float(k))], axis=1)
        local = part.to_lps(index) @ sections.axes.T
        own = own_planes(sections.stack, local[:, 2], end_caps)
        near = np.flatnonzero(own >= 0)
        inside = points_inside(sections.edges, sections.plane, local[near, :2], own[near])
        array[k].ravel()[near] = inside
    return array, part


def _box_around(sections: ContourSections, grid: Grid) -> tuple[slice, slice, slice]:
    """The k, j and i of the grid that a structure may touch, caps included."""
    (u0, v0), (u1, v1) = sections.bounds_mm
    reach = _widest_cap(sections)
    w0, w1 = sections.stack.w_mm[0] - reach, sections.stack.w_mm[-1] + reach
    corners = np.array([[u, v, w] for u in (u0, u1) for v in (v0, v1) for w in (w0, w1)])
    index = grid.to_index(corners @ sections.axes)
    parts = []
    for axis in (2, 1, 0):
        last = grid.size_ijk[axis] - 1
        first = min(max(math.floor(index[:, axis].min()), 0), last)
        parts.append(slice(first, max(min(math.ceil(index[:, axis].max()), last), first) + 1))
    return parts[0], parts[1], parts[2]


def _finer_grid(sections: ContourSections, grid: Grid) -> Grid:
    """A grid along the contours, finer than `grid`, around the structure."""
    (u0, v0), (u1, v1) = sections.bounds_mm
    reach = _widest_cap(sections)
    low = np.array([u0, v0, sections.stack.w_mm[0] - reach])
    size = np.array([u1, v1, sections.stack.w_mm[-1] + reach]) - low
    edge = max(float(grid.spacing_mm.min()) / FINER, float(np.prod(size) / MOST_CELLS) ** (1 / 3))
    shape = np.maximum(np.ceil(size / edge), 1).astype(int)
    origin = (low + edge / 2) @ sections.axes
    return Grid(origin, sections.axes.T, np.full(3, edge), tuple(shape[::-1]))


# -- covered shares -------------------------------------------------------------------------------


def _fractions(
    sections: ContourSections, window: _Window, end_caps: EndCaps, between_planes: BetweenPlanes
) -> np.ndarray:
    """`[k, j, i]` float32 shares of the window."""
    share = sections.coverage(window.lattice, moments=False).share
    covered = share.sum(axis=(1, 2), dtype=np.float64) * window.lattice.cell_mm2
    area = covered
    if not window.lattice.contains(*sections.bounds_mm):
        area = np.array(
            [region_area(sections.edges[sections.plane == n]) for n in range(len(area))]
        )
    layers = sections.layers(area, end_caps, between_planes, np.inf, tuple(window.borders_mm))
    plain, curved = _slice_weights(layers, window.borders_mm, len(area))
    array = np.zeros((len(window.w_mm), *window.lattice.shape), dtype=np.float32)
    for number, into in enumerate(array):
        used = np.flatnonzero(plain[number])
        if not used.size:
            continue
        planes = slice(used[0], used[-1] + 1)
        weights = plain[number, planes].astype(np.float32)
        into[...] = np.tensordot(weights, share[planes], 1)
        wanted = curved[number] @ area - plain[number] @ area
        inside = plain[number] @ covered / max(plain[number] @ area, 1e-30)
        _add_at_the_rim(into, float(weights.sum()), wanted * inside / window.lattice.cell_mm2)
        into[into < LEAST_SHARE] = 0.0
        np.minimum(into, 1.0, out=into)
    return window.to_grid(array)


def _slice_weights(
    layers: Layers, borders_mm: np.ndarray, planes: int
) -> tuple[np.ndarray, np.ndarray]:
    """(slices, planes) weights of each plane's section in the mean section of each slice: faded
    from plane to plane, and with the curve that the area follows."""
    middle = (layers.low_mm + layers.high_mm) / 2
    slices = len(borders_mm) - 1
    number = np.searchsorted(borders_mm, middle) - 1
    inside = (number >= 0) & (number < slices)
    number = number[inside]
    thickness = (layers.high_mm - layers.low_mm)[inside] / np.diff(borders_mm)[number]
    first, second = layers.first[inside], layers.second[inside]
    weights = np.stack([layers.weight_first, layers.weight_second])[:, inside]
    # Where two sections fade, their weights add up to the factor of the area; a cap's is its own.
    factor = weights.sum(axis=0)
    factor[(first == second) | (factor <= 0)] = 1.0
    tables = []
    for scale in (thickness / factor, thickness):
        flat = np.concatenate([number * planes + first, number * planes + second])
        values = (weights * scale).ravel()
        tables.append(np.bincount(flat, values, slices * planes).reshape(slices, planes))
    return tables[0], tables[1]


def _add_at_the_rim(share: np.ndarray, full: float, wanted: float) -> None:
    """Add `wanted` voxels in all to shares 0..`full`, in place, where they are neither.

    The structure is a little larger (or smaller) between two contours than fading from one to the
    other makes it; its inside stays full and its outside empty.
    """
    least = 1e-6 * float(share.sum(dtype=np.float64))
    for _ in range(32):
        if abs(wanted) <= least:
            return
        room = share * (full - share)
        room /= np.float32(full)
        total = float(room.sum(dtype=np.float64))
        if not total > 0:
            return
        step = min(max(wanted / total, -1.0), 1.0)
        share += np.float32(step) * room
        wanted -= step * total
