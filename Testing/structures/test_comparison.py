"""Comparison of structures against closed forms and against programs of other people."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st

from RTPipelineLib.errors import GeometryError
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Contours, Mask
from RTPipelineLib.structures.comparison import added_path_length, compare, comparison_grid
from RTPipelineLib.structures.surfels import distances, surface_of


def grid(spacing=(1.0, 1.0, 1.0), shape=(40, 50, 60), direction=None, origin=(-10.0, 5.0, 30.0)):
    return Grid(np.array(origin), np.eye(3) if direction is None else direction, spacing, shape)


def ball(where: Grid, centre_mm, radius_mm: float, name: str = "ball") -> Mask:
    k, j, i = np.indices(where.shape)
    points = where.to_lps(np.stack([i, j, k], axis=-1).astype(float))
    inside = np.linalg.norm(points - np.asarray(centre_mm), axis=-1) <= radius_mm
    return Mask(name, inside, where)


def circles(radius_mm: float, step_mm: float, centre=(0.0, 0.0, 0.0), name="s") -> Contours:
    """A sphere as circles, symmetric about its centre."""
    count = int(radius_mm / step_mm - 0.5) + 1
    heights = (np.arange(-count, count) + 0.5) * step_mm
    loops = []
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    for z in heights[np.abs(heights) < radius_mm]:
        r = math.sqrt(radius_mm**2 - z**2)
        loop = np.stack([r * np.cos(angle), r * np.sin(angle), np.full(200, z)], axis=1)
        loops.append(loop + np.asarray(centre))
    return Contours.from_loops(name, loops, frame_uid="1.2")


@pytest.mark.parametrize("shift", [4.0, 10.0, 18.0])
def test_two_spheres_have_the_dice_of_the_lens(shift):
    """Lens of two spheres: pi (4R + d)(2R - d)^2 / 12. Labels of 0.5 mm voxels: 0.005."""
    radius = 15.0
    a = circles(radius, 0.5)
    b = circles(radius, 0.5, (shift, 0, 0))
    found = compare(a, b, tolerance_mm=1.0)
    lens = math.pi * (4 * radius + shift) * (2 * radius - shift) ** 2 / 12
    volume = 4 / 3 * math.pi * radius**3
    assert found.volume_a_cc == pytest.approx(volume / 1000, rel=5e-3)
    assert found.dice == pytest.approx(lens / volume, abs=5e-3)
    assert found.jaccard == pytest.approx(found.dice / (2 - found.dice), rel=1e-9)
    # The farthest point of either lies on the line of centres; half a voxel each.
    assert found.hausdorff_mm == pytest.approx(shift, abs=0.5)
    assert (found.shift_x_mm, found.shift_mm) == pytest.approx((shift, shift), abs=0.01)
    assert found.shift_y_mm == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.1, 3.0), (2.0, 2.0, 1.0)])
def test_concentric_spheres_lie_the_difference_of_radii_apart(spacing):
    """Surface elements lie in the middle of cells: within half a cell's diagonal."""
    where = grid(spacing, tuple(int(80 / s) for s in reversed(spacing)))
    centre = where.to_lps((np.array(where.size_ijk) - 1) / 2)
    a, b = ball(where, centre, 30), ball(where, centre, 25)
    found = compare(a, b, tolerance_mm=5 + np.linalg.norm(spacing))
    slack = np.linalg.norm(spacing) / 2
    assert found.mean_surface_distance_mm == pytest.approx(5, abs=slack)
    assert found.hausdorff_mm == pytest.approx(5, abs=2 * slack)
    assert found.hausdorff95_mm <= found.hausdorff_mm
    assert found.surface_dice == 1
    # Marching cubes of a binary sphere are rough: 5 to 15 % too much area.
    area = surface_of(a.array, where.k_positions_mm, where.spacing_mm).areas_mm2.sum()
    assert 1.0 < area / (4 * math.pi * 30**2) < 1.2


