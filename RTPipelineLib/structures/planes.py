"""From loose contours to an ordered stack of planes.

The contours of one ROI lie in parallel planes that may be oblique to the patient axes (PS3.3
C.8.8.6.3). Here their common normal is found, loops are gathered to planes, and gaps in the stack
are judged. No vertex is moved: in-plane positions are the vertices' own, only their (tiny) distance
from the plane is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..model import CLOSED_TYPES, Contours, ImagePlanes

# Loops belong to one plane within 5 % of the plane spacing, at most 0.1 mm.
PLANE_TOLERANCE = 0.05
PLANE_TOLERANCE_MM = 0.1
# A gap is suspicious when it exceeds its neighbouring gaps by this factor.
GAP_FACTOR = 1.5
# A gap that both neighbouring gaps exceed by this factor is no slice: a contour lies beside its own
# plane.
STRAY_FACTOR = 2.0
# A normal this near to a reference direction (in rad) is that direction: over 300 mm it is 3 um.
SNAP_RAD = 1e-5
# A loop whose triangles have less area in all runs back on itself.
LEAST_AREA_MM2 = 1e-9


@dataclass(frozen=True, eq=False)
class PlaneStack:
    """The closed loops of one ROI, sorted into parallel planes.

    axes : (3, 3), rows are the unit vectors u, v (in the plane) and w (its normal) in LPS;
        a coordinate is `point @ axis`.
    w_mm : (p,) ascending positions of the planes along w.
    points_mm : (n, 2) vertices as u, v, loop after loop in the order of planes.
    starts : (m + 1,) first vertex of each loop; `plane` (m,) the plane of each loop;
        `xor` (m,) True for loops of type CLOSEDPLANAR_XOR.
    hole_after : (p - 1,) True where the gap to the next plane is not filled.
    lone_mm : thickness of a plane that has no neighbour, nan when nothing tells it.
    """

    axes: np.ndarray
    w_mm: np.ndarray
    points_mm: np.ndarray
    starts: np.ndarray
    plane: np.ndarray
    xor: np.ndarray
    hole_after: np.ndarray
    lone_mm: float
    flags: tuple[str, ...] = ()

    def loop(self, index: int) -> np.ndarray:
        """(n, 2) vertices of one loop."""
        return self.points_mm[self.starts[index] : self.starts[index + 1]]


@dataclass(frozen=True, eq=False)
class ClosedLoops:
    """The loops of an ROI that enclose an area: points (n, 3), starts (m + 1,), xor (m,), and the
    unit `normal` (3,) that they have in common (of arbitrary sign)."""

    points_mm: np.ndarray
    starts: np.ndarray
    xor: np.ndarray
    normal: np.ndarray
    flags: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.xor)


def closed_loops(contours: Contours) -> ClosedLoops:
    """The usable loops of an ROI; there may be none.

    POINT and OPEN contours carry no volume; loops of less than three vertices, without area or with
    coordinates that are no numbers are left out. Each of these is said in `flags`.
    """
    starts, flags = contours.starts, list(contours.flags)
    sizes = np.diff(starts)
    closed = np.array([kind in CLOSED_TYPES for kind in contours.kinds], dtype=bool)
    x, y, z = np.isfinite(contours.points_mm).T
    finite = _every(x & y & z, starts)
    use = closed & finite & (sizes >= 3)
    normal, size = _fans(contours.points_mm, starts, use)
    total = np.concatenate([[0.0], np.cumsum(size)])
    flat = use & (total[starts[1:]] - total[starts[:-1]] <= LEAST_AREA_MM2)
    use &= ~flat
    for flag, wrong in (
        ("open-or-point-contour", ~closed),
        ("contour-not-finite", closed & ~finite),
        ("contour-too-few-points", closed & (sizes < 3)),
        ("contour-without-area", flat),
    ):
        if wrong.any():
            flags.append(flag)
    keep = np.repeat(use, sizes)
    xor = np.array([kind == "CLOSEDPLANAR_XOR" for kind in contours.kinds], dtype=bool)
    new_starts = np.concatenate([[0], np.cumsum(sizes[use])])
    points = contours.points_mm if keep.all() else contours.points_mm[keep]
    return ClosedLoops(
        np.asarray(points, dtype=np.float64), new_starts, xor[use], normal, tuple(flags)
    )


def plane_stack(
    loops: ClosedLoops, axes: np.ndarray, image_planes: ImagePlanes | None = None
) -> PlaneStack:
    """Sort loops into planes across `axes[2]` and judge the gaps between them."""
    flags = list(loops.flags)
    local, w = loops.points_mm @ axes[:2].T, loops.points_mm @ axes[2]
    first = loops.starts[:-1]
    low, high = np.minimum.reduceat(w, first), np.maximum.reduceat(w, first)
    position = (low + high) / 2
    images = _positions_along(image_planes, axes[2])
    order = np.argsort(position, kind="stable")
    ladder = position[order]
    spacing = _typical_step(ladder, images)
    tolerance = min(PLANE_TOLERANCE * spacing, PLANE_TOLERANCE_MM)
    if np.any(high - low > 2 * PLANE_TOLERANCE_MM):
        flags.append("contour-not-planar")
    plane_sorted = _group(ladder, tolerance)
    count = int(plane_sorted[-1]) + 1
    w_mm = np.bincount(plane_sorted, ladder) / np.bincount(plane_sorted)
    sizes = np.diff(loops.starts)[order]
    if np.any(order[1:] < order[:-1]):
        local = local[_ragged(first[order], sizes)]
    hole, gap_flags = _holes(w_mm, images, tolerance)
    if _has_stray_plane(w_mm):
        flags.append("contour-off-plane")
    image_step = float(np.median(np.diff(images))) if images.size > 1 else float("nan")
    if count == 1 and not image_step > 0:
        flags.append("single-plane-no-thickness")
    return PlaneStack(
        axes=axes,
        w_mm=w_mm,
        points_mm=local,
        starts=np.concatenate([[0], np.cumsum(sizes)]),
        plane=plane_sorted,
        xor=loops.xor[order],
        hole_after=hole,
        lone_mm=image_step,
        flags=tuple(dict.fromkeys([*flags, *gap_flags])),
    )


def _fans(points: np.ndarray, starts: np.ndarray, use: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The unit normal (3,) of the loops in `use`, and the area (n,) of the triangle that each edge
    forms with the first vertex of its loop; zero in loops that are not used."""
    sizes = np.diff(starts)
    filled = sizes > 0
    with np.errstate(invalid="ignore"):  # infinite coordinates lie in loops that are not used
        local = points - np.repeat(points[starts[:-1][filled]], sizes[filled], axis=0)
    if not use.all():
        local[np.repeat(~use, sizes)] = 0.0
    following = np.empty_like(local)
    following[:-1] = local[1:]
    following[starts[1:][filled] - 1] = 0.0
    x, y, z = local.T
    p, q, r = following.T
    across = (x * q - y * p) / 2
    if not z.any():  # as nearly always: every loop lies in one plane z
        return np.array([0.0, 0.0, 1.0]), np.abs(across)
    triangles = np.stack([(y * r - z * q) / 2, (z * p - x * r) / 2, across], axis=1)
    size = np.sqrt(np.einsum("ij,ij->i", triangles, triangles))
    return _common_normal(triangles, size), size


