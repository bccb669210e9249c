"""Planes through a course: what lies where in a picture, against positions and closed forms."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Contours, Mask
from RTPipelineLib.report.planes import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    View,
    grey,
    jpeg,
    window_for,
)
from RTPipelineLib.structures.extent import box_of

LOW, HIGH = np.array([-60.0, -50.0, -40.0]), np.array([60.0, 50.0, 40.0])
PLANES = (AXIAL, CORONAL, SAGITTAL)


def area(loops) -> float:
    """Enclosed area (mm2), holes subtracted: loops around holes run the other way round."""
    total = 0.0
    for loop in loops:
        x, y = loop.T
        total += 0.5 * float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))
    return abs(total)


def blob(view: View, point_mm: np.ndarray) -> tuple[float, float]:
    """Where in the picture a small bright ball at a point of an oblique image is seen (mm)."""
    turned = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()
    grid = Grid(turned @ np.full(3, -90.0), turned, np.full(3, 3.0), (61, 61, 61))
    index = np.stack(np.meshgrid(*[np.arange(61.0)] * 3, indexing="ij")[::-1], axis=-1)
    distance = np.linalg.norm(grid.to_lps(index) - point_mm, axis=-1)
    values, _ = view.sampled(np.exp(-((distance / 8) ** 2)).astype(np.float32), grid)
    rows, columns = np.indices(values.shape)
    weight = values**2 / (values**2).sum()
    return (
        float((weight * (columns + 0.5)).sum() * view.pixel_mm),
        float((weight * (rows + 0.5)).sum() * view.pixel_mm),
    )


@pytest.mark.parametrize("plane", PLANES, ids=lambda plane: plane.name)
@settings(max_examples=8, deadline=None)
@given(st.tuples(st.floats(-25, 25), st.floats(-20, 20), st.floats(-15, 15)))
def test_a_point_of_an_oblique_image_is_seen_at_its_place(plane, point):
    point_mm = np.array(point)
    view = View.of(plane, point_mm[plane.axis], LOW, HIGH)
    # Image and picture have voxels of 3 and 0.5 mm; the ball is 8 mm wide.
    assert np.allclose(blob(view, point_mm), view.place_of(point_mm), atol=0.5)


def test_pictures_are_seen_as_radiologists_see_them():
    """LPS: x to the patient's left, y backwards, z to the head."""
    left, back, head = np.diag([30.0, 25.0, 20.0])
    middle = (60.0, 50.0)
    axial, coronal, sagittal = (View.of(plane, 0.0, LOW, HIGH) for plane in PLANES)
    assert axial.place_of(np.zeros(3)) == pytest.approx(middle, abs=0.6)
    assert axial.place_of(left)[0] - axial.place_of(np.zeros(3))[0] == pytest.approx(30)
    assert axial.place_of(back)[1] - axial.place_of(np.zeros(3))[1] == pytest.approx(25)
    assert coronal.place_of(left)[0] - coronal.place_of(np.zeros(3))[0] == pytest.approx(30)
    assert coronal.place_of(head)[1] - coronal.place_of(np.zeros(3))[1] == pytest.approx(-20)
    assert sagittal.place_of(back)[0] - sagittal.place_of(np.zeros(3))[0] == pytest.approx(25)
    assert sagittal.place_of(head)[1] - sagittal.place_of(np.zeros(3))[1] == pytest.approx(-20)
    assert (AXIAL.letters, CORONAL.letters) == (("R", "L", "A", "P"), ("R", "L", "H", "F"))
    assert SAGITTAL.letters == ("A", "P", "H", "F")


def cylinder(radius_mm: float, spacing_mm: float, height_mm: float, hole_mm: float = 0) -> Contours:
    """Contours of an upright cylinder around (10, -5), from -height/2 on, perhaps with a hole."""
    angle = np.linspace(0, 2 * math.pi, 120, endpoint=False)
    loops = []
    for z in np.arange(-height_mm / 2 + spacing_mm / 2, height_mm / 2, spacing_mm):
        for r in (radius_mm, hole_mm) if hole_mm else (radius_mm,):
            x, y = 10 + r * np.cos(angle), -5 + r * np.sin(angle)
            loops.append(np.stack([x, y, np.full_like(x, z)], axis=1))
    return Contours.from_loops("C", loops)