def test_boxes_moved_by_whole_voxels():
    """Two boxes of 10 x 10 x 4 voxels, moved by 3 voxels of 2 mm along i."""
    where = grid((2.0, 1.0, 3.0), (10, 20, 30))
    labels = np.zeros((2, *where.shape), dtype=bool)
    labels[0, 3:7, 5:15, 5:15] = True
    labels[1, 3:7, 5:15, 8:18] = True
    found = compare(*(Mask(n, label, where) for n, label in zip("ab", labels, strict=True)))
    assert found.dice == pytest.approx(0.7, rel=1e-12)
    assert found.volume_a_cc == pytest.approx(4 * 10 * 10 * 6 / 1000, rel=1e-12)
    assert found.hausdorff_mm == pytest.approx(6, rel=1e-12)
    assert found.shift_x_mm == pytest.approx(6, rel=1e-12)
    # Per slice 22 of 36: 3 pixels of each side along i, and both ends' 8 others.
    assert found.added_path_length_mm == pytest.approx(4 * (3 + 3 + 8 + 8) * math.sqrt(2))


@given(st.integers(1, 6), st.integers(0, 5), st.integers(0, 5), st.sampled_from([0.5, 1.0, 2.5]))
def test_axes_and_order_do_not_matter(size, di, dk, spacing_k):
    where = grid((1.0, 1.0, spacing_k), (16, 16, 16))
    a, b = (np.zeros(where.shape, dtype=bool) for _ in range(2))
    a[4 : 4 + size, 4 : 4 + size, 4 : 4 + size] = True
    b[4 + dk : 4 + dk + size, 4 : 4 + size, 4 + di : 4 + di + size] = True
    one, other = Mask("a", a, where), Mask("b", b, where)
    there, back = compare(one, other), compare(other, one)
    for name in ("dice", "hausdorff_mm", "mean_surface_distance_mm", "surface_dice", "shift_mm"):
        assert getattr(there, name) == pytest.approx(getattr(back, name), rel=1e-12)
    assert there.shift_x_mm == pytest.approx(-back.shift_x_mm, abs=1e-9)
    assert compare(one, one).dice == 1 and compare(one, one).hausdorff_mm == 0


def test_an_oblique_grid_gives_the_same_numbers():
    angle = math.radians(25)
    turn = np.array(
        [[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]]
    )
    found = []
    for direction in (np.eye(3), turn):
        where = grid((1.0, 1.2, 2.0), (30, 40, 50), direction)
        centre = where.to_lps(np.array([24.0, 19.0, 14.0]))
        moved = where.to_lps(np.array([29.0, 19.0, 16.0]))
        found.append(compare(ball(where, centre, 12.1), ball(where, moved, 12.1)))
    plain, oblique = found
    for name in ("dice", "hausdorff95_mm", "mean_surface_distance_mm", "added_path_length_mm"):
        assert getattr(plain, name) == pytest.approx(getattr(oblique, name), rel=1e-9)
    assert oblique.shift_mm == pytest.approx(plain.shift_mm, rel=1e-6)
    assert oblique.shift_x_mm != pytest.approx(plain.shift_x_mm, abs=0.1)


def test_empty_structures_have_no_distances():
    where = grid()
    some = ball(where, (10, 20, 40), 8)
    nothing = Mask("none", np.zeros(where.shape, dtype=bool), where)
    found = compare(some, nothing)
    assert found.dice is None and found.hausdorff_mm is None
    assert found.volume_b_cc == 0 and found.volume_a_cc > 0 and found.flags == ("b-is-empty",)
    empty = Contours.from_loops("empty", [])
    assert set(compare(empty, empty).flags) == {"a-is-empty", "b-is-empty"}


def test_frames_of_reference_must_agree():
    other = replace(circles(5, 1), frame_uid="9.9")
    with pytest.raises(GeometryError, match="different frames"):
        compare(circles(5, 1), other)


def test_the_grid_of_contours_follows_their_planes():
    a, b = circles(15, 3.0), circles(12, 2.0, (3, 0, 1))
    found = comparison_grid(a, b)
    assert found.spacing_mm == pytest.approx([0.5, 0.5, 2.0])
    planes = found.origin_mm[2] + found.k_positions_mm
    first = a.points_mm[:, 2].min()
    assert np.abs(planes - first).min() < 1e-6
    corners = found.corners_mm()
    for item in (a, b):
        assert (corners.min(0) < item.points_mm.min(0)).all()
        assert (corners.max(0) > item.points_mm.max(0)).all()
    huge = comparison_grid(circles(250, 1.0), circles(250, 1.0))
    assert np.prod(huge.shape) < 9e6


