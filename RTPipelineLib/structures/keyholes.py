"""Holes joined to what surrounds them, for readers that know closed contours alone.

PS3.3 C.8.8.6.3: an inner contour is connected to the outer one by a channel of no width, run there
and back, so that a single closed planar contour bounds both.
"""

from __future__ import annotations

import numpy as np

from .polygons import loop_edges, signed_areas


def keyholed(loops: list[np.ndarray]) -> list[np.ndarray]:
    """The loops (n, 2) of one plane with each hole joined to its surroundings.

    Holes run the other way round than outer loops (clockwise, that is with negative area). Loops
    must not cross. The channel runs from the hole's rightmost vertex to the right.
    """
    starts = np.concatenate([[0], np.cumsum([len(loop) for loop in loops])])
    points = np.concatenate(loops)
    areas = signed_areas(loop_edges(points, starts), starts)
    if not (areas < 0).any():
        return loops
    right = np.maximum.reduceat(points[:, 0], starts[:-1])
    low, high = (f.reduceat(points[:, 1], starts[:-1]) for f in (np.minimum, np.maximum))
    is_outer = areas > 0
    joined = dict(enumerate(loops))
    # From right to left: what the channel meets first is then an outer loop, or joined to one.
    holes = np.flatnonzero(areas < 0)
    for hole in holes[np.argsort(-right[holes], kind="stable")].tolist():
        loop = joined.pop(hole)
        start = int(np.argmax(loop[:, 0]))
        x, y = loop[start].tolist()
        ring = np.concatenate([loop[start:], loop[: start + 1]])
        # Holes lie within what they are joined to: its box stays as it was.
        near = np.flatnonzero(is_outer & (right > x) & (low <= y) & (high >= y)).tolist()
        found = [(*_first_to_the_right(joined[n], x, y), n) for n in near]
        wall, edge, outer = min(found, default=(np.inf, 0, 0))
        if not np.isfinite(wall):
            continue  # nothing surrounds it: there is no material to make a hole in
        gate = np.array([[wall, y]])
        loop = joined[outer]
        joined[outer] = np.concatenate([loop[: edge + 1], gate, ring, gate, loop[edge + 1 :]])
    return [joined[n] for n in np.flatnonzero(is_outer).tolist()]


def _first_to_the_right(loop: np.ndarray, x: float, y: float) -> tuple[float, int]:
    """x where a ray from a point to the right first meets the loop, and the edge it meets; inf for
    never."""
    above = loop[:, 1] > y
    edges = np.flatnonzero(above != np.roll(above, -1))
    x0, y0 = loop[edges].T
    x1, y1 = loop[(edges + 1) % len(loop)].T
    at = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
    at[at <= x] = np.inf
    if not len(at):
        return np.inf, 0
    nearest = int(np.argmin(at))
    return float(at[nearest]), int(edges[nearest])
