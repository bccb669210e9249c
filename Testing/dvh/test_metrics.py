"""Metrics by name, rows of the tables, and indices of targets."""

import math

import numpy as np
import pytest

from RTPipelineLib.dvh.engine import compute_dvh
from RTPipelineLib.dvh.metrics import (
    MetricSettings,
    isodose_volumes,
    metric_columns,
    metric_row,
    parse_metric,
    target_indices,
)
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Dose, Mask
from RTPipelineLib.phantoms.analytic import AnalyticCase, Gradient, Shape


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("D95%[Gy]", "D95%_Gy"),
        ("D0.5cc[Gy]", "D0.5cc_Gy"),
        ("V35Gy[%]", "V35Gy_%"),
        ("V20Gy[cc]", "V20Gy_cc"),
        ("V95%[%]", "V95%_%"),
        ("D95%[%]", "D95%_%"),
        ("CV12Gy[cc]", "CV12Gy_cc"),
        ("DC5cc[Gy]", "DC5cc_Gy"),
        ("D2cc", "D2cc_Gy"),
        ("V20Gy", "V20Gy_%"),
    ],
)
def test_names(text, column):
    assert parse_metric(text).column == column


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("d95%", "D95%[Gy]"),
        ("V20gy[%]", "V20Gy[%]"),
        ("V20Gy[c]", "V20Gy[cc]"),
        ("D2ccm[Gy]", "D2cc[Gy]"),
        ("VV20Gy[%]", "V20Gy[%]"),
    ],
)
def test_misspelt_names_get_the_nearest(text, nearest):
    with pytest.raises(ValueError, match="no DVH metric") as error:
        parse_metric(text)
    assert nearest in str(error.value)


@pytest.mark.parametrize("text", ["", "mean", "D95Gy[Gy]", "V20cc[%]", "D95%[cc]", "V20Gy[Gy]"])
def test_no_metrics(text):
    with pytest.raises(ValueError, match="no DVH metric"):
        parse_metric(text)


CASE = AnalyticCase(Shape.SPHERE, Gradient.AP, 1.0, 2.0)


def test_row():
    dvh = compute_dvh(CASE.contours(), CASE.dose())
    settings = MetricSettings((10.0, 20.0), (95.0,), ("D0.5cc[Gy]", "CV10Gy[%]", "V20Gy[%]"), 1.0)
    row = metric_row(dvh, settings, rx_gy=20.0)
    assert list(row) == metric_columns(settings)
    truth = CASE.truth()
    assert row["Dmean_Gy"] == pytest.approx(16, rel=1e-3)
    assert row["gEUD_Gy"] == pytest.approx(16, rel=1e-3)
    assert row["D95%_Gy"] == pytest.approx(truth.D_gy(95), rel=1e-2)
    assert row["V20Gy_cc"] == pytest.approx(truth.V_cc(20.0), rel=1e-2)
    assert row["V95%_cc"] == pytest.approx(truth.V_cc(19.0), rel=1e-2)
    assert row["CV10Gy_%"] == pytest.approx(100 - row["V10Gy_%"])
    assert row["CI_RTOG"] is None
    without = metric_row(dvh, settings)
    assert without["V95%_cc"] is None
    assert without["V20Gy_cc"] == row["V20Gy_cc"]


def test_columns_are_those_of_the_tables():
    columns = metric_columns()
    expected = ["Dmean_Gy", "Dmin_Gy", "Dmax_Gy"]
    expected += [f"D{percent}%_Gy" for percent in (99, 98, 95, 50, 5, 2, 1)]
    expected += [f"D{volume}cc_Gy" for volume in ("0.03", "0.1", "1", "2")]
    assert columns[:14] == expected
    order = [columns.index(c) for c in ("V5Gy_%", "V5Gy_cc", "V95%_%", "V95%_cc", "HI", "CI_RTOG")]
    assert order == sorted(order)


# -- targets --------------------------------------------------------------------------------------


def _ball_dose(reach: float = 40.0) -> Dose:
    """Falls off linearly with the distance r from the centre: 60 - r Gy."""
    n = round(reach) + 1
    grid = Grid([-reach] * 3, np.eye(3), [2.0] * 3, (n, n, n))
    x = -reach + 2.0 * np.arange(n)
    r = np.sqrt(x[:, None, None] ** 2 + x[:, None] ** 2 + x**2)
    return Dose((60 - r).astype(np.float32), grid)


def test_indices_of_a_ball_in_a_ball():
    """Target r < 10 mm, prescription 48 Gy (r < 12): CI 1.2^3, Paddick 1 / 1.2^3; PIV50 r < 36."""
    dose = _ball_dose()
    grid = Grid([-15.5] * 3, np.eye(3), [0.5] * 3, (63, 63, 63))
    x = -15.5 + 0.5 * np.arange(63)
    r2 = x[:, None, None] ** 2 + x[:, None] ** 2 + x**2
    dvh = compute_dvh(Mask("PTV", r2 < 100, grid), dose)
    found = target_indices(dvh, isodose_volumes(dose), 48.0)
    # The trilinear dose on 2 mm voxels cuts the cone's slopes: isodose volumes err by some percent.
    assert found["CI_RTOG"] == pytest.approx(1.2**3, rel=0.03)
    assert found["CI_Paddick"] == pytest.approx(1 / 1.2**3, rel=0.03)
    assert found["GI"] == pytest.approx(3.0**3, rel=0.03)
    assert found["R50"] == pytest.approx(3.6**3, rel=0.03)


def test_isodose_that_leaves_the_grid_is_not_known():
    dose = _ball_dose(30.0)  # 30 Gy on the faces, PIV50 of 48 Gy reaches 36 mm
    dvh = compute_dvh(Mask("PTV", dose.array_gy > 50, dose.grid), dose)
    found = target_indices(dvh, isodose_volumes(dose), 48.0)
    assert math.isnan(found["GI"])
    assert math.isnan(found["R50"])
    assert found["CI_RTOG"] > 1


def test_isodoses_inside_the_external():
    dose = _ball_dose()
    half = np.zeros(dose.grid.shape, dtype=bool)
    half[:20] = True  # voxels below z = -1, so up to the plane z = -1
    body = isodose_volumes(dose, compute_dvh(Mask("BODY", half, dose.grid), dose))
    exact = np.pi / 3 * (2 * 12**3 - 3 * 12**2 * 1 + 1) / 1000
    assert body.volume_cc(48.0) == pytest.approx(exact, rel=0.03)


def test_no_indices_without_prescription_or_isodoses():
    dose = _ball_dose()
    dvh = compute_dvh(Mask("PTV", dose.array_gy > 50, dose.grid), dose)
    for values in (
        target_indices(dvh, None, 48.0),
        target_indices(dvh, isodose_volumes(dose), None),
    ):
        assert all(math.isnan(v) for v in values.values())
