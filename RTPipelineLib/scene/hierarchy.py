"""Where nodes hang: patient, study, course in the subject hierarchy, with the UIDs of DICOM."""

from __future__ import annotations

import slicer
from slicer import vtkMRMLSubjectHierarchyConstants as Names

# The study's dose unit, where SlicerRT's modules look for it.
DOSE_UNIT, DOSE_UNIT_VALUE = "DicomRtImport.DoseUnitName", "DicomRtImport.DoseUnitValue"
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
    return tree.CreateFolderItem(study, course_id)


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
