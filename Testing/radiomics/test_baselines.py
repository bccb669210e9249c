"""Values that pyradiomics' authors published for two of their own images, all classes and cases."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Mask, Volume
from RTPipelineLib.radiomics.engine import features
from RTPipelineLib.radiomics.parameters import Parameters

pytest.importorskip("radiomics.base", reason="pyradiomics is not installed (extra radiomics)")
pandas = pytest.importorskip("pandas")

CLASSES = ("firstorder", "shape", "shape2D", "glcm", "glrlm", "glszm", "gldm", "ngtdm")
# brain1: pyradiomics 3.0.1 and its successors find a mesh of 6438.82 mm2, the table has 6433.73.
MESH = ("Sphericity", "SurfaceVolumeRatio", "MeshVolume", "SurfaceArea")
OTHER_MESH = {("brain1", feature) for feature in MESH}


def _read(path: Path) -> tuple[np.ndarray, Grid]:
    import SimpleITK

    image = SimpleITK.ReadImage(str(path))
    array = SimpleITK.GetArrayFromImage(image)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    return array, Grid(image.GetOrigin(), direction, image.GetSpacing(), array.shape)


@pytest.fixture(scope="module")
def patients(shared_data: Path) -> dict[str, tuple[Volume, Mask]]:
    folder = shared_data / "radiomics_baseline"
    found = {}
    for name in ("brain1", "breast1"):
        image, grid = _read(folder / f"{name}_image.nrrd")
        label, of_label = _read(folder / f"{name}_label.nrrd")
        found[name] = Volume(image, grid), Mask(name, label == 1, of_label)
    return found


@pytest.mark.parametrize("feature_class", CLASSES)
def test_baselines(
    feature_class: str, patients: dict[str, tuple[Volume, Mask]], shared_data: Path
) -> None:
    path = shared_data / "radiomics_baseline" / "baseline" / f"baseline_{feature_class}.csv"
    table = pandas.read_csv(path, index_col=0)
    cases = [name for name in table if name.partition("_")[0] in patients]
    assert len(cases) >= 2
    compared = 0
    for case in cases:
        settings = ast.literal_eval(table.loc["diagnostics_Configuration_Settings", case])
        name = case.partition("_")[0]
        image, mask = patients[name]
        if feature_class == "shape2D":
            mask = _one_slice(mask, table.loc["diagnostics_Mask-corrected_BoundingBox", case])
        parameters = Parameters(case, "", settings, {"Original": {}}, {feature_class: ()})
        found = features(image, mask, parameters).values
        prefix = f"original_{feature_class}_"
        for feature, value in table[case].items():
            if not feature.startswith(prefix):
                continue
            compared += 1
            if (case, feature.removeprefix(prefix)) in OTHER_MESH:
                continue
            assert found[feature] == pytest.approx(float(value), rel=1e-6, abs=1e-12), (
                f"{case}: {feature}"
            )
    assert compared >= 5 * len(cases)


def _one_slice(mask: Mask, bounding_box: str) -> Mask:
    k = ast.literal_eval(bounding_box)[2]
    array = np.zeros_like(mask.array)
    array[k] = mask.array[k]
    return Mask(mask.name, array, mask.grid)
