"""DVHs that a planning system stored in an RT Dose (PS3.3 C.8.8.4, RT DVH Module).

DVH Data (3004,0058) are pairs of bin width and volume. The standard does not say which edge of its
bin a cumulative volume belongs to, and systems differ: the middle is taken, at most half a bin off
(and the choice for which the mean of the curve is the stated one in the files that we have). A
differential volume belongs to the whole bin. Nothing here raises for a broken item: what cannot be
read is left out and flagged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydicom.dataset import Dataset

from ..model import DVH
from .dataset import Header

CUMULATIVE, DIFFERENTIAL = "CUMULATIVE", "DIFFERENTIAL"

# How far a stored mean may lie from that of its own curve: bins of unknown inner course, body-like
# structures with most of their volume in the first bin (5 % seen in real files).
_MEAN_SHARE = 0.05
# Relative doses above this many times the reference are percentages.
_MOST_RELATIVE = 10.0
# Rounding of planning systems: this share of the volume may seem to come back.
_RISING_SHARE = 1e-3


@dataclass(frozen=True, eq=False)
class StoredDvh:
    """One item of a DVH Sequence.

    `curve` is None where it could not be read; its volumes are in cc, or in percent of an unknown
    volume when `in_percent`. `bin_gy` is the widest bin. `min_gy`, `mean_gy` and `max_gy` are the
    statistics that the system stated, in Gy, None where there are none or they contradict the
    curve. `structure_set_uid` is that of the whole sequence.
    """

    roi_numbers: tuple[int, ...]
    excluded_numbers: tuple[int, ...]
    kind: str
    curve: DVH | None
    in_percent: bool = False
    bin_gy: float = math.nan
    min_gy: float | None = None
    mean_gy: float | None = None
    max_gy: float | None = None
    structure_set_uid: str = ""
    flags: tuple[str, ...] = ()

    @property
    def roi_number(self) -> int | None:
        """The one ROI that this is the DVH of; None for a combination of several."""
        alone = len(self.roi_numbers) == 1 and not self.excluded_numbers
        return self.roi_numbers[0] if alone else None


def read_dvh_sequence(ds: Dataset, prescription_gy: float | None = None) -> list[StoredDvh]:
    """The DVHs of an RT Dose, none when it has no DVH Sequence.

    Some systems state minimum, mean and maximum in percent of the prescription although the units
    say GY. Where the stated mean contradicts the curve and the reading in percent fits it (percent
    of `prescription_gy`, else of the dose on which all items agree), it is taken so and flagged.

    Flags: `dvh-statistics-in-percent`, `dvh-statistics-contradict-curve`, `dvh-sequence-broken`,
    `dvh-of-several-rois`, `dvh-roi-missing`, `dvh-data-missing`, `dvh-data-broken`,
    `dvh-data-odd` (half a pair is left over), `dvh-bins-differ` (Number of Bins says otherwise),
    `dvh-rises` (a cumulative volume grows with dose), `dvh-type-unknown`,
    `dvh-units-relative` (percent or parts of DVH Normalization Dose Value),
    `dvh-units-unsupported`, `dvh-volume-units-unsupported` (PER_U has no volume),
    `dvh-volume-in-percent`.
    """
    root = Header(ds)
    references = root.items("ReferencedStructureSetSequence")
    uid = references[0].text("ReferencedSOPInstanceUID") if references else ""
    norm = root.number("DVHNormalizationDoseValue")
    items = root.items("DVHSequence")
    if "bad-value:DVHSequence" in root.flags:
        return [StoredDvh((), (), "", None, flags=("dvh-sequence-broken",))]
    stored = [_read(Header(item.ds), norm, uid) for item in items]
    return _with_statistics(stored, prescription_gy)


def _read(item: Header, norm: float | None, uid: str) -> StoredDvh:
    included, excluded = _rois(item)
    kind = item.text("DVHType").upper()
    step_gy = _gy_per_unit(item, norm)
    to_volume, in_percent = _volume_unit(item)
    curve, bin_gy = None, math.nan
    if kind not in (CUMULATIVE, DIFFERENTIAL):
        item.flag("dvh-type-unknown")
    elif step_gy is not None and to_volume:
        pairs = _pairs(item)
        if pairs is not None:
            widths = pairs[:, 0] * step_gy
            bin_gy = float(widths.max())
            name = ",".join(map(str, included))
            curve = _curve(name, widths, pairs[:, 1], kind, item)
    factor = step_gy if step_gy is not None else math.nan
    keys = ("DVHMinimumDose", "DVHMeanDose", "DVHMaximumDose")
    scaling = item.number("DVHDoseScaling") or 1.0  # the bins' only; statistics are in dose units
    low, mean, high = (_times(item.number(key), factor / scaling) for key in keys)
    return StoredDvh(
        included,
        excluded,
        kind,
        curve,
        in_percent,
        bin_gy,
        low,
        mean,
        high,
        uid,
        tuple(item.flags),
    )


def _rois(item: Header) -> tuple[tuple[int, ...], tuple[int, ...]]:
    included, excluded = [], []
    for reference in item.items("DVHReferencedROISequence"):
        number = reference.integer("ReferencedROINumber")
        if number is None:
            continue
        contribution = reference.text("DVHROIContributionType").upper()
        (excluded if contribution == "EXCLUDED" else included).append(number)
    if not included:
        item.flag("dvh-roi-missing")
    elif len(included) > 1 or excluded:
        item.flag("dvh-of-several-rois")
    return tuple(included), tuple(excluded)


def _gy_per_unit(item: Header, norm: float | None) -> float | None:
    """What a bin width of 1 means in Gy, DVH Dose Scaling included; None when it is not known."""
    scaling = item.number("DVHDoseScaling")
    scaling = 1.0 if scaling is None else scaling
    units = item.text("DoseUnits").upper()
    if scaling > 0 and units == "GY":
        return scaling
    if scaling > 0 and units == "RELATIVE" and norm is not None and norm > 0:
        item.flag("dvh-units-relative")
        widths = _pairs(item)
        highest = 0.0 if widths is None else float(widths[:, 0].sum()) * scaling
        return scaling * norm / (100.0 if highest > _MOST_RELATIVE else 1.0)
    item.flag("dvh-units-unsupported")
    return None


def _volume_unit(item: Header) -> tuple[bool, bool]:
    """Whether the volumes can be used, and whether they are percentages."""
    units = item.text("DVHVolumeUnits").upper()
    if units == "PERCENT":
        item.flag("dvh-volume-in-percent")
    elif units != "CM3":
        item.flag("dvh-volume-units-unsupported")
    return units in ("CM3", "PERCENT"), units == "PERCENT"


def _pairs(item: Header) -> np.ndarray | None:
    """Bin widths and volumes (n, 2); None when there are none or they make no sense."""
    numbers = item.numbers("DVHData")
    if len(numbers) % 2:
        item.flag("dvh-data-odd")
        numbers = numbers[:-1]
    if not numbers:
        item.flag("dvh-data-missing")
        return None
    pairs = np.array(numbers, dtype=np.float64).reshape(-1, 2)
    if (pairs[:, 0] < 0).any() or not pairs[:, 0].sum() > 0:
        item.flag("dvh-data-broken")
        return None
    bins = item.integer("DVHNumberOfBins")
    if bins is not None and bins != len(pairs):
        item.flag("dvh-bins-differ")
    return pairs


def _curve(
    name: str, width_gy: np.ndarray, volume: np.ndarray, kind: str, item: Header
) -> DVH | None:
    """Volume at or above each dose as a DVH; the statistics are those of the curve."""
    dose = np.concatenate([[0.0], np.cumsum(width_gy)])
    volume = np.where(volume < 0, np.where(volume > -1e-6, 0.0, volume), volume)
    if (volume < 0).any() or not volume.sum() > 0:
        item.flag("dvh-data-broken")
        return None
    if kind == DIFFERENTIAL:
        at_least = np.append(np.cumsum(volume[::-1])[::-1], 0.0)
    else:
        if (np.diff(volume) > _RISING_SHARE * volume[0]).any():
            item.flag("dvh-rises")
        middle = (dose[1:] + dose[:-1]) / 2
        dose = np.concatenate([[0.0], middle, dose[-1:]])
        at_least = np.concatenate([volume[:1], np.minimum.accumulate(volume), [0.0]])
    part = -np.diff(at_least)
    middle = (dose[1:] + dose[:-1]) / 2
    total = float(at_least[0])
    if not total > 0:
        item.flag("dvh-data-broken")
        return None
    mean = float(part @ middle) / total
    filled = np.flatnonzero(part > 0)
    return DVH(
        name,
        volume_cc=total,
        covered_cc=total,
        dose_gy=dose,
        at_least_cc=at_least,
        mean_gy=mean,
        std_gy=math.sqrt(max(float(part @ (middle - mean) ** 2) / total, 0.0)),
        min_gy=float(dose[filled[0]]),
        max_gy=float(dose[filled[-1] + 1]),
    )


# -- statistics -----------------------------------------------------------------------------------


def _with_statistics(stored: Sequence[StoredDvh], rx_gy: float | None) -> list[StoredDvh]:
    """Stated statistics checked against the curves, percentages turned into Gy."""
    odd = [item for item in stored if not _fits(item, 1.0)]
    factor = None if rx_gy is None else rx_gy / 100
    if factor is None and len(odd) > 1:
        factor = float(np.median([_ratio(item) for item in odd]))
    return [_judged(item, factor) for item in stored]


def _judged(item: StoredDvh, factor: float | None) -> StoredDvh:
    if _fits(item, 1.0):
        return item
    if factor is not None and _fits(item, factor):
        low, mean, high = (_times(v, factor) for v in (item.min_gy, item.mean_gy, item.max_gy))
        flags = (*item.flags, "dvh-statistics-in-percent")
        return replace(item, min_gy=low, mean_gy=mean, max_gy=high, flags=flags)
    flags = (*item.flags, "dvh-statistics-contradict-curve")
    return replace(item, min_gy=None, mean_gy=None, max_gy=None, flags=flags)


def _fits(item: StoredDvh, factor: float) -> bool:
    """Whether the stated mean times `factor` is the curve's."""
    if item.mean_gy is None or item.curve is None:
        return True
    mean = item.curve.mean_gy
    return abs(item.mean_gy * factor - mean) <= _MEAN_SHARE * mean + item.bin_gy


def _ratio(item: StoredDvh) -> float:
    """The factor that would make the stated mean the curve's."""
    if item.curve is None or not item.mean_gy:
        return math.nan
    return item.curve.mean_gy / item.mean_gy


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None or not math.isfinite(factor) else value * factor