def _common_normal(triangles: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Unit normal of vector areas, whichever way round each of them runs."""
    largest = triangles[np.argmax(size)]
    if not largest.any():
        return np.array([0.0, 0.0, 1.0])
    total = np.where(triangles @ largest < 0, -1.0, 1.0) @ triangles
    total = total / np.linalg.norm(total)
    for axis in np.eye(3):
        if np.linalg.norm(np.cross(total, axis)) < SNAP_RAD:
            return axis
    return total


def _every(true: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """For each loop, whether all its vertices are `true` (also for loops without vertices)."""
    if true.all():
        return np.ones(len(starts) - 1, dtype=bool)
    wrong = np.concatenate([[0], np.cumsum(~true)])
    return wrong[starts[1:]] == wrong[starts[:-1]]


def _ragged(first: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Indices first[0], first[0]+1, .. for `sizes[0]` entries, then the same for the next run."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1]) + np.repeat(first - (ends - sizes), sizes)


def _positions_along(image_planes: ImagePlanes | None, normal: np.ndarray) -> np.ndarray:
    """Image slice positions along `normal`; empty when the slices are not parallel to it."""
    if image_planes is None:
        return np.empty(0)
    cosine = float(image_planes.normal @ normal)
    if abs(cosine) < 1 - 1e-4:
        return np.empty(0)
    return np.sort(np.sign(cosine) * np.asarray(image_planes.positions_mm, dtype=np.float64))


def _typical_step(ladder: np.ndarray, images: np.ndarray) -> float:
    """Plane spacing for tolerances: of the contours themselves, else of the image."""
    steps = np.diff(ladder)
    for least in (PLANE_TOLERANCE_MM, 1e-4):
        if np.any(steps > least):
            return float(np.median(steps[steps > least]))
    return float(np.median(np.diff(images))) if images.size > 1 else 1.0


def _group(ladder: np.ndarray, tolerance: float) -> np.ndarray:
    """(m,) plane numbers of ascending positions; no plane is thicker than the tolerance."""
    plane = np.concatenate([[0], np.cumsum(np.diff(ladder) > tolerance)])
    thickness = np.maximum.reduceat(ladder, np.unique(plane, return_index=True)[1])
    thickness = thickness - ladder[np.unique(plane, return_index=True)[1]]
    if np.all(thickness <= tolerance + 1e-9):
        return plane
    plane = np.zeros(len(ladder), dtype=np.int64)  # a chain of near positions: cut it one by one
    begin = ladder[0]
    for i in range(1, len(ladder)):
        new = ladder[i] - begin > tolerance
        plane[i] = plane[i - 1] + new
        begin = ladder[i] if new else begin
    return plane


def _has_stray_plane(w: np.ndarray) -> bool:
    """True when two planes lie so near that one of them was probably meant for the other: a hole
    that lies beside its plane cuts nothing out of it."""
    gaps = np.diff(w)
    if gaps.size < 2:
        return False
    padded = np.concatenate([[np.inf], gaps, [np.inf]])
    return bool(np.any(gaps * STRAY_FACTOR < np.minimum(padded[:-2], padded[2:])))


def _holes(
    w: np.ndarray, images: np.ndarray, tolerance: float
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Which gaps of the stack are holes.

    A gap is one only when it exceeds 1.5 x the gaps beside it and image planes lie inside it
    without contours; without images it is filled and flagged.
    """
    gaps = np.diff(w)
    hole = np.zeros(gaps.size, dtype=bool)
    if gaps.size < 2:
        return hole, ()
    padded = np.concatenate([[0.0], gaps, [0.0]])
    wide = gaps > GAP_FACTOR * np.maximum(padded[:-2], padded[2:])
    if not wide.any():
        return hole, ()
    if not images.size:
        return hole, ("contour-gap-filled",)
    inside = np.searchsorted(images, w[1:] - tolerance) - np.searchsorted(
        images, w[:-1] + tolerance, side="right"
    )
    hole = wide & (inside > 0)
    return hole, ("contour-gap-hole",) if hole.any() else ()
