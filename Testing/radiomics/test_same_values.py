"""The same values as pyradiomics ROI by ROI, however the work is shared out."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from RTPipelineLib.errors import DataError
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Mask, Volume
from RTPipelineLib.radiomics.engine import Extraction, RoiFeatures, features
from RTPipelineLib.radiomics.parameters import Parameters

pytest.importorskip("radiomics.base", reason="pyradiomics is not installed (extra radiomics)")

SPACING = (0.9, 0.9, 2.0)
SHAPE = (36, 80, 84)
TYPES = {
    "Original": {},
    "LoG": {"sigma": [1.0, 1.5]},
    "Wavelet": {},
    "Square": {},
    "SquareRoot": {},
    "Logarithm": {},
    "Exponential": {},
    "Gradient": {},
}
CLASSES = ("firstorder", "shape", "glcm", "glrlm", "glszm", "gldm", "ngtdm")
CASES = {
    "native": {"binWidth": 25},
    "pre-cropped": {"binWidth": 25, "preCrop": True, "padDistance": 20},
    "resampled": {"binWidth": 25, "resampledPixelSpacing": [1, 1, 1], "padDistance": 20},
    "in-plane": {"binCount": 16, "resampledPixelSpacing": [2, 2, 0], "padDistance": 20},
    "normalised": {
        "binWidth": 5,
        "normalize": True,
        "normalizeScale": 100,
        "removeOutliers": 2,
        "resampledPixelSpacing": [2, 2, 3],
        "interpolator": "sitkLinear",
        "resegmentRange": [-2, 2],
        "resegmentMode": "sigma",
        "padDistance": 20,
    },
    "slices": {"binWidth": 25, "force2D": True, "weightingNorm": "euclidean"},
}


@pytest.fixture(scope="module")
def image() -> Volume:
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(7).normal(0, 2000, SHAPE)
    array = (gaussian_filter(noise, 1.2) + 40).astype(np.int16)
    return Volume(array, Grid((0, 0, 0), np.eye(3), SPACING, SHAPE), unit="HU")


def ball(image: Volume, centre: tuple[int, int, int], radius_mm: float) -> Mask:
    """A ball around a voxel (k, j, i)."""
    indices = np.indices(image.array.shape)
    steps = image.grid.spacing_mm[::-1]
    distance = sum(((x - c) * d) ** 2 for x, c, d in zip(indices, centre, steps, strict=True))
    return Mask(f"ball {centre}", distance < radius_mm**2, image.grid)


def by_pyradiomics(image: Volume, mask: Mask, parameters: Parameters) -> dict[str, float]:
    """What pyradiomics itself finds."""
    import SimpleITK
    from radiomics import featureextractor

    extractor = featureextractor.RadiomicsFeatureExtractor(
        {
            "setting": dict(parameters.settings),
            "imageType": {name: dict(own) for name, own in parameters.image_types.items()},
            "featureClass": {name: [] for name in parameters.feature_classes},
        }
    )
    images = []
    for array in (image.array, mask.array.astype(np.uint8)):
        made = SimpleITK.GetImageFromArray(array)
        made.SetSpacing(image.grid.spacing_mm.tolist())
        images.append(made)
    found = extractor.execute(*images)
    return {k: float(v) for k, v in found.items() if not k.startswith("diagnostics")}


def assert_same(ours: RoiFeatures, theirs: dict[str, float]) -> None:
    """Equal to 1e-6 of the value; location and skewness of a filtered image scatter around zero
    and are equal to 1e-6 of its scale, which is what its 32 bit numbers hold."""
    assert set(ours.values) == set(theirs)
    for name, value in theirs.items():
        image, _, feature = name.rpartition("_firstorder_")
        scale = 0.0
        if image:
            scale = 1.0 if feature == "Skewness" else theirs[f"{image}_firstorder_Range"]
            if feature in ("Energy", "TotalEnergy", "Variance"):
                scale = 0.0
        assert ours.values[name] == pytest.approx(value, rel=1e-6, abs=1e-6 * scale), name


INSIDE, EDGE = (18, 40, 42), (6, 15, 10)
BOTH = [(case, INSIDE) for case in CASES] + [(case, EDGE) for case in ("native", "resampled")]
REST = [(case, EDGE) for case in CASES if (case, EDGE) not in BOTH]


@pytest.mark.parametrize(
    ("case", "where"), [*BOTH, *(pytest.param(*one, marks=pytest.mark.slow) for one in REST)]
)
def test_as_pyradiomics(case: str, where: tuple[int, int, int], image: Volume) -> None:
    mask = ball(image, where, 11.0)
    parameters = Parameters(case, "", CASES[case], TYPES, dict.fromkeys(CLASSES, ()))
    ours = features(image, mask, parameters)
    assert ours.notes == ()
    assert_same(ours, by_pyradiomics(image, mask, parameters))


@pytest.mark.parametrize("case", ["native", "resampled"])
def test_shared_filters_change_nothing(case: str, image: Volume) -> None:
    parameters = Parameters(case, "", CASES[case], TYPES, dict.fromkeys(CLASSES, ()))
    masks = [ball(image, (16, 36, 36), 8), ball(image, (20, 44, 40), 9), ball(image, (5, 9, 9), 7)]
    extraction = Extraction(image, parameters)
    prepared = [extraction.prepare(mask) for mask in masks]
    groups = extraction.groups(prepared)
    assert max(map(len, groups)) > 1
    assert sorted(n for group in groups for n in group) == [0, 1, 2]
    for group in groups:
        for n, found in extraction.run([prepared[n] for n in group]):
            alone = features(image, masks[group[n]], parameters)
            assert isinstance(found, RoiFeatures)
            assert_same(found, dict(alone.values))


def test_binary_patterns_of_slices(image: Volume) -> None:
    pytest.importorskip("skimage", reason="scikit-image is not installed")
    own = {"lbp2DRadius": 1.5, "lbp2DSamples": 9, "lbp2DMethod": "default", "binWidth": 10}
    parameters = Parameters("p", "", {}, {"LBP2D": own}, dict.fromkeys(CLASSES[:3], ()))
    for where in (INSIDE, EDGE):
        mask = ball(image, where, 11.0)
        assert_same(features(image, mask, parameters), by_pyradiomics(image, mask, parameters))


@pytest.mark.parametrize("own", [{}, {"lbp3DLevels": 3, "lbp3DIcosphereRadius": 1.5}])
def test_binary_patterns_on_spheres(own: dict, image: Volume, monkeypatch) -> None:
    """Against pyradiomics' own code, given the two names of SciPy that have moved since."""
    pytest.importorskip("trimesh", reason="trimesh is not installed")
    from scipy import ndimage, special

    moved = ModuleType("scipy.ndimage.interpolation")
    moved.map_coordinates = ndimage.map_coordinates
    monkeypatch.setitem(sys.modules, moved.__name__, moved)

    def sph_harm(m, n, azimuth, polar):
        """By associated Legendre functions of the cosine, as SciPy had it."""
        order = abs(m)
        value = special.sph_harm_y(n, order, np.arccos(np.cos(polar)), azimuth)
        return value if m >= 0 else (-1.0) ** order * np.conj(value)

    monkeypatch.setattr(special, "sph_harm", sph_harm, raising=False)
    settings = {"binWidth": 0.5}
    parameters = Parameters("p", "", settings, {"LBP3D": own}, dict.fromkeys(CLASSES[:3], ()))
    for where in (INSIDE, EDGE):
        mask = ball(image, where, 9.0)
        ours = features(image, mask, parameters)
        theirs = by_pyradiomics(image, mask, parameters)
        # Patterns are few: which of many equal values lie within two percentiles is rounding.
        unsure = [name for name in theirs if name.endswith("RobustMeanAbsoluteDeviation")]
        assert len(unsure) == own.get("lbp3DLevels", 2) + 1
        values = dict(ours.values)
        for name in unsure:
            assert values.pop(name) == pytest.approx(theirs.pop(name), rel=0.01)
        assert_same(replace(ours, values=values), theirs)


