"""Grids, against the formula of DICOM PS3.3 C.7.6.2.1.1 and against SimpleITK."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK
from hypothesis import assume, example, given
from hypothesis import strategies as st

from RTPipelineLib.geometry import Grid

# Every way in which rows and columns can lie along the patient's axes: all patient positions of
# axial, sagittal and coronal images.
AXES = [sign * axis for axis in np.eye(3) for sign in (1.0, -1.0)]
ALIGNED = [(row, column) for row in AXES for column in AXES if abs(row @ column) < 0.5]

finite = st.floats(-500, 500, allow_nan=False)
spacings = st.floats(0.1, 8)
sizes = st.integers(1, 9)


def rotation(quaternion: tuple[float, float, float, float]) -> np.ndarray:
    """Rotation matrix of a quaternion (x, y, z, w) that need not have length 1."""
    x, y, z, w = np.array(quaternion) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


@st.composite
def directions(draw: st.DrawFn) -> np.ndarray:
    """Right-handed direction cosines: along the patient's axes, slightly off them, or anyhow."""
    row, column = draw(st.sampled_from(ALIGNED))
    aligned = np.column_stack([row, column, np.cross(row, column)])
    # Without subnormal numbers, for which SimpleITK's inverse of a matrix is nan.
    part = st.floats(-1, 1).map(lambda x: 0.0 if abs(x) < 1e-200 else x)
    turn = draw(st.tuples(part, part, part, st.sampled_from([1.0, 20.0, 1e4])))
    return rotation(turn) @ aligned


@st.composite
def grids(draw: st.DrawFn, uneven: bool | None = None, max_size: int = 9) -> Grid:
    """Grids of every kind; `uneven` True or False fixes whether the slices are evenly spaced."""
    nk, nj, ni = draw(st.tuples(*[st.integers(1, max_size)] * 3))
    uneven = draw(st.booleans()) if uneven is None else uneven
    offsets = None
    spacing = np.array(draw(st.tuples(spacings, spacings, spacings)))
    if uneven:
        nk = max(nk, 3)
        steps = np.array(draw(st.lists(spacings, min_size=nk - 1, max_size=nk - 1)))
        offsets = np.concatenate([[0.0], np.cumsum(steps)])
        assume(np.ptp(steps) > 0.05)
        spacing[2] = np.median(steps)
    return Grid(
        np.array(draw(st.tuples(finite, finite, finite))),
        draw(directions()),
        spacing,
        (nk, nj, ni),
        offsets,
    )


def all_indices(grid: Grid) -> np.ndarray:
    """(n, 3) the i, j, k of every voxel."""
    k, j, i = np.indices(grid.shape).reshape(3, -1)
    return np.column_stack([i, j, k]).astype(float)


def dicom_position(
    position: np.ndarray,
    orientation: np.ndarray,
    pixel_spacing: np.ndarray,
    offset: float,
    row: int,
    column: int,
) -> np.ndarray:
    """Equation C.7.6.2.1-1, with the frame moved by its Grid Frame Offset along the normal.

    X and Y are the row and column cosines; the column index is multiplied with the *second* number
    of Pixel Spacing (distance between columns), the row index with the first.
    """
    x, y = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.array(
        [x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0]]
    )
    along_row = x * pixel_spacing[1] * column
    along_column = y * pixel_spacing[0] * row
    return np.array(position) + along_row + along_column + normal * offset


# -- index <-> patient ----------------------------------------------------------------------------


@pytest.mark.parametrize(("row", "column"), ALIGNED)
def test_from_dicom_is_the_formula_of_the_standard(row: np.ndarray, column: np.ndarray) -> None:
    position, pixel_spacing, offsets = (-310.5, 42.25, -7.0), (2.5, 1.25), (0.0, 3.0, 6.0, 9.0)
    orientation = [*row, *column]
    grid = Grid.from_dicom(position, orientation, pixel_spacing, 5, 7, offsets)
    assert grid.shape == (4, 5, 7)
    for k, offset in enumerate(offsets):
        for r, c in [(0, 0), (4, 6), (2, 5)]:
            expected = dicom_position(position, orientation, pixel_spacing, offset, r, c)
            # sums of a few exact binary numbers: only the last bits may differ
            np.testing.assert_allclose(grid.to_lps([c, r, k]), expected, atol=1e-10)


