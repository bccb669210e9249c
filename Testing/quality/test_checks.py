"""Every check on facts that make it speak, and on facts that do not."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from RTPipelineLib.cli import main
from RTPipelineLib.dose.sentences import SENTENCES
from RTPipelineLib.geometry import Grid
from RTPipelineLib.quality import course as checks
from RTPipelineLib.quality.cohort import Volume, unreadable_files, volume_outliers
from RTPipelineLib.quality.flags import ELSEWHERE, FLAGS, raised
from RTPipelineLib.quality.model import SEVERITIES, Check, CourseFacts, Limits, RoiFacts

GRID = Grid([-100.0, -100.0, 0.0], np.eye(3), [2.0, 2.0, 3.0], (50, 100, 100))
PLAN = {
    "label": "Prostate",
    "approval": "APPROVED",
    "beams": [{"number": 1, "delivery_type": "TREATMENT"}, {"number": 2, "delivery_type": "SETUP"}],
    "fraction_groups": [{"fractions": 30, "beams": [{"number": 1, "dose_gy": 2.0}]}],
    "dose_references": [{"type": "TARGET", "target_gy": 60.0}],
}
LEVEL = {"name": "PTV", "roi_name": "PTV", "roi_number": 1, "dose_gy": 60.0, "fractions": 30}
LEVEL["source"] = "dose-reference"
DOSE = {
    "decision": {"status": "plan", "parts": [{"plan_uid": "1", "problem": ""}]},
    "prescription": {"levels": [LEVEL], "flags": []},
    "sources": [{"name": "total", "flags": []}],
}


def roi(name, low=(-20, -20, 30), high=(20, 20, 60), **about):
    box = {} if low is None else {"low_mm": np.array(low, float), "high_mm": np.array(high, float)}
    if box:
        box["centre_mm"] = (box["low_mm"] + box["high_mm"]) / 2
    facts = RoiFacts(name, about.pop("standard_name", ""), "clinical", "", "f", volume_cc=30.0)
    return replace(facts, **box, **about)


def row(**values):
    usual = {"roi_name": "PTV", "source": "clinical", "rx_gy": 60.0, "D98%_Gy": 57.0}
    usual |= {"D50%_Gy": 60.5, "dose_coverage_percent": 100.0, "flags": "", "dose_source": "total"}
    return usual | values


BODY = roi("BODY", (-90, -80, 0), (90, 80, 147), interpreted_type="EXTERNAL")
GOOD = CourseFacts(
    flags=(),
    dose=DOSE,
    plans={"1": PLAN},
    rois=(
        BODY,
        roi("PTV", interpreted_type="PTV"),
        roi("Lung_L", (20, -20, 30), (80, 40, 90)),
        roi("Lung_R", (-80, -20, 30), (-20, 40, 90)),
    ),
    grids={"f": GRID},
    metrics=(row(),),
    second=(
        {"roi_name": "PTV", "source": "clinical", "metric": "Dmean", "unit": "Gy", "value": 60.0,
         "other_value": 60.1, "difference": 0.1, "tolerance": 1.0, "agrees": True, "program": "x"},
    ),
    agreement=(
        {"roi_standard_name": "Lung_L", "source_a": "clinical", "source_b": "totalsegmentator",
         "dice": 0.97, "hausdorff95_mm": 2.0},
    ),
    names=({"roi_name": "PTV", "source": "clinical", "conflicts": []},),
    records={"dvh": {"status": "done", "reason": "", "problems": []}},
)  # fmt: skip


def with_dose(**parts):
    return replace(GOOD, dose=DOSE | parts)


def with_level(**values):
    return with_dose(prescription={"levels": [LEVEL | values], "flags": []})


def with_plan(**values):
    return replace(GOOD, plans={"1": PLAN | values})


def with_rois(*rois):
    return replace(GOOD, rois=(BODY, *rois))


PLANTED = {
    "stages": [
        (replace(GOOD, records={"dvh": {"status": "failed", "reason": "no", "problems": []}}),
         "error", "dvh is failed: no"),
        (replace(GOOD, records={"load": {"status": "done", "reason": "", "problems": [
            {"severity": "warning", "message": "a slice", "item": "CT"}]}}), "warning", "a slice"),
    ],
    "dose-decision": [
        (with_dose(decision={"status": "needs-decision", "evidence": ["two plans"], "parts": []}),
         "warning", "two plans"),
        (with_dose(decision={"status": "plan", "parts": [
            {"plan_uid": "1", "problem": "no dose of beam 2"}]}), "error", "beam 2"),
    ],
    "prescription": [
        (with_dose(prescription={"levels": [], "flags": []}), "warning", "no prescription"),
        (with_level(source="inferred-from-name"), "warning", "name of the ROI"),
        (with_level(source="beam-dose"), "info", "beam doses"),
    ],
    "implausible-prescription": [
        (with_level(dose_gy=150.0), "warning", "cGy"),
        (with_level(fractions=1), "warning", "60 Gy in 1 fractions"),
    ],
    "plan-approval": [
        (with_plan(approval="UNAPPROVED"), "warning", "not approved"),
        (with_plan(approval="REJECTED"), "error", "rejected"),
        (with_plan(approval=""), "info", "does not say"),
    ],
    "beam-doses": [
        (with_plan(fraction_groups=[{"fractions": 10, "beams": [{"number": 1, "dose_gy": 2.0}]}]),
         "warning", "20 Gy over all fractions, -67 %"),
    ],
    "target-dose": [
        (replace(GOOD, metrics=(row(**{"D98%_Gy": 30.0}),)), "warning", "D98% is 30.00 Gy, 50 %"),
        (replace(GOOD, metrics=(row(**{"D50%_Gy": 55.0}),)), "warning", "D50% is 55.00 Gy, 92 %"),
    ],
    "dose-coverage": [
        (replace(GOOD, metrics=(row(dose_coverage_percent=90.0, flags="outside-dose-grid"),)),
         "error", "10.0 % of its volume"),
        (replace(GOOD, metrics=(row(roi_name="Lung_L", dose_coverage_percent=90.0,
                                    flags="outside-dose-grid;max-may-lie-outside"),)),
         "info", "Lung_L"),
    ],
    "second-calculation": [
        (replace(GOOD, second=({**GOOD.second[0], "agrees": np.False_, "difference": 3.0},)),
         "warning", "difference 3, tolerance 1"),
    ],
    "roi-empty": [
        (with_rois(roi("PTV", None, interpreted_type="PTV")), "warning", "PTV has no contours"),
        (with_rois(roi("Bowel", None)), "info", "Bowel has no contours"),
    ],
    "roi-tiny": [(with_rois(roi("Seed", volume_cc=0.002)), "warning", "2 mm3")],
    "roi-outside-image": [
        (with_rois(roi("Node", (0, 0, 300), (10, 10, 320))), "error", "wholly outside"),
        (with_rois(roi("Cord", (0, 0, 100), (10, 10, 160))), "warning", "12 mm beyond"),
    ],
    "roi-at-image-border": [
        (with_rois(roi("Arm", (80, 0, 30), (99, 20, 60))), "warning", "touches the side"),
        (with_rois(roi("Cord", (0, 0, 30), (10, 10, 147))), "info", "last slice"),
    ],
    "laterality": [
        (with_rois(roi("Lung_L", (-80, -20, 30), (-20, 40, 90))), "error", "50 mm right"),
        (with_rois(roi("Femur", (20, 0, 30), (60, 30, 60), standard_name="Femur_R")), "error",
         "40 mm left"),
        (replace(GOOD, rois=(roi("Kidney_L", (-60, 0, 30), (-30, 9, 60)),
                             roi("Kidney_R", (30, 0, 30), (60, 9, 60)))), "error", "swapped"),
    ],
    "structure-names": [
        (replace(GOOD, names=({"roi_name": "x", "source": "clinical", "conflicts": ["two"]},)),
         "warning", "x: two"),
    ],
    "agreement": [
        (replace(GOOD, agreement=({**GOOD.agreement[0], "dice": 0.3},)), "warning", "Dice 0.30"),
        (replace(GOOD, agreement=({**GOOD.agreement[0], "hausdorff95_mm": 40.0},)), "warning",
         "40 mm"),
    ],
    "other-flags": [
        (replace(GOOD, flags=(raised("quite-new:3", "", "CT"),)), "info", "CT: quite-new 3"),
    ],
    **{
        check: [
            (replace(GOOD, flags=(raised(f"{flag}:7", "it is so", "X"),)), meaning.severity, "")
            for flag, meaning in flags.items()
        ]
        for check, flags in FLAGS.items()
    },
}  # fmt: skip


def findings(facts, check):
    (result,) = [r for r in checks.check_course(facts) if r.check.id == check]
    return result.findings


def test_nothing_is_found_where_nothing_is_wrong():
    found = {r.check.id: r.findings for r in checks.check_course(GOOD) if r.findings}
    assert found == {}


def test_every_check_has_a_planted_fault():
    assert {check.id for check in checks.CHECKS} == set(PLANTED)


@pytest.mark.parametrize(
    ("check", "facts", "severity", "words"),
    [(check, *case) for check, cases in PLANTED.items() for case in cases],
)
def test_a_planted_fault_is_found_by_its_check_alone(check, facts, severity, words):
    found = {r.check.id: r.findings for r in checks.check_course(facts) if r.findings}
    assert set(found) == {check}
    assert {f.severity for f in found[check]} == {severity}
    assert all(words in f.sentence and "{" not in f.sentence for f in found[check])


@pytest.mark.parametrize(
    ("facts", "check"),
    [
        # A couch that reaches the border of the image in z is no cut organ; a midline organ has no
        # side; a centre near the middle tells nothing; a target may lie on any side.
        (with_rois(roi("Heart", (-30, 0, 30), (60, 40, 60))), "laterality"),
        (with_rois(roi("Nipple_R", (0, 0, 30), (8, 8, 40))), "laterality"),
        (with_rois(roi("PTV_L", (-60, 0, 30), (-30, 9, 60), interpreted_type="PTV")), "laterality"),
        (with_rois(roi("Brain_L", (-60, 0, 30), (-30, 9, 60), frame_uid="other")), "laterality"),
        # Levels of another target, or no dose at the beams: nothing to compare with.
        (replace(GOOD, metrics=(row(roi_name="CTV", **{"D98%_Gy": 1.0}),)), "target-dose"),
        (with_plan(fraction_groups=[{"fractions": 3, "beams": [{"number": 1, "dose_gy": None}]}]),
         "beam-doses"),
        (with_plan(dose_references=[]), "beam-doses"),
    ],
)  # fmt: skip
def test_what_looks_like_a_fault_and_is_none(facts, check):
    assert findings(facts, check) == ()


def test_flags_of_the_dose_are_all_said_somewhere():
    known = {flag for flags in FLAGS.values() for flag in flags} | ELSEWHERE
    assert set(SENTENCES) <= known
    assert {m.severity for flags in FLAGS.values() for m in flags.values()} <= set(SEVERITIES)


def test_a_check_that_breaks_costs_itself_and_one_can_be_skipped(monkeypatch):
    def broken(facts):
        raise ZeroDivisionError("by nothing")

    bad = Check("bad", "", "", broken)
    monkeypatch.setattr(checks, "CHECKS", (bad, *checks.CHECKS))
    results = {r.check.id: r for r in checks.check_course(GOOD, skip=("laterality",))}
    assert results["bad"].state == "failed"
    assert "by nothing" in results["bad"].findings[0].sentence
    assert results["laterality"].state == "skipped"
    assert results["plan-approval"].state == "passed"


# -- the cohort -----------------------------------------------------------------------------------


def volumes(*cc):
    return [
        Volume(f"P{n}", "C", "clinical", "Bladder", "Bladder", value) for n, value in enumerate(cc)
    ]


def test_a_volume_far_from_the_cohorts_is_found():
    usual = [180.0, 220.0, 150.0, 260.0, 240.0, 170.0, 200.0, 210.0]
    assert list(volume_outliers(volumes(*usual), Limits())) == []
    ((volume, finding),) = volume_outliers(volumes(*usual, 2.0), Limits())
    assert volume.patient_id == "P8"
    assert "median of 9 courses is 200 cc" in finding.sentence
    assert list(volume_outliers(volumes(*usual[:6], 2.0), Limits())) == []  # too few courses


def test_equal_volumes_have_no_outlier_by_rounding():
    assert list(volume_outliers(volumes(*([100.0] * 9), 101.0), Limits())) == []


def test_unreadable_files_are_found():
    (found,) = unreadable_files(
        [{"stage": "index", "file": "a.dcm", "error": "cut off"}, {"stage": "dvh"}]
    )
    assert found.severity == "error"
    assert "a.dcm" in found.sentence


# -- the demonstration cohort ---------------------------------------------------------------------

# What is planted in the demonstration cohort, and the decision that its pelvis waits for.
DEMO = {
    ("", "files", "RD.truncated"),
    ("DEMO-BROKEN", "links", "refers to an RTSTRUCT"),
    ("DEMO-BROKEN", "links", "RTPLAN by the same frame"),
    ("DEMO-BROKEN", "links", "RTSTRUCT by the same frame"),
    ("DEMO-BROKEN", "links", "joined by their frame"),
    ("DEMO-PELVIS", "dose-decision", "phases or replace"),
    ("DEMO-PELVIS", "prescription-choice", "is not settled"),
}


def test_the_demonstration_cohort_shows_what_was_planted_and_nothing_else(tmp_path):
    assert main(["demo", str(tmp_path), "--quiet"]) in (0, 3)
    out = tmp_path / "rtpipeline"
    table = pd.read_parquet(out / "results" / "quality.parquet")
    loud = table[table.severity != "info"]
    found = {
        key
        for key in DEMO
        for r in loud.itertuples()
        if (r.patient_id, r.check) == key[:2] and key[2] in r.sentence
    }
    assert found == DEMO
    assert len(loud) == len(DEMO)
    # Structures that leave the dose grid or the image, and a file that is there twice.
    quiet = set(table[table.severity == "info"].check)
    assert quiet == {"dose-coverage", "roi-at-image-border", "duplicate-uid"}
    (facts,) = (out / "DEMO-BROKEN").glob("*/quality/quality.json")
    states = json.loads(facts.read_text(encoding="utf-8"))["states"]
    assert states["links"] == "found"
    assert states["laterality"] == "passed"
