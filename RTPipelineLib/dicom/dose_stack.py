"""Doses that were exported frame by frame: single-frame RTDOSE objects that are one grid.

Some systems write every plane of a dose as an object of its own. Objects belong together when they
say the same about everything (plan, beams, type, units, rows, columns, spacing, orientation, place
in the plane) and differ in their position along row x column alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..geometry import Grid
from ..model import Dose
from .dose import dose_grid

# Frames whose places in the plane differ by less lie above each other.
IN_PLANE_MM = 1e-3
# A step of the stack that exceeds the usual one by more has lost a frame.
GAP = 1.5
# Fewer planes, or planes further apart, are planar doses and no volume.
LEAST_FRAMES, WIDEST_MM = 3, 10.0
STACKED, STACK_GAP = "stack-of-frames", "stack-gap"
_SAME = (
    "units",
    "dose_type",
    "summation_type",
    "plan_uids",
    "referenced_beams",
    "rows",
    "columns",
    "pixel_spacing",
    "orientation",
)


def find_stacks(
    doses: Mapping[str, tuple[str, Mapping[str, object]]],
) -> dict[str, tuple[str, ...]]:
    """The stacks among doses, as members in ascending order by the UID of the lowest.

    `doses` maps SOP Instance UIDs to (frame of reference, header summary). Frames of which two lie
    in one place, fewer than 3, and planes more than 10 mm apart are no stack.
    """
    groups: dict[str, list[str]] = {}
    for uid, (frame_uid, summary) in doses.items():
        geometry = len(summary["position"]), len(summary["orientation"])  # type: ignore[arg-type]
        if summary["frames"] not in (None, 1) or geometry != (3, 6):
            continue
        row, column, _ = _axes(summary)
        position = np.array(summary["position"], dtype=np.float64)
        place = [round(float(position @ axis) / IN_PLANE_MM) for axis in (row, column)]
        key = json.dumps([frame_uid, place, [summary[name] for name in _SAME]], sort_keys=True)
        groups.setdefault(key, []).append(uid)
    found = {}
    for members in groups.values():
        heights = {uid: _height(doses[uid][1]) for uid in members}
        ordered = sorted(members, key=heights.__getitem__)
        steps = np.diff([heights[uid] for uid in ordered])
        if len(ordered) < LEAST_FRAMES or steps.min() <= IN_PLANE_MM:
            continue
        if np.median(steps) <= WIDEST_MM:
            found[ordered[0]] = tuple(ordered)
    return found


def stack_grid(summaries: Sequence[Mapping[str, object]], name: str) -> Grid:
    """The grid of the frames of a stack, given in ascending order."""
    first = dose_grid(summaries[0], name)
    heights = np.array([_height(summary) for summary in summaries])
    return _stacked(first, heights - heights[0])


def join_stack(frames: Sequence[Dose]) -> Dose:
    """One dose of the frames of a stack, given in ascending order; flagged `stack-of-frames`, and
    `stack-gap` where a frame seems to be missing (there it is interpolated)."""
    first = frames[0]
    heights = np.array([frame.grid.origin_mm @ first.grid.normal for frame in frames])
    steps = np.diff(heights)
    gap = (STACK_GAP,) if steps.max() > GAP * np.median(steps) else ()
    flags = [flag for frame in frames for flag in frame.flags if flag != "thickness-assumed"]
    return replace(
        first,
        array_gy=np.concatenate([frame.array_gy for frame in frames]),
        grid=_stacked(first.grid, heights - heights[0]),
        scaling_gy=max(frame.scaling_gy for frame in frames),
        sop_uids=tuple(uid for frame in frames for uid in frame.sop_uids),
        flags=tuple(dict.fromkeys([*flags, STACKED, *gap])),
    )


def _stacked(first: Grid, offsets_mm: np.ndarray) -> Grid:
    spacing = np.array([*first.spacing_mm[:2], np.median(np.diff(offsets_mm))])
    shape = (len(offsets_mm), *first.shape[1:])
    return Grid(first.origin_mm, first.direction, spacing, shape, offsets_mm)


def _axes(summary: Mapping[str, object]) -> np.ndarray:
    row, column = np.array(summary["orientation"], dtype=np.float64).reshape(2, 3)
    return np.stack([row, column, np.cross(row, column)])


def _height(summary: Mapping[str, object]) -> float:
    return float(np.array(summary["position"], dtype=np.float64) @ _axes(summary)[2])
