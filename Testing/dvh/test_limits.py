"""Hostile structures: whatever is drawn, memory stays bounded and there is an answer."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from RTPipelineLib.dvh.engine import compute_dvh
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import DVH, Contours, Dose, Mask

# Windows of coverage (50 MB) and the work on one of them; contours themselves: about 250 bytes a
# vertex.
LIMIT_MB, BYTES_PER_VERTEX = 220, 300
RANDOM = np.random.default_rng(0)
DOSE = Dose(
    60 * RANDOM.random((150, 200, 200), dtype=np.float32),
    Grid([-250.0, -250.0, -150.0], np.eye(3), [2.5, 2.5, 2.0], (150, 200, 200)),
)


def square(z: float, half: float, x: float = 0.0) -> np.ndarray:
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half + x
    return np.hstack([corners, np.full((4, 1), float(z))])


def circle(z: float, radius: float, points: int, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    angle = 2 * np.pi * np.arange(points) / points
    flat = np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)
    return np.hstack([flat, np.full((points, 1), float(z))])


def scattered() -> list[np.ndarray]:
    return [
        circle(3 * z, 0.4, 6, *RANDOM.uniform(-150, 150, 2)) for z in range(3) for _ in range(1500)
    ]


def scribble() -> list[np.ndarray]:
    flat = RANDOM.uniform(-100, 100, (3000, 2))
    return [np.hstack([flat, np.full((3000, 1), z)]) for z in (0.0, 3.0)]


def zigzag() -> list[np.ndarray]:
    x, y = np.tile([-100.0, 100.0], 1000), np.linspace(-100, 100, 2000)
    return [np.stack([x, y, np.full(2000, z)], axis=1) for z in (0.0, 3.0)]


def spike(z: float) -> np.ndarray:
    return np.vstack([square(z, 40), [[1e6, 1e6, z]]])


# name: the loops, and the volume in cc where it has a closed form
SHAPES = {
    "planes every 0.01 mm": ([square(n * 0.01, 20) for n in range(4000)], 1.6 * 40),
    "a hundred thousand vertices a plane": (
        [circle(3 * n, 100, 100_000) for n in range(3)],
        math.pi * 10 * 9,
    ),
    "nested, ten thousand vertices": (
        [circle(3 * n, r, 10_000) for n in range(2) for r in (100, 90)],
        math.pi * (100**2 - 90**2) * 6 / 1000,
    ),
    "nearly equal, ten thousand vertices": (
        [circle(3 * n, 100, 10_000, x) for n in range(2) for x in (0, 0.001)],
        math.pi * 100**2 * 6 / 1000,
    ),
    "thousands of scattered loops": (scattered(), None),
    "thin diagonal rod": (
        [circle(z, 1, 20, z, z) for z in range(-140, 140)],
        None,  # sections that do not overlap fade into each other
    ),
    "thin diagonal slivers": (
        [
            np.array([[-240, -240, z], [240, 240, z], [240, 240.5, z]], dtype=float)
            for z in range(0, 140)
        ],
        0.5 * 480 / 2 * 140 / 1000,
    ),
    "a km wide": ([square(3 * n, 1e6) for n in range(5)], 4e12 * 15 / 1000),
    "a km away": ([square(3 * n, 50, 1e6) for n in range(5)], 10_000 * 15 / 1000),
    "planes a km apart": ([square(1e6 * n, 50) for n in range(-2, 3)], 1e4 * 5e6 / 1000),
    "one vertex a km away": ([spike(3 * n) for n in range(5)], None),
    "a scribble": (scribble(), None),
    "a zigzag": (zigzag(), None),
    "as wide as the dose": ([square(z, 240) for z in range(-60, 60)], 480**2 * 120 / 1000),
}


def peak_mb(loops: list[np.ndarray]) -> tuple[DVH, float]:
    contours = Contours.from_loops("hostile", loops)
    tracemalloc.start()
    dvh = compute_dvh(contours, DOSE)
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return dvh, peak


@pytest.mark.parametrize("name", SHAPES)
def test_memory_stays_bounded(name):
    loops, volume_cc = SHAPES[name]
    dvh, peak = peak_mb(loops)
    vertices = sum(len(loop) for loop in loops)
    assert peak < LIMIT_MB + vertices * BYTES_PER_VERTEX / 1e6
    if volume_cc is not None:
        assert dvh.volume_cc == pytest.approx(volume_cc, rel=1e-4)
    else:
        assert dvh.volume_cc > 0 or "contour-too-tangled" in dvh.flags


def test_what_is_too_tangled_says_so():
    dvh, _ = peak_mb(scribble())
    assert dvh.flags == ("contour-too-tangled",)
    assert math.isnan(dvh.volume_cc)


@settings(deadline=None, max_examples=25)
@given(
    st.integers(2, 30),
    st.floats(-3, 6),
    st.floats(-2, 6),
    st.integers(3, 400),
    st.tuples(*[st.floats(-1e6, 1e6)] * 3),
    st.booleans(),
)
def test_memory_of_any_stack(planes, log_step, log_radius, points, centre, here):
    """Steps from 0.001 mm to 1 km, radii from 0.01 mm to 1 km, anywhere or in the dose."""
    step, radius = 10**log_step, 10**log_radius
    loops = [circle(n * step, radius, points) for n in range(planes)]
    if not here:
        loops = [loop + np.array(centre) for loop in loops]
    dvh, peak = peak_mb(loops)
    assert peak < LIMIT_MB
    assert math.isnan(dvh.volume_cc) or dvh.volume_cc >= 0


def test_memory_of_a_mask_as_large_as_an_image():
    share = np.zeros((60, 512, 512), dtype=bool)
    share[2:-2, 30:-30, 30:-30] = True
    grid = Grid([-250.0, -250.0, -60.0], np.eye(3), [0.98, 0.98, 2.0], share.shape)
    tracemalloc.start()
    dvh = compute_dvh(Mask("body", share, grid), DOSE)
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    assert dvh.covered_cc == pytest.approx(56 * 452**2 * 0.98**2 * 2 / 1000, rel=1e-5)
    assert peak < LIMIT_MB
