"""MR, PET, DICOM SEG, automatic, derived and edited structures of one study, from files, in oblique
and feet-first scans: each of them lies in the scene where the DICOM says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk

from RTPipelineLib.course import OpenCourse
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Mask
from RTPipelineLib.scene.display import Shown, show_course
from RTPipelineLib.scene.opening import find_courses
from RTPipelineLib.scene.segmentations import masks_of
from RTPipelineLib.stages.seg_nrrd import write_segments
from Testing.dicom.dicom_objects import RT_STRUCT, STORAGE, dose, image, item, rt_object, save

CORNER_MM = 1e-4
C, S = np.cos(np.radians(17)), np.sin(np.radians(17))
# Image Orientation (Patient) of a feet-first supine and an oblique scan (PS3.3 C.7.6.2.1.1).
ORIENTATIONS = {"feet-first": (-1, 0, 0, 0, 1, 0), "oblique": (C, S, 0, -S * C, C * C, S)}
ORIGIN, FRAME = np.array([-31.5, 12.25, 400.125]), "1.2.3.5"
SHAPE, SPACING = (9, 14, 11), np.array([0.9, 1.2, 2.5])  # k, j, i; along i, j, k
LOW, HIGH = np.array([4, 3, 2]), np.array([8, 10, 6])  # first and last voxel of a box, i, j, k
LIVER = ("10200004", "SCT", "Liver")


def axes(orientation: str) -> np.ndarray:
    """Unit vectors along i, j, k as columns."""
    row, column = np.reshape(ORIENTATIONS[orientation], (2, 3))
    return np.stack([row, column, np.cross(row, column)], axis=1)


def at(orientation: str, index: np.ndarray) -> np.ndarray:
    """LPS mm of indices (i, j, k) by the equation of PS3.3 C.7.6.2.1.1."""
    return ORIGIN + (index * SPACING) @ axes(orientation).T


def corners(orientation: str, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The (8, 3) corners of a box of indices."""
    picks = np.array([[(c >> a) & 1 for a in range(3)] for c in range(8)])
    return at(orientation, np.where(picks, high, low))


def write_image(folder: Path, orientation: str, modality: str, **values: object) -> np.ndarray:
    stored = np.random.default_rng(len(modality)).integers(1, 3000, SHAPE).astype("<u2")
    for k, array in enumerate(stored):
        ds = image(
            array,
            at(orientation, np.array([0, 0, k])),
            modality=modality,
            orientation=ORIENTATIONS[orientation],
            spacing=SPACING[[1, 0]],
            SeriesInstanceUID=f"1.2.3.{modality == 'MR':d}.{modality == 'PT':d}",
            InstanceNumber=k + 1,
            **values,
        )
        save(ds, folder / f"{modality}{k}.dcm")
    return stored


def write_structures(folder: Path, orientation: str) -> None:
    """The box as an RTSTRUCT, its contours along the outer edges of its pixels."""
    ends = np.array([(LOW[0], LOW[1]), (HIGH[0], LOW[1]), (HIGH[0], HIGH[1]), (LOW[0], HIGH[1])])
    grow = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    contours = []
    for k in range(LOW[2], HIGH[2] + 1):
        points = at(orientation, np.column_stack([ends + grow, np.full(4, k)]))
        contours.append(
            item(
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=4,
                ContourData=[f"{v:.6f}" for v in points.ravel()],
            )
        )
    series = item(SeriesInstanceUID="1.2.3.0.0")
    study = item(ReferencedSOPInstanceUID="1.2.3", RTReferencedSeriesSequence=[series])
    ds = rt_object(
        RT_STRUCT,
        "RTSTRUCT",
        SOPInstanceUID="1.2.3.77",
        SeriesInstanceUID="1.2.3.7",
        StructureSetLabel="Plan",
        ReferencedFrameOfReferenceSequence=[
            item(FrameOfReferenceUID=FRAME, RTReferencedStudySequence=[study])
        ],
        StructureSetROISequence=[
            item(ROINumber=5, ROIName="lt kidney", ReferencedFrameOfReferenceUID=FRAME)
        ],
        ROIContourSequence=[
            item(ReferencedROINumber=5, ROIDisplayColor=[1, 2, 3], ContourSequence=contours)
        ],
    )
    save(ds, folder / "RS.dcm")


