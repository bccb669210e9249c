"""Loops of one plane to one region, as oriented edges.

A region is a list of edges `(n, 4)` as x0, y0, x1, y1 whose winding number is 1 inside and 0
outside: outer boundaries run counter-clockwise, holes clockwise. That is what exact area coverage
needs (`coverage.py`). Rules, PS3.3 C.8.8.6.3 and the project's semantics:

* CLOSED_PLANAR: a loop wholly inside another is a hole, even-odd; equal loops count once; loops
  that overlap in part are united (flag `contour-overlap`);
* CLOSEDPLANAR_XOR: exclusive or (flag `contour-xor-cancels` where nothing of a plane is left);
* within one loop the even-odd rule, so that keyholes and self-crossings come out right.

Simple loops, the usual case, only get their orientation set. All others go through a sweep
(`swept_region`) that cuts the plane into bands in which no two edges cross.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from ..errors import GeometryError

Rule = Callable[[np.ndarray], np.ndarray]  # (n, loops) booleans -> (n,) inside the region

SAME_AREA = 1e-6  # shares of an area below this are rounding
# Entries of the tables that are made at once.
RUN = 500_000
# Loops of one plane that need more of these are no drawing of anything: pairs of loops or of edges
# that lie near each other, pieces between the levels of a sweep.
MAX_LOOP_PAIRS, MAX_EDGE_PAIRS, MAX_PIECES = 300_000, 100_000_000, 1_000_000


class TangledError(GeometryError):
    """The loops of a plane cross so often that their region is not worked out."""

    def __init__(self) -> None:
        super().__init__(
            "The contours of one plane cross themselves or each other far too often to be the "
            "outline of anything: correct the structure where it was drawn."
        )


def loop_edges(points: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(n, 4) edges of closed loops, stored one after another: points (n, 2), starts (m + 1,)."""
    edges = np.empty((len(points), 4))
    edges[:, :2], edges[:-1, 2:] = points, points[1:]
    edges[starts[1:] - 1, 2:] = points[starts[:-1]]
    return edges


