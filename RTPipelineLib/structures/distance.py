"""Exact distances to the surface of a mask, in units of margins that differ by direction.

The gauge of an offset v is |(v_x / r_x, v_y / r_y, v_z / r_z)| with r of the side to which v
points: 1 on a body whose eight octants are ellipsoids. Its square is a sum over axes, so that the
least gauge to any of the surface's points is found axis by axis (Felzenszwalb and Huttenlocher,
Theory of Computing 8 (2012) 415), here by trying all steps within reach: a margin is a few voxels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import numpy as np

from .surface import INSIDE, Crossings, crossings, thin_voxels

# One radius (towards lower index, towards higher index) in mm for each array axis.
Radii = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
# Squared gauges beyond: as good as infinite.
FAR = np.float32(1e9)
# Fine voxels along each side of a part that is worked on at a time.
TILE = 40


def surface_gauge(
    share: np.ndarray,
    spacing_mm: tuple[float, float, float],
    divide: tuple[int, int, int],
    radii_mm: Radii,
    axes: tuple[int, ...] = (0, 1, 2),
) -> np.ndarray:
    """Least gauge from the surface of `share` (`[k, j, i]`) to every fine voxel, float32,
    negative inside.

    `spacing_mm` and `radii_mm` are in the order of array axes; each voxel is divided into `divide`
    fine ones. Distances beyond 1 plus two fine voxels are at least that and else unknown. `axes`
    are those along which to look; with two of them every plane is a world of its own.
    """
    fine_mm = tuple(s / d for s, d in zip(spacing_mm, divide, strict=True))
    shape = tuple(n * d for n, d in zip(share.shape, divide, strict=True))
    thin = thin_voxels(share) if len(axes) == 3 else None
    families = [crossings(share, divide, axis, axes, thin) for axis in axes]
    squares = [_along_lines(f, shape, fine_mm[f.axis], radii_mm[f.axis]) for f in families]
    # Each family has still to spread along the other axes; families that share an axis share work.
    done: tuple[int, ...] = axes[:1]
    total = squares[0]
    for axis, family in zip(axes[1:], squares[1:], strict=True):
        for other in done:
            family = _spread(family, other, fine_mm[other], radii_mm[other])
        total = np.minimum(_spread(total, axis, fine_mm[axis], radii_mm[axis]), family)
        done = (*done, axis)
    gauge = np.sqrt(total, out=total)
    return np.where(_inside(share, divide, families), -gauge, gauge)


def _inside(
    share: np.ndarray, divide: tuple[int, int, int], families: list[Crossings]
) -> np.ndarray:
    """Which fine voxels lie inside: those of voxels that are, and near the surface by its side."""
    inside = share >= INSIDE
    for axis, parts in enumerate(divide):
        inside = inside.repeat(parts, axis=axis)
    votes = np.zeros(inside.size, dtype=np.int8)  # no family has the last word
    for family in families:
        for place, beyond, found in _near(family, inside.shape, 2 * divide[family.axis]):
            np.add.at(votes, place, np.where(beyond * family.outward[found] > 0, -1, 1))
    votes = votes.reshape(inside.shape)
    return np.where(votes == 0, inside, votes > 0)


def _along_lines(
    found: Crossings, shape: tuple[int, ...], step_mm: float, radii_mm: tuple[float, float]
) -> np.ndarray:
    """Squared gauge to the nearest crossing of the same line, as far as it matters."""
    nearest = np.full(math.prod(shape), FAR, dtype=np.float32)
    low, high = (np.float32(step_mm / radius) for radius in radii_mm)
    for place, beyond, _ in _near(found, shape, math.ceil(max(radii_mm) / step_mm) + 2):
        np.minimum.at(nearest, place, np.maximum(beyond * high, beyond * -low) ** 2)
    return nearest.reshape(shape)


def _near(
    found: Crossings, shape: tuple[int, ...], reach: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For every shift within `reach`: flat places of the fine voxels so far from the crossings on
    their lines, how many steps they lie beyond them (float32), and the crossings' numbers."""
    strides = np.cumprod([1, *shape[:0:-1]])[::-1]
    first, second = (a for a in range(3) if a != found.axis)
    line = found.line[:, 0] * strides[first] + found.line[:, 1] * strides[second]
    cell = np.rint(found.position).astype(np.int64)
    for shift in range(-reach, reach + 1):
        at = cell + shift
        there = np.flatnonzero((at >= 0) & (at < shape[found.axis]))
        beyond = (at - found.position)[there].astype(np.float32)
        yield line[there] + at[there] * strides[found.axis], beyond, there


def _spread(
    squares: np.ndarray, axis: int, step_mm: float, radii_mm: tuple[float, float]
) -> np.ndarray:
    """Least, over all voxels along `axis`, of their square plus that of the offset from them.

    Tile by tile: most hold nothing that is near, and one fits into the processor's cache.
    """
    result = squares.copy()
    size = squares.shape[axis]
    for corner in product(*(range(0, n, TILE) for n in squares.shape)):
        tile = [slice(a, min(a + TILE, n)) for a, n in zip(corner, squares.shape, strict=True)]
        source = squares[tuple(tile)]
        if source.min() >= FAR:
            continue
        begin, end = tile[axis].start, tile[axis].stop
        moved = np.empty_like(source)
        for side, radius in zip((-1, 1), radii_mm, strict=True):
            for step in range(1, math.ceil(radius / step_mm) + 3):
                np.add(source, np.float32((step * step_mm / radius) ** 2), out=moved)
                low, high = begin + side * step, end + side * step
                tile[axis] = slice(max(low, 0), max(min(high, size), 0))
                target = result[tuple(tile)]
                inside = [slice(None)] * 3
                inside[axis] = slice(tile[axis].start - low, tile[axis].stop - low)
                if target.size:
                    np.minimum(target, moved[tuple(inside)], out=target)
    return result
