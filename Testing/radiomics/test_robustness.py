"""Features under perturbation by the real engine, on a small ROI."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from RTPipelineLib.errors import DataError
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Mask, Volume

pytest.importorskip("radiomics.base", reason="pyradiomics is not installed (extra radiomics)")

from RTPipelineLib.radiomics.engine import features
from RTPipelineLib.radiomics.parameters import Parameters
from RTPipelineLib.radiomics.perturbation import Chain, Perturbation
from RTPipelineLib.radiomics.robustness import perturbed_features

CHAIN = Chain(noise=(0.0, 1.0), translation=(0.0, 0.5), contours=2, volume_percent=(0.0, 15.0))
NATIVE = Parameters(
    "native",
    "",
    {"binWidth": 25},
    {"Original": {}, "LoG": {"sigma": [2.0]}},
    {"firstorder": ["Mean", "Variance"], "shape": ["VoxelVolume"], "glcm": ["Idm"]},
)
RESAMPLED = replace(NATIVE, settings={"binWidth": 25, "resampledPixelSpacing": [1.3, 1.3, 1.3]})


def ball(radius_mm: float = 8.0) -> tuple[Volume, Mask]:
    grid = Grid(np.array([10.0, -5, 3]), np.eye(3), np.array([0.9, 0.9, 2.5]), (30, 90, 90))
    k, j, i = np.indices(grid.shape)
    r = np.sqrt((2.5 * (k - 15)) ** 2 + (0.9 * (j - 45)) ** 2 + (0.9 * (i - 45)) ** 2)
    noise = np.random.default_rng(6).normal(0, 12, grid.shape)
    image = np.rint(60.0 * (r < radius_mm) + noise).astype(np.int16)
    return Volume(image, grid), Mask("GTV", r < radius_mm, grid, number=1)


@pytest.mark.parametrize("parameters", [NATIVE, RESAMPLED], ids=["native", "resampled"])
def test_the_unperturbed_point_has_the_features_of_the_roi(parameters: Parameters) -> None:
    image, roi = ball()
    found = dict(perturbed_features(image, roi, parameters, CHAIN, "C1"))
    assert len(found) == 16
    plain = features(image, roi, parameters)
    same = found[Perturbation()]
    assert set(same.values) == set(plain.values)
    for name, value in plain.values.items():
        # The engine's own tolerance for another crop of the same image.
        assert same.values[name] == pytest.approx(value, rel=1e-5), name


def test_every_factor_shows_in_what_it_is_about() -> None:
    image, roi = ball()
    found = {p: f.values for p, f in perturbed_features(image, roi, NATIVE, CHAIN, "C1")}
    volume, variance = "original_shape_VoxelVolume", "original_firstorder_Variance"
    mean = "original_firstorder_Mean"
    base = found[Perturbation()]
    grown = found[Perturbation(volume_percent=15.0)]
    assert grown[volume] == pytest.approx(1.15 * base[volume], rel=0.002)
    noisy = found[Perturbation(noise=1.0)]
    assert noisy[volume] == base[volume]
    # The noise has a variance of 144, and as much is added; voxels are some 600.
    assert noisy[variance] - base[variance] == pytest.approx(144, rel=0.25)
    moved = found[Perturbation(translation=0.5)]
    assert moved[volume] == base[volume]
    assert moved[mean] != base[mean] and moved[mean] == pytest.approx(base[mean], rel=0.2)
    assert found[Perturbation(contour=1)][volume] != base[volume]


def test_a_point_that_fails_costs_itself() -> None:
    image, roi = ball(4.0)
    chain = replace(CHAIN, volume_percent=(0.0, -50.0))
    # More voxels than half of the ROI has.
    half = int(0.7 * np.count_nonzero(roi.array))
    parameters = replace(NATIVE, settings={"minimumROISize": half})
    found = dict(perturbed_features(image, roi, parameters, chain, "C1"))
    assert len(found) == 16
    failed = {p for p, f in found.items() if isinstance(f, DataError)}
    assert {p for p in found if p.volume_percent < 0} <= failed
    assert Perturbation() not in failed
    assert "minimumROISize" in str(found[Perturbation(volume_percent=-50.0)])
