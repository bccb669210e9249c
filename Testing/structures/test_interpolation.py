"""Volumes between and beyond planes, against solids whose volume is known."""

import numpy as np
import pytest

from RTPipelineLib.structures.caps import adaptive_cap
from RTPipelineLib.structures.interpolation import make_layers

R = 12.0


def volume(z, area, caps="none", between="interpolate", **more):
    holes = more.pop("holes", np.zeros(len(z) - 1, dtype=bool))
    layers = make_layers(
        np.asarray(z, float),
        np.asarray(area, float),
        holes,
        more.pop("lone", np.nan),
        end_caps=caps,
        between_planes=between,
        **more,
    )
    assert np.all(layers.high_mm > layers.low_mm)
    assert np.all(layers.low_mm[1:] >= layers.high_mm[:-1] - 1e-9)
    return layers.volume_mm3(np.asarray(area, float))


@pytest.mark.parametrize("step", [0.5, 1.0, 3.0, 4.5])
@pytest.mark.parametrize("max_mm", [np.inf, 0.7])
def test_sphere_between_its_planes_is_exact(step, max_mm):
    z = np.arange(-9, 9.1, step)
    area = np.pi * (R**2 - z**2)
    exact = np.pi * (R**2 * (z[-1] - z[0]) - (z[-1] ** 3 - z[0] ** 3) / 3)
    assert volume(z, area, max_mm=max_mm) == pytest.approx(exact, rel=1e-9)


def test_uneven_planes_are_exact_for_a_cone():
    z = np.array([1.0, 2.0, 4.0, 4.5, 8.0, 9.0])
    area = np.pi * (z / 2) ** 2
    exact = np.pi / 4 * (9.0**3 - 1) / 3
    assert volume(z, area) == pytest.approx(exact, rel=1e-9)


def test_slabs_and_half_slices():
    z, area = [0.0, 2.0, 6.0], [10.0, 20.0, 30.0]
    assert volume(z, area, between="slab") == pytest.approx(10 + 20 * 3 + 30 * 2)
    assert volume(z, area, "half-slice", "slab") == pytest.approx(20 + 20 * 3 + 30 * 4)


def test_cuts_change_nothing():
    z = np.arange(-9, 9.1, 3)
    area = np.pi * (R**2 - z**2)
    whole = volume(z, area, "half-slice", max_mm=1.0)
    assert volume(z, area, "half-slice", max_mm=1.0, cuts_mm=(-9.7, 0.0, 1.234)) == pytest.approx(
        whole, rel=1e-6
    )


def test_holes_and_lone_planes():
    holes = np.array([False, True])
    assert volume([0, 2, 20], [10, 10, 7], "half-slice", holes=holes, lone=3.0) == 40 + 21
    assert volume([5.0], [10.0], holes=np.zeros(0, dtype=bool), lone=2.0) == 20
    assert volume([5.0], [10.0], holes=np.zeros(0, dtype=bool)) == 0


def test_a_step_in_the_area_makes_no_wild_curve():
    z = np.arange(6.0)
    area = np.array([10.0, 10, 10, 100, 100, 100])
    assert volume(z, area) == pytest.approx(20 + 55 + 200, rel=0.02)


SOLIDS = {  # area at a distance from the tip or pole; a power of it is a low polynomial
    "sphere": lambda x: np.pi * x * (2 * R - x),
    "cone": lambda x: np.pi * (x / 2) ** 2,
    "lying cylinder": lambda x: 48 * np.sqrt(np.maximum(x * (2 * R - x), 0)),
}


@pytest.mark.parametrize("name", SOLIDS)
@pytest.mark.parametrize("first", [0.3, 1.0, 1.7, 2.0])
def test_adaptive_caps_close_as_the_solid_does(name, first):
    """The last plane lies `first` mm before the end, the others 2 mm apart."""
    distance = 2.0 * np.arange(5)
    area = SOLIDS[name](first + distance)
    cap = adaptive_cap(distance, area)
    x = np.linspace(0, first, 200001)
    exact = np.trapezoid(SOLIDS[name](x), x)
    # Eight pieces of four nodes; where the square root starts steeply they err by some per mille.
    assert cap.scale.mean() * cap.length_mm * area[0] == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize(
    "area",
    [
        [10.0, 10, 10, 10],  # a cylinder
        [10.0, 9, 8, 7],  # a cone's base
        [10.0, 11, 12, 13],  # would close ten slices further on
        [5.0, 20, 3, 40],  # no trend
        [5.0, 20],
    ],
)
def test_other_ends_are_flat(area):
    cap = adaptive_cap(3.0 * np.arange(len(area)), np.array(area))
    assert cap.length_mm == 1.5
    assert cap.scale == pytest.approx(np.ones(len(cap.scale)), abs=0.06)


def test_caps_never_exceed_one_slice():
    distance = 2.0 * np.arange(5)
    area = SOLIDS["sphere"](2.9 + distance)  # the pole lies 2.9 mm on, but the next plane is empty
    assert adaptive_cap(distance, area).length_mm <= 2.0
