"""Cases with known results, from contours and doses as files to numbers.

Each compares one number with a closed form, a published worked example or what the generator of the
synthetic patients wrote. Nothing is compared with an earlier result of this program.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from ..dicom.dose import read_dose
from ..dicom.structures import read_structure_set
from ..dicom.write import write_dose
from ..dose.accumulate import sum_doses
from ..dose.eqd2 import bed, eqd2
from ..dvh.engine import compute_dvh
from ..geometry import Grid
from ..model import Contours, Dose, Mask
from ..phantoms.analytic import HEIGHT_MM, RADIUS_MM, AnalyticCase, Gradient, Shape
from ..structures.comparison import compare
from ..structures.margins import Margins, add_margin
from ..structures.voxelise import voxelise

NELMS = "closed form; Nelms et al., Med Phys 42 (2015) 4435"
GEOMETRY = "closed form"


@dataclass(frozen=True)
class Case:
    """One comparison: it passes when `found` is within `limit` of `expected` (both in `unit`)."""

    group: str
    name: str
    expected: float
    found: float
    limit: float
    unit: str
    source: str

    @property
    def difference(self) -> float:
        """Found minus expected."""
        return self.found - self.expected

    @property
    def passed(self) -> bool:
        """False also for what is no number."""
        return abs(self.difference) <= self.limit


# -- DVH ------------------------------------------------------------------------------------------


def dvh_cases(folder: Path) -> Iterator[Case]:
    """Solids in a linear dose, written as DICOM and read again, against their closed form."""
    for shape, gradient in product((Shape.SPHERE, Shape.CYLINDER, Shape.CONE), Gradient):
        case = AnalyticCase(shape, gradient, 1.0, 2.0, (0.5, 0.0, 0.5))
        structures, dose = case.write(folder)
        dvh = compute_dvh(read_structure_set(structures).rois[0], read_dose(dose))
        truth = case.truth()
        name = f"{shape}, dose rising to the {'back' if gradient is Gradient.AP else 'head'}"
        for metric, expected, found, percent, unit in (
            ("volume", truth.volume_cc, dvh.volume_cc, 0.3, "cc"),
            ("Dmean", truth.mean_gy, dvh.mean_gy, 0.3, "Gy"),
            ("D95%", truth.D_gy(95), dvh.D("95%"), 1.0, "Gy"),
            ("D1%", truth.D_gy(1), dvh.D("1%"), 0.5, "Gy"),
        ):
            limit = expected * percent / 100
            yield Case("DVH", f"{name}: {metric}", expected, found, limit, unit, NELMS)


# Columns: direction of rows, columns and slices in patient coordinates.
_POSITIONS: Mapping[str, np.ndarray] = {
    "head first, prone": np.diag([-1.0, -1.0, 1.0]),
    "feet first, supine": np.diag([-1.0, 1.0, -1.0]),
    "feet first, prone": np.diag([1.0, -1.0, -1.0]),
    "head first, decubitus right": np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]),
}


def orientation_cases(folder: Path) -> Iterator[Case]:
    """The same dose stored for other patient positions gives the same DVH."""
    case = AnalyticCase(Shape.CONE_LYING, Gradient.AP, 2.0, 2.0, (0.5, 0.0, 0.5))
    structure, dose = case.contours(), case.dose()
    expected = compute_dvh(structure, dose)
    for number, (name, direction) in enumerate(_POSITIONS.items()):
        path = folder / f"position{number}.dcm"
        write_dose(path, _turned(dose, direction), patient_from=_study())
        found = compute_dvh(structure, read_dose(path))
        for metric, mine, theirs in (
            ("Dmean", found.mean_gy, expected.mean_gy),
            ("D1%", found.D("1%"), expected.D("1%")),
        ):
            # Half a step of the stored dose, 32 bits.
            yield Case("Orientation", f"{name}: {metric}", theirs, mine, 1e-5, "Gy", GEOMETRY)


def _turned(dose: Dose, direction: np.ndarray) -> Dose:
    """The same voxels stored along other axes (columns of `direction`, each a patient axis)."""
    grid = dose.grid
    axes = np.argmax(np.abs(direction), axis=0)  # patient axis of i, j, k
    signs = direction[axes, np.arange(3)]
    array = dose.array_gy.transpose([2 - axes[2], 2 - axes[1], 2 - axes[0]])
    corner = np.zeros(3)
    for number, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        if sign < 0:
            array = np.flip(array, 2 - number)
            corner[axis] = grid.size_ijk[axis] - 1
    turned = Grid(grid.to_lps(corner), direction, grid.spacing_mm[axes], array.shape)
    return replace(dose, array_gy=np.ascontiguousarray(array), grid=turned)


def _study():  # type: ignore[no-untyped-def]
    from pydicom.dataset import Dataset

    study = Dataset()
    study.PatientID, study.PatientName, study.StudyInstanceUID = "VALIDATION", "", "2.25.9301"
    return study


# -- structures -----------------------------------------------------------------------------------


def _sphere(radius_mm: float, spacing_mm: float, x_mm: float = 0.0) -> Contours:
    angle = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    loops = []
    for z in np.arange(-np.floor(radius_mm / spacing_mm), radius_mm / spacing_mm) * spacing_mm:
        r = math.sqrt(max(radius_mm**2 - z**2, 0.0))
        if r > 0.1:
            circle = [x_mm + r * np.cos(angle), r * np.sin(angle), np.full(len(angle), z)]
            loops.append(np.stack(circle, axis=1))
    return Contours.from_loops("sphere", loops, frame_uid="2.25.1")


def _fine_grid(half_mm: float, step: tuple[float, float, float]) -> Grid:
    counts = [2 * math.ceil(half_mm / s) + 1 for s in step]
    origin = [-(n // 2) * s for n, s in zip(counts, step, strict=True)]
    return Grid(origin, np.eye(3), list(step), (counts[2], counts[1], counts[0]))


def margin_cases() -> Iterator[Case]:
    """Margins of a sphere with contours 3 mm apart: the same in all directions, negative ones, and
    six different ones at once."""
    mask = voxelise(_sphere(20.0, 3.0), _fine_grid(40.0, (1.0, 1.0, 3.0)))
    before = _reaches(mask)
    limit = 0.1  # a tenth of the voxels in the plane
    for margins in (
        Margins.even(5.0),
        Margins.even(-3.0),
        Margins(3.0, 4.0, 5.0, 6.0, 7.0, 8.0),
    ):
        after = _reaches(add_margin(mask, margins))
        for side in before:
            expected = getattr(margins, side)
            name = f"sphere, {expected:+g} mm to {side}"
            yield Case("Margins", name, expected, after[side] - before[side], limit, "mm", GEOMETRY)


def _reaches(mask: Mask) -> dict[str, float]:
    """How far a mask reaches from the origin along the six directions: covered shares along the
    line of voxels through it."""
    i, j, k = np.round(mask.grid.to_index(np.zeros(3))).astype(int)
    share = mask.array.astype(np.float64)
    lines = {"left": (share[k, j, i:], 0), "right": (share[k, j, i::-1], 0)}
    lines |= {"posterior": (share[k, j:, i], 1), "anterior": (share[k, j::-1, i], 1)}
    lines |= {"superior": (share[k:, j, i], 2), "inferior": (share[k::-1, j, i], 2)}
    return {
        side: (float(line.sum()) - 0.5) * float(mask.grid.spacing_mm[axis])
        for side, (line, axis) in lines.items()
    }


def voxel_cases() -> Iterator[Case]:
    """Covered shares of voxels add up to the volume, whatever the voxels."""
    cylinder = AnalyticCase(Shape.CYLINDER, Gradient.AP, 2.0).contours()
    expected = math.pi * RADIUS_MM**2 * (HEIGHT_MM + 2.0) / 1000
    for step in ((1.0, 1.0, 2.0), (2.5, 1.7, 3.1)):
        mask = voxelise(cylinder, _fine_grid(30.0, step))
        found = float(mask.array.sum(dtype=np.float64)) * mask.grid.voxel_volume_mm3 / 1000
        name = "cylinder on voxels of {:g} x {:g} x {:g} mm".format(*step)
        # 360 vertices on a circle lose 0.005 % of its area.
        yield Case("Volume", name, expected, found, expected * 2e-4, "cc", GEOMETRY)


def comparison_cases() -> Iterator[Case]:
    """Two spheres of 20 mm, 8 mm apart: the volume that they share is a lens."""
    apart, radius = 8.0, 20.0
    found = compare(_sphere(radius, 1.0), _sphere(radius, 1.0, apart))
    lens = math.pi * (4 * radius + apart) * (2 * radius - apart) ** 2 / 12
    dice = lens / (4 / 3 * math.pi * radius**3)
    yield Case("Comparison", "Dice", dice, found.dice or math.nan, 0.005, "1", GEOMETRY)
    far = found.hausdorff_mm or math.nan
    yield Case("Comparison", "Hausdorff distance", apart, far, 0.5, "mm", GEOMETRY)
    shift = found.shift_x_mm or math.nan
    yield Case("Comparison", "shift to the left", apart, shift, 0.02, "mm", GEOMETRY)


# -- dose -----------------------------------------------------------------------------------------


def sum_cases() -> Iterator[Case]:
    """Doses that rise linearly, on different grids, add up to one that does: trilinear
    interpolation is exact for them."""

    def field(origin: float, step: float, count: int, slope: np.ndarray) -> Dose:
        grid = Grid(np.full(3, origin), np.eye(3), np.full(3, step), (count, count, count))
        points = grid.to_lps(np.moveaxis(np.indices(grid.shape)[::-1], 0, -1).astype(float))
        return Dose((50 + points @ slope).astype(np.float32), grid, frame_uid="2.25.1")

    slopes = np.array([[0.1, 0.2, -0.1], [0.05, -0.1, 0.2]])
    total = sum_doses(
        [field(-40.0, 2.5, 33, slopes[0]), field(-41.3, 3.0, 29, slopes[1])], [1.0, 0.5]
    )
    inside = np.abs(total.grid.corners_mm()).min() - 10
    points = np.array(list(product((-inside, 0.3, inside), repeat=3)))
    index = np.round(total.grid.to_index(points)).astype(int)
    at = total.grid.to_lps(index.astype(float))
    expected = 50 + at @ slopes[0] + 0.5 * (50 + at @ slopes[1])
    found = total.array_gy[index[:, 2], index[:, 1], index[:, 0]]
    worst = int(np.argmax(np.abs(found - expected)))
    name = "two linear doses, the worst of 27 points"
    yield Case(
        "Sum of doses", name, float(expected[worst]), float(found[worst]), 1e-4, "Gy", GEOMETRY
    )


def biological_cases() -> Iterator[Case]:
    """EQD2 and BED by the linear-quadratic model, worked by hand."""
    source = "EQD2 = D (D/n + a/b) / (2 + a/b); BED = D (1 + D/n / (a/b))"
    for name, expected, found in (
        ("EQD2 of 20 Gy in 30 fractions, a/b 3 Gy", 44 / 3, eqd2(np.array(20.0), 30, 3.0)),
        ("EQD2 of 54 Gy in 3 fractions, a/b 10 Gy", 126.0, eqd2(np.array(54.0), 3, 10.0)),
        ("BED of 60 Gy in 30 fractions, a/b 10 Gy", 72.0, bed(np.array(60.0), 30, 10.0)),
    ):
        yield Case("EQD2", name, expected, float(found), 1e-9, "Gy", source)


# -- synthetic patients ---------------------------------------------------------------------------


def patient_cases(folder: Path) -> Iterator[Case]:
    """The synthetic patients: courses found by linking, planned doses and volumes of solids."""
    from ..dicom.index import Index
    from ..linking import link_courses
    from ..linking.inputs import inputs_of
    from ..phantoms.cohort import make_cohort

    dicom = folder / "dicom"
    patients = make_cohort(dicom, patients=["DEMO-HEADNECK", "DEMO-TWICE"])
    source = "what the generator of the synthetic patients wrote"
    with Index(folder / "index.sqlite") as index:
        index.update(dicom)
        found = link_courses(inputs_of(index), dicom_root=str(dicom))
    expected = sum(len(patient.courses) for patient in patients)
    yield Case("Synthetic patients", "courses", expected, len(found), 0, "", source)
    for patient in patients:
        for course in patient.courses:
            for plan in course.plans:
                for dose in plan.doses:
                    stored = read_dose(dicom / dose.path)
                    i, j, k = np.round(stored.grid.to_index(np.array(dose.point_mm))).astype(int)
                    name = f"{patient.patient_id}, {plan.label}: dose at a point"
                    at = float(stored.array_gy[k, j, i])
                    limit = dose.scaling_gy + 1e-4
                    yield Case("Synthetic patients", name, dose.point_gy, at, limit, "Gy", source)
            yield from _volumes(dicom, patient.patient_id, course, source)


def _volumes(dicom: Path, patient: str, course, source: str) -> Iterator[Case]:  # type: ignore[no-untyped-def]
    """Volumes of organs above 100 cc; contours on slices of some mm cost up to 1 %
    of them."""
    from ..structures.volume import volume_cc

    drawn = {roi.number: roi for roi in read_structure_set(dicom / course.structure_set_path).rois}
    for roi in course.rois:
        if roi.volume_cc > 100:
            name = f"{patient}, {course.name}: volume of {roi.name}"
            found = volume_cc(drawn[roi.number])
            limit = 0.01 * roi.volume_cc
            yield Case("Synthetic patients", name, roi.volume_cc, found, limit, "cc", source)


GROUPS: tuple[Callable[[Path], Iterator[Case]], ...] = (
    dvh_cases,
    orientation_cases,
    lambda folder: margin_cases(),
    lambda folder: voxel_cases(),
    lambda folder: comparison_cases(),
    lambda folder: sum_cases(),
    lambda folder: biological_cases(),
    patient_cases,
)


def all_cases(folder: Path) -> Iterator[Case]:
    """Every case; `folder` (empty, temporary) takes the files that are written and read."""
    for group in GROUPS:
        yield from group(folder)
