"""What an RT object says about itself, as a plain dictionary that goes into JSON.

`summarise` is the one parser of RT headers: the index stores its result, and `dose.facts` makes its
dataclasses of plans, doses and records from it. A missing value is `""`, None or `[]`; a malformed
one too, with `bad-value:<Keyword>` in `summary["flags"]`. Nothing here decodes pixels or contours,
and the patient's name never enters a summary.
"""

from __future__ import annotations

import re
import unicodedata

from pydicom.dataset import Dataset

from .dataset import Header

IMAGE, RTSTRUCT, RTPLAN, RTDOSE = "image", "rtstruct", "rtplan", "rtdose"
RECORD, REG, SEG, OTHER = "record", "reg", "seg", "other"

_STORAGE = "1.2.840.10008.5.1.4.1.1."
KIND_OF_SOP_CLASS = {
    _STORAGE + "481.2": RTDOSE,
    _STORAGE + "481.3": RTSTRUCT,
    _STORAGE + "481.4": RECORD,  # RT Beams Treatment Record
    _STORAGE + "481.5": RTPLAN,
    _STORAGE + "481.6": RECORD,  # RT Brachy Treatment Record
    _STORAGE + "481.7": RECORD,  # RT Treatment Summary Record
    _STORAGE + "481.8": RTPLAN,  # RT Ion Plan
    _STORAGE + "481.9": RECORD,  # RT Ion Beams Treatment Record
    _STORAGE + "66.1": REG,
    _STORAGE + "66.3": REG,  # Deformable Spatial Registration
    _STORAGE + "66.4": SEG,
    _STORAGE + "66.7": SEG,  # Label Map Segmentation
    _STORAGE + "2": IMAGE,  # CT
    _STORAGE + "2.1": IMAGE,  # Enhanced CT
    _STORAGE + "2.2": IMAGE,  # Legacy Converted Enhanced CT
    _STORAGE + "4": IMAGE,  # MR
    _STORAGE + "4.1": IMAGE,  # Enhanced MR
    _STORAGE + "4.4": IMAGE,  # Legacy Converted Enhanced MR
    _STORAGE + "128": IMAGE,  # PET
    _STORAGE + "128.1": IMAGE,  # Legacy Converted Enhanced PET
    _STORAGE + "130": IMAGE,  # Enhanced PET
}
_ION_PLAN = _STORAGE + "481.8"
_DEFORMABLE = _STORAGE + "66.3"
_KIND_OF_MODALITY = {
    "RTDOSE": RTDOSE,
    "RTSTRUCT": RTSTRUCT,
    "RTPLAN": RTPLAN,
    "RTRECORD": RECORD,
    "REG": REG,
    "SEG": SEG,
    "CT": IMAGE,
    "MR": IMAGE,
    "PT": IMAGE,
}

Summary = dict[str, object]


def kind_of(sop_class_uid: str, modality: str) -> str:
    """Kind of a DICOM object: by its SOP Class first, by its Modality only when that says nothing.

    One of `image` (CT, MR, PET), `rtstruct`, `rtplan`, `rtdose`, `record`, `reg`, `seg`, `other`.
    A known SOP Class outside these (secondary capture, RT image) is `other` whatever its modality.
    """
    kind = KIND_OF_SOP_CLASS.get(sop_class_uid)
    if kind is not None:
        return kind
    if sop_class_uid.startswith(_STORAGE):
        return OTHER
    return _KIND_OF_MODALITY.get(modality.upper(), OTHER)


def summarise(ds: Dataset, kind: str | None = None) -> Summary:
    """Plain, JSON-able summary of an RT object's header; `{}` for images and other kinds.

    `ds` may be read with `stop_before_pixels`; no value, however malformed, raises. The keys of
    each kind stand in its function below; `flags` is in all of them. `kind` is given by a caller
    who knows better than SOP Class and Modality.
    """
    header = Header(ds)
    kind = kind or kind_of(header.text("SOPClassUID"), header.text("Modality"))
    parser = _PARSERS.get(kind)
    if parser is None:
        return {}
    summary = parser(header)
    _drop_patient_name(summary, header)
    summary["flags"] = list(header.flags)
    return summary


# -- plans ----------------------------------------------------------------------------------------


def _plan(header: Header) -> Summary:
    """RT Plan and RT Ion Plan, brachytherapy included (PS3.3 C.8.8.9 to C.8.8.15, C.8.8.24)."""
    setups = header.items("ApplicationSetupSequence")
    ion_beams = header.items("IonBeamSequence")
    return {
        "label": header.text("RTPlanLabel"),
        "date": header.text("RTPlanDate"),
        "time": header.text("RTPlanTime"),
        "intent": header.text("PlanIntent"),
        "approval": header.text("ApprovalStatus"),
        "geometry": header.text("RTPlanGeometry"),
        "structure_set_uids": _referenced(header, "ReferencedStructureSetSequence"),
        "dose_uids": _referenced(header, "ReferencedDoseSequence"),
        "related_plans": [
            {
                "uid": plan.text("ReferencedSOPInstanceUID"),
                "relationship": plan.text("RTPlanRelationship"),
            }
            for plan in header.items("ReferencedRTPlanSequence")
        ],
        "dose_references": [_dose_reference(r) for r in header.items("DoseReferenceSequence")],
        "fraction_groups": [_fraction_group(g) for g in header.items("FractionGroupSequence")],
        "beams": [_beam(beam) for beam in header.items("BeamSequence") or ion_beams],
        "ion": bool(ion_beams) or header.text("SOPClassUID") == _ION_PLAN,
        "brachy": bool(setups) or header.has("BrachyTreatmentTechnique"),
    }


