"""The tables of the stage `dvh`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .bands import with_band

if TYPE_CHECKING:
    import pandas

    from .evaluation import Evaluated

CURVE_STEP_GY = 0.01


def metrics_frame(results: Sequence[Evaluated], ids: dict[str, str]) -> pandas.DataFrame:
    """All rows, in the column order of the contract."""
    from ..report.tables import rows_frame

    frame = rows_frame([{**ids, **result.row} for result in results], "dvh_metrics")
    unknown = [name for name in frame if frame[name].isna().all()]  # numbers that no row has
    return frame.astype(dict.fromkeys(unknown, float))


def curves_frame(results: Sequence[Evaluated], ids: dict[str, str]) -> pandas.DataFrame:
    """Cumulative curves of all structures that have one, 0.01 Gy a row."""
    import pandas

    keys = ("source", "roi_number", "roi_name", "dose_source", "structure_set_uid")
    frames = []
    for result in results:
        if result.dvh is None or not result.dvh.volume_cc > 0:
            continue
        curve = result.dvh.curve(CURVE_STEP_GY)
        columns = {**ids, **{key: result.row[key] for key in keys}, **curve._asdict()}
        if result.band is not None:
            columns |= with_band(curve, result.band)
        frames.append(pandas.DataFrame(columns))
    if not frames:
        names = [*ids, *keys, "dose_gy", "volume_cc", "volume_percent"]
        return pandas.DataFrame(columns=names)
    return pandas.concat(frames, ignore_index=True)
