"""Which ROIs share their filtered images: those that lie so close together that one region for all
is smaller than one for each."""

from __future__ import annotations

from collections.abc import Sequence

from .roi import Box

# Larger regions are not shared: a filtered copy of each takes 8 bytes a voxel.
MAX_REGION_VOXELS = 8_000_000
# So many ROIs at most: their cropped images are in memory together, and when the process dies the
# rest of them is begun again.
MAX_ROIS = 8


def grouped(boxes: Sequence[Box], most: int = MAX_ROIS) -> list[list[int]]:
    """Numbers of the boxes in groups of at most `most`; the pair that saves most is joined
    first."""
    groups = [[n] for n in range(len(boxes))]
    around = list(boxes)
    while True:
        best, saving = None, 0
        for a in range(len(groups)):
            for b in range(a + 1, len(groups)):
                if len(groups[a]) + len(groups[b]) > min(most, MAX_ROIS):
                    continue
                union = Box.around([around[a], around[b]])
                saved = around[a].voxels + around[b].voxels - union.voxels
                if saved > saving and union.voxels <= MAX_REGION_VOXELS:
                    best, saving = (a, b, union), saved
        if best is None:
            return groups
        a, b, union = best
        groups[a] += groups.pop(b)
        around[a] = union
        around.pop(b)
