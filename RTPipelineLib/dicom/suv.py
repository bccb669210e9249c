"""Standardised uptake values by body weight from the headers of a PET series.

SUVbw = activity concentration x body weight / administered dose, the dose decayed to the moment to
which the image is corrected (PS3.3 C.8.9.1; QIBA Profile FDG-PET/CT, SUV vendor-neutral
pseudo-code). What the headers do not settle is refused with a sentence: a SUV off by a factor looks
like any other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pydicom import Dataset
from pydicom.valuerep import DT

from ..errors import DataError
from .dataset import read_dataset

BQML, CNTS, GML = "BQML", "CNTS", "GML"
START, ADMIN = "START", "ADMIN"
_PHILIPS = "Philips PET Private Group"  # (7053,xx00) SUV, (7053,xx09) Bq/ml, for a stored count
_GE = "GEMS_PETD_01"  # (0009,xx0d) the time of the scan
# Clinical doses are 1e7 to 1e9 Bq: less than this was written in MBq.
_LEAST_DOSE_BQ = 1e5
_WEIGHTS_KG = (0.3, 600.0)
# After so many half-lives nothing is left to be imaged: the dates do not belong together.
_MOST_HALF_LIVES = 15


@dataclass(frozen=True)
class SuvScale:
    """What the values of a series (after Rescale Slope and Intercept) are multiplied by to give SUV
    by body weight in g/ml, and how it was found."""

    factor: float
    evidence: str


def suv_scale(paths: Sequence[str | Path]) -> SuvScale:
    """The scale of a PET series, from the headers of all its files.

    Raises `DataError` with the reason when there is none, `DicomError` for a file that cannot be
    read.
    """
    return scale_of([read_dataset(path, stop_before_pixels=True) for path in paths])


def scale_of(slices: Sequence[Dataset]) -> SuvScale:
    """The same from the datasets of all slices. Raises `DataError` as `suv_scale` does."""
    if not slices:
        raise DataError("a PET series needs at least one file")
    unit = _same(slices, "Units")
    if unit == GML:
        return _of_grams(slices)
    if unit == CNTS:
        return _of_counts(slices)
    if unit != BQML:
        raise DataError(f"no SUV: Units is {unit or 'missing'}, expected {BQML}, {CNTS} or {GML}")
    return _of_activity(slices, 1.0, "Units BQML")


def _of_grams(slices: Sequence[Dataset]) -> SuvScale:
    kind = _same(slices, "SUVType") or "BW"
    if kind != "BW":
        raise DataError(f"no SUV by body weight: SUV Type is {kind}, which is another one")
    return SuvScale(1.0, "Units GML: the image is SUV by body weight already")


def _of_counts(slices: Sequence[Dataset]) -> SuvScale:
    """Philips stores counts and says what they are worth in private elements."""
    suv = _private(slices, 0x7053, _PHILIPS, 0x00)
    if suv:
        return SuvScale(suv, f"Units CNTS, Philips' private SUV factor {suv:g}")
    activity = _private(slices, 0x7053, _PHILIPS, 0x09)
    if activity:
        return _of_activity(slices, activity, f"Units CNTS, Philips' private factor {activity:g}")
    raise DataError("no SUV: Units is CNTS and there is no factor that says what a count is worth")


def _of_activity(slices: Sequence[Dataset], bqml: float, evidence: str) -> SuvScale:
    """For images whose values times `bqml` are Bq/ml."""
    weight_kg = _number(slices, "PatientWeight")
    low, high = _WEIGHTS_KG
    if weight_kg is None or weight_kg <= 0:
        raise DataError("no SUV: Patient's Weight (0010,1030) is missing")
    if not low <= weight_kg <= high:
        raise DataError(f"no SUV: Patient's Weight is {weight_kg:g} kg, which cannot be")
    drugs = [_radiopharmaceutical(one) for one in slices]
    dose_bq = _number(drugs, "RadionuclideTotalDose")
    if dose_bq is None or dose_bq <= 0:
        raise DataError("no SUV: Radionuclide Total Dose (0018,1074) is missing")
    if dose_bq < _LEAST_DOSE_BQ:
        raise DataError(
            f"no SUV: Radionuclide Total Dose is {dose_bq:g} Bq; it seems to be written in MBq"
        )
    correction = _same(slices, "DecayCorrection")
    if correction == ADMIN:
        left, how = 1.0, "decay corrected to administration"
    elif correction == START:
        left, how = _left_at_start(slices, drugs)
    else:
        raise DataError(
            f"no SUV: Decay Correction is {correction or 'missing'}, expected START or ADMIN"
        )
    factor = bqml * weight_kg * 1000.0 / (dose_bq * left)
    return SuvScale(factor, f"{evidence}, {weight_kg:g} kg, {dose_bq / 1e6:.4g} MBq, {how}")


def _left_at_start(slices: Sequence[Dataset], drugs: Sequence[Dataset]) -> tuple[float, str]:
    """The share of the dose that is left at the start of the scan, and how that is known."""
    half_life_s = _number(drugs, "RadionuclideHalfLife")
    if half_life_s is None or half_life_s <= 0:
        raise DataError("no SUV: Radionuclide Half Life (0018,1075) is missing")
    scan, source = _scan_start(slices, half_life_s)
    injection = _injection(drugs[0], scan, slices[0])
    seconds = (scan - injection).total_seconds()
    if seconds < 0:
        raise DataError(
            f"no SUV: the dose was given at {injection}, after the scan began at {scan}"
        )
    if seconds > _MOST_HALF_LIVES * half_life_s:
        raise DataError(
            f"no SUV: {seconds / 3600:.1f} h lie between the dose ({injection}) and the scan "
            f"({scan}); the dates do not belong together"
        )
    left = 0.5 ** (seconds / half_life_s)
    return left, f"decayed {seconds / 60:.1f} min to the start of the scan ({source})"


# -- times ----------------------------------------------------------------------------------------


def _scan_start(slices: Sequence[Dataset], half_life_s: float) -> tuple[datetime, str]:
    """The moment to which START corrects.

    Series Time, unless an acquisition began before it, which means that the series was made later
    (reformatted or split). Then GE's private time, else it is counted back from a frame: its
    Frame Reference Time is when its mean count rate occurred.
    """
    acquired = [_moment(one, "AcquisitionDate", "AcquisitionTime") for one in slices]
    first = min((moment for moment in acquired if moment is not None), default=None)
    series = min(
        (m for one in slices if (m := _moment(one, "SeriesDate", "SeriesTime")) is not None),
        default=None,
    )
    if series is not None and (first is None or series <= first):
        return series, "Series Time"
    private = _private_text(slices[0], 0x0009, _GE, 0x0D)
    if private:
        return _datetime(private, slices[0]), "GE's private time"
    starts = []
    for one, moment in zip(slices, acquired, strict=True):
        offset_ms = _one(one, "FrameReferenceTime")
        length_ms = _one(one, "ActualFrameDuration")
        if moment is None or offset_ms is None or not length_ms:
            continue
        decay = math.log(2) / half_life_s
        share = decay * length_ms / 1000
        mean_s = math.log(share / (1 - math.exp(-share))) / decay
        starts.append(moment - timedelta(seconds=offset_ms / 1000 - mean_s))
    if not starts:
        raise DataError(
            "no SUV: the series was made after its acquisition began (Series Time is later than "
            "Acquisition Time) and nothing says when the scan started"
        )
    return min(starts), "counted back from Frame Reference Time"


def _injection(drug: Dataset, scan: datetime, one: Dataset) -> datetime:
    """When the dose was given, in the time zone of the slice `one`. A time without a date belongs
    to the day of the scan, or to the day before when it would lie after the scan."""
    text = str(drug.get("RadiopharmaceuticalStartDateTime", "") or "")
    if text:
        return _datetime(text, one)
    time = str(drug.get("RadiopharmaceuticalStartTime", "") or "")
    if not time:
        raise DataError(
            "no SUV: Radiopharmaceutical Start DateTime (0018,1078) and Start Time (0018,1072) are "
            "missing"
        )
    moment = _datetime(f"{scan:%Y%m%d}{time}", one)
    return moment - timedelta(days=1) if moment > scan else moment


def _moment(dataset: Dataset, date: str, time: str) -> datetime | None:
    day, hour = str(dataset.get(date, "") or ""), str(dataset.get(time, "") or "")
    return _datetime(day + hour, dataset) if day and hour else None


def _datetime(text: str, dataset: Dataset) -> datetime:
    """A DICOM date and time in the dataset's own time zone."""
    clean = text.replace(":", "").strip()
    try:
        moment = datetime.fromisoformat(DT(clean).isoformat())
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"no SUV: {text!r} is no date and time") from error
    if moment.tzinfo is None:
        return moment
    zone = str(dataset.get("TimezoneOffsetFromUTC", "") or "")
    if zone:
        own = datetime.strptime(zone, "%z").tzinfo
        moment = moment.astimezone(own)
    return moment.replace(tzinfo=None)


