"""What a planning system may choose freely about a dose must not change a DVH: patient position,
order of frames, bits of a pixel, where the voxels lie."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from RTPipelineLib.dicom.dose import read_dose
from RTPipelineLib.dicom.write import write_dose
from RTPipelineLib.dvh.engine import compute_dvh
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import DVH, Contours, Dose
from Testing.rt_export import FRAME, POSITIONS, rt_dose, save

STEP_MM, HALF = 2.5, 10  # a cube of 20 x 20 x 20 voxels, the same in every orientation
STEP_GY = 1e-5
DOSES = ("98%", "95%", "50%", "5%", "2%", "0.03cc", "1cc")


def field_gy(points: np.ndarray) -> np.ndarray:
    """A dose without any symmetry at points (.., 3)."""
    x, y, z = np.moveaxis(points, -1, 0)
    return 40 + 20 * np.sin(x / 11 + 0.3) * np.cos(y / 13) + 0.4 * z + 3 * np.sin(z / 5 + y / 7)


# Of linear interpolation at most h^2 / 8 times the second derivative along each axis.
BEND_GY = STEP_MM**2 / 8 * (20 / 11**2 + 20 / 13**2 + 3 / 7**2 + 3 / 5**2)


def organ() -> Contours:
    """A structure without any symmetry, well inside the cube."""
    angle = 2 * np.pi * np.arange(60) / 60
    loops = []
    for n, z in enumerate(np.arange(-9.0, 9.1, 3.0)):
        radius = 9 + 0.25 * z + 1.5 * np.sin(3 * angle + 0.4 * n)
        x, y = radius * np.cos(angle) + 0.1 * z + 0.37, 0.8 * radius * np.sin(angle) - 1.1
        loops.append(np.stack([x, y, np.full(60, z)], axis=1))
    return Contours.from_loops("organ", loops, frame_uid=FRAME)


def numbers(dvh: DVH) -> np.ndarray:
    """Volume, then doses."""
    assert dvh.flags == ()
    doses = [dvh.D(volume) for volume in DOSES]
    return np.array([dvh.volume_cc, dvh.mean_gy, dvh.min_gy, dvh.max_gy, *doses])


def stored(position: str, descending: bool, folder: Path) -> Path:
    """The field as a planning system would store it for this patient position."""
    row, column = np.reshape(POSITIONS[position], (2, 3)).astype(float)
    normal = np.cross(row, column) * (-1 if descending else 1)
    corner = -(HALF - 0.5) * STEP_MM * (row + column + normal)
    k, j, i = np.meshgrid(*[np.arange(2 * HALF)] * 3, indexing="ij")
    points = corner + STEP_MM * (i[..., None] * row + j[..., None] * column + k[..., None] * normal)
    pixels = np.rint(field_gy(points) / STEP_GY).astype("<u4")
    offsets = np.arange(2 * HALF) * (-STEP_MM if descending else STEP_MM)
    ds = rt_dose(0.0, position=corner, orientation=POSITIONS[position], offsets=list(offsets))
    ds.Rows = ds.Columns = 2 * HALF
    ds.PixelSpacing, ds.DoseGridScaling = [STEP_MM, STEP_MM], str(STEP_GY)
    ds.PixelData = pixels.tobytes()
    return save(ds, folder / "dose.dcm")


@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("position", POSITIONS)
def test_patient_position_and_order_of_frames(position, descending, tmp_path) -> None:
    (tmp_path / "HFS").mkdir()
    reference = compute_dvh(organ(), read_dose(stored("HFS", False, tmp_path / "HFS")))
    found = compute_dvh(organ(), read_dose(stored(position, descending, tmp_path)))
    np.testing.assert_allclose(numbers(found), numbers(reference), rtol=1e-6)


def lattice_dose(shift: np.ndarray) -> Dose:
    """The field moved by `shift` under voxels that stay where they are."""
    size = 2 * HALF + 4
    grid = Grid(np.full(3, -(size - 1) / 2 * STEP_MM), np.eye(3), [STEP_MM] * 3, (size,) * 3)
    index = np.stack(np.meshgrid(*[np.arange(size)] * 3, indexing="ij"), axis=-1)
    value = field_gy(grid.to_lps(index) - shift)
    return Dose(np.ascontiguousarray(value.T, dtype=np.float32), grid, frame_uid=FRAME)


@settings(deadline=None, max_examples=15)
@given(st.tuples(*[st.floats(-STEP_MM, STEP_MM)] * 3))
def test_moving_structure_and_field_against_the_voxels(shift) -> None:
    """Doses change by what linear interpolation between voxels may be off, and by the step that the
    engine chose (0.1 % of the dose here); the volume by rounding."""
    reference = numbers(compute_dvh(organ(), lattice_dose(np.zeros(3))))
    contours = replace(organ(), points_mm=organ().points_mm + np.array(shift))
    found = numbers(compute_dvh(contours, lattice_dose(np.array(shift))))
    assert found[0] == pytest.approx(reference[0], rel=1e-5)
    assert np.abs(found - reference)[1:].max() <= BEND_GY + 0.001 * reference[1:].max()
    assert found[1] == pytest.approx(reference[1], rel=1e-3)  # the mean: bends cancel in part


@settings(deadline=None, max_examples=6)
@given(st.floats(0.02, 3.0))
def test_16_and_32_bits_differ_by_half_a_step(scale) -> None:
    """Every voxel is off by at most half a Dose Grid Scaling, and so is every dose of the DVH."""
    dose = lattice_dose(np.zeros(3))
    dose = replace(dose, array_gy=dose.array_gy * np.float32(scale))
    exact = numbers(compute_dvh(organ(), dose))
    with tempfile.TemporaryDirectory() as folder:
        for bits in (16, 32):
            path = Path(folder) / f"{bits}.dcm"
            write_dose(path, dose, patient_from=rt_dose(0.0), bits=bits)
            read = read_dose(path)
            found = numbers(compute_dvh(organ(), read))
            assert found[0] == exact[0]
            # Beside it: single precision, and the histogram's own resolution, which follows the
            # range of doses.
            rounding = 2e-6 * exact.max()
            assert np.abs(found - exact)[1:].max() <= read.scaling_gy / 2 + rounding
