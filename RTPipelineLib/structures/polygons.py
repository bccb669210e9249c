"""Loops of one plane to one region, as oriented edges.

A region is a list of edges `(n, 4)` as x0, y0, x1, y1 whose winding number is 1 inside and 0
outside: outer boundaries run counter-clockwise, holes clockwise. That is what exact area coverage
needs (`coverage.py`). Rules, PS3.3 C.8.8.6.3 and the project's semantics:

* CLOSED_PLANAR: a loop wholly inside another is a hole, even-odd; equal loops count once; loops
  that overlap in part are united (flag `contour-overlap`);
* CLOSEDPLANAR_XOR: exclusive or;
* within one loop the even-odd rule, so that keyholes and self-crossings come out right.

Simple loops, the usual case, only get their orientation set. All others go through a sweep
(`swept_region`) that cuts the plane into bands in which no two edges cross.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, pairwise

import numpy as np

Rule = Callable[[np.ndarray], np.ndarray]  # (n, loops) booleans -> (n,) inside the region

SAME_AREA = 1e-6  # shares of an area below this are rounding


def loop_edges(points: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(n, 4) edges of closed loops, stored one after another: points (n, 2), starts (m + 1,)."""
    following = np.empty_like(points)
    following[:-1] = points[1:]
    following[starts[1:] - 1] = points[starts[:-1]]
    return np.concatenate([points, following], axis=1)


def signed_areas(edges: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(m,) area of each run of edges, positive for counter-clockwise."""
    origin = np.repeat(edges[starts[:-1], :2], np.diff(starts), axis=0)
    x0, y0 = (edges[:, :2] - origin).T
    x1, y1 = (edges[:, 2:] - origin).T
    return np.add.reduceat(x0 * y1 - x1 * y0, starts[:-1]) / 2


def reversed_edges(edges: np.ndarray) -> np.ndarray:
    """The same edges run the other way."""
    return edges[:, [2, 3, 0, 1]]


def plane_region(loops: list[np.ndarray], xor: list[bool]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Edges of the region that several simple loops `(n, 2)` of one plane enclose, and flags."""
    flags: list[str] = []
    kept = _without_duplicates(loops, xor)
    if len(kept) < len(loops):
        flags.append("contour-duplicate")
    loops, xor = [loops[i] for i in kept], [xor[i] for i in kept]
    contains, overlaps = _relations(loops)
    if overlaps:
        if not all(xor):
            flags.append("contour-overlap")
        return swept_region(loops, combination_rule(contains, xor)), tuple(flags)
    parts = []
    for index, loop in enumerate(loops):
        edges = loop_edges(loop, np.array([0, len(loop)]))
        clockwise = signed_areas(edges, np.array([0, len(loop)]))[0] < 0
        is_hole = contains[:, index].sum() % 2 == 1
        parts.append(reversed_edges(edges) if clockwise != is_hole else edges)
    return np.concatenate(parts), tuple(flags)


def robust_region(loops: list[np.ndarray], xor: list[bool]) -> np.ndarray:
    """As `plane_region`, for loops that may cross themselves."""
    kept = _without_duplicates(loops, xor)
    loops, xor = [loops[i] for i in kept], [xor[i] for i in kept]
    return swept_region(loops, combination_rule(_relations(loops)[0], xor))


def combination_rule(contains: np.ndarray, xor: list[bool]) -> Rule:
    """How the loops of a plane combine: painted from the outermost level inwards, each level
    adding or removing by turns; XOR loops are applied last. `contains[a, b]`: b wholly in a."""
    xor_loop = np.array(xor, dtype=bool)
    depth = (contains & ~xor_loop[:, None]).sum(axis=0)
    depth[xor_loop] = -1

    def rule(inside: np.ndarray) -> np.ndarray:
        region = np.zeros(len(inside), dtype=bool)
        for level in range(int(depth.max(initial=-1)) + 1):
            region[inside[:, depth == level].any(axis=1)] = level % 2 == 0
        return region ^ (inside[:, xor_loop].sum(axis=1) % 2 == 1)

    return rule


def swept_region(loops: list[np.ndarray], rule: Rule) -> np.ndarray:
    """Edges of the region that `rule` makes of loops `(n, 2)` which may cross themselves and each
    other.

    All vertices and crossings cut the plane into horizontal bands. Inside a band edges do not
    cross, so walking along it each edge toggles its own loop (even-odd); where the rule's answer
    changes, the edge bounds the region.
    """
    starts = np.concatenate([[0], np.cumsum([len(loop) for loop in loops])])
    edges = loop_edges(np.concatenate(loops), starts)
    owner = np.repeat(np.arange(len(loops)), np.diff(starts))
    rising = np.where((edges[:, 1] > edges[:, 3])[:, None], reversed_edges(edges), edges)
    keep = rising[:, 1] < rising[:, 3]
    rising, owner = rising[keep], owner[keep]
    levels = np.unique(np.concatenate([rising[:, 1], rising[:, 3], _crossing_levels(rising)]))
    first = np.searchsorted(levels, rising[:, 1])
    counts = np.searchsorted(levels, rising[:, 3]) - first
    edge = np.repeat(np.arange(len(rising)), counts)
    band = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts - first, counts)
    x0, y0, x1, y1 = rising[edge].T
    slope = (x1 - x0) / (y1 - y0)
    x_low, x_high = (
        np.clip(x0 + (levels[b] - y0) * slope, np.minimum(x0, x1), np.maximum(x0, x1))
        for b in (band, band + 1)
    )
    order = np.lexsort((x_low + x_high, band))
    edge, band, x_low, x_high = edge[order], band[order], x_low[order], x_high[order]
    toggles = owner[edge][:, None] == np.arange(len(loops))
    inside = rule(np.cumsum(toggles, axis=0) % 2 == 1)  # each band toggles every loop evenly
    before = np.concatenate([[False], inside[:-1]])
    enters, leaves = inside & ~before, before & ~inside
    y_low, y_high = levels[band], levels[band + 1]
    pieces = np.stack([x_low, y_low, x_high, y_high], axis=1)
    return np.concatenate([reversed_edges(pieces[enters]), pieces[leaves]])


