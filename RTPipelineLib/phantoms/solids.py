"""Smooth solids whose axial sections are known: inside or not, outline and volume.

Every solid is a pile of superellipses `|u/a|^n + |v/b|^n = 1` in planes of constant z, whose
semi-axes and centre are functions of z. Its volume is the integral of the section's area, whatever
the centre does (Cavalieri), so that bent and leaning organs keep a closed form.

Points are LPS millimetres; lengths are millimetres.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from math import cos, gamma, pi, radians, sin

import numpy as np
from scipy.interpolate import PchipInterpolator

# A section with a smaller semi-axis than this carries no contour: nobody could draw it.
SMALLEST_SEMI_AXIS_MM = 0.5


class Solid(ABC):
    """Something that has volume: `inside`, `outlines` at a plane, `bounds_mm`, `volume_mm3`."""

    @abstractmethod
    def inside(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Booleans for coordinates that broadcast against each other."""

    @abstractmethod
    def outlines(self, z: float, vertices: int) -> list[np.ndarray]:
        """Loops (vertices, 2) of the section at `z`; their polygons have the section's exact area.

        Holes come as further loops, to be read by the even-odd rule.
        """

    @property
    @abstractmethod
    def bounds_mm(self) -> np.ndarray:
        """(2, 3) corners of a box around the solid."""

    @abstractmethod
    def section_area_mm2(self, z: np.ndarray) -> np.ndarray:
        """Areas of the sections at `z` (m,)."""

    @property
    @abstractmethod
    def volume_mm3(self) -> float:
        """The volume of the whole solid."""

    def volume_between_mm3(self, low_mm: float, high_mm: float) -> float:
        """The volume between two axial planes, by quadrature (relative error below 1e-4)."""
        low, high = np.clip([low_mm, high_mm], *self.bounds_mm[:, 2])
        edges = np.linspace(low, high, 65)
        nodes, weights = np.polynomial.legendre.leggauss(16)
        half = np.diff(edges)[:, None] / 2
        z = (edges[:-1, None] + edges[1:, None]) / 2 + half * nodes
        return float(np.sum(self.section_area_mm2(z.ravel()).reshape(z.shape) * weights * half))


class Profile(StrEnum):
    """How the sections of a `Pile` shrink towards its ends."""

    ELLIPSOID = "ellipsoid"
    CYLINDER = "cylinder"
    CONE = "cone"  # tip at the foot end
    ROUNDED = "rounded"  # constant, with half an ellipsoid of depth `cap_mm` at either end


