"""The frozen dataclasses that flow through the house.

Arrays are `[k, j, i]`, points are LPS millimetres as x, y, z. Nothing here reads a file or knows a
DICOM tag; `dicom/` makes these objects and `structures/`, `dose/`, `dvh/` calculate with them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple

import numpy as np

from .geometry import Grid

CLINICAL = "clinical"  # contours that came with the plan; other sources are named after their maker

# PS3.3 C.8.8.6.3.1: only these enclose an area. CLOSEDPLANAR_XOR combines by exclusive or.
CLOSED_TYPES = frozenset({"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"})

# A structure that lies outside the dose grid by this share of its volume is flagged.
UNKNOWN_SHARE = 0.001

TARGET_TYPES = frozenset({"PTV", "CTV", "GTV", "TREATED_VOLUME"})


@dataclass(frozen=True, eq=False)
class Volume:
    """An image (CT, MR, PET) on a grid.

    `array` has the grid's shape `[k, j, i]`; `unit` is `HU`, `SUV`, `BQML` or `1`.
    """

    array: np.ndarray
    grid: Grid
    modality: str = "CT"
    unit: str = "1"
    frame_uid: str = ""
    series_uid: str = ""
    study_uid: str = ""
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_shape(self.array, self.grid)


@dataclass(frozen=True, eq=False)
class Dose:
    """A dose grid in Gy.

    `array_gy` has the grid's shape `[k, j, i]`, float32. `dose_type` is PHYSICAL or EFFECTIVE,
    `summation_type` a term of PS3.3 C.8.8.3 (PLAN, MULTI_PLAN, BEAM ..). `scaling_gy` is the step
    in which the source stored its values (DoseGridScaling), 0 when it had none. `coverage`, when
    given, is the share (0..1, `[k, j, i]`) of the summed inputs that reach each voxel.
    """

    array_gy: np.ndarray
    grid: Grid
    frame_uid: str = ""
    dose_type: str = "PHYSICAL"
    summation_type: str = "PLAN"
    scaling_gy: float = 0.0
    sop_uids: tuple[str, ...] = ()
    plan_uids: tuple[str, ...] = ()
    structure_set_uid: str = ""
    coverage: np.ndarray | None = None
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_shape(self.array_gy, self.grid)
        if self.coverage is not None:
            _check_shape(self.coverage, self.grid)


@dataclass(frozen=True, eq=False)
class ImagePlanes:
    """Where the slices of the planning image lie: a unit normal (3,) and ascending positions (p,)
    in mm along it (`point @ normal`). Tells a hole in a contour stack from a coarser part."""

    normal: np.ndarray
    positions_mm: np.ndarray

    @classmethod
    def from_grid(cls, grid: Grid) -> ImagePlanes:
        """The slices of an image grid."""
        return cls(grid.normal, grid.origin_mm @ grid.normal + grid.k_positions_mm)

    @property
    def spacing_mm(self) -> float:
        """Median distance between slices; 0 for a single slice."""
        if len(self.positions_mm) < 2:
            return 0.0
        return float(np.median(np.diff(self.positions_mm)))


@dataclass(frozen=True, eq=False)
class Contours:
    """One ROI as planar contours, exactly as they were drawn.

    `points_mm` (n, 3) holds the vertices of all loops one after another, `starts` (m + 1,) where
    each loop begins (the last entry is n), `kinds` the Contour Geometric Type of each loop. `name`,
    `number`, `colour_rgb` (0..255) and `interpreted_type` (PTV, ORGAN, EXTERNAL ..) are as the
    structure set has them. `frame_uid` is the ROI's own frame of reference (3006,0024).
    """

    name: str
    points_mm: np.ndarray
    starts: np.ndarray
    kinds: tuple[str, ...]
    number: int = 0
    frame_uid: str = ""
    colour_rgb: tuple[int, int, int] | None = None
    interpreted_type: str = ""
    generation_algorithm: str = ""
    structure_set_uid: str = ""
    source: str = CLINICAL
    image_planes: ImagePlanes | None = None
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        starts = np.asarray(self.starts, dtype=np.int64)
        if self.points_mm.ndim != 2 or self.points_mm.shape[1] != 3:
            raise ValueError(f"contour points need shape (n, 3), found {self.points_mm.shape}")
        if (
            starts.size != len(self.kinds) + 1
            or starts[0] != 0
            or starts[-1] != len(self.points_mm)
        ):
            raise ValueError(f"{self.name}: loop starts do not fit the points")
        object.__setattr__(self, "starts", starts)

    @classmethod
    def from_loops(
        cls, name: str, loops: Sequence[np.ndarray], kind: str = "CLOSED_PLANAR", **fields: object
    ) -> Contours:
        """Contours of loops `(n_c, 3)`, all of one geometric type; other fields by keyword."""
        sizes = [len(loop) for loop in loops]
        points = np.concatenate(loops) if loops else np.empty((0, 3))
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return cls(
            name, np.asarray(points, dtype=np.float64), starts, (kind,) * len(loops), **fields
        )

    def __len__(self) -> int:
        return len(self.kinds)

    def loops(self) -> Iterator[np.ndarray]:
        """Views `(n_c, 3)` of every loop, open and point ones included, in file order."""
        for first, last in zip(self.starts[:-1], self.starts[1:], strict=True):
            yield self.points_mm[first:last]

    @property
    def is_target(self) -> bool:
        """True for a target volume, by its interpreted type or else by the start of its name."""
        return is_target(self.name, self.interpreted_type)

    def on_image(self, grid: Grid) -> Contours:
        """The same contours that know the slices of their image."""
        return replace(self, image_planes=ImagePlanes.from_grid(grid))


@dataclass(frozen=True, eq=False)
class Mask:
    """One ROI as voxel coverage: `array` `[k, j, i]`, boolean, 0/1 or the covered share 0..1."""

    name: str
    array: np.ndarray
    grid: Grid
    number: int = 0
    frame_uid: str = ""
    colour_rgb: tuple[int, int, int] | None = None
    interpreted_type: str = ""
    structure_set_uid: str = ""
    source: str = CLINICAL
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_shape(self.array, self.grid)

    @property
    def is_target(self) -> bool:
        """True for a target volume, by its interpreted type or else by the start of its name."""
        return is_target(self.name, self.interpreted_type)


Structure = Contours | Mask


@dataclass(frozen=True)
class PrescriptionLevel:
    """One prescribed dose: to which target, how much, in how many fractions, and who says so.

    `source` is `user`, `dose-reference`, `beam-dose` or `inferred-from-name`; `roi_name` or
    `roi_number` is given when the source names the target.
    """

    name: str
    dose_gy: float
    source: str
    fractions: int | None = None
    roi_name: str = ""
    roi_number: int | None = None
    plan_uid: str = ""


@dataclass(frozen=True)
class Prescription:
    """All levels of a course; empty when nothing is known (never a default)."""

    levels: tuple[PrescriptionLevel, ...] = ()
    flags: tuple[str, ...] = field(default=())

    @property
    def course(self) -> PrescriptionLevel | None:
        """The highest level, which stands for the course; None when there is none."""
        return max(self.levels, key=lambda level: level.dose_gy, default=None)


def is_target(name: str, interpreted_type: str) -> bool:
    """True for a target volume: RT ROI Interpreted Type says so, or the name starts like one.

    A type that names an organ or the like wins over the name; optimisation helpers with a prefix
    (`zPTV`, `optPTV`) are no targets.
    """
    if interpreted_type.upper() in TARGET_TYPES:
        return True
    if interpreted_type.upper() in {
        "ORGAN",
        "EXTERNAL",
        "AVOIDANCE",
        "SUPPORT",
        "MARKER",
        "CONTROL",
    }:
        return False
    return name.upper().lstrip(" _").startswith(("PTV", "CTV", "GTV", "ITV"))


def _check_shape(array: np.ndarray, grid: Grid) -> None:
    if array.shape != grid.shape:
        raise ValueError(f"array of shape {array.shape} on a grid of shape {grid.shape}")


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
