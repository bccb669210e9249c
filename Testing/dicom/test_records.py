"""Treatment records as dataclasses: beams, ion beams, brachytherapy and the summary."""

from __future__ import annotations

import pytest
from dicom_objects import BEAMS_RECORD, RT_PLAN, STORAGE, item, rt_object, save

from RTPipelineLib.dicom.records import GroupSummary, Session, read_record
from RTPipelineLib.errors import DicomError

BRACHY_RECORD, SUMMARY_RECORD, ION_RECORD = STORAGE + "481.6", STORAGE + "481.7", STORAGE + "481.9"


def session(**values: object):
    return item(
        CurrentFractionNumber=3,
        TreatmentDeliveryType="TREATMENT",
        TreatmentTerminationStatus="NORMAL",
        **values,
    )


@pytest.mark.parametrize(
    ("sop_class", "sequence"),
    [
        (BEAMS_RECORD, "TreatmentSessionBeamSequence"),
        (ION_RECORD, "TreatmentSessionIonBeamSequence"),
    ],
)
def test_beams(tmp_path, sop_class, sequence):
    beams = [
        session(
            ReferencedBeamNumber=number,
            SpecifiedPrimaryMeterset="100",
            DeliveredPrimaryMeterset=meterset,
        )
        for number, meterset in ((1, "100"), (2, "40.5"))
    ]
    ds = rt_object(
        sop_class,
        "RTRECORD",
        TreatmentDate="20240305",
        TreatmentTime="1015",
        ReferencedFractionGroupNumber=1,
        ReferencedRTPlanSequence=[item(ReferencedSOPInstanceUID="1.9")],
        **{sequence: beams},
    )
    record = read_record(save(ds, tmp_path / "rt.dcm"))
    assert (record.date, record.time) == ("20240305", "1015")
    assert record.plan_uids == ("1.9",)
    assert record.fraction_group == 1
    assert record.beams == (
        Session(1, 3, "TREATMENT", "NORMAL", 100.0, 100.0),
        Session(2, 3, "TREATMENT", "NORMAL", 100.0, 40.5),
    )
    assert record.flags == ()


def test_brachytherapy(tmp_path):
    ds = rt_object(
        BRACHY_RECORD,
        "RTRECORD",
        TreatmentSessionApplicationSetupSequence=[
            session(ReferencedBrachyApplicationSetupNumber=4)
        ],
    )
    record = read_record(save(ds, tmp_path / "rt.dcm"))
    assert record.brachy == (Session(4, 3, "TREATMENT", "NORMAL", None, None),)
    assert record.beams == ()


def test_treatment_summary(tmp_path):
    ds = rt_object(
        SUMMARY_RECORD,
        "RTRECORD",
        MostRecentTreatmentDate="20240401",
        FractionGroupSummarySequence=[
            item(
                ReferencedFractionGroupNumber=1,
                FractionGroupType="EXTERNAL_BEAM",
                NumberOfFractionsPlanned=25,
                NumberOfFractionsDelivered=24,
            )
        ],
    )
    record = read_record(save(ds, tmp_path / "rt.dcm"))
    assert record.date == "20240401"
    assert record.fraction_groups == (GroupSummary(1, "EXTERNAL_BEAM", 25, 24),)


def test_malformed_meterset_is_none_and_flagged(tmp_path):
    ds = rt_object(
        BEAMS_RECORD,
        "RTRECORD",
        TreatmentSessionBeamSequence=[
            session(ReferencedBeamNumber=1, DeliveredPrimaryMeterset="77.25 ")
        ],
    )
    path = save(ds, tmp_path / "rt.dcm")
    path.write_bytes(path.read_bytes().replace(b"77.25 ", b"77,25 "))
    record = read_record(path)
    assert record.beams[0].delivered_meterset is None
    assert record.flags == ("bad-value:DeliveredPrimaryMeterset",)


def test_other_objects_are_refused(tmp_path):
    path = save(rt_object(RT_PLAN, "RTPLAN"), tmp_path / "rp.dcm")
    with pytest.raises(DicomError, match=r"rp.dcm: is no treatment record"):
        read_record(path)
