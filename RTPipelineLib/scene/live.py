"""DVHs that follow the Segment Editor: only the segments that changed are computed again."""

from __future__ import annotations

import zlib

import numpy as np
import slicer
import vtk

from ..dvh.engine import compute_dvh
from ..dvh.metrics import metric_row
from ..errors import DataError
from ..model import DVH, EDITED, Dose, Mask
from ..structures.mask_resampling import cropped
from .segmentations import LABELMAP, mask_of

Row = dict[str, object]


class LiveDvhs:
    """Observes one segmentation; `refresh` gives the DVHs of what was edited since the last time.

    Segments count as edited when their voxels differ from those at the start, so that a change of
    name, colour or view costs nothing. `stop` ends the observation.
    """

    def __init__(self, node: slicer.vtkMRMLSegmentationNode, dose: Dose) -> None:
        self.node, self.dose = node, dose
        self._seen = {key: _print(mask_of(node, key)) for key in _keys(node)}
        self._touched: set[str] = set()
        segmentation = node.GetSegmentation()
        events = (
            segmentation.SourceRepresentationModified,
            segmentation.SegmentModified,
            segmentation.SegmentAdded,
        )
        self._observed = segmentation
        self._tags = [segmentation.AddObserver(event, self._note) for event in events]

    @vtk.calldata_type(vtk.VTK_STRING)
    def _note(self, caller: object, event: str, key: str | None = None) -> None:
        """An edit, or several at once where no segment is named."""
        self._touched |= {key} if key else set(_keys(self.node))

    @property
    def is_behind(self) -> bool:
        """True when a segment was touched after the last `refresh`."""
        return bool(self._touched)

    def refresh(self) -> list[tuple[DVH, Row]]:
        """DVH and metrics of every segment whose voxels changed, source `edited`.

        Raises `DataError` when the segmentation lies under a transform, `GeometryError` when the
        dose has another frame of reference.
        """
        if self.node.GetScene() is None:
            raise DataError(f"segmentation {self.node.GetName()} is no longer in the scene")
        touched, self._touched = self._touched, set()
        sharing = {other for key in touched for other in _sharing(self.node, key)}
        found = []
        for key in _keys(self.node):
            if key not in touched | sharing:
                continue
            mask = mask_of(self.node, key)
            seen = _print(mask)
            if self._seen.get(key) == seen:
                continue
            self._seen[key] = seen
            if mask is not None:
                dvh = compute_dvh(mask, self.dose)
                found.append((dvh, edited_row(mask, dvh, self.node.GetName())))
        return found

    def stop(self) -> None:
        """Observe no more; may be called twice."""
        for tag in self._tags:
            self._observed.RemoveObserver(tag)
        self._tags = []


def edited_row(mask: Mask, dvh: DVH, structure_set: str) -> Row:
    """The metrics of an edited segment, with the columns of the other rows of the table."""
    return {
        "source": EDITED,
        "structure_set": structure_set,
        "roi_name": mask.name,
        "volume_cc": dvh.volume_cc,
        "dose_coverage_percent": dvh.dose_coverage_percent,
        **metric_row(dvh),
        "flags": ";".join(dvh.flags),
    }


def _keys(node: slicer.vtkMRMLSegmentationNode) -> tuple[str, ...]:
    return tuple(node.GetSegmentation().GetSegmentIDs())


def _sharing(node: slicer.vtkMRMLSegmentationNode, key: str) -> tuple[str, ...]:
    """Segments on the same layer: an effect that paints over them changes them as well."""
    segmentation = node.GetSegmentation()
    if segmentation.GetSegment(key) is None:
        return ()
    layer = segmentation.GetSegment(key).GetRepresentation(LABELMAP)
    return tuple(
        other
        for other in segmentation.GetSegmentIDs()
        if segmentation.GetSegment(other).GetRepresentation(LABELMAP) is layer
    )


def _print(mask: Mask | None) -> tuple | None:
    """What is equal when the voxels are; None when there are none."""
    if mask is None:
        return None
    part = cropped(mask)
    place = tuple(np.round(part.grid.origin_mm, 3))
    return place, part.array.shape, zlib.crc32(np.packbits(part.array != 0))
