"""The volume of a structure, from its contours or its mask alone."""

from __future__ import annotations

import numpy as np

from ..model import Contours, Mask
from .coverage import Lattice
from .interpolation import BetweenPlanes, EndCaps
from .mask_resampling import slice_borders
from .sections import NoSections, contour_sections

# Areas are exact whatever the cells; these only keep the table small.
CELLS = 64


def volume_cc(
    structure: Contours | Mask,
    end_caps: EndCaps = "half-slice",
    between_planes: BetweenPlanes = "interpolate",
) -> float:
    """Volume in cc, as the DVH has it; 0 where nothing is drawn, nan where it cannot be known."""
    if isinstance(structure, Mask):
        per_slice = structure.array.sum(axis=(1, 2), dtype=np.float64)
        area = structure.grid.spacing_mm[0] * structure.grid.spacing_mm[1]
        return float(per_slice @ np.diff(slice_borders(structure.grid)) * area / 1000)
    sections = contour_sections(structure, np.eye(3))
    if isinstance(sections, NoSections):
        return sections.volume_cc
    low, high = sections.bounds_mm
    step = np.maximum(high - low, 1e-3) / (CELLS - 2)
    origin = low - step / 2
    lattice = Lattice(
        (float(origin[0]), float(origin[1])), (float(step[0]), float(step[1])), (CELLS, CELLS)
    )
    covered = sections.coverage(lattice, moments=False).share.sum(axis=(1, 2), dtype=np.float64)
    area_mm2 = covered * lattice.cell_mm2
    layers = sections.layers(area_mm2, end_caps, between_planes, np.inf, ())
    return layers.volume_mm3(area_mm2) / 1000
