"""Solids against textbook volumes, random points and each other."""

from math import pi

import numpy as np
import pytest

from RTPipelineLib.phantoms.solids import Arch, Compound, Loft, Pile, Profile, polygon_area

ELLIPSOID = Pile((5, -3, 10), (30, 20, 25))
BENT_TUBE = Pile((0, 0, 0), (12, 9, 60), Profile.ROUNDED, lean_mm=(5, 0), bend_mm=(0, 20), cap_mm=9)
BOXY = Pile((0, 0, 0), (40, 20, 30), Profile.CYLINDER, power=4.0, turn_deg=30)
CONE = Pile((0, 0, 0), (12, 12, 12), Profile.CONE)
ARCH = Arch((3, 4, 5), (50, 40, 6), 0.8, 200, 340)
LOFT = Loft(((-50, 0, 0, 20, 15), (0, 5, 0, 40, 30), (50, 0, 10, 0, 0)), power=2.5)
SHELL = Compound((Pile((0, 0, 0), (30, 30, 30)), Pile((80, 0, 0), (10, 10, 10))), (CONE,))
ALL = {
    "ellipsoid": ELLIPSOID,
    "bent tube": BENT_TUBE,
    "boxy cylinder": BOXY,
    "cone": CONE,
    "arch": ARCH,
    "loft": LOFT,
    "compound": SHELL,
}


@pytest.mark.parametrize(
    ("solid", "volume"),
    [
        (ELLIPSOID, 4 / 3 * pi * 30 * 20 * 25),
        # A capsule's ends make a full ellipsoid; bending and leaning keep the volume.
        (BENT_TUBE, pi * 12 * 9 * (2 * 51 + 4 / 3 * 9)),
        (CONE, pi * 144 * 24 / 3),
        (ARCH, pi * 50 * 40 * (1 - 0.64) * 140 / 360 * 12),
        (SHELL, 4 / 3 * pi * (30**3 + 10**3) - pi * 144 * 24 / 3),
        (Pile((0, 0, 0), (10, 10, 10), Profile.CYLINDER, power=1e9), 20.0**3),
    ],
)
def test_volume_is_the_textbook_one(solid, volume):
    assert solid.volume_mm3 == pytest.approx(volume, rel=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_volume_is_what_random_points_find(name):
    solid = ALL[name]
    low, high = solid.bounds_mm
    n = 400_000
    points = np.random.default_rng(3).uniform(low, high, (n, 3))
    share = np.count_nonzero(solid.inside(*points.T)) / n
    box = float(np.prod(high - low))
    error = 4 * np.sqrt(share * (1 - share) / n) * box  # four standard errors
    assert solid.volume_mm3 == pytest.approx(share * box, abs=error)
    assert solid.volume_between_mm3(-1e3, 1e3) == pytest.approx(solid.volume_mm3, rel=1e-4)
    # Nothing sticks out of the box.
    wide = np.random.default_rng(4).uniform(low - 20, high + 20, (n, 3))
    found = wide[solid.inside(*wide.T)]
    assert (found >= low).all()
    assert (found <= high).all()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("z", [-20.3, 0.0, 7.1])
def test_outlines_lie_on_the_surface_and_have_the_area(name, z):
    solid = ALL[name]
    loops = solid.outlines(z, 64)
    area = float(solid.section_area_mm2(np.array([z]))[0])
    if not loops:
        assert area == 0
        return
    holes = len(solid.holes) if isinstance(solid, Compound) else 0
    signs = [1.0] * (len(loops) - holes) + [-1.0] * holes
    if isinstance(solid, Compound):
        solids = [s for s in (*solid.parts, *solid.holes) if s.outlines(z, 64)]
        signs = [-1.0 if s in solid.holes else 1.0 for s in solids]
    found = sum(s * polygon_area(loop) for s, loop in zip(signs, loops, strict=True))
    assert found == pytest.approx(area, rel=1e-9)
    for loop in loops:
        assert loop.shape == (64, 2)
        # Stretching for the exact area moves vertices of 64-gons outwards by less than 0.3 %.
        for factor in (0.99, 1.01):
            if isinstance(solid, Arch):
                break
            moved = loop.mean(axis=0) + factor * (loop - loop.mean(axis=0))
            inside = solid.inside(*moved.T, np.full(64, z))
            hole = signs[[np.array_equal(loop, other) for other in loops].index(True)] < 0
            assert (inside == ((factor < 1) != hole)).all()


def test_a_part_of_a_solid_has_a_part_of_its_volume():
    lower = ELLIPSOID.volume_between_mm3(-100, 10)
    assert lower == pytest.approx(ELLIPSOID.volume_mm3 / 2, rel=1e-6)
