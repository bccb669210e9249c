"""DVH metrics by name, and the indices of target volumes.

Names follow AAPM TG-263, section 9: `D95%[Gy]`, `D2cc[Gy]`, `V20Gy[%]`, `V95%[cc]`, and `DC`, `CV`
for the cold side. Definitions: ICRU Report 83 (D, V, HI), RTOG (Shaw 1993: CI), Paddick 2000 (CI),
Paddick and Lippitz 2006 (GI), RTOG 0813 (R50), Niemierko 1997 (gEUD).
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..model import DVH, UNKNOWN_SHARE, Dose, Mask
from .engine import DvhOptions, compute_dvh

FIXED_DOSES = ("99%", "98%", "95%", "50%", "5%", "2%", "1%", "0.03cc", "0.1cc", "1cc", "2cc")
INDICES = ("CI_RTOG", "CI_Paddick", "GI", "R50")

_METRIC = re.compile(r"(DC|D|CV|V)(\d+(?:\.\d+)?)(%|cc|Gy)(?:\[(%|cc|Gy)\])?")
_UNITS = {  # kind: units of its number, units of its result (the first is the usual one)
    "D": (("%", "cc"), ("Gy", "%")),
    "DC": (("%", "cc"), ("Gy", "%")),
    "V": (("Gy", "%"), ("%", "cc")),
    "CV": (("Gy", "%"), ("%", "cc")),
}
_EXAMPLES = (
    "D95%[Gy]",
    "D0.03cc[Gy]",
    "DC5%[Gy]",
    "V20Gy[%]",
    "V20Gy[cc]",
    "V95%[%]",
    "CV12Gy[cc]",
)


@dataclass(frozen=True)
class Metric:
    """One metric: `kind` D, DC, V or CV, the `number` as written with its `unit`, and the unit of
    the `result`."""

    kind: str
    number: str
    unit: str
    result: str

    @property
    def column(self) -> str:
        """Its column name: `D0.5cc_Gy`, `V35Gy_%`."""
        return f"{self.kind}{self.number}{self.unit}_{self.result}"

    @property
    def is_relative(self) -> bool:
        """True when it needs a prescription."""
        is_dose = self.kind in ("D", "DC")
        return self.result == "%" if is_dose else self.unit == "%"

    def value(self, dvh: DVH, rx_gy: float | None = None) -> float:
        """The metric of a DVH; nan when it is not defined or its prescription is unknown."""
        if self.is_relative and not (rx_gy and rx_gy > 0):
            return math.nan
        argument = f"{self.number}{self.unit}"
        if self.kind in ("V", "CV"):
            measure = dvh.V if self.kind == "V" else dvh.CV
            return measure(argument, self.result, rx_gy)
        dose = dvh.D(argument) if self.kind == "D" else dvh.DC(argument)
        return 100 * dose / rx_gy if self.is_relative and rx_gy else dose


@dataclass(frozen=True)
class MetricSettings:
    """Which metrics a row has beyond the fixed ones.

    `dose_levels_gy` and `dose_levels_percent` give V<x>Gy and V<x>%; `metrics` are further names;
    `geud_a` is the exponent of gEUD, None where it is not wanted.
    """

    dose_levels_gy: Sequence[float] = tuple(float(level) for level in range(5, 75, 5))
    dose_levels_percent: Sequence[float] = (90.0, 95.0, 98.0, 100.0, 105.0, 107.0, 110.0)
    metrics: Sequence[str] = ()
    geud_a: float | None = None


@dataclass(frozen=True, eq=False)
class IsodoseVolumes:
    """How much of the whole dose grid (inside the External, where there is one) receives a dose.

    `edge_gy` is the highest dose on the outer face of the grid: isodoses at or below it leave the
    grid, and their volume is not known.
    """

    curve: DVH
    edge_gy: float

    def volume_cc(self, dose_gy: float) -> float:
        """Volume in cc at or above `dose_gy`; nan when that isodose touches the grid's edge."""
        if not dose_gy > self.edge_gy:
            return math.nan
        volume = self.curve.V(f"{dose_gy!r}Gy", "cc")
        return volume if self.curve.known_cc > 0 else math.nan


def parse_metric(text: str) -> Metric:
    """`"V20Gy[%]"` to a metric; without brackets D is in Gy and V in %.

    Raises `ValueError` with the nearest valid name.
    """
    found = _METRIC.fullmatch(text.strip())
    if found:
        kind, number, unit, result = found.groups()
        units, results = _UNITS[kind]
        if unit in units and (result or results[0]) in results:
            return Metric(kind, number, unit, result or results[0])
    raise ValueError(f"{text!r} is no DVH metric{_suggestion(text)}")