def test_a_cylinder_is_a_disc_and_a_rectangle():
    """Areas to 1 %: the outline may miss by 0.3 pixels of 0.55 mm on a circumference of 126 mm."""
    structure = cylinder(20, 3, 48)
    disc = View.of(AXIAL, 1.5, LOW, HIGH).region(structure, "half-slice", "interpolate")
    assert area(disc) == pytest.approx(math.pi * 400, rel=0.01)
    assert np.mean(disc[0], axis=0) == pytest.approx([70, 45], abs=0.5)
    front = View.of(CORONAL, -5.0, LOW, HIGH).region(structure, "half-slice", "interpolate")
    assert area(front) == pytest.approx(40 * 48, rel=0.01)
    beside = View.of(SAGITTAL, 50.0, LOW, HIGH).region(structure, "half-slice", "interpolate")
    assert beside == ()


def test_holes_stay_open():
    structure = cylinder(20, 3, 48, hole_mm=8)
    disc = View.of(AXIAL, 1.5, LOW, HIGH).region(structure, "half-slice", "interpolate")
    assert len(disc) == 2
    assert area(disc) == pytest.approx(math.pi * (400 - 64), rel=0.01)


def test_a_mask_is_cut_like_contours():
    grid = Grid([-40, -40, -30], np.eye(3), [1, 1, 2], (31, 81, 81))
    k, j, i = np.indices(grid.shape)
    inside = ((i - 40) ** 2 + (j - 40) ** 2 <= 15**2) & (k > 5) & (k < 25)
    disc = View.of(AXIAL, 0.0, LOW, HIGH).region(Mask("M", inside, grid), "none", "slab")
    assert area(disc) == pytest.approx(inside[15].sum(), rel=0.02)
    low, high = box_of([Mask("M", inside, grid)])
    assert low == pytest.approx([-15.5, -15.5, -19]) and high == pytest.approx([15.5, 15.5, 19])
    assert box_of([Mask("M", np.zeros(grid.shape, bool), grid)]) is None


def test_isodoses_of_a_linear_dose_are_half_planes():
    """1 Gy/mm along x, -60..60 mm: at least 30 Gy from x = -30 on, 90 of 120 mm."""
    grid = Grid([-60, -60, -60], np.eye(3), [4, 4, 4], (31, 31, 31))
    dose = np.broadcast_to(np.linspace(0, 120, 31, dtype=np.float32), grid.shape)
    view = View.of(AXIAL, 0.0, LOW, HIGH)
    values, there = view.sampled(np.ascontiguousarray(dose), grid)
    assert there.min() == 1
    (loop,) = view.at_least(values, 30.0)
    # The rim of the picture counts as no dose: half a pixel is lost on three sides.
    assert area((loop,)) == pytest.approx(90 * 100, rel=0.01)
    assert loop[:, 0].min() == pytest.approx(30, abs=0.05)


def test_beyond_the_image_it_is_black():
    grid = Grid([0, -60, -60], np.eye(3), [2, 2, 2], (61, 61, 31))
    view = View.of(AXIAL, 0.0, LOW, HIGH)
    values, there = view.sampled(np.full(grid.shape, 500, np.int16), grid)
    pixels = grey(values, there, (0.0, 500.0))
    columns = pixels.shape[1]
    assert pixels[:, : columns // 2 - 4].max() == 0
    assert pixels[:, columns // 2 + 4 :].min() == 255


def test_windows():
    assert window_for("CT", np.zeros(3)) == (-160.0, 240.0)
    low, high = window_for("MR", np.append(np.linspace(0, 100, 1000), np.nan))
    assert 0 < low < 2 and 99 < high < 100
    assert window_for("MR", np.full(3, np.nan)) == (0.0, 1.0)


def test_pictures_are_jpeg_that_another_program_reads():
    image = pytest.importorskip("PIL.Image")
    pixels = np.tile(np.linspace(0, 255, 120), (80, 1)).astype(np.uint8)
    data = jpeg(pixels)
    assert data == jpeg(pixels)
    with image.open(io.BytesIO(data)) as picture:
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "L", (120, 80))
        assert np.abs(np.asarray(picture, int) - pixels).mean() < 4
