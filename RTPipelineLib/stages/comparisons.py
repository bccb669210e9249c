"""Other people's DVHs beside ours, for the stage `dvh`: those that the planning system stored in
the dose, and those that `dvh.crosscheck` asks other programs for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..crosscheck.programs import BIN_GY, Calculation, calculate
from ..dicom.dataset import read_dataset
from ..dicom.dvh_sequence import StoredDvh, read_dvh_sequence
from ..dvh.comparison import Difference, compare, contour_planes
from ..errors import StageError
from . import Problem

if TYPE_CHECKING:
    import pandas

    from ..course import Course
    from .evaluation import Evaluated

PLANNING_SYSTEM = "planning-system"
TPS_DIFFERS = "tps-dvh-differs"
_NOTHING = Difference("", "", None, None, None, None)
_KEYS = ("source", "roi_number", "roi_name", "dose_source", "structure_set_uid")


@dataclass(frozen=True)
class Comparison:
    """Rows of a comparison table, the other side's curves (with the row that they belong to), and
    what went wrong."""

    rows: list[dict[str, object]] = field(default_factory=list)
    curves: list[tuple[dict[str, object], StoredDvh]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def beside_planning_system(
    results: Sequence[Evaluated], rtdose: Path, prescription_gy: float | None, into: Comparison
) -> list[Evaluated]:
    """Compare one dose's structures with the DVHs stored in its file.

    Returns the results, with `tps-dvh-differs` in the flags of those that do not agree.
    """
    stored = read_dvh_sequence(read_dataset(rtdose, stop_before_pixels=True), prescription_gy)
    found = list(results)
    for item in stored:
        place = _place(found, item)
        if place is None:
            dose_source = found[0].row["dose_source"] if found else ""
            about = {"dose_source": dose_source, "structure_set_uid": item.structure_set_uid}
            numbers = ", ".join(map(str, item.roi_numbers)) or "none"
            why = f"stored for the ROI numbers {numbers}, not for one ROI of this structure set"
            into.rows.append(_row(about, PLANNING_SYSTEM, _NOTHING, item.flags, why))
            continue
        ours = found[place]
        if item.curve is None or ours.dvh is None:
            why = "its curve cannot be read" if item.curve is None else "there is no DVH of ours"
            into.rows.append(_row(ours.row, PLANNING_SYSTEM, _NOTHING, item.flags, why))
            continue
        into.curves.append((ours.row, item))
        differences = compare(
            ours.dvh,
            item.curve,
            planes=contour_planes(ours.roi),
            bin_gy=item.bin_gy,
            with_volume=not item.in_percent,
        )
        into.rows.extend(
            _row(ours.row, PLANNING_SYSTEM, difference, item.flags) for difference in differences
        )
        found[place] = _flagged(ours, differences, TPS_DIFFERS)
    return found


def beside_programs(
    programs: Sequence[str],
    course: Course,
    results: Sequence[Evaluated],
    rtdose: Path,
    into: Comparison,
) -> list[Evaluated]:
    """Recompute one dose's structures by other programs, one structure set of the course at a time.

    Returns the results, with `<program>-differs` in the flags of those that do not agree. A program
    that is missing or fails is a problem, and stops nothing.
    """
    found: list[Evaluated] = []
    for uid in dict.fromkeys(result.roi.structure_set_uid for result in results):
        part = [result for result in results if result.roi.structure_set_uid == uid]
        structure_set = course.object(uid)
        if structure_set is not None:
            for program in programs:
                part = _recomputed(program, part, course.path_of(structure_set), rtdose, into)
        found += part
    return found


def _recomputed(
    program: str, results: list[Evaluated], rtstruct: Path, rtdose: Path, into: Comparison
) -> list[Evaluated]:
    try:
        other = calculate(program, rtstruct, rtdose, [result.roi for result in results])
    except StageError as error:
        if all(problem.message != str(error) for problem in into.problems):
            into.problems.append(Problem(program, "error", str(error)))
        return results
    found = []
    for ours in results:
        comparable = ours.dvh is not None and ours.dvh.volume_cc > 0
        differences = _beside(ours, other, into) if comparable else []
        found.append(_flagged(ours, differences, f"{program}-differs"))
    return found


def _beside(ours: Evaluated, other: Calculation, into: Comparison) -> list[Difference]:
    curve = other.curves.get(ours.roi.number)
    name = f"{other.program} {other.version}".strip()
    if curve is None or ours.dvh is None:
        why = other.errors.get(ours.roi.number, f"{other.program} gave no curve")
        into.rows.append(_row(ours.row, name, _NOTHING, (), why))
        return []
    planes = contour_planes(ours.roi)
    differences = compare(ours.dvh, curve, planes=planes, bin_gy=BIN_GY[other.program])
    into.rows.extend(_row(ours.row, name, difference) for difference in differences)
    return differences


def _place(results: Sequence[Evaluated], stored: StoredDvh) -> int | None:
    """Which result a stored DVH is about."""
    for place, result in enumerate(results):
        same_set = stored.structure_set_uid in ("", result.roi.structure_set_uid)
        if result.roi.number == stored.roi_number and same_set:
            return place
    return None


def _flagged(ours: Evaluated, differences: Sequence[Difference], flag: str) -> Evaluated:
    if all(difference.agrees is not False for difference in differences):
        return ours
    flags = ";".join(filter(None, (str(ours.row.get("flags") or ""), flag)))
    return replace(ours, row={**ours.row, "flags": flags})


def _row(
    about: dict[str, object],
    program: str,
    difference: Difference,
    flags: Sequence[str] = (),
    reason: str = "",
) -> dict[str, object]:
    return {
        **{key: about.get(key) for key in _KEYS},
        "program": program,
        **difference.row(),
        "reason": reason,
        "flags": ";".join(flags),
    }


def comparison_frame(
    rows: Sequence[dict[str, object]], ids: dict[str, str], table: str
) -> pandas.DataFrame:
    """The rows in the layout of their table."""
    from ..report.tables import rows_frame

    frame = rows_frame([{**ids, **row} for row in rows], table)
    numbers = ["value", "other_value", "difference", "tolerance", "roi_number"]
    return frame.astype(dict.fromkeys(numbers, float)).astype({"agrees": "boolean"})


def stored_curves_frame(
    curves: Sequence[tuple[dict[str, object], StoredDvh]], ids: dict[str, str], step_gy: float
) -> pandas.DataFrame:
    """Stored curves as the table of our own has them."""
    import pandas

    frames = []
    for row, stored in curves:
        if stored.curve is None:
            continue
        curve = stored.curve.curve(step_gy)._asdict()
        if stored.in_percent:
            curve["volume_cc"] = float("nan")
        frames.append(pandas.DataFrame({**ids, **{key: row[key] for key in _KEYS}, **curve}))
    return pandas.concat(frames, ignore_index=True)
