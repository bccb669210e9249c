"""Exact distances to the surface of a mask, in units of margins that differ by direction.

The gauge of an offset v is |(v_x / r_x, v_y / r_y, v_z / r_z)| with r of the side to which v
points: 1 on a body whose eight octants are ellipsoids. Its square is a sum over axes, so that the
least gauge to any of the surface's points is found axis by axis (Felzenszwalb and Huttenlocher,
Theory of Computing 8 (2012) 415), here by trying all steps within reach: a margin is a few voxels.
"""

from __future__ import annotations

import math

import numpy as np

from .surface import INSIDE, Crossings, crossings

# One radius (towards lower index, towards higher index) in mm for each array axis.
Radii = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
# Squared gauges beyond: as good as infinite.
FAR = np.float32(1e9)


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
    families = [crossings(share, divide, axis, axes) for axis in axes]
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
    votes = np.zeros(inside.shape, dtype=np.int8)  # no family has the last word
    for family in families:
        order = [a for a in range(3) if a != family.axis] + [family.axis]
        lines = votes.transpose(order)  # a view
        nearest = np.rint(family.position).astype(np.int64)
        for shift in range(-2 * divide[family.axis], 2 * divide[family.axis] + 1):
            cell = nearest + shift
            there = np.flatnonzero((cell >= 0) & (cell < lines.shape[2]))
            side = np.where((family.position - cell) * family.outward > 0, 1, -1)
            index = family.line[there, 0], family.line[there, 1], cell[there]
            np.add.at(lines, index, side[there].astype(np.int8))
    return np.where(votes == 0, inside, votes > 0)


def _along_lines(
    found: Crossings, shape: tuple[int, ...], step_mm: float, radii_mm: tuple[float, float]
) -> np.ndarray:
    """Squared gauge to the nearest crossing of the same line."""
    order = [a for a in range(3) if a != found.axis] + [found.axis]
    sizes = tuple(shape[a] for a in order)
    cell = np.clip(np.rint(found.position), 0, sizes[2] - 1).astype(np.int64)
    where = np.ravel_multi_index((found.line[:, 0], found.line[:, 1], cell), sizes)
    before = np.full(math.prod(sizes), -np.inf, dtype=np.float32)
    after = np.full(math.prod(sizes), np.inf, dtype=np.float32)
    position = found.position.astype(np.float32)
    np.maximum.at(before, where, position)
    np.minimum.at(after, where, position)
    before, after = before.reshape(sizes), after.reshape(sizes)
    np.maximum.accumulate(before, axis=2, out=before)
    backwards = after[..., ::-1]
    np.minimum.accumulate(backwards, axis=2, out=backwards)
    centre = np.arange(sizes[2], dtype=np.float32)
    nearest = np.minimum(
        _square(centre - before, step_mm, radii_mm), _square(centre - after, step_mm, radii_mm)
    )
    inverse = np.argsort(order)
    return np.ascontiguousarray(nearest.transpose(inverse))


def _square(steps: np.ndarray, step_mm: float, radii_mm: tuple[float, float]) -> np.ndarray:
    """Squared gauge of offsets in steps along one axis."""
    low, high = (np.float32(step_mm / radius) for radius in radii_mm)
    gauge = np.maximum(steps * high, steps * -low)
    return np.minimum(gauge * gauge, FAR)


def _spread(
    squares: np.ndarray, axis: int, step_mm: float, radii_mm: tuple[float, float]
) -> np.ndarray:
    """Least, over all voxels along `axis`, of their square plus that of the offset from them."""
    result = squares.copy()
    other = np.empty_like(squares)
    size = squares.shape[axis]
    for side, radius in zip((-1, 1), radii_mm, strict=True):
        for step in range(1, min(math.ceil(radius / step_mm) + 2, size - 1) + 1):
            to = [slice(None)] * 3
            to[axis] = slice(step, None) if side > 0 else slice(None, -step)
            source = [slice(None)] * 3
            source[axis] = slice(None, -step) if side > 0 else slice(step, None)
            moved = other[tuple(to)]
            np.add(squares[tuple(source)], np.float32((step * step_mm / radius) ** 2), out=moved)
            target = result[tuple(to)]
            np.minimum(target, moved, out=target)
    return result
