"""Bands around the DVHs of a course, as `dvh.uncertainty` asks for them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..config import Config
from ..dvh.engine import DvhOptions
from ..dvh.metrics import MetricSettings, metric_row
from ..dvh.uncertainty import Band, ErrorModel, band, variants_of
from ..model import DVH, Contours, DvhCurve, Mask
from .isodoses import Isodoses

BAND_COLUMNS = ("volume_percent_low", "volume_percent_high")


def error_model(config: Config) -> ErrorModel:
    """The set-up errors and the like that bands are calculated for."""
    keys = config.dvh.uncertainty
    return ErrorModel(
        keys.systematic_mm,
        keys.random_mm,
        keys.method,
        keys.draws,
        keys.seed,
        keys.contour_spacing,
    )


class Bands:
    """Bands around the DVHs under one dose; what all structures share is prepared once."""

    def __init__(self, isodoses: Isodoses, options: DvhOptions, config: Config) -> None:
        self.variants = variants_of(isodoses.source.dose, options, error_model(config))
        self.isodoses: list[Isodoses] = []
        latest = isodoses
        for variant in self.variants:
            planned = variant.dose is isodoses.source.dose
            latest = isodoses if planned else latest.under(variant.dose, options)
            self.isodoses.append(latest)

    def around(
        self,
        roi: Contours | Mask,
        planned: DVH,
        row: Mapping[str, float | None],
        settings: MetricSettings,
    ) -> Band:
        """The band of one structure, whose planned metrics are those of `row`."""

        def values_of(dvh: DVH, number: int) -> dict[str, float | None]:
            own = self.isodoses[number]
            return metric_row(dvh, settings, rx_gy=own.source.level_of(roi), isodoses=own.of(roi))

        return band(roi, planned, row, self.variants, values_of)


def with_band(curve: DvhCurve, band: Band) -> dict[str, np.ndarray]:
    """A curve and its band, which may reach further, by column."""
    beyond = (0, len(band.dose_gy) - len(curve.dose_gy))
    return {
        "dose_gy": band.dose_gy,
        "volume_cc": np.pad(curve.volume_cc, beyond, mode="edge"),
        "volume_percent": np.pad(curve.volume_percent, beyond, mode="edge"),
        **dict(zip(BAND_COLUMNS, (band.low_percent, band.high_percent), strict=True)),
    }