def _dose_reference(reference: Header) -> Summary:
    return {
        "number": reference.integer("DoseReferenceNumber"),
        "uid": reference.text("DoseReferenceUID"),
        "structure_type": reference.text("DoseReferenceStructureType"),
        "type": reference.text("DoseReferenceType"),
        "description": reference.text("DoseReferenceDescription"),
        "roi_number": reference.integer("ReferencedROINumber"),
        "target_gy": reference.number("TargetPrescriptionDose"),
    }


def _fraction_group(group: Header) -> Summary:
    return {
        "number": group.integer("FractionGroupNumber"),
        "fractions": group.integer("NumberOfFractionsPlanned"),
        "beams": [
            {
                "number": beam.integer("ReferencedBeamNumber"),
                "dose_gy": beam.number("BeamDose"),
                "meterset": beam.number("BeamMeterset"),
                "dose_reference_uid": beam.text("ReferencedDoseReferenceUID"),
            }
            for beam in group.items("ReferencedBeamSequence")
        ],
        "brachy": [
            {
                "number": setup.integer("ReferencedBrachyApplicationSetupNumber"),
                "dose_gy": setup.number("BrachyApplicationSetupDose"),
            }
            for setup in group.items("ReferencedBrachyApplicationSetupSequence")
        ],
    }


def _beam(beam: Header) -> Summary:
    return {
        "number": beam.integer("BeamNumber"),
        "name": beam.text("BeamName"),
        "delivery_type": beam.text("TreatmentDeliveryType"),
        "radiation_type": beam.text("RadiationType"),
    }


# -- doses ----------------------------------------------------------------------------------------


def _dose(header: Header) -> Summary:
    """RT Dose (PS3.3 C.8.8.3). The geometry is as stored; `dose.dose_grid` interprets it."""
    plans = header.items("ReferencedRTPlanSequence")
    rows, columns, bits = (header.integer(k) for k in ("Rows", "Columns", "BitsAllocated"))
    return {
        "units": header.text("DoseUnits"),
        "dose_type": header.text("DoseType"),
        "summation_type": header.text("DoseSummationType"),
        "comment": header.text("DoseComment"),
        "plan_uids": _unique(plan.text("ReferencedSOPInstanceUID") for plan in plans),
        "structure_set_uids": _referenced(header, "ReferencedStructureSetSequence"),
        "referenced_beams": [
            {
                "plan_uid": plan.text("ReferencedSOPInstanceUID"),
                "fraction_group": group.integer("ReferencedFractionGroupNumber"),
                "beams": [
                    beam.integer("ReferencedBeamNumber")
                    for beam in group.items("ReferencedBeamSequence")
                ],
                "brachy": [
                    setup.integer("ReferencedBrachyApplicationSetupNumber")
                    for setup in group.items("ReferencedBrachyApplicationSetupSequence")
                ],
            }
            for plan in plans
            for group in plan.items("ReferencedFractionGroupSequence")
        ],
        "rows": rows,
        "columns": columns,
        "frames": header.integer("NumberOfFrames"),
        "position": header.numbers("ImagePositionPatient"),
        "orientation": header.numbers("ImageOrientationPatient"),
        "pixel_spacing": header.numbers("PixelSpacing"),
        "frame_offsets": header.numbers("GridFrameOffsetVector"),
        "slice_thickness": header.number("SliceThickness"),
        "bits": bits,
        "pixel_representation": header.integer("PixelRepresentation"),
        "scaling": header.number("DoseGridScaling"),
        "has_pixels": bool(rows and columns and bits),  # a dose may hold DVHs alone
        "has_dvh": header.has("DVHSequence"),
        "tissue_correction": "\\".join(header.texts("TissueHeterogeneityCorrection")),
    }


# -- structure sets -------------------------------------------------------------------------------


def _structure_set(header: Header) -> Summary:
    """RT Structure Set (PS3.3 C.8.8.5, C.8.8.8) without its contours."""
    types: dict[int | None, str] = {}
    for observation in header.items("RTROIObservationsSequence"):
        number = observation.integer("ReferencedROINumber")
        types[number] = types.get(number) or observation.text("RTROIInterpretedType")
    rois = []
    for roi in header.items("StructureSetROISequence"):
        number = roi.integer("ROINumber")
        rois.append(
            {
                "number": number,
                "name": roi.text("ROIName"),
                "frame_uid": roi.text("ReferencedFrameOfReferenceUID"),
                "interpreted_type": types.get(number, ""),
                "generation_algorithm": roi.text("ROIGenerationAlgorithm"),
            }
        )
    return {
        "label": header.text("StructureSetLabel"),
        "name": header.text("StructureSetName"),
        "date": header.text("StructureSetDate"),
        "time": header.text("StructureSetTime"),
        "approval": header.text("ApprovalStatus"),
        "rois": rois,
        "frames": [_frame(f) for f in header.items("ReferencedFrameOfReferenceSequence")],
    }


