"""Structures made from others: order, failures, names, clips, and what they measure."""

from __future__ import annotations

import math

import numpy as np
import pytest

from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Contours, Mask
from RTPipelineLib.structures.derived import DERIVED, Definition, Expression, derive, grid_around
from RTPipelineLib.structures.margins import Margins

GRID = Grid([-60.0, -60.0, -60.0], np.eye(3), [1.0, 1.0, 3.0], (41, 121, 121))


def cylinder(name: str, radius: float, low=-30.0, high=30.0, x=0.0) -> Contours:
    angle = np.linspace(0, 2 * np.pi, 121)[:-1]
    area = math.sqrt(angle[1] / math.sin(angle[1]))
    loops = [
        np.stack(
            [x + area * radius * np.cos(angle), area * radius * np.sin(angle), np.full(120, z)],
            axis=1,
        )
        for z in np.arange(low + 1.5, high, 3.0)
    ]
    return Contours.from_loops(name, loops)


ROIS = {
    "BODY": cylinder("BODY", 40, -57, 57),
    "PTV": cylinder("PTV", 15, x=28.0),
    "Rectum": cylinder("Rectum", 8, x=10.0),
}


def cc(mask: Mask) -> float:
    return float(mask.array.sum(dtype=np.float64)) * mask.grid.voxel_volume_mm3 / 1000


def one(expression: Expression, **more: Contours) -> Mask:
    result = derive([Definition("X", expression)], {**ROIS, **more}, GRID)
    assert not result.failed
    return result.masks["X"]


def test_sources_may_come_in_any_order():
    result = derive(
        [
            Definition("B", Expression(("A", "Rectum"), "union")),
            Definition("A", Expression(("PTV", "Rectum"), "subtract")),
        ],
        ROIS,
        GRID,
    )
    assert list(result.masks) == ["B", "A"]
    assert cc(result.masks["B"]) == pytest.approx(cc(one(Expression(("PTV", "Rectum")))), rel=1e-3)
    assert result.masks["A"].source == DERIVED


def test_a_missing_source_fails_its_structure_alone_and_names_the_near_ones():
    result = derive(
        [
            Definition("A", Expression(("Rektum",))),
            Definition("B", Expression(("A", "PTV"))),
            Definition("C", Expression(("ptv",))),
        ],
        ROIS,
        GRID,
    )
    assert result.failed["A"] == "there is no structure Rektum; similar: Rectum"
    assert "A could not be made" in result.failed["B"]
    assert list(result.masks) == ["C"]


def test_circles_fail_with_their_path_and_the_rest_is_made():
    result = derive(
        [
            Definition("A", Expression(("B",))),
            Definition("B", Expression(("PTV",), within=Expression(("A",)))),
            Definition("C", Expression(("PTV",))),
        ],
        ROIS,
        GRID,
    )
    assert set(result.failed) == {"A", "B"}
    assert "needs itself: " in result.failed["A"]
    assert "A" in result.failed["A"]
    assert "B" in result.failed["A"]
    assert list(result.masks) == ["C"]


@pytest.mark.parametrize(
    ("available", "reason"),
    [
        ({"E": Contours.from_loops("E", [])}, "E has no volume"),
        ({"e": ROIS["PTV"], "É": ROIS["PTV"]}, "similar: e"),
    ],
)
def test_sources_without_volume_or_with_another_name(available, reason):
    name = "E" if "E" in available else "eE"
    result = derive([Definition("X", Expression((name,)))], available, GRID)
    assert reason in result.failed["X"] or "there is no structure" in result.failed["X"]


def test_a_name_that_an_roi_has_is_refused():
    result = derive([Definition("PTV", Expression(("PTV",), margins=Margins.even(3)))], ROIS, GRID)
    assert "also the name of an ROI" in result.failed["PTV"]


