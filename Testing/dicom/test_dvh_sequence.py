"""DVHs stored by planning systems: a clinical file, every unit, and broken sequences."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from RTPipelineLib.dicom.dataset import read_dataset
from RTPipelineLib.dicom.dvh_sequence import StoredDvh, read_dvh_sequence

# A volume of 4 cc whose doses lie evenly between 10 and 30 Gy, in bins of 1 Gy.
EDGES = np.arange(31.0)
AT_LEAST = np.interp(EDGES, [10, 30], [4.0, 0.0])


def item(data, **fields: object) -> Dataset:
    ds = Dataset()
    reference = Dataset()
    reference.ReferencedROINumber = 3
    reference.DVHROIContributionType = "INCLUDED"
    ds.DVHReferencedROISequence = Sequence([reference])
    ds.DVHType = "CUMULATIVE"
    ds.DoseUnits = "GY"
    ds.DoseType = "PHYSICAL"
    ds.DVHDoseScaling = 1.0
    ds.DVHVolumeUnits = "CM3"
    ds.DVHNumberOfBins = len(data) // 2
    ds.DVHData = [f"{v:.6f}" for v in data]
    for name, value in fields.items():
        if value is None:
            delattr(ds, name)
        else:
            setattr(ds, name, value)
    return ds


def dose_with(*items: Dataset, **fields: object) -> Dataset:
    ds = Dataset()
    ds.DVHSequence = Sequence(items)
    for name, value in fields.items():
        setattr(ds, name, value)
    return ds


def pairs(volumes: np.ndarray, width: float = 1.0) -> list[float]:
    return np.column_stack([np.full(len(volumes), width), volumes]).ravel().tolist()


def only(*items: Dataset, **fields: object) -> StoredDvh:
    (stored,) = read_dvh_sequence(dose_with(*items, **fields))
    return stored


MIDDLE = np.interp(EDGES[:-1] + 0.5, [10, 30], [4.0, 0.0])  # a volume belongs to its bin's middle
CUMULATIVE = pairs(MIDDLE)
DIFFERENTIAL = pairs(-np.diff(AT_LEAST))


def is_the_line(stored: StoredDvh, cc: float = 4.0, gy: float = 1.0) -> bool:
    curve = stored.curve
    assert curve is not None
    assert curve.volume_cc == pytest.approx(cc, rel=0.03)
    # Bins of 1 Gy at the bend and at the end of the curve: a quarter of a bin.
    assert curve.mean_gy == pytest.approx(20 * gy, abs=0.26 * gy)
    for percent in (90, 75, 50, 25):
        expected = (30 - 0.2 * percent) * gy
        assert curve.D(f"{percent}%") == pytest.approx(expected, abs=0.02 * gy)
    return True


@pytest.mark.parametrize("kind", ["CUMULATIVE", "DIFFERENTIAL"])
def test_both_types_are_the_same_curve(kind) -> None:
    data = CUMULATIVE if kind == "CUMULATIVE" else DIFFERENTIAL
    stored = only(item(data, DVHType=kind))
    assert is_the_line(stored)
    assert (stored.roi_numbers, stored.roi_number, stored.flags) == ((3,), 3, ())
    assert stored.bin_gy == pytest.approx(1)


def test_scaling_and_units() -> None:
    half = pairs(MIDDLE, 0.5)
    assert is_the_line(only(item(half, DVHDoseScaling=2.0)))
    percent = only(item(pairs(25 * MIDDLE), DVHVolumeUnits="PERCENT"))
    assert is_the_line(percent, cc=100)
    assert percent.in_percent and percent.flags == ("dvh-volume-in-percent",)
    share = only(item(pairs(MIDDLE, 0.05), DoseUnits="RELATIVE"), DVHNormalizationDoseValue=20.0)
    assert is_the_line(share)
    hundred = only(item(pairs(MIDDLE, 5), DoseUnits="RELATIVE"), DVHNormalizationDoseValue=20.0)
    assert is_the_line(hundred)
    assert hundred.flags == ("dvh-units-relative",)


def test_bins_of_different_width() -> None:
    edges = np.array([0, 5, 12, 13, 20, 22, 29, 31.0])
    middle = (edges[1:] + edges[:-1]) / 2
    volumes = np.interp(middle, [0, 31], [4.0, 0.0])
    curve = only(item(np.column_stack([np.diff(edges), volumes]).ravel().tolist())).curve
    assert curve is not None
    expected = np.interp(16.5, [0, 31], [4.0, 0.0])
    assert curve.V("16.5Gy", "cc") == pytest.approx(expected, rel=1e-5)  # the file's decimals


def test_combinations_of_rois_are_told_apart() -> None:
    ds = item(CUMULATIVE)
    other = Dataset()
    other.ReferencedROINumber = 7
    other.DVHROIContributionType = "EXCLUDED"
    ds.DVHReferencedROISequence.append(other)
    stored = only(ds)
    assert (stored.roi_numbers, stored.excluded_numbers, stored.roi_number) == ((3,), (7,), None)
    assert stored.flags == ("dvh-of-several-rois",)


# -- statistics -----------------------------------------------------------------------------------


def with_statistics(low: float, mean: float, high: float) -> Dataset:
    return item(CUMULATIVE, DVHMinimumDose=low, DVHMeanDose=mean, DVHMaximumDose=high)


def test_statistics_in_gy_stay() -> None:
    (stored,) = read_dvh_sequence(dose_with(with_statistics(10, 20, 30)), prescription_gy=25)
    assert (stored.min_gy, stored.mean_gy, stored.max_gy) == (10, 20, 30)
    assert stored.flags == ()


def test_statistics_in_percent_of_the_prescription() -> None:
    ds = dose_with(with_statistics(40, 80, 120))
    (stored,) = read_dvh_sequence(ds, prescription_gy=25)
    assert (stored.min_gy, stored.mean_gy, stored.max_gy) == pytest.approx((10, 20, 30))
    assert stored.flags == ("dvh-statistics-in-percent",)
    (unknown,) = read_dvh_sequence(ds)  # one item alone could be anything
    assert (unknown.mean_gy, unknown.flags) == (None, ("dvh-statistics-contradict-curve",))
    (wrong,) = read_dvh_sequence(ds, prescription_gy=60)
    assert (wrong.mean_gy, wrong.flags) == (None, ("dvh-statistics-contradict-curve",))


def test_items_that_agree_on_a_prescription_tell_it() -> None:
    small = item(pairs(MIDDLE, 0.1), DVHMeanDose=8.0)
    both = read_dvh_sequence(dose_with(with_statistics(40, 80, 120), small))
    assert [stored.mean_gy for stored in both] == pytest.approx([20, 2], rel=0.02)
    assert all(stored.flags == ("dvh-statistics-in-percent",) for stored in both)


# -- broken sequences -----------------------------------------------------------------------------

BROKEN = [
    ({"DVHData": None}, "dvh-data-missing"),
    ({"DVHData": ["1", "4", "1", "2", "1"]}, "dvh-data-odd"),
    ({"DVHData": ["-1", "4", "1", "2"]}, "dvh-data-broken"),
    ({"DVHData": ["0", "4", "0", "2"]}, "dvh-data-broken"),
    ({"DVHData": ["1", "0", "1", "0"]}, "dvh-data-broken"),
    ({"DVHData": ["1", "4", "1", "-2"]}, "dvh-data-broken"),
    ({"DVHData": ["1", "2", "1", "4"]}, "dvh-rises"),
    ({"DVHNumberOfBins": 5}, "dvh-bins-differ"),
    ({"DVHType": "NATURAL"}, "dvh-type-unknown"),
    ({"DVHType": None}, "dvh-type-unknown"),
    ({"DoseUnits": "RELATIVE"}, "dvh-units-unsupported"),
    ({"DoseUnits": None}, "dvh-units-unsupported"),
    ({"DVHDoseScaling": 0.0}, "dvh-units-unsupported"),
    ({"DVHVolumeUnits": "PER_U"}, "dvh-volume-units-unsupported"),
    ({"DVHReferencedROISequence": None}, "dvh-roi-missing"),
]


@pytest.mark.parametrize(("fields", "flag"), BROKEN)
def test_broken_items_are_flagged_and_stop_nothing(fields, flag) -> None:
    broken, good = read_dvh_sequence(dose_with(item(CUMULATIVE, **fields), item(CUMULATIVE)))
    assert flag in broken.flags
    assert is_the_line(good)


def test_no_sequence_and_none_at_all() -> None:
    assert read_dvh_sequence(Dataset()) == []
    assert read_dvh_sequence(dose_with()) == []


@pytest.mark.filterwarnings("ignore:Invalid value for VR DS")  # which is what is tested
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=12))
def test_any_numbers_give_a_falling_curve_or_a_flag(numbers) -> None:
    ds = item([])
    ds.DVHData = [f"{number:.8g}" for number in numbers] or None
    stored = only(ds)
    if stored.curve is None:
        assert stored.flags
    else:
        assert np.all(np.diff(stored.curve.at_least_cc) <= 0)
        assert np.all(np.diff(stored.curve.dose_gy) >= 0)


# -- a clinical file ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def breast(shared_data: Path) -> Path:
    return shared_data / "breast_clinical"


@pytest.mark.parametrize("prescription_gy", [14.0, None])
def test_a_clinical_export(breast, prescription_gy) -> None:
    """Read out independently. Its doses were taken at the upper and its means at the lower edges of
    the bins of 0.01 Gy; the middle is half a bin from either."""
    expected = json.loads((breast / "expected_tps_dvh_from_DVHSequence.json").read_text())
    ds = read_dataset(breast / "rtdose.dcm", stop_before_pixels=True)
    stored = {item.roi_number: item for item in read_dvh_sequence(ds, prescription_gy)}
    assert len(stored) == len(expected) == 9
    for name, values in expected.items():
        item = stored[values["roi"]]
        assert item.curve is not None
        assert item.flags == ("dvh-statistics-in-percent",), name
        assert item.curve.volume_cc == pytest.approx(values["volume_cc"], rel=1e-9)
        assert item.curve.mean_gy == pytest.approx(values["mean_gy"], abs=0.0052)
        for key in ("D99", "D98", "D95", "D50", "D5", "D2", "D1"):
            assert item.curve.D(f"{key[1:]}%") == pytest.approx(values[key], abs=0.0052), name
        # Inferred from the curves, the prescription of 14 Gy is known to a tenth of a percent.
        rel = 1e-3 if prescription_gy is None else 1e-5
        assert item.mean_gy == pytest.approx(values["mean_from_pct_of_14Gy"], rel=rel, abs=1e-4)
        assert item.max_gy == pytest.approx(values["max_from_pct"], rel=rel, abs=1e-4)
        # The middle of the bins is what makes the curve's mean the stated one (not the body's,
        # most of which lies in the first bin).
        if name != "BODY":
            assert item.curve.mean_gy == pytest.approx(item.mean_gy, rel=1e-3, abs=5e-4)
    uid = ds.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID
    assert {item.structure_set_uid for item in stored.values()} == {uid}
