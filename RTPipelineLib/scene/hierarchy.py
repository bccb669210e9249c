"""Where nodes hang: patient, study, course in the subject hierarchy, with the UIDs of DICOM."""

from __future__ import annotations

import slicer
import vtk
from slicer import vtkMRMLSubjectHierarchyConstants as Names

# The study's dose unit, where SlicerRT's modules look for it.
DOSE_UNIT, DOSE_UNIT_VALUE = "DicomRtImport.DoseUnitName", "DicomRtImport.DoseUnitValue"
# A course's folder, by patient and course.
COURSE = "RTPipeline.Course"
# The series that structures were drawn on, where its export looks for it.
REFERENCED_SERIES = "DicomRtImport.RoiReferencedSeriesUid"


def course_item(patient_id: str, study_uid: str, course_id: str) -> int:
    """The folder of a course below its study and patient; made when it is not there."""
    tree = _tree()
    patient = _item(
        patient_id or "(no PatientID)",
        patient_id,
        Names.GetDICOMLevelPatient(),
        tree.GetSceneItemID(),
    )
    tree.SetItemAttribute(patient, Names.GetDICOMPatientIDAttributeName(), patient_id)
    study = _item("Radiotherapy", study_uid, Names.GetDICOMLevelStudy(), patient)
    tree.SetItemAttribute(study, Names.GetDICOMStudyInstanceUIDAttributeName(), study_uid)
    tree.SetItemAttribute(study, DOSE_UNIT, "Gy")
    tree.SetItemAttribute(study, DOSE_UNIT_VALUE, "1.0")
    item = tree.CreateFolderItem(study, course_id)
    tree.SetItemAttribute(item, COURSE, _course_name(patient_id, course_id))
    return item


def find_course(patient_id: str, course_id: str) -> int:
    """The folder that a course was given last; 0 when the scene has none."""
    # what a loaded scene brings is not yet part of the tree when it says that it was loaded
    tree = slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(slicer.mrmlScene)
    items = vtk.vtkIdList()
    tree.GetItemChildren(tree.GetSceneItemID(), items, True)
    every = (items.GetId(n) for n in range(items.GetNumberOfIds()))
    name = _course_name(patient_id, course_id)
    return max((i for i in every if tree.GetItemAttribute(i, COURSE) == name), default=0)


def _course_name(patient_id: str, course_id: str) -> str:
    return f"{patient_id}/{course_id}"


def place(
    node: slicer.vtkMRMLNode,
    folder: int,
    *,
    modality: str = "",
    uid: str = "",
    frame_uid: str = "",
    series_uid: str = "",
) -> None:
    """Hang a node into a folder, with its modality (RTDOSE, RTSTRUCT, CT ..), its UID, its frame of
    reference and the image series that it was drawn on."""
    tree = _tree()
    item = tree.GetItemByDataNode(node) or tree.CreateItem(folder, node)
    tree.SetItemParent(item, folder)
    if modality:
        tree.SetItemAttribute(item, Names.GetDICOMSeriesModalityAttributeName(), modality)
    if uid:
        tree.SetItemUID(item, Names.GetDICOMUIDName(), uid)
    if series_uid:
        tree.SetItemAttribute(item, REFERENCED_SERIES, series_uid)
    if frame_uid:
        tree.SetItemAttribute(item, Names.GetDICOMFrameOfReferenceUIDAttributeName(), frame_uid)


def place_beside(node: slicer.vtkMRMLNode, other: slicer.vtkMRMLNode) -> None:
    """Hang a node where another one hangs, if that does."""
    tree = _tree()
    item = tree.GetItemByDataNode(other)
    if item:
        place(node, tree.GetItemParent(item))


def nodes_of(folder: int, kind: str) -> list[slicer.vtkMRMLNode]:
    """The nodes of a class that hang in a folder, in their order."""
    tree, items = _tree(), vtk.vtkIdList()
    tree.GetItemChildren(folder, items, True)
    found = (tree.GetItemDataNode(items.GetId(n)) for n in range(items.GetNumberOfIds()))
    return [node for node in found if node is not None and node.IsA(kind)]


def remove(folder: int) -> None:
    """Take a folder with all nodes in it out of the scene."""
    _tree().RemoveItem(folder)


def _item(name: str, uid: str, level: str, parent: int) -> int:
    tree = _tree()
    found = tree.GetItemByUID(Names.GetDICOMUIDName(), uid) if uid else 0
    if found and tree.GetItemLevel(found) == level:
        return found
    is_study = level == Names.GetDICOMLevelStudy()
    item = tree.CreateStudyItem(parent, name) if is_study else tree.CreateSubjectItem(parent, name)
    if uid:
        tree.SetItemUID(item, Names.GetDICOMUIDName(), uid)
    return item


def _tree() -> slicer.vtkMRMLSubjectHierarchyNode:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
