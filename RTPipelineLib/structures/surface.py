"""Where the surface of a mask lies, to a fraction of a voxel.

Along every line of voxels the covered shares are summed across the surface, from a voxel that is
full to one that is empty: that is where the surface crosses the line, exactly for a plane whatever
its slope (the height functions of volume-of-fluid methods: Cummins, Francois and Kothe, Computers
and Structures 83 (2005) 425). Lines that meet the surface so flatly that the sum would take more
than a few voxels leave it to the two other directions. From the crossings of neighbouring lines
come slope and curvature, and from these points on lines as dense as wanted. What is so thin that it
fills no voxel has two surfaces as well: its shares along a line add up to its thickness.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

# The share at which a voxel's centre is inside.
INSIDE = 0.5
# The sum goes on for so many voxels to either side of the crossing; a surface always crosses the
# lines along the voxel edge nearest to its normal within as many.
REACH = 2
# A sum that ends at a voxel not full (or not empty) by more than this has missed the surface.
FULL = 0.98
# Crossings of neighbouring lines this far apart (in voxels along them) belong to one surface; where
# their slope turns round by more than this, the surface has an edge and no curvature.
SAME_SURFACE = 8
SMOOTH, SMOOTH_LABEL = 0.5, 3.0
# A surface steeper than this (in voxels) is left to the lines that it crosses more squarely.
STEEPEST = 1.25
# The heights of labels, which know only whole voxels, are moved towards the mean of their
# neighbours and a little more away from it by turns: that takes off the steps and leaves the body
# as large as it was (Taubin, Proc. SIGGRAPH 95, 351). Each factor counts for both sides across.
SMOOTHING = (0.16, -0.17) * 10
# What fills no voxel is a structure from this thickness on, in voxels; less is what rounding and
# the differences of nearly equal structures leave.
LEAST_THICKNESS = 0.1


@dataclass(frozen=True, eq=False)
class Crossings:
    """Points of a surface on a finer lattice, one family of lines along `axis`.

    `line` (n, 2) are the fine indices along the two other axes, in their order in `[k, j, i]`;
    `position` (n,) is the continuous fine index along the axis (whole numbers: voxel centres).
    """

    axis: int
    line: np.ndarray
    position: np.ndarray
    outward: np.ndarray  # (n,) +1 where the inside ends in the direction of the axis, else -1


def crossings(
    share: np.ndarray,
    divide: tuple[int, int, int],
    axis: int,
    axes: tuple[int, ...] = (0, 1, 2),
    thin: np.ndarray | None = None,
) -> Crossings:
    """Points where lines along `axis` of `[k, j, i]` meet the surface of `share` (0..1).

    `share` is empty at its outermost voxels, or full: nothing is known beyond. `divide` is the
    number of fine voxels along each axis of a voxel; the surface goes on along `axes` only. Labels
    (shares 0 and 1 only) are smoothed along the surface, or its steps would stick out. `thin` are
    the voxels of what is too thin to fill one (`thin_voxels`).
    """
    order = [a for a in range(3) if a != axis] + [axis]
    lines = np.ascontiguousarray(share.transpose(order))
    is_label = bool(np.all((share == 0) | (share == 1)))
    across = tuple(n for n in (0, 1) if order[n] in axes)
    fine = tuple(divide[a] for a in order)
    if thin is None:
        found = (_events(1 - lines), _events(lines))
    else:
        found = _thin_events(lines, np.ascontiguousarray(thin.transpose(order)))
    parts = [_family(lines.shape, *events, fine, across, is_label) for events in found]
    line, position = (np.concatenate(p) for p in zip(*parts, strict=True))
    outward = np.repeat([-1, 1], [len(part[1]) for part in parts])
    return Crossings(axis, line, position, outward)


def _family(
    shape: tuple[int, ...],
    event: np.ndarray,
    height: np.ndarray,
    divide: tuple[int, int, int],
    across: tuple[int, ...],
    is_label: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Points of the surface on finer lines, from its crossings (`_events`) of the lines of voxels
    along the last axis of an array of `shape`."""
    beside = _Beside(shape, event)
    smooth = SMOOTH
    if is_label:
        smooth = SMOOTH_LABEL
        for factor in SMOOTHING:
            curves = [beside.bend(height, side, smooth)[1] for side in across]
            height = height + factor * sum(curves)
    none = np.zeros(len(height))
    bends = [beside.bend(height, n, smooth) if n in across else (none, none) for n in (0, 1)]
    gentle = np.logical_and.reduce([np.abs(slope) <= STEEPEST for slope, _ in bends])
    event, height = event[gentle], height[gentle]
    bends = [(slope[gentle], curve[gentle]) for slope, curve in bends]
    (slope_a, curve_a), (slope_b, curve_b) = bends
    na, nb, n = divide
    points, rows = [], []
    for sa in range(na):
        a = (sa + 0.5) / na - 0.5
        for sb in range(nb):
            b = (sb + 0.5) / nb - 0.5
            bulge = curve_a * (a * a - 1 / 12) / 2 + curve_b * (b * b - 1 / 12) / 2
            points.append(height + slope_a * a + slope_b * b + bulge)
            rows.append(event[:, :2] * (na, nb) + (sa, sb))
    position = (np.concatenate(points) + 0.5) * n - 0.5
    return np.concatenate(rows), position