@given(
    direction=directions(),
    position=st.tuples(finite, finite, finite),
    pixel_spacing=st.tuples(spacings, spacings),
    steps=st.lists(spacings, min_size=1, max_size=6),
    pick=st.tuples(st.integers(0, 4), st.integers(0, 6)),
)
def test_from_dicom_of_any_orientation_and_frame_spacing(
    direction: np.ndarray,
    position: tuple[float, float, float],
    pixel_spacing: tuple[float, float],
    steps: list[float],
    pick: tuple[int, int],
) -> None:
    offsets = np.concatenate([[0.0], np.cumsum(steps)])
    orientation = [*direction[:, 0], *direction[:, 1]]
    grid = Grid.from_dicom(position, orientation, pixel_spacing, 5, 7, offsets)
    r, c = pick
    for k, offset in enumerate(offsets):
        expected = dicom_position(position, orientation, pixel_spacing, offset, r, c)
        # frames within 1 um of an even ladder are taken as even
        np.testing.assert_allclose(grid.to_lps([c, r, k]), expected, atol=1.1e-3)


def test_from_dicom_of_a_single_frame_takes_the_given_thickness() -> None:
    grid = Grid.from_dicom((0, 0, 5), (1, 0, 0, 0, 1, 0), (1, 1), 4, 4, [0.0], single_frame_mm=2.5)
    assert grid.shape == (1, 4, 4)
    assert grid.spacing_mm[2] == 2.5
    assert grid.voxel_volume_mm3 == 2.5


@given(grids(), st.tuples(*[st.floats(-3, 12)] * 3))
def test_to_index_inverts_to_lps_inside_and_outside(grid: Grid, index: tuple) -> None:
    points = grid.to_lps(np.array(index))
    # the direction is orthonormal to double precision, positions reach 1e3 mm, spacing 0.1 mm
    np.testing.assert_allclose(grid.to_index(points), index, atol=1e-8)
    np.testing.assert_allclose(grid.to_lps(grid.to_index(points)), points, atol=1e-8)


@given(grids(uneven=False), st.tuples(*[st.floats(-3, 12)] * 3))
def test_simpleitk_has_the_same_positions(grid: Grid, index: tuple) -> None:
    image = SimpleITK.Image(*grid.size_ijk, SimpleITK.sitkUInt8)
    image.SetOrigin(grid.origin_mm.tolist())
    image.SetSpacing(grid.spacing_mm.tolist())
    image.SetDirection(grid.direction.ravel().tolist())
    there = image.TransformContinuousIndexToPhysicalPoint(index)
    np.testing.assert_allclose(grid.to_lps(index), there, atol=1e-9)
    back = image.TransformPhysicalPointToContinuousIndex(there)
    np.testing.assert_allclose(grid.to_index(there), back, atol=1e-8)


def test_uneven_slices_are_linear_between_and_continued_beyond() -> None:
    grid = Grid(np.zeros(3), np.eye(3), np.array([1, 1, 2.0]), (4, 1, 1), np.array([0, 2, 3, 7.0]))
    k = np.array([-1, 0, 0.5, 1.5, 2.25, 3, 4])
    z = np.array([-2, 0, 1, 2.5, 4, 7, 11.0])
    index = np.column_stack([np.zeros_like(k), np.zeros_like(k), k])
    np.testing.assert_allclose(grid.to_lps(index)[:, 2], z, atol=1e-12)
    np.testing.assert_allclose(grid.to_index(grid.to_lps(index))[:, 2], k, atol=1e-12)
    np.testing.assert_allclose(grid.k_positions_mm, [0, 2, 3, 7])


def test_offsets_that_are_even_to_a_micrometre_make_a_uniform_grid() -> None:
    even = Grid(np.zeros(3), np.eye(3), np.ones(3), (4, 1, 1), np.array([0, 2.5, 5.0005, 7.5]))
    assert even.is_uniform
    assert even.spacing_mm[2] == 2.5
    assert not Grid(
        np.zeros(3), np.eye(3), np.ones(3), (4, 1, 1), np.array([0, 2.5, 5.002, 7.5])
    ).is_uniform


