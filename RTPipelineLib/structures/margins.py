"""Margins, rings and shells, by exact Euclidean distance and not rounded to voxels.

A margin moves the surface along its normal. It may differ in six directions; between them the body
that is swept over the surface is an ellipsoid in each octant, so that corners come out round.
Growing is done by distance (`distance.py`) to a surface that is known to a fraction of a voxel
(`surface.py`), on a lattice finer than the mask; shrinking is growing what lies outside.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from itertools import product

import numpy as np

from ..errors import GeometryError
from ..geometry import Grid
from ..model import Mask
from .distance import FAR, Radii, surface_gauge
from .lattice_boxes import cropped, filled_box
from .level_set import coarse_mean, share_below_plane
from .surface import INSIDE

# Fine voxels are at most so long: the shorter where so many of them suffice.
FINE_MM = (0.5, 1.0)
FEW_VOXELS = 3_000_000
# The distance is taken to a surface at least so many fine voxels away and moved back by the rest:
# near the points that stand for the surface it would show their spacing.
LEAST_STEPS = 3.0
# A block of fine voxels that is worked on at a time (4 bytes each, five copies).
BLOCK_VOXELS = 8_000_000
# Six directions need axes this parallel (cosine) to those of the patient.
ALONG_PATIENT = 1 - 1e-5
PAD = 4  # voxels around a mask, so that its surface is whole


@dataclass(frozen=True)
class Margins:
    """Margins in mm towards the patient's six sides; negative ones shrink."""

    left: float = 0.0
    right: float = 0.0
    anterior: float = 0.0
    posterior: float = 0.0
    superior: float = 0.0
    inferior: float = 0.0

    @classmethod
    def even(cls, margin_mm: float) -> Margins:
        """The same margin on all sides."""
        return cls(*(margin_mm,) * 6)

    @property
    def is_even(self) -> bool:
        """True when all sides have the same margin."""
        return len(set(astuple(self))) == 1

    @property
    def grows(self) -> Margins:
        """The positive ones alone."""
        return Margins(*(max(side, 0.0) for side in astuple(self)))

    @property
    def shrinks(self) -> Margins:
        """The negative ones alone, as positive lengths."""
        return Margins(*(max(-side, 0.0) for side in astuple(self)))

    @property
    def largest(self) -> float:
        """The largest of the six lengths, whatever its sign."""
        return max(abs(side) for side in astuple(self))

    def mirrored(self) -> Margins:
        """Left and right, front and back, top and bottom exchanged."""
        return Margins(
            self.right, self.left, self.posterior, self.anterior, self.inferior, self.superior
        )

    def along(self, grid: Grid) -> Radii:
        """Lengths towards lower and higher index of each array axis (k, j, i).

        Raises `GeometryError` when they differ and the grid is oblique to the patient.
        """
        if self.is_even:
            return ((self.left, self.left),) * 3
        cosines = grid.direction  # columns are the axes i, j, k; rows are left, posterior, superior
        if not np.all(np.abs(cosines).max(axis=0) >= ALONG_PATIENT):
            raise GeometryError(
                "margins that differ by direction need a grid along the patient's axes; this one "
                "is oblique"
            )
        towards = (
            (self.right, self.left),
            (self.anterior, self.posterior),
            (self.inferior, self.superior),
        )  # lower and higher x, y, z
        radii = []
        for axis in (2, 1, 0):
            world = int(np.abs(cosines[:, axis]).argmax())
            low, high = towards[world]
            radii.append((low, high) if cosines[world, axis] > 0 else (high, low))
        return radii[0], radii[1], radii[2]


