"""Headers of RT objects: the contract, and tolerance of everything that may be wrong."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from dicom_objects import (
    BEAMS_RECORD,
    CT_IMAGE,
    DEFORMABLE_REG,
    RT_DOSE,
    RT_ION_PLAN,
    RT_PLAN,
    RT_STRUCT,
    SPATIAL_REG,
    item,
    rt_object,
    save,
)
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from RTPipelineLib.dicom.dataset import Header, read_dataset
from RTPipelineLib.dicom.headers import kind_of, summarise
from RTPipelineLib.errors import DicomError, RTPipelineError


def plan(**values: object):
    return rt_object(
        RT_PLAN,
        "RTPLAN",
        **{
            "RTPlanLabel": "Pelvis",
            "RTPlanDate": "20240301",
            "FractionGroupSequence": [
                item(
                    FractionGroupNumber=1,
                    NumberOfFractionsPlanned=25,
                    ReferencedBeamSequence=[
                        item(ReferencedBeamNumber=1, BeamDose="1.8", BeamMeterset="100.5")
                    ],
                )
            ],
            "BeamSequence": [item(BeamNumber=1, BeamName="AP", TreatmentDeliveryType="TREATMENT")],
            **values,
        },
    )


def raw(path: Path, old: bytes, new: bytes) -> Path:
    """Damage a written file: replace bytes by as many others."""
    data = path.read_bytes()
    assert data.count(old) == 1
    assert len(old) == len(new)
    path.write_bytes(data.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("sop_class", "modality", "kind"),
    [
        (RT_STRUCT, "RTDOSE", "rtstruct"),  # a real export says so
        (RT_DOSE, "", "rtdose"),
        ("", "RTPLAN", "rtplan"),
        ("", "ct", "image"),
        (CT_IMAGE, "OT", "image"),
        (BEAMS_RECORD, "RTRECORD", "record"),
        (DEFORMABLE_REG, "REG", "reg"),
        ("1.2.840.10008.5.1.4.1.1.7", "CT", "other"),  # secondary capture of a CT
        ("1.2.840.10008.5.1.4.1.1.481.1", "RTIMAGE", "other"),
        ("", "", "other"),
    ],
)
def test_kind_follows_the_sop_class_then_the_modality(sop_class, modality, kind):
    assert kind_of(sop_class, modality) == kind


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_plan_summary_survives_json_and_every_transfer_syntax(tmp_path, syntax):
    path = save(plan(), tmp_path / "rp.dcm", syntax)
    summary = summarise(read_dataset(path))
    assert json.loads(json.dumps(summary)) == summary
    assert summary["label"] == "Pelvis"
    assert summary["date"] == "20240301"
    group = summary["fraction_groups"][0]
    assert (group["number"], group["fractions"]) == (1, 25)
    assert group["beams"] == [
        {"number": 1, "dose_gy": 1.8, "meterset": 100.5, "dose_reference_uid": ""}
    ]
    assert summary["beams"][0]["delivery_type"] == "TREATMENT"
    assert summary["flags"] == []
    assert not summary["ion"]


def test_a_summary_of_a_dataset_in_memory_equals_that_of_its_file(tmp_path):
    ds = plan()
    in_memory = summarise(ds)
    assert summarise(read_dataset(save(ds, tmp_path / "rp.dcm"))) == in_memory


def test_bad_numbers_are_empty_and_flagged(tmp_path):
    path = raw(save(plan(), tmp_path / "rp.dcm"), b"100.5 ", b"1OO,5 ")
    summary = summarise(read_dataset(path))
    assert summary["fraction_groups"][0]["beams"][0]["meterset"] is None
    assert summary["fraction_groups"][0]["beams"][0]["dose_gy"] == 1.8
    assert summary["flags"] == ["bad-value:BeamMeterset"]


@pytest.mark.parametrize(
    "text", [b"nan   ", b"1\\2\\3 ", b"inf   ", b"--1.0 ", b"\xff\xfe\x00\x01ab"]
)
def test_numbers_that_are_none_become_none(tmp_path, text):
    path = raw(save(plan(), tmp_path / "rp.dcm"), b"100.5 ", text)
    summary = summarise(read_dataset(path))
    assert summary["fraction_groups"][0]["beams"][0]["meterset"] is None
    assert "bad-value:BeamMeterset" in summary["flags"]


def test_a_sequence_that_holds_something_else_is_empty_and_flagged():
    ds = plan()
    ds.add_new(0x300A00B0, "LO", "no beams")  # BeamSequence
    summary = summarise(ds)
    assert summary["beams"] == []
    assert "bad-value:BeamSequence" in summary["flags"]


@pytest.mark.parametrize("sop_class", [RT_PLAN, RT_DOSE, RT_STRUCT, BEAMS_RECORD, SPATIAL_REG])
def test_an_empty_object_has_a_complete_empty_summary(sop_class):
    summary = summarise(rt_object(sop_class, ""))
    assert summary["flags"] == []
    empty = ("", None, False, [])
    given = {"frames"} if sop_class == SPATIAL_REG else set()  # the object's own frame
    assert {k for k, v in summary.items() if v not in empty} == given


def test_images_have_no_summary():
    assert summarise(rt_object(CT_IMAGE, "CT")) == {}


@pytest.mark.parametrize(
    ("name", "label", "kept"),
    [
        ("Doe^Jane", "DOE_prostate", False),
        ("Doe^Jane", "prostate_jane", False),
        ("Doe^Jane", "Pelvis", True),
        ("Li^Bo", "Limbo", True),  # parts shorter than three letters are words
        ("Müller^José", "muller1", False),
        ("MUELLER-SCHMIDT^A", "schmidt boost", False),
        ("Yamada^Tarou=山田^太郎", "Yamada", False),
        ("", "Pelvis", True),
    ],
)
def test_labels_with_the_patients_name_are_dropped(name, label, kept):
    ds = plan(PatientName=name, RTPlanLabel=label)
    ds.SpecificCharacterSet = "ISO_IR 192"
    summary = summarise(ds)
    assert summary["label"] == (label if kept else "")
    assert ("label-contains-name" in summary["flags"]) is not kept


def test_no_text_but_roi_names_can_hold_the_name():
    ds = rt_object(
        RT_STRUCT,
        "RTSTRUCT",
        StructureSetLabel="jane",
        StructureSetName="of Doe",
        StructureSetROISequence=[item(ROINumber=1, ROIName="Doe node")],
    )
    ds.PatientBirthDate = "19500101"
    text = json.dumps(summarise(ds))
    assert "19500101" not in text
    assert text.lower().count("doe") == 1
    assert "jane" not in text


def test_dose_summary(shared_data):
    path = shared_data / "proton_beams/RD1.2.752.243.1.1.20250523160113556.4000.16653.dcm"
    summary = summarise(read_dataset(path, stop_before_pixels=True))
    assert summary["units"] == "GY"
    assert summary["dose_type"] == "EFFECTIVE"
    assert summary["summation_type"] == "BEAM"
    assert summary["referenced_beams"] == [
        {
            "plan_uid": "1.2.752.243.1.1.20250523160113465.2000.31856",
            "fraction_group": 1,
            "beams": [1],
            "brachy": [],
        }
    ]
    assert (summary["rows"], summary["columns"], summary["frames"]) == (107, 107, 110)
    assert len(summary["frame_offsets"]) == 110
    assert summary["bits"] == 16
    assert summary["has_pixels"]
    assert summary["tissue_correction"] == "IMAGE\\ROI_OVERRIDE"


def test_real_plans(shared_data):
    two = summarise(read_dataset(shared_data / "orientations/rtplan_two_fraction_groups.dcm"))
    assert [group["fractions"] for group in two["fraction_groups"]] == [16, 4]
    assert [r["target_gy"] for r in two["dose_references"]] == [42.4, 10.0, None]
    ion = summarise(read_dataset(shared_data / "proton_beams/ramped_2Gy_ver2_full.dcm"))
    assert ion["ion"]
    assert [beam["radiation_type"] for beam in ion["beams"]] == ["PROTON", "PROTON"]
    folder = shared_data / "head_phantom"
    verification = summarise(read_dataset(next(folder.glob("RN*"))))
    assert verification["intent"] == "VERIFICATION"
    assert [p["relationship"] for p in verification["related_plans"]] == ["VERIFIED_PLAN"]


def test_ion_plan_without_beams_is_ion():
    assert summarise(rt_object(RT_ION_PLAN, "RTPLAN"))["ion"]


def test_treatment_record():
    ds = rt_object(
        BEAMS_RECORD,
        "RTRECORD",
        TreatmentDate="20240305",
        ReferencedFractionGroupNumber=2,
        ReferencedRTPlanSequence=[item(ReferencedSOPInstanceUID="1.9")],
        TreatmentSessionBeamSequence=[
            item(
                ReferencedBeamNumber=3,
                CurrentFractionNumber=7,
                TreatmentDeliveryType="CONTINUATION",
                TreatmentTerminationStatus="MACHINE",
                SpecifiedPrimaryMeterset="120",
                DeliveredPrimaryMeterset="55.5",
            )
        ],
    )
    summary = summarise(ds)
    assert summary["date"] == "20240305"
    assert summary["plan_uids"] == ["1.9"]
    assert summary["fraction_group"] == 2
    assert summary["beams"] == [
        {
            "number": 3,
            "fraction": 7,
            "delivery_type": "CONTINUATION",
            "termination": "MACHINE",
            "specified_meterset": 120.0,
            "delivered_meterset": 55.5,
        }
    ]


# -- opening files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"not DICOM at all, just some text\n" * 20, "is not a DICOM file"),
        (b"\0" * 300, "is not a DICOM file"),
    ],
)
def test_files_that_are_not_dicom(tmp_path, content, sentence):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DicomError, match=sentence) as caught:
        read_dataset(path)
    assert caught.value.path == str(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DicomError, match="no such file"):
        read_dataset(tmp_path / "none.dcm")
    with pytest.raises(DicomError, match="folder"):
        read_dataset(tmp_path)


def test_a_file_without_preamble_is_read(tmp_path):
    path = save(plan(), tmp_path / "rp.dcm")
    bare = tmp_path / "bare"
    bare.write_bytes(path.read_bytes()[132:])
    assert summarise(read_dataset(bare)) == summarise(read_dataset(path))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_no_truncation_is_taken_for_a_whole_file(tmp_path, syntax):
    """Only a cut between two top-level elements leaves a valid (shorter) object."""
    whole = save(plan(), tmp_path / "rp.dcm", syntax)
    data = whole.read_bytes()
    elements = sum(1 for _ in read_dataset(whole).keys())  # noqa: SIM118
    accepted = 0
    for size in range(400, len(data)):
        path = tmp_path / "cut.dcm"
        path.write_bytes(data[:size])
        try:
            read_dataset(path)
            accepted += 1
        except DicomError:
            pass
    assert accepted < elements


def test_damaged_files_raise_nothing_but_our_errors(tmp_path):
    """Random bytes overwritten in a plan: a summary or one of our errors, nothing else."""
    data = save(plan(), tmp_path / "rp.dcm").read_bytes()
    generator = random.Random(5)
    outcomes = set()
    for _ in range(600):
        damaged = bytearray(data)
        for _ in range(generator.randint(1, 8)):
            damaged[generator.randrange(132, len(data))] = generator.randrange(256)
        path = tmp_path / "damaged.dcm"
        path.write_bytes(damaged)
        try:
            json.dumps(summarise(read_dataset(path)), allow_nan=False)
            outcomes.add("read")
        except RTPipelineError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_header_reads_what_pydicom_reads(shared_data):
    """Every number of a real dose and plan as pydicom decodes it."""
    for name in ("breast_clinical/rtdose.dcm", "breast_clinical/rtplan.dcm"):
        ds = read_dataset(shared_data / name, stop_before_pixels=True)
        header = Header(ds)
        for element in ds:
            if element.VR in ("DS", "IS", "US") and element.value not in (None, ""):
                expected = element.value if element.VM > 1 else [element.value]
                assert header.numbers(element.keyword) == [float(v) for v in expected]
            if element.VR in ("LO", "SH", "UI", "CS") and element.VM == 1:
                assert header.text(element.keyword) == str(element.value).strip()
        assert header.flags == []
