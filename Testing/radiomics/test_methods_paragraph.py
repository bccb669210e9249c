"""The methods paragraph says what was done, and nothing else."""

from __future__ import annotations

from dataclasses import replace

from RTPipelineLib.radiomics.methods import Extracted, methods_paragraph
from RTPipelineLib.radiomics.parameters import Parameters
from RTPipelineLib.radiomics.perturbation import Chain

CT = Parameters(
    "ct.yaml",
    "0123456789abcdef",
    {"binWidth": 25, "resampledPixelSpacing": [1, 1, 0], "interpolator": "sitkBSpline"},
    {"Original": {}, "LoG": {"sigma": [1.0, 3.0]}},
    {"firstorder": (), "glcm": ("Idm", "Contrast")},
)
MR = replace(
    CT,
    name="mr.yaml",
    settings={"binCount": 64, "normalize": True, "normalizeScale": 100, "removeOutliers": 3,
              "resegmentRange": [-3, 3], "resegmentMode": "sigma"},
)  # fmt: skip


def of(modality: str, rois: int, file: Parameters) -> Extracted:
    return Extracted(modality, rois, file.name, file.sha256, file)


def test_every_setting_that_matters_stands_there() -> None:
    text = methods_paragraph("1.2", "pyradiomics 3", [of("CT", 7, CT), of("MR", 2, MR)])
    for part in (
        "RT Pipeline 1.2 and pyradiomics 3 [1]",
        "CT images (7 ROIs; ct.yaml, SHA-256 0123456789ab)",
        "resampled to 1 x 1 x own mm (sitkBSpline)",
        "bins of 25",
        "Original, LoG (sigma 1, 3)",
        "firstorder, glcm (Idm, Contrast)",
        "MR images (2 ROIs; mr.yaml",
        "normalised to a standard deviation of 100 and cut off 3 of them from the mean",
        "kept on their own voxels",
        "resegmented to -3, 3 (sigma)",
        "64 bins",
        "[2] Zwanenburg",
    ):
        assert part in text
    assert "perturbation" not in text and "[3]" not in text and "clustered" not in text


def test_perturbations_and_clusters_are_told_when_they_were_made() -> None:
    chain = Chain(rotation_deg=(-5.0, 0.0), contour_method="margin", contour_mm=2.0, seed=8)
    text = methods_paragraph("1", "e", [of("CT", 1, CT)], chain, 0.9)
    assert "162 perturbations" in text and "seed 8" in text and "rotations by -5, 0 degrees" in text
    assert "bumps of 2 mm" in text and "|rho| of at least 0.9" in text
    assert "lower bound of at least 0.9 and a CoV of at most 10 %" in text
    assert [f"[{n}]" in text for n in range(1, 7)] == [True] * 5 + [False]


def test_settings_that_are_gone_are_not_made_up() -> None:
    text = methods_paragraph("1", "e", [Extracted("CT", 3, "mine.yaml", "ab" * 32, None)])
    assert "CT images (3 ROIs; mine.yaml, SHA-256 abababababab) were analysed by settings" in text
    assert "bins" not in text


def test_nothing_was_done() -> None:
    assert methods_paragraph("1", "e", []) == ""