def region_area(edges: np.ndarray) -> float:
    """Area of a region in the units of its edges, squared."""
    if not len(edges):
        return 0.0
    return float(signed_areas_of_pieces(edges).sum())


def signed_areas_of_pieces(edges: np.ndarray) -> np.ndarray:
    """(n,) contribution of each edge to the area of its region."""
    middle = edges[:, [0, 2]].mean(axis=0).mean()
    return (edges[:, [0, 2]].mean(axis=1) - middle) * (edges[:, 3] - edges[:, 1])


def _crossing_levels(edges: np.ndarray) -> np.ndarray:
    """y of every point where two of the rising edges meet in their inside."""
    order = np.argsort(edges[:, 1], kind="stable")
    edges = edges[order]
    x0, y0, x1, y1 = edges.T
    left, right = np.minimum(x0, x1), np.maximum(x0, x1)
    last = np.searchsorted(y0, y1, side="left")  # edges that begin below this one's end
    counts = np.maximum(last - np.arange(len(edges)) - 1, 0)
    levels = []
    for begin, end in _chunks(counts, 2_000_000):
        a = np.repeat(np.arange(begin, end), counts[begin:end])
        offset = np.cumsum(counts[begin:end]) - counts[begin:end]
        b = np.arange(len(a)) - np.repeat(offset, counts[begin:end]) + a + 1
        near = (left[a] <= right[b]) & (left[b] <= right[a])
        a, b = a[near], b[near]
        sa, sb = ((x1 - x0) / (y1 - y0))[a], ((x1 - x0) / (y1 - y0))[b]
        with np.errstate(divide="ignore", invalid="ignore"):
            y = y0[a] + (x0[b] - x0[a] + sb * (y0[a] - y0[b])) / (sa - sb)
        inside = np.isfinite(y) & (y > y0[b]) & (y > y0[a]) & (y < np.minimum(y1[a], y1[b]))
        levels.append(y[inside])
    return np.concatenate(levels) if levels else np.empty(0)


