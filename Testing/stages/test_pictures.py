"""Which planes a course's page shows, and what it says where something cannot be shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from RTPipelineLib.config import Config
from RTPipelineLib.course import Course
from RTPipelineLib.errors import DataError
from RTPipelineLib.geometry import Grid
from RTPipelineLib.overrides import Overrides
from RTPipelineLib.platform import write_json
from RTPipelineLib.stages import Task
from RTPipelineLib.stages.nrrd import grid_to_dict, write_nrrd
from RTPipelineLib.stages.pictures import course_slices

IMAGE = Grid([-100, -100, -60], np.eye(3), [2, 2, 3], (41, 101, 101))
DOSE = Grid([-60, -60, -60], np.eye(3), [4, 4, 4], (31, 31, 31))
FRAME, OTHER = "1.2.3", "1.2.4"


def ball(middle_mm: tuple[float, float, float], gy: float) -> np.ndarray:
    """A dose that falls off around a point."""
    index = np.stack(np.meshgrid(*[np.arange(31.0)] * 3, indexing="ij")[::-1], axis=-1)
    distance = np.linalg.norm(DOSE.to_lps(index) - np.array(middle_mm), axis=-1)
    return (gy * np.exp(-((distance / 25) ** 2))).astype(np.float32)


@pytest.fixture
def task(tmp_path) -> Task:
    """A course with an image and nothing else."""
    (tmp_path / "image").mkdir()
    (tmp_path / "dose").mkdir()
    write_nrrd(tmp_path / "image" / "ct.nrrd", np.zeros(IMAGE.shape, np.int16), IMAGE, {})
    volume = {"file": "image/ct.nrrd", "role": "planning", "modality": "CT", "frame_uid": FRAME}
    volume |= {"grid": grid_to_dict(IMAGE)}
    write_json(tmp_path / "image" / "image.json", {"volumes": [volume]})
    return Task(Course("P", "C", ""), tmp_path, tmp_path, Config(), Overrides())


def give_dose(folder: Path, *doses: np.ndarray, frame: str = FRAME, role: str = "plan") -> None:
    sources = []
    for number, dose in enumerate(doses):
        name = f"plan_{number}"
        write_nrrd(folder / "dose" / f"{name}.nrrd", dose, DOSE, {})
        source = {"name": name, "role": role, "nrrd": f"dose/{name}.nrrd", "frame_uid": frame}
        sources.append(source | {"plan_uids": [], "doses": []})
    write_json(folder / "dose" / "dose.json", {"sources": sources})


def places(slices) -> list[tuple[str, float]]:
    return [(picture.plane.name, picture.place_mm) for picture in slices.pictures]


def test_without_a_dose_the_planes_go_through_the_middle_of_the_image(task):
    slices = course_slices(task, [])
    assert places(slices) == [("axial", 0), ("sagittal", 0), ("coronal", 0)]
    assert slices.notes == ("the course has no dose that could be drawn",)
    assert slices.pictures[0].highest_gy is None and slices.levels_gy == ()


def test_without_a_target_they_go_through_the_high_dose(task):
    give_dose(task.folder, ball((-20, 16, 24), 50), role="total")
    slices = course_slices(task, [])
    assert places(slices) == [("axial", 24), ("sagittal", -20), ("coronal", 16)]
    axial = slices.pictures[0]
    assert axial.through == "through the middle of the high dose"
    assert axial.hottest_mm == pytest.approx((-20 + 101, 16 + 101))
    assert axial.highest_gy == pytest.approx(50, rel=0.01)
    assert slices.reference == "the highest dose"
    assert slices.levels_gy == pytest.approx((10, 20, 30, 40, 47.5, 50))


def test_the_hottest_point_elsewhere_gets_a_plane_of_its_own(task):
    dose = ball((0, 0, 0), 50)
    dose[18, 15, 15] = 60  # at z = 12
    give_dose(task.folder, dose, role="total")
    slices = course_slices(task, [])
    assert places(slices)[:2] == [("axial", 0), ("axial", 12)]
    assert slices.pictures[1].through == "through the hottest point"
    assert [picture.hottest_mm is None for picture in slices.pictures] == [True, *[False] * 3]


def test_a_dose_of_another_frame_is_not_drawn(task):
    give_dose(task.folder, ball((0, 0, 0), 50), frame=OTHER)
    slices = course_slices(task, [])
    assert slices.levels_gy == () and "another frame of reference" in slices.notes[0]


def test_of_doses_nobody_decided_on_one_is_drawn_by_its_name(task):
    give_dose(task.folder, ball((0, 0, 0), 50), ball((0, 0, 0), 20))
    slices = course_slices(task, [])
    assert slices.dose == "plan_0"
    assert slices.notes == ("only the dose plan_0 is drawn: which one counts is not decided",)


def test_a_dose_of_zero_has_no_levels(task):
    give_dose(task.folder, np.zeros(DOSE.shape, np.float32), role="total")
    slices = course_slices(task, [])
    assert slices.levels_gy == () and len(slices.pictures) == 3


def test_a_damaged_dose_is_named(task):
    give_dose(task.folder, ball((0, 0, 0), 50), role="total")
    path = task.folder / "dose" / "plan_0.nrrd"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"plan_0.nrrd cannot be read"):
        course_slices(task, [])


def test_a_course_without_an_image_has_no_pictures(task, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    slices = course_slices(replace(task, folder=empty), [])
    assert slices.pictures == () and "no planning image" in slices.notes[0]