def add_margin(mask: Mask, margins: Margins | float) -> Mask:
    """A mask grown by positive and shrunk by negative margins (first grown, then shrunk).

    The result has float32 shares 0..1 on the lattice of the mask, cropped to what is covered and
    reaching beyond the mask's grid where it grew. Beyond its own grid a mask is empty: what ends at
    the grid is shrunk from there as well. Slices must be evenly spaced. Raises `GeometryError`
    for six directions on an oblique grid.

    What has no surface does not grow and has the flag `margin-too-thin`: thinner than a tenth of a
    voxel everywhere, or wide and nowhere full (a probability is no share).
    """
    if not isinstance(margins, Margins):
        margins = Margins.even(float(margins))
    if not mask.grid.is_uniform:
        raise GeometryError(f"{mask.name}: margins need evenly spaced slices")
    grown, shrunk = margins.grows, margins.shrinks
    share, grid = _fitted(mask, grown)
    if share.size == 0:
        return cropped(mask)
    flags = mask.flags
    if grown.largest > 0:
        larger, has_surface = _grown(share, grid, grown.along(grid))
        share = np.maximum(larger, share)
        if not has_surface:
            flags = (*flags, "margin-too-thin")
    if shrunk.largest > 0:
        outside = 1 - share
        grown_outside, _ = _grown(outside, grid, shrunk.mirrored().along(grid))
        share = 1 - np.maximum(grown_outside, outside)
    return cropped(replace(mask, array=share, grid=grid, flags=flags))


def _fitted(mask: Mask, grown: Margins) -> tuple[np.ndarray, Grid]:
    """Shares of the mask as float32 with room for what grows, and their grid."""
    box = filled_box(mask.array)
    if box is None:
        return np.empty((0, 0, 0), np.float32), mask.grid
    room = [
        tuple(math.ceil(length / step) + PAD for length in lengths)
        for lengths, step in zip(grown.along(mask.grid), mask.grid.spacing_mm[::-1], strict=True)
    ]
    share = np.pad(np.clip(mask.array[box].astype(np.float32), 0, 1), room)
    start = np.array([part.start - before for part, (before, _) in zip(box, room, strict=True)])
    origin = mask.grid.to_lps(start[::-1].astype(np.float64))
    return share, Grid(origin, mask.grid.direction, mask.grid.spacing_mm, share.shape)


def _grown(share: np.ndarray, grid: Grid, radii: Radii) -> tuple[np.ndarray, bool]:
    """Shares after growth, block by block, and whether there was any surface to grow; blocks far
    from it are what they were."""
    spacing = tuple(float(s) for s in grid.spacing_mm[::-1])
    for length in FINE_MM:
        divide = tuple(max(1, math.ceil(s / length - 0.05)) for s in spacing)
        if share.size * math.prod(divide) <= FEW_VOXELS:
            break
    fine = [s / d for s, d in zip(spacing, divide, strict=True)]
    least = LEAST_STEPS * max(fine)
    reach = [math.ceil(max(*pair, least) / s) + PAD for pair, s in zip(radii, spacing, strict=True)]
    result, has_surface = np.empty_like(share), False
    for block in _blocks(share.shape, reach, math.prod(divide)):
        wide = tuple(
            slice(max(part.start - r, 0), part.stop + r)
            for part, r in zip(block, reach, strict=True)
        )
        inner = tuple(
            slice(part.start - w.start, part.stop - w.start)
            for part, w in zip(block, wide, strict=True)
        )
        around = share[wide]
        if not around.any() or around.min() >= INSIDE:
            result[block] = around.any()
        else:
            larger, found = _grown_block(around, spacing, divide, radii)
            result[block] = larger[inner]
            has_surface |= found
    return result, has_surface


def _blocks(
    shape: tuple[int, ...], reach: list[int], fine_per_voxel: int
) -> Iterator[tuple[slice, slice, slice]]:
    """Parts of an array, halved along their longest side until what they need is small enough."""
    counts = [1, 1, 1]
    while True:
        sides = [math.ceil(n / c) for n, c in zip(shape, counts, strict=True)]
        need = math.prod(min(s + 2 * r, n) for s, r, n in zip(sides, reach, shape, strict=True))
        longest = int(np.argmax([s / max(r, 1) for s, r in zip(sides, reach, strict=True)]))
        if need * fine_per_voxel <= BLOCK_VOXELS or sides[longest] <= 2 * reach[longest]:
            break
        counts[longest] *= 2
    starts = [range(0, n, side) for n, side in zip(shape, sides, strict=True)]
    for corner in product(*starts):
        k, j, i = (slice(a, min(a + s, n)) for a, s, n in zip(corner, sides, shape, strict=True))
        yield k, j, i


