"""The DVH object: its questions, against a curve whose answers are plain."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from RTPipelineLib.dvh.histogram import DoseHistogram
from RTPipelineLib.model import DVH, DvhSettings


def make(dose, at_least, **more) -> DVH:
    dose, at_least = np.asarray(dose, float), np.asarray(at_least, float)
    total = at_least[0]
    fields = {"volume_cc": total, "covered_cc": total, "mean_gy": math.nan, "std_gy": math.nan}
    fields |= {"min_gy": dose[0], "max_gy": dose[-1]} | more
    return DVH(name="x", dose_gy=dose, at_least_cc=at_least, **fields)


LINE = make([10, 30], [4, 0], mean_gy=20.0)  # 4 cc, doses evenly from 10 to 30 Gy


def test_dose_at_volume():
    assert [LINE.D(v) for v in ("100%", "95%", "50%", "2cc", "1cc", "0%")] == pytest.approx(
        [10, 11, 20, 20, 25, 30]
    )
    assert math.isnan(LINE.D("4.1cc"))
    assert [LINE.DC(v) for v in ("5%", "1cc")] == pytest.approx([11, 15])
    assert LINE.median_gy == pytest.approx(20)
    assert LINE.hi == pytest.approx((29.6 - 10.4) / 20)
    assert LINE.integral_dose_gycc == pytest.approx(80)


def test_volume_at_dose():
    assert LINE.V("20Gy") == pytest.approx(50, abs=1e-3)
    assert LINE.V("25Gy", "cc") == LINE.V("25Gy[cc]") == pytest.approx(1, abs=1e-4)
    assert LINE.V("95%", rx_gy=20) == pytest.approx(100 * 11 / 20, abs=1e-3)
    assert (LINE.V("5Gy"), LINE.V("31Gy")) == (100, 0)
    assert LINE.CV("12Gy") == pytest.approx(10, abs=1e-3)


def test_steps_are_kept():
    both = make([10, 10, 20, 20], [4, 2, 2, 0])
    assert [both.D(v) for v in ("51%", "50%", "1cc")] == [10, 20, 20]
    assert [both.V(f"{d}Gy") for d in (10, 15, 20, 20.1)] == [100, 50, 50, 0]


def test_geud():
    """Of an even distribution from l to h: (mean of D^a)^(1/a) in closed form (Niemierko 1997)."""
    for a in (1, 2, 3):
        moment = (30 ** (a + 1) - 10 ** (a + 1)) / ((a + 1) * 20)
        assert LINE.gEUD(a) == pytest.approx(moment ** (1 / a))
    fine = make(np.linspace(10, 30, 2001), np.linspace(4, 0, 2001))
    assert fine.gEUD(-1) == pytest.approx(20 / np.log(3), rel=1e-6)
    assert fine.gEUD(0) == pytest.approx(np.exp((30 * np.log(30) - 10 * np.log(10)) / 20 - 1))
    assert fine.gEUD(500) == pytest.approx(30, rel=0.02)
    assert fine.gEUD(-500) == pytest.approx(10, rel=0.02)
    assert make([0, 30], [4, 0]).gEUD(-5) == pytest.approx(0, abs=8)


@pytest.mark.parametrize("text", ["95", "95 Gy", "x%", "-5%", "nan%", "95%%", ""])
def test_bad_quantities(text):
    with pytest.raises(ValueError, match="quantity"):
        LINE.D(text)
    with pytest.raises(ValueError, match="rx_gy"):
        LINE.V("95%")
    with pytest.raises(ValueError, match="% or cc"):
        LINE.V("20Gy[Gy]")


def test_curves():
    curve = LINE.curve(0.5)
    assert curve.dose_gy[0] == 0
    assert curve.dose_gy[-1] > 30
    assert curve.volume_cc[0] == 4
    assert curve.volume_percent[-1] == 0
    assert np.all(np.diff(curve.volume_cc) <= 0)
    difference = LINE.differential(0.5)
    assert difference.volume_cc.sum() == pytest.approx(4)
    assert difference.volume_cc @ difference.dose_gy / 4 == pytest.approx(20, rel=1e-3)


def test_storing():
    settings_ = DvhSettings((1.0, 1.0, 2.0), "none", "slab", "unknown", 1e-4, 7)
    dvh = make([10, 30], [4, 0], flags=("a",), settings=settings_, mean_gy=20.0, std_gy=5.8)
    again = DVH.from_dict(json.loads(json.dumps(dvh.to_dict())))
    assert again.to_dict() == dvh.to_dict()
    assert again.settings == settings_
    assert again.D("95%") == dvh.D("95%")


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.floats(0, 60), st.floats(0, 4), st.floats(0.01, 1)), min_size=1, max_size=60
    )
)
def test_histogram_against_sorted_samples(boxes):
    """Boxes of which each is a hundred samples: the curve and the moments of the sorted samples."""
    mean, width, cc = np.array(boxes, dtype=np.float32).T
    width = np.minimum(width, 2 * mean)
    histogram = DoseHistogram(0.0, 70.0)
    histogram.add(mean, width, cc)
    dose, at_least = histogram.curve()
    spread = (np.arange(1000) + 0.5) / 1000 - 0.5
    samples = (mean[:, None] + width[:, None] * spread).ravel().astype(float)
    weights = np.repeat(cc.astype(float) / 1000, 1000)
    assert histogram.dose_cc == pytest.approx(samples @ weights, rel=1e-5, abs=1e-5)
    assert histogram.square_cc == pytest.approx(samples**2 @ weights, rel=1e-4, abs=1e-4)
    assert at_least[0] == pytest.approx(weights.sum(), rel=1e-5)
    assert np.all(np.diff(at_least) <= 1e-9)
    rung = histogram.rung_gy
    dvh = make(dose, at_least)
    for threshold in (1.0, 17.3, 42.0):
        low = weights[samples >= threshold + 2 * rung].sum()
        high = weights[samples >= threshold - 2 * rung].sum()
        slack = 2e-3 * cc.max() + 1e-4 * weights.sum()  # a sample of a box, float32
        assert low - slack <= dvh.V(f"{threshold}Gy", "cc") <= high + slack


def _share_above(dose_gy, mean, width):
    """(doses, boxes) share of each evenly filled box at or above each dose, in closed form."""
    rise = mean + width / 2 - np.asarray(dose_gy)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(width > 0, np.clip(rise / width, 0, 1), rise >= 0)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.floats(0, 60), st.floats(0, 4), st.floats(0.01, 1)), min_size=1, max_size=60
    ),
    st.floats(60, 100_000),
)
def test_no_dose_is_off_by_more_than_a_rung(boxes, top):
    """D of the curve against the boxes' own cumulative volume, which needs no sorting."""
    mean, width, cc = np.array(boxes, dtype=np.float32).astype(float).T
    width = np.minimum(width, 2 * np.minimum(mean, top - mean))
    histogram = DoseHistogram(0.0, top)
    histogram.add(*(a.astype(np.float32) for a in (mean, width, cc)))
    dvh = make(*histogram.curve())
    volume = cc.sum() * np.array([0.02, 0.05, 0.5, 0.95, 0.98])
    found = np.array([dvh.D(f"{float(v)!r}cc") for v in volume])
    off = histogram.rung_gy * 1.01 + 1e-5  # and float32 doses
    rounding = 1e-5 * cc.sum()
    assert np.all(_share_above(found - off, mean, width) @ cc >= volume - rounding)
    assert np.all(_share_above(found + off, mean, width) @ cc <= volume + rounding)


def test_doses_of_a_real_size_are_off_by_far_less():
    """50,000 boxes up to 65 Gy, rungs of 1 mGy: the doses agree within 0.1 mGy."""
    random = np.random.default_rng(3)
    mean = (65 * random.beta(4, 2, 50_000)).astype(np.float32)
    width = (2 * random.random(50_000)).astype(np.float32)
    width = np.minimum(width, 2 * np.minimum(mean, 65 - mean))
    histogram = DoseHistogram(0.0, 65.0)
    histogram.add(mean, width, np.ones(50_000, dtype=np.float32))
    assert histogram.rung_gy == pytest.approx(1e-3, rel=0.02)
    dvh = make(*histogram.curve())
    for percent in (99, 95, 50, 5, 2):
        found = dvh.D(f"{percent}%")
        near = found + np.linspace(-1e-3, 1e-3, 21)
        above = _share_above(near, mean.astype(float), width.astype(float)).mean(axis=1)
        exact = np.interp(-percent / 100, -above, near)
        assert found == pytest.approx(exact, abs=1e-4)
