"""Sums of doses: nothing lost, nothing mixed, one input in memory at a time."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from RTPipelineLib.dose.accumulate import LazyDose, sum_doses, sum_grid
from RTPipelineLib.errors import DoseRefused, GeometryError
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Dose

DATA = Path(__file__).parents[3] / "shared" / "data"

# Image Orientation (Patient) of the eight patient positions, as one planning system writes them
# (reference data, folder `orientations`).
ORIENTATIONS = {
    "HFS": [1, 0, 0, 0, 1, 0],
    "HFP": [-1, 0, 0, 0, -1, 0],
    "HFDL": [0, -1, 0, 1, 0, 0],
    "HFDR": [0, 1, 0, -1, 0, 0],
    "FFS": [-1, 0, 0, 0, 1, 0],
    "FFP": [1, 0, 0, 0, -1, 0],
    "FFDL": [0, 1, 0, 1, 0, 0],
    "FFDR": [0, -1, 0, -1, 0, 0],
}


def cube(
    gy: float = 10.0, at: tuple[float, float, float] = (0, 0, 0), size: int = 5, **fields: object
) -> Dose:
    grid = Grid(np.array(at, dtype=float), np.eye(3), np.full(3, 2.0), (size,) * 3)
    return Dose(np.full(grid.shape, gy, np.float32), grid, **({"frame_uid": "F"} | fields))  # type: ignore


def test_one_dose_is_bit_exact() -> None:
    values = np.random.default_rng(0).random((4, 5, 6), dtype=np.float32)
    grid = Grid(np.zeros(3), np.eye(3), np.array([1.0, 2.0, 3.0]), values.shape)
    dose = Dose(values, grid, "F", sop_uids=("a",), plan_uids=("p",), scaling_gy=0.1)
    total = sum_doses([dose])
    assert np.array_equal(total.array_gy, values)
    assert total.array_gy.dtype == np.float32
    assert (total.grid, total.coverage, total.scaling_gy) == (grid, None, 0.1)


@pytest.mark.parametrize("position", ORIENTATIONS)
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_two_equal_doses_in_every_patient_position(position: str, shift: float) -> None:
    """10 Gy twice is 20 Gy everywhere, also when the other grid is head first supine."""
    upright = cube(10.0, size=5)
    direction = Grid.from_dicom(
        [0, 0, 0], ORIENTATIONS[position], [2, 2], 5, 5, [0, 2, 4, 6, 8]
    ).direction
    centre = np.full(3, 4.0 + shift)
    grid = Grid(centre - direction @ np.full(3, 4.0), direction, np.full(3, 2.0), (5, 5, 5))
    turned = Dose(np.full(grid.shape, 10.0, np.float32), grid, "F")
    twice = sum_doses([turned, turned])
    assert np.all(twice.array_gy == 20.0)
    mixed = sum_doses([upright, turned])
    both = mixed.coverage if mixed.coverage is not None else np.ones(mixed.grid.shape)
    assert np.all(mixed.array_gy[both == 1] == 20.0)
    assert np.all(mixed.array_gy[both == 0.5] == 10.0)
    assert (both == 1).sum() >= 5**3 * (1 if shift == 0 else 0.5)


def test_no_dose_is_lost_at_the_borders_of_the_union() -> None:
    near, far = cube(10.0), cube(7.0, at=(20.0, 4.0, -6.0))
    total = sum_doses([near, far])
    for dose in (near, far):
        index = np.rint(total.grid.to_index(dose.grid.corners_mm())).astype(int)
        gy = dose.array_gy.flat[0]
        assert np.allclose(total.array_gy[index[:, 2], index[:, 1], index[:, 0]], gy)
    assert total.coverage is not None
    assert set(np.unique(total.coverage)) == {0.0, 0.5}
    integral = total.array_gy.sum(dtype=float)
    assert integral == pytest.approx(near.array_gy.sum() + far.array_gy.sum())


def test_equal_grids_with_uneven_slices_are_not_resampled() -> None:
    values = np.random.default_rng(0).random((4, 3, 3), dtype=np.float32)
    offsets = np.array([0.0, 1.0, 3.0, 7.0])
    grid = Grid(np.zeros(3), np.eye(3), np.ones(3), values.shape, offsets)
    total = sum_doses([Dose(values, grid, "F"), Dose(values, grid, "F")])
    assert total.grid is grid
    assert np.array_equal(total.array_gy, 2 * values)


def test_finest_spacing_wins() -> None:
    fine = Grid(np.zeros(3), np.eye(3), np.array([1.0, 3.0, 2.0]), (3, 3, 3))
    coarse = Grid(np.zeros(3), np.eye(3), np.array([2.0, 2.5, 3.0]), (9, 9, 9))
    grid, flags = sum_grid([fine, coarse])
    assert grid.spacing_mm.tolist() == [1.0, 2.5, 2.0]
    assert flags == ()


def test_too_large_a_sum_is_coarsened_and_says_so() -> None:
    doses = [cube(10.0, size=10), cube(10.0, at=(0.5, 0, 0), size=10)]
    total = sum_doses(doses, max_voxels=300)
    assert total.array_gy.size <= 300
    assert total.flags == ("sum-grid-coarsened",)
    assert total.array_gy.max() == pytest.approx(20.0)
    alone = sum_doses(doses[:1], max_voxels=300)
    assert alone.array_gy.size <= 300
    assert alone.flags == ("sum-grid-coarsened",)


def test_weights() -> None:
    total = sum_doses([cube(10.0), cube(20.0)], [0.6, 0.4])
    assert total.array_gy == pytest.approx(np.full((5, 5, 5), 14.0))
    assert total.summation_type == "PLAN_OVERVIEW"


def test_many_small_doses_do_not_drift() -> None:
    """300 x 0.123 Gy on top of 1000 Gy: single precision alone would be 6e-3 Gy off."""
    total = sum_doses([cube(1000.0), *[cube(0.123)] * 300])
    exact = 1000.0 + 300 * float(np.float32(0.123))
    assert np.abs(total.array_gy - exact).max() < 1e-4


def test_provenance() -> None:
    a = cube(sop_uids=("a",), plan_uids=("p",), flags=("x",), structure_set_uid="s")
    b = cube(sop_uids=("b",), plan_uids=("q",), flags=("x", "y"), structure_set_uid="s")
    total = sum_doses([a, b])
    assert (total.sop_uids, total.plan_uids) == (("a", "b"), ("p", "q"))
    assert (total.flags, total.structure_set_uid) == (("x", "y"), "s")
    assert total.summation_type == "MULTI_PLAN"
    assert total.frame_uid == "F"
    parts = sum_doses([replace(a, summation_type="BEAM"), replace(a, summation_type="BEAM")])
    assert parts.summation_type == "PLAN"
    other = sum_doses([a, replace(b, structure_set_uid="t")])
    assert other.structure_set_uid == ""


def test_frames_and_types_are_never_mixed() -> None:
    with pytest.raises(GeometryError, match="different frames"):
        sum_doses([cube(), cube(frame_uid="G")])
    with pytest.raises(DoseRefused, match="PHYSICAL and EFFECTIVE"):
        sum_doses([cube(), cube(dose_type="EFFECTIVE")])


def test_arguments_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="0 doses"):
        sum_doses([])
    with pytest.raises(ValueError, match="1 doses and 2 weights"):
        sum_doses([cube()], [1, 1])
    with pytest.raises(ValueError, match="float32"):
        sum_doses([cube()], out=np.zeros((5, 5, 5)))


def test_memory_map(tmp_path: Path) -> None:
    doses = [cube(10.0), cube(5.0, at=(1.0, 1.0, 1.0))]
    grid, _ = sum_grid(dose.grid for dose in doses)
    mapped = np.memmap(tmp_path / "sum.raw", np.float32, "w+", shape=grid.shape)
    total = sum_doses(doses, out=mapped, grid=grid)
    assert total.array_gy is mapped
    assert np.array_equal(mapped, sum_doses(doses).array_gy)


def test_functions_that_return_a_dose() -> None:
    total = sum_doses([lambda: cube(10.0), LazyDose(cube().grid, lambda: cube(5.0)), cube(1.0)])
    assert np.all(total.array_gy == 16.0)


def test_sum_of_sums_keeps_what_was_not_covered() -> None:
    part = sum_doses([cube(10.0), cube(10.0, at=(4.0, 0, 0))])
    total = sum_doses([part, part])
    assert part.coverage is not None
    assert total.coverage is not None
    assert np.array_equal(total.coverage == 1, part.coverage == 1)


def test_one_input_in_memory_at_a_time() -> None:
    """Peak: the sum in double precision, its coverage, one input and a few slabs; not 12 inputs."""
    size = 64
    one = size**3 * 4

    def lazy(n: int) -> LazyDose:
        return LazyDose(
            Grid(np.array([float(n), 0, 0]), np.eye(3), np.full(3, 2.0), (size,) * 3),
            lambda: cube(1.0, at=(float(n), 0, 0), size=size),
        )

    inputs = [lazy(n) for n in range(12)]
    tracemalloc.start()
    total = sum_doses(inputs)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    voxels = total.array_gy.size
    # values 8 bytes, counts and a boolean 1 each, or values 4 and coverage 4 at the end
    assert peak < voxels * 10 + 2 * one
    assert total.array_gy.max() == 12.0


def test_real_beams_sum_to_their_plan() -> None:
    """The planning system's own PLAN dose is the sum of its two BEAM doses, within their steps."""
    folder = DATA / "proton_beams"
    if not folder.exists():
        pytest.skip(f"reference data {folder.name} is not here")
    pydicom = pytest.importorskip("pydicom")
    doses: dict[str, list[Dose]] = {"PLAN": [], "BEAM": []}
    for path in sorted(folder.glob("RD*.dcm")):
        ds = pydicom.dcmread(path)
        grid = Grid.from_dicom(
            ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.PixelSpacing, ds.Rows,
            ds.Columns, ds.GridFrameOffsetVector,
        )  # fmt: skip
        values = (ds.pixel_array * float(ds.DoseGridScaling)).astype(np.float32)
        doses[ds.DoseSummationType].append(Dose(values, grid, dose_type=ds.DoseType))
    total = sum_doses(doses["BEAM"])
    assert np.abs(total.array_gy - doses["PLAN"][0].array_gy).max() < 1e-4
    assert total.coverage is None
