"""Bands of DVH uncertainty on their way into tables and pictures."""

import math
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from RTPipelineLib.config import Config
from RTPipelineLib.dvh.engine import DvhOptions, compute_dvh
from RTPipelineLib.dvh.uncertainty import shifted
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Contours, Dose, Prescription, PrescriptionLevel
from RTPipelineLib.report.codebook import undocumented
from RTPipelineLib.report.figures import Curve, dvh_plot
from RTPipelineLib.stages.bands import BAND_COLUMNS, Bands, error_model
from RTPipelineLib.stages.dvh_tables import curves_frame, metrics_frame
from RTPipelineLib.stages.evaluation import evaluate
from RTPipelineLib.stages.isodoses import DoseSource, Isodoses, externals_of

SLOPE = 0.8  # Gy/mm along x
SHIFT = 2.0  # mm
IDS = {"patient_id": "P", "course_id": "C"}


def config(**uncertainty: object) -> Config:
    keys = {"enabled": True, "systematic_mm": SHIFT, **uncertainty}
    return Config.model_validate({"dvh": {"uncertainty": keys}})


def cylinder(name: str, radius: float, kind: str = "ORGAN", half: float = 10.0) -> Contours:
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    ring = radius * np.column_stack([np.cos(angle), np.sin(angle)])
    loops = [
        np.column_stack([ring, np.full(len(ring), z)]) for z in np.arange(-half, half + 0.1, 2.5)
    ]
    return Contours.from_loops(name, loops, interpreted_type=kind, structure_set_uid="1.2")


def source(peaked: bool = False) -> DoseSource:
    grid = Grid([-60.0, -60.0, -40.0], np.eye(3), [2.5, 2.5, 2.5], (33, 49, 49))
    x = -60 + 2.5 * np.arange(49)
    dose = 50 + SLOPE * np.broadcast_to(x, grid.shape)
    if peaked:
        z = -40 + 2.5 * np.arange(33)
        r2 = x**2 + (x**2)[:, None] + (z**2)[:, None, None]
        dose = 60 * np.exp(-r2 / (2 * 25**2))
    level = PrescriptionLevel("PTV", 50.0, "user", roi_name="PTV")
    return DoseSource("plan", Dose(dose.astype(np.float32), grid), Prescription((level,)))


def test_without_the_key_there_are_no_columns():
    results = evaluate([cylinder("Cord", 8)], source(), Config())
    assert [c for c in metrics_frame(results, IDS) if c.endswith(("_low", "_high"))] == []
    assert not set(BAND_COLUMNS) & set(curves_frame(results, IDS))


def test_every_metric_gets_its_documented_band():
    plain = evaluate([cylinder("Cord", 8)], source(), Config())
    results = evaluate([cylinder("Cord", 8)], source(), config(contour_spacing=False))
    tables = {"dvh_metrics": metrics_frame(results, IDS), "dvh_curves": curves_frame(results, IDS)}
    assert undocumented(tables) == []
    row = tables["dvh_metrics"].iloc[0]
    first = metrics_frame(plain, IDS).iloc[0]
    metrics = [c for c in first.index if c.startswith("D") or c in ("HI", "volume_cc")]
    assert all(f"{c}_low" in row.index and f"{c}_high" in row.index for c in metrics)
    assert row[first.index].drop("flags").equals(first.drop("flags"))  # the plan stays as it was
    # float32 doses of 50 Gy, averaged
    assert row["Dmean_Gy_high"] - row["Dmean_Gy"] == pytest.approx(SLOPE * SHIFT, abs=4e-5)
    assert row["Dmean_Gy"] - row["Dmean_Gy_low"] == pytest.approx(SLOPE * SHIFT, abs=4e-5)


def test_the_table_of_curves_reaches_as_far_as_the_band():
    results = evaluate([cylinder("Cord", 8)], source(), config())
    curve = curves_frame(results, IDS)
    assert curve.dose_gy.max() == pytest.approx(50 + SLOPE * (8 + SHIFT), abs=0.05)
    assert np.allclose(np.diff(curve.dose_gy), 0.01)
    low, high = (curve[name] for name in BAND_COLUMNS)
    assert (low <= curve.volume_percent).all()
    assert (curve.volume_percent <= high).all()
    assert curve.volume_cc.iloc[-1] == 0
    assert curve.notna().all().all()


