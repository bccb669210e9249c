"""Oriented voxel grids in patient space: the one place where an index becomes a position.

Conventions of the whole library:

* arrays are indexed `[k, j, i]` (slice, row, column);
* points are LPS millimetres, shape `(..., 3)` as x, y, z (DICOM PS3.3 C.7.6.2.1.1);
* index triples are `(..., 3)` as i, j, k, continuous, with 0 at the centre of the first voxel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

# Direction cosines are written in DICOM with few digits; 1e-3 rad over 500 mm is half a millimetre,
# and real exports stay below 1e-4.
ORTHOGONALITY_TOLERANCE = 1e-3
# Two grids are the same grid when no corner differs by more than this.
SAME_POINT_MM = 1e-3
# Voxels that lie apart by less than this share of their size coincide.
SAME_LATTICE = 1e-3
# Frame positions that differ from an even ladder by less are even (DICOM writes 1e-3 mm or
# coarser).
UNIFORM_TOLERANCE_MM = 1e-3


def _frozen(values: object, shape: tuple[int, ...]) -> np.ndarray:
    array = np.array(values, dtype=np.float64)
    if array.shape != shape:
        raise ValueError(f"expected shape {shape}, found {array.shape}")
    if not np.all(np.isfinite(array)):
        raise ValueError("a grid needs finite numbers")
    array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular (or, in k, rectilinear) lattice of voxel centres in patient space.

    Parameters
    ----------
    origin_mm : (3,) LPS position of the centre of voxel `[0, 0, 0]`.
    direction : (3, 3) orthonormal; **columns** are the unit vectors of the i, j and k axes in LPS.
    spacing_mm : (3,) positive distances between neighbours along i, j, k.
    shape : (nk, nj, ni), the shape of the array that lives on the grid.
    k_offsets_mm : (nk,) strictly ascending positions of the slices along the k axis, from 0; None
        when the slices are evenly spaced by `spacing_mm[2]`. With offsets, `spacing_mm[2]` is their
        median step.

    Raises `ValueError` for sizes, signs or shapes that are no grid.
    """

    origin_mm: np.ndarray
    direction: np.ndarray
    spacing_mm: np.ndarray
    shape: tuple[int, int, int]
    k_offsets_mm: np.ndarray | None = field(default=None)

    def __post_init__(self) -> None:
        origin = _frozen(self.origin_mm, (3,))
        direction = _frozen(self.direction, (3, 3))
        spacing = _frozen(self.spacing_mm, (3,))
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"a grid needs three sizes of at least 1, found {self.shape}")
        if np.any(spacing <= 0):
            raise ValueError(f"a grid needs positive spacing, found {spacing.tolist()} mm")
        if not np.allclose(direction.T @ direction, np.eye(3), atol=ORTHOGONALITY_TOLERANCE):
            raise ValueError(f"direction cosines are not orthonormal: {direction.tolist()}")
        offsets = self.k_offsets_mm
        if offsets is not None:
            offsets = _frozen(offsets, (shape[0],))
            if abs(offsets[0]) > 0 or np.any(np.diff(offsets) <= 0):
                raise ValueError("slice offsets must begin with 0 and ascend strictly")
            even = offsets[-1] * np.linspace(0.0, 1.0, shape[0])
            if shape[0] < 3 or np.max(np.abs(offsets - even)) < UNIFORM_TOLERANCE_MM:
                if shape[0] > 1:
                    spacing = spacing.copy()
                    spacing[2] = offsets[-1] / (shape[0] - 1)
                    spacing.flags.writeable = False
                offsets = None
        object.__setattr__(self, "origin_mm", origin)
        object.__setattr__(self, "direction", direction)
        object.__setattr__(self, "spacing_mm", spacing)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "k_offsets_mm", offsets)

    @classmethod
    def from_dicom(
        cls,
        position_mm: Sequence[float],
        orientation: Sequence[float],
        pixel_spacing_mm: Sequence[float],
        rows: int,
        columns: int,
        k_offsets_mm: Sequence[float],
        single_frame_mm: float = 1.0,
    ) -> Grid:
        """Grid of a stack of frames (PS3.3 C.7.6.2.1.1 and C.8.8.3.2).

        `position_mm` is Image Position (Patient) of the frame whose offset is 0; `orientation`
        holds the six row and column cosines; `pixel_spacing_mm` is (between rows, between columns),
        as DICOM orders it. `k_offsets_mm` are relative to `position_mm` along row x column,
        ascending; a single frame passes `[0.0]` and takes `single_frame_mm` as its thickness.
        """
        row = np.asarray(orientation[:3], dtype=np.float64)
        column = np.asarray(orientation[3:], dtype=np.float64)
        row_length, column_length = np.linalg.norm(row), np.linalg.norm(column)
        if min(row_length, column_length) < 0.5:
            raise ValueError(f"orientation {list(orientation)} has no direction")
        row, column = row / row_length, column / column_length
        if abs(row @ column) > ORTHOGONALITY_TOLERANCE:
            raise ValueError(f"rows and columns are not at right angles: {list(orientation)}")
        column = column - (row @ column) * row
        column /= np.linalg.norm(column)
        direction = np.stack([row, column, np.cross(row, column)], axis=1)
        offsets = np.asarray(k_offsets_mm, dtype=np.float64)
        step = float(np.median(np.diff(offsets))) if offsets.size > 1 else single_frame_mm
        origin = np.asarray(position_mm, dtype=np.float64) + offsets[0] * direction[:, 2]
        return cls(
            origin,
            direction,
            np.array([pixel_spacing_mm[1], pixel_spacing_mm[0], step], dtype=np.float64),
            (offsets.size, int(rows), int(columns)),
            offsets - offsets[0],
        )

    # -- what it is -------------------------------------------------------------------------------

    @property
    def is_uniform(self) -> bool:
        """True when the slices are evenly spaced."""
        return self.k_offsets_mm is None

    @property
    def normal(self) -> np.ndarray:
        """(3,) unit vector of the k axis."""
        return self.direction[:, 2]

    @property
    def k_positions_mm(self) -> np.ndarray:
        """(nk,) positions of the slices along the k axis, relative to the origin."""
        if self.k_offsets_mm is not None:
            return self.k_offsets_mm
        return np.arange(self.shape[0]) * self.spacing_mm[2]

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel; for uneven slices, that of a slice of median thickness."""
        return float(np.prod(self.spacing_mm))

    @property
    def size_ijk(self) -> tuple[int, int, int]:
        """(ni, nj, nk), the order in which SimpleITK and VTK give sizes."""
        return self.shape[2], self.shape[1], self.shape[0]

    # -- index <-> patient ------------------------------------------------------------------------

    def to_lps(self, index: np.ndarray) -> np.ndarray:
        """Continuous indices `(..., 3)` as i, j, k to LPS millimetres `(..., 3)`."""
        index = np.asarray(index, dtype=np.float64)
        local = index * self.spacing_mm
        if self.k_offsets_mm is not None:
            local = local.copy()
            local[..., 2] = _ladder(index[..., 2], np.arange(self.shape[0]), self.k_offsets_mm)
        return local @ self.direction.T + self.origin_mm

    def to_index(self, points_mm: np.ndarray) -> np.ndarray:
        """LPS millimetres `(..., 3)` to continuous indices `(..., 3)` as i, j, k."""
        local = (np.asarray(points_mm, dtype=np.float64) - self.origin_mm) @ self.direction
        index = local / self.spacing_mm
        if self.k_offsets_mm is not None:
            index[..., 2] = _ladder(local[..., 2], self.k_offsets_mm, np.arange(self.shape[0]))
        return index

    def corners_mm(self, *, edges: bool = False) -> np.ndarray:
        """(8, 3) LPS positions of the outermost voxel centres, or of the outer voxel edges."""
        half = 0.5 if edges else 0.0
        ni, nj, nk = self.size_ijk
        low, high = np.full(3, -half), np.array([ni, nj, nk]) - 1 + half
        picks = np.array([[(c >> a) & 1 for a in range(3)] for c in range(8)])
        return self.to_lps(np.where(picks, high, low))

    def contains(self, points_mm: np.ndarray) -> np.ndarray:
        """`(...)` booleans: inside the grid, which reaches half a voxel beyond its outer
        centres."""
        index = self.to_index(points_mm)
        return np.all((index >= -0.5) & (index <= np.array(self.size_ijk) - 0.5), axis=-1)

    def same_as(self, other: Grid) -> bool:
        """True when both grids have their voxels at the same places (to 1e-3 mm)."""
        if self.shape != other.shape:
            return False
        if np.abs(self.corners_mm() - other.corners_mm()).max() > SAME_POINT_MM:
            return False
        return bool(np.abs(self.k_positions_mm - other.k_positions_mm).max() <= SAME_POINT_MM)

    def offset_in(self, whole: Grid) -> tuple[int, int, int] | None:
        """Where this grid's first voxel lies in another one of the same lattice, as k, j, i
        (perhaps outside it); None when the voxels of the two do not coincide (to 1e-3 of their
        size)."""
        offset = np.rint(whole.to_index(self.origin_mm))
        picks = np.array([[(c >> a) & 1 for a in range(3)] for c in range(8)])
        corners = whole.to_lps(offset + picks * (np.array(self.size_ijk) - 1))
        slices = whole.to_index(self.origin_mm + np.outer(self.k_positions_mm, self.normal))[:, 2]
        apart = np.abs(corners - self.corners_mm()).max() / self.spacing_mm.min()
        apart = max(apart, np.abs(slices - offset[2] - np.arange(len(slices))).max())
        if apart > SAME_LATTICE:
            return None
        return int(offset[2]), int(offset[1]), int(offset[0])

    # -- parts and sums ---------------------------------------------------------------------------

    def crop(self, k: slice, j: slice, i: slice) -> Grid:
        """The grid of `array[k, j, i]`; slices have step 1 and must leave at least one voxel."""
        starts, sizes = [], []
        for part, size in zip((k, j, i), self.shape, strict=True):
            start, stop, step = part.indices(size)
            if step != 1 or stop <= start:
                raise ValueError(f"cannot crop {part} out of {size} voxels")
            starts.append(start)
            sizes.append(stop - start)
        offsets = self.k_offsets_mm
        if offsets is not None:
            offsets = offsets[starts[0] : starts[0] + sizes[0]]
            offsets = offsets - offsets[0]
        origin = self.to_lps(np.array(starts[::-1], dtype=np.float64))
        return Grid(origin, self.direction, self.spacing_mm, tuple(sizes), offsets)

    def with_uniform_slices(self) -> Grid:
        """The uniform grid over the same extent, at the finest slice step that occurs."""
        if self.k_offsets_mm is None:
            return self
        extent = self.k_offsets_mm[-1]
        count = int(np.ceil(extent / np.diff(self.k_offsets_mm).min() - 1e-6)) + 1
        spacing = np.array([*self.spacing_mm[:2], extent / (count - 1)])
        return Grid(self.origin_mm, self.direction, spacing, (count, *self.shape[1:]))

    @staticmethod
    def union(grids: Iterable[Grid], max_voxels: int | None = None) -> Grid:
        """The smallest uniform grid that covers the voxel centres of all grids.

        It has the orientation and lattice of the grid with the finest voxels, and along each axis
        the finest spacing that any input has along its nearest axis. When that would exceed
        `max_voxels` the spacing is coarsened evenly; compare `spacing_mm` to see whether it was.
        """
        members = [grid.with_uniform_slices() for grid in grids]
        if not members:
            raise ValueError("the union of no grids is no grid")
        base = min(members, key=lambda grid: grid.voxel_volume_mm3)
        spacing = np.array(base.spacing_mm)
        for grid in members:
            nearest = np.argmax(np.abs(base.direction.T @ grid.direction), axis=1)
            finer = grid.spacing_mm[nearest] < spacing - UNIFORM_TOLERANCE_MM
            spacing = np.where(finer, grid.spacing_mm[nearest], spacing)
        corners = np.concatenate([grid.corners_mm() for grid in members])
        local = (corners - base.origin_mm) @ base.direction
        while True:
            low = np.floor(local.min(axis=0) / spacing + 1e-6)
            high = np.ceil(local.max(axis=0) / spacing - 1e-6)
            size = (high - low).astype(np.int64) + 1
            if max_voxels is None or int(np.prod(size)) <= max_voxels:
                break
            spacing = spacing * max(1.001, (float(np.prod(size)) / max_voxels) ** (1 / 3))
        origin = base.origin_mm + base.direction @ (low * spacing)
        return Grid(origin, base.direction, spacing, (int(size[2]), int(size[1]), int(size[0])))


def _ladder(x: np.ndarray, xp: np.ndarray, fp: np.ndarray) -> np.ndarray:
    """Piecewise linear map through (xp, fp), continued with the slope of its end segments."""
    segment = np.clip(np.searchsorted(xp, x, side="right") - 1, 0, len(xp) - 2)
    slope = (fp[segment + 1] - fp[segment]) / (xp[segment + 1] - xp[segment])
    return fp[segment] + (x - xp[segment]) * slope