def test_shapes_of_points_are_kept_and_arguments_are_not_changed() -> None:
    grid = Grid(np.zeros(3), np.eye(3), np.array([1, 1, 2.0]), (4, 3, 2), np.array([0, 2, 3, 7.0]))
    index = np.ones((2, 5, 3))
    points = grid.to_lps(index)
    assert points.shape == (2, 5, 3)
    grid.to_index(points)
    np.testing.assert_array_equal(index, 1.0)
    assert grid.to_lps(np.zeros(3)).shape == (3,)


def test_a_grid_cannot_be_changed() -> None:
    grid = Grid(np.zeros(3), np.eye(3), np.ones(3), (2, 2, 2))
    with pytest.raises(AttributeError):
        grid.shape = (1, 1, 1)
    for array in (grid.origin_mm, grid.direction, grid.spacing_mm):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 9.0


# -- extent ---------------------------------------------------------------------------------------


@given(grids())
def test_corners_are_the_extremes_of_all_voxels(grid: Grid) -> None:
    points = grid.to_lps(all_indices(grid)) @ grid.direction
    corners = grid.corners_mm() @ grid.direction
    assert corners.shape == (8, 3)
    np.testing.assert_allclose(corners.min(axis=0), points.min(axis=0), atol=1e-9)
    np.testing.assert_allclose(corners.max(axis=0), points.max(axis=0), atol=1e-9)
    assert len(np.unique(np.round(grid.corners_mm(edges=True), 6), axis=0)) == 8


@given(grids(uneven=False))
def test_edges_enclose_the_volume_of_all_voxels(grid: Grid) -> None:
    extent = np.ptp(grid.corners_mm(edges=True) @ grid.direction, axis=0)
    expected = grid.voxel_volume_mm3 * math.prod(grid.shape)
    assert np.prod(extent) == pytest.approx(expected, rel=1e-9)


@given(grids())
def test_contains_its_voxels_and_half_a_voxel_more(grid: Grid) -> None:
    assert grid.contains(grid.to_lps(all_indices(grid))).all()
    last = np.array(grid.size_ijk) - 1.0
    for axis in range(3):
        step = np.eye(3)[axis]
        assert grid.contains(grid.to_lps(last + 0.49 * step))
        assert not grid.contains(grid.to_lps(last + 0.51 * step))
        assert grid.contains(grid.to_lps(-0.49 * step))
        assert not grid.contains(grid.to_lps(-0.51 * step))


@given(grids())
def test_same_as_means_the_same_voxels(grid: Grid) -> None:
    def moved(by: float) -> Grid:
        return Grid(
            grid.origin_mm + by, grid.direction, grid.spacing_mm, grid.shape, grid.k_offsets_mm
        )

    assert grid.same_as(moved(5e-4))
    assert not grid.same_as(moved(0.01))
    larger = Grid(grid.origin_mm, grid.direction, grid.spacing_mm, (grid.shape[0], 40, 1))
    assert not grid.same_as(larger)


def test_same_as_looks_at_the_slices_between_the_ends() -> None:
    def grid(offsets: list[float]) -> Grid:
        return Grid(np.zeros(3), np.eye(3), np.ones(3), (4, 2, 2), np.array(offsets))

    assert not grid([0, 1, 3, 9]).same_as(grid([0, 2, 3, 9]))
    assert grid([0, 1, 3, 9]).same_as(grid([0, 1, 3, 9]))


@given(grids())
def test_the_order_of_sizes(grid: Grid) -> None:
    assert grid.size_ijk == tuple(reversed(grid.shape))
    np.testing.assert_allclose(grid.normal, grid.direction[:, 2])


# -- crop and union -------------------------------------------------------------------------------


@given(grids(), st.data())
def test_crop_keeps_every_voxel_where_it_was(grid: Grid, data: st.DataObject) -> None:
    parts = []
    for size in grid.shape:
        start = data.draw(st.integers(0, size - 1))
        parts.append(slice(start, data.draw(st.integers(start + 1, size))))
    cropped = grid.crop(*parts)
    positions = grid.to_lps(all_indices(grid)).reshape(*grid.shape, 3)[tuple(parts)]
    assert cropped.shape == positions.shape[:3]
    there = cropped.to_lps(all_indices(cropped)).reshape(positions.shape)
    # a crop of uneven slices may have become even to a micrometre
    np.testing.assert_allclose(there, positions, atol=1.1e-3)
    if grid.is_uniform:
        np.testing.assert_allclose(there, positions, atol=1e-9)


