"""Structures that a person edited: read from the course's folder, beside those they came from."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest

from RTPipelineLib import compute_dvh
from RTPipelineLib.cli import main
from RTPipelineLib.course import OpenCourse, course_folders, open_course
from RTPipelineLib.dicom.dataset import read_dataset
from RTPipelineLib.dicom.structures import read_structure_set
from RTPipelineLib.dicom.write import ImageReference, write_structure_set
from RTPipelineLib.model import Mask
from RTPipelineLib.phantoms.cohort import make_cohort
from RTPipelineLib.structures.outlines import outlines
from RTPipelineLib.structures.voxelise import voxelise

TARGET = "PTV_54"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One patient, run once."""
    root = tmp_path_factory.mktemp("edited")
    make_cohort(root / "dicom", patients=["DEMO-LUNG"])
    assert run(root) == 0
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


NUMBERS = "load,structures,dose,dvh"


def run(root: Path, stages: str = NUMBERS) -> int:
    return main(["run", str(root / "dicom"), str(root / "out"), "--stages", stages, "--quiet"])


def course_of(root: Path) -> OpenCourse:
    (folder,) = course_folders(root / "out")
    return open_course(folder)


def metrics(root: Path) -> pd.DataFrame:
    table = pd.read_parquet(root / "out" / "results" / "dvh_metrics.parquet")
    return table.set_index(["source", "roi_name"])


def edit(course: OpenCourse) -> Mask:
    """The target without its upper half, written as the scene writes edited segments."""
    grid = course.image().grid
    roi = next(r for r in course.structures() if r.name == TARGET)
    mask = voxelise(roi.on_image(grid), grid, "centre")
    inside = np.array(mask.array)
    used = np.flatnonzero(inside.any(axis=(1, 2)))
    inside[used[len(used) // 2] :] = 0
    half = Mask(TARGET, inside, mask.grid, number=roi.number, frame_uid=roi.frame_uid)
    image = course.course.planning_image
    slices = [read_dataset(p, stop_before_pixels=True) for p in course.course.image_paths(image)]
    path = course.folder / "edited" / "RS_half.dcm"
    path.parent.mkdir()
    write_structure_set(
        path,
        [outlines(half)],
        patient_from=slices[0],
        image=ImageReference.of(slices),
        label="edited",
        description="",
    )
    return half


def test_the_same_contours_have_the_same_numbers(root: Path) -> None:
    """An unchanged copy: every metric is the one of the structure that came with the plan."""
    course = course_of(root)
    before = metrics(root)
    (entry,) = course.course.of_kind("rtstruct")
    (course.folder / "edited").mkdir()
    shutil.copy(course.course.path_of(entry), course.folder / "edited" / "RS_copy.dcm")
    assert run(root) == 0
    table = metrics(root)
    pd.testing.assert_frame_equal(table.loc[["clinical"]], before.loc[["clinical"]])
    drawn = before.loc["clinical"].query("volume_cc > 0")
    numbers = drawn.select_dtypes("number").columns
    pd.testing.assert_frame_equal(
        table.loc["edited"].loc[drawn.index, numbers], drawn[numbers], check_exact=True
    )
    agreement = pd.read_parquet(root / "out" / "results" / "agreement.parquet")
    assert set(agreement.source_a) == {"clinical"} and set(agreement.source_b) == {"edited"}
    assert (agreement.dice.dropna() == 1).all() and TARGET in set(agreement.roi_name_b)


def test_an_edit_has_its_dvh_its_agreement_and_its_place_on_the_page(root: Path) -> None:
    course = course_of(root)
    half = edit(course)
    assert run(root, f"{NUMBERS},quality,report") == 0
    row = metrics(root).loc[("edited", TARGET)]
    (dose,) = course.doses()
    (roi,) = read_structure_set(course.folder / "edited" / "RS_half.dcm").rois
    again = compute_dvh(roi.on_image(course.image().grid), dose)
    assert row.volume_cc == again.volume_cc and row["Dmean_Gy"] == again.mean_gy
    voxels = compute_dvh(half, dose)
    # outlines keep the volume within 0.5 %, their own promise
    assert row.volume_cc == pytest.approx(voxels.volume_cc, rel=0.005)
    assert row["Dmean_Gy"] == pytest.approx(voxels.mean_gy, rel=0.01)
    assert row.rx_gy == metrics(root).loc[("clinical", TARGET)].rx_gy
    (pair,) = pd.read_parquet(root / "out" / "results" / "agreement.parquet").to_dict("records")
    assert pair["volume_b_cc"] / pair["volume_a_cc"] == pytest.approx(0.5, abs=0.2)
    doses = pd.read_parquet(root / "out" / "results" / "agreement_dose.parquet")
    assert list(doses.roi_name_b) == [TARGET]
    page = (course.folder / "report" / "course.html").read_text("utf-8")
    assert f"{TARGET} (edited)" in page and "Compared with it" in page
    quality = (course.folder / "quality" / "quality.json").read_text("utf-8")
    assert "one of them is wrong or cut" not in quality


def test_only_a_changed_edit_runs_the_stages_again(root: Path) -> None:
    course = course_of(root)
    edit(course)
    assert run(root) == 0
    record = course.folder / "stages" / "dvh.json"
    before = record.stat().st_mtime_ns
    assert run(root) == 0
    assert record.stat().st_mtime_ns == before
    (course.folder / "edited" / "RS_half.dcm").unlink()
    assert run(root) == 0
    assert record.stat().st_mtime_ns != before
    assert "edited" not in metrics(root).index.get_level_values("source")


def test_what_cannot_be_used_is_a_row_and_costs_nothing_else(root: Path) -> None:
    course = course_of(root)
    before = metrics(root)
    edit(course)
    folder = course.folder / "edited"
    strange = pydicom.dcmread(folder / "RS_half.dcm")
    for roi in strange.StructureSetROISequence:
        roi.ReferencedFrameOfReferenceUID = "1.2.3"
    strange.save_as(folder / "RS_elsewhere.dcm")
    (folder / "RS_half.dcm").write_bytes((folder / "RS_half.dcm").read_bytes()[:300])
    assert run(root) == 3
    failures = pd.read_csv(root / "out" / "results" / "failures.csv").query("stage == 'dvh'")
    assert set(failures["item"]) == {"edited/RS_elsewhere.dcm", "edited/RS_half.dcm"}
    assert failures.error.str.contains("frame of reference 1.2.3").any()
    assert set(metrics(root).index) == set(before.index)