def test_part_of_the_grid_is_the_same_mask(image: Volume) -> None:
    whole = ball(image, (18, 40, 42), 8.0)
    box = (slice(10, 28), slice(25, 60), slice(20, 70))
    part = Mask(whole.name, whole.array[box], image.grid.crop(*box))
    parameters = Parameters("p", "", CASES["resampled"])
    assert features(image, whole, parameters) == features(image, part, parameters)


def test_wide_filters_get_their_padding(image: Volume) -> None:
    """pyradiomics' default padding of 5 voxels changes the Laplacian of Gaussian; ours ignores it
    where it is too small."""
    mask = ball(image, (18, 40, 42), 9.0)
    narrow, wide = (
        Parameters("p", "", {"preCrop": True, "padDistance": n}, {"LoG": {"sigma": [2.0]}})
        for n in (5, 40)
    )
    theirs = by_pyradiomics(image, mask, wide)
    assert_same(features(image, mask, narrow), theirs)
    name = "log-sigma-2-0-mm-3D_firstorder_Variance"
    assert by_pyradiomics(image, mask, narrow)[name] != pytest.approx(theirs[name], rel=1e-4)


# -- ROIs and images that are no good -------------------------------------------------------------

PLAIN = Parameters("plain", "", {"binWidth": 25}, {"Original": {}, "LoG": {"sigma": [1.0]}})


