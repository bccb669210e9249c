"""Cutting at landmarks, and the examples of derived structures that come with RT Pipeline."""

import numpy as np
import pytest

from RTPipelineLib.cli import main
from RTPipelineLib.config import load_config
from RTPipelineLib.config.structures import derived_templates
from RTPipelineLib.errors import ConfigError, DataError
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Mask
from RTPipelineLib.stages.derive import definitions_of
from RTPipelineLib.structures.cropping import crop_between
from RTPipelineLib.structures.derived import derive

GRID = Grid([-60.0, -60.0, -90.0], np.eye(3), [2.0, 2.0, 3.0], (61, 61, 61))
FEET_FIRST = Grid([-60.0, 60.0, 90.0], np.diag([1.0, -1.0, -1.0]), [2.0, 2.0, 3.0], (61, 61, 61))


def slab(name: str, low: float, high: float, half: float, grid: Grid = GRID) -> Mask:
    """A block from z `low` to `high` and `half` mm to all sides, with exact shares."""

    def share(axis: int, a: float, b: float) -> np.ndarray:
        step = grid.direction[axis, axis] * grid.spacing_mm[axis]
        centre = grid.origin_mm[axis] + step * np.arange(grid.size_ijk[axis])
        edge = abs(step) / 2
        inside = np.minimum(centre + edge, b) - np.maximum(centre - edge, a)
        return np.clip(inside / (2 * edge), 0, 1)

    x, y, z = share(0, -half, half), share(1, -half, half), share(2, low, high)
    return Mask(name, z[:, None, None] * y[None, :, None] * x[None, None, :], grid)


def volume_cc(mask: Mask) -> float:
    return float(mask.array.sum(dtype=np.float64)) * mask.grid.voxel_volume_mm3 / 1000


@pytest.mark.parametrize("grid", [GRID, FEET_FIRST], ids=["head first", "feet first"])
def test_what_lies_between_the_landmarks_stays(grid):
    body = slab("BODY", -80, 80, 50, grid)
    cut = crop_between(body, [slab("a", -31.3, -20, 11, grid), slab("b", 5, 40.7, 11, grid)])
    # 100 x 100 mm between the outer ends of both, which lie within voxels.
    assert volume_cc(cut) == pytest.approx(100 * 100 * (40.7 + 31.3) / 1000, rel=1e-3)


def test_an_oblique_grid_cuts_along_the_patient():
    turn = np.deg2rad(20)
    tilt = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    grid = Grid([-50.0, -20.0, -60.0], tilt, [2.0, 2.0, 2.0], (60, 60, 50))
    whole = Mask("BODY", np.ones(grid.shape, dtype=np.float32), grid)
    landmark = np.zeros(grid.shape, dtype=np.float32)
    landmark[25:35, 25:35, 20:30] = 1
    corners = grid.crop(slice(25, 35), slice(25, 35), slice(20, 30)).corners_mm(edges=True)[:, 2]
    cut = crop_between(whole, [Mask("L", landmark, grid)])
    k, j, i = np.nonzero(cut.array > 0.5)
    z = grid.to_lps(np.stack([i, j, k], axis=1))[:, 2]
    # A voxel of 2 mm, turned, is 2.6 mm high: half of that is the accuracy.
    assert z.min() == pytest.approx(corners.min(), abs=1.4)
    assert z.max() == pytest.approx(corners.max(), abs=1.4)


def test_landmarks_without_volume_are_refused():
    empty = Mask("L", np.zeros(GRID.shape), GRID)
    with pytest.raises(DataError, match="landmarks that have a volume"):
        crop_between(slab("BODY", -80, 80, 50), [empty])


def test_crop_needs_a_landmark(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("structures:\n  derived:\n  - {name: A, operation: crop, sources: [BODY]}\n")
    with pytest.raises(ConfigError, match="at least one landmark"):
        load_config(path)


def test_a_margin_that_would_fill_the_memory_is_refused(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("structures: {derived: [{name: A, sources: [PTV], margin_mm: 500}]}\n")
    with pytest.raises(ConfigError, match=r"margin_mm.*expected a number up to 100"):
        load_config(path)


PLACES = {  # z from, to, half width
    "BODY": (-85, 85, 55), "PTV": (-20, 20, 15), "CTV_Boost": (-8, 8, 8), "GTV": (-6, 6, 6),
    "Rectum": (-40, 30, 8), "Bladder": (0, 40, 20), "Femur_Head_L": (-30, 0, 9),
    "Femur_Head_R": (-30, 0, 9), "Lung_L": (-60, 70, 10), "Lung_R": (-55, 72, 10),
    "SpinalCord": (-80, 80, 6), "Heart": (-30, 20, 20), "Brainstem": (30, 60, 10),
    "Parotid_L": (10, 40, 10), "Parotid_R": (10, 40, 10), "Cavity_Oral": (0, 20, 18),
}  # fmt: skip


@pytest.mark.parametrize("region", sorted(derived_templates()))
def test_every_example_can_be_made(region, tmp_path, capsys):
    assert main(["config", "--derived", region]) == 0
    path = tmp_path / "c.yaml"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    definitions = definitions_of(load_config(path).structures.derived)
    available = {name: slab(name, *place) for name, place in PLACES.items()}
    result = derive(definitions, available, GRID)
    assert result.failed == {}
    assert len(definitions) >= 5
    for name, mask in result.masks.items():
        assert mask.array.any(), name
    lacking = {name: mask for name, mask in available.items() if name != "PTV"}
    result = derive(definitions, lacking, GRID)
    assert set(result.failed) == {d.name for d in definitions if "PTV" in d.expression.names}


def test_an_unknown_region_is_named(capsys):
    assert main(["config", "--derived", "knee"]) == 2
    assert "there are for breast, head-and-neck, pelvis, thorax" in capsys.readouterr().err
