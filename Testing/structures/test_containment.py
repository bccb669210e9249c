"""Shares of volume inside another structure, against solids whose common volume is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from RTPipelineLib.model import Contours
from RTPipelineLib.structures.containment import share_inside

PLANES = np.arange(-30.0, 30.1, 3.0)


def tube(radius: float, centre=(0.0, 0.0), planes=PLANES, turn=None, **fields) -> Contours:
    """A cylinder along z (or along the turned axis), its outline a polygon of 180 corners."""
    angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius + np.asarray(centre)
    points = np.concatenate([np.column_stack([ring, np.full(180, z)]) for z in planes])
    if turn is not None:
        points = points @ turn.T
    starts = np.arange(len(planes) + 1) * 180
    kinds = ("CLOSED_PLANAR",) * len(planes)
    values = {"name": "T", "number": 1, "points_mm": points, "starts": starts, "kinds": kinds}
    return Contours(**(values | {"frame_uid": "F"} | fields))


def lens(r: float, big: float, d: float) -> float:
    """Common area of two circles (closed form)."""
    if d <= big - r:
        return math.pi * r * r
    if d >= big + r:
        return 0.0
    a = r * r * math.acos((d * d + r * r - big * big) / (2 * d * r))
    b = big * big * math.acos((d * d + big * big - r * r) / (2 * d * big))
    s = (-d + r + big) * (d + r - big) * (d - r + big) * (d + r + big)
    return a + b - math.sqrt(s) / 2


@given(st.floats(0, 60), st.floats(0, 6.28))
def test_two_cylinders_by_the_closed_form(distance, angle):
    inner = tube(20.0, (distance * math.cos(angle), distance * math.sin(angle)))
    share = share_inside(inner, tube(30.0))
    # Cells of 1 mm along the common outline, and polygons for circles.
    assert share == pytest.approx(lens(20, 30, distance) / (math.pi * 400), abs=0.02)


def test_a_structure_is_inside_itself():
    assert share_inside(tube(20.0), tube(20.0)) == pytest.approx(1.0, abs=1e-6)


def test_ends_count_half_a_slice():
    short = tube(30.0, planes=PLANES[PLANES <= 0])  # to 1.5 mm above its last plane
    assert share_inside(tube(20.0), short) == pytest.approx(33.0 / 63.0, abs=0.01)


def test_planes_of_other_spacing_and_in_any_direction():
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    inner = tube(10.0, (3.0, 0.0), planes=np.arange(-20, 20.1, 2.5), turn=turn)
    outer = tube(20.0, planes=np.arange(-31, 32, 4.0), turn=turn)
    assert share_inside(inner, outer) == pytest.approx(1.0, abs=1e-3)
    assert share_inside(outer, inner) == pytest.approx(100 * 42.5 / (400 * 64), abs=0.01)


def test_what_cannot_be_compared_is_nan():
    whole = tube(20.0)
    empty = replace(whole, points_mm=np.empty((0, 3)), starts=np.zeros(1, int), kinds=())
    turned = tube(20.0, turn=np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]))
    for inner, outer in (
        (whole, replace(whole, frame_uid="G")),
        (whole, empty),
        (empty, whole),
        (whole, turned),
    ):
        assert math.isnan(share_inside(inner, outer))
