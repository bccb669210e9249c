"""Planes through a course, cut for its page: the image in grey, and dose and structures as regions.

A plane lies along the patient's axes, whatever the orientation of the image. Its picture is seen as
radiologists see it: axial from the feet, coronal from the front, sagittal from the left. Places in
a picture are millimetres to the right and downwards from its upper left corner.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ..geometry import Grid
from ..model import Contours, Mask
from ..structures.interpolation import BetweenPlanes, EndCaps
from ..structures.marching_squares import Cells, closed_loops, level_lines
from ..structures.voxelise import voxelise
from .figures import simplified

PIXELS = 220  # along the longer side of a picture
FINER = 2  # samples of the image along each side of a pixel: their mean has less noise
QUALITY = 45  # of JPEG, 1 to 100
MISS = 0.3  # pixels by which an outline may miss the structure's


@dataclass(frozen=True)
class Plane:
    """The plane of a name: across which patient axis it lies (0 x, 1 y, 2 z), and the letters at
    the left, right, upper and lower edge of its picture."""

    name: str
    axis: int
    letters: tuple[str, str, str, str]


AXIAL = Plane("axial", 2, ("R", "L", "A", "P"))
CORONAL = Plane("coronal", 1, ("R", "L", "H", "F"))
SAGITTAL = Plane("sagittal", 0, ("A", "P", "H", "F"))

Loops = tuple[np.ndarray, ...]  # each (n, 2), mm in the picture; even-odd


@dataclass(frozen=True, eq=False)
class Outline:
    """A structure where a plane cuts it."""

    name: str
    source: str
    colour_rgb: tuple[int, int, int] | None
    loops: Loops


@dataclass(frozen=True, eq=False)
class Picture:
    """One plane: its image (JPEG), its size in mm, what is drawn on it, and what it goes through.

    `place_mm` is where the plane lies along its axis (LPS), `isodoses` the regions of at least each
    level, in the order of the levels, `hottest_mm` the hottest point of the dose if the plane holds
    it, `highest_gy` the highest dose in the plane (None without a dose).
    """

    plane: Plane
    place_mm: float
    through: str
    image: bytes
    width_mm: float
    height_mm: float
    outlines: tuple[Outline, ...] = ()
    isodoses: tuple[Loops, ...] = ()
    hottest_mm: tuple[float, float] | None = None
    highest_gy: float | None = None


@dataclass(frozen=True)
class Slices:
    """All pictures of a course. `levels_gy` are those of their isodoses, `reference_gy` what their
    percentages refer to (`reference` says what that is), `dose` which dose it is; `notes` say what
    is not shown, or why there is no picture."""

    pictures: tuple[Picture, ...] = ()
    levels_gy: tuple[float, ...] = ()
    reference_gy: float = 0.0
    reference: str = ""
    dose: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class View:
    """The pixels of a picture: one layer of cubes along the patient's axes."""

    plane: Plane
    grid: Grid

    @classmethod
    def of(cls, plane: Plane, place_mm: float, low_mm: np.ndarray, high_mm: np.ndarray) -> View:
        """The layer at a place, over a box in LPS mm."""
        across = np.arange(3) == plane.axis
        extent = np.where(across, 0.0, high_mm - low_mm)
        pixel = max(float(extent.max()) / PIXELS, 1e-3)
        size = np.where(across, 1, np.maximum(np.ceil(extent / pixel - 1e-6), 1)).astype(int)
        origin = np.where(across, place_mm, low_mm + pixel / 2)
        return cls(plane, Grid(origin, np.eye(3), np.full(3, pixel), tuple(size[::-1])))

    @property
    def pixel_mm(self) -> float:
        """The side of a pixel."""
        return float(self.grid.spacing_mm[0])

    def seen(self, array: np.ndarray) -> np.ndarray:
        """An array `[k, j, i]` of the layer as rows and columns of the picture."""
        flat = array.squeeze(axis=2 - self.plane.axis)
        return flat if self.plane.axis == AXIAL.axis else flat[::-1]

    def place_of(self, point_mm: np.ndarray) -> tuple[float, float]:
        """Where a point (LPS) lies in the picture."""
        right, down = (a for a in range(3) if a != self.plane.axis)
        low = self.grid.origin_mm - self.pixel_mm / 2
        high = low + np.array(self.grid.size_ijk) * self.pixel_mm
        x = float(point_mm[right] - low[right])
        upright = self.plane.axis != AXIAL.axis
        return x, float(high[down] - point_mm[down] if upright else point_mm[down] - low[down])

    def sampled(self, array: np.ndarray, grid: Grid, finer: int = 1) -> tuple[np.ndarray, ...]:
        """Trilinear values of an array in the pixels, each the mean of `finer` x `finer` points,
        and where the array reaches."""
        from scipy.ndimage import map_coordinates

        across = np.arange(3) == self.plane.axis
        steps = np.where(across, 1, finer)
        fine = self.pixel_mm / steps
        count = np.array(self.grid.size_ijk) * steps
        start = self.grid.origin_mm - np.where(across, 0.0, (self.pixel_mm - fine) / 2)
        axes = [start[a] + fine[a] * np.arange(count[a]) for a in range(3)]
        points = np.stack(np.meshgrid(*axes[::-1], indexing="ij")[::-1], axis=-1)
        index = grid.to_index(points)
        places = np.moveaxis(index[..., ::-1], -1, 0)
        values = map_coordinates(array, places, output=np.float32, order=1, mode="nearest")
        there = np.all((index >= -0.5) & (index <= np.array(grid.size_ijk) - 0.5), axis=-1)
        return tuple(_means(self.seen(part), finer) for part in (values, there))

    def region(
        self, structure: Contours | Mask, end_caps: EndCaps, between_planes: BetweenPlanes
    ) -> Loops:
        """A structure where the plane cuts it, with the shape that its DVH has; nothing where it
        does not."""
        mask = voxelise(
            structure,
            self.grid,
            "fraction",
            end_caps=end_caps,
            between_planes=between_planes,
            whole=True,
        )
        return self._loops(self.seen(mask.array.astype(np.float32)), 0.5)

    def at_least(self, values: np.ndarray, level: float) -> Loops:
        """The region of a picture's values `[row, column]` that reach a level above 0."""
        return self._loops(values, level)

    def _loops(self, values: np.ndarray, level: float) -> Loops:
        cells = Cells.of(np.pad(values, 1)[None])
        found = closed_loops(level_lines(cells, np.array([level])))
        closed = (np.concatenate([loop, loop[:1]]) for _, loop in found)
        # Pixel centres lie at whole numbers, one later for the rim around them.
        loops = ((simplified(loop, MISS)[:-1] - 0.5) * self.pixel_mm for loop in closed)
        return tuple(loop for loop in loops if len(loop) >= 3)


