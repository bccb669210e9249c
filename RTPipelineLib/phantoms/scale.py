"""Patients of any size for benchmarks: one with much in it, or many with next to nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from .anatomy import FAT_HU, GREEN, MUSCLE_HU, RED, YELLOW, Anatomy, Organ, target
from .manifest import ExpectedPatient
from .patient import CourseSpec, PatientSpec, PlanSpec, Size, make_patient
from .solids import Pile, Profile

CREATED = datetime(2024, 1, 2, 3, 4, 5)


def busy_patient(
    *,
    n_rois: int = 30,
    n_contours: int = 150,
    vertices: int = 200,
    dose_size: Size = (200, 200, 150),
    image_size: tuple[int, int] = (64, 64),
    names: Sequence[str] = (),
    seed: int = 0,
) -> PatientSpec:
    """One patient whose every ROI, body and target included, has `n_contours` contours of
    `vertices` points, 2 mm apart; the dose has voxels of 2 mm, the image covers the body. The first
    organs have these `names`."""
    height = 2.0 * n_contours
    rng = np.random.default_rng(seed)

    def tube(x: float, y: float, a: float, b: float) -> Pile:
        return Pile((x, y, 0.0), (a, b, height / 2), Profile.CYLINDER, power=2.3)

    organs = [Organ("BODY", tube(0, 0, 170, 110), FAT_HU, GREEN, "EXTERNAL")]
    for number in range(2, n_rois):
        x, y = rng.uniform(-110, 110), rng.uniform(-55, 55)
        a, b = rng.uniform(5, 50, 2)
        name = names[number - 2] if number - 2 < len(names) else f"Organ_{number:02d}"
        organs.append(Organ(name, tube(x, y, a, b), MUSCLE_HU, YELLOW))
    organs.append(target("PTV_50", tube(10, 5, 40, 35), RED))
    plan = PlanSpec("Busy", 25, (("PTV_50", 50.0),), CREATED, dose_size, (2.0, 2.0, 2.0))
    course = CourseSpec(
        "Busy",
        (Anatomy(tuple(organs), "ABDOMEN"),),
        CREATED,
        "BODY",
        plans=(plan,),
        image_size=(*image_size, n_contours),
        image_voxel_mm=(400 / image_size[0], 400 / image_size[1], 2.0),
        vertices=vertices,
    )
    return PatientSpec("BENCH-BUSY", (course,))


def tiny_patients(
    folder: str | Path, n: int, *, slices: int = 4, seed: int = 0
) -> Iterator[ExpectedPatient]:
    """Write `n` patients of `slices` small CT slices, a structure set, a plan and a dose each."""
    body = Pile((0, 0, 0), (120, 80, 4.0 * slices), Profile.CYLINDER)
    anatomy = Anatomy(
        (
            Organ("BODY", body, MUSCLE_HU, GREEN, "EXTERNAL"),
            target("PTV_20", Pile((0, 0, 0), (25, 25, 2.0 * slices)), RED),
        ),
        "ABDOMEN",
    )
    plan = PlanSpec("Tiny", 5, (("PTV_20", 20.0),), CREATED, (16, 12, 6), (15.0, 15.0, 5.0), 16)
    course = CourseSpec(
        "Tiny",
        (anatomy,),
        CREATED,
        "BODY",
        plans=(plan,),
        image_size=(24, 24, slices),
        image_voxel_mm=(12.0, 12.0, 4.0),
        vertices=24,
    )
    for number in range(n):
        yield make_patient(folder, PatientSpec(f"TINY-{number:05d}", (course,)), seed=seed)
