"""Course folders: IDs given once and kept, names that are safe."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from RTPipelineLib.cli import main
from RTPipelineLib.course import COURSE_FILE, Course, ImageEntry, ObjectEntry, read_course
from RTPipelineLib.errors import DataError
from RTPipelineLib.linking.inputs import inputs_of
from RTPipelineLib.run.courses import new_course_id, place, write_course
from Testing.rt_export import Export


def plan(uid: str, label: str = "Prostate A", date: str = "20240312") -> ObjectEntry:
    summary = {"label": label, "date": date}
    return ObjectEntry("rtplan", uid, f"{uid}.dcm", "P1", "S", "F", date, summary)


def course(*objects: ObjectEntry, patient: str = "P1") -> Course:
    return Course(patient, "", "root", (), objects)


def image(key: str = "CT1") -> ImageEntry:
    return ImageEntry(key, "CT", key, "S", "F", "P1", "", "20231224", ("a",), "planning")


def test_id_is_month_and_label():
    assert new_course_id(course(plan("1"))) == "2024-03_ProstateA"
    assert new_course_id(course(plan("1", label="", date=""))) == "undated_Plan"
    assert new_course_id(course(plan("1", label="../../x y%"))) == "2024-03_XY"
    assert new_course_id(replace(course(), images=(image(),))) == "2023-12_CT"


def test_the_first_plan_names_the_course():
    both = course(plan("1", "Boost", "20240401"), plan("2", "Base", "20240301"))
    assert new_course_id(both) == "2024-03_Base"


def test_an_id_stays_when_objects_arrive_later(tmp_path):
    first = place([course(plan("2", "Boost", "20240401"))], tmp_path)[0]
    write_course(first)
    later = course(plan("1", "Base", "20240301"), plan("2", "Boost", "20240401"))
    second = place([later], tmp_path)[0]
    assert second.folder == first.folder
    assert second.course.course_id == "2024-04_Boost"
    write_course(second)
    assert len(read_course(second.folder).objects) == 2


def test_equal_names_get_numbers_and_keep_them(tmp_path):
    courses = [course(plan("1")), course(plan("2"))]
    placed = place(courses, tmp_path)
    assert [p.course.course_id for p in placed] == ["2024-03_ProstateA", "2024-03_ProstateA_2"]
    for placement in placed:
        write_course(placement)
    again = place(list(reversed(courses)), tmp_path)
    assert [p.folder for p in again] == [p.folder for p in reversed(placed)]


def test_courses_that_became_one_keep_the_larger_folder(tmp_path):
    for placement in place([course(plan("1"), plan("2")), course(plan("3"))], tmp_path):
        write_course(placement)
    merged = place([course(plan("1"), plan("2"), plan("3"))], tmp_path)[0]
    assert merged.folder.name == "2024-03_ProstateA"
    assert [path.name for path in merged.superseded] == ["2024-03_ProstateA_2"]


def test_courses_that_share_objects_keep_their_own_folders(tmp_path):
    """Plans that stand alone (`merge: plan`) share their image; a registration joins two courses.
    The first course has the name that sorts last."""
    courses = [
        replace(course(plan("1", "Zeta", "20240301")), images=(image(),)),
        replace(course(plan("2", "Alpha", "20240302")), images=(image(),)),
    ]
    first = place(courses, tmp_path)
    for placement in first:
        write_course(placement)
    assert place(courses, tmp_path) == first
    assert place(courses[1:], tmp_path) == [replace(first[1], superseded=(first[0].folder,))]


@pytest.mark.parametrize(
    "patient", ["../../x", "a" * 300, "CON", "results", "a/b\\c:d*?", " .", "ß"]
)
def test_no_patient_id_leaves_the_output_folder(tmp_path, patient):
    out = tmp_path / "out"
    placement = place([course(plan("1"), patient=patient)], out)[0]
    write_course(placement)
    assert placement.folder.resolve().parent.parent == out.resolve()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert len(placement.folder.parent.name) <= 40
    assert read_course(placement.folder).patient_id == patient


def test_objects_without_patient_id_are_kept_apart(tmp_path):
    placed = place([course(plan("1"), patient=""), course(plan("2"), patient="")], tmp_path)
    assert placed[0].folder.parent != placed[1].folder.parent
    assert placed[0].course.course_id != placed[1].course.course_id


def test_a_damaged_course_file_is_made_anew_in_its_folder(tmp_path):
    placement = place([course(plan("1"))], tmp_path)[0]
    write_course(placement)
    (placement.folder / COURSE_FILE).write_text('{"schema": 1, "pat', encoding="utf-8")
    with pytest.raises(DataError, match="cannot be read"):
        read_course(placement.folder)
    again = place([course(plan("1"))], tmp_path)[0]
    assert again.folder == placement.folder
    write_course(again)
    assert read_course(again.folder) == again.course


def test_another_schema_is_refused_with_the_way_out(tmp_path):
    placement = place([course(plan("1"))], tmp_path)[0]
    write_course(placement)
    path = placement.folder / COURSE_FILE
    path.write_text(path.read_text(encoding="utf-8").replace('"schema": 1', '"schema": 99'))
    with pytest.raises(DataError, match=r"schema 99.*reads 1"):
        read_course(placement.folder)


def test_a_series_gets_both_contents_of_a_uid_so_that_its_reader_refuses_it():
    index = SimpleNamespace(
        duplicates=lambda: [("1", ["a", "b"], False), ("2", ["c", "d"], True)],
        objects=lambda: [SimpleNamespace(sop_uid="1"), SimpleNamespace(sop_uid="2")],
        series=list,
        series_files=lambda key: ["a", "c", "e"],
    )
    inputs = inputs_of(index)
    assert inputs.files_of("CT") == ["a", "b", "c", "e"]
    assert [item.sop_uid for item in inputs.objects] == ["2"]


def test_days_between_plans_split_a_course(tmp_path, capsys):
    """The key of the configuration reaches the linking; `Testing/test_linking.py` has the rest."""
    export = Export(tmp_path)
    structures = export.structures()
    for label, date in (("Base", "20240301"), ("Boost", "20240701")):
        export.dose(export.plan(label, 5, date=date, structures=structures), 10.0)
    config = tmp_path / "config.yaml"
    found = []
    for text in ("{}\n", "max_days_between_plans: 122\n", "max_days_between_plans: 121\n"):
        config.write_text(text)
        arguments = [str(tmp_path / "dicom"), str(tmp_path / "out"), "--config", str(config)]
        assert main(["run", *arguments, "--dry-run"]) == 0
        found.append([line.split("\t")[1] for line in capsys.readouterr().out.splitlines()])
    assert found == [["2024-03_Base"], ["2024-03_Base"], ["2024-03_Base", "2024-07_Boost"]]