def test_crop_to_two_of_uneven_slices_keeps_their_distance() -> None:
    grid = Grid(np.zeros(3), np.eye(3), np.array([1, 1, 2.0]), (4, 1, 1), np.array([0, 2, 3, 7.0]))
    part = grid.crop(slice(2, 4), slice(None), slice(None))
    np.testing.assert_allclose(part.to_lps([[0, 0, 0], [0, 0, 1]])[:, 2], [3, 7])
    assert part.spacing_mm[2] == pytest.approx(4)


def test_crop_to_one_of_uneven_slices_stays_there() -> None:
    grid = Grid(np.zeros(3), np.eye(3), np.array([1, 1, 2.0]), (4, 1, 1), np.array([0, 2, 3, 7.0]))
    part = grid.crop(slice(3, 4), slice(None), slice(None))
    np.testing.assert_allclose(part.to_lps([0, 0, 0]), [0, 0, 7])
    assert part.shape == (1, 1, 1)


@pytest.mark.parametrize("part", [slice(0, 4, 2), slice(2, 2), slice(3, 1), slice(9, 12)])
def test_crop_refuses_steps_and_nothing(part: slice) -> None:
    grid = Grid(np.zeros(3), np.eye(3), np.ones(3), (4, 4, 4))
    with pytest.raises(ValueError, match="crop"):
        grid.crop(slice(None), part, slice(None))


@given(grids(uneven=True))
def test_uniform_slices_cover_the_same_extent_no_coarser(grid: Grid) -> None:
    uniform = grid.with_uniform_slices()
    assert uniform.is_uniform
    np.testing.assert_allclose(uniform.corners_mm(), grid.corners_mm(), atol=1e-6)
    finest = np.diff(grid.k_positions_mm).min()
    assert uniform.spacing_mm[2] <= finest * (1 + 1e-6)
    # and no finer than needed: with one slice less it would be coarser
    assert (uniform.shape[0] - 2) * finest < np.ptp(grid.k_positions_mm)


@given(st.lists(grids(max_size=5), min_size=1, max_size=3))
def test_union_covers_all_voxels_and_is_no_coarser_than_any(members: list[Grid]) -> None:
    union = Grid.union(members)
    assert union.is_uniform
    last = np.array(union.size_ijk) - 1
    for grid in members:
        index = union.to_index(grid.to_lps(all_indices(grid)))
        # a 1e-6 share of a voxel is the tolerance against one more row for a rounding error
        assert index.min() > -1e-5
        assert (index <= last + 1e-5).all()
    finest = min(grid.with_uniform_slices().voxel_volume_mm3 for grid in members)
    assert union.voxel_volume_mm3 <= finest * (1 + 1e-9)


