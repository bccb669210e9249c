"""One ROI of a structure set: as contours or as a mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..geometry import Grid
from .grids import check_shape

CLINICAL = "clinical"  # contours that came with the plan; other sources are named after their maker
EDITED = "edited"  # contours that a person changed in 3D Slicer

# PS3.3 C.8.8.6.3.1: only these enclose an area. CLOSEDPLANAR_XOR combines by exclusive or.
CLOSED_TYPES = frozenset({"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"})

TARGET_TYPES = frozenset({"PTV", "CTV", "GTV", "TREATED_VOLUME"})


@dataclass(frozen=True, eq=False)
class ImagePlanes:
    """Where the slices of the planning image lie: a unit normal (3,) and ascending positions (p,)
    in mm along it (`point @ normal`). Tells a hole in a contour stack from a coarser part."""

    normal: np.ndarray
    positions_mm: np.ndarray

    @classmethod
    def from_grid(cls, grid: Grid) -> ImagePlanes:
        """The slices of an image grid."""
        return cls(grid.normal, grid.origin_mm @ grid.normal + grid.k_positions_mm)

    @property
    def spacing_mm(self) -> float:
        """Median distance between slices; 0 for a single slice."""
        if len(self.positions_mm) < 2:
            return 0.0
        return float(np.median(np.diff(self.positions_mm)))


@dataclass(frozen=True, eq=False)
class Contours:
    """One ROI as planar contours, exactly as they were drawn.

    `points_mm` (n, 3) holds the vertices of all loops one after another, `starts` (m + 1,) where
    each loop begins (the last entry is n), `kinds` the Contour Geometric Type of each loop. `name`,
    `number`, `colour_rgb` (0..255) and `interpreted_type` (PTV, ORGAN, EXTERNAL ..) are as the
    structure set has them. `standard_name` is what the ROI is called in all courses; empty when
    nobody knows. `frame_uid` is the ROI's own frame of reference (3006,0024).
    """

    name: str
    points_mm: np.ndarray
    starts: np.ndarray
    kinds: tuple[str, ...]
    number: int = 0
    frame_uid: str = ""
    colour_rgb: tuple[int, int, int] | None = None
    interpreted_type: str = ""
    generation_algorithm: str = ""
    structure_set_uid: str = ""
    source: str = CLINICAL
    image_planes: ImagePlanes | None = None
    flags: tuple[str, ...] = ()
    standard_name: str = ""

    def __post_init__(self) -> None:
        starts = np.asarray(self.starts, dtype=np.int64)
        if self.points_mm.ndim != 2 or self.points_mm.shape[1] != 3:
            raise ValueError(f"contour points need shape (n, 3), found {self.points_mm.shape}")
        if (
            starts.size != len(self.kinds) + 1
            or starts[0] != 0
            or starts[-1] != len(self.points_mm)
        ):
            raise ValueError(f"{self.name}: loop starts do not fit the points")
        object.__setattr__(self, "starts", starts)

    @classmethod
    def from_loops(
        cls, name: str, loops: Sequence[np.ndarray], kind: str = "CLOSED_PLANAR", **fields: object
    ) -> Contours:
        """Contours of loops `(n_c, 3)`, all of one geometric type; other fields by keyword."""
        sizes = [len(loop) for loop in loops]
        points = np.concatenate(loops) if loops else np.empty((0, 3))
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return cls(
            name, np.asarray(points, dtype=np.float64), starts, (kind,) * len(loops), **fields
        )

    def __len__(self) -> int:
        return len(self.kinds)

    def loops(self) -> Iterator[np.ndarray]:
        """Views `(n_c, 3)` of every loop, open and point ones included, in file order."""
        for first, last in zip(self.starts[:-1], self.starts[1:], strict=True):
            yield self.points_mm[first:last]

    @property
    def is_target(self) -> bool:
        """True for a target volume, by its interpreted type or else by the start of its name."""
        return is_target(self.name, self.interpreted_type)

    @property
    def is_drawn(self) -> bool:
        """True when it has contours, of whatever kind."""
        return len(self) > 0

    def on_image(self, grid: Grid) -> Contours:
        """The same contours that know the slices of their image."""
        return replace(self, image_planes=ImagePlanes.from_grid(grid))


@dataclass(frozen=True, eq=False)
class Mask:
    """One ROI as voxel coverage: `array` `[k, j, i]`, boolean, 0/1 or the covered share 0..1."""

    name: str
    array: np.ndarray
    grid: Grid
    number: int = 0
    frame_uid: str = ""
    colour_rgb: tuple[int, int, int] | None = None
    interpreted_type: str = ""
    structure_set_uid: str = ""
    source: str = CLINICAL
    flags: tuple[str, ...] = ()
    standard_name: str = ""

    def __post_init__(self) -> None:
        check_shape(self.array, self.grid)

    @property
    def is_drawn(self) -> bool:
        """True when some voxel is covered."""
        return bool(self.array.any())

    @property
    def is_target(self) -> bool:
        """True for a target volume, by its interpreted type or else by the start of its name."""
        return is_target(self.name, self.interpreted_type)


Structure = Contours | Mask


def is_target(name: str, interpreted_type: str) -> bool:
    """True for a target volume: RT ROI Interpreted Type says so, or the name starts like one.

    A type that names an organ or the like wins over the name; optimisation helpers with a prefix
    (`zPTV`, `optPTV`) are no targets.
    """
    if interpreted_type.upper() in TARGET_TYPES:
        return True
    if interpreted_type.upper() in {
        "ORGAN",
        "EXTERNAL",
        "AVOIDANCE",
        "SUPPORT",
        "MARKER",
        "CONTROL",
    }:
        return False
    return name.upper().lstrip(" _").startswith(("PTV", "CTV", "GTV", "ITV"))
