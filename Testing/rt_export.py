"""Small RT exports for tests: doses, plans, structure sets and registrations in a folder, and a run
of the pipeline on it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeformableSpatialRegistrationStorage,
    ExplicitVRLittleEndian,
    RTDoseStorage,
    RTPlanStorage,
    RTStructureSetStorage,
    SpatialRegistrationStorage,
    generate_uid,
)

from RTPipelineLib.cli import main
from RTPipelineLib.config import Config
from RTPipelineLib.course import course_folders
from RTPipelineLib.dicom.index import Index
from RTPipelineLib.linking import Inputs, link_courses
from RTPipelineLib.overrides import Overrides
from RTPipelineLib.stages import Task
from RTPipelineLib.stages.dose import STAGE

FRAME, OTHER_FRAME = "1.2.3.5", "1.2.3.6"
POSITIONS = {  # Image Orientation (Patient) of transverse rows (PS3.3 C.7.3.1.1.2)
    "HFS": (1, 0, 0, 0, 1, 0),
    "HFP": (-1, 0, 0, 0, -1, 0),
    "FFS": (-1, 0, 0, 0, 1, 0),
    "FFP": (1, 0, 0, 0, -1, 0),
    "HFDR": (0, 1, 0, -1, 0, 0),
    "HFDL": (0, -1, 0, 1, 0, 0),
    "FFDR": (0, 1, 0, 1, 0, 0),
    "FFDL": (0, -1, 0, -1, 0, 0),
}


ROIS = {"Cord": 2.5, "PTV": 2.5}


def make(**values: object) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def save(ds: Dataset, path: Path) -> Path:
    """Write a dataset as a DICOM file."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.save_as(path, enforce_file_format=True)
    return path


def rt_object(sop_class: str, modality: str, frame: str = FRAME, patient: str = "P1") -> Dataset:
    """What all objects have; each frame of reference of a patient has a study of its own."""
    return make(
        SOPClassUID=sop_class,
        SOPInstanceUID=generate_uid(),
        Modality=modality,
        PatientID=patient,
        PatientName="Doe^Jane",
        StudyInstanceUID=f"1.2.3.{patient[1:]}" + ("" if frame == FRAME else ".2"),
        SeriesInstanceUID=generate_uid(),
        FrameOfReferenceUID=frame,
    )


def rt_dose(
    gy: float | np.ndarray,
    *,
    plan: str = "",
    plan_class: str = RTPlanStorage,
    beams: Sequence[int] = (),
    frame: str = FRAME,
    patient: str = "P1",
    position: Sequence[float] = (-10.0, -20.0, 30.0),
    orientation: Sequence[float] = POSITIONS["HFS"],
    offsets: Sequence[float] = (0.0, 3.0, 6.0, 9.0),
    **values: object,
) -> Dataset:
    """A 32 bit dose of 5 rows and 6 columns, 2.5 and 2 mm apart."""
    ds = rt_object(RTDoseStorage, "RTDOSE", frame, patient)
    stored = np.broadcast_to(np.asarray(gy) * 1000, (len(offsets), 5, 6)).astype("<u4")
    ds.DoseUnits, ds.DoseType, ds.DoseSummationType = "GY", "PHYSICAL", "PLAN"
    ds.ImagePositionPatient = [str(v) for v in position]
    ds.ImageOrientationPatient = [str(v) for v in orientation]
    ds.PixelSpacing, ds.GridFrameOffsetVector = [2.5, 2.0], list(offsets)
    ds.DoseGridScaling = "0.001"
    ds.NumberOfFrames, ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 32
    ds.HighBit, ds.PixelRepresentation = 31, 0
    ds.FrameIncrementPointer = 0x3004000C
    ds.add_new("PixelData", "OW", stored.tobytes())
    if plan:
        item = make(ReferencedSOPClassUID=plan_class, ReferencedSOPInstanceUID=plan)
        if beams:
            used = [make(ReferencedBeamNumber=number) for number in beams]
            group = make(ReferencedFractionGroupNumber=1, ReferencedBeamSequence=used)
            item.ReferencedFractionGroupSequence = [group]
        ds.ReferencedRTPlanSequence = [item]
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def rt_registration(matrix: np.ndarray, *, patient: str = "P1") -> Dataset:
    """Maps points of the other frame (source) to the first (registered)."""
    ds = rt_object(SpatialRegistrationStorage, "REG", patient=patient)
    step = make(
        FrameOfReferenceTransformationMatrix=[f"{v:.12f}"[:16] for v in matrix.ravel()],
        FrameOfReferenceTransformationMatrixType="RIGID",
    )
    chain = make(MatrixSequence=[step])
    ds.RegistrationSequence = [
        make(FrameOfReferenceUID=OTHER_FRAME, MatrixRegistrationSequence=[chain])
    ]
    return ds


