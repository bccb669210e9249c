"""Courses in Slicer's own scene: where things lie, what they are called, and back to DICOM."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk

from RTPipelineLib.dicom.structures import read_structure_set
from RTPipelineLib.dvh.engine import compute_dvh
from RTPipelineLib.errors import DataError, GeometryError, UsageError
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Contours, Dose, Mask, Volume
from RTPipelineLib.scene.display import show_course
from RTPipelineLib.scene.dvh_course import dvhs_of, show_dvhs, write_csv
from RTPipelineLib.scene.edited import contours_of, export_edited
from RTPipelineLib.scene.frames import grid_of, ijk_to_ras
from RTPipelineLib.scene.isodoses import add_isodoses
from RTPipelineLib.scene.opening import find_courses
from RTPipelineLib.scene.segmentations import add_segmentation, fine_enough, masks_of
from RTPipelineLib.scene.volumes import DOSE_ATTRIBUTE, add_dose, add_volume

CORNER_MM = 1e-4

# Image Orientation (Patient) of a head-first supine, a feet-first supine, a prone and an oblique
# scan (PS3.3 C.7.6.2.1.1).
C, S = np.cos(np.radians(17)), np.sin(np.radians(17))
ORIENTATIONS = {
    "head-first": (1, 0, 0, 0, 1, 0),
    "feet-first": (-1, 0, 0, 0, 1, 0),
    "prone": (-1, 0, 0, 0, -1, 0),
    "oblique": (C, S, 0, -S * C, C * C, S),
}


def grid(orientation: str) -> Grid:
    return Grid.from_dicom(
        (-31.5, 12.25, 400.125), ORIENTATIONS[orientation], (1.2, 0.9), 14, 11, np.arange(9) * 2.5
    )


def dicom_corners(orientation: str) -> np.ndarray:
    """Corner voxels by the equation of PS3.3 C.7.6.2.1.1 itself, (8, 3) LPS mm."""
    cosines = np.array(ORIENTATIONS[orientation], dtype=float)
    row, column = cosines[:3], cosines[3:]
    normal = np.cross(row, column)
    first = np.array([-31.5, 12.25, 400.125])
    return np.array(
        [
            first + row * 0.9 * i + column * 1.2 * j + normal * 2.5 * k
            for k in (0, 8)
            for j in (0, 13)
            for i in (0, 10)
        ]
    )


def scene_corners(node) -> np.ndarray:
    """Where Slicer has the corner voxels of a volume, as LPS."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    found = [
        matrix.MultiplyPoint((i, j, k, 1))[:3] for k in (0, 8) for j in (0, 13) for i in (0, 10)
    ]
    return np.array(found) * (-1, -1, 1)


def mask_cc(mask: Mask) -> float:
    return float(mask.array.sum()) * mask.grid.voxel_volume_mm3 / 1000


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_volume_and_dose_lie_where_dicom_says(scene, orientation) -> None:
    array = np.random.default_rng(1).integers(-1000, 1000, (9, 14, 11)).astype(np.int16)
    image = add_volume(Volume(array, grid(orientation), unit="HU"), "CT")
    dose = add_dose(Dose(abs(array / 10).astype(np.float32), grid(orientation)), "dose")
    for node in (image, dose):
        assert np.abs(scene_corners(node) - dicom_corners(orientation)).max() < CORNER_MM
    assert np.array_equal(slicer.util.arrayFromVolume(image), array)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_segments_lie_where_dicom_says_and_come_back(scene, orientation) -> None:
    whole = grid(orientation)
    array = np.zeros(whole.shape, dtype=bool)
    array[2:7, 3:11, 4:9] = True
    mask = Mask("Ball", array, whole, number=7, colour_rgb=(10, 200, 30), interpreted_type="ORGAN")
    node = add_segmentation([mask], whole, "s", source="clinical")
    bounds = np.zeros(6)
    node.GetSegmentation().GetBounds(bounds)
    edges = whole.crop(slice(2, 7), slice(3, 11), slice(4, 9)).corners_mm(edges=True) * (-1, -1, 1)
    assert np.abs(bounds[::2] - edges.min(axis=0)).max() < CORNER_MM
    assert np.abs(bounds[1::2] - edges.max(axis=0)).max() < CORNER_MM
    (back,) = masks_of(node)
    assert (back.name, back.number, back.colour_rgb) == ("Ball", 7, (10, 200, 30))
    assert (back.interpreted_type, back.source) == ("ORGAN", "edited")
    k, j, i = back.grid.offset_in(whole)
    inside = np.argwhere(back.array) + np.array([k, j, i])
    assert np.array_equal(inside, np.argwhere(array))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_grids_survive_the_scene(orientation) -> None:
    whole = grid(orientation)
    ni, nj, nk = whole.size_ijk
    assert grid_of(ijk_to_ras(whole), (0, ni - 1, 0, nj - 1, 0, nk - 1)).same_as(whole)


