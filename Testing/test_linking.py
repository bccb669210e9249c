"""Links and courses: every rule of linking, on small hand-made indexes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from RTPipelineLib.course import BY_FRAME, BY_STUDY, BY_USER, REFERENCED, Course
from RTPipelineLib.dicom.index import DicomObject, ImageSeries
from RTPipelineLib.linking import (
    FRAME,
    FRAME_OR_STUDY,
    PLAN,
    STUDY,
    Corrections,
    Inputs,
    link_courses,
)


def item(kind: str, uid: str, *, patient="P", frame="F", study="S", summary=None) -> DicomObject:
    return DicomObject(
        path=f"{uid}.dcm",
        kind=kind,
        sop_class_uid="",
        modality=kind.upper(),
        patient_id=patient,
        study_uid=study,
        series_uid="",
        sop_uid=uid,
        frame_uid=frame,
        study_date="20240301",
        summary={"date": "20240301", **(summary or {})},
    )


def series(key: str, *, n=40, patient="P", frame="F", study="S", modality="CT") -> ImageSeries:
    return ImageSeries(
        key=key,
        patient_id=patient,
        study_uid=study,
        series_uid=key,
        frame_uid=frame,
        modality=modality,
        sop_class_uid="",
        description=f"series {key}",
        study_date="20240301",
        n_files=n,
        flags=(),
    )


def rtstruct(uid="RS", images=("CT",), **more) -> DicomObject:
    frames = [{"frame_uid": more.get("frame", "F"), "series_uids": list(images)}]
    return item("rtstruct", uid, summary={"frames": frames, "rois": []}, **more)


def rtplan(uid="RP", structs=("RS",), label="Plan", date="20240301", related=(), **more):
    summary = {
        "label": label,
        "date": date,
        "structure_set_uids": list(structs),
        "related_plans": [{"uid": u, "relationship": r} for u, r in related],
    }
    return item("rtplan", uid, summary=summary, **more)


def rtdose(uid="RD", plans=("RP",), structs=(), **more) -> DicomObject:
    summary = {"plan_uids": list(plans), "structure_set_uids": list(structs)}
    return item("rtdose", uid, summary=summary, **more)


def courses_of(*nodes, merge=FRAME_OR_STUDY, days=None, corrections=None) -> list[Course]:
    objects = [n for n in nodes if isinstance(n, DicomObject)]
    images = [n for n in nodes if isinstance(n, ImageSeries)]
    return link_courses(
        Inputs(objects, images, lambda key: [f"{key}/1.dcm"]),
        dicom_root="root",
        merge=merge,
        max_days_between_plans=days,
        corrections=corrections,
    )


def links_of(course: Course) -> set[tuple[str, str, str]]:
    return {(link.source, link.target, link.how) for link in course.links}


def flag_ids(course: Course) -> set[str]:
    return {flag.id for flag in course.flags}


def test_the_chain_of_references_makes_one_course():
    (course,) = courses_of(series("CT"), rtstruct(), rtplan(), rtdose())
    assert links_of(course) == {
        ("RD", "RP", REFERENCED),
        ("RP", "RS", REFERENCED),
        ("RS", "CT", REFERENCED),
    }
    assert course.planning_image.key == "CT"
    assert not course.flags


def test_references_win_over_different_frames_studies_and_patients():
    (course,) = courses_of(
        rtstruct(images=()),
        rtplan(patient="OTHER", frame="F2", study="S2"),
        rtdose(frame="F3", study="S3"),
    )
    assert course.patient_id == "P"
    assert "patient-id-mismatch" in flag_ids(course)
    assert "OTHER" in next(f.message for f in course.flags if f.id == "patient-id-mismatch")


def test_same_frame_of_two_patients_stays_two_courses():
    assert len(courses_of(series("A", patient="P1"), series("B", patient="P2"))) == 2


@pytest.mark.parametrize(("frame", "study", "how"), [("F", "S2", BY_FRAME), ("F2", "S", BY_STUDY)])
def test_fallback_by_frame_then_by_study_is_marked(frame, study, how):
    (course,) = courses_of(series("CT"), rtstruct(images=(), frame=frame, study=study))
    assert ("RS", "CT", how) in links_of(course)
    assert "fallback-link" in flag_ids(course)


def test_a_dose_that_names_an_absent_plan_gets_no_other_plan():
    (course,) = courses_of(rtstruct(images=()), rtplan(), rtdose(plans=("GONE",)))
    assert not course.targets_of("RD", "rtplan")
    assert course.targets_of("RD", "rtstruct")[0][1] == BY_FRAME
    broken = [f for f in course.flags if f.id == "broken-link"]
    assert len(broken) == 1 and "RD.dcm" in broken[0].message and "GONE" in broken[0].message


def test_a_dose_without_reference_takes_the_only_plan_of_its_frame():
    (course,) = courses_of(rtstruct(images=()), rtplan(), rtdose(plans=()))
    assert [(p.sop_uid, how) for p, how in course.targets_of("RD", "rtplan")] == [("RP", BY_FRAME)]


def test_a_dose_without_reference_is_not_guessed_between_two_plans():
    (course,) = courses_of(rtstruct(images=()), rtplan("A"), rtplan("B"), rtdose(plans=()))
    assert not course.targets_of("RD", "rtplan")
    assert "ambiguous-link" in flag_ids(course)


def test_a_person_corrects_a_link():
    corrections = Corrections(links={"RD": ("B",)})
    (course,) = courses_of(
        rtstruct(images=()), rtplan("A"), rtplan("B"), rtdose(plans=("A",)), corrections=corrections
    )
    assert [(p.sop_uid, how) for p, how in course.targets_of("RD", "rtplan")] == [("B", BY_USER)]


def test_parts_of_a_patient_without_plan_are_courses_too():
    (only_ct,) = courses_of(series("CT"))
    assert only_ct.planning_image.key == "CT" and not only_ct.objects
    (only_dose,) = courses_of(rtdose(plans=("GONE",)))
    assert only_dose.of_kind("rtdose") and "broken-link" in flag_ids(only_dose)


def test_the_planning_image_is_the_referenced_one_not_the_largest():
    (course,) = courses_of(series("PHASE0", n=90), series("PHASE5"), rtstruct(images=("PHASE5",)))
    assert course.planning_image.key == "PHASE5"
    assert {i.key for i in course.images} == {"PHASE0", "PHASE5"}
    assert "planning-image-by-size" not in flag_ids(course)


def test_without_reference_the_largest_ct_is_taken_and_said_so():
    (course,) = courses_of(series("A", n=20), series("B", n=60), series("MR", n=99, modality="MR"))
    assert course.planning_image.key == "B"
    assert "planning-image-by-size" in flag_ids(course)
    chosen = Corrections(planning_images=frozenset({"A"}))
    (course,) = courses_of(series("A", n=20), series("B", n=60), corrections=chosen)
    assert course.planning_image.key == "A" and "planning-image-by-size" not in flag_ids(course)


def test_a_correction_that_names_no_file_is_flagged():
    chosen = Corrections(links={"RD": ("GONE",)})
    (course,) = courses_of(series("CT"), rtstruct(), rtplan(), rtdose(), corrections=chosen)
    (flag,) = course.flags
    assert flag.id == "broken-link" and "links RTDOSE RD.dcm to GONE" in flag.message
    assert ("RD", "RP", REFERENCED) in links_of(course)


def test_two_treatments_of_one_patient_stay_apart():
    first = [series("CT"), rtstruct(), rtplan(), rtdose()]
    other = {"frame": "F2", "study": "S2"}
    second = [
        series("CT2", **other),
        rtstruct("RS2", images=("CT2",), **other),
        rtplan("RP2", structs=("RS2",), **other),
        rtdose("RD2", plans=("RP2",), **other),
    ]
    assert len(courses_of(*first, *second)) == 2


def two_plans():
    """Two plans of one frame in two studies, 90 days apart, sharing structure set and CT."""
    return [
        series("CT"),
        rtstruct(),
        rtplan("P1", date="20240301"),
        rtplan("P2", date="20240530", study="S2"),
        rtdose("D1", plans=("P1",)),
        rtdose("D2", plans=("P2",), study="S2"),
    ]


@pytest.mark.parametrize(("merge", "count"), [(FRAME_OR_STUDY, 1), (FRAME, 1), (PLAN, 2)])
def test_merge_rules(merge, count):
    courses = courses_of(*two_plans(), merge=merge)
    assert len(courses) == count
    for course in courses:
        assert course.of_kind("rtstruct") and course.planning_image is not None


def test_study_rule_ignores_the_frame():
    loose = [series("A", frame="F1", study="S1"), series("B", frame="F1", study="S2")]
    assert len(courses_of(*loose, merge=STUDY)) == 2
    assert len(courses_of(*loose, merge=FRAME)) == 1


def test_plans_far_apart_are_split_and_share_their_structure_set():
    assert len(courses_of(*two_plans(), days=90)) == 1
    early, late = courses_of(*two_plans(), days=89)
    assert [d.sop_uid for d in early.of_kind("rtdose")] == ["D1"]
    assert [d.sop_uid for d in late.of_kind("rtdose")] == ["D2"]
    assert early.of_kind("rtstruct") == late.of_kind("rtstruct")


def test_a_dose_that_only_its_plan_names_follows_it():
    early, late = [n for n in two_plans() if getattr(n, "kind", "") == "rtplan"]
    late = replace(late, summary={**late.summary, "dose_uids": ["D2"]})
    nameless = rtdose("D2", plans=(), study="S2")
    others = [n for n in two_plans() if getattr(n, "kind", "") not in ("rtplan", "rtdose")]
    first, second = courses_of(*others, early, late, rtdose("D1", plans=("P1",)), nameless, days=9)
    assert [d.sop_uid for d in first.of_kind("rtdose")] == ["D1"]
    assert [d.sop_uid for d in second.of_kind("rtdose")] == ["D2"]


def test_a_plan_without_date_is_split_by_its_study_or_stays_and_says_so():
    undated = rtplan("P3", date="", structs=())
    early, late = courses_of(*two_plans(), replace(undated, study_date="20240531"), days=9)
    assert [p.sop_uid for p in late.of_kind("rtplan")] == ["P2", "P3"]
    assert "plan-undated" not in flag_ids(early) | flag_ids(late)
    early, late = courses_of(*two_plans(), replace(undated, study_date=""), days=9)
    assert [p.sop_uid for p in early.of_kind("rtplan")] == ["P1", "P3"]
    assert "plan-undated" in flag_ids(early) and "plan-undated" not in flag_ids(late)


def test_a_registration_joins_the_courses_of_its_frames_without_merging_them():
    reg = item("reg", "REG", frame="F1", summary={"frames": ["F1", "F2"]})
    courses = courses_of(
        series("A", frame="F1", study="S1"), series("B", frame="F2", study="S2"), reg
    )
    assert len(courses) == 2
    assert all(c.of_kind("reg") for c in courses)


def test_a_verification_plan_does_not_pull_its_patient_plan_in():
    patient = [series("CT"), rtstruct(), rtplan()]
    phantom = rtplan(
        "QA", structs=(), related=[("RP", "VERIFIED_PLAN")], patient="QA", frame="FQ", study="SQ"
    )
    assert len(courses_of(*patient, phantom)) == 2


def test_the_order_of_files_does_not_matter():
    nodes = [*two_plans(), rtstruct("RS9", images=())]
    assert courses_of(*nodes) == courses_of(*reversed(nodes))


def test_a_course_survives_json():
    import json

    (course,) = courses_of(*two_plans())
    assert Course.from_dict(json.loads(json.dumps(course.to_dict()))) == course
