"""Doses exported frame by frame: which objects are one grid, and the grid itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from dicom_objects import dose, item, save
from pydicom.dataset import Dataset

from RTPipelineLib.dicom.dose import read_dose
from RTPipelineLib.dicom.dose_stack import find_stacks, join_stack, stack_grid
from RTPipelineLib.dicom.headers import summarise

RAMP = np.arange(6 * 4 * 5).reshape(6, 4, 5).astype("<u4")
OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)


def frames(
    heights: Sequence[float], orientation: Sequence[float] = (1, 0, 0, 0, 1, 0), **values: object
) -> list[Dataset]:
    """The slices of RAMP as objects of their own, at these heights along row x column."""
    normal = np.cross(orientation[:3], orientation[3:])
    return [
        dose(
            RAMP[n : n + 1],
            position=np.array([3.0, -7.0, 20.0]) + height * normal,
            orientation=orientation,
            **values,
        )
        for n, height in enumerate(heights)
    ]


def stacks_of(objects: Sequence[Dataset], frame_uid: str = "F") -> dict[str, tuple[str, ...]]:
    return find_stacks({ds.SOPInstanceUID: (frame_uid, summarise(ds)) for ds in objects})


def uids(objects: Sequence[Dataset]) -> tuple[str, ...]:
    return tuple(ds.SOPInstanceUID for ds in objects)


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), (-1, 0, 0, 0, 1, 0), OBLIQUE])
def test_frames_become_the_grid_that_they_were(tmp_path: Path, orientation) -> None:
    heights = [0.0, 3.0, 6.0, 9.0, 12.0, 15.0]
    objects = frames(heights, orientation)
    shuffled = [objects[n] for n in (3, 0, 5, 1, 4, 2)]
    assert stacks_of(shuffled) == {objects[0].SOPInstanceUID: uids(objects)}
    whole = dose(RAMP, position=(3.0, -7.0, 20.0), orientation=orientation, offsets=heights)
    expected = read_dose(save(whole, tmp_path / "whole.dcm"))
    found = join_stack([read_dose(save(ds, tmp_path / "one.dcm")) for ds in objects])
    assert np.array_equal(found.array_gy, expected.array_gy)
    assert found.grid.same_as(expected.grid)
    assert found.sop_uids == uids(objects)
    assert found.flags == ("stack-of-frames",)
    assert stack_grid([summarise(ds) for ds in objects], "dose").same_as(expected.grid)


def test_a_lost_frame_is_flagged(tmp_path: Path) -> None:
    objects = frames([0.0, 3.0, 6.0, 12.0])
    found = join_stack([read_dose(save(ds, tmp_path / "one.dcm")) for ds in objects])
    assert "stack-gap" in found.flags
    assert found.grid.k_positions_mm.tolist() == [0.0, 3.0, 6.0, 12.0]


@pytest.mark.parametrize(
    "change",
    [
        {"DoseSummationType": "BEAM"},
        {"DoseType": "EFFECTIVE"},
        {"PixelSpacing": ["2", "3"]},
        {"ImagePositionPatient": ["4", "-7", "23"]},
        {"ReferencedRTPlanSequence": [item(ReferencedSOPInstanceUID="1.9")]},
    ],
)
def test_a_frame_that_differs_in_anything_else_stays_outside(change) -> None:
    objects = frames([0.0, 3.0, 6.0, 9.0])
    for keyword, value in change.items():
        setattr(objects[1], keyword, value)
    rest = [objects[0], *objects[2:]]
    assert stacks_of(objects) == {objects[0].SOPInstanceUID: uids(rest)}


@pytest.mark.parametrize("heights", [[0.0, 3.0], [0.0, 40.0, 80.0], [0.0, 3.0, 3.0, 6.0]])
def test_planar_doses_are_no_stack(heights) -> None:
    assert stacks_of(frames(heights)) == {}


def test_whole_grids_are_no_stack() -> None:
    whole = [dose(RAMP, offsets=[0, 1, 2, 3, 4, 5], position=(0, 0, z)) for z in (0, 3, 6)]
    assert stacks_of(whole) == {}