def test_uneven_slices_are_refused_or_interpolated(scene) -> None:
    uneven = Grid(np.zeros(3), np.eye(3), np.ones(3), (4, 5, 5), np.array([0.0, 1.0, 3.0, 4.0]))
    with pytest.raises(GeometryError, match="evenly spaced"):
        ijk_to_ras(uneven)
    heights = np.broadcast_to(uneven.k_positions_mm[:, None, None], uneven.shape)
    node = add_volume(Volume(heights.astype(np.float32), uneven), "uneven")
    assert np.allclose(slicer.util.arrayFromVolume(node)[:, 2, 2], np.arange(5), atol=1e-5)


def test_coarse_images_get_finer_labels_in_the_same_planes() -> None:
    coarse = Grid(np.zeros(3), np.eye(3), np.array([4.0, 4.0, 3.0]), (5, 6, 7))
    fine = fine_enough(coarse)
    assert fine.shape[0] == 5 and fine.spacing_mm.max() <= 3.0 and fine.spacing_mm[0] <= 1.5
    assert np.allclose(fine.corners_mm(edges=True), coarse.corners_mm(edges=True))
    assert fine_enough(fine) is fine


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_isodose_of_a_linear_dose_is_the_plane(scene, orientation) -> None:
    """The dose rises by 1 Gy a mm along an LPS direction: the surface of 5 Gy is known."""
    whole = grid(orientation)
    i, j, k = np.meshgrid(*(np.arange(n) for n in whole.size_ijk), indexing="ij")
    points = whole.to_lps(np.stack([i, j, k], axis=-1)).transpose(2, 1, 0, 3)
    along = np.array([0.6, 0.0, 0.8])
    dose_gy = (points @ along - (points @ along).min()).astype(np.float32)
    (model,) = add_isodoses(add_dose(Dose(dose_gy, whole), "d"), [5.0, 1e6])
    surface = slicer.util.arrayFromModelPoints(model) * (-1, -1, 1)
    assert len(surface) > 20
    # single precision of the vertices and of the dose
    assert np.abs(surface @ along - (points @ along).min() - 5).max() < 2e-3
    assert not model.GetDisplayNode().GetScalarVisibility()


def test_a_course_has_its_nodes_in_its_folder(shown) -> None:
    assert shown.problems == []
    assert [len(shown.images), len(shown.doses), len(shown.segmentations)] == [1, 1, 1]
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = tree.GetItemParent(shown.item)
    assert tree.GetItemLevel(study) == "Study"
    assert tree.GetItemLevel(tree.GetItemParent(study)) == "Patient"
    assert tree.GetItemAttribute(study, "DicomRtImport.DoseUnitName") == "Gy"
    facts = shown.course.course
    for node, modality, uid in (
        (shown.images[0], "CT", facts.planning_image.series_uid),
        (shown.doses[0], "RTDOSE", facts.of_kind("rtdose")[0].sop_uid),
        (*shown.segmentations.values(), "RTSTRUCT", facts.of_kind("rtstruct")[0].sop_uid),
    ):
        item = tree.GetItemByDataNode(node)
        assert tree.GetItemParent(item) == shown.item
        assert tree.GetItemAttribute(item, "DICOM.Modality") == modality
        assert tree.GetItemUID(item, "DICOM") == uid
    assert shown.doses[0].GetAttribute(DOSE_ATTRIBUTE) == "1"
    show_course(shown.course)
    assert tree.GetItemByUID("DICOM", facts.planning_image.study_uid) == study


def test_the_dose_is_in_gy_and_hides_what_is_low(shown) -> None:
    (dose,) = shown.course.doses()
    node = shown.doses[0]
    assert np.array_equal(slicer.util.arrayFromVolume(node), dose.array_gy)
    display = node.GetDisplayNode()
    assert display.GetApplyThreshold()
    assert display.GetLowerThreshold() == pytest.approx(0.1 * dose.array_gy.max())
    assert display.GetColorNode().GetName() == "RT Pipeline dose"


def test_segments_have_colours_terms_and_the_volume_of_the_contours(shown) -> None:
    (node,) = shown.segmentations.values()
    segmentation = node.GetSegmentation()
    rois = shown.course.structures()
    assert segmentation.GetNumberOfSegments() == len(rois)
    for number, roi in enumerate(rois):
        segment = segmentation.GetNthSegment(number)
        assert segment.GetName() == roi.name
        assert np.allclose(np.array(segment.GetColor()) * 255, roi.colour_rgb, atol=0.5)
        entry = vtk.reference("")
        assert segment.GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), entry)
        target = roi.interpreted_type in ("GTV", "CTV", "PTV")
        category = "309825002^Spatial and Relational Concept" if target else "123037004^Anatom"
        assert f"SCT^{category}" in str(entry)
    from RTPipelineLib.structures.volume import volume_cc

    masks = {mask.name: mask for mask in masks_of(node)}
    for roi in shown.structures[node.GetName()]:
        if volume_cc(roi) == 0:  # a point
            assert roi.name not in masks
            continue
        drawn = mask_cc(masks[roi.name])
        # A fifth of a millimetre all over the surface of a ball. Balls are low by the sag of their
        # surface over slices of 4 mm (test_voxelise.py). The cord is low by 2.7 % by chance: its
        # section, and so its place among pixels of 1.13 mm, is the same on all slices; over other
        # places its labels are off by -0.6 +- 1.2 %.
        surface_cm2 = (36 * np.pi * volume_cc(roi) ** 2) ** (1 / 3)
        assert abs(drawn - volume_cc(roi)) < max(0.02 * volume_cc(roi), 0.02 * surface_cm2)


