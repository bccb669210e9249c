"""Headers per second of the index against a plain pydicom loop.

10,000 generated CT files (a realistic header with private elements and sequences, 64 x 64 pixels).
The two sides run interleaved in one process and each gives its median. Required: a cold index at
least 8 x the loop, an unchanged file at most 10 us.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from RTPipelineLib.dicom.index import Index

COLD_RATIO = 8.0
UNCHANGED_US = 10.0
LENGTHS_AND_RATES = (
    *("SliceThickness", "KVP", "DataCollectionDiameter", "ReconstructionDiameter", "FocalSpots"),
    *("DistanceSourceToDetector", "DistanceSourceToPatient", "GantryDetectorTilt", "TableHeight"),
    *("SpiralPitchFactor", "CTDIvol", "RevolutionTime", "SingleCollimationWidth", "TableSpeed"),
)


def ct_slice(number: int, series_uid: str, random: np.random.Generator) -> Dataset:
    """A CT slice with the header that scanners write: about 110 elements, 7 kB."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    implicit = number % 4 == 3  # some archives still store it so
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"]
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = f"{series_uid}.9.{number}"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20240301"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101112.345000"
    ds.AccessionNumber, ds.Modality, ds.Manufacturer = "A123", "CT", "Maker of scanners"
    ds.InstitutionName, ds.ReferringPhysicianName = "Hospital", "Somebody^Else"
    ds.StationName, ds.StudyDescription = "CT01", "Planning CT pelvis"
    ds.SeriesDescription, ds.ManufacturerModelName = "Pelvis 3.0 Br38", "Model"
    for keyword in ("ReferencedStudySequence", "ReferencedImageSequence", "SourceImageSequence"):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, generate_uid()
        setattr(ds, keyword, [item])
        ds[keyword].is_undefined_length = keyword == "SourceImageSequence"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Doe^Jane", "P0001", "19500101"
    ds.PatientSex, ds.PatientAge, ds.PatientWeight = "F", "074Y", 70
    for keyword in LENGTHS_AND_RATES:
        setattr(ds, keyword, 3.0)
    ds.ExposureTime, ds.XRayTubeCurrent, ds.Exposure = 500, 300, 150
    ds.ConvolutionKernel, ds.PatientPosition, ds.ProtocolName = ["Br38f", "3"], "HFS", "Pelvis"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = series_uid + ".1", series_uid
    ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = 2, 1, number
    ds.ImagePositionPatient = [-250.0, -250.0, 3.0 * number]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.FrameOfReferenceUID, ds.SliceLocation = series_uid + ".2", 3.0 * number
    for offset, creator in enumerate(("SIEMENS CT VA0  COAD", "SIEMENS MED", "SIEMENS CSA HEADER")):
        block = ds.private_block(0x0019 + 2 * offset, creator, create=True)
        for element in range(8):
            block.add_new(element, "DS", "1.2345")
        block.add_new(0x20, "OB", random.bytes(600))
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = 64
    ds.PixelSpacing = [7.8125, 7.8125]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.WindowCenter, ds.WindowWidth = [40, 300], [300, 1500]
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -1024, 1, "HU"
    ds.PixelData = random.bytes(64 * 64 * 2)
    return ds


def write_folder(folder: Path, n_files: int) -> None:
    """Series of 200 slices, a folder each."""
    random = np.random.default_rng(1)
    for number in range(n_files):
        place = folder / f"{number // 200:03d}"
        if number % 200 == 0:
            place.mkdir()
            series_uid = f"1.2.826.0.1.3680043.8.498.{number + 1}"
        ct_slice(number, series_uid, random).save_as(
            place / f"CT.{number}.dcm", enforce_file_format=True
        )


def pydicom_loop(folder: Path) -> float:
    """Seconds of the plain loop, which looks at the fields that every index needs."""
    began = time.perf_counter()
    for path in folder.rglob("*.dcm"):
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        _ = (ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID, ds.PatientID)
    return time.perf_counter() - began


def measure(folder: Path, database: Path, jobs: int | None) -> tuple[float, float]:
    """Seconds of a cold index and of a second one of the unchanged folder, opening included."""
    database.unlink(missing_ok=True)
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        with Index(database) as index:
            index.update(folder, jobs=jobs)
        seconds.append(time.perf_counter() - began)
    return seconds[0], seconds[1]


def main() -> int:
    """Prints the figures; 1 when a requirement is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "dicom"
        folder.mkdir()
        write_folder(folder, arguments.files)
        loops, colds, seconds = [], [], []
        for _ in range(arguments.repeats):
            loops.append(pydicom_loop(folder))
            cold, unchanged = measure(folder, Path(scratch) / "index.sqlite", arguments.jobs)
            colds.append(cold)
            seconds.append(unchanged)
    loop, cold, unchanged = map(statistics.median, (loops, colds, seconds))
    ratio, each_us = loop / cold, unchanged / arguments.files * 1e6
    print(f"{arguments.files} files, median of {arguments.repeats}")
    print(f"pydicom loop     {loop:7.2f} s  {arguments.files / loop:8.0f} headers/s")
    print(f"index, cold      {cold:7.2f} s  {arguments.files / cold:8.0f} headers/s")
    print(
        f"index, unchanged {unchanged:7.3f} s  {each_us:8.1f} us a file (at most {UNCHANGED_US:g})"
    )
    print(f"cold index: {ratio:.1f} x the loop (at least {COLD_RATIO:g})")
    return int(ratio < COLD_RATIO or each_us > UNCHANGED_US)


if __name__ == "__main__":
    sys.exit(main())
