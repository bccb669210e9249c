"""Perturbed images and ROIs: noise x translation x rotation x contour x volume.

The chain of Zwanenburg et al. (Scientific Reports 9 (2019) 614), factors crossed: an image has one
noise of each strength and a ROI one outline of each number, which are then moved and grown. What is
drawn at random depends on the seed, the course, the ROI, its surroundings and the factor, not on
what else is computed, in which order or by which process.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Literal

import numpy as np
from scipy import ndimage

from ..errors import DataError, GeometryError
from ..model import Mask, Volume
from ..structures import lattice_boxes
from ..structures.lattice_boxes import filled_box, on_box
from ..structures.surface import INSIDE
from .contour_variation import Spacing, Supervoxels, bumps_mm, level_of
from .noise import noise_sigma, with_noise
from .roi import Box, roi_on

ContourMethod = Literal["supervoxels", "margin"]

# The noise is that of the ROI's surroundings.
_NOISE_ROOM_MM = 10.0
# A cubic spline's prefilter has died away to 1e-4 after so many voxels.
_SPLINE_VOXELS = 7
# How far from a surface it is known how far: what moves it stays well within.
_REACH_OF_RADIUS = 0.35
_LEAST_REACH_MM = 6.0


@dataclass(frozen=True, order=True)
class Perturbation:
    """One point of the grid; all zero is the image and the ROI as they are.

    `noise` multiplies the image's own standard deviation of noise; `translation` is a share of a
    voxel along all three axes; `rotation_deg` turns about the axis of the slices through the ROI's
    centre; `contour` is the number of a drawing, 0 the given one; `volume_percent` is the change of
    the drawing's volume.
    """

    noise: float = 0.0
    translation: float = 0.0
    rotation_deg: float = 0.0
    contour: int = 0
    volume_percent: float = 0.0

    @property
    def pose(self) -> tuple[float, float, float]:
        """What tells one perturbed image from another."""
        return self.noise, self.translation, self.rotation_deg


@dataclass(frozen=True)
class Chain:
    """The levels of every factor; the standard ones give 3 x 3 x 1 x 3 x 3 = 81 points. Volumes
    change by 10 %: of more, no feature of size would be robust whatever else happens.

    `contours` counts drawings, the given one included. With the method `margin` the surface moves
    by smooth random bumps of `contour_mm` standard deviation; `supervoxels` needs no size.
    """

    noise: tuple[float, ...] = (0.0, 0.5, 1.0)
    translation: tuple[float, ...] = (0.0, 0.333, 0.667)
    rotation_deg: tuple[float, ...] = (0.0,)
    contours: int = 3
    volume_percent: tuple[float, ...] = (-10.0, 0.0, 10.0)
    contour_method: ContourMethod = "supervoxels"
    contour_mm: float = 1.0
    seed: int = 20190124

    def grid(self) -> tuple[Perturbation, ...]:
        """All points, those of one image together."""
        factors = (self.noise, self.translation, self.rotation_deg)
        return tuple(
            Perturbation(*levels)
            for levels in product(*factors, range(self.contours), self.volume_percent)
        )


@dataclass(frozen=True, eq=False)
class PerturbedImage:
    """One perturbed image and what became of the ROI on it: a mask, or why there is none."""

    image: Volume
    rois: tuple[tuple[Perturbation, Mask | str], ...]


def perturbed(
    image: Volume,
    roi: Mask,
    chain: Chain,
    course: str,
    room: tuple[int, int, int] = (0, 0, 0),
    points: Sequence[Perturbation] = (),
) -> Iterator[PerturbedImage]:
    """Every perturbed image with the perturbed ROIs that belong on it, one after another.

    `roi` lies on voxels of the image's grid (any part of it). The image is perturbed in the ROI's
    box and `room` (k, j, i) voxels about it, as much as filters look at, and is as it was
    elsewhere. `course` names the course, so that no two have the same noise. `points` are those of
    the grid that are wanted (none: all of them). Images keep their type of number, whole numbers
    are rounded; masks are boolean and lie on a part of the image's grid. The unperturbed pair is
    the given one (shares of the ROI from 0.5 on).

    Raises `DataError` for a ROI without a whole voxel in the image or an image with values there
    that are no numbers, `GeometryError` for uneven slices or a ROI on other voxels.
    """
    part, near, share = _surroundings(image, roi, chain, room)
    drawings = _Drawings(near, share, chain, course)
    sigma = noise_sigma(near.array[_about(drawings, _NOISE_ROOM_MM)])
    points = points or chain.grid()
    for pose in dict.fromkeys(point.pose for point in points):
        rois = tuple((point, drawings.mask(point)) for point in points if point.pose == pose)
        noise, *where = pose
        array, move = near.array.astype(np.float64), _Move(*where)
        if noise > 0:
            array = with_noise(array, noise * sigma, drawings.random("noise", noise))
        if move != _STILL:
            array = move.apply(array, drawings.centre, drawings.spacing)
        still = move == _STILL and noise == 0
        yield PerturbedImage(image if still else _pasted(image, part, array), rois)


def _surroundings(
    image: Volume, roi: Mask, chain: Chain, room: tuple[int, int, int]
) -> tuple[tuple[slice, ...], Volume, Mask]:
    """The part of an image that is perturbed: where it lies, its values and the ROI's shares."""
    if not image.grid.is_uniform:
        raise GeometryError(f"{roi.name}: perturbations need evenly spaced slices")
    inside = roi_on(roi, image.grid)
    spacing = image.grid.spacing_mm[::-1]
    # Content comes from so far beyond: a shift, a turn, and the reach of cubic interpolation.
    half = [(n / 2 + r) * s for n, r, s in zip(inside.box.size, room, spacing, strict=True)]
    angle = max(abs(math.radians(degrees)) for degrees in chain.rotation_deg)
    turn_mm = 2 * math.hypot(*half[1:]) * math.sin(min(angle, math.pi) / 2)
    shift = math.ceil(max(abs(share) for share in chain.translation))
    more = [shift + _SPLINE_VOXELS + math.ceil(turn_mm / s) for s in (np.inf, *spacing[1:])]
    wide = inside.box.padded(np.add(room, more), Box((0, 0, 0), image.grid.shape))
    part = wide.within(Box((0, 0, 0), image.grid.shape))
    near = replace(image, array=image.array[part], grid=image.grid.crop(*part))
    if not np.isfinite(near.array).all():
        raise DataError(f"{roi.name}: the image has values about it that are no numbers")
    return part, near, on_box(roi, image.grid, lattice_boxes.Box(wide.low, wide.high))