def test_edited_segments_give_the_same_dvh_through_rtstruct(shown, tmp_path: Path) -> None:
    """Drawn in the scene, written as RTSTRUCT, read by the library: the DVH of the voxels."""
    (node,) = shown.segmentations.values()
    whole = next(m for m in masks_of(node) if m.name == "PTV_54")
    array = slicer.util.arrayFromSegmentBinaryLabelmap(
        node, node.GetSegmentation().GetSegmentIdBySegmentName("PTV_54")
    )
    used = np.flatnonzero(array.any(axis=(1, 2)))
    array[used[len(used) // 2] :] = 0  # the edit: the upper half is erased
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        array, node, node.GetSegmentation().GetSegmentIdBySegmentName("PTV_54")
    )
    edited = next(m for m in masks_of(node) if m.name == "PTV_54")
    assert 0.3 < mask_cc(edited) / mask_cc(whole) < 0.7
    path = export_edited(node, shown.course, tmp_path / "RS.dcm")
    written = read_structure_set(path)
    image = shown.course.course.planning_image
    assert written.label == "edited" and written.frame_uid == image.frame_uid
    assert written.series_uids == (image.series_uid,)
    (dose,) = shown.course.doses()
    roi = next(r for r in written.rois if r.name == "PTV_54").on_image(shown.course.image().grid)
    one, other = compute_dvh(roi, dose), compute_dvh(edited, dose)
    # outlines keep the volume within 0.5 % (their own promise) and the place within a pixel
    assert one.volume_cc == pytest.approx(other.volume_cc, rel=0.005)
    assert one.mean_gy == pytest.approx(other.mean_gy, rel=0.01, abs=0.02)
    assert one.D("2%") == pytest.approx(other.D("2%"), rel=0.01, abs=0.05)


def test_dvhs_of_the_scene_are_those_of_the_library(shown, tmp_path: Path) -> None:
    dvhs, rows = dvhs_of(shown)
    (dose,) = shown.course.doses()
    planes = shown.course.image().grid
    for roi, dvh in zip(shown.course.structures(), dvhs, strict=True):
        again = compute_dvh(roi.on_image(planes), dose)
        assert (dvh.volume_cc, dvh.mean_gy) == (again.volume_cc, again.mean_gy)
    chart, table = show_dvhs(shown, dvhs, rows)
    assert chart.GetNumberOfPlotSeriesNodes() == sum(len(dvh.dose_gy) > 0 for dvh in dvhs) > 5
    assert table.GetNumberOfRows() == len(rows)
    series = chart.GetNthPlotSeriesNode(0)
    curve = slicer.util.arrayFromTableColumn(series.GetTableNode(), series.GetYColumnName())
    assert (
        curve[0] == pytest.approx(dvhs[0].curve().volume_percent[0])
        and (np.diff(curve) <= 1e-9).all()
    )
    write_csv(tmp_path / "m.csv", rows)
    lines = (tmp_path / "m.csv").read_text("utf-8-sig").splitlines()
    assert len(lines) == len(rows) + 1 and "D95%_Gy" in lines[0]


def test_nothing_here_needed_an_installation(shown) -> None:
    """In this interpreter there is none of it; what Slicer ships is enough."""
    dvhs_of(shown)
    loaded = {"pandas", "pyarrow", "pydantic", "ruamel", "matplotlib"} & set(sys.modules)
    assert loaded == set()


def test_wrong_folders_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        find_courses(tmp_path / "nowhere")
    (tmp_path / "note.txt").write_text("no DICOM")
    with pytest.raises(UsageError, match="no courses in"):
        find_courses(tmp_path)


def test_a_damaged_dose_costs_itself_only(scene, dicom, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(dicom, tmp_path / "copy")
    (course,) = find_courses(tmp_path / "copy")
    path = course.course.path_of(course.course.of_kind("rtdose")[0])
    path.write_bytes(path.read_bytes()[:3000])
    shown = show_course(course)
    assert len(shown.problems) == 1 and "dose" in shown.problems[0]
    assert shown.segmentations and shown.images and not shown.doses
    with pytest.raises(DataError, match="no dose"):
        dvhs_of(shown)


def test_an_empty_segmentation_is_told(scene) -> None:
    empty = Contours.from_loops("nothing", [])
    node = add_segmentation([empty], grid("oblique"), "s", source="clinical")
    assert node.GetSegmentation().GetNumberOfSegments() == 1
    with pytest.raises(DataError, match="no segment with a volume"):
        contours_of(node)