@given(grids(uneven=False, max_size=6))
@example(Grid(np.array([0.1, 0.2, 0.3]), np.eye(3), np.array([0.1, 0.3, 0.7]), (3, 3, 3)))
def test_union_with_itself_or_a_part_is_itself(grid: Grid) -> None:
    part = grid.crop(*(slice(size // 2, size) for size in grid.shape))
    assert Grid.union([grid]).same_as(grid)
    assert Grid.union([grid, grid, part]).same_as(grid)


def test_union_of_neighbours_by_hand() -> None:
    left = Grid(np.zeros(3), np.eye(3), np.array([2, 2, 3.0]), (2, 3, 4))
    right = Grid(np.array([6, -2, 3.0]), np.eye(3), np.array([2, 2, 3.0]), (2, 3, 4))
    union = Grid.union([left, right])
    np.testing.assert_allclose(union.origin_mm, [0, -2, 0])
    assert union.shape == (3, 4, 7)
    np.testing.assert_allclose(union.spacing_mm, [2, 2, 3])


def test_union_takes_the_finest_spacing_along_the_nearest_axis() -> None:
    """The second grid's k axis lies along x: its 1 mm step counts for x."""
    base = Grid(np.zeros(3), np.eye(3), np.array([2, 2, 2.0]), (4, 4, 4))
    turned = np.column_stack([[0, 1, 0], [0, 0, 1], [1, 0, 0]]).astype(float)
    other = Grid(np.zeros(3), turned, np.array([9, 9, 1.0]), (7, 1, 1))
    union = Grid.union([base, other])
    np.testing.assert_allclose(union.spacing_mm, [1, 2, 2])
    assert union.shape == (4, 4, 7)


@given(st.lists(grids(max_size=5), min_size=1, max_size=2), st.integers(64, 2000))
def test_union_keeps_its_limit_and_still_covers(members: list[Grid], limit: int) -> None:
    union = Grid.union(members, max_voxels=limit)
    assert math.prod(union.shape) <= limit
    for grid in members:
        index = union.to_index(grid.corners_mm())
        assert index.min() > -1e-5
        assert (index <= np.array(union.size_ijk) - 1 + 1e-5).all()


def test_union_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no grid"):
        Grid.union([])


# -- what is no grid ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"spacing_mm": [1, 0, 1]},
        {"spacing_mm": [1, -2, 1]},
        {"spacing_mm": [1, np.nan, 1]},
        {"origin_mm": [0, np.inf, 0]},
        {"origin_mm": [0, 0]},
        {"shape": (0, 1, 1)},
        {"shape": (1, 1)},
        {"direction": np.ones((3, 3))},
        {"direction": np.diag([1, 1, 1.01])},
        {"k_offsets_mm": [0, 1]},
        {"k_offsets_mm": [1, 2, 3, 4]},
        {"k_offsets_mm": [0, 2, 2, 4]},
        {"k_offsets_mm": [0, 2, 1, 4]},
        {"k_offsets_mm": [0, -2, -3, -4]},
    ],
)
def test_what_is_no_grid_is_refused(change: dict[str, object]) -> None:
    fields = {
        "origin_mm": np.zeros(3),
        "direction": np.eye(3),
        "spacing_mm": np.ones(3),
        "shape": (4, 2, 2),
    }
    Grid(**fields)
    with pytest.raises(ValueError, match=r"\w"):
        Grid(**{**fields, **change})


@pytest.mark.parametrize("orientation", [(0, 0, 0, 0, 1, 0), (1, 0, 0, 1, 0, 0)])
def test_orientations_without_a_plane_are_refused(orientation: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"no direction|right angles"):
        Grid.from_dicom((0, 0, 0), orientation, (1, 1), 2, 2, [0.0, 1.0])


# -- real headers ---------------------------------------------------------------------------------


def test_real_dose_headers_in_all_patient_positions(shared_data) -> None:
    """The formula of the standard for every dose header of the `orientations` folder."""
    import pydicom

    checked = 0
    for path in sorted((shared_data / "orientations").rglob("*")):
        if not path.is_file() or path.suffix.lower() not in {".dcm", ""}:
            continue
        try:
            ds = pydicom.dcmread(path, stop_before_pixels=True)
        except pydicom.errors.InvalidDicomError:
            continue
        if ds.get("Modality") != "RTDOSE":
            continue
        offsets = np.array(ds.GridFrameOffsetVector, dtype=float)
        if offsets[0] != 0 or (offsets.size > 1 and offsets[1] < 0):
            continue  # the reader's part: absolute positions and descending frames
        orientation = np.array(ds.ImageOrientationPatient, dtype=float)
        spacing = np.array(ds.PixelSpacing, dtype=float)
        position = np.array(ds.ImagePositionPatient, dtype=float)
        grid = Grid.from_dicom(position, orientation, spacing, ds.Rows, ds.Columns, offsets)
        for k, r, c in [(0, 0, 0), (offsets.size - 1, ds.Rows - 1, ds.Columns - 1), (0, 1, 0)]:
            expected = dicom_position(position, orientation, spacing, offsets[k], r, c)
            np.testing.assert_allclose(grid.to_lps([c, r, k]), expected, atol=1.1e-3)
        checked += 1
    assert checked >= 8