def _grown_block(
    share: np.ndarray,
    spacing: tuple[float, float, float],
    divide: tuple[int, int, int],
    radii: Radii,
) -> tuple[np.ndarray, bool]:
    """Shares after growth of one block, and whether it holds any surface."""
    fine = tuple(s / d for s, d in zip(spacing, divide, strict=True))
    least = LEAST_STEPS * max(fine)
    reach: Radii = tuple(tuple(max(r, least) for r in pair) for pair in radii)
    gauge = surface_gauge(share, spacing, divide, reach)
    if np.abs(gauge).min() >= math.sqrt(FAR):
        return share, False
    # Every fine voxel further from the new surface than this is on one side of it, whole.
    short = max(b - a for p, q in zip(radii, reach, strict=True) for a, b in zip(p, q, strict=True))
    near = (math.hypot(*fine) / 2 + short) / min(min(pair) for pair in reach)
    covered = (gauge < 1).astype(np.float32)
    band = np.flatnonzero(np.abs(gauge.ravel() - 1) <= near)
    covered.ravel()[band] = _band_shares(gauge, band, fine, radii, reach)
    return coarse_mean(covered, divide), True


def _band_shares(
    gauge: np.ndarray,
    band: np.ndarray,
    fine: tuple[float, float, float],
    radii: Radii,
    reach: Radii,
) -> np.ndarray:
    """Covered shares of the fine voxels (flat indices) near the new surface."""
    even = all(low == high for low, high in reach)
    slope = _slopes(gauge, band, fine, reach, even)
    length = np.linalg.norm(slope, axis=1)
    known = length > 0
    length = np.where(known, length, 1.0)
    normal = slope / length[:, None]
    value = gauge.ravel()[band]
    margin = _support(normal, radii)
    # Where the margin is smaller than the reach, go back along the normal by the difference.
    distance = (1 - value) / length - _support(normal, reach) + margin
    if not even:  # within the old surface the gauge has the radii of the other side: count from it
        distance = np.where(value < 0, margin - value / length, distance)
    share = share_below_plane(distance, normal * np.array(fine))
    return np.where(known, share, value < 1).astype(np.float32)


def _support(normal: np.ndarray, radii: Radii) -> np.ndarray:
    """How far the swept body reaches along each normal: what a flat surface moves by."""
    total = np.zeros(len(normal))
    for axis, (low, high) in enumerate(radii):
        n = normal[:, axis]
        total += (np.where(n > 0, high, low) * n) ** 2
    return np.sqrt(total)


def _slopes(
    gauge: np.ndarray,
    band: np.ndarray,
    fine: tuple[float, float, float],
    reach: Radii,
    even: bool,
) -> np.ndarray:
    """(n, 3) gradient of the gauge per mm. Outside the old surface it is not taken across it, nor
    from inside where opposite margins are not `even`: the gauge has other radii there. Nor is it
    taken to where the gauge is not known, which shows as a step that no surface makes."""
    index = np.unravel_index(band, gauge.shape)
    here = gauge.ravel()[band].astype(np.float64)
    slope = np.empty((len(band), 3))
    for axis in range(3):
        steps, crosses = [], []
        steepest = 1.001 * fine[axis] / min(reach[axis])  # rounding of single precision allowed
        for side in (-1, 1):
            at = list(index)
            at[axis] = np.clip(index[axis] + side, 0, gauge.shape[axis] - 1)
            value = gauge[tuple(at)].astype(np.float64)
            steps.append(side * (value - here))
            across = np.where(here >= 0, value < 0, (value >= 0) & (not even))
            crosses.append(across | (np.abs(value - here) > steepest))
        mean = (steps[0] + steps[1]) / 2
        mean = np.where(crosses[0] & ~crosses[1], steps[1], mean)
        mean = np.where(crosses[1] & ~crosses[0], steps[0], mean)
        slope[:, axis] = mean / fine[axis]
    slope[np.abs(slope).max(axis=1) > 10] = 0.0  # next to where the gauge is not known
    return slope
