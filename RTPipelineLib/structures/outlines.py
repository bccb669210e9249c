"""Masks to planar contours, sub-pixel, with the mask's volume.

Each slice gets the level line of its shares that encloses the slice's covered area; not one level
for all, since corners would be cut off labels and thin walls lost. So read as slabs the stack has
the volume of every slice. Between planes, `interpolate` rounds the ends of a stack: with that
option the areas are scaled evenly so that the whole volume is kept as it will be read. End planes
lie at the centres of the outermost slices, so the stack is meant to be read with half-slice caps.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Literal

import numpy as np
from scipy import ndimage

from ..geometry import Grid
from ..model import Contours, ImagePlanes, Mask
from .interpolation import BetweenPlanes, make_layers
from .keyholes import keyholed
from .marching_squares import Cells, LabelAreas, Loops, Segments, closed_loops, level_lines
from .mask_resampling import cropped, slice_borders
from .planes import closed_loops as closed_contours
from .planes import plane_stack
from .polygons import loop_edges, signed_areas
from .sections import frame_axes

Holes = Literal["keyhole", "xor"]

# Slices that hold less of a pixel than this get no contour.
LEAST_PIXELS = 0.02
# Levels are sought in this range, so often halved.
LOWEST, HIGHEST, HALVINGS = 1e-3, 1 - 1e-3, 18
# An area that differs by more (relative, or in pixels) needs more than a level.
AREA_TOLERANCE, AREA_PIXELS = 1e-3, 1e-3
# Places behind the point of a coordinate in mm: what lies beyond says nothing, and doubles a file.
DECIMALS = 4
# The areas are scaled by no more than this for what lies between the planes.
MOST_SCALE = 1.25
# A volume that differs by more than this share is flagged.
VOLUME_TOLERANCE = 0.005


def outlines(
    mask: Mask, *, holes: Holes = "keyhole", between_planes: BetweenPlanes = "interpolate"
) -> Contours:
    """Contours of a mask in the slices of its grid.

    `holes` are joined to their surroundings as keyholes, which every reader knows, or written as
    loops of their own, all of the type CLOSEDPLANAR_XOR. `between_planes` says how the contours
    will be read. Where no contours can have the mask's volume within 0.5 % (slices left out one
    by one, for example), the flag `outline-volume:<percent>` says by how much it differs.
    """
    part = cropped(mask)
    values = np.pad(_as_labels(part.array), ((0, 0), (1, 1), (1, 1)))
    add_up = np.count_nonzero if values.dtype == bool else partial(np.sum, dtype=np.float64)
    pixels = add_up(values, axis=(1, 2)).astype(np.float64)
    if not (pixels >= LEAST_PIXELS).any():
        return Contours.from_loops(mask.name, [], **_fields(mask))
    thickness = np.diff(_borders_of_part(mask.grid, part.grid))
    pixel_mm2 = float(np.prod(mask.grid.spacing_mm[:2]))
    wanted_mm3 = float(pixels @ thickness) * pixel_mm2
    # What lies between the planes depends on the areas alone: before anything is drawn, squares
    # stand for the outlines.
    scale, draw_loops = 1.0, partial(_loops, values)
    for draw in (_squares, _squares, draw_loops, draw_loops):
        how = "xor" if draw is _squares else holes
        contours = _contours(mask, part.grid, draw(scale * pixels), how)
        ratio = wanted_mm3 / max(_volume_mm3(contours, between_planes), 1e-9)
        if draw is draw_loops and abs(ratio - 1) <= VOLUME_TOLERANCE / 10:
            return contours
        scale = min(max(scale * ratio, 1 / MOST_SCALE), MOST_SCALE)
    percent = 100 * (1 / ratio - 1)
    if abs(percent) > 100 * VOLUME_TOLERANCE:
        contours = replace(contours, flags=(*contours.flags, f"outline-volume:{percent:+.1f}%"))
    return contours


def _squares(pixels: np.ndarray) -> Loops:
    """A square of the wanted area in each slice that gets contours."""
    slices = np.flatnonzero(pixels >= LEAST_PIXELS)
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    points = corners * np.sqrt(pixels[slices])[:, None, None]
    return Loops(points.reshape(-1, 2), 4 * np.arange(len(slices) + 1), slices)


def _as_labels(array: np.ndarray) -> np.ndarray:
    """Booleans where an array holds nothing between 0 and 1, else the shares as float32."""
    if array.dtype == bool:
        return array
    return array > 0 if ((array == 0) | (array == 1)).all() else array.astype(np.float32)


def _borders_of_part(whole: Grid, part: Grid) -> np.ndarray:
    """Borders of the slices of a part; their neighbours say how thick they are."""
    first = round(float(whole.to_index(part.origin_mm)[2]))
    return slice_borders(whole)[first : first + part.shape[0] + 1]


def _loops(values: np.ndarray, pixels: np.ndarray) -> Loops:
    """Loops of every slice that enclose `pixels` (slices,), in pixels of the part; `values` are
    labels or shares, padded by one pixel."""
    segments, missed = _enclosing(values, pixels)
    found = closed_loops(_only(segments, ~missed[segments.slices]))
    if not missed.any():
        return replace(found, points=found.points - 1.0)
    # Plateaus (a slice that is covered by a third everywhere) have no level of that area: there the
    # distance from the edge of what is covered most takes the place of the share.
    rest = closed_loops(_enclosing(_distances(values[missed]), pixels[missed])[0])
    return Loops(
        np.concatenate([found.points - 1.0, rest.points - 2.0]),
        np.concatenate([found.starts, found.starts[-1] + rest.starts[1:]]),
        np.concatenate([found.slices, np.flatnonzero(missed)[rest.slices]]),
    )


def _only(segments: Segments, chosen: np.ndarray) -> Segments:
    return Segments(*(getattr(segments, name)[chosen] for name in Segments.__dataclass_fields__))


def _enclosing(values: np.ndarray, pixels: np.ndarray) -> tuple[Segments, np.ndarray]:
    """Level lines that enclose `pixels` (slices,), and which slices have none."""
    cells = Cells.of(values)
    counted = None
    if values.dtype == bool:
        counted = LabelAreas(cells, np.count_nonzero(values, axis=(1, 2)))
    low, high = np.full(len(pixels), LOWEST), np.full(len(pixels), HIGHEST)
    for _ in range(HALVINGS):
        level = (low + high) / 2
        if counted is not None:
            larger = counted.at(level) > pixels
        else:
            larger = level_lines(cells, level).areas(len(pixels)) > pixels
        low, high = np.where(larger, level, low), np.where(larger, high, level)
    level = np.where(pixels >= LEAST_PIXELS, (low + high) / 2, 2.0)
    segments = level_lines(cells, level)
    off = np.abs(segments.areas(len(pixels)) - pixels)
    tolerance = np.maximum(AREA_TOLERANCE * pixels, AREA_PIXELS)
    return segments, (off > tolerance) & (pixels >= LEAST_PIXELS)


def _distances(shares: np.ndarray) -> np.ndarray:
    """Slices as values 0..1 that fall evenly from the inside of what is covered most to the
    outside, padded by one more pixel."""
    values = []
    for share in np.pad(shares.astype(np.float32), ((0, 0), (1, 1), (1, 1))):
        covered = share >= share.max() / 2
        signed = ndimage.distance_transform_edt(covered) - ndimage.distance_transform_edt(~covered)
        inside, outside = signed.max(), min(-signed.min(), 2.0)
        one = np.interp(signed, [-outside, 0.0, inside], [0.0, 0.5, 1.0])
        one[[0, -1]] = 0.0
        one[:, [0, -1]] = 0.0
        values.append(one)
    return np.stack(values)


def _contours(mask: Mask, grid: Grid, loops: Loops, holes: Holes) -> Contours:
    """Loops in pixels of a part of the mask, whose grid it is, to contours in mm."""
    members: list[np.ndarray] = []
    numbers: list[int] = []
    for number, group in groupby(sorted(loops, key=itemgetter(0)), key=itemgetter(0)):
        of_slice = [loop for _, loop in group]
        members += keyholed(of_slice) if holes == "keyhole" else of_slice
        numbers += [number] * (len(members) - len(numbers))
    if not members:
        return Contours.from_loops(mask.name, [], **_fields(mask))
    sizes = [len(loop) for loop in members]
    index = np.column_stack([np.concatenate(members), np.repeat(numbers, sizes)])
    return Contours(
        mask.name,
        np.round(grid.to_lps(index), DECIMALS),
        np.concatenate([[0], np.cumsum(sizes)]),
        ("CLOSED_PLANAR" if holes == "keyhole" else "CLOSEDPLANAR_XOR",) * len(members),
        **_fields(mask),
    )


def _fields(mask: Mask) -> dict[str, object]:
    """What contours take over from their mask."""
    return {
        "number": mask.number,
        "frame_uid": mask.frame_uid,
        "colour_rgb": mask.colour_rgb,
        "interpreted_type": mask.interpreted_type,
        "generation_algorithm": "AUTOMATIC",
        "structure_set_uid": mask.structure_set_uid,
        "source": mask.source,
        "image_planes": ImagePlanes.from_grid(mask.grid),
        "flags": mask.flags,
    }


def _volume_mm3(contours: Contours, between_planes: BetweenPlanes) -> float:
    """Volume of the contours as they will be read. Loops of a plane neither cross nor overlap here,
    and those around holes run the other way, so that their signed areas add up."""
    loops = closed_contours(contours)
    if not len(loops):
        return 0.0
    stack = plane_stack(loops, frame_axes(loops.normal, np.eye(3)), contours.image_planes)
    areas = signed_areas(loop_edges(stack.points_mm, stack.starts), stack.starts)
    area = np.abs(np.bincount(stack.plane, areas, len(stack.w_mm)))
    layers = make_layers(
        stack.w_mm, area, stack.hole_after, stack.lone_mm, between_planes=between_planes
    )
    return layers.volume_mm3(area)