def _events(lines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, 3) indices of the last voxel inside before each fall, and the continuous index along the
    last axis at which the surface crosses."""
    inside = lines >= INSIDE
    a, b, i = np.nonzero(inside[..., :-1] & ~inside[..., 1:])
    low, high = lines[a, b, i], lines[a, b, i + 1]
    total = (low + high) / 2  # shares between the centres of the outermost voxels summed
    low, behind, top, more = _to_the_end(lines, (a, b, i), low, -1)
    total += more
    high, beyond, _, more = _to_the_end(1 - lines, (a, b, i + 1), 1 - high, 1)
    total += more
    thin, gap = behind < INSIDE, beyond < INSIDE
    good = ((low > FULL) | thin) & ((high > FULL) | gap)
    position = top + total
    return np.stack([a, b, i], axis=1)[good], position[good]


def _to_the_end(
    lines: np.ndarray,
    start: tuple[np.ndarray, np.ndarray, np.ndarray],
    value: np.ndarray,
    side: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Go along the lines while their values rise. Returns the highest value, that of the voxel
    after it, its index and the sum of shares on the way (`side` 1 sums what is missing to full)."""
    a, b, i = start
    last = lines.shape[2] - 1
    total, end, rising = np.zeros(len(a)), i.copy(), np.ones(len(a), dtype=bool)
    for step in range(1, REACH + 1):
        at = i + side * step
        found = lines[a, b, np.clip(at, 0, last)]
        rising = rising & (at >= 0) & (at <= last) & (value < 1) & (found > value)
        mean = (value + found) / 2
        total += np.where(rising, mean if side < 0 else 1 - mean, 0.0)
        value, end = np.where(rising, found, value), np.where(rising, at, end)
    return value, lines[a, b, np.clip(end + side, 0, last)], end, total


def thin_voxels(share: np.ndarray) -> np.ndarray | None:
    """The voxels of `[k, j, i]` that hold something and have no full one around them; None where
    there is no such voxel."""
    from scipy.ndimage import maximum_filter

    if not ((share > 0) & (share <= FULL)).any():
        return None
    thin = (share > 0) & (maximum_filter(share, 3) <= FULL)
    return thin if thin.any() else None


def _thin_events(
    lines: np.ndarray, thin: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """As `_events` of where lines enter (empty to full) and of where they leave; what is thin is
    entered and left as far apart as its shares add up to, about their middle."""
    sides = np.diff(np.pad(lines > 0, ((0, 0), (0, 0), (1, 1))).view(np.int8), axis=2)
    a, b, first = np.nonzero(sides > 0)
    last = np.nonzero(sides < 0)[2]  # in the same order
    short = (last - first <= 2 * REACH + 1) & thin[a, b, first] & thin[a, b, last - 1]
    a, b, first, last = a[short], b[short], first[short], last[short]
    total, moment = np.zeros(len(a)), np.zeros(len(a))
    taken = np.zeros(lines.shape, dtype=bool)
    for step in range(2 * REACH + 1):
        at = np.minimum(first + step, last - 1)
        value = np.where(first + step < last, lines[a, b, at], 0.0)
        total += value
        moment += value * at
        taken[a, b, at] = True
    middle = moment / total
    good = total >= LEAST_THICKNESS
    voxel = np.stack([a, b, np.rint(middle).astype(np.int64)], axis=1)[good]
    found = []
    for values, away, side in ((1 - lines, 1, -1), (lines, 0, 1)):
        event, height = _events(values)
        other = ~taken[event[:, 0], event[:, 1], event[:, 2] + away]
        event = np.concatenate([event[other], voxel])
        height = np.concatenate([height[other], (middle + side * total / 2)[good]])
        order = np.lexsort(event.T[::-1])
        found.append((event[order], height[order]))
    return found[0], found[1]


class _Beside:
    """The crossings of neighbouring lines: of each the nearest one."""

    def __init__(self, shape: tuple[int, ...], event: np.ndarray) -> None:
        number = np.full(shape, -1, dtype=np.int32)
        number[tuple(event.T)] = np.arange(len(event))  # ascending along the lines
        last = np.maximum.accumulate(number, axis=2)
        count = np.int32(len(event))
        backwards = np.where(number < 0, count, number)[..., ::-1]
        coming = np.minimum.accumulate(backwards, axis=2)[..., ::-1]
        a, b, i = event.T
        self._found = {}
        for across, side in product((0, 1), (-1, 1)):
            index = [a, b, i]
            index[across] = np.clip(event[:, across] + side, 0, shape[across] - 1)
            there = index[across] != event[:, across]
            one, two = last[tuple(index)], coming[tuple(index)]
            self._found[across, side] = (
                np.where(there & (one >= 0), one, count),
                np.where(there, two, count),
            )

    def bend(self, height: np.ndarray, across: int, most: float) -> tuple[np.ndarray, np.ndarray]:
        """Slope and curvature of the surface across the lines, in voxels; where the slope turns
        round by more than `most`, the smaller one-sided slope and no curvature."""
        before, after = (self._nearest(height, across, side) for side in (-1, 1))
        down, up = height - before, after - height
        both = np.isfinite(down) & np.isfinite(up)
        one = np.where(np.isfinite(down), down, np.where(np.isfinite(up), up, 0.0))
        curve = np.where(both, up - down, 0.0)
        smooth = (np.abs(curve) <= most) | (down * up > 0)
        least = np.where(np.abs(down) < np.abs(up), down, up)
        slope = np.where(both, np.where(smooth, (down + up) / 2, least), one)
        return slope, np.where(smooth, curve, 0.0)

    def _nearest(self, height: np.ndarray, across: int, side: int) -> np.ndarray:
        """Height of the neighbouring crossing; nan when there is none near."""
        known = np.append(height, np.nan)
        one, two = (known[found] for found in self._found[across, side])
        nearer = np.isnan(two) | (np.abs(one - height) <= np.abs(two - height))
        best = np.where(nearer, one, two)
        return np.where(np.abs(best - height) <= SAME_SURFACE, best, np.nan)
