"""The analytic DVH benchmark of Nelms et al., Medical Physics 42 (2015) 4435, as dataclasses.

A sphere, a cylinder and a cone (upright, and lying in the slice plane), R = 12 mm and H = 24 mm,
in a dose that rises by 1 Gy/mm from 4 Gy at -12 mm to 28 Gy at +12 mm (and goes on beyond), towards
the back (AP, +y) or the head (SI, +z). For each the cumulative volume V(D) is known in closed form.

Cylinders have their axis along z (upright) or y (lying); cones have their tip at -12 mm of that
axis and their base at +12 mm. Contour planes lie on multiples of the contour spacing from the end
at -12 mm, so on both end faces. A shift moves structure, contours and dose field together against
the lattice of the dose voxels; the truth does not change by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise, product
from pathlib import Path

import numpy as np
from scipy.optimize import brentq

from ..geometry import Grid
from ..model import Contours, Dose

RADIUS_MM = 12.0
HEIGHT_MM = 24.0
CENTRE_GY = 16.0  # dose at the centre; the gradient is 1 Gy/mm
GRID_REACH_MM = 18.0  # the dose grid's voxel centres reach at least so far from the centre
FRAME_UID = "2.25.4435201542"

CONTOUR_SPACINGS_MM = (0.2, 1.0, 2.0, 3.0)
VOXELS_MM = (1.0, 2.0, 3.0)
SHIFTS_VOXELS = ((0.0, 0.0, 0.0), (0.5, 0.0, 0.0), (0.5, 0.0, 0.5))


class Shape(StrEnum):
    """The five solids; upright ones have their axis across the contour planes."""

    SPHERE = "sphere"
    CYLINDER = "cylinder"
    CYLINDER_LYING = "cylinder-lying"
    CONE = "cone"
    CONE_LYING = "cone-lying"


class Gradient(StrEnum):
    """Where the dose rises to: the back (y) or the head (z)."""

    AP = "AP"
    SI = "SI"


@dataclass(frozen=True, eq=False)
class DvhTruth:
    """A cumulative DVH known as a function.

    `volume_above_mm3` maps dose in Gy `(n,)` to the volume in mm3 that receives at least that dose;
    all of the volume lies between `low_gy` and `high_gy`.
    """

    volume_above_mm3: Callable[[np.ndarray], np.ndarray]
    low_gy: float
    high_gy: float

    @property
    def volume_cc(self) -> float:
        """Total volume."""
        return float(self.V_cc(self.low_gy))

    @property
    def mean_gy(self) -> float:
        """Mean dose: the area under the cumulative curve, over the volume."""
        area = _integrate(self.V_cc, self.low_gy, self.high_gy, (4.0, 16.0, 28.0))
        return self.low_gy + area / self.volume_cc

    def V_cc(self, dose_gy: float | np.ndarray) -> np.ndarray:  # noqa: N802 - the field's name
        """Volume in cc that receives at least `dose_gy` (any shape)."""
        dose = np.asarray(dose_gy, dtype=np.float64)
        return self.volume_above_mm3(dose.ravel()).reshape(dose.shape) / 1000.0

    def D_gy(self, percent: float) -> float:  # noqa: N802 - the field's name
        """Least dose to the hottest `percent` of the volume."""
        return self.D_cc_gy(percent / 100.0 * self.volume_cc)

    def D_cc_gy(self, volume_cc: float) -> float:  # noqa: N802 - the field's name
        """Least dose to the hottest `volume_cc`; nan when the structure is smaller."""
        if volume_cc > self.volume_cc:
            return float("nan")
        return float(
            brentq(lambda d: self.V_cc(d) - volume_cc, self.low_gy, self.high_gy, xtol=1e-10)
        )


@dataclass(frozen=True)
class AnalyticCase:
    """One case of the benchmark: `contours()`, `dose()` and what is true of them.

    `shift_voxels` (x, y, z) moves structure, contours and dose field together, in voxels of the
    dose lattice, whose voxel centres stay on multiples of `voxel_mm`. `plane_shift_mm` moves the
    contour planes alone, against the shape: then `capped_truth` applies, `truth` does not.
    """

    shape: Shape
    gradient: Gradient
    contour_spacing_mm: float = 1.0
    voxel_mm: float = 1.0
    shift_voxels: tuple[float, float, float] = (0.0, 0.0, 0.0)
    plane_shift_mm: float = 0.0

    @property
    def name(self) -> str:
        """A name that tells the case from all others."""
        shift = "".join(f"{s:g}," for s in self.shift_voxels).rstrip(",")
        sizes = f"dz{self.contour_spacing_mm:g}_vox{self.voxel_mm:g}"
        planes = f"_p{self.plane_shift_mm:g}" if self.plane_shift_mm else ""
        return f"{self.shape}_{self.gradient}_{sizes}_{shift}{planes}"

    @property
    def centre_mm(self) -> np.ndarray:
        """(3,) LPS position of the centre of the shape, where the dose is 16 Gy."""
        return np.array(self.shift_voxels) * self.voxel_mm

    @property
    def plane_positions_mm(self) -> np.ndarray:
        """Planes with a contour, ascending z relative to the centre; none for empty sections."""
        steps = round(HEIGHT_MM / self.contour_spacing_mm) + 1
        z = np.arange(-1, steps + 1) * self.contour_spacing_mm
        z += self.plane_shift_mm - HEIGHT_MM / 2
        inside = np.abs(z) <= HEIGHT_MM / 2 + 1e-9
        z = np.clip(z[inside], -HEIGHT_MM / 2, HEIGHT_MM / 2)
        return z[_section_area(self.shape, z, -RADIUS_MM) > 1e-9]

    def contours(self, vertices: int = 360) -> Contours:
        """The shape as closed planar contours with vertices on its surface."""
        loops = []
        for z in self.plane_positions_mm:
            outline = _outline(self.shape, float(z), vertices)
            plane = np.full((len(outline), 1), z)
            loops.append(np.hstack([outline, plane]) + self.centre_mm)
        return Contours.from_loops(
            str(self.shape),
            loops,
            number=1,
            frame_uid=FRAME_UID,
            colour_rgb=(255, 0, 0),
            interpreted_type="ORGAN",
        )

    def dose(self) -> Dose:
        """The dose field on voxels of `voxel_mm`; where the line would fall below 0 it stays 0."""
        low = np.floor((self.centre_mm - GRID_REACH_MM) / self.voxel_mm + 1e-9)
        high = np.ceil((self.centre_mm + GRID_REACH_MM) / self.voxel_mm - 1e-9)
        ni, nj, nk = (int(n) for n in high - low + 1)
        grid = Grid(low * self.voxel_mm, np.eye(3), np.full(3, self.voxel_mm), (nk, nj, ni))
        axis = 1 if self.gradient is Gradient.AP else 2
        position = (low[axis] + np.arange((ni, nj, nk)[axis])) * self.voxel_mm
        line = np.maximum(CENTRE_GY + position - self.centre_mm[axis], 0.0)
        line = line[None, :, None] if axis == 1 else line[:, None, None]
        array = np.broadcast_to(line, grid.shape).astype(np.float32)
        return Dose(array, grid, frame_uid=FRAME_UID)

    def truth(self) -> DvhTruth:
        """The closed form. Flat ends in z (upright cylinder, base of the upright cone) carry
        half-slice caps, because there a stack of slabs ends; points and edges carry none."""
        if self.plane_shift_mm:
            raise ValueError("planes moved against the shape: only capped_truth() is known")
        return exact_truth(self.shape, self.gradient, self.contour_spacing_mm)

    def write(self, folder: str | Path) -> tuple[Path, Path]:
        """Write the case as DICOM into an existing folder; returns the paths of RTSTRUCT and
        RTDOSE."""
        from pydicom.dataset import Dataset

        from ..dicom.new_object import uid_from
        from ..dicom.write import write_dose, write_structure_set

        study = Dataset()
        study.PatientID, study.PatientName = "DEMO-ANALYTIC", "Demo^Analytic"
        study.StudyInstanceUID = uid_from("analytic", self.name)
        structures = Path(folder) / f"RS.{self.name}.dcm"
        dose = Path(folder) / f"RD.{self.name}.dcm"
        write_structure_set(structures, [self.contours()], patient_from=study, image=None)
        write_dose(dose, self.dose(), patient_from=study, comment=self.name)
        return structures, dose

    def capped_truth(self, cap_mm: float | None = None) -> DvhTruth:
        """The best that caps can give: the exact shape between the first and the last contour, and
        these two sections extruded by `cap_mm` (default: half the contour spacing)."""
        cap = self.contour_spacing_mm / 2 if cap_mm is None else cap_mm
        planes = self.plane_positions_mm
        return _stack_truth(self.shape, self.gradient, float(planes[0]), float(planes[-1]), cap)


def benchmark_cases() -> Iterator[AnalyticCase]:
    """All 360 cases: 5 shapes, 2 gradients, 4 contour spacings, 3 voxel sizes, 3 shifts."""
    for parts in product(Shape, Gradient, CONTOUR_SPACINGS_MM, VOXELS_MM, SHIFTS_VOXELS):
        yield AnalyticCase(*parts)


def exact_truth(shape: Shape, gradient: Gradient, contour_spacing_mm: float) -> DvhTruth:
    """V(D) of a shape in closed form; the contour spacing gives flat ends their half-slice caps."""
    dz = contour_spacing_mm
    si = gradient is Gradient.SI
    end = RADIUS_MM + (dz / 2 if si and shape is not Shape.SPHERE else 0.0)
    return DvhTruth(
        lambda dose: _exact_above(shape, si, dose - CENTRE_GY, dz), CENTRE_GY - end, CENTRE_GY + end
    )


def _exact_above(shape: Shape, si: bool, level: np.ndarray, dz: float) -> np.ndarray:
    """mm3 at positions >= `level` along the gradient, `level` in mm from the centre."""
    radius, height = RADIUS_MM, HEIGHT_MM
    rest = radius - level  # h of the closed forms, not clipped
    across = _segment(radius, level)
    if shape is Shape.SPHERE:
        h = np.clip(rest, 0.0, 2 * radius)
        return np.pi * h**2 * (3 * radius - h) / 3
    if shape is Shape.CYLINDER:
        along = np.pi * radius**2 * np.clip(rest + dz / 2, 0.0, height + dz)
        return along if si else across * (height + dz)
    if shape is Shape.CYLINDER_LYING:
        return across * height if si else np.pi * radius**2 * np.clip(rest, 0.0, height)
    along = np.pi * radius**2 * height / 3 * (1 - (np.clip(height - rest, 0, height) / height) ** 3)
    if shape is Shape.CONE:
        if si:
            return along + np.pi * radius**2 * np.clip(rest + dz / 2, 0.0, dz / 2)
        return _cone_across(level) + across * dz / 2
    return _cone_across(level) if si else along


def _cone_across(level: np.ndarray) -> np.ndarray:
    """mm3 of the cone at positions >= `level` across its axis: circular segments along the axis."""
    level = np.clip(level, -RADIUS_MM, RADIUS_MM)
    reached = np.abs(level) * HEIGHT_MM / RADIUS_MM  # nearer to the tip, sections lie on one side
    tip = np.pi * (RADIUS_MM / HEIGHT_MM) ** 2 * reached**3 / 3
    nodes, weights = _quadrature()
    axial = reached[:, None] + (HEIGHT_MM - reached)[:, None] * nodes
    segments = _segment(RADIUS_MM / HEIGHT_MM * axial, level[:, None])
    return np.where(level < 0, tip, 0.0) + (HEIGHT_MM - reached) * (segments @ weights)


def _stack_truth(
    shape: Shape, gradient: Gradient, first: float, last: float, cap: float
) -> DvhTruth:
    """V(D) of the shape between two planes, with the sections there extruded outwards by `cap`."""
    si = gradient is Gradient.SI
    end_areas = _section_area(shape, np.array([first, last]), -RADIUS_MM)

    def along(level: float) -> float:
        start = max(first, min(level, last))
        body = _integrate(lambda z: _section_area(shape, z, -RADIUS_MM), start, last, (0.0,))
        low_cap = end_areas[0] * np.clip(first - level, 0.0, cap)
        return body + low_cap + end_areas[1] * np.clip(last + cap - level, 0.0, cap)

    def across(level: float) -> float:
        corner = np.sqrt(max(RADIUS_MM**2 - level**2, 0.0))
        breaks = (-corner, 0.0, corner, 2 * level - RADIUS_MM, -2 * level - RADIUS_MM)
        ends = _section_area(shape, np.array([first, last]), level)
        body = _integrate(lambda z: _section_area(shape, z, level), first, last, breaks)
        return body + float(ends.sum()) * cap

    above = along if si else across
    low, high = (first - cap, last + cap) if si else (-RADIUS_MM, RADIUS_MM)
    return DvhTruth(
        lambda dose: np.array([above(float(d)) for d in dose - CENTRE_GY]),
        CENTRE_GY + low,
        CENTRE_GY + high,
    )


def _section_area(shape: Shape, z: np.ndarray, level: float) -> np.ndarray:
    """mm2 of the sections at `z` (n,) that lie at y >= `level`; -12 gives whole sections."""
    depth = np.clip(RADIUS_MM - level, 0.0, HEIGHT_MM)
    width = np.sqrt(np.maximum(RADIUS_MM**2 - z**2, 0.0))
    match shape:
        case Shape.SPHERE:
            return _segment(width, level)
        case Shape.CYLINDER:
            return _segment(np.full_like(z, RADIUS_MM), level)
        case Shape.CYLINDER_LYING:
            return 2 * width * depth
        case Shape.CONE:
            return _segment((z + HEIGHT_MM / 2) * RADIUS_MM / HEIGHT_MM, level)
        case Shape.CONE_LYING:
            # The outline is x^2 = r^2 - z^2, with r the cone's radius at its axial position.
            tip = np.clip(np.abs(z), 1e-300, RADIUS_MM)
            start = np.clip((level + HEIGHT_MM / 2) * RADIUS_MM / HEIGHT_MM, tip, RADIUS_MM)
            return HEIGHT_MM / RADIUS_MM * (_hyperbola(RADIUS_MM, tip) - _hyperbola(start, tip))


def _hyperbola(radius: float | np.ndarray, z: np.ndarray) -> np.ndarray:
    """Integral of 2 sqrt(r^2 - z^2) over r up to `radius`, from r = z."""
    return radius * np.sqrt(np.maximum(radius**2 - z**2, 0.0)) - z**2 * np.arccosh(
        np.maximum(radius / z, 1.0)
    )


def _segment(radius: float | np.ndarray, level: float | np.ndarray) -> np.ndarray:
    """mm2 of a disc of `radius` that lie at positions >= `level` from its centre."""
    radius = np.asarray(radius, dtype=np.float64)
    x = np.clip(level, -radius, radius)
    ratio = np.divide(x, radius, out=np.ones(np.broadcast(x, radius).shape), where=radius > 0)
    return radius**2 * np.arccos(np.clip(ratio, -1.0, 1.0)) - x * np.sqrt(radius**2 - x**2)


def _outline(shape: Shape, z: float, vertices: int) -> np.ndarray:
    """(n, 2) x, y of the section's outline at `z`, relative to the centre."""
    half = HEIGHT_MM / 2
    if shape is Shape.CYLINDER_LYING:
        width = np.sqrt(RADIUS_MM**2 - z**2)
        return np.array([[-width, -half], [width, -half], [width, half], [-width, half]])
    if shape is Shape.CONE_LYING:
        if abs(z) < 1e-9:
            return np.array([[0.0, -half], [RADIUS_MM, half], [-RADIUS_MM, half]])
        reach = np.arccosh(RADIUS_MM / abs(z))
        u = np.linspace(-reach, reach, vertices)
        axial = abs(z) * np.cosh(u) * HEIGHT_MM / RADIUS_MM
        return np.stack([abs(z) * np.sinh(u), axial - half], axis=1)
    radius = {
        Shape.SPHERE: np.sqrt(max(RADIUS_MM**2 - z**2, 0.0)),
        Shape.CYLINDER: RADIUS_MM,
        Shape.CONE: (z + half) * RADIUS_MM / HEIGHT_MM,
    }[shape]
    angle = 2 * np.pi * np.arange(vertices) / vertices
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _quadrature(order: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights on 0..1 after x = (1 - cos pi u)/2, which takes the square
    roots at both ends of a section's outline out of the integrand."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    u = (nodes + 1) / 2
    return (1 - np.cos(np.pi * u)) / 2, weights / 2 * np.pi / 2 * np.sin(np.pi * u)


def _integrate(
    function: Callable[[np.ndarray], np.ndarray], low: float, high: float, breaks: tuple[float, ...]
) -> float:
    """Integral over low..high, split at the `breaks` inside, where the function has its kinks."""
    nodes, weights = _quadrature()
    edges = [low, *sorted(b for b in breaks if low < b < high), high]
    return sum((b - a) * float(function(a + (b - a) * nodes) @ weights) for a, b in pairwise(edges))
