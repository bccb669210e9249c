"""Doses of one frame of reference as they lie in another, through registrations.

A rigid registration moves the grid and leaves every value as it is. Any other one is sampled
backwards: each voxel of the sum's grid asks where it lies in the dose's own frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy.ndimage import map_coordinates

from ..errors import GeometryError
from ..geometry import Grid
from ..model import Dose
from .accumulate import LazyDose, sum_grid

# A matrix whose columns differ from a rotation by less moves grids without resampling.
ROTATION = 1e-6
# Two registrations of the same frames are one when no point of a patient differs by more.
SAME_MM = 0.1
_PATIENT_MM = 500.0 * np.array([[1, 1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, -1], [-1, -1, -1]])
# Samples along each axis of a dose that find out where a deformation puts it.
LATTICE = 33
REGISTERED, DEFORMED = "registered", "registered-deformably"


class Mapping(Protocol):
    """What a registration must tell; those of `dicom.registration` do."""

    @property
    def from_frame_uid(self) -> str: ...
    @property
    def to_frame_uid(self) -> str: ...
    @property
    def matrix(self) -> np.ndarray | None: ...
    def map_points(self, points_mm: np.ndarray) -> np.ndarray: ...
    def inverse(self) -> Mapping: ...


@dataclass(frozen=True, eq=False)
class Chain:
    """Mappings one after another, from one frame of reference to another."""

    steps: tuple[Mapping, ...]

    @property
    def matrix(self) -> np.ndarray | None:
        """The whole chain as one 4 x 4 matrix; None when a step is a deformation."""
        product = np.eye(4)
        for step in self.steps:
            if step.matrix is None:
                return None
            product = step.matrix @ product
        return product

    @property
    def is_rigid(self) -> bool:
        """True when the chain is a rotation and a translation."""
        matrix = self.matrix
        if matrix is None:
            return False
        turn = matrix[:3, :3]
        return bool(np.abs(turn.T @ turn - np.eye(3)).max() < ROTATION and np.linalg.det(turn) > 0)

    def inverse(self) -> Chain:
        """The same chain backwards."""
        return Chain(tuple(step.inverse() for step in reversed(self.steps)))

    def map_points(self, points_mm: np.ndarray) -> np.ndarray:
        """Points `(..., 3)` at the other end; NaN where a deformation is not known."""
        points = np.array(points_mm, dtype=np.float64)
        for step in self.steps:
            known = np.isfinite(points).all(axis=-1)
            points[known] = step.map_points(points[known])
        return points


def joined_frames(mappings: Iterable[Mapping]) -> tuple[frozenset[str], ...]:
    """The sets of frames of reference that registrations join, directly or through others."""
    groups: list[frozenset[str]] = []
    for mapping in mappings:
        joined = frozenset({mapping.from_frame_uid, mapping.to_frame_uid})
        touched = [group for group in groups if group & joined]
        groups = [group for group in groups if group not in touched]
        groups.append(joined.union(*touched))
    return tuple(groups)


def contradictions(mappings: Sequence[Mapping]) -> tuple[frozenset[str], ...]:
    """The pairs of frames that two registrations join differently (by more than 0.1 mm, or
    deformably): which one counts is a person's decision."""
    first: dict[frozenset[str], Mapping] = {}
    found = []
    for mapping in mappings:
        pair = frozenset({mapping.from_frame_uid, mapping.to_frame_uid})
        other = first.setdefault(pair, mapping)
        if other is not mapping and not _alike(other, mapping):
            found.append(pair)
    return tuple(dict.fromkeys(found))


def _alike(a: Mapping, b: Mapping) -> bool:
    if a.from_frame_uid != b.from_frame_uid:
        b = b.inverse()
    if a.matrix is None or b.matrix is None:
        return False
    return bool(np.abs(a.map_points(_PATIENT_MM) - b.map_points(_PATIENT_MM)).max() < SAME_MM)


def route(mappings: Sequence[Mapping], start: str, end: str) -> Chain:
    """The shortest chain of registrations from one frame of reference to another.

    Raises `GeometryError` when there is none, or when two registrations of the chain's frames
    contradict each other.
    """
    unclear = contradictions(mappings)
    both = [way for mapping in mappings for way in (mapping, mapping.inverse())]
    chains: dict[str, tuple[Mapping, ...]] = {start: ()}
    queue = [start]
    for frame in queue:
        for way in both:
            if way.from_frame_uid == frame and way.to_frame_uid not in chains:
                chains[way.to_frame_uid] = (*chains[frame], way)
                queue.append(way.to_frame_uid)
    if end not in chains:
        raise GeometryError(f"no registration joins the frames of reference {start} and {end}")
    for way in chains[end]:
        if {way.from_frame_uid, way.to_frame_uid} in unclear:
            raise GeometryError(
                f"registrations join the frames of reference {way.from_frame_uid} and "
                f"{way.to_frame_uid} in different ways; name the one to use"
            )
    return Chain(chains[end])


