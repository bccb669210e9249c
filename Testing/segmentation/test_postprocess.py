"""Connected parts, confinement and nearness, on shapes whose answer is known."""

import numpy as np
import pytest
from scipy import ndimage

from RTPipelineLib.errors import UsageError
from RTPipelineLib.segmentation.postprocess import Rules, apply_rules
from RTPipelineLib.segmentation.regions import MARKERS, check_regions, judge, shown_regions

SPACING = np.array([1.0, 1.0, 3.0])


@pytest.fixture
def two_parts() -> np.ndarray:
    """27 voxels at one end, 8 at the other."""
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[2:5, 2:5, 2:5] = True
    mask[15:17, 15:17, 15:17] = True
    return mask


def test_the_largest_part_stays(two_parts):
    kept = apply_rules(two_parts, SPACING, Rules(largest=True))
    assert kept.sum() == 27
    assert kept[3, 3, 3]


def test_small_parts_go(two_parts):
    assert apply_rules(two_parts, SPACING, Rules(min_voxels=9)).sum() == 27
    assert apply_rules(two_parts, SPACING, Rules(min_voxels=8)).sum() == 35
    assert not apply_rules(two_parts, SPACING, Rules(min_voxels=28)).any()


def test_what_lies_outside_goes(two_parts):
    within = np.zeros_like(two_parts)
    within[:4] = True
    assert np.array_equal(apply_rules(two_parts, SPACING, Rules(within=within)), two_parts & within)


def test_the_nearest_part_stays_by_millimetres_not_voxels():
    mask = np.zeros((20, 20, 20), dtype=bool)
    anchor = np.zeros_like(mask)
    anchor[10, 10, 10] = True
    mask[6, 10, 10] = True  # 4 voxels, 12 mm
    mask[10, 10, 17] = True  # 7 voxels, 7 mm
    kept = apply_rules(mask, SPACING, Rules(nearest_to=anchor))
    assert kept[10, 10, 17]
    assert kept.sum() == 1


def test_near_to_nothing_removes_nothing(two_parts):
    rules = Rules(nearest_to=np.zeros_like(two_parts))
    assert np.array_equal(apply_rules(two_parts, SPACING, rules), two_parts)


def test_parts_are_those_of_scipy(two_parts):
    random = np.random.default_rng(3)
    mask = random.random((12, 13, 14)) < 0.08
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel())[1:]
    kept = apply_rules(mask, SPACING, Rules(min_voxels=3))
    assert kept.sum() == sizes[sizes >= 3].sum()
    assert count > 3


def test_regions_need_enough_of_an_organ():
    volumes = {"liver": 1500.0, "heart": 20.0, "lung_left": 900.0, "hip_left": 5.0}
    assert shown_regions(volumes) == {"thorax": ["lung_left"], "abdomen": ["liver"]}
    assert judge(("thorax", "abdomen"), volumes).allowed
    refused = judge(("pelvis",), volumes)
    assert not refused.allowed
    assert refused.reason == "the image does not show pelvis (it shows thorax, abdomen)"


def test_an_unknown_region_gets_the_nearest():
    with pytest.raises(UsageError, match="did you mean pelvis"):
        check_regions(("pelvsi",))
    check_regions(tuple(MARKERS))
