"""Structures of two sources compared by standard name: rows of the table `agreement`."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ..config import Config
from ..errors import DataError
from ..geometry import Grid
from ..model import CLINICAL, EDITED, Contours, Mask
from ..structures.comparison import Agreement, compare
from ..structures.derived import DERIVED
from . import Problem

if TYPE_CHECKING:
    import pandas

log = logging.getLogger(__name__)

AUTOMATIC = "AUTOMATIC"  # ROI Generation Algorithm, PS3.3 C.8.8.5
_IDENTITY = ("source", "structure_set_uid", "number", "name")
_NUMBERS = [name for name in Agreement.__dataclass_fields__ if name not in ("grid_mm", "flags")]


@dataclass(frozen=True, eq=False)
class Pair:
    """Structures of one name, A the reference; one of them is None where the other is alone."""

    name: str
    a: Contours | Mask | None
    b: Contours | Mask | None
    flag: str = ""


def is_automatic(roi: Contours | Mask) -> bool:
    """True for what a program drew."""
    if roi.source not in (CLINICAL, EDITED, DERIVED):
        return True
    return isinstance(roi, Contours) and roi.generation_algorithm.upper() == AUTOMATIC


def paired(
    first: Sequence[Contours | Mask], second: Sequence[Contours | Mask], *, alone: bool = True
) -> list[Pair]:
    """Structures of the same standard name, or without one of the same name (case aside).

    Where several of one side have the name, those whose own names agree are taken, else every
    combination, flagged. With `alone`, structures without partner stand in the list as well.
    """
    theirs = _by_name(second)
    pairs: list[Pair] = []
    for name, ours in _by_name(first).items():
        others = theirs.pop(name, [])
        combinations = [(a, b) for a in ours for b in others]
        same = [(a, b) for a, b in combinations if a.name.casefold() == b.name.casefold()]
        if same and len(combinations) > 1:
            combinations = same
        flag = "several-of-this-name" if len(combinations) > 1 else ""
        pairs += [Pair(name, a, b, flag) for a, b in combinations]
        if not others and alone:
            pairs += [Pair(name, a, None, "only-in-a") for a in ours]
    if alone:
        pairs += [Pair(name, None, b, "only-in-b") for name, rest in theirs.items() for b in rest]
    return pairs


def _by_name(rois: Iterable[Contours | Mask]) -> dict[str, list[Contours | Mask]]:
    found: dict[str, list[Contours | Mask]] = defaultdict(list)
    for roi in rois:
        found[roi.standard_name or roi.name.strip().casefold()].append(roi)
    return found


def agreement_row(
    pair: Pair, grid: Grid | None, config: Config, problems: list[Problem]
) -> dict[str, object]:
    """One pair as a row; what goes wrong is in its flags and in `problems`, and costs no other."""
    row: dict[str, object] = {"roi_standard_name": _standard(pair)}
    for side, roi in (("a", pair.a), ("b", pair.b)):
        for name in _IDENTITY:
            column = f"roi_{name}_{side}" if name in ("number", "name") else f"{name}_{side}"
            row[column] = getattr(roi, name) if roi is not None else None
    row |= dict.fromkeys(_NUMBERS)
    row["grid_mm"] = ""
    flags = [pair.flag]
    if pair.a is not None and pair.b is not None:
        try:
            found = _compared(pair.a, pair.b, grid, config)
            row |= {name: value for name, value in asdict(found).items() if name in _NUMBERS}
            for volume in ("volume_a_cc", "volume_b_cc"):
                row[volume] = row[volume] or None  # nothing drawn is not a volume of 0
            row["grid_mm"] = " x ".join(f"{mm:.4g}" for mm in found.grid_mm)
            flags += found.flags
        except DataError as error:
            flags.append("not-compared")
            problems.append(Problem(pair.name, "error", str(error)))
        except Exception as error:  # the boundary: an unforeseen shape costs one pair
            log.exception("comparing %s", pair.name)
            flags.append("internal-error")
            message = f"{pair.name}: internal error {type(error).__name__}: {error}; please report"
            problems.append(Problem(pair.name, "error", message))
    row["flags"] = ";".join(dict.fromkeys(flag for flag in flags if flag))
    return row


def _compared(
    a: Contours | Mask, b: Contours | Mask, grid: Grid | None, config: Config
) -> Agreement:
    keys = config.structures
    return compare(
        a,
        b,
        grid,
        tolerance_mm=keys.tolerance_mm,
        rule=keys.voxelise,
        end_caps=keys.end_caps,
        between_planes=keys.between_planes,
    )


def _standard(pair: Pair) -> str:
    return next(
        (r.standard_name for r in (pair.a, pair.b) if r is not None and r.standard_name), ""
    )


def metric_differences(
    row_a: dict[str, object], row_b: dict[str, object]
) -> dict[str, float | None]:
    """Every number of two rows of DVH metrics, A minus B, as `<column>_difference`; empty where one
    of them is not known."""
    found: dict[str, float | None] = {}
    for name, a in row_a.items():
        b = row_b.get(name)
        if name in ("roi_number", "rx_gy") or name.endswith(("_low", "_high")):
            continue
        if isinstance(a, float) or isinstance(b, float):
            known = isinstance(a, float) and isinstance(b, float)
            found[f"{name}_difference"] = a - b if known else None
    return found


def agreement_frame(
    rows: Sequence[dict[str, object]], ids: dict[str, str], table: str = "agreement"
) -> pandas.DataFrame:
    """Rows in the column order of their table."""
    from ..report.tables import rows_frame

    frame = rows_frame([{**ids, **row} for row in rows], table)
    numbers = [n for n in frame if n in _NUMBERS or n.endswith("_difference")]
    return frame.astype(dict.fromkeys(numbers, float))