def test_a_ptv_cropped_from_the_skin():
    inner = Expression(("BODY",), margins=Margins.even(-5.0))
    cropped = one(Expression(("PTV", inner), "intersection"))
    lens = lens_area(15, 35, 28)
    assert cc(cropped) == pytest.approx(lens * 60 / 1000, rel=0.01)
    same = one(Expression(("PTV",), within=inner))
    assert cc(same) == pytest.approx(cc(cropped), rel=1e-3)
    swapped = one(Expression((inner, "PTV"), "intersection"))
    assert cc(swapped) == pytest.approx(cc(cropped), rel=1e-3)


def lens_area(a: float, b: float, d: float) -> float:
    """Common area of two circles of radii a and b whose centres are d apart."""
    x = (d * d + a * a - b * b) / (2 * d)
    y = math.sqrt(a * a - x * x)
    return a * a * math.acos(x / a) + b * b * math.acos((d - x) / b) - d * y


def test_a_ring_is_the_difference_of_two_margins():
    ring = one(
        Expression(
            (
                Expression(("Rectum",), margins=Margins.even(10.0)),
                Expression(("Rectum",), margins=Margins.even(5.0)),
            ),
            "subtract",
        )
    )

    def grown(r: float) -> float:  # Steiner's formula for a cylinder of radius 8 and height 60
        corner = 2 * math.pi * (math.pi / 4 * r * r * 8 + 2 / 3 * r**3 / 2)
        return math.pi * 64 * (60 + 2 * r) + 60 * math.pi * (16 * r + r * r) + 2 * corner

    assert cc(ring) == pytest.approx((grown(10) - grown(5)) / 1000, rel=0.02)


def test_minus_and_within_clip_after_the_margin():
    clipped = one(Expression(("Rectum",), margins=Margins.even(8.0), within="BODY", minus="PTV"))
    plain = one(Expression(("Rectum",), margins=Margins.even(8.0)))
    inside = one(Expression(("PTV",), within=Expression(("Rectum",), margins=Margins.even(8.0))))
    assert cc(clipped) == pytest.approx(cc(plain) - cc(inside), rel=0.01)


def test_an_empty_result_is_flagged():
    empty = one(Expression(("Rectum",), margins=Margins.even(-9.0)))
    assert "structure-empty" in empty.flags
    assert not empty.array.any()


def test_an_oblique_image_takes_margins_in_the_patients_directions():
    turn = math.radians(15)
    direction = np.array(
        [[1, 0, 0], [0, math.cos(turn), -math.sin(turn)], [0, math.sin(turn), math.cos(turn)]]
    )
    oblique = Grid([-60.0, -70, -50], direction, [1.0, 1, 3], (41, 121, 121))
    expression = Expression(("Rectum",), margins=Margins(left=6.0))
    result = derive([Definition("X", expression)], ROIS, oblique)
    grown = result.masks["X"]
    assert np.array_equal(grown.grid.direction, np.eye(3))
    # Margins of 0 on five sides: each of them is exact to a part of a fine voxel only.
    assert cc(grown) == pytest.approx((math.pi * 64 + 6 * 16) * 60 / 1000, rel=0.04)


def test_structures_without_an_image_have_a_grid_around_them():
    grid = grid_around(list(ROIS.values()), 2.0)
    for contours in ROIS.values():
        assert grid.contains(contours.points_mm).all()


@pytest.mark.parametrize("wide", [0.3, 0.6])
def test_a_drawn_structure_thinner_than_a_voxel_gets_its_margin(wide):
    loops = [
        [[-wide / 2, -10, z], [wide / 2, -10, z], [wide / 2, 10, z], [-wide / 2, 10, z]]
        for z in np.arange(-10.0, 11.0, 2.0)
    ]
    thin = Contours.from_loops("Nerve", [np.array(loop) for loop in loops])
    grid = Grid([-40.0, -40.0, -30.0], np.eye(3), [1.0, 1.0, 2.0], (31, 81, 81))
    definition = Definition("PRV", Expression(("Nerve",), margins=Margins.even(5.0)))
    result = derive([definition], {"Nerve": thin}, grid)
    mask = result.masks["PRV"]
    k, j, _ = (n // 2 for n in mask.array.shape)
    assert mask.flags == () and mask.array[k, j].sum() == pytest.approx(wide + 10, abs=0.05)
