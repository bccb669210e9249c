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
    areas = [_area(loop) for loop in loops]
    outer = [loop for loop, area in zip(loops, areas, strict=True) if area > 0]
    holes = [loop for loop, area in zip(loops, areas, strict=True) if area < 0]
    # From right to left: what the channel meets first is then an outer loop, or joined to one.
    for hole in sorted(holes, key=lambda loop: -loop[:, 0].max()):
        start = int(np.argmax(hole[:, 0]))
        ring = np.concatenate([hole[start:], hole[: start + 1]])
        found = [_first_to_the_right(loop, hole[start]) for loop in outer]
        nearest = int(np.argmin([x for x, _ in found])) if found else -1
        if nearest < 0 or not np.isfinite(found[nearest][0]):
            continue  # nothing surrounds it: there is no material to make a hole in
        x, edge = found[nearest]
        gate = np.array([[x, hole[start, 1]]])
        loop = outer[nearest]
        outer[nearest] = np.concatenate([loop[: edge + 1], gate, ring, gate, loop[edge + 1 :]])
    return outer


def _area(loop: np.ndarray) -> float:
    ends = np.array([0, len(loop)])
    return float(signed_areas(loop_edges(loop, ends), ends)[0])


def _first_to_the_right(loop: np.ndarray, point: np.ndarray) -> tuple[float, int]:
    """x where a ray to the right first meets the loop, and the edge it meets; inf for never."""
    x0, y0, x1, y1 = loop_edges(loop, np.array([0, len(loop)])).T
    spans = (y0 > point[1]) != (y1 > point[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.where(spans, x0 + (point[1] - y0) * (x1 - x0) / (y1 - y0), np.inf)
    x[x <= point[0]] = np.inf
    edge = int(np.argmin(x))
    return float(x[edge]), edge