# -- programs of other people ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Two ragged labels with holes and bits, as no closed form has them."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(5)
    field = gaussian_filter(random.normal(size=(20, 36, 40)), 2.5)
    other = field + 0.4 * gaussian_filter(random.normal(size=field.shape), 2.0)
    inner = (slice(2, -2),) * 3
    labels = np.zeros((2, *field.shape), dtype=bool)
    labels[0][inner] = field[inner] > 0.05
    labels[1][inner] = other[inner] > 0.05
    return labels[0], labels[1]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 1.3, 3.0)])
def test_surface_measures_of_deepmind(blobs, spacing):
    """The same definition: equal to rounding."""
    theirs = pytest.importorskip("surface_distance", reason="surface-distance is not installed")
    kji = tuple(reversed(spacing))
    where = grid(spacing, blobs[0].shape)
    raw = theirs.compute_surface_distances(*blobs, kji)
    found = compare(*(Mask("x", label, where) for label in blobs), tolerance_mm=2.0)
    averages = theirs.compute_average_surface_distance(raw)
    assert found.mean_surface_distance_mm == pytest.approx(np.mean(averages), rel=1e-9)
    for name, percent in (("hausdorff_mm", 100), ("hausdorff95_mm", 95)):
        expected = theirs.compute_robust_hausdorff(raw, percent)
        assert getattr(found, name) == pytest.approx(expected, rel=1e-9)
    expected = theirs.compute_surface_dice_at_tolerance(raw, 2.0)
    assert found.surface_dice == pytest.approx(expected, rel=1e-9)
    assert found.dice == pytest.approx(theirs.compute_dice_coefficient(*blobs), rel=1e-9)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 1.3, 3.0)])
def test_overlap_and_distances_of_itk(blobs, spacing):
    """Overlap is the same; ITK's distance goes from voxel to voxel of the contour, so its largest
    one is within a voxel of ours."""
    where = grid(spacing, blobs[0].shape)
    images = []
    for label in blobs:
        image = SimpleITK.GetImageFromArray(label.astype(np.uint8))
        image.SetSpacing(spacing)
        images.append(image)
    found = compare(*(Mask("x", label, where) for label in blobs))
    overlap = SimpleITK.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*images)
    assert found.dice == pytest.approx(overlap.GetDiceCoefficient(), rel=1e-9)
    assert found.jaccard == pytest.approx(overlap.GetJaccardCoefficient(), rel=1e-9)
    contours = [SimpleITK.LabelContour(image, True) for image in images]
    far = []
    for one, other in (contours, contours[::-1]):
        map_mm = SimpleITK.Abs(SimpleITK.SignedMaurerDistanceMap(other, False, False, True))
        far.append(SimpleITK.GetArrayFromImage(map_mm)[SimpleITK.GetArrayFromImage(one) > 0].max())
    assert found.hausdorff_mm == pytest.approx(max(far), abs=np.linalg.norm(spacing))


def test_distances_between_surfaces_are_those_of_all_pairs(blobs):
    k = np.arange(20) * 3.0
    a, b = (surface_of(label, k, np.array([0.8, 1.3, 3.0])) for label in blobs)
    some = np.arange(0, len(a.points_mm), 97)
    every = np.linalg.norm(a.points_mm[some, None] - b.points_mm[None], axis=2).min(axis=1)
    mm = np.sort(distances(type(a)(a.points_mm[some], a.areas_mm2[some]), b).mm)
    assert mm == pytest.approx(np.sort(every), rel=1e-12)


def test_uneven_slices_have_their_own_thickness():
    k = np.array([0.0, 1.0, 2.0, 5.0, 8.0])
    label = np.zeros((5, 6, 6), dtype=bool)
    label[1:4, 2:4, 2:4] = True
    surface = surface_of(label, k, np.array([1.0, 1.0, 1.0]))
    middles = np.unique(np.round(surface.points_mm[:, 0], 9))
    assert middles == pytest.approx([0.5, 1.5, 3.5, 6.5])


def test_added_path_of_nothing_new_is_zero():
    label = np.zeros((3, 9, 9), dtype=bool)
    label[1, 2:7, 2:7] = True
    assert added_path_length(label, label, np.ones(3)) == 0
    assert added_path_length(label, np.zeros_like(label), np.ones(3)) == 16
