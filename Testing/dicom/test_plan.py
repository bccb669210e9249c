"""Plans as dataclasses: photon, ion, brachytherapy."""

from __future__ import annotations

import json

import pytest
from dicom_objects import RT_PLAN, item, rt_object, save

from RTPipelineLib.dicom.dataset import read_dataset
from RTPipelineLib.dicom.headers import summarise
from RTPipelineLib.dicom.plan import Plan, Share, read_plan
from RTPipelineLib.errors import DicomError


def test_eclipse_plan(shared_data):
    """46 Gy in 23 fractions by four beams; the fifth, for set-up, has neither dose nor meterset."""
    plan = read_plan(next((shared_data / "eclipse_prostate").glob("RP*.dcm")))
    (group,) = plan.fraction_groups
    assert group.fractions == 23
    assert plan.dose_references[0].target_gy == 46.0
    assert plan.dose_references[0].type == "TARGET"
    assert sum(beam.dose_gy for beam in group.beams if beam.dose_gy is not None) * 23 == 46.0
    assert [beam.number for beam in group.beams if beam.meterset is None] == [5]
    assert len(plan.beams) == 5
    assert not plan.is_ion
    assert not plan.is_brachy


def test_two_fraction_groups(shared_data):
    """42.4 Gy in 16 and 10 Gy in 4 fractions, in a file without preamble."""
    plan = read_plan(shared_data / "orientations/rtplan_two_fraction_groups.dcm")
    assert [(g.number, g.fractions, len(g.beams)) for g in plan.fraction_groups] == [
        (1, 16, 3),
        (2, 4, 3),
    ]
    assert [reference.target_gy for reference in plan.dose_references] == [42.4, 10.0, None]


def test_ion_plan(shared_data):
    plan = read_plan(shared_data / "proton_beams/ramped_2Gy_ver2_full.dcm")
    assert plan.is_ion
    assert plan.label == "Slope101010E_o_1"
    assert [beam.number for beam in plan.fraction_groups[0].beams] == [1, 2]


def test_brachytherapy_plan(tmp_path):
    ds = rt_object(
        RT_PLAN,
        "RTPLAN",
        FractionGroupSequence=[
            item(
                FractionGroupNumber=1,
                NumberOfFractionsPlanned=4,
                NumberOfBeams=0,
                ReferencedBrachyApplicationSetupSequence=[
                    item(ReferencedBrachyApplicationSetupNumber=2, BrachyApplicationSetupDose="7")
                ],
            )
        ],
        BrachyTreatmentTechnique="INTRACAVITARY",
        ApplicationSetupSequence=[item(ApplicationSetupNumber=2)],
    )
    plan = read_plan(save(ds, tmp_path / "rp.dcm"))
    assert plan.is_brachy
    assert plan.fraction_groups[0].brachy == (Share(2, 7.0),)
    assert plan.fraction_groups[0].beams == ()


def test_related_plans(shared_data):
    plan = read_plan(next((shared_data / "head_phantom").glob("RN*.dcm")))
    assert plan.intent == "VERIFICATION"
    assert [relationship for _, relationship in plan.related_plans] == ["VERIFIED_PLAN"]
    assert plan.fraction_groups[0].fractions == 5


def test_a_plan_of_a_stored_summary_is_the_plan_of_its_file(shared_data):
    path = shared_data / "breast_clinical/rtplan.dcm"
    stored = json.loads(json.dumps(summarise(read_dataset(path))))
    plan = read_plan(path)
    assert Plan.from_summary(stored, plan.sop_uid) == plan
    assert plan.flags == ("label-contains-name",)  # the patient is called boost^breast


def test_other_objects_are_refused(shared_data):
    with pytest.raises(DicomError, match=r"rtss.dcm: is no RT Plan"):
        read_plan(shared_data / "breast_clinical/rtss.dcm")