def _frame(frame: Header) -> Summary:
    studies = frame.items("RTReferencedStudySequence")
    series = [s for study in studies for s in study.items("RTReferencedSeriesSequence")]
    return {
        "frame_uid": frame.text("FrameOfReferenceUID"),
        "study_uids": _unique(study.text("ReferencedSOPInstanceUID") for study in studies),
        "series_uids": _unique(s.text("SeriesInstanceUID") for s in series),
        "image_uids_count": sum(len(s.items("ContourImageSequence")) for s in series),
    }


# -- treatment records, registrations, segmentations ----------------------------------------------


def _record(header: Header) -> Summary:
    """Treatment records of beams, ion beams and brachytherapy, and their summary (C.8.8.16 ff)."""
    sessions = header.items("TreatmentSessionBeamSequence") or header.items(
        "TreatmentSessionIonBeamSequence"
    )
    return {
        "date": header.text("TreatmentDate") or header.text("MostRecentTreatmentDate"),
        "time": header.text("TreatmentTime"),
        "plan_uids": _referenced(header, "ReferencedRTPlanSequence"),
        "fraction_group": header.integer("ReferencedFractionGroupNumber"),
        "beams": [_session(s, "ReferencedBeamNumber") for s in sessions],
        "brachy": [
            _session(s, "ReferencedBrachyApplicationSetupNumber")
            for s in header.items("TreatmentSessionApplicationSetupSequence")
        ],
        "fraction_groups": [
            {
                "number": group.integer("ReferencedFractionGroupNumber"),
                "type": group.text("FractionGroupType"),
                "planned": group.integer("NumberOfFractionsPlanned"),
                "delivered": group.integer("NumberOfFractionsDelivered"),
            }
            for group in header.items("FractionGroupSummarySequence")
        ],
    }


def _session(session: Header, number: str) -> Summary:
    return {
        "number": session.integer(number),
        "fraction": session.integer("CurrentFractionNumber"),
        "delivery_type": session.text("TreatmentDeliveryType"),
        "termination": session.text("TreatmentTerminationStatus"),
        "specified_meterset": session.number("SpecifiedPrimaryMeterset"),
        "delivered_meterset": session.number("DeliveredPrimaryMeterset"),
    }


def _registration(header: Header) -> Summary:
    """Spatial and Deformable Spatial Registration (C.20.2, C.20.3): which frames it joins."""
    rigid = [r.text("FrameOfReferenceUID") for r in header.items("RegistrationSequence")]
    grids = header.items("DeformableRegistrationSequence")
    sources = [grid.text("SourceFrameOfReferenceUID") for grid in grids]
    return {
        "deformable": bool(grids) or header.text("SOPClassUID") == _DEFORMABLE,
        "frames": _unique([header.text("FrameOfReferenceUID"), *rigid, *sources]),
    }


def _segmentation(header: Header) -> Summary:
    """Segmentation (C.8.20): the series that it was drawn on."""
    return {
        "label": header.text("ContentLabel"),
        "series_uids": _unique(
            s.text("SeriesInstanceUID") for s in header.items("ReferencedSeriesSequence")
        ),
    }


_PARSERS = {
    RTPLAN: _plan,
    RTDOSE: _dose,
    RTSTRUCT: _structure_set,
    RECORD: _record,
    REG: _registration,
    SEG: _segmentation,
}


# -- helpers --------------------------------------------------------------------------------------


def _unique(values: object) -> list[str]:
    return [value for value in dict.fromkeys(values) if value]  # type: ignore[call-overload]


def _referenced(header: Header, keyword: str) -> list[str]:
    return _unique(item.text("ReferencedSOPInstanceUID") for item in header.items(keyword))


def _plain(text: str) -> str:
    """Lower case without accents: `José` and `JOSE` are one name."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def _drop_patient_name(summary: Summary, header: Header) -> None:
    """Empty every free text (ROI names excepted) that holds a part of the patient's name."""
    parts = re.split(r"[\W_\d]+", _plain(header.text("PatientName")))
    names = [part for part in parts if len(part) >= 3]
    texts: list[tuple[Summary, str]] = [(summary, key) for key in ("label", "name", "comment")]
    texts += [(beam, "name") for beam in summary.get("beams", [])]  # type: ignore[attr-defined]
    for reference in summary.get("dose_references", []):  # type: ignore[attr-defined]
        texts.append((reference, "description"))
    for place, key in texts:
        value = _plain(str(place.get(key) or ""))
        if any(name in value for name in names):
            place[key] = ""
            header.flag("label-contains-name")
