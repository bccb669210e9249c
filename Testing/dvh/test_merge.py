"""Merging: two halves of a structure give the whole."""

import numpy as np
import pytest

from RTPipelineLib.dvh.engine import DvhOptions, compute_dvh
from RTPipelineLib.dvh.merge import merge_dvhs
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Dose, Mask


def test_two_halves_are_the_whole():
    grid = Grid([0.0, 0, 0], np.eye(3), [2.0, 2.0, 2.0], (12, 12, 12))
    random = np.random.default_rng(2)
    dose = Dose(random.uniform(10, 30, grid.shape).astype(np.float32), grid)
    whole = np.zeros(grid.shape, dtype=bool)
    whole[3:9, 3:9, 3:9] = True
    left = whole.copy()
    left[:, :, 6:] = False
    same = DvhOptions(step_mm=1.0)  # else the smaller halves are cut more finely
    *parts, direct = (
        compute_dvh(Mask("x", mask, grid), dose, same) for mask in (left, whole & ~left, whole)
    )
    merged = merge_dvhs("both", parts)
    assert merged.volume_cc == pytest.approx(direct.volume_cc)
    for name in ("mean_gy", "std_gy", "min_gy", "max_gy"):
        assert getattr(merged, name) == pytest.approx(getattr(direct, name), rel=1e-5)
    for volume in ("98%", "95%", "50%", "2%", "0.1cc"):
        # Both were spread on rungs of at most 1 mGy.
        assert merged.D(volume) == pytest.approx(direct.D(volume), abs=1e-3)
