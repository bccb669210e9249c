"""No structure can stop the others: each broken one has its row and its flag, and the sound one its
numbers, by `compute_dvh`, by `rtpipeline dvh` and by the stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydicom import dcmread
from pydicom.uid import RTStructureSetStorage

from RTPipelineLib.cli import main
from RTPipelineLib.dicom.dose import read_dose
from RTPipelineLib.dicom.structures import read_structure_set
from RTPipelineLib.dvh.engine import compute_dvh
from Testing.rt_export import FRAME, Export, make

NOT_A_NUMBER = "9999.125"  # replaced by NaN in the file: no writer stores one


def box(z: float, x: float = -7.0, y: float = -17.0, size: float = 4.0) -> list[tuple]:
    return [(x, y, z), (x + size, y, z), (x + size, y + size, z), (x, y + size, z)]


def bow(z: float) -> list[tuple]:
    return [(-7, -17, z), (-3, -13, z), (-3, -17, z), (-7, -13, z)]


SLICES = (33.0, 36.0)
SOUND = "Sound"
LOOPS = {
    SOUND: [box(z) for z in SLICES],
    "Empty": [],
    "Two points": [box(z)[:2] for z in SLICES],
    "Crossing": [bow(z) for z in SLICES],
    "No number": [box(33.0), [(NOT_A_NUMBER, -17.0, 36.0), *box(36.0)[1:]]],
    "Outside": [box(z, x=500.0) for z in SLICES],
    "Tiny": [box(z, size=1.25) for z in SLICES],  # 0.009 cc
    "Cancelled": [box(z) for z in SLICES for _ in (1, 2)],  # XOR
    "Hole beside": [box(30.0), box(33.0), box(36.0), box(33.3, -6.0, -16.0, 1.0)],
}
FLAGS = {
    "Empty": "structure-empty",
    "Two points": "contour-too-few-points",
    "Crossing": "contour-crosses-itself",
    "No number": "contour-nonfinite:1",
    "Outside": "outside-dose-grid",
    "Tiny": "structure-tiny",
    "Cancelled": "contour-xor-cancels",
    "Hole beside": "contour-off-plane",
}
WITHOUT_VOLUME = {"Empty", "Two points", "Cancelled", "No number"}  # of it one plane is left
WITHOUT_DOSE = WITHOUT_VOLUME | {"Outside"}


@pytest.fixture(scope="module")
def export(tmp_path_factory) -> Export:
    export = Export(tmp_path_factory.mktemp("broken"))
    ds = export.common(RTStructureSetStorage, "RTSTRUCT")
    numbers = dict(enumerate(LOOPS, start=1))
    ds.StructureSetROISequence = [
        make(ROINumber=n, ROIName=name, ReferencedFrameOfReferenceUID=FRAME)
        for n, name in numbers.items()
    ]
    ds.ROIContourSequence = [
        make(
            ReferencedROINumber=n,
            ContourSequence=[
                make(
                    ContourGeometricType="CLOSEDPLANAR_XOR"
                    if name == "Cancelled"
                    else "CLOSED_PLANAR",
                    NumberOfContourPoints=len(loop),
                    ContourData=[str(v) for point in loop for v in point],
                )
                for loop in LOOPS[name]
            ],
        )
        for n, name in numbers.items()
    ]
    structures = export.save(ds)
    path = export.root / "dicom" / f"{structures}.dcm"
    content = path.read_bytes()
    assert content.count(NOT_A_NUMBER.encode()) == 1
    path.write_bytes(content.replace(NOT_A_NUMBER.encode(), b"NaN     "))
    x = np.broadcast_to(np.arange(6.0), (4, 5, 6))
    export.dose(export.plan("A", 25, structures=structures), 20 + x)
    return export


def files(export: Export) -> tuple[Path, Path]:
    """The structure set and the dose."""
    found = {str(dcmread(path).Modality): path for path in (export.root / "dicom").iterdir()}
    return found["RTSTRUCT"], found["RTDOSE"]


def test_by_the_function(export) -> None:
    rtstruct, rtdose = files(export)
    rois = {roi.name: roi for roi in read_structure_set(rtstruct).rois}
    assert list(rois) == list(LOOPS)
    dvhs = {name: compute_dvh(roi, read_dose(rtdose)) for name, roi in rois.items()}
    assert dvhs[SOUND].flags == ()
    assert dvhs[SOUND].volume_cc == pytest.approx(4 * 4 * 6 / 1000)
    assert {name: flag for name, flag in FLAGS.items() if flag not in dvhs[name].flags} == {}
    assert dvhs["Crossing"].volume_cc == pytest.approx(8 * 6 / 1000)  # two triangles of 4 mm2
    assert {name for name, dvh in dvhs.items() if np.isnan(dvh.mean_gy)} == WITHOUT_DOSE


def check(table: pd.DataFrame) -> None:
    table = table.set_index("roi_name")
    assert list(table.index) == list(LOOPS)
    flags = table["flags"].fillna("").str.split(";")
    assert {name: flag for name, flag in FLAGS.items() if flag not in flags[name]} == {}
    assert set(table.index[table["volume_cc"].isna()]) == WITHOUT_VOLUME
    assert set(table.index[table["Dmean_Gy"].isna()]) == WITHOUT_DOSE
    assert table.loc[SOUND, "Dmean_Gy"] == pytest.approx(22.5, abs=0.01)  # x from -7 to -3
    assert table.loc[SOUND, "volume_cc"] == pytest.approx(4 * 4 * 6 / 1000)


def test_by_the_command(export, tmp_path) -> None:
    rtstruct, rtdose = files(export)
    arguments = ["--rtstruct", str(rtstruct), "--rtdose", str(rtdose)]
    assert main(["dvh", *arguments, "-o", str(tmp_path / "out.csv")]) == 0
    check(pd.read_csv(tmp_path / "out.csv"))


def test_by_the_stage(export) -> None:
    export.run()
    table = pd.read_parquet(export.folder / "dvh" / "metrics.parquet")
    check(table[table["dose_source"] == table["dose_source"].iloc[0]])