class _Sections(Solid):
    """A solid of superellipses: subclasses say centre and semi-axes at z."""

    power: float
    turn_deg: float

    @abstractmethod
    def sections(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Centres and semi-axes at `z` (m,), both (m, 2); semi-axes are 0 where there is
        nothing."""

    def _shape_factor(self) -> float:
        """Area of a superellipse over a b."""
        return 4 * gamma(1 + 1 / self.power) ** 2 / gamma(1 + 2 / self.power)

    def inside(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        z = np.asarray(z, dtype=np.float64)
        centres, semi = self.sections(z.ravel())
        (cx, cy), (a, b) = (pair.T.reshape(2, *z.shape) for pair in (centres, semi))
        exists = np.minimum(a, b) > 0
        c, s = cos(radians(self.turn_deg)), sin(radians(self.turn_deg))
        dx, dy = x - cx, y - cy
        u, v = c * dx + s * dy, c * dy - s * dx
        a, b = np.where(exists, a, 1.0), np.where(exists, b, 1.0)
        return exists & (np.abs(u / a) ** self.power + np.abs(v / b) ** self.power <= 1)

    def outlines(self, z: float, vertices: int) -> list[np.ndarray]:
        centres, semi = self.sections(np.array([z]))
        if semi.min() < SMALLEST_SEMI_AXIS_MM:
            return []
        angle = 2 * pi * np.arange(vertices) / vertices
        unit = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        loop = np.sign(unit) * np.abs(unit) ** (2 / self.power) * semi[0]
        loop *= np.sqrt(self._shape_factor() * semi[0].prod() / polygon_area(loop))
        return [_turned(loop, self.turn_deg) + centres[0]]

    def section_area_mm2(self, z: np.ndarray) -> np.ndarray:
        return self._shape_factor() * self.sections(z)[1].prod(axis=1)

    @property
    def bounds_mm(self) -> np.ndarray:
        low, high = self._z_range()
        centres, semi = self.sections(np.linspace(low, high, 41))
        reach = semi if self.turn_deg == 0 else np.repeat(np.hypot(*semi.T)[:, None], 2, axis=1)
        # Between the 41 sampled planes the outline may reach a little further.
        margin = 1.0
        return np.array(
            [
                [*((centres - reach).min(axis=0) - margin), low],
                [*((centres + reach).max(axis=0) + margin), high],
            ]
        )

    @abstractmethod
    def _z_range(self) -> tuple[float, float]: ...


@dataclass(frozen=True)
class Pile(_Sections):
    """Ellipsoid, cylinder, cone or rounded tube with elliptic to nearly rectangular sections.

    `semi_axes_mm` are half the extents in x, y (before turning by `turn_deg` about z) and z.
    `power` 2 is an ellipse, larger ones approach a rectangle. With t from -1 to 1 along z, the
    centre moves by `lean_mm` t + `bend_mm` t^2.
    """

    centre_mm: tuple[float, float, float]
    semi_axes_mm: tuple[float, float, float]
    profile: Profile = Profile.ELLIPSOID
    power: float = 2.0
    turn_deg: float = 0.0
    lean_mm: tuple[float, float] = (0.0, 0.0)
    bend_mm: tuple[float, float] = (0.0, 0.0)
    cap_mm: float = 0.0

    def sections(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        t = ((z - self.centre_mm[2]) / self.semi_axes_mm[2])[:, None]
        lean, bend = np.array(self.lean_mm), np.array(self.bend_mm)
        centres = np.array(self.centre_mm[:2]) + lean * t + bend * t**2
        scale = np.where(np.abs(t) <= 1, self._scale(np.clip(t, -1, 1)), 0.0)
        return centres, scale * np.array(self.semi_axes_mm[:2])

    def _scale(self, t: np.ndarray) -> np.ndarray:
        match self.profile:
            case Profile.ELLIPSOID:
                return np.sqrt(1 - t**2)
            case Profile.CYLINDER:
                return np.ones_like(t)
            case Profile.CONE:
                return (1 + t) / 2
            case Profile.ROUNDED:
                depth = self.cap_mm / self.semi_axes_mm[2]
                into_cap = np.clip((np.abs(t) - (1 - depth)) / depth, 0, 1)
                return np.sqrt(1 - into_cap**2)

    @property
    def volume_mm3(self) -> float:
        a, b, c = self.semi_axes_mm
        length = {
            Profile.ELLIPSOID: 4 / 3 * c,
            Profile.CYLINDER: 2 * c,
            Profile.CONE: 2 / 3 * c,
            Profile.ROUNDED: 2 * (c - self.cap_mm) + 4 / 3 * self.cap_mm,
        }[self.profile]
        return self._shape_factor() * a * b * length

    def _z_range(self) -> tuple[float, float]:
        return (
            self.centre_mm[2] - self.semi_axes_mm[2],
            self.centre_mm[2] + self.semi_axes_mm[2],
        )


@dataclass(frozen=True)
class Loft(_Sections):
    """A skin over sections: `knots` are rows of z, centre x, centre y, semi-axis x, semi-axis y
    with ascending z, joined by monotone cubics (so that nothing overshoots)."""

    knots: tuple[tuple[float, float, float, float, float], ...]
    power: float = 2.0
    turn_deg: float = 0.0

    def sections(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        table = np.array(self.knots)
        values = PchipInterpolator(table[:, 0], table[:, 1:], extrapolate=False)(z)
        values = np.nan_to_num(values)
        return values[:, :2], values[:, 2:]

    @property
    def volume_mm3(self) -> float:
        return self.volume_between_mm3(*self._z_range())

    def _z_range(self) -> tuple[float, float]:
        return self.knots[0][0], self.knots[-1][0]


@dataclass(frozen=True)
class Arch(Solid):
    """A horseshoe with flat ends: the part of an elliptic ring between two angles (a jaw, a rib).

    `semi_axes_mm` are those of the outer ellipse and half the height; the inner ellipse is `inner`
    times as large. Angles run from +x (left) over +y (back), in the ellipse's own parameter.
    """

    centre_mm: tuple[float, float, float]
    semi_axes_mm: tuple[float, float, float]
    inner: float
    from_deg: float
    to_deg: float

    def inside(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        u = (x - self.centre_mm[0]) / self.semi_axes_mm[0]
        v = (y - self.centre_mm[1]) / self.semi_axes_mm[1]
        radius = np.hypot(u, v)
        angle = np.degrees(np.arctan2(v, u) - radians(self.from_deg)) % 360
        level = np.abs(z - self.centre_mm[2]) <= self.semi_axes_mm[2]
        ring = (radius >= self.inner) & (radius <= 1) & (angle <= self.to_deg - self.from_deg)
        return level & ring

    def outlines(self, z: float, vertices: int) -> list[np.ndarray]:
        if abs(z - self.centre_mm[2]) > self.semi_axes_mm[2]:
            return []
        angle = np.radians(np.linspace(self.from_deg, self.to_deg, (vertices + 1) // 2))
        arc = np.stack([np.cos(angle), np.sin(angle)], axis=1) * self.semi_axes_mm[:2]
        loop = np.concatenate([arc, self.inner * arc[::-1]])
        loop *= np.sqrt(self._area() / polygon_area(loop))
        return [loop + self.centre_mm[:2]]

    def section_area_mm2(self, z: np.ndarray) -> np.ndarray:
        return np.where(np.abs(z - self.centre_mm[2]) <= self.semi_axes_mm[2], self._area(), 0.0)

    def _area(self) -> float:
        a, b, _ = self.semi_axes_mm
        return a * b * (1 - self.inner**2) * radians(self.to_deg - self.from_deg) / 2

    @property
    def bounds_mm(self) -> np.ndarray:
        centre, reach = np.array(self.centre_mm), np.array(self.semi_axes_mm)
        return np.stack([centre - reach, centre + reach])

    @property
    def volume_mm3(self) -> float:
        return self._area() * 2 * self.semi_axes_mm[2]


@dataclass(frozen=True)
class Compound(Solid):
    """Solids that do not touch each other, less holes that lie wholly inside one of them."""

    parts: tuple[Solid, ...]
    holes: tuple[Solid, ...] = ()

    def inside(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        within = np.logical_or.reduce([part.inside(x, y, z) for part in self.parts])
        for hole in self.holes:
            within = within & ~hole.inside(x, y, z)
        return within

    def outlines(self, z: float, vertices: int) -> list[np.ndarray]:
        return [
            loop for solid in (*self.parts, *self.holes) for loop in solid.outlines(z, vertices)
        ]

    def section_area_mm2(self, z: np.ndarray) -> np.ndarray:
        plus = sum(part.section_area_mm2(z) for part in self.parts)
        return plus - sum(hole.section_area_mm2(z) for hole in self.holes)

    @property
    def bounds_mm(self) -> np.ndarray:
        boxes = np.array([part.bounds_mm for part in self.parts])
        return np.stack([boxes[:, 0].min(axis=0), boxes[:, 1].max(axis=0)])

    @property
    def volume_mm3(self) -> float:
        return sum(p.volume_mm3 for p in self.parts) - sum(h.volume_mm3 for h in self.holes)

    def volume_between_mm3(self, low_mm: float, high_mm: float) -> float:
        plus = sum(part.volume_between_mm3(low_mm, high_mm) for part in self.parts)
        return plus - sum(hole.volume_between_mm3(low_mm, high_mm) for hole in self.holes)


def polygon_area(loop: np.ndarray) -> float:
    """Area of a simple polygon (n, 2)."""
    x, y = loop.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _turned(loop: np.ndarray, degrees: float) -> np.ndarray:
    c, s = cos(radians(degrees)), sin(radians(degrees))
    return loop @ np.array([[c, s], [-s, c]])
