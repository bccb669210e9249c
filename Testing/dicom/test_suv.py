"""SUV by body weight: closed forms for every way in which headers say it, and every refusal."""

from __future__ import annotations

import math

import pytest
from pydicom import Dataset

from RTPipelineLib.dicom.suv import scale_of
from RTPipelineLib.errors import DataError

HALF_LIFE_S = 6586.2  # F-18
WEIGHT_KG, DOSE_BQ = 70.0, 3.5e8


def pet(**values: object) -> list[Dataset]:
    """Two slices of a series whose dose was given an hour before the scan; values replace those of
    the slice, or of the radiopharmaceutical when it has them. None removes."""
    slices = []
    for _ in range(2):
        drug = Dataset()
        drug.RadionuclideTotalDose = DOSE_BQ
        drug.RadionuclideHalfLife = HALF_LIFE_S
        drug.RadiopharmaceuticalStartDateTime = "20240105090000"
        ds = Dataset()
        ds.Units, ds.DecayCorrection = "BQML", "START"
        ds.PatientWeight = WEIGHT_KG
        ds.SeriesDate, ds.SeriesTime = "20240105", "100000"
        ds.AcquisitionDate, ds.AcquisitionTime = "20240105", "100010"
        ds.RadiopharmaceuticalInformationSequence = [drug]
        for name, value in values.items():
            owner = drug if name.startswith(("Radio", "Total")) and name in _OF_DRUG else ds
            if value is None:
                if name in owner:
                    delattr(owner, name)
            else:
                setattr(owner, name, value)
        slices.append(ds)
    return slices


_OF_DRUG = {
    "RadionuclideTotalDose",
    "RadionuclideHalfLife",
    "RadiopharmaceuticalStartDateTime",
    "RadiopharmaceuticalStartTime",
}


def expected(minutes: float) -> float:
    """g/ml per Bq/ml when the dose decayed for so long."""
    return WEIGHT_KG * 1000 / (DOSE_BQ * 0.5 ** (minutes * 60 / HALF_LIFE_S))


def test_from_activity() -> None:
    scale = scale_of(pet())
    assert scale.factor == pytest.approx(expected(60), rel=1e-12)
    assert "decayed 60.0 min to the start of the scan (Series Time)" in scale.evidence


def test_decay_corrected_to_administration() -> None:
    assert scale_of(pet(DecayCorrection="ADMIN")).factor == pytest.approx(expected(0), rel=1e-12)


def test_suv_already() -> None:
    assert scale_of(pet(Units="GML", PatientWeight=None)).factor == 1.0
    assert scale_of(pet(Units="GML", SUVType="BW")).factor == 1.0
    with pytest.raises(DataError, match="SUV Type is LBM"):
        scale_of(pet(Units="GML", SUVType="LBM"))


def test_time_without_date_is_that_of_the_scan() -> None:
    start = {"RadiopharmaceuticalStartDateTime": None, "RadiopharmaceuticalStartTime": "091500.00"}
    assert scale_of(pet(**start)).factor == pytest.approx(expected(45), rel=1e-12)


def test_over_midnight() -> None:
    start = {"RadiopharmaceuticalStartDateTime": None, "RadiopharmaceuticalStartTime": "233000"}
    times = {"SeriesTime": "003000", "AcquisitionTime": "003010"}
    assert scale_of(pet(**start, **times)).factor == pytest.approx(expected(60), rel=1e-12)
    dated = {"RadiopharmaceuticalStartDateTime": "20240104233000"}
    assert scale_of(pet(**dated, **times)).factor == pytest.approx(expected(60), rel=1e-12)


def test_time_zones() -> None:
    zoned = {
        "RadiopharmaceuticalStartDateTime": "20240105080000+0000",
        "TimezoneOffsetFromUTC": "+0100",
    }
    assert scale_of(pet(**zoned)).factor == pytest.approx(expected(60), rel=1e-12)


def test_series_made_after_the_acquisition() -> None:
    """Series Time is then no start of the scan: GE says it privately, else a frame does."""
    late = {"SeriesTime": "140000", "AcquisitionTime": "100000"}
    slices = pet(**late)
    for one in slices:
        one.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", "20240105100000")
    assert scale_of(slices).factor == pytest.approx(expected(60), rel=1e-12)
    # A frame of 180 s from 600 s on: its mean count rate occurs a little before its middle.
    decay = math.log(2) / HALF_LIFE_S
    share = decay * 180
    mean_s = math.log(share / (1 - math.exp(-share))) / decay
    frame = {"FrameReferenceTime": (600 + mean_s) * 1000, "ActualFrameDuration": 180_000}
    counted = scale_of(pet(SeriesTime="140000", AcquisitionTime="101000", **frame))
    assert counted.factor == pytest.approx(expected(60), rel=1e-6)
    assert "Frame Reference Time" in counted.evidence
    with pytest.raises(DataError, match="nothing says when the scan started"):
        scale_of(pet(**late))


def test_philips_counts() -> None:
    slices = pet(Units="CNTS", PatientWeight=None)
    for one in slices:
        one.private_block(0x7053, "Philips PET Private Group", create=True).add_new(
            0x00, "DS", "0.000551"
        )
    assert scale_of(slices).factor == pytest.approx(0.000551)
    slices = pet(Units="CNTS")
    for one in slices:
        block = one.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(0x00, "DS", "0")
        block.add_new(0x09, "DS", "1.5")
    assert scale_of(slices).factor == pytest.approx(1.5 * expected(60), rel=1e-12)
    with pytest.raises(DataError, match="CNTS and there is no factor"):
        scale_of(pet(Units="CNTS"))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"Units": "PROPCNTS"}, "Units is PROPCNTS"),
        ({"Units": None}, "Units is missing"),
        ({"PatientWeight": None}, "Weight .* is missing"),
        ({"PatientWeight": 0.0}, "Weight .* is missing"),
        ({"PatientWeight": 70000.0}, "70000 kg, which cannot be"),
        ({"RadionuclideTotalDose": None}, "Total Dose .* is missing"),
        ({"RadionuclideTotalDose": 350.0}, "written in MBq"),
        ({"RadionuclideHalfLife": None}, "Half Life .* is missing"),
        ({"DecayCorrection": "NONE"}, "Decay Correction is NONE"),
        ({"DecayCorrection": None}, "Decay Correction is missing"),
        ({"RadiopharmaceuticalStartDateTime": None}, "Start DateTime .* are missing"),
        ({"RadiopharmaceuticalStartDateTime": "20240105110000"}, "after the scan began"),
        ({"RadiopharmaceuticalStartDateTime": "20230105090000"}, "do not belong together"),
    ],
)
def test_refusals(values: dict[str, object], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        scale_of(pet(**values))


def test_slices_that_differ_and_several_drugs() -> None:
    slices = pet()
    slices[1].PatientWeight = 80.0
    with pytest.raises(DataError, match="PatientWeight differs between slices"):
        scale_of(slices)
    slices = pet()
    for one in slices:
        one.RadiopharmaceuticalInformationSequence = [
            *one.RadiopharmaceuticalInformationSequence,
            Dataset(),
        ]
    with pytest.raises(DataError, match="2 radiopharmaceuticals"):
        scale_of(slices)
    for one in slices:
        del one.RadiopharmaceuticalInformationSequence
    with pytest.raises(DataError, match="no radiopharmaceutical"):
        scale_of(slices)
