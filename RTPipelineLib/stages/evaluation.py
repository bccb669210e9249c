"""Every structure under one dose: its DVH, its metrics and its row in the tables."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ..config import Config
from ..dose.prescription import level_for
from ..dvh.engine import DvhOptions, compute_dvh
from ..dvh.metrics import MetricSettings, metric_columns, metric_row
from ..dvh.uncertainty import Band
from ..errors import DataError
from ..model import CLOSED_TYPES, DVH, Contours, Mask
from ..structures.derived import DERIVED
from . import Problem
from .bands import Bands
from .isodoses import DoseSource, Isodoses, externals_of
from .naming import by_name

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluated:
    """One structure under one dose: its row, its DVH and the band around it (None when there is
    none) and what went wrong."""

    roi: Contours | Mask
    row: dict[str, object]
    dvh: DVH | None
    problem: Problem | None = None
    band: Band | None = None


class _Computed(NamedTuple):
    """A structure with its DVH, or with the flag and the problem that say why there is none."""

    roi: Contours | Mask
    dvh: DVH | None
    flag: str = ""
    problem: Problem | None = None


def evaluate(
    structures: Iterable[Contours | Mask], source: DoseSource, config: Config
) -> list[Evaluated]:
    """Row and DVH of every structure under one dose; none can stop the others."""
    options = options_of(config)
    computed = [_compute(roi, source, options) for roi in structures]
    targets = [item.roi for item in computed if item.roi.is_target and item.roi.is_drawn]
    # A derived target is a part or a rim of another, which shares nothing new.
    drawn = [target for target in targets if target.source != DERIVED]
    levels = [level for level in map(source.level_of, drawn) if level is not None]
    shared = {level for level in levels if levels.count(level) > 1}
    sets = {target.structure_set_uid for target in targets} if levels else set()
    within = [(roi, dvh) for roi, dvh, *_ in computed if roi.structure_set_uid in sets]
    isodoses = Isodoses(source, externals_of(within))
    bands = Bands(isodoses, options, config) if config.dvh.uncertainty.enabled else None
    results = []
    for item in computed:
        result = _evaluated(item, source, config, isodoses, bands)
        if item.roi.is_target and result.dvh is not None and result.row["rx_gy"] in shared:
            _add_flag(result.row, "isodose-shared-by-targets")
        results.append(result)
    return results


def options_of(config: Config) -> DvhOptions:
    """How DVHs are calculated, as the configuration has it."""
    return DvhOptions(
        end_caps=config.structures.end_caps,
        between_planes=config.structures.between_planes,
        outside_dose=config.dose.outside_dose,
    )


def _compute(roi: Contours | Mask, source: DoseSource, options: DvhOptions) -> _Computed:
    try:
        return _Computed(roi, compute_dvh(roi, source.dose, options))
    except DataError as error:
        return _Computed(roi, None, "no-dvh", Problem(roi.name, "error", f"{roi.name}: {error}"))
    except Exception as error:  # the boundary: an unforeseen shape costs one structure
        return _Computed(roi, None, *_unforeseen(roi, source, error))


def _unforeseen(roi: Contours | Mask, source: DoseSource, error: Exception) -> tuple[str, Problem]:
    log.exception("structure %s under %s", roi.name, source.name)
    message = f"{roi.name}: internal error {type(error).__name__}: {error}; please report it"
    return "internal-error", Problem(roi.name, "error", message)


def _evaluated(
    item: _Computed, source: DoseSource, config: Config, isodoses: Isodoses, bands: Bands | None
) -> Evaluated:
    """Metrics, band and row of one structure."""
    roi, dvh, flag, problem = item
    settings = _settings(roi, config)
    metrics: dict[str, float | None] = dict.fromkeys(metric_columns(settings))
    band = None
    if dvh is not None:
        try:
            level_gy = source.level_of(roi)
            metrics = metric_row(dvh, settings, rx_gy=level_gy, isodoses=isodoses.of(roi))
            band = bands.around(roi, dvh, metrics, settings) if bands else None
        except Exception as error:  # the boundary: an unforeseen shape costs one structure
            flag, problem = _unforeseen(roi, source, error)
    row = _row(roi, source, dvh, metrics, band)
    _add_flag(row, flag)
    return Evaluated(roi, row, dvh, problem, band)


def _row(
    roi: Contours | Mask,
    source: DoseSource,
    dvh: DVH | None,
    metrics: Mapping[str, float | None],
    band: Band | None,
) -> dict[str, object]:
    """The row of one structure, all columns but the ids of the course."""
    level, rx_flag = level_for(roi.name, roi.number, roi.is_target, source.prescription)
    flags = [*roi.flags, *source.flags, *source.prescription.flags, rx_flag]
    if isinstance(roi, Contours) and roi.is_drawn and not CLOSED_TYPES.intersection(roi.kinds):
        flags.append("no-closed-contour")
    flags += dvh.flags if dvh is not None else ()
    if roi.is_target and level and metrics["Dmean_Gy"] and metrics["CI_RTOG"] is None:
        flags.append("isodose-reaches-grid-edge")
    flags += band.flags if band is not None else ()
    row: dict[str, object] = {
        "source": roi.source,
        "roi_number": roi.number,
        "roi_name": roi.name,
        "roi_standard_name": roi.standard_name,
        # Nothing drawn is not a volume of 0.
        "volume_cc": (dvh.volume_cc or None) if dvh is not None else None,
        "dose_coverage_percent": dvh.dose_coverage_percent if dvh is not None else None,
        "rx_gy": level.dose_gy if level else None,
        "rx_level": level.name if level else "",
        "rx_source": level.source if level else "none",
        "dose_source": source.name,
        **metrics,
    }
    if band is not None:
        row |= {f"{name}_low": value for name, value in band.low.items()}
        row |= {f"{name}_high": value for name, value in band.high.items()}
    row["flags"] = ";".join(dict.fromkeys(flag for flag in flags if flag))
    row["dose_uids"] = ";".join(source.dose.sop_uids)
    row["structure_set_uid"] = roi.structure_set_uid
    row["plan_uids"] = ";".join(source.plan_uids)
    return row


def _add_flag(row: dict[str, object], flag: str) -> None:
    if flag:
        row["flags"] = ";".join(filter(None, (str(row["flags"]), flag)))


def _settings(roi: Contours | Mask, config: Config) -> MetricSettings:
    return MetricSettings(
        dose_levels_gy=config.dvh.dose_levels_gy,
        dose_levels_percent=config.dvh.dose_levels_percent,
        metrics=config.dvh.metrics,
        geud_a=by_name(config.dvh.geud_a, roi),
    )
