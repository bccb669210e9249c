"""The dose-volume histogram of one ROI, and what can be asked of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

# A structure that lies outside the dose grid by this share of its volume is flagged.
UNKNOWN_SHARE = 0.001


class DvhCurve(NamedTuple):
    """A cumulative DVH on even steps: dose, and the volume that receives at least it."""

    dose_gy: np.ndarray
    volume_cc: np.ndarray
    volume_percent: np.ndarray


class DvhSettings(NamedTuple):
    """How a DVH was calculated: the provenance that its numbers need."""

    step_mm: tuple[float, float, float]  # cell in the plane (u, v), thickest layer across it (w)
    end_caps: str
    between_planes: str
    outside_dose: str
    dose_resolution_gy: float
    boxes: int


@dataclass(frozen=True, eq=False)
class DVH:
    """The dose-volume histogram of one ROI (ICRU 83, 3.5.2), from sorted volumes, not from bins.

    `dose_gy` (n,) ascends; `at_least_cc` (n,) is the volume that receives at least that dose. In
    between it falls evenly; a volume of uniform dose is a step, with the dose standing twice. What
    100 % means is `volume_cc`, the structure alone (the covered part for `outside_dose = exclude`).
    Where part of it lies outside the dose grid, volumes are lower bounds and what cannot be known
    is nan. All numbers are nan for a structure without volume.
    """

    name: str
    volume_cc: float
    covered_cc: float
    dose_gy: np.ndarray
    at_least_cc: np.ndarray
    mean_gy: float
    std_gy: float
    min_gy: float
    max_gy: float
    number: int = 0
    flags: tuple[str, ...] = ()
    settings: DvhSettings | None = None

    @property
    def dose_coverage_percent(self) -> float:
        """Share of the structure's volume inside the dose grid."""
        return 100.0 * self.covered_cc / self.volume_cc if self.volume_cc > 0 else math.nan

    @property
    def reference_cc(self) -> float:
        """The volume that 100 % stands for."""
        excluded = self.settings is not None and self.settings.outside_dose == "exclude"
        return self.covered_cc if excluded else self.volume_cc

    @property
    def known_cc(self) -> float:
        """The volume whose dose is known."""
        return float(self.at_least_cc[0]) if self.at_least_cc.size else 0.0

    @property
    def is_partial(self) -> bool:
        """True when at least 0.1 % of the volume has no known dose."""
        return self.known_cc < (1 - UNKNOWN_SHARE) * self.reference_cc

    # -- dose at a volume, volume at a dose -------------------------------------------------------

    def D(self, volume: str) -> float:  # noqa: N802 - the field's name
        """Least dose in Gy to the hottest `volume`, given as `"95%"` or `"2cc"`.

        nan when the structure is smaller, or when less than that volume has a known dose.
        """
        return self._hottest(self._cc(volume))

    def _hottest(self, wanted: float) -> float:
        """Least dose to the hottest `wanted` cc."""
        known, total = self.known_cc, self.reference_cc
        if not self.is_partial and wanted <= total * (1 + 1e-9):
            wanted = min(wanted, known)
        if not known > 0 or wanted > known:
            return math.nan
        above = self.at_least_cc
        last = int(np.searchsorted(-above, -wanted * (1 - 1e-12), side="right")) - 1
        if last + 1 == len(above) or above[last] <= wanted:
            return float(self.dose_gy[last])
        fraction = (above[last] - wanted) / (above[last] - above[last + 1])
        return float(self.dose_gy[last] + fraction * (self.dose_gy[last + 1] - self.dose_gy[last]))

    def V(self, dose: str, unit: str = "%", rx_gy: float | None = None) -> float:  # noqa: N802
        """Volume that receives at least `dose`, given as `"20Gy"`, `"20Gy[cc]"` or, with the
        prescription `rx_gy`, as `"95%"`; in `%` or `cc`.

        A lower bound when part of the structure has no known dose.
        """
        threshold, unit = _dose_level(dose, unit, rx_gy)
        if not self.known_cc > 0:
            return math.nan
        volume = self._at_least(np.array([threshold]))[0]
        return float(volume) if unit == "cc" else float(100 * volume / self.reference_cc)

    def DC(self, volume: str) -> float:  # noqa: N802 - the field's name
        """Greatest dose in Gy to the coldest `volume` (`"5%"`, `"2cc"`); nan if unknown."""
        wanted, total = self._cc(volume), self.reference_cc
        if self.is_partial or not wanted <= total * (1 + 1e-9):
            return math.nan
        return self._hottest(max(total - wanted, 0.0))

    def CV(self, dose: str, unit: str = "%", rx_gy: float | None = None) -> float:  # noqa: N802
        """Volume that receives less than `dose`; arguments and limits as for `V`."""
        threshold, unit = _dose_level(dose, unit, rx_gy)
        if not self.known_cc > 0:
            return math.nan
        volume = self.known_cc - self._at_least(np.array([threshold]))[0]
        return float(volume) if unit == "cc" else float(100 * volume / self.reference_cc)

    # -- numbers of the whole ---------------------------------------------------------------------

    @property
    def median_gy(self) -> float:
        """D50% (ICRU 83)."""
        return self.D("50%")

    @property
    def hi(self) -> float:
        """Homogeneity index (D2 % - D98 %) / D50 % (ICRU 83, 3.5.3)."""
        median = self.D("50%")
        return (self.D("2%") - self.D("98%")) / median if median > 0 else math.nan

    @property
    def integral_dose_gycc(self) -> float:
        """Mean dose times volume, in Gy cc."""
        return self.mean_gy * self.reference_cc

    def gEUD(self, a: float) -> float:  # noqa: N802 - the field's name
        """Generalised equivalent uniform dose (mean of D^a)^(1/a) in Gy (Niemierko 1997); the
        geometric mean for a = 0."""
        if self.is_partial or not self.known_cc > 0:
            return math.nan
        dose, cc = self._parts()
        cc, top = cc / cc.sum(), dose.max()
        if not top > 0 or (a <= 0 and np.any(dose[cc > 0] <= 0)):
            return 0.0
        relative = dose / top  # large powers of doses in Gy would overflow
        if a == 0:
            return float(top * np.exp(cc @ np.log(relative)))
        lowest = relative[cc > 0].min() if a < 0 else 1.0
        return float(top * lowest * (cc @ (relative / lowest) ** a) ** (1 / a))

    # -- curves -----------------------------------------------------------------------------------

    def curve(self, step_gy: float = 0.01) -> DvhCurve:
        """The cumulative curve from 0 to just beyond the maximum, in even steps."""
        top = self.dose_gy[-1] if self.dose_gy.size else 0.0
        dose = np.arange(int(np.ceil(top / step_gy - 1e-9)) + 2) * step_gy
        volume = self._at_least(dose) if self.dose_gy.size else np.full(len(dose), math.nan)
        total = self.reference_cc if self.reference_cc > 0 else math.nan
        return DvhCurve(dose, volume, 100 * volume / total)

    def differential(self, step_gy: float = 0.1) -> DvhCurve:
        """The volume in each step of dose; doses are the middles of the steps."""
        cumulative = self.curve(step_gy)
        volume = -np.diff(cumulative.volume_cc)
        middle = cumulative.dose_gy[:-1] + step_gy / 2
        return DvhCurve(middle, volume, -np.diff(cumulative.volume_percent))

    # -- storing ----------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, object]:
        """Plain numbers, strings and lists; `from_dict` makes the same DVH of it."""
        plain = {item.name: getattr(self, item.name) for item in fields(self)}
        plain["dose_gy"], plain["at_least_cc"] = self.dose_gy.tolist(), self.at_least_cc.tolist()
        plain["flags"] = list(self.flags)
        plain["settings"] = None if self.settings is None else self.settings._asdict()
        return plain

    @classmethod
    def from_dict(cls, plain: dict[str, object]) -> DVH:
        """The inverse of `to_dict`."""
        stored = dict(plain)
        for key in ("dose_gy", "at_least_cc"):
            stored[key] = np.array(stored[key], dtype=np.float64)
        stored["flags"] = tuple(stored["flags"])
        if stored["settings"] is not None:
            settings = dict(stored["settings"])
            settings["step_mm"] = tuple(settings["step_mm"])
            stored["settings"] = DvhSettings(**settings)
        return cls(**stored)

    # -- inside -----------------------------------------------------------------------------------

    def _cc(self, volume: str) -> float:
        number, unit = _quantity(volume, ("%", "cc"))
        return number / 100 * self.reference_cc if unit == "%" else number

    def _at_least(self, dose_gy: np.ndarray) -> np.ndarray:
        """Volume in cc at or above each dose; a dose equal to within rounding counts as reached."""
        dose = np.asarray(dose_gy) * (1 - 1e-6)
        place = np.searchsorted(self.dose_gy, dose, side="left")
        right = np.minimum(place, len(self.dose_gy) - 1)
        left = np.maximum(place - 1, 0)
        width = self.dose_gy[right] - self.dose_gy[left]
        rise = dose - self.dose_gy[left]
        fraction = np.divide(rise, width, out=np.ones(len(dose)), where=width > 0)
        low, high = self.at_least_cc[left], self.at_least_cc[right]
        between = np.where(place == 0, self.at_least_cc[0], low + fraction * (high - low))
        return np.where(place == len(self.dose_gy), 0.0, between)

    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Doses and volumes that stand for the curve: two points for each even stretch, which is
        exact for powers up to the third."""
        middle, width = (self.dose_gy[1:] + self.dose_gy[:-1]) / 2, np.diff(self.dose_gy)
        half = np.tile(-np.diff(self.at_least_cc) / 2, 2)
        offset = width / (2 * math.sqrt(3))
        return np.concatenate([middle - offset, middle + offset]), half


def _quantity(text: str, units: tuple[str, ...]) -> tuple[float, str]:
    """`"95%"` to (95.0, "%"); ValueError when it is no number with one of the units."""
    for unit in units:
        if text.endswith(unit):
            try:
                number = float(text[: -len(unit)])
            except ValueError:
                break
            if number >= 0 and math.isfinite(number):
                return number, unit
    raise ValueError(f"{text!r} is no quantity in {' or '.join(units)}, such as '95{units[0]}'")


def _dose_level(text: str, unit: str, rx_gy: float | None) -> tuple[float, str]:
    """Dose in Gy and output unit of `"20Gy"`, `"20Gy[cc]"`, `"95%"`."""
    if text.endswith("]") and "[" in text:
        text, unit = text[:-1].split("[", 1)
    if unit not in ("%", "cc"):
        raise ValueError(f"a volume is given in % or cc, not in {unit!r}")
    number, dose_unit = _quantity(text, ("Gy", "%"))
    if dose_unit == "Gy":
        return number, unit
    if rx_gy is None:
        raise ValueError(f"{text!r} is relative to a prescription: pass rx_gy")
    return number / 100 * rx_gy, unit