def _means(values: np.ndarray, size: int) -> np.ndarray:
    """Means of squares of `size` pixels."""
    rows, columns = (n // size for n in values.shape)
    return values.reshape(rows, size, columns, size).mean(axis=(1, 3), dtype=np.float32)


def grey(values: np.ndarray, there: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Values as grey levels 0..255 (lowest, highest of the window); black where there are none."""
    low, high = window
    share = np.clip((values - low) / max(high - low, 1e-6), 0, 1)
    return np.rint(255 * np.where(there >= 0.5, share, 0)).astype(np.uint8)


def window_for(modality: str, values: np.ndarray) -> tuple[float, float]:
    """Lowest and highest value that are shown: soft tissue (400 HU wide around 40) for CT, else
    nearly all of the image's."""
    if modality == "CT":
        return -160.0, 240.0
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, [1, 99.5]) if finite.size else (0.0, 1.0)
    return float(low), float(high)


def jpeg(pixels: np.ndarray) -> bytes:
    """A grey picture `[row, column]`, uint8, as JPEG."""
    import SimpleITK

    with TemporaryDirectory() as folder:
        path = Path(folder) / "picture.jpg"
        writer = SimpleITK.ImageFileWriter()
        writer.SetFileName(str(path))
        writer.UseCompressionOn()
        writer.SetCompressionLevel(QUALITY)
        writer.Execute(SimpleITK.GetImageFromArray(np.ascontiguousarray(pixels)))
        return path.read_bytes()