@dataclass(frozen=True)
class Export:
    """A DICOM folder that grows, and the run of it."""

    root: Path
    patient: str = "P1"

    def save(self, ds: Dataset) -> str:
        folder = self.root / "dicom"
        folder.mkdir(exist_ok=True)
        save(ds, folder / f"{ds.SOPInstanceUID}.dcm")
        return str(ds.SOPInstanceUID)

    def common(self, sop_class: str, modality: str, frame: str = FRAME) -> Dataset:
        return rt_object(sop_class, modality, frame, self.patient)

    def plan(
        self,
        label: str,
        fractions: int | None,
        *,
        concurrent: str = "",
        frame: str = FRAME,
        date: str = "20240105",
        structures: str = "",
        prescribes: Mapping[int, float] | None = None,
    ) -> str:
        """A plan of one beam; `prescribes` gives ROI numbers of `structures` a dose in Gy."""
        ds = self.common(RTPlanStorage, "RTPLAN", frame)
        ds.RTPlanLabel, ds.RTPlanDate, ds.ApprovalStatus = label, date, "APPROVED"
        if structures:
            ds.ReferencedStructureSetSequence = [
                make(
                    ReferencedSOPClassUID=RTStructureSetStorage, ReferencedSOPInstanceUID=structures
                )
            ]
        if prescribes:
            ds.DoseReferenceSequence = [
                make(
                    DoseReferenceNumber=n,
                    DoseReferenceStructureType="VOLUME",
                    DoseReferenceType="TARGET",
                    ReferencedROINumber=n,
                    TargetPrescriptionDose=gy,
                )
                for n, gy in prescribes.items()
            ]
        beam = make(BeamNumber=1, BeamName="1", TreatmentDeliveryType="TREATMENT")
        ds.BeamSequence = [beam]
        used = make(ReferencedBeamNumber=1, BeamMeterset="100")
        group = make(FractionGroupNumber=1, ReferencedBeamSequence=[used])
        if fractions:
            group.NumberOfFractionsPlanned = fractions
        ds.FractionGroupSequence = [group]
        if concurrent:
            ds.ReferencedRTPlanSequence = [
                make(
                    ReferencedSOPClassUID=RTPlanStorage,
                    ReferencedSOPInstanceUID=concurrent,
                    RTPlanRelationship="CONCURRENT",
                )
            ]
        return self.save(ds)

    def dose(self, plan: str, gy: float | np.ndarray, **values: object) -> str:
        return self.save(rt_dose(gy, plan=plan, patient=self.patient, **values))

    def structures(self, frame: str = FRAME, rois: Mapping[str, float] = ROIS) -> str:
        """Boxes inside the dose grid, from its middle `reach` mm to each side."""
        ds = self.common(RTStructureSetStorage, "RTSTRUCT", frame)
        ds.StructureSetLabel = "S"
        numbers = dict(enumerate(rois, start=1))
        ds.StructureSetROISequence = [
            make(ROINumber=n, ROIName=name, ReferencedFrameOfReferenceUID=frame)
            for n, name in numbers.items()
        ]
        ds.ROIContourSequence = [
            make(
                ReferencedROINumber=n,
                ContourSequence=[
                    make(
                        ContourGeometricType="CLOSED_PLANAR",
                        NumberOfContourPoints=4,
                        ContourData=[
                            v
                            for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))
                            for v in (-5.5 + x * rois[name], -15.0 + y * rois[name], z)
                        ],
                    )
                    for z in (33.0, 36.0)
                ],
            )
            for n, name in numbers.items()
        ]
        return self.save(ds)

    def ct(self, hu: np.ndarray, origin: Sequence[float], step_mm: float, frame: str) -> None:
        """A transverse CT series of `[k, j, i]` values in cubic voxels."""
        series = generate_uid()
        for k, values in enumerate(hu):
            ds = self.common(CTImageStorage, "CT", frame)
            ds.SeriesInstanceUID, ds.InstanceNumber = series, k + 1
            x, y, z = origin
            ds.ImagePositionPatient = [f"{v:.3f}" for v in (x, y, z + k * step_mm)]
            ds.ImageOrientationPatient = list(POSITIONS["HFS"])
            ds.PixelSpacing, ds.SliceThickness = [step_mm, step_mm], step_mm
            ds.Rows, ds.Columns = values.shape
            ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
            ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
            ds.BitsAllocated = ds.BitsStored = 16
            ds.HighBit, ds.PixelRepresentation = 15, 0
            ds.add_new("PixelData", "OW", (np.rint(values) + 1024).astype("<u2").tobytes())
            self.save(ds)

    def registration(self, matrix: np.ndarray) -> str:
        """Maps points of the other frame (source) to the first (registered)."""
        return self.save(rt_registration(matrix, patient=self.patient))

    def deformation(self, shift_mm: Sequence[float]) -> str:
        """Points of the first frame (registered) lie `shift_mm` further in the other (source)."""
        vectors = np.broadcast_to(np.asarray(shift_mm, "<f4"), (9, 9, 9, 3))
        ds = self.common(DeformableSpatialRegistrationStorage, "REG")
        grid = make(
            ImagePositionPatient=["-60", "-60", "-20"],
            ImageOrientationPatient=list(POSITIONS["HFS"]),
            GridDimensions=[9, 9, 9],
            GridResolution=[15.0, 15.0, 15.0],
            VectorGridData=vectors.tobytes(),
        )
        ds.DeformableRegistrationSequence = [
            make(SourceFrameOfReferenceUID=OTHER_FRAME, DeformableRegistrationGridSequence=[grid])
        ]
        return self.save(ds)

    def run(self, config: str = "{}", overrides: str = "", status: int = 0) -> dict:
        """Facts of the stage `dose`, after a run of all that DVHs need."""
        (self.root / "c.yaml").write_text(config)
        options = [
            "--config",
            str(self.root / "c.yaml"),
            "--stages",
            "register,dose,dvh",
            "--quiet",
        ]
        if overrides:
            (self.root / "o.yaml").write_text(overrides)
            options += ["--overrides", str(self.root / "o.yaml")]
        assert main(["run", str(self.root / "dicom"), str(self.out), *options]) == status
        if status == 2:
            return {}
        facts = self.folder / "dose" / "dose.json"
        return json.loads(facts.read_text()) if facts.exists() else {}

    def stage(self) -> Path:
        """The stage `dose` alone, in this process; the folder that it filled."""
        with Index(self.root / "index.sqlite") as index:
            index.update(self.root / "dicom", jobs=1)
            found = Inputs(index.objects(), index.series(), index.series_files)
            (course,) = link_courses(found, dicom_root=str(self.root / "dicom"))
        self.out.mkdir()
        outcome = STAGE.run(Task(course, self.root, self.out, Config(), Overrides()))
        assert outcome.status == "done", outcome
        return self.out

    @property
    def out(self) -> Path:
        return self.root / "out"

    @property
    def folder(self) -> Path:
        (folder,) = course_folders(self.out)
        return folder

    def started(self) -> dict[str, str]:
        """When each stage ran last."""
        records = self.folder.glob("stages/*.json")
        return {path.stem: json.loads(path.read_text())["started"] for path in records}

    def metrics(self) -> pd.DataFrame:
        frame = pd.read_parquet(self.folder / "dvh" / "metrics.parquet")
        return frame.set_index(["dose_source", "roi_name"])