def into_frame(
    doses: Sequence[LazyDose],
    frames: Sequence[str],
    target: str,
    mappings: Sequence[Mapping],
    max_voxels: int | None = None,
) -> tuple[list[LazyDose], Grid, tuple[str, ...]]:
    """Doses as they lie in the frame of reference `target`, the grid of their sum, and its flags.

    Parameters
    ----------
    doses, frames : the doses, and the frame of reference of each.
    mappings : registrations that may be used.
    max_voxels : bound of the grid, as for `sum_grid`.

    A dose that came from another frame is flagged `registered`, and `registered-deformably` when
    its registration is not rigid; its `coverage` then says where the registration reaches it.
    Raises `GeometryError` as `route` does.
    """
    chains = [None if frame == target else route(mappings, frame, target) for frame in frames]
    native = [dose.grid for dose, chain in zip(doses, chains, strict=True) if chain is None]
    axes = native[0].direction if native else np.eye(3)
    extents = []
    for dose, chain in zip(doses, chains, strict=True):
        if chain is None:
            extents.append(dose.grid)
        elif chain.is_rigid:
            extents.append(moved(dose.grid, chain))
        else:
            extents.append(_reach(dose.grid, chain, axes))
    grid, flags = sum_grid(extents, max_voxels)
    placed = []
    for dose, chain, extent in zip(doses, chains, extents, strict=True):
        if chain is None:
            placed.append(dose)
        elif chain.is_rigid:
            placed.append(LazyDose(extent, _mover(dose, extent, target)))
        else:
            placed.append(LazyDose(grid, _warper(dose, grid, chain.inverse(), target)))
    return placed, grid, flags


def moved(grid: Grid, chain: Chain) -> Grid:
    """A grid where a rigid chain puts it."""
    matrix = chain.matrix
    if matrix is None or not chain.is_rigid:
        raise ValueError("only a rigid registration moves a grid")
    return replace(
        grid,
        origin_mm=matrix[:3, :3] @ grid.origin_mm + matrix[:3, 3],
        direction=matrix[:3, :3] @ grid.direction,
    )


def warped(dose: Dose, grid: Grid, to_source: Chain, frame_uid: str) -> Dose:
    """A dose sampled on `grid` of the frame `frame_uid`: each voxel centre is mapped by `to_source`
    into the dose's own frame, where the dose is interpolated trilinearly.

    `coverage` is 1 where the registration and the dose are known, else 0; there the dose is 0.
    """
    values = np.zeros(grid.shape, np.float32)
    coverage = np.zeros(grid.shape, np.float32)
    k, j, i = grid.shape
    index = np.zeros((j, i, 3))
    index[..., 0], index[..., 1] = np.arange(i), np.arange(j)[:, None]
    last = np.array(dose.grid.size_ijk) - 1
    for slab in range(k):
        index[..., 2] = slab
        found = dose.grid.to_index(to_source.map_points(grid.to_lps(index)))
        inside = np.all((found >= -0.5) & (found <= last + 0.5), axis=-1)
        where = np.clip(found[inside], 0, last)[:, ::-1].T
        values[slab][inside] = map_coordinates(dose.array_gy, where, order=1, mode="nearest")
        coverage[slab][inside] = 1
    flags = (*dose.flags, REGISTERED, DEFORMED)
    return replace(
        dose, array_gy=values, grid=grid, frame_uid=frame_uid, coverage=coverage, flags=flags
    )


def _mover(dose: LazyDose, grid: Grid, frame_uid: str) -> Callable[[], Dose]:
    def load() -> Dose:
        own = dose.load()
        return replace(own, grid=grid, frame_uid=frame_uid, flags=(*own.flags, REGISTERED))

    return load


def _warper(dose: LazyDose, grid: Grid, to_source: Chain, frame_uid: str) -> Callable[[], Dose]:
    return lambda: warped(dose.load(), grid, to_source, frame_uid)


def _reach(source: Grid, chain: Chain, axes: np.ndarray) -> Grid:
    """A grid along `axes` of the chain's end that holds a dose of its start, found from a lattice
    of points through the whole dose and its edges."""
    counts = np.minimum(np.array(source.size_ijk) + 1, LATTICE)
    ticks = [
        np.linspace(-0.5, n - 0.5, count) for n, count in zip(source.size_ijk, counts, strict=True)
    ]
    lattice = source.to_lps(np.stack(np.meshgrid(*ticks, indexing="ij"), axis=-1).reshape(-1, 3))
    points = chain.map_points(lattice) @ axes
    points = points[np.isfinite(points).all(axis=-1)]
    if not len(points):
        raise GeometryError("a deformable registration does not reach the dose that it should move")
    steps = np.array(source.size_ijk) * source.spacing_mm / (counts - 1)
    nearest = np.argmax(np.abs(axes.T @ source.direction), axis=1)
    spacing = source.spacing_mm[nearest]
    low = points.min(axis=0) - steps[nearest] / 2
    sizes = np.ceil((points.max(axis=0) + steps[nearest] / 2 - low) / spacing).astype(int) + 1
    return Grid(axes @ low, axes, spacing, (int(sizes[2]), int(sizes[1]), int(sizes[0])))
