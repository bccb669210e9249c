"""What the disagreement of two sources of a structure means for its dose: metrics, A minus B."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from ..config import Config
from ..dicom.structures import read_structure_set
from ..errors import DataError
from ..model import Contours, ImagePlanes, Mask
from . import Problem, Task
from .agreement import metric_differences
from .evaluation import Evaluated, evaluate
from .further import further_structures
from .isodoses import DoseSource
from .naming import named_rois
from .structures import AGREEMENT_FILE

_ID = ("source", "structure_set_uid", "roi_number")
_SAME = ("roi_standard_name", *(f"{n}_{side}" for side in "ab" for n in (*_ID, "roi_name")))


class AgreementDoses:
    """The pairs that the stage `structures` compared, under one dose after another."""

    def __init__(self, task: Task, planes: dict[str, ImagePlanes]) -> None:
        self.task = task
        self.planes = planes
        self.rows: list[dict[str, object]] = []

    @cached_property
    def pairs(self) -> list[dict[str, object]]:
        """The rows of the table `agreement`."""
        import pandas

        path = self.task.folder / AGREEMENT_FILE
        return pandas.read_parquet(path).to_dict("records") if path.exists() else []

    @cached_property
    def _rois(self) -> dict[tuple[object, ...], Contours | Mask]:
        """All structures of the course by source, structure set and number."""
        masks = further_structures(self.task, [])  # the stage `structures` has the problems
        found = {(m.source, m.structure_set_uid, m.number): m for m in masks}
        for entry in self.task.course.of_kind("rtstruct"):
            try:
                content = read_structure_set(self.task.course.path_of(entry))
            except DataError:
                continue  # the stage `structures` has its row
            for roi in named_rois(content, self.task.config, self.task.overrides.names):
                planes = self.planes.get(roi.frame_uid)
                key = (roi.source, roi.structure_set_uid, roi.number)
                found[key] = replace(roi, image_planes=planes)
        return found

    def add(
        self,
        results: Sequence[Evaluated],
        source: DoseSource,
        config: Config,
        problems: list[Problem],
    ) -> None:
        """The differences of every pair under one dose; a side without DVH yet gets one."""
        known = {tuple(result.row[name] for name in _ID): result for result in results}
        for pair in self.pairs:
            sides = [tuple(pair[f"{name}_{side}"] for name in _ID) for side in "ab"]
            if sides[0] not in known:
                continue  # A belongs to another dose
            if sides[1] not in known:
                if sides[1] not in self._rois:
                    continue
                (other,) = evaluate([self._rois[sides[1]]], source, config)
                known[sides[1]] = other
                problems += [other.problem] if other.problem is not None else []
            a, b = (known[side] for side in sides)
            self.rows.append(
                {
                    **{name: pair[name] for name in _SAME},
                    "dose_source": source.name,
                    **metric_differences(a.row, b.row),
                    "flags": "",
                }
            )
