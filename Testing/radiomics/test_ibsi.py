"""The digital phantom of the Image Biomarker Standardisation Initiative: consensus values of
Zwanenburg et al., Radiology 295 (2020) 328, for every feature that pyradiomics claims to share."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Mask, Volume
from RTPipelineLib.radiomics.engine import features
from RTPipelineLib.radiomics.parameters import Parameters

pytest.importorskip("radiomics.base", reason="pyradiomics is not installed (extra radiomics)")

# pyradiomics' name <- the tag of the consensus value; matrices averaged over 13 directions in 3D.
TAGS = {
    "shape": {
        "MeshVolume": "morph_volume",
        "VoxelVolume": "morph_vol_approx",
        "SurfaceArea": "morph_area_mesh",
        "SurfaceVolumeRatio": "morph_av",
        "Sphericity": "morph_sphericity",
        "Maximum3DDiameter": "morph_diam",
        "Elongation": "morph_pca_elongation",
        "Flatness": "morph_pca_flatness",
    },
    "firstorder": {
        "Mean": "stat_mean",
        "Variance": "stat_var",
        "Skewness": "stat_skew",
        "Median": "stat_median",
        "Minimum": "stat_min",
        "10Percentile": "stat_p10",
        "90Percentile": "stat_p90",
        "Maximum": "stat_max",
        "InterquartileRange": "stat_iqr",
        "Range": "stat_range",
        "MeanAbsoluteDeviation": "stat_mad",
        "RobustMeanAbsoluteDeviation": "stat_rmad",
        "Energy": "stat_energy",
        "RootMeanSquared": "stat_rms",
        "Entropy": "ih_entropy",
        "Uniformity": "ih_uniformity",
    },
    "glcm": {
        "MaximumProbability": "cm_joint_max_3D_avg",
        "JointAverage": "cm_joint_avg_3D_avg",
        "SumSquares": "cm_joint_var_3D_avg",
        "JointEntropy": "cm_joint_entr_3D_avg",
        "DifferenceAverage": "cm_diff_avg_3D_avg",
        "DifferenceVariance": "cm_diff_var_3D_avg",
        "DifferenceEntropy": "cm_diff_entr_3D_avg",
        "SumAverage": "cm_sum_avg_3D_avg",
        "SumEntropy": "cm_sum_entr_3D_avg",
        "JointEnergy": "cm_energy_3D_avg",
        "Contrast": "cm_contrast_3D_avg",
        "Id": "cm_inv_diff_3D_avg",
        "Idn": "cm_inv_diff_norm_3D_avg",
        "Idm": "cm_inv_diff_mom_3D_avg",
        "Idmn": "cm_inv_diff_mom_norm_3D_avg",
        "InverseVariance": "cm_inv_var_3D_avg",
        "Correlation": "cm_corr_3D_avg",
        "Autocorrelation": "cm_auto_corr_3D_avg",
        "ClusterTendency": "cm_clust_tend_3D_avg",
        "ClusterShade": "cm_clust_shade_3D_avg",
        "ClusterProminence": "cm_clust_prom_3D_avg",
        "Imc1": "cm_info_corr1_3D_avg",
        "Imc2": "cm_info_corr2_3D_avg",
    },
    "glrlm": {
        "ShortRunEmphasis": "rlm_sre_3D_avg",
        "LongRunEmphasis": "rlm_lre_3D_avg",
        "LowGrayLevelRunEmphasis": "rlm_lgre_3D_avg",
        "HighGrayLevelRunEmphasis": "rlm_hgre_3D_avg",
        "ShortRunLowGrayLevelEmphasis": "rlm_srlge_3D_avg",
        "ShortRunHighGrayLevelEmphasis": "rlm_srhge_3D_avg",
        "LongRunLowGrayLevelEmphasis": "rlm_lrlge_3D_avg",
        "LongRunHighGrayLevelEmphasis": "rlm_lrhge_3D_avg",
        "GrayLevelNonUniformity": "rlm_glnu_3D_avg",
        "GrayLevelNonUniformityNormalized": "rlm_glnu_norm_3D_avg",
        "RunLengthNonUniformity": "rlm_rlnu_3D_avg",
        "RunLengthNonUniformityNormalized": "rlm_rlnu_norm_3D_avg",
        "RunPercentage": "rlm_r_perc_3D_avg",
        "GrayLevelVariance": "rlm_gl_var_3D_avg",
        "RunVariance": "rlm_rl_var_3D_avg",
        "RunEntropy": "rlm_rl_entr_3D_avg",
    },
    "glszm": {
        "SmallAreaEmphasis": "szm_sze_3D",
        "LargeAreaEmphasis": "szm_lze_3D",
        "LowGrayLevelZoneEmphasis": "szm_lgze_3D",
        "HighGrayLevelZoneEmphasis": "szm_hgze_3D",
        "SmallAreaLowGrayLevelEmphasis": "szm_szlge_3D",
        "SmallAreaHighGrayLevelEmphasis": "szm_szhge_3D",
        "LargeAreaLowGrayLevelEmphasis": "szm_lzlge_3D",
        "LargeAreaHighGrayLevelEmphasis": "szm_lzhge_3D",
        "GrayLevelNonUniformity": "szm_glnu_3D",
        "GrayLevelNonUniformityNormalized": "szm_glnu_norm_3D",
        "SizeZoneNonUniformity": "szm_zsnu_3D",
        "SizeZoneNonUniformityNormalized": "szm_zsnu_norm_3D",
        "ZonePercentage": "szm_z_perc_3D",
        "GrayLevelVariance": "szm_gl_var_3D",
        "ZoneVariance": "szm_zs_var_3D",
        "ZoneEntropy": "szm_zs_entr_3D",
    },
    "gldm": {
        "SmallDependenceEmphasis": "ngl_lde_3D",
        "LargeDependenceEmphasis": "ngl_hde_3D",
        "LowGrayLevelEmphasis": "ngl_lgce_3D",
        "HighGrayLevelEmphasis": "ngl_hgce_3D",
        "SmallDependenceLowGrayLevelEmphasis": "ngl_ldlge_3D",
        "SmallDependenceHighGrayLevelEmphasis": "ngl_ldhge_3D",
        "LargeDependenceLowGrayLevelEmphasis": "ngl_hdlge_3D",
        "LargeDependenceHighGrayLevelEmphasis": "ngl_hdhge_3D",
        "GrayLevelNonUniformity": "ngl_glnu_3D",
        "DependenceNonUniformity": "ngl_dcnu_3D",
        "DependenceNonUniformityNormalized": "ngl_dcnu_norm_3D",
        "GrayLevelVariance": "ngl_gl_var_3D",
        "DependenceVariance": "ngl_dc_var_3D",
        "DependenceEntropy": "ngl_dc_entr_3D",
    },
    "ngtdm": {
        "Coarseness": "ngt_coarseness_3D",
        "Contrast": "ngt_contrast_3D",
        "Busyness": "ngt_busyness_3D",
        "Complexity": "ngt_complexity_3D",
        "Strength": "ngt_strength_3D",
    },
}
# IBSI's covariance divides by n - 1, pyradiomics' by n.
AXES = {
    "shape_MajorAxisLength": "morph_pca_maj_axis",
    "shape_MinorAxisLength": "morph_pca_min_axis",
    "shape_LeastAxisLength": "morph_pca_least_axis",
}
# What pyradiomics has and IBSI has not; the first two are tested as they differ.
WITHOUT_CONSENSUS = {
    "firstorder_Kurtosis",  # IBSI subtracts 3
    "firstorder_TotalEnergy",  # energy times the volume of a voxel in mm3
    "glcm_MCC",
    # Diameters within slices, rows and columns.
    "shape_Maximum2DDiameterSlice",
    "shape_Maximum2DDiameterColumn",
    "shape_Maximum2DDiameterRow",
}


@pytest.fixture(scope="module")
def consensus(shared_data: Path) -> dict[str, tuple[float, float]]:
    path = shared_data / "ibsi_digital_phantom" / "ibsi_1_dig_phantom.csv"
    with path.open() as lines:
        rows = list(csv.DictReader(lines, delimiter=";"))
    return {
        row["tag"]: (float(row["reference value"]), float(row["tolerance"]))
        for row in rows
        if row["reference value"]
    }


@pytest.fixture(scope="module")
def found(shared_data: Path) -> dict[str, float]:
    import SimpleITK

    folder = shared_data / "ibsi_digital_phantom" / "nifti"
    image = SimpleITK.ReadImage(str(folder / "image" / "phantom.nii.gz"))
    label = SimpleITK.ReadImage(str(folder / "mask" / "mask.nii.gz"))
    array = SimpleITK.GetArrayFromImage(image)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    grid = Grid(image.GetOrigin(), direction, image.GetSpacing(), array.shape)
    mask = Mask("phantom", SimpleITK.GetArrayFromImage(label) == 1, grid)
    # The phantom's values are its bins.
    parameters = Parameters("phantom", "", {"binWidth": 1}, {"Original": {}})
    return dict(features(Volume(array, grid), mask, parameters).values)


@pytest.mark.parametrize("feature_class", TAGS)
def test_consensus(
    feature_class: str, found: dict[str, float], consensus: dict[str, tuple[float, float]]
) -> None:
    for feature, tag in TAGS[feature_class].items():
        value, tolerance = consensus[tag]
        # The values are published with three digits: half of the last is no difference.
        rounding = 0.5 * 10.0 ** (math.floor(math.log10(abs(value))) - 2)
        ours = found[f"original_{feature_class}_{feature}"]
        assert abs(ours - value) <= max(tolerance, rounding) + 1e-9, f"{feature}: {ours} != {value}"


def test_known_differences(
    found: dict[str, float], consensus: dict[str, tuple[float, float]]
) -> None:
    kurtosis = found["original_firstorder_Kurtosis"]
    assert kurtosis - 3 == pytest.approx(consensus["stat_kurt"][0], abs=5e-4)
    energy = found["original_firstorder_TotalEnergy"]
    assert energy == pytest.approx(consensus["stat_energy"][0] * 2.0**3, rel=1e-12)
    voxels = found["original_shape_VoxelVolume"] / 2.0**3
    for name, tag in AXES.items():
        length = found[f"original_{name}"] * math.sqrt(voxels / (voxels - 1))
        assert _three_digits(length) == consensus[tag][0]


def test_every_feature_is_accounted_for(found: dict[str, float]) -> None:
    listed = {f"{name}_{feature}" for name, tags in TAGS.items() for feature in tags}
    names = {name.removeprefix("original_") for name in found}
    assert names == listed | WITHOUT_CONSENSUS | set(AXES)


def _three_digits(value: float) -> float:
    return float(f"{value:.3g}")