def metric_columns(settings: MetricSettings | None = None) -> list[str]:
    """The columns that `metric_row` fills, in the order of the tables."""
    settings = settings or MetricSettings()
    fixed = ["Dmean_Gy", "Dmin_Gy", "Dmax_Gy", *(f"D{volume}_Gy" for volume in FIXED_DOSES)]
    levels = [metric.column for metric in _levels(settings)]
    more = [parse_metric(name).column for name in settings.metrics]
    ends = ["HI", *INDICES, "gEUD_Gy", "integral_dose_Gycc"]
    return list(dict.fromkeys([*fixed, *levels, *ends, *more]))


def metric_row(
    dvh: DVH,
    settings: MetricSettings | None = None,
    *,
    rx_gy: float | None = None,
    isodoses: IsodoseVolumes | None = None,
) -> dict[str, float | None]:
    """All metrics of one structure by column name; None where there is no number.

    `rx_gy` is the prescription that relative metrics refer to. `isodoses` is given for targets: the
    conformity and gradient indices need the dose outside the structure.
    """
    settings = settings or MetricSettings()
    values = {"Dmean_Gy": dvh.mean_gy, "Dmin_Gy": dvh.min_gy, "Dmax_Gy": dvh.max_gy}
    values |= {f"D{volume}_Gy": dvh.D(volume) for volume in FIXED_DOSES}
    more = [parse_metric(name) for name in settings.metrics]
    values |= {metric.column: metric.value(dvh, rx_gy) for metric in [*_levels(settings), *more]}
    values["HI"] = dvh.hi
    values |= target_indices(dvh, isodoses, rx_gy)
    values["gEUD_Gy"] = math.nan if settings.geud_a is None else dvh.gEUD(settings.geud_a)
    values["integral_dose_Gycc"] = dvh.integral_dose_gycc
    return {
        column: values[column] if math.isfinite(values[column]) else None
        for column in metric_columns(settings)
    }


def isodose_volumes(dose: Dose, inside: DVH | None = None) -> IsodoseVolumes:
    """Isodose volumes of a dose: within the External whose DVH is `inside`, or of the whole grid.

    An External that lies wholly in the grid keeps its isodoses off the grid's edge.
    """
    array = dose.array_gy
    if inside is not None and inside.dose_coverage_percent > 100 * (1 - UNKNOWN_SHARE):
        return IsodoseVolumes(inside, -math.inf)
    faces = [array[[0, -1]], array[:, [0, -1]], array[:, :, [0, -1]]]
    edge = max(float(face.max()) for face in faces)
    if inside is None:
        whole = Mask("dose grid", np.ones(array.shape, dtype=bool), dose.grid)
        step = float(dose.grid.spacing_mm.max())
        inside = compute_dvh(whole, dose, DvhOptions(step_mm=step))
    return IsodoseVolumes(inside, edge)


def target_indices(
    dvh: DVH, isodoses: IsodoseVolumes | None, rx_gy: float | None
) -> dict[str, float]:
    """Conformity and gradient of a target; nan without `isodoses`, or where an isodose is cut.

    With TV the target's volume, PIVx the isodose volume at x % of `rx_gy` and TVPIV the target
    inside PIV100: CI_RTOG = PIV100 / TV; CI_Paddick = TVPIV^2 / (TV PIV100); GI = PIV50 / PIV100;
    R50 = PIV50 / TV.
    """
    nothing = dict.fromkeys(INDICES, math.nan)
    if isodoses is None or not (rx_gy and rx_gy > 0) or not dvh.known_cc > 0 or dvh.is_partial:
        return nothing
    full, half = isodoses.volume_cc(rx_gy), isodoses.volume_cc(rx_gy / 2)
    target = dvh.volume_cc
    inside = dvh.V("100%", "cc", rx_gy)
    return {
        "CI_RTOG": full / target,
        "CI_Paddick": inside**2 / (target * full) if full > 0 else math.nan,
        "GI": half / full if full > 0 else math.nan,
        "R50": half / target,
    }


def _levels(settings: MetricSettings) -> list[Metric]:
    """V<x>Gy in % and then in cc, V<x>% likewise."""
    return [
        Metric("V", f"{level:g}", unit, result)
        for unit, levels in (("Gy", settings.dose_levels_gy), ("%", settings.dose_levels_percent))
        for result in ("%", "cc")
        for level in levels
    ]


def _suggestion(text: str) -> str:
    """The nearest valid name: the same number in a form that exists, else an example."""
    number = re.search(r"\d+(?:\.\d+)?", text)
    known = list(_EXAMPLES)
    if number:
        known += [
            f"{kind}{number[0]}{unit}[{result}]"
            for kind, (units, results) in _UNITS.items()
            for unit in units
            for result in results
        ]
    folded = {name.lower(): name for name in known}
    folded |= {name.lower().split("[")[0]: name for name in reversed(known)}
    close = difflib.get_close_matches(text.strip().lower(), list(folded), n=1, cutoff=0.3)
    nearest = f"; did you mean {folded[close[0]]!r}?" if close else ""
    return f"{nearest} Valid are names like {', '.join(_EXAMPLES[:4])}."
