"""An RTPLAN that prescribes: dose references, one fraction group, photon beams with their
shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ExplicitVRLittleEndian, RTPlanStorage, RTStructureSetStorage

from ..dicom.contour_bytes import ds_text
from ..dicom.new_object import Reference, make_dataset, new_object, reference_item, uid_from
from .dose_field import GANTRY_ANGLES_DEG


@dataclass(frozen=True)
class PrescribedTarget:
    """A target ROI and the dose that a plan gives it over all of its fractions."""

    roi_name: str
    roi_number: int
    dose_gy: float


def plan_dataset(
    study: Dataset,
    *,
    label: str,
    fractions: int,
    targets: Sequence[PrescribedTarget],
    structure_set_uid: str,
    frame_uid: str,
    position: str,
    isocentre_mm: Sequence[float],
    created: datetime,
    n_beams: int = len(GANTRY_ANGLES_DEG),
    series_number: int = 200,
) -> FileDataset:
    """A complete RTPLAN (PS3.3 A.20) of static photon beams.

    The beam doses of a fraction add up to the highest target's dose per fraction.
    """
    uid = uid_from(RTPlanStorage, study.StudyInstanceUID, label, structure_set_uid)
    ds = new_object(RTPlanStorage, ExplicitVRLittleEndian, uid, study, created)
    ds.Modality = "RTPLAN"
    ds.SeriesInstanceUID = uid_from(uid, "series")
    ds.SeriesNumber = series_number
    ds.OperatorsName = ""
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = frame_uid, ""
    ds.InstanceNumber = 1
    ds.RTPlanLabel = label[:16]
    ds.RTPlanName = label
    ds.RTPlanDate, ds.RTPlanTime = f"{created:%Y%m%d}", f"{created:%H%M%S}"
    ds.PlanIntent = "CURATIVE"
    ds.RTPlanGeometry = "PATIENT"
    ds.ReferencedStructureSetSequence = [
        reference_item(Reference(RTStructureSetStorage, structure_set_uid))
    ]
    ds.DoseReferenceSequence = [
        _dose_reference(number, target, uid) for number, target in enumerate(targets, start=1)
    ]
    per_fraction = max(target.dose_gy for target in targets) / fractions
    ds.FractionGroupSequence = [_fraction_group(fractions, per_fraction, n_beams)]
    ds.PatientSetupSequence = [
        make_dataset(PatientSetupNumber=1, PatientPosition=position, SetupTechnique="ISOCENTRIC")
    ]
    ds.BeamSequence = [_beam(n, isocentre_mm) for n in range(1, n_beams + 1)]
    ds.ApprovalStatus = "APPROVED"
    ds.ReviewDate, ds.ReviewTime = ds.RTPlanDate, ds.RTPlanTime
    ds.ReviewerName = "Demo^Physicist"
    return ds


def _dose_reference(number: int, target: PrescribedTarget, plan_uid: str) -> Dataset:
    return make_dataset(
        DoseReferenceNumber=number,
        DoseReferenceUID=uid_from(plan_uid, "dose reference", number),
        DoseReferenceStructureType="VOLUME",
        DoseReferenceDescription=target.roi_name,
        ReferencedROINumber=target.roi_number,
        DoseReferenceType="TARGET",
        TargetPrescriptionDose=_number(target.dose_gy),
    )


def _fraction_group(fractions: int, dose_gy: float, n_beams: int) -> Dataset:
    beams = [
        make_dataset(
            BeamDose=_number(dose_gy / n_beams),
            BeamMeterset=_number(dose_gy / n_beams * 100 * 1.2),
            ReferencedBeamNumber=number,
        )
        for number in range(1, n_beams + 1)
    ]
    return make_dataset(
        FractionGroupNumber=1,
        NumberOfFractionsPlanned=fractions,
        NumberOfBeams=n_beams,
        ReferencedBeamSequence=beams,
        NumberOfBrachyApplicationSetups=0,
    )


def _beam(number: int, isocentre_mm: Sequence[float]) -> Dataset:
    jaws = [
        make_dataset(RTBeamLimitingDeviceType=kind, NumberOfLeafJawPairs=1) for kind in ("X", "Y")
    ]
    openings = [
        make_dataset(RTBeamLimitingDeviceType=kind, LeafJawPositions=["-60", "60"])
        for kind in ("X", "Y")
    ]
    first = make_dataset(
        ControlPointIndex=0,
        NominalBeamEnergy="6",
        BeamLimitingDevicePositionSequence=openings,
        GantryAngle=_number(GANTRY_ANGLES_DEG[(number - 1) % len(GANTRY_ANGLES_DEG)]),
        GantryRotationDirection="NONE",
        BeamLimitingDeviceAngle="0",
        BeamLimitingDeviceRotationDirection="NONE",
        PatientSupportAngle="0",
        PatientSupportRotationDirection="NONE",
        TableTopEccentricAngle="0",
        TableTopEccentricRotationDirection="NONE",
        TableTopVerticalPosition=None,
        TableTopLongitudinalPosition=None,
        TableTopLateralPosition=None,
        IsocenterPosition=ds_text(isocentre_mm),
        CumulativeMetersetWeight="0",
    )
    last = make_dataset(ControlPointIndex=1, CumulativeMetersetWeight="1")
    return make_dataset(
        TreatmentMachineName="DEMO",
        PrimaryDosimeterUnit="MU",
        SourceAxisDistance="1000",
        BeamLimitingDeviceSequence=jaws,
        BeamNumber=number,
        BeamName=f"Field {number}",
        BeamType="STATIC",
        RadiationType="PHOTON",
        TreatmentDeliveryType="TREATMENT",
        NumberOfWedges=0,
        NumberOfCompensators=0,
        NumberOfBoli=0,
        NumberOfBlocks=0,
        FinalCumulativeMetersetWeight="1",
        NumberOfControlPoints=2,
        ControlPointSequence=[first, last],
        ReferencedPatientSetupNumber=1,
    )


def _number(value: float) -> str:
    return ds_text([value])[0]
