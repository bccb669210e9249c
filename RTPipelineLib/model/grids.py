"""Values on a grid: images and doses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..geometry import Grid


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
        check_shape(self.array, self.grid)


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
        check_shape(self.array_gy, self.grid)
        if self.coverage is not None:
            check_shape(self.coverage, self.grid)


def check_shape(array: np.ndarray, grid: Grid) -> None:
    """Raise `ValueError` when an array `[k, j, i]` is not of its grid's shape."""
    if array.shape != grid.shape:
        raise ValueError(f"array of shape {array.shape} on a grid of shape {grid.shape}")