def write_seg(folder: Path, orientation: str) -> None:
    """The box as a binary DICOM SEG (PS3.3 C.8.20.2)."""
    label = np.zeros(SHAPE[1:], np.uint8)
    label[LOW[1] : HIGH[1] + 1, LOW[0] : HIGH[0] + 1] = 1
    used = range(LOW[2], HIGH[2] + 1)
    code = dict(zip(("CodeValue", "CodingSchemeDesignator", "CodeMeaning"), LIVER, strict=True))
    tissue = item(CodeValue="123037004", CodingSchemeDesignator="SCT", CodeMeaning="Anatomy")
    ds = rt_object(
        STORAGE + "66.4",
        "SEG",
        SOPInstanceUID="1.2.3.88",
        SeriesInstanceUID="1.2.3.8",
        SegmentationType="BINARY",
        SegmentSequence=[
            item(
                SegmentNumber=1,
                SegmentLabel="Leber",
                SegmentedPropertyCategoryCodeSequence=[tissue],
                SegmentedPropertyTypeCodeSequence=[item(**code)],
            )
        ],
        SharedFunctionalGroupsSequence=[
            item(
                PlaneOrientationSequence=[
                    item(ImageOrientationPatient=[f"{v:.10f}" for v in ORIENTATIONS[orientation]])
                ],
                PixelMeasuresSequence=[item(PixelSpacing=["1.2", "0.9"], SliceThickness="2.5")],
            )
        ],
        PerFrameFunctionalGroupsSequence=[
            item(
                PlanePositionSequence=[
                    item(
                        ImagePositionPatient=[
                            f"{v:.8f}" for v in at(orientation, np.array([0, 0, k]))
                        ]
                    )
                ],
                SegmentIdentificationSequence=[item(ReferencedSegmentNumber=1)],
            )
            for k in used
        ],
    )
    ds.NumberOfFrames = len(used)
    ds.Rows, ds.Columns = SHAPE[1:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated = ds.BitsStored = 1
    ds.HighBit = 0
    bits = np.packbits(np.stack([label] * len(used)).ravel(), bitorder="little").tobytes()
    ds.PixelData = bits + b"\0" * (len(bits) % 2)
    ds["PixelData"].VR = "OB"
    save(ds, folder / "SEG.dcm")


def write_course_files(folder: Path, orientation: str, dicom: Path) -> None:
    """What stages leave in the course's folder: automatic, derived and edited structures."""
    direction = axes(orientation)
    grid = Grid(ORIGIN, direction, SPACING, SHAPE)
    inside = np.zeros(SHAPE, dtype=bool)
    i, j, k = (slice(a, b + 1) for a, b in zip(LOW, HIGH, strict=True))
    inside[k, j, i] = True
    for name in ("segmentation", "structures", "edited"):
        (folder / name).mkdir(parents=True)
    write_segments(folder / "segmentation" / "total.seg.nrrd", [Mask("liver", inside, grid)], grid)
    write_segments(folder / "structures" / "derived.seg.nrrd", [Mask("Ring", inside, grid)], grid)
    model = {
        "file": "total.seg.nrrd",
        "frame_uid": FRAME,
        "source": "totalsegmentator",
        "status": "done",
        "structures": {"liver": {"number": 1}},
    }
    (folder / "segmentation" / "segmentation.json").write_text(json.dumps({"models": [model]}))
    shutil.copy(dicom / "RS.dcm", folder / "edited" / "RS_mine.dcm")


@pytest.fixture(params=ORIENTATIONS)
def study(request, tmp_path: Path, scene) -> tuple[str, Shown, np.ndarray]:
    """Orientation, the course in the scene, and the stored values of its PET."""
    dicom = tmp_path / "dicom"
    dicom.mkdir()
    for modality in ("CT", "MR"):
        write_image(dicom, request.param, modality)
    isotope = item(
        RadionuclideTotalDose=3e8,
        RadionuclideHalfLife=6586.2,
        RadiopharmaceuticalStartDateTime="20240105100000",
    )
    pet = write_image(
        dicom,
        request.param,
        "PT",
        Units="BQML",
        DecayCorrection="START",
        PatientWeight=60.0,
        SeriesDate="20240105",
        AcquisitionDate="20240105",
        SeriesTime="100000",
        AcquisitionTime="100000",
        RescaleSlope=1,
        RescaleIntercept=0,
        RadiopharmaceuticalInformationSequence=[isotope],
    )
    write_structures(dicom, request.param)
    write_seg(dicom, request.param)
    values = np.arange(np.prod(SHAPE), dtype="<u2").reshape(SHAPE)
    save(
        dose(
            values,
            position=ORIGIN,
            orientation=ORIENTATIONS[request.param],
            spacing=SPACING[[1, 0]],
            offsets=np.arange(SHAPE[0]) * SPACING[2],
            SeriesInstanceUID="1.2.3.9",
        ),
        dicom / "RD.dcm",
    )
    (found,) = find_courses(dicom)
    folder = tmp_path / "course"
    write_course_files(folder, request.param, dicom)
    return request.param, show_course(OpenCourse(folder, found.course)), pet


def test_every_image_and_every_structure_lies_where_dicom_says(study) -> None:
    orientation, shown, _ = study
    assert shown.problems == []
    last = np.array(SHAPE[::-1]) - 1
    matrix = vtk.vtkMatrix4x4()
    assert [len(shown.images), len(shown.doses)] == [3, 1]
    for node in (*shown.images, *shown.doses):
        node.GetIJKToRASMatrix(matrix)
        picks = np.array([[(c >> a) & 1 for a in range(3)] for c in range(8)]) * last
        ras = np.array([matrix.MultiplyPoint((*index, 1))[:3] for index in picks])
        expected = corners(orientation, np.zeros(3), last)
        assert np.abs(ras * (-1, -1, 1) - expected).max() < CORNER_MM
    assert list(shown.segmentations) == ["Plan 1", "SEG 1", "Automatic", "Derived", "Edited mine"]
    for node in shown.segmentations.values():
        (mask,) = masks_of(node)
        used = np.argwhere(mask.array)
        box = mask.grid.crop(
            *(slice(a, b + 1) for a, b in zip(used.min(axis=0), used.max(axis=0), strict=True))
        )
        expected = corners(orientation, LOW - 0.5, HIGH + 0.5)
        assert np.abs(box.corners_mm(edges=True) - expected).max() < CORNER_MM, node.GetName()


def test_each_node_says_who_made_it_and_what_it_shows(study) -> None:
    _, shown, _ = study
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    expected = {  # name: source, modality, UID, code of the organ, of its side
        "Plan 1": ("clinical", "RTSTRUCT", "1.2.3.77", "SCT^64033007^Kidney~SCT^7771000^Left"),
        "SEG 1": ("seg", "SEG", "1.2.3.88", "SCT^10200004^Liver~^^"),
        "Automatic": ("automatic", "SEG", "", "SCT^10200004^Liver~^^"),
        "Derived": ("derived", "SEG", "", "SCT^85756007^Tissue~^^"),
        "Edited mine": ("edited", "RTSTRUCT", "", "SCT^64033007^Kidney~SCT^7771000^Left"),
    }
    for name, (source, modality, uid, codes) in expected.items():
        node = shown.segmentations[name]
        tree_item = tree.GetItemByDataNode(node)
        assert node.GetAttribute("RTPipeline.Source") == source
        assert tree.GetItemAttribute(tree_item, "DICOM.Modality") == modality
        assert tree.GetItemUID(tree_item, "DICOM") == uid
        assert tree.GetItemParent(tree_item) == shown.item
        entry = vtk.reference("")
        segment = node.GetSegmentation().GetNthSegment(0)
        segment.GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), entry)
        assert codes in str(entry), name


