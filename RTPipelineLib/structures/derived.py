"""Structures made from others: expressions of names, operations and margins."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from typing import Literal

import numpy as np

from ..errors import DataError
from ..geometry import Grid
from ..model import Contours, Mask
from .algebra import Operation, combine
from .cropping import crop_between
from .interpolation import BetweenPlanes, EndCaps
from .lattice_boxes import Box, box_of, cropped, on_box
from .margins import ALONG_PATIENT, PAD, Margins, add_margin
from .solid import solid
from .voxelise import voxelise

DERIVED = "derived"  # the source of every structure made here
# A shape between planes whose volume differs by more than this share is not taken.
SHAPE_TOLERANCE = 0.1


@dataclass(frozen=True)
class Expression:
    """Sources combined, then given margins, then clipped.

    Sources, `within` and `minus` are names or expressions; `subtract` takes all other sources from
    the first, and `crop` keeps what of the first lies between the ends of all others.
    """

    sources: tuple[str | Expression, ...]
    operation: Operation | Literal["crop"] = "union"
    margins: Margins = field(default_factory=Margins)
    within: str | Expression | None = None
    minus: str | Expression | None = None

    @property
    def parts(self) -> tuple[str | Expression, ...]:
        """Sources and clips."""
        return (*self.sources, *(p for p in (self.within, self.minus) if p is not None))

    @property
    def names(self) -> set[str]:
        """All names that it needs."""
        found: set[str] = set()
        for part in self.parts:
            found |= part.names if isinstance(part, Expression) else {part}
        return found

    @property
    def has_directions(self) -> bool:
        """True when some margin in it differs by direction."""
        inner = (p.has_directions for p in self.parts if isinstance(p, Expression))
        return not self.margins.is_even or any(inner)


@dataclass(frozen=True)
class Definition:
    """A derived structure: its name and how it is made."""

    name: str
    expression: Expression


@dataclass(frozen=True)
class Derivation:
    """What came out: masks by name in the order of the definitions, and for each that failed one
    sentence why."""

    masks: Mapping[str, Mask]
    failed: Mapping[str, str]


def derive(
    definitions: Sequence[Definition],
    available: Mapping[str, Contours | Mask],
    grid: Grid,
    *,
    end_caps: EndCaps = "half-slice",
    between_planes: BetweenPlanes = "interpolate",
) -> Derivation:
    """Make derived structures on the lattice of `grid` (that of the planning image).

    `available` holds the structures by ROI name and standard name; names match exactly, else but
    for case when only one does. A structure whose source is missing, or failed itself, fails alone;
    so does everything in a circle. Masks have float32 shares 0..1, are cropped, may reach beyond
    `grid` and carry the flags of their sources; one without volume is flagged `structure-empty`.
    """
    kitchen = _Kitchen(available, _lattice(grid, definitions), end_caps, between_planes)
    names = [definition.name for definition in definitions]
    taken = "{} is also the name of an ROI; give the derived structure another name"
    failed = {name: taken.format(name) for name in names if name in available}
    by_name = {d.name: d for d in definitions if d.name not in failed}
    for name in _order(by_name, failed):
        try:
            mask = kitchen.make(by_name[name].expression)
        except DataError as error:
            failed[name] = str(error)
            kitchen.failed.add(name)
        else:
            kitchen.masks[name] = _finished(mask, name)
    masks = {name: kitchen.masks[name] for name in names if name in kitchen.masks}
    return Derivation(masks, {name: failed[name] for name in names if name in failed})


def grid_around(structures: Sequence[Contours | Mask], spacing_mm: float = 1.0) -> Grid:
    """A grid along the patient's axes that holds structures which have no image; `spacing_mm` is
    that of the slices as well. Raises `DataError` when nothing has a position."""
    points = [
        s.points_mm if isinstance(s, Contours) else s.grid.corners_mm(edges=True)
        for s in structures
    ]
    points = [p[np.isfinite(p).all(axis=1)] for p in points]
    points = [p for p in points if len(p)]
    if not points:
        raise DataError("no structure has a contour, so that there is no place for derived ones")
    low = np.min([p.min(axis=0) for p in points], axis=0) - 2 * spacing_mm
    high = np.max([p.max(axis=0) for p in points], axis=0) + 2 * spacing_mm
    size = np.ceil((high - low) / spacing_mm).astype(int) + 1
    return Grid(low, np.eye(3), np.full(3, spacing_mm), tuple(size[::-1]))


def _lattice(grid: Grid, definitions: Sequence[Definition]) -> Grid:
    """The grid itself, with even slices; one along the patient's axes where margins that differ by
    direction need it."""
    grid = grid.with_uniform_slices()
    along = np.abs(grid.direction).max(axis=0) >= ALONG_PATIENT
    if along.all() or not any(d.expression.has_directions for d in definitions):
        return grid
    corners = grid.corners_mm()
    step = np.full(3, grid.spacing_mm.min())
    low, high = corners.min(axis=0), corners.max(axis=0)
    size = np.ceil((high - low) / step).astype(int) + 1
    return Grid(low, np.eye(3), step, tuple(size[::-1]))


def _order(by_name: Mapping[str, Definition], failed: dict[str, str]) -> list[str]:
    """Names so that each comes after those that it needs; those in a circle are put into `failed`
    with its path."""
    uses = {n: {u for u in d.expression.names if u in by_name} for n, d in by_name.items()}
    while True:
        try:
            return list(TopologicalSorter(uses).static_order())
        except CycleError as error:
            circle = error.args[1]
            for name in set(circle):
                failed[name] = f"needs itself: {' <- '.join(circle)}"
                uses.pop(name)
            for names in uses.values():
                names.difference_update(circle)


def _same_volume(shaped: Mask, mask: Mask) -> bool:
    """Whether the shape between the planes has the structure's volume: it is made of distances,
    which know nothing of what is thinner than a voxel."""
    volumes = [float(m.array.sum(dtype=np.float64)) for m in (shaped, mask)]
    return abs(volumes[0] - volumes[1]) <= SHAPE_TOLERANCE * volumes[1]


def _finished(mask: Mask, name: str) -> Mask:
    flags = tuple(flag for flag in mask.flags if flag != "structure-empty")
    if not mask.array.any():
        flags = (*flags, "structure-empty")
    return Mask(
        name,
        mask.array,
        mask.grid,
        frame_uid=mask.frame_uid,
        structure_set_uid=mask.structure_set_uid,
        source=DERIVED,
        flags=flags,
    )


@dataclass
class _Kitchen:
    """Evaluates expressions on one lattice and keeps what it has voxelised."""

    available: Mapping[str, Contours | Mask]
    grid: Grid
    end_caps: EndCaps
    between_planes: BetweenPlanes
    masks: dict[str, Mask] = field(default_factory=dict)  # the derived ones
    failed: set[str] = field(default_factory=set)
    _voxelised: dict[tuple[str, bool], Mask] = field(default_factory=dict)

    def make(self, expression: Expression, region: Box | None = None) -> Mask:
        """The mask of an expression; outside of `region` it need not be right."""
        inner = region
        if region is not None and expression.margins.largest > 0:
            inner = region.wider(self._reach(expression.margins))
        mask = self._combined(expression, inner)
        if expression.margins.largest > 0:
            mask = add_margin(mask, expression.margins)
        if expression.within is not None:
            clip = self._part(expression.within, self._box(mask))
            mask = combine("intersection", [mask, clip])
        if expression.minus is not None:
            mask = combine("subtract", [mask, self._part(expression.minus, self._box(mask))])
        return mask

    def _combined(self, expression: Expression, region: Box | None) -> Mask:
        """Sources before margins. A single contoured source that gets a margin keeps its shape
        between the planes instead of its fading."""
        shape = expression.margins.largest > 0
        sources = expression.sources
        if expression.operation == "crop":
            landmarks = [self._part(source, None) for source in sources[1:]]
            return crop_between(self._part(sources[0], region), landmarks)
        if expression.operation == "intersection":  # small ones first: they bound the others
            sources = tuple(sorted(sources, key=lambda s: isinstance(s, Expression)))
        parts = [self._part(sources[0], region, shape)]
        for source in sources[1:]:
            near = region
            if expression.operation in ("intersection", "subtract"):
                near = self._box(parts[0])
                if region is not None:
                    near = near & region
            parts.append(self._part(source, near, shape))
        return combine(expression.operation, parts)

    def _part(self, part: str | Expression, region: Box | None, shape: bool = False) -> Mask:
        mask = self.make(part, region) if isinstance(part, Expression) else self._named(part, shape)
        if region is None:
            return mask
        box = box_of(mask, self.grid) & region.wider((1, 1, 1))
        if box.is_empty:
            return cropped(replace(mask, array=np.zeros_like(mask.array)))
        return on_box(mask, self.grid, box)

    def _box(self, mask: Mask) -> Box:
        return box_of(mask, self.grid)

    def _reach(self, margins: Margins) -> tuple[int, int, int]:
        k, j, i = (math.ceil(margins.largest / s) + PAD for s in self.grid.spacing_mm[::-1])
        return k, j, i

    def _named(self, name: str, shape: bool) -> Mask:
        if name in self.masks:
            return self.masks[name]
        if name in self.failed:
            raise DataError(f"{name} could not be made, see there")
        found = self._find(name)
        structure = self.available[found]
        shape = shape and isinstance(structure, Contours)
        key = found, shape
        if key not in self._voxelised:
            self._voxelised[key] = self._mask(structure, shape)
        return self._voxelised[key]

    def _mask(self, structure: Contours | Mask, shape: bool) -> Mask:
        options = {"end_caps": self.end_caps, "between_planes": self.between_planes}
        mask = voxelise(structure, self.grid, "fraction", **options)
        shaped = solid(structure, self.grid, **options) if shape else None
        if shaped is not None and _same_volume(shaped, mask):
            mask = shaped
        if not mask.array.any():
            raise DataError(f"{structure.name} has no volume ({', '.join(mask.flags) or 'empty'})")
        return cropped(replace(mask, array=mask.array.astype(np.float32)))

    def _find(self, name: str) -> str:
        if name in self.available:
            return name
        alike = [known for known in self.available if known.casefold() == name.casefold()]
        if len(alike) == 1:
            return alike[0]
        if alike:
            raise DataError(f"{name} may be {' or '.join(sorted(alike))}; write it as it is")
        close = difflib.get_close_matches(name, [*self.available, *self.masks], n=3, cutoff=0.6)
        hint = f"; similar: {', '.join(close)}" if close else ""
        raise DataError(f"there is no structure {name}{hint}")