def _chunks(counts: np.ndarray, limit: int) -> list[tuple[int, int]]:
    """Runs of consecutive entries whose counts sum to about `limit`."""
    part = np.cumsum(counts) // limit
    cuts = np.flatnonzero(np.diff(part)) + 1
    bounds = [0, *cuts.tolist(), len(counts)]
    return [(a, b) for a, b in pairwise(bounds) if b > a]


def _without_duplicates(loops: list[np.ndarray], xor: list[bool]) -> list[int]:
    """Indices of the loops less exact repeats (any start vertex, either direction). XOR loops are
    kept: two equal ones cancel by definition."""
    seen: set[bytes] = set()
    kept = []
    for index, loop in enumerate(loops):
        key = loop[np.lexsort(loop.T)].tobytes()
        if xor[index] or key not in seen:
            kept.append(index)
        seen.add(key)
    return kept


def _relations(loops: list[np.ndarray]) -> tuple[np.ndarray, bool]:
    """`contains[a, b]` (loop b wholly inside a), and whether any two overlap in part."""
    contains = np.zeros((len(loops), len(loops)), dtype=bool)
    overlaps = False
    low = np.array([loop.min(axis=0) for loop in loops])
    high = np.array([loop.max(axis=0) for loop in loops])
    for a, b in combinations(range(len(loops)), 2):
        if np.any(low[a] >= high[b]) or np.any(low[b] >= high[a]):
            continue
        if not _boundaries_meet(loops[a], loops[b]):
            contains[a, b] = _inside(loops[b][:1], loops[a])[0]
            contains[b, a] = not contains[a, b] and _inside(loops[a][:1], loops[b])[0]
            continue
        both = region_area(swept_region([loops[a], loops[b]], lambda inside: inside.all(axis=1)))
        area_a, area_b = (region_area(swept_region([loops[i]], lambda i: i[:, 0])) for i in (a, b))
        if both <= SAME_AREA * min(area_a, area_b):
            continue
        if both >= (1 - SAME_AREA) * min(area_a, area_b):
            contains[(a, b) if area_b <= area_a else (b, a)] = True
        else:
            overlaps = True
    return contains, overlaps


def _boundaries_meet(a: np.ndarray, b: np.ndarray) -> bool:
    """True when an edge of loop `a` touches or crosses an edge of loop `b`."""
    side_a = _sides(a, b)
    side_b = _sides(b, a)
    splits_a = (
        side_a * np.roll(side_a, -1, axis=0) <= 0
    )  # ends of a's edge on both sides of b's line
    splits_b = (side_b * np.roll(side_b, -1, axis=0) <= 0).T
    return bool(np.any(splits_a & splits_b))


def _sides(points: np.ndarray, loop: np.ndarray) -> np.ndarray:
    """(points, edges of loop): on which side of each edge's line every point lies, as -1, 0, 1."""
    along = np.roll(loop, -1, axis=0) - loop
    offset = points[:, None, :] - loop[None, :, :]
    return np.sign(along[:, 0] * offset[..., 1] - along[:, 1] * offset[..., 0])


def _inside(points: np.ndarray, loop: np.ndarray) -> np.ndarray:
    """Even-odd test of points `(n, 2)` against a loop."""
    x, y = points[:, :1], points[:, 1:]
    x0, y0 = loop.T
    x1, y1 = np.roll(loop, -1, axis=0).T
    spans = (y0 > y) != (y1 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
    return np.count_nonzero(spans & (x < crossing), axis=1) % 2 == 1