def _about(drawings: _Drawings, room_mm: float) -> tuple[slice, ...]:
    """The ROI's box with some room, in its surroundings."""
    room = (math.ceil(room_mm / s) for s in drawings.spacing)
    return tuple(
        slice(max(b.start - r, 0), b.stop + r) for b, r in zip(drawings.filled, room, strict=True)
    )


def _pasted(image: Volume, part: tuple[slice, ...], array: np.ndarray) -> Volume:
    """The image with other values in one part."""
    whole = image.array.copy()
    if np.issubdtype(whole.dtype, np.integer):
        limits = np.iinfo(whole.dtype)
        array = np.clip(np.rint(array), limits.min, limits.max)
    whole[part] = array
    return replace(image, array=whole)


@dataclass(frozen=True)
class _Move:
    """Where content goes: by `shift` voxels along every axis, after a turn in the slices."""

    shift: float
    rotation_deg: float

    def apply(self, array: np.ndarray, centre: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
        """The moved content of an array about whose index `centre` (3,) it turns; cubic."""
        turn = math.radians(-self.rotation_deg)
        back = np.eye(3)
        back[1:, 1:] = [[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]]
        spacing = np.array(spacing_mm)
        matrix = back * spacing[None, :] / spacing[:, None]
        offset = centre - matrix @ (centre + self.shift)
        return ndimage.affine_transform(
            array, matrix, offset, order=3, mode="nearest", output=array.dtype
        )


_STILL = _Move(0.0, 0.0)


class _Drawings:
    """The outlines of one ROI and their masks, each made when it is first needed, in a box about
    the ROI."""

    def __init__(self, image: Volume, roi: Mask, chain: Chain, course: str) -> None:
        i, j, k = (float(s) for s in roi.grid.spacing_mm)
        self.spacing: Spacing = (k, j, i)
        self._roi, self._chain, self._course = roi, chain, course
        inside = roi.array >= INSIDE
        self.filled = filled_box(inside)
        radius = (3 * np.count_nonzero(inside) * i * j * k / (4 * math.pi)) ** (1 / 3)
        self._reach = max(_LEAST_REACH_MM, _REACH_OF_RADIUS * radius, 3 * max(self.spacing))
        self.centre = np.array(ndimage.center_of_mass(inside))
        self._box = self._room(inside)
        self._share, self._image = roi.array[self._box], image.array[self._box]
        self._inside = inside[self._box]
        self._drawn: dict[int, np.ndarray] = {}
        self._moved: tuple[int, _Move, np.ndarray] | None = None
        self._masks: dict[tuple[_Move, int, float], np.ndarray | str] = {}

    def _room(self, inside: np.ndarray) -> tuple[slice, ...]:
        """The ROI and what its surface may reach, within the grid."""
        lengths = [(b.stop - b.start) * s for b, s in zip(self.filled, self.spacing, strict=True)]
        turn = max(abs(math.sin(math.radians(a))) for a in (*self._chain.rotation_deg, 0.0))
        room_mm = self._reach + turn * math.hypot(*lengths[1:]) / 2
        room = [math.ceil(room_mm / s) + 4 for s in self.spacing]
        return tuple(
            slice(max(b.start - r, 0), min(b.stop + r, n))
            for b, r, n in zip(self.filled, room, inside.shape, strict=True)
        )

    def mask(self, point: Perturbation) -> Mask | str:
        """The ROI at one point of the grid, or why it is none there."""
        move = _Move(point.translation, point.rotation_deg)
        key = (move, point.contour, point.volume_percent)
        if key not in self._masks:
            try:
                self._masks[key] = self._made(point, move)
            except DataError as error:
                self._masks[key] = str(error)
        made = self._masks[key]
        if isinstance(made, str):
            return made
        array = np.zeros(self._roi.grid.shape, dtype=bool)
        array[self._box] = made
        return replace(self._roi, array=array)

    def _made(self, point: Perturbation, move: _Move) -> np.ndarray:
        """The mask in the box: the innermost voxels, as within a margin that changes the drawing's
        volume as asked; of those equally far from the surface, random ones. Moving changes no
        volume."""
        if move == _STILL and point.contour == 0 and point.volume_percent == 0:
            return self._inside
        voxels = np.count_nonzero(self._level(point.contour, _STILL) > 0)
        level = self._level(point.contour, move)
        wanted = round(voxels * (1 + point.volume_percent / 100))
        if wanted == 0:
            raise DataError("nothing is left of the ROI")
        known = 0.999 * self._reach
        near = np.flatnonzero(level > -known)
        if not np.count_nonzero(level >= known) <= wanted <= near.size:
            raise DataError(f"no margin is known for {point.volume_percent:+g} % of volume")
        random = self.random("rim", point.contour)
        order = np.lexsort((random.random(near.size), -level.ravel()[near]))
        result = np.zeros(level.size, dtype=bool)
        result[near[order[:wanted]]] = True
        return result.reshape(level.shape)

    def _level(self, contour: int, move: _Move) -> np.ndarray:
        """Signed distances in mm to the moved outline of a drawing."""
        if contour not in self._drawn:
            self._drawn[contour] = self._draw(contour)
        level = self._drawn[contour]
        if move == _STILL:
            return level
        if self._moved is None or self._moved[:2] != (contour, move):
            centre = self.centre - [part.start for part in self._box]
            self._moved = contour, move, move.apply(level, centre, self.spacing)
        return self._moved[2]

    def _draw(self, contour: int) -> np.ndarray:
        if contour == 0:
            return level_of(self._share, self.spacing, self._reach)
        random = self.random("contour", contour)
        if self._chain.contour_method == "supervoxels":
            return level_of(self._supervoxels.drawn(random), self.spacing, self._reach)
        level = self._level(0, _STILL)
        bumps = bumps_mm(level.shape, self.spacing, self._chain.contour_mm, random)
        varied = np.where(np.abs(level) < self._reach, level + bumps, level)
        return varied.astype(np.float32)

    @cached_property
    def _supervoxels(self) -> Supervoxels:
        return Supervoxels.about(self._image, self._share, self.spacing)

    def random(self, factor: str, level: float) -> np.random.Generator:
        """A generator of its own for each thing that is drawn at random."""
        roi = self._roi
        words = (self._course, roi.source, str(roi.number), roi.name, factor, repr(float(level)))
        text = "\x1f".join((str(self._chain.seed), *words))
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))