# -- values ---------------------------------------------------------------------------------------


def _radiopharmaceutical(dataset: Dataset) -> Dataset:
    items = dataset.get("RadiopharmaceuticalInformationSequence") or []
    if len(items) != 1:
        count = "no radiopharmaceutical" if not items else f"{len(items)} radiopharmaceuticals"
        raise DataError(f"no SUV: the series names {count}")
    return items[0]


def _same(datasets: Sequence[Dataset], name: str) -> str:
    values = {str(one.get(name, "") or "").strip().upper() for one in datasets}
    if len(values) > 1:
        raise DataError(f"no SUV: {name} differs between slices ({', '.join(sorted(values))})")
    return values.pop()


def _number(datasets: Sequence[Dataset], name: str) -> float | None:
    values = {_one(one, name) for one in datasets}
    if len(values) > 1:
        raise DataError(f"no SUV: {name} differs between slices")
    return values.pop()


def _one(dataset: Dataset, name: str) -> float | None:
    try:
        value = float(dataset.get(name))
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _private(datasets: Sequence[Dataset], group: int, creator: str, element: int) -> float | None:
    """A private number that is the same in all slices; None where it is missing or not positive."""
    values = {_private_text(one, group, creator, element) for one in datasets}
    if len(values) > 1:
        raise DataError(f"no SUV: a private factor of {creator} differs between slices")
    try:
        value = float(values.pop())
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def _private_text(dataset: Dataset, group: int, creator: str, element: int) -> str:
    try:
        value = dataset.private_block(group, creator)[element].value
    except KeyError:
        return ""
    if isinstance(value, bytes):  # implicit little endian: pydicom does not know its type
        value = value.decode("ascii", "ignore")
    return str(value or "").strip().strip("\0")