def test_a_structure_that_fails_costs_no_other_its_band():
    nothing = Contours.from_loops("Empty", [])
    results = evaluate([nothing, cylinder("Cord", 8)], source(), config())
    frame = metrics_frame(results, IDS).set_index("roi_name")
    assert math.isnan(frame["Dmean_Gy_low"]["Empty"])
    assert frame["Dmean_Gy_low"]["Cord"] < frame["Dmean_Gy_high"]["Cord"]


def test_indices_of_a_target_have_bands_of_the_dose_that_it_meets():
    """Without an External a shift moves the target out of the isodose, whose volume stays."""
    target = cylinder("PTV", 12, "PTV")
    results = evaluate([target], source(peaked=True), config(contour_spacing=False))
    row = results[0].row
    assert row["CI_RTOG_low"] == pytest.approx(row["CI_RTOG_high"], rel=1e-3)  # PIV and TV stay
    assert row["GI_low"] == row["GI_high"] == row["GI"]
    assert row["CI_Paddick_low"] < row["CI_Paddick"]


def test_isodose_volumes_are_calculated_anew_only_where_they_differ():
    plan = source(peaked=True)
    target, body = cylinder("PTV", 12, "PTV"), cylinder("Body", 50, "EXTERNAL", 30.0)
    moved = shifted(plan.dose, np.array([3.0, 0, 0]))
    alone = Isodoses(plan, {})
    assert alone.under(moved, DvhOptions()) is alone
    inside = Isodoses(plan, externals_of([(body, compute_dvh(body, plan.dose))]))
    assert inside.under(plan.dose, DvhOptions()) is inside
    assert inside.under(moved, DvhOptions()) is not inside
    blurred = Bands(alone, DvhOptions(), config(random_mm=2.0)).isodoses
    assert len(set(map(id, blurred))) == 2  # of the planned and of the blurred dose
    assert inside.under(moved, DvhOptions()).of(target).curve.volume_cc > 0


def test_an_external_that_fails_costs_no_target_its_numbers():
    """Another frame of reference, or nothing drawn: the whole grid's isodoses stand in."""
    target = cylinder("PTV", 12, "PTV")
    strange = replace(cylinder("Body", 50, "EXTERNAL"), frame_uid="9")
    plan = replace(source(peaked=True), dose=replace(source(peaked=True).dose, frame_uid="1"))
    empty = Contours.from_loops("Body2", [], interpreted_type="EXTERNAL", structure_set_uid="1.2")
    alone, *_ = evaluate([target], plan, Config())
    among, failed, nothing = evaluate([target, strange, empty], plan, Config())
    assert among.row == alone.row
    assert among.row["CI_RTOG"] > 0
    assert failed.row["flags"] == "no-dvh"
    assert "structure-empty" in nothing.row["flags"]


def test_the_picture_shows_the_band_behind_its_curve():
    dose = np.arange(0, 60, 0.01)
    middle, low, high = (100 / (1 + np.exp((dose - m) / 2)) for m in (40, 35, 45))
    curve = Curve("PTV", dose, middle, (220, 30, 30), "plan", "clinical", low, high)
    group = next(
        node
        for node in ElementTree.fromstring(dvh_plot([curve])).iter("g")
        if node.get("class") == "curve"
    )
    tags = [node.tag for node in group]
    assert tags.index("polygon") < tags.index("path")
    band = group.find("polygon")
    assert band.get("class") == "band"
    corners = np.array([p.split(",") for p in band.get("points").split()], dtype=float)
    line = np.array([p.split() for p in group.find("path").get("d")[1:].split("L")], dtype=float)
    # Of an even curve through 50 % at 35, 40 and 45 Gy, at the middle of the plot's height.
    at_half = (line[:, 1].min() + line[:, 1].max()) / 2
    crossings = np.flatnonzero(np.diff(np.sign(corners[:, 1] - at_half)))
    assert len(crossings) == 2
    assert corners[crossings[0], 0] > corners[crossings[1], 0]  # the high end first
    unknown = replace(curve, high_percent=np.full(len(dose), np.nan))
    assert "polygon" not in dvh_plot([unknown])
    assert "polygon" not in dvh_plot([replace(curve, low_percent=None, high_percent=None)])


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, ("6 set-up shifts of 2 mm", "shapes", "least and greatest")),
        ({"method": "monte-carlo", "draws": 40, "random_mm": 1}, ("40 random", "5th", "1 mm")),
        ({"systematic_mm": 0, "contour_spacing": False}, ("nothing",)),
    ],
)
def test_the_page_says_what_the_band_means(keys, words):
    sentence = error_model(config(**keys)).sentence
    assert all(word in sentence for word in words)
