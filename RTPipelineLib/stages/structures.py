"""Stage `structures`: what every structure is called and how large it is, and how two sources of it
agree.

`structures/structures.json` lists every ROI of every structure set with its own name, its standard
name and how that was found, what stood against it and what is offered, its volume and its flags;
and the derived structures, whose covered shares of voxels lie in `structures/derived/`.
`structures/agreement.parquet` compares what a program drew with what a person drew, by standard
name.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..config import Config
from ..course import Course, ObjectEntry
from ..dicom.structures import StructureSet, read_structure_set
from ..errors import DataError
from ..geometry import Grid
from ..model import CLINICAL, EDITED, Contours, ImagePlanes, Mask
from ..platform import write_json
from ..structures.names import NameMatch, shared_names
from ..structures.volume import volume_cc
from . import DONE, FAILED, PARTIAL, SKIPPED, Outcome, Problem, Stage, Task
from .agreement import agreement_frame, agreement_row, is_automatic, paired
from .automatic import STRUCTURE_KINDS
from .derive import derived_structures, write_shares
from .derived_files import write_files
from .further import further_structures
from .load import planning_grids
from .naming import naming_for

log = logging.getLogger(__name__)

STRUCTURES_FILE = "structures/structures.json"
AGREEMENT_FILE = "structures/agreement.parquet"


def _inputs(course: Course) -> Sequence[Path]:
    return [course.path_of(entry) for kind in STRUCTURE_KINDS for entry in course.of_kind(kind)]


def _run(task: Task) -> Outcome:
    entries = task.course.of_kind("rtstruct")
    problems: list[Problem] = []
    further = further_structures(task, problems)
    if not entries and not further:
        return Outcome(SKIPPED, "the course has no structure set")
    images = planning_grids(task.folder)
    facts: dict[str, list] = {"structure_sets": [], "rois": []}
    rois: list[Contours | Mask] = []
    for number, entry in enumerate(entries):
        task.progress(number, len(entries), entry.label or "structure set")
        try:
            content = read_structure_set(task.course.path_of(entry))
        except DataError as error:
            path = getattr(error, "path", None) or ""
            problems.append(Problem(entry.path, "error", str(error), path))
            continue
        rois += _of_set(task, entry, content, images, facts, problems)
    if not facts["structure_sets"] and not further:
        return Outcome(FAILED, problems[0].message, tuple(problems))
    naming = naming_for(task.config, task.overrides.names)
    facts["rois"] += [
        _facts_of(mask, naming.match(mask.name), task.config, problems) for mask in further
    ]
    rois += further
    # An edited structure beside its original would make the sources of a derived one ambiguous.
    originals = [roi for roi in rois if roi.source != EDITED]
    facts["rois"] += _derive(task, originals, images, problems)
    write_json(task.output / "structures.json", facts)
    _write_agreement(task, rois, images, problems)
    errors = [problem for problem in problems if problem.severity == "error"]
    return Outcome(
        PARTIAL if errors else DONE, errors[0].message if errors else "", tuple(problems)
    )


# -- names and volumes ----------------------------------------------------------------------------


def _of_set(
    task: Task,
    entry: ObjectEntry,
    content: StructureSet,
    images: dict[str, Grid],
    facts: dict[str, list],
    problems: list[Problem],
) -> list[Contours]:
    """The named ROIs of one structure set; its facts are added to `facts`."""
    naming = naming_for(task.config, task.overrides.names, content.patient_id, content.label)
    matches = [naming.match(roi.name) for roi in content.rois]
    shared = shared_names(matches)
    facts["structure_sets"].append(
        {
            "sop_uid": content.sop_uid,
            "label": content.label,
            "file": entry.path,
            "flags": list(content.flags),
            "shared_names": {name: list(rois) for name, rois in shared.items()},
        }
    )
    found = []
    for drawn, match in zip(content.rois, matches, strict=True):
        planes = images.get(drawn.frame_uid)
        roi = replace(
            drawn,
            standard_name=match.standard,
            image_planes=None if planes is None else ImagePlanes.from_grid(planes),
        )
        found.append(roi)
        facts["rois"].append(_facts_of(roi, match, task.config, problems))
        problems += [
            Problem(roi.name, "warning", f"{roi.name}: {conflict}") for conflict in match.conflicts
        ]
    for name, rois in shared.items():
        message = f"{', '.join(rois)} of one structure set have the standard name {name}"
        problems.append(Problem(name, "warning", message, entry.path))
    return found


def _facts_of(
    roi: Contours | Mask, match: NameMatch, config: Config, problems: list[Problem]
) -> dict[str, object]:
    keys = config.structures
    volume: float | None = None
    try:
        volume = volume_cc(roi, keys.end_caps, keys.between_planes)
    except DataError as error:
        problems.append(Problem(roi.name, "error", f"{roi.name}: {error}"))
    except Exception as error:  # the boundary: an unforeseen shape costs one structure
        log.exception("volume of %s", roi.name)
        message = f"{roi.name}: internal error {type(error).__name__}: {error}; please report it"
        problems.append(Problem(roi.name, "error", message))
    # Nothing drawn is not a volume of 0.
    known = volume is not None and math.isfinite(volume) and roi.is_drawn
    return {
        "structure_set_uid": roi.structure_set_uid,
        "roi_number": roi.number,
        "roi_name": roi.name,
        "roi_standard_name": match.standard,
        "found_by": match.how,
        "conflicts": list(match.conflicts),
        "suggestions": list(match.suggestions),
        "source": roi.source,
        "colour_rgb": roi.colour_rgb,
        "interpreted_type": roi.interpreted_type,
        "volume_cc": volume if known else None,
        "flags": list(roi.flags),
    }


# -- derived structures ---------------------------------------------------------------------------


def _derive(
    task: Task, rois: Sequence[Contours | Mask], images: dict[str, Grid], problems: list[Problem]
) -> list[dict[str, object]]:
    """Facts of the derived structures, whose files are written."""
    masks = derived_structures(rois, images, task.config, problems)
    files = write_shares(task.output, masks)
    if masks:
        write_files(task, masks, problems)
    naming = naming_for(task.config, task.overrides.names)
    facts = []
    for mask in masks:
        match = naming.match(mask.name)
        own = _facts_of(replace(mask, standard_name=match.standard), match, task.config, problems)
        facts.append(
            {**own, "file": f"structures/{files[mask.number]}", "frame_uid": mask.frame_uid}
        )
    return facts


# -- agreement ------------------------------------------------------------------------------------


def _write_agreement(
    task: Task, rois: Sequence[Contours | Mask], images: dict[str, Grid], problems: list[Problem]
) -> None:
    """What people drew against what programs drew, and what came with the plan against what a
    person made of it; no table where there is no such pair."""
    people = [roi for roi in rois if not is_automatic(roi)]
    programs = [roi for roi in rois if is_automatic(roi)]
    edited = [roi for roi in people if roi.source == EDITED]
    clinical = [roi for roi in people if roi.source == CLINICAL]
    found = paired(people, programs, alone=False) + paired(clinical, edited, alone=False)
    pairs = [
        pair
        for pair in found
        if pair.a is not None and pair.b is not None and pair.a.frame_uid == pair.b.frame_uid
    ]
    rows = []
    for number, pair in enumerate(pairs):
        task.progress(number, len(pairs), pair.name)
        grid = images.get(pair.a.frame_uid) if pair.a is not None else None
        rows.append(agreement_row(pair, grid, task.config, problems))
    if rows:
        ids = {"patient_id": task.course.patient_id, "course_id": task.course.course_id}
        frame = agreement_frame(rows, ids)
        frame.to_parquet(task.output / Path(AGREEMENT_FILE).name, index=False)


STAGE = Stage(
    name="structures",
    folder="structures",
    run=_run,
    inputs=_inputs,
    uses=("load", "segment"),
    parts=("images", "objects", "links"),
    sections=("structures", "output.rtstruct", "output.seg"),
    decisions=("names",),
    edited=True,
)
