"""From dose boxes to a cumulative curve.

Each box of a structure has a volume, a mean dose and a width in dose. The volume is spread evenly
over the box's dose range, so that the curve is free of the stairs that point samples on a lattice
make. The spreading is done on a fine ladder of doses (a counting sort): no dose of the curve
differs from that of the fully sorted boxes by more than one rung (`rung_gy`). Boxes of uniform dose
are kept apart with their exact dose. Sums that need no order (mean, deviation, extremes) are taken
from the boxes themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

# Distance of the rungs; larger where the range of doses would need more than MAX_RUNGS (1 mGy at
# 65 Gy, 0.0015 %). Both ends of a box move by one rung at most and without bias, so no dose of the
# curve is off by more than one rung; where thousands of boxes make up a point, by a tenth of it.
RUNG_GY = 1e-4
MAX_RUNGS = 1 << 16
# A box narrower than this share of its dose holds one dose: the width is rounding.
UNIFORM = 2e-6


@dataclass(eq=False)
class DoseHistogram:
    """Collects boxes whose doses lie in `low_gy`..`high_gy`; then `curve()` and the moments."""

    low_gy: float
    high_gy: float
    cc: float = 0.0
    dose_cc: float = 0.0  # sum of volume x dose
    square_cc: float = 0.0  # sum of volume x dose^2
    min_gy: float = np.inf
    max_gy: float = -np.inf
    rung_gy: float = field(init=False)
    _density: np.ndarray = field(init=False)
    _uniform_gy: list[np.ndarray] = field(init=False, default_factory=list)
    _uniform_cc: list[np.ndarray] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        span = max(self.high_gy - self.low_gy, 0.0)
        self.rung_gy = max(RUNG_GY, span / MAX_RUNGS)
        self._density = np.zeros(int(np.ceil(span / self.rung_gy)) + 4)

    def add(self, mean_gy: np.ndarray, width_gy: np.ndarray, cc: np.ndarray) -> None:
        """Add boxes (n,) with their mean dose, the width of their dose range and their volume."""
        if not mean_gy.size:
            return
        # No box reaches beyond the doses that the grid has here.
        room = 2 * np.minimum(mean_gy - np.float32(self.low_gy), np.float32(self.high_gy) - mean_gy)
        width_gy = np.clip(width_gy, 0, np.maximum(room, 0))
        low = mean_gy - width_gy / 2
        self._extend(float(low.min()), float((low + width_gy).max()))
        self.cc += float(cc.sum(dtype=np.float64))
        weighted = cc * mean_gy
        self.dose_cc += float(weighted.sum(dtype=np.float64))
        square = weighted * mean_gy + cc * (width_gy * width_gy) / 12
        self.square_cc += float(square.sum(dtype=np.float64))
        uniform = width_gy <= UNIFORM * mean_gy
        if uniform.any():
            self.add_uniform(mean_gy[uniform], cc[uniform])
            spread = ~uniform
            low, width_gy, cc = low[spread], width_gy[spread], cc[spread]
        if low.size:
            self._spread(low, width_gy, cc)

    def add_by(self, kernel: Callable[..., tuple[float, ...]], most: int) -> int:
        """As `add`, of at most `most` boxes that a kernel makes itself: it is called with the last
        three arguments of `kernels.boxes_kernel`. Returns the number of boxes."""
        room = (np.empty(most, dtype=np.float32), np.empty(most, dtype=np.float32))
        ladder = tuple(map(np.float32, (self.low_gy, self.high_gy, self.rung_gy, UNIFORM)))
        cc, dose, square, low, high, boxes, uniform = kernel(ladder, self._density, room)
        self.cc += cc
        self.dose_cc += dose
        self.square_cc += square
        self._extend(float(low), float(high))
        if uniform:
            self.add_uniform(*(values[:uniform] for values in room))
        return boxes

    def _extend(self, low_gy: float, high_gy: float) -> None:
        """Note the ends of boxes, which rounding may carry beyond the doses of the grid."""
        self.min_gy = min(self.min_gy, max(low_gy, self.low_gy))
        self.max_gy = max(self.max_gy, min(high_gy, self.high_gy))

    def _spread(self, low_gy: np.ndarray, width_gy: np.ndarray, cc: np.ndarray) -> None:
        """Spread volumes evenly over the rungs of their dose range, at least one: only the changes
        of the density at both ends are written down."""
        rung, half = np.float32(self.rung_gy), np.float32(0.5)
        rungs = np.maximum((width_gy / rung + half).astype(np.int32), 1)
        middle = (low_gy - np.float32(self.low_gy) + width_gy / 2) / rung
        first = np.maximum(middle - 0.5 * rungs + 0.5, 0).astype(np.int64)
        last = np.minimum(first + rungs, len(self._density) - 1)
        share = cc / rungs
        begin, end = int(first.min()), int(last.max()) + 1
        part = self._density[begin:end]
        part += np.bincount(first - begin, share, end - begin)
        part -= np.bincount(last - begin, share, end - begin)

    def add_uniform(self, dose_gy: np.ndarray, cc: np.ndarray) -> None:
        """Keep volumes of uniform dose (n,); the moments are the caller's."""
        values, place = np.unique(dose_gy, return_inverse=True)
        self._uniform_gy.append(values.astype(np.float64))
        self._uniform_cc.append(np.bincount(place, cc))

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Support points (dose_gy ascending, cc that receives at least this dose).

        Between two points the volume falls evenly; at a uniform volume the dose stands twice, with
        the volume before and after.
        """
        per_rung = np.cumsum(self._density)
        filled = np.flatnonzero(per_rung > 1e-12 * max(self.cc, 1e-300))
        edges, below = np.empty(0), np.empty(0)
        if filled.size:
            part = np.maximum(per_rung[filled[0] : filled[-1] + 1], 0.0)
            edges = self.low_gy + np.arange(filled[0], filled[-1] + 2) * self.rung_gy
            below = np.concatenate([[0.0], np.cumsum(part)])
            bends = np.flatnonzero(np.abs(np.diff(part)) > 0) + 1
            keep = np.concatenate([[0], bends, [len(edges) - 1]])
            edges, below = edges[keep], below[keep]
        dose, at_least = _with_steps(edges, below, *self._steps())
        return dose, at_least / at_least[0] * self.cc if at_least.size else at_least

    def _steps(self) -> tuple[np.ndarray, np.ndarray]:
        if not self._uniform_gy:
            return np.empty(0), np.empty(0)
        values, place = np.unique(np.concatenate(self._uniform_gy), return_inverse=True)
        return values, np.bincount(place, np.concatenate(self._uniform_cc))


def _with_steps(
    edges: np.ndarray, below: np.ndarray, step_gy: np.ndarray, step_cc: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Join a continuous curve (volume below each edge) with volumes of uniform dose."""
    if not step_gy.size:
        return edges, (below[-1] - below if below.size else below)
    smooth = np.interp(step_gy, edges, below) if edges.size else np.zeros(len(step_gy))
    jumped = np.concatenate([[0.0], np.cumsum(step_cc)])
    dose = np.concatenate([edges, step_gy, step_gy])
    at_edges = below + jumped[np.searchsorted(step_gy, edges, side="right")]
    before, after = smooth + jumped[:-1], smooth + jumped[1:]
    total = np.concatenate([at_edges, before, after])
    order = np.lexsort((total, dose))
    dose, total = dose[order], total[order]
    return dose, (total[-1] - total if total.size else total)
