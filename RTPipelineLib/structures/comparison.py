"""Two delineations of one structure compared: overlap, distance of the surfaces, path to redraw.

Volumes and centres are those of the shapes as they are drawn (exact coverage of voxels); everything
else compares their labels on one grid, so it is known to a fraction of a voxel only. A is the
reference, B what is judged by it.

dice, jaccard
    2 |A and B| / (|A| + |B|) and |A and B| / |A or B| (Dice, Ecology 26 (1945) 297; Jaccard,
    New Phytol 11 (1912) 37), by volume of the voxels.
hausdorff_mm, hausdorff95_mm
    The largest distance from a surface to the nearest point of the other, and the distance that
    95 % of a surface's area do not exceed; each the larger of both directions.
mean_surface_distance_mm
    Mean over the area of one surface of the distance to the other, averaged over both directions.
surface_dice
    Share of both surfaces that lies within a tolerance of the other (Nikolov et al., J Med Internet
    Res 23 (2021) e26151). Surface elements and their areas as there: see `surfels.py`.
added_path_length_mm
    Length of A's outline, slice by slice, that is not part of B's and would have to be drawn anew
    (Vaassen et al., Phys Imaging Radiat Oncol 13 (2020) 1): pixels of A's outline that are none of
    B's, times the pixel size. A pixel of the outline has one of its four neighbours outside.
shift_mm
    Centre of B minus centre of A, in LPS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import GeometryError
from ..geometry import Grid
from ..model import Contours, Mask
from .interpolation import BetweenPlanes, EndCaps
from .mask_resampling import resample_mask, slice_borders
from .planes import closed_loops
from .surfels import distances, surface_of
from .voxelise import HALF, Rule, voxelise

TOLERANCE_MM = 3.0
# The grid for contours without an image: so fine, or so many voxels.
FINEST_MM = 0.5
MOST_VOXELS = 8_000_000


@dataclass(frozen=True)
class Agreement:
    """What two structures have in common; see the module for definitions. Numbers that need two
    volumes are None when there is none in one of them; `flags` says so."""

    volume_a_cc: float
    volume_b_cc: float
    grid_mm: tuple[float, float, float]  # i, j, k
    tolerance_mm: float
    dice: float | None = None
    jaccard: float | None = None
    hausdorff_mm: float | None = None
    hausdorff95_mm: float | None = None
    mean_surface_distance_mm: float | None = None
    surface_dice: float | None = None
    added_path_length_mm: float | None = None
    shift_x_mm: float | None = None
    shift_y_mm: float | None = None
    shift_z_mm: float | None = None
    shift_mm: float | None = None
    flags: tuple[str, ...] = ()


def compare(
    a: Contours | Mask,
    b: Contours | Mask,
    grid: Grid | None = None,
    *,
    tolerance_mm: float = TOLERANCE_MM,
    rule: Rule = "coverage",
    end_caps: EndCaps = "half-slice",
    between_planes: BetweenPlanes = "interpolate",
) -> Agreement:
    """Compare two structures on `grid`, or on a fine one of their own.

    `rule` (coverage or centre) says which voxels belong to a label. Raises `GeometryError` for
    structures in different frames of reference.
    """
    if a.frame_uid and b.frame_uid and a.frame_uid != b.frame_uid:
        raise GeometryError(
            f"{a.name} and {b.name} lie in different frames of reference; compare structures that "
            "were drawn on the same image"
        )
    grid = grid or comparison_grid(a, b)
    share_a, share_b = (
        voxelise(item, grid, "fraction", end_caps=end_caps, between_planes=between_planes)
        for item in (a, b)
    )
    joint = _joint(grid, (share_a.grid, share_b.grid))
    masks = [resample_mask(share, joint, whole=True) for share in (share_a, share_b)]
    labels = [mask.array >= HALF for mask in masks]
    if rule == "centre":
        labels = [
            resample_mask(voxelise(item, grid, rule, end_caps=end_caps), joint, whole=True).array
            for item in (a, b)
        ]
    return _compared(masks, labels, joint, tolerance_mm)


def comparison_grid(a: Contours | Mask, b: Contours | Mask) -> Grid:
    """A grid around two structures: that of a mask where one is; else along A's contours, with
    slices as near as the nearer contours of the two, and pixels of 0.5 mm or as fine as 8 million
    voxels allow."""
    for item in (a, b):
        if isinstance(item, Mask):
            return item.grid
    loops = [closed_loops(item) for item in (a, b)]
    used = [item for item in loops if len(item)]
    if not used:
        return Grid(np.zeros(3), np.eye(3), np.ones(3), (1, 1, 1))
    axes = _axes(used[0].normal)
    levels = [np.unique(np.round(item.points_mm @ axes[2], 2)) for item in used]
    steps = [float(np.median(np.diff(level))) for level in levels if len(level) > 1]
    step = max(min(steps, default=1.0), 0.1)
    points = np.concatenate([item.points_mm for item in used]) @ axes.T
    low, high = points.min(axis=0), points.max(axis=0)
    slices = int(np.ceil((high[2] - low[2]) / step)) + 3
    # The first contour of A lies in the middle of a slice.
    first = levels[0][0] - step * (np.ceil((levels[0][0] - low[2]) / step) + 1)
    size = high[:2] - low[:2]
    pixel = max(FINEST_MM, float(np.sqrt(size[0] * size[1] * slices / MOST_VOXELS)))
    shape = np.ceil(size / pixel).astype(int) + 3
    origin = np.array([low[0] - pixel, low[1] - pixel, first]) @ axes
    return Grid(origin, axes.T, np.array([pixel, pixel, step]), (slices, shape[1], shape[0]))


def _axes(normal: np.ndarray) -> np.ndarray:
    """(3, 3) rows u, v, w of a right-handed frame whose w is the normal, near the patient axes."""
    w = normal if normal[np.argmax(np.abs(normal))] > 0 else -normal
    u = np.eye(3)[(int(np.argmax(np.abs(w))) + 1) % 3]
    u = u - (u @ w) * w
    u /= np.linalg.norm(u)
    return np.stack([u, np.cross(w, u), w])


def _joint(grid: Grid, parts: tuple[Grid, Grid]) -> Grid:
    """The part of a grid that holds two parts of it."""
    low = np.array([np.rint(grid.to_index(part.origin_mm)).astype(int) for part in parts])
    high = low + np.array([part.size_ijk for part in parts])
    i, j, k = (slice(int(a), int(b)) for a, b in zip(low.min(0), high.max(0), strict=True))
    return grid.crop(k, j, i)


def _compared(
    masks: list[Mask], labels: list[np.ndarray], grid: Grid, tolerance_mm: float
) -> Agreement:
    thickness = np.diff(slice_borders(grid))
    voxel_cc = thickness * grid.spacing_mm[0] * grid.spacing_mm[1] / 1000
    volumes = [float(mask.array.sum(axis=(1, 2), dtype=np.float64) @ voxel_cc) for mask in masks]
    flags = [flag for mask in masks for flag in mask.flags if flag == "outside-grid"]
    for side, label in zip("ab", labels, strict=True):
        if not label.any():
            flags.append(f"{side}-is-empty")
    known = Agreement(
        volumes[0],
        volumes[1],
        tuple(float(mm) for mm in grid.spacing_mm),
        tolerance_mm,
        flags=tuple(dict.fromkeys(flags)),
    )
    if not all(label.any() for label in labels):
        return known
    return Agreement(
        **{
            **vars(known),
            **_overlap(labels, voxel_cc),
            **_surfaces(labels, grid, tolerance_mm),
            "added_path_length_mm": added_path_length(*labels, grid.spacing_mm),
            **_shift(masks, grid),
        }
    )


def _overlap(labels: list[np.ndarray], voxel_cc: np.ndarray) -> dict[str, float]:
    a, b = (float(label.sum(axis=(1, 2)) @ voxel_cc) for label in labels)
    both = float((labels[0] & labels[1]).sum(axis=(1, 2)) @ voxel_cc)
    return {"dice": 2 * both / (a + b), "jaccard": both / (a + b - both)}


def _surfaces(labels: list[np.ndarray], grid: Grid, tolerance_mm: float) -> dict[str, float]:
    a, b = (surface_of(label, grid.k_positions_mm, grid.spacing_mm) for label in labels)
    ways = [distances(a, b), distances(b, a)]
    near = sum(way.within_mm2(tolerance_mm) for way in ways)
    return {
        "hausdorff_mm": max(float(way.mm[-1]) for way in ways),
        "hausdorff95_mm": max(way.percentile_mm(95) for way in ways),
        "mean_surface_distance_mm": sum(way.mean_mm for way in ways) / 2,
        "surface_dice": near / sum(float(way.areas_mm2.sum()) for way in ways),
    }


def added_path_length(a: np.ndarray, b: np.ndarray, spacing_mm: np.ndarray) -> float:
    """Length in mm of A's outlines `[k, j, i]` that are none of B's (both boolean)."""
    added = _outline(a) & ~_outline(b)
    return float(added.sum() * np.sqrt(spacing_mm[0] * spacing_mm[1]))


def _outline(label: np.ndarray) -> np.ndarray:
    padded = np.pad(label, ((0, 0), (1, 1), (1, 1)))
    inner = padded[:, :-2, 1:-1] & padded[:, 2:, 1:-1] & padded[:, 1:-1, :-2] & padded[:, 1:-1, 2:]
    return label & ~inner


def _shift(masks: list[Mask], grid: Grid) -> dict[str, float]:
    a, b = (_centre(mask.array, grid) for mask in masks)
    shift = b - a
    return {
        **{f"shift_{axis}_mm": float(mm) for axis, mm in zip("xyz", shift, strict=True)},
        "shift_mm": float(np.linalg.norm(shift)),
    }


def _centre(share: np.ndarray, grid: Grid) -> np.ndarray:
    """(3,) centre in LPS of what is covered."""
    thickness = np.diff(slice_borders(grid))
    plane = np.tensordot(thickness, share.astype(np.float64), 1)  # (j, i)
    total = plane.sum()
    i = np.arange(share.shape[2]) @ plane.sum(axis=0) / total
    j = np.arange(share.shape[1]) @ plane.sum(axis=1) / total
    per_slice = share.sum(axis=(1, 2), dtype=np.float64) * thickness
    k_mm = float(grid.k_positions_mm @ per_slice / total)
    local = np.array([i * grid.spacing_mm[0], j * grid.spacing_mm[1], k_mm])
    return grid.direction @ local + grid.origin_mm
