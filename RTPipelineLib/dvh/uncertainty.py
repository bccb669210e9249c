"""How far the numbers of a DVH may be off: set-up errors, and the spacing of the contours.

Set-up errors (van Herk et al., Int J Radiat Oncol Biol Phys 47 (2000) 1121):

* random ones differ from fraction to fraction: the patient receives the dose convolved with their
  Gaussian (`blurred`);
* systematic ones stay for the whole treatment: the structure is shifted against that dose. Fixed
  shifts have the length `systematic_mm`, along the patient's axes (6) and also along the eight
  diagonals (14); Monte Carlo draws them with `systematic_mm` as the standard deviation along each
  axis. All structures move together. The dose keeps its shape in space: the patient's tissue does
  not change it.

Spacing of the contours: between two planes and beyond the last one nobody drew anything. The
structure is rebuilt with every combination of interpolated or slab-like sections and of end caps,
under the planned dose.

The band of a metric runs from its least to its greatest value in the planned DVH and all variants;
of Monte Carlo's draws the 5th and the 95th percentile count, which 90 % of such patients stay
within. A metric that a variant does not have has no band. Where a variant leaves the dose grid,
volumes and doses are lower bounds, so that the band has no upper end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal, NamedTuple, get_args

import numpy as np

from ..model import DVH, Contours, Dose, Mask
from ..structures.interpolation import BetweenPlanes, EndCaps
from .engine import DvhOptions, compute_dvh

Method = Literal["6-shifts", "14-shifts", "monte-carlo"]

PERCENTILES = (5.0, 95.0)  # of the draws of Monte Carlo
# So many DVHs of every structure repay what compiled kernels cost at the start.
COMPILE_FROM = 20
LEAVES_GRID = "band-outside-dose-grid"

Values = Mapping[str, float | None]


@dataclass(frozen=True)
class ErrorModel:
    """What may be off.

    `systematic_mm` is the length of the fixed shifts, for Monte Carlo the standard deviation along
    each axis; `random_mm` the standard deviation of the daily shifts along each axis; `draws` and
    `seed` belong to Monte Carlo. `contour_spacing` adds the spread by the spacing of the contours.
    """

    systematic_mm: float = 3.0
    random_mm: float = 0.0
    method: Method = "6-shifts"
    draws: int = 100
    seed: int = 1
    contour_spacing: bool = True

    @property
    def sentence(self) -> str:
        """What a band stands for, for readers of a report."""
        causes, ends = [], "least and greatest value"
        if self.systematic_mm > 0 and self.method == "monte-carlo":
            causes.append(
                f"{self.draws} random set-up shifts (standard deviation {self.systematic_mm:g} mm "
                f"along each axis, seed {self.seed})"
            )
            ends += ", of the random shifts the {:g}th and {:g}th percentile".format(*PERCENTILES)
        elif self.systematic_mm > 0:
            count = self.method.partition("-")[0]
            causes.append(f"{count} set-up shifts of {self.systematic_mm:g} mm")
        if self.random_mm > 0:
            causes.append(f"daily shifts of {self.random_mm:g} mm (standard deviation)")
        if self.contour_spacing:
            causes.append("other shapes between and beyond the contours")
        what = ", ".join(causes) or "nothing that may be off"
        return f"Bands: {what}; {ends}. No upper end where the structure leaves the dose grid."


class Variant(NamedTuple):
    """One way in which it may be: the dose as the structure meets it, and how the structure is
    built. Of `drawn` ones percentiles count, of others each."""

    dose: Dose
    options: DvhOptions
    drawn: bool = False


@dataclass(frozen=True, eq=False)
class Band:
    """Lower and upper ends: of `volume_cc` and the metrics by column (None where there is none),
    and of the cumulative curve (n,) in % on the doses `dose_gy` (n,), nan where there is none."""

    low: Values
    high: Values
    dose_gy: np.ndarray
    low_percent: np.ndarray
    high_percent: np.ndarray
    flags: tuple[str, ...] = ()


def variants_of(dose: Dose, options: DvhOptions, errors: ErrorModel) -> list[Variant]:
    """All variants of one dose; calculate once, they hold for every structure.

    They share the array of the dose, or one blurred copy.
    """
    received = blurred(dose, errors.random_mm) if errors.random_mm > 0 else dose
    drawn = errors.method == "monte-carlo"
    found = [Variant(received, options)] if received is not dose else []
    found += [Variant(shifted(received, s), options, drawn) for s in shifts_mm(errors)]
    if errors.contour_spacing:
        shapes = [
            replace(options, end_caps=caps, between_planes=between)
            for caps, between in product(get_args(EndCaps), get_args(BetweenPlanes))
        ]
        found += [Variant(dose, shape) for shape in shapes if shape != options]
    if len(found) < COMPILE_FROM:
        return found
    return [v._replace(options=replace(v.options, compiled=True)) for v in found]


def shifts_mm(errors: ErrorModel) -> np.ndarray:
    """(n, 3) systematic shifts of the patient against the dose, LPS; none for errors of 0 mm."""
    if not errors.systematic_mm > 0:
        return np.empty((0, 3))
    if errors.method == "monte-carlo":
        draws = np.random.default_rng(errors.seed).standard_normal((errors.draws, 3))
        return errors.systematic_mm * draws
    directions = np.concatenate([np.eye(3), -np.eye(3)])
    if errors.method == "14-shifts":
        corners = np.array(list(product((-1.0, 1.0), repeat=3)))
        directions = np.concatenate([directions, corners / math.sqrt(3)])
    return errors.systematic_mm * directions


def shifted(dose: Dose, shift_mm: np.ndarray) -> Dose:
    """The dose as a patient meets it who is shifted by `shift_mm` (3,); the array is shared."""
    grid = replace(dose.grid, origin_mm=dose.grid.origin_mm - np.asarray(shift_mm))
    return replace(dose, grid=grid)


def blurred(dose: Dose, sigma_mm: float) -> Dose:
    """The mean dose under random shifts with the standard deviation `sigma_mm` along each axis.

    The trilinear dose between the voxel centres is convolved with the Gaussian in closed form, so
    that blurs finer than the voxels and uneven slices come out right. Beyond the outer voxel
    centres the dose goes on as it is there.
    """
    grid = dose.grid
    k, j, i = (
        _blur_weights(centres, sigma_mm).astype(np.float32)
        for centres in (
            grid.k_positions_mm,
            np.arange(grid.shape[1]) * grid.spacing_mm[1],
            np.arange(grid.shape[2]) * grid.spacing_mm[0],
        )
    )
    array = np.asarray(dose.array_gy, dtype=np.float32)
    array = (k @ array.reshape(grid.shape[0], -1)).reshape(grid.shape)
    return replace(dose, array_gy=np.matmul(j, array) @ i.T)


def band(
    structure: Contours | Mask,
    planned: DVH,
    values: Values,
    variants: Sequence[Variant],
    values_of: Callable[[DVH, int], Values],
    step_gy: float = 0.01,
) -> Band:
    """The band of one structure around its `planned` DVH and the `values` of that.

    `values_of` gives the same values of the DVH of the variant with this number; the curve has
    points every `step_gy`. Raises what `compute_dvh` raises.
    """
    rows, curves = [_with_volume(planned, values)], [planned.curve(step_gy).volume_percent]
    leaves_grid = False
    for number, variant in enumerate(variants):
        dvh = compute_dvh(structure, variant.dose, variant.options)
        rows.append(_with_volume(dvh, values_of(dvh, number)))
        curves.append(dvh.curve(step_gy).volume_percent)
        leaves_grid |= dvh.is_partial
    drawn = np.array([False, *(variant.drawn for variant in variants)])
    table = np.array([[_number(row[name]) for name in rows[0]] for row in rows])
    low, high = _ends(table, drawn)
    points = max(len(curve) for curve in curves)
    stack = np.stack([np.pad(curve, (0, points - len(curve)), mode="edge") for curve in curves])
    low_percent, high_percent = _ends(stack, drawn)
    if leaves_grid or planned.is_partial:
        high[1:], high_percent = math.nan, np.full(points, math.nan)  # the volume is known
    return Band(
        low={name: _known(value) for name, value in zip(rows[0], low, strict=True)},
        high={name: _known(value) for name, value in zip(rows[0], high, strict=True)},
        dose_gy=np.arange(points) * step_gy,
        low_percent=low_percent,
        high_percent=high_percent,
        flags=(LEAVES_GRID,) if leaves_grid and not planned.is_partial else (),
    )


def _with_volume(dvh: DVH, values: Values) -> Values:
    """The values after the volume of the structure, which depends on no dose."""
    return {"volume_cc": dvh.volume_cc or None, **values}


def _ends(values: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends (m,) of the columns of `values` (n, m), of whose rows some are `drawn`; nan where one is
    nan."""
    low, high = values[~drawn].min(axis=0), values[~drawn].max(axis=0)
    if drawn.any():
        percentiles = np.percentile(values[drawn], PERCENTILES, axis=0)
        low, high = np.minimum(low, percentiles[0]), np.maximum(high, percentiles[1])
    return low, high


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _blur_weights(centres_mm: np.ndarray, sigma_mm: float) -> np.ndarray:
    """(n, n) weights of the voxels (columns) in the convolution at each voxel centre (rows).

    Linear interpolation is a sum of ramps, and the mean of a ramp max(x, 0) over a Gaussian around
    x is x Phi(x / sigma) + sigma phi(x / sigma).
    """
    from scipy.special import ndtr

    x = centres_mm[:, None] - centres_mm
    with np.errstate(over="ignore"):  # of next to no blur
        z = np.clip(x / sigma_mm, -40, 40)  # beyond, the Gaussian is 0 in double precision
    ramp = x * ndtr(z) + sigma_mm * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    beyond = (ramp[:, :-1] - ramp[:, 1:]) / np.diff(centres_mm)  # share beyond each gap
    edges = np.ones((len(centres_mm), 1))
    return -np.diff(np.hstack([edges, beyond, 0 * edges]), axis=1)