def test_pet_is_in_suv_and_mr_in_its_own_grey(study) -> None:
    _, shown, stored = study
    nodes = {node.GetName().split()[0]: node for node in shown.images}
    assert set(nodes) == {"CT", "MR", "PT"} and "CT" in shown.images[0].GetName()
    suv = slicer.util.arrayFromVolume(nodes["PT"])
    np.testing.assert_allclose(suv, stored * (60_000 / 3e8), rtol=1e-6)
    assert nodes["PT"].GetAttribute("RTPipeline.Unit") == "SUV"
    assert "InvertedGrey" in nodes["PT"].GetDisplayNode().GetColorNodeID()
    assert "Grey" in nodes["MR"].GetDisplayNode().GetColorNodeID()


def test_a_pet_without_suv_is_shown_and_it_is_said(scene, tmp_path: Path) -> None:
    write_image(tmp_path, "oblique", "PT", Units="BQML")
    (course,) = find_courses(tmp_path)
    shown = show_course(course)
    (node,), (problem,) = shown.images, shown.problems
    assert node.GetAttribute("RTPipeline.Unit") == "BQML"
    assert "is shown in BQML: no SUV: Patient's Weight" in problem


def test_slicer_rt_finds_what_it_looks_for(study) -> None:
    """The attributes by which its modules recognise nodes (vtkSlicerRtCommon.cxx of SlicerRT)."""
    _, shown, _ = study
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study_item = tree.GetItemParent(shown.item)
    assert shown.doses[0].GetAttribute("DicomRtImport.DoseVolume") == "1"
    assert tree.GetItemAttribute(study_item, "DicomRtImport.DoseUnitName") == "Gy"
    assert tree.GetItemAttribute(study_item, "DicomRtImport.DoseUnitValue") == "1.0"
    models = [model.GetAttribute("DicomRtImport.IsodoseModel") for model in shown.isodoses]
    assert len(models) == 3 and set(models) == {"1"}
    plan = shown.segmentations["Plan 1"]
    number = vtk.reference("")
    assert plan.GetSegmentation().GetNthSegment(0).GetTag("DicomRtImport.RoiNumber", number)
    assert str(number) == "5"
    referenced = tree.GetItemAttribute(
        tree.GetItemByDataNode(plan), "DicomRtImport.RoiReferencedSeriesUid"
    )
    assert referenced == "1.2.3.0.0" == shown.course.course.planning_image.series_uid


def test_a_course_that_was_prepared_in_a_thread_is_the_same(scene, dicom) -> None:
    from RTPipelineLib.scene.ahead import prepare_in_background
    from RTPipelineLib.scene.display import show_course
    from RTPipelineLib.scene.opening import find_courses

    (course,) = find_courses(dicom)
    prepared = prepare_in_background(course).result(60)
    assert len(prepared.images) == 1 and len(prepared.contents) >= 1
    shown = [show_course(course), show_course(course, prepared=prepared)]
    plain, ahead = ([slicer.util.arrayFromVolume(node) for node in one.images] for one in shown)
    np.testing.assert_array_equal(plain, ahead)
    for name, node in shown[0].segmentations.items():
        other = shown[1].segmentations[name]
        for number in range(node.GetSegmentation().GetNumberOfSegments()):
            keys = [n.GetSegmentation().GetNthSegmentID(number) for n in (node, other)]
            found = [
                slicer.util.arrayFromSegmentBinaryLabelmap(n, key)
                for n, key in zip((node, other), keys, strict=True)
            ]
            np.testing.assert_array_equal(*found)
    assert shown[0].problems == shown[1].problems == []
