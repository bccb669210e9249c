"""PET from DICOM to SUV features, and what happens when the headers do not suffice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK
from pydicom.uid import PositronEmissionTomographyImageStorage, generate_uid

from RTPipelineLib.cli import main
from Testing.rt_export import POSITIONS, make, rt_object, save

pytest.importorskip("radiomics.base", reason="pyradiomics is not installed (extra radiomics)")

SHAPE, SPACING_MM = (8, 14, 15), 4.0
PEAK_BQML = 12_000.0


def series(folder: Path, **values: object) -> np.ndarray:
    """A PET series, its dose given at the start of the scan; its values in Bq/ml."""
    folder.mkdir()
    stored = np.random.default_rng(1).integers(1, 30_000, SHAPE).astype("<u2")
    uid = generate_uid()
    for k in range(SHAPE[0]):
        ds = rt_object(PositronEmissionTomographyImageStorage, "PT")
        ds.SeriesInstanceUID, ds.InstanceNumber = uid, k + 1
        ds.Units, ds.DecayCorrection, ds.PatientWeight = "BQML", "START", 60.0
        ds.SeriesDate = ds.AcquisitionDate = "20240105"
        ds.SeriesTime = ds.AcquisitionTime = "100000"
        ds.RadiopharmaceuticalInformationSequence = [
            make(
                RadionuclideTotalDose=3e8,
                RadionuclideHalfLife=6586.2,
                RadiopharmaceuticalStartDateTime="20240105100000",
            )
        ]
        ds.ImagePositionPatient = ["0", "0", f"{k * SPACING_MM:.1f}"]
        ds.ImageOrientationPatient = list(POSITIONS["HFS"])
        ds.PixelSpacing, ds.SliceThickness = [SPACING_MM, SPACING_MM], SPACING_MM
        ds.Rows, ds.Columns = SHAPE[1:]
        ds.RescaleSlope, ds.RescaleIntercept = PEAK_BQML / 30_000, 0
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelRepresentation = 15, 0
        ds.add_new("PixelData", "OW", stored[k].tobytes())
        for name, value in values.items():
            setattr(ds, name, value)
        save(ds, folder / f"{k}.dcm")
    return stored * (PEAK_BQML / 30_000)


def labels(path: Path) -> np.ndarray:
    """A box as a label volume on the series."""
    inside = np.zeros(SHAPE, np.uint8)
    inside[2:7, 3:11, 4:12] = 1
    image = SimpleITK.GetImageFromArray(inside)
    image.SetSpacing((SPACING_MM,) * 3)
    SimpleITK.WriteImage(image, str(path))
    return inside == 1


def test_values_are_suv(tmp_path: Path) -> None:
    bqml = series(tmp_path / "pet")
    inside = labels(tmp_path / "box.nrrd")
    (tmp_path / "p.yaml").write_text("setting: {binWidth: 0.25}\nfeatureClass: {firstorder: }")
    table = tmp_path / "o.csv"
    arguments = ["radiomics", str(tmp_path / "pet"), str(tmp_path / "box.nrrd"), "-o", str(table)]
    assert main([*arguments, "--params", str(tmp_path / "p.yaml"), "--quiet"]) == 0
    (row,) = pd.read_csv(table).to_dict("records")
    suv = bqml * 60_000 / 3e8
    assert (row["modality"], row["image_unit"]) == ("PT", "SUV")
    assert row["original_firstorder_Mean"] == pytest.approx(suv[inside].mean(), rel=1e-6)
    assert row["original_firstorder_Maximum"] == pytest.approx(suv[inside].max(), rel=1e-6)
    assert "suv-factor:0.0002" in row["flags"]
    assert main([*arguments, "--quiet"]) == 0  # and by the preset


def test_headers_that_do_not_suffice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series(tmp_path / "pet", PatientWeight=None)
    labels(tmp_path / "box.nrrd")
    table = tmp_path / "o.csv"
    arguments = ["radiomics", str(tmp_path / "pet"), str(tmp_path / "box.nrrd"), "-o", str(table)]
    assert main([*arguments, "--quiet"]) == 3
    assert "Patient's Weight (0010,1030) is missing" in capsys.readouterr().err
    assert not table.exists()
    # With parameters of one's own the values stay what they are, and the row says it.
    (tmp_path / "p.yaml").write_text("setting: {binWidth: 100}\nfeatureClass: {firstorder: [Mean]}")
    assert main([*arguments, "--params", str(tmp_path / "p.yaml"), "--quiet"]) == 0
    assert pd.read_csv(table).loc[0, "image_unit"] == "BQML"