def test_single_voxel(image: Volume) -> None:
    with pytest.raises(DataError, match="single voxel"):
        features(image, ball(image, (18, 40, 42), 0.5), PLAIN)


def test_empty_and_outside(image: Volume) -> None:
    empty = Mask("empty", np.zeros(SHAPE, bool), image.grid)
    with pytest.raises(DataError, match="covers no voxel"):
        features(image, empty, PLAIN)
    far = Grid((900.0, 0, 0), np.eye(3), SPACING, (4, 4, 4))
    with pytest.raises(DataError, match="lies outside the image"):
        features(image, Mask("far", np.ones((4, 4, 4), bool), far), PLAIN)
    between = Grid((0.3, 0, 0), np.eye(3), SPACING, (4, 4, 4))
    with pytest.raises(DataError, match="other voxels"):
        features(image, Mask("shifted", np.ones((4, 4, 4), bool), between), PLAIN)


def test_constant_image(image: Volume) -> None:
    flat = Volume(np.full(SHAPE, 40, np.int16), image.grid)
    mask = ball(image, (18, 40, 42), 8.0)
    found = features(flat, mask, PLAIN).values
    assert found["original_firstorder_Variance"] == 0.0
    assert found["original_firstorder_Entropy"] == pytest.approx(0.0, abs=1e-12)
    assert_same(features(flat, mask, PLAIN), by_pyradiomics(flat, mask, PLAIN_WITH_CLASSES))


PLAIN_WITH_CLASSES = Parameters(
    "plain", "", PLAIN.settings, PLAIN.image_types, dict.fromkeys(CLASSES, ())
)


def test_voxels_without_a_number(image: Volume) -> None:
    mask = ball(image, (18, 40, 42), 8.0)
    array = image.array.astype(np.float32)
    array[18, 40, 42] = np.nan
    with pytest.raises(DataError, match="1 of its voxels have no number"):
        features(Volume(array, image.grid), mask, PLAIN)
    array[18, 40, 42] = 0
    array[18, 40, 60] = np.nan  # outside the ROI, inside what the filter sees
    found = features(Volume(array, image.grid), mask, PLAIN)
    assert found.notes == (
        "no log-sigma-1-0-mm-3D: voxels near the ROI have no number in the image",
    )
    assert "original_glcm_Contrast" in found.values


def test_too_little_is_left(image: Volume) -> None:
    mask = ball(image, (18, 40, 42), 8.0)
    nothing = Parameters("p", "", {"resegmentRange": [30000, 31000]})
    with pytest.raises(DataError, match="left after resegmentation"):
        features(image, mask, nothing)
    large = Parameters("p", "", {"minimumROISize": 100_000})
    with pytest.raises(DataError, match="asks for more than 100000"):
        features(image, mask, large)