def signed_areas(edges: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(m,) area of each run of edges, positive for counter-clockwise."""
    x0, y0, x1, y1 = edges.T
    origin = np.repeat(x0[starts[:-1]], np.diff(starts))
    return np.add.reduceat(((x0 - origin) + (x1 - origin)) * (y1 - y0), starts[:-1]) / 2


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
    parts = []
    for members in _clusters(loops):
        group, group_xor = [loops[i] for i in members], [xor[i] for i in members]
        contains, overlaps = _relations(group)
        if overlaps:
            if not all(group_xor):
                flags.append("contour-overlap")
            parts.append(swept_region(group, combination_rule(contains, group_xor)))
            continue
        for loop, is_hole in zip(group, contains.sum(axis=0) % 2 == 1, strict=True):
            edges = loop_edges(loop, np.array([0, len(loop)]))
            clockwise = signed_areas(edges, np.array([0, len(loop)]))[0] < 0
            parts.append(reversed_edges(edges) if clockwise != is_hole else edges)
    region = np.concatenate(parts)
    largest = max(abs(region_area(loop_edges(loop, np.array([0, len(loop)])))) for loop in loops)
    if any(xor) and region_area(region) <= SAME_AREA * largest:
        flags.append("contour-xor-cancels")
    return region, tuple(dict.fromkeys(flags))


def robust_region(loops: list[np.ndarray], xor: list[bool]) -> np.ndarray:
    """As `plane_region`, for loops that may cross themselves. Raises `TangledError`."""
    kept = _without_duplicates(loops, xor)
    loops, xor = [loops[i] for i in kept], [xor[i] for i in kept]
    parts = []
    for members in _clusters(loops):
        group = [loops[i] for i in members]
        rule = combination_rule(_relations(group)[0], [xor[i] for i in members])
        parts.append(swept_region(group, rule))
    return np.concatenate(parts)


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
    changes, the edge bounds the region. Raises `TangledError`.
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
    if counts.sum() > MAX_PIECES:
        raise TangledError
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
    inside = _walked(owner[edge], band, len(loops), rule)
    before = np.concatenate([[False], inside[:-1]])
    enters, leaves = inside & ~before, before & ~inside
    y_low, y_high = levels[band], levels[band + 1]
    pieces = np.stack([x_low, y_low, x_high, y_high], axis=1)
    return np.concatenate([reversed_edges(pieces[enters]), pieces[leaves]])


def _walked(owner: np.ndarray, band: np.ndarray, loops: int, rule: Rule) -> np.ndarray:
    """(n,) whether the region lies right of each piece, sorted by band and along it. Every band
    begins outside: it toggles each loop evenly."""
    inside = np.empty(len(owner), dtype=bool)
    in_band = np.bincount(band)
    ends = np.cumsum(in_band)
    for first, last in _chunks(in_band, max(RUN // loops, 1)):
        part = slice(int(ends[first] - in_band[first]), int(ends[last - 1]))
        toggles = owner[part, None] == np.arange(loops)
        inside[part] = rule(np.logical_xor.accumulate(toggles, axis=0))
    return inside


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
    x0, y0, x1, y1 = edges.T
    slope = (x1 - x0) / (y1 - y0)
    levels = []
    for a, b in _near_pairs(edges):
        with np.errstate(divide="ignore", invalid="ignore"):
            y = y0[a] + (x0[b] - x0[a] + slope[b] * (y0[a] - y0[b])) / (slope[a] - slope[b])
        inside = np.isfinite(y) & (y > y0[b]) & (y > y0[a]) & (y < np.minimum(y1[a], y1[b]))
        levels.append(y[inside])
    return np.concatenate(levels) if levels else np.empty(0)


def _near_pairs(edges: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs of edges whose bounding boxes touch, in runs; of each pair the one that begins
    lower comes first. Raises `TangledError`."""
    low, high = np.minimum(edges[:, 1], edges[:, 3]), np.maximum(edges[:, 1], edges[:, 3])
    left, right = np.minimum(edges[:, 0], edges[:, 2]), np.maximum(edges[:, 0], edges[:, 2])
    order = np.argsort(low, kind="stable")
    last = np.searchsorted(low[order], high[order], side="right")
    counts = np.maximum(last - np.arange(len(edges)) - 1, 0)
    if counts.sum() > MAX_EDGE_PAIRS:
        raise TangledError
    for begin, end in _chunks(counts, RUN):
        a = np.repeat(np.arange(begin, end), counts[begin:end])
        offset = np.cumsum(counts[begin:end]) - counts[begin:end]
        b = order[np.arange(len(a)) - np.repeat(offset, counts[begin:end]) + a + 1]
        a = order[a]
        near = (left[a] <= right[b]) & (left[b] <= right[a])
        yield a[near], b[near]


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


def _clusters(loops: list[np.ndarray]) -> list[list[int]]:
    """Loops in groups whose members' bounding boxes hang together: those of different groups have
    nothing to do with each other."""
    if len(loops) == 1:
        return [[0]]
    group = np.arange(len(loops))
    for a, near in _near_loops(loops):
        joined = np.unique(group[[a, *near]])
        if len(joined) > 1:
            group[np.isin(group, joined)] = joined[0]
    order = np.argsort(group, kind="stable")
    cuts = np.flatnonzero(np.diff(group[order])) + 1
    return [members.tolist() for members in np.split(order, cuts)]


def _near_loops(loops: list[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """Each loop but the last, with those after it whose bounding boxes overlap its own."""
    low = np.array([loop.min(axis=0) for loop in loops])
    high = np.array([loop.max(axis=0) for loop in loops])
    for a in range(len(loops) - 1):
        apart = (low[a] >= high[a + 1 :]) | (low[a + 1 :] >= high[a])
        yield a, np.flatnonzero(~apart.any(axis=1)) + a + 1


def _relations(loops: list[np.ndarray]) -> tuple[np.ndarray, bool]:
    """`contains[a, b]` (loop b wholly inside a), and whether any two overlap in part. Raises
    `TangledError`."""
    if sum(len(near) for _, near in _near_loops(loops)) > MAX_LOOP_PAIRS:
        raise TangledError
    contains = np.zeros((len(loops), len(loops)), dtype=bool)
    overlaps = False
    for a, b in ((a, b) for a, near in _near_loops(loops) for b in near.tolist()):
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
    edges = np.concatenate([loop_edges(loop, np.array([0, len(loop)])) for loop in (a, b)])
    low = np.maximum(a.min(axis=0), b.min(axis=0))
    high = np.minimum(a.max(axis=0), b.max(axis=0))
    ends = np.stack([edges[:, :2], edges[:, 2:]])
    near = ((ends.max(axis=0) >= low) & (ends.min(axis=0) <= high)).all(axis=1)
    edges, is_a = edges[near], np.flatnonzero(near) < len(a)
    for one, other in _near_pairs(edges):
        mixed = is_a[one] != is_a[other]
        p, q = edges[one[mixed]], edges[other[mixed]]
        if np.any(_beside(p, q) & _beside(q, p)):
            return True
    return False


def _beside(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """(n,) whether the ends of edge p do not lie on one side of the line through edge q."""
    along = q[:, 2:] - q[:, :2]
    sides = [
        along[:, 0] * (p[:, i + 1] - q[:, 1]) - along[:, 1] * (p[:, i] - q[:, 0]) for i in (0, 2)
    ]
    return np.sign(sides[0]) * np.sign(sides[1]) <= 0


def _inside(points: np.ndarray, loop: np.ndarray) -> np.ndarray:
    """Even-odd test of points `(n, 2)` against a loop."""
    x, y = points[:, :1], points[:, 1:]
    x0, y0 = loop.T
    x1, y1 = np.roll(loop, -1, axis=0).T
    spans = (y0 > y) != (y1 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
    return np.count_nonzero(spans & (x < crossing), axis=1) % 2 == 1
