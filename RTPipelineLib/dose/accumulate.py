"""The sum of doses on one grid, with one input in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import DoseRefused, GeometryError
from ..geometry import Grid
from ..model import Dose
from ..resample import coverage_of, resample_onto

# Voxels converted at once when the sum becomes float32.
CHUNK = 1 << 20
# From so many input voxels on, compiled code saves more than its start costs (about a second).
COMPILE_FROM = 200_000_000


@dataclass(frozen=True, eq=False)
class LazyDose:
    """A dose whose grid is known and whose values are read when their turn comes."""

    grid: Grid
    load: Callable[[], Dose]


def sum_grid(grids: Iterable[Grid], max_voxels: int | None = None) -> tuple[Grid, tuple[str, ...]]:
    """The grid of a sum: the union of the extents at the finest spacing (`Grid.union`).

    Equal grids are their own union, uneven slices included. Beyond `max_voxels` the spacing is
    coarsened, with the flag `sum-grid-coarsened`.
    """
    members = list(grids)
    alike = all(grid.same_as(members[0]) for grid in members[1:])
    finest = members[0] if alike else Grid.union(members)
    if max_voxels is None or int(np.prod(finest.shape)) <= max_voxels:
        return finest, ()
    return Grid.union(members, max_voxels), ("sum-grid-coarsened",)


def sum_doses(
    doses: Iterable[Dose | LazyDose | Callable[[], Dose]],
    weights: Sequence[float] | None = None,
    *,
    grid: Grid | None = None,
    max_voxels: int | None = None,
    out: np.ndarray | None = None,
) -> Dose:
    """The weighted sum of doses of one frame of reference and one dose type.

    Parameters
    ----------
    doses : doses, `LazyDose` or functions that return a dose; only one at a time is loaded. (A bare
        function is called twice, the first time for the grid.)
    weights : one factor per dose, 1 when not given.
    grid : where the sum is wanted; by default the union of the inputs (`sum_grid`, bounded by
        `max_voxels`).
    out : float32 array of the grid's shape that receives the sum, such as a memory map; without it
        the sum is held in memory as float64 and rounded to float32 once.

    Where an input does not reach, it contributes 0; `coverage` is then the share of inputs that
    reach each voxel (None when all reach everywhere). The result names the objects and plans that
    it was made from; its summation type is PLAN for one plan, MULTI_PLAN for several whole plans
    and PLAN_OVERVIEW when a weight is not 1 (PS3.3 C.8.8.3).

    Peak memory: sum (8 bytes a voxel), coverage (1, later 4) and one input. Raises `GeometryError`
    for different frames of reference, `DoseRefused` for PHYSICAL with EFFECTIVE, `ValueError` for
    no dose or weights that do not fit.
    """
    inputs = list(doses)
    factors = [1.0] * len(inputs) if weights is None else [float(w) for w in weights]
    if not inputs or len(factors) != len(inputs):
        raise ValueError(f"{len(inputs)} doses and {len(factors)} weights cannot be summed")
    flags: tuple[str, ...] = ()
    if grid is None:
        grid, flags = sum_grid([_grid_of(item) for item in inputs], max_voxels)
    if out is not None and (out.shape != grid.shape or out.dtype != np.float32):
        raise ValueError(f"the sum needs a float32 array of shape {grid.shape}, found {out.shape}")
    buffer = np.zeros(int(np.prod(grid.shape)) if out is None else 0)
    total = buffer.reshape(grid.shape) if out is None else out
    if out is not None:
        out[:] = 0
    reach = _Reach(grid, len(inputs))
    made_of = _Provenance()
    voxels = 0
    for item, factor in zip(inputs, factors, strict=True):
        dose = _loaded(item)
        made_of.add(dose, factor)
        voxels = max(voxels, dose.array_gy.size * len(inputs))
        resample_onto(
            dose.array_gy,
            dose.grid,
            grid,
            out=total,
            weight=factor,
            compiled=voxels >= COMPILE_FROM,
        )
        reach.add(dose)
        del dose  # before the next one is loaded
    del total
    array = out if out is not None else _rounded(buffer).reshape(grid.shape)
    return made_of.dose(array, grid, reach.coverage(), flags)


def _loaded(item: Dose | LazyDose | Callable[[], Dose]) -> Dose:
    if isinstance(item, Dose):
        return item
    return item.load() if isinstance(item, LazyDose) else item()


def _grid_of(item: Dose | LazyDose | Callable[[], Dose]) -> Grid:
    return item.grid if isinstance(item, Dose | LazyDose) else item().grid


class _Provenance:
    """What a sum was made from; refuses inputs that must not be added."""

    def __init__(self) -> None:
        self.inputs: list[tuple[Dose, float]] = []

    def add(self, dose: Dose, weight: float) -> None:
        """Note one input, without its values."""
        if self.inputs:
            first = self.inputs[0][0]
            pair = f"dose {', '.join(first.sop_uids) or '1'} and dose {', '.join(dose.sop_uids)}"
            if dose.frame_uid != first.frame_uid:
                raise GeometryError(
                    f"{pair} lie in different frames of reference; register them before adding"
                )
            if (dose.dose_type or "PHYSICAL") != (first.dose_type or "PHYSICAL"):
                raise DoseRefused(
                    f"{pair} are {first.dose_type} and {dose.dose_type}; these are never added"
                )
        point = Grid(np.zeros(3), np.eye(3), np.ones(3), (1, 1, 1))
        facts = replace(dose, array_gy=np.zeros((1, 1, 1)), grid=point, coverage=None)
        self.inputs.append((facts, weight))

    def dose(
        self, array: np.ndarray, grid: Grid, coverage: np.ndarray | None, flags: tuple[str, ...]
    ) -> Dose:
        """The sum as a dose that names its inputs."""
        doses = [dose for dose, _ in self.inputs]
        first = doses[0]
        plans = _distinct(uid for dose in doses for uid in dose.plan_uids)
        alone = len(doses) == 1
        if any(abs(weight - 1) > 1e-6 for _, weight in self.inputs):
            summation = "PLAN_OVERVIEW"
        elif alone:
            summation = first.summation_type
        else:
            summation = "PLAN" if len(plans) == 1 else "MULTI_PLAN"
        structure_sets = _distinct(dose.structure_set_uid for dose in doses)
        return replace(
            first,
            array_gy=array,
            grid=grid,
            coverage=coverage,
            summation_type=summation,
            scaling_gy=first.scaling_gy if alone and summation != "PLAN_OVERVIEW" else 0.0,
            sop_uids=_distinct(uid for dose in doses for uid in dose.sop_uids),
            plan_uids=plans,
            structure_set_uid=structure_sets[0] if len(structure_sets) == 1 else "",
            flags=_distinct((*(flag for dose in doses for flag in dose.flags), *flags)),
        )


class _Reach:
    """Counts how many inputs reach each voxel."""

    def __init__(self, grid: Grid, inputs: int) -> None:
        self.grid, self.inputs = grid, inputs
        self.everywhere = 0
        self.counts: np.ndarray | None = None

    def add(self, dose: Dose) -> None:
        """Count one input; where it is a sum itself, only what all of its own inputs reach."""
        reached = coverage_of(dose.grid, self.grid)
        if dose.coverage is not None:
            share = resample_onto(dose.coverage.astype(np.float32), dose.grid, self.grid)
            reached &= share > 1 - 1e-3
        if reached.all():
            self.everywhere += 1
            return
        if self.counts is None:
            self.counts = np.zeros(self.grid.shape, np.min_scalar_type(self.inputs))
        self.counts += reached.view(np.uint8)

    def coverage(self) -> np.ndarray | None:
        """Share (0..1, float32) of inputs that reach each voxel; None when all reach everywhere."""
        if self.counts is None:
            return None
        counts, self.counts = self.counts, None
        share = np.empty(counts.shape, np.float32)
        for slab, count in zip(share, counts, strict=True):
            np.divide(count.astype(np.float64) + self.everywhere, self.inputs, out=slab)
        return share


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value))


def _rounded(buffer: np.ndarray) -> np.ndarray:
    """Flat float64 values as float32 in the same memory, of which half is released."""
    count = buffer.size
    for start in range(0, count, CHUNK):
        part = buffer[start : start + CHUNK].astype(np.float32)
        buffer.view(np.float32)[start : start + part.size] = part
    # Nothing else refers to the buffer any more: it can shrink where it lies.
    buffer.resize((count + 1) // 2, refcheck=False)
    return buffer.view(np.float32)[:count]
