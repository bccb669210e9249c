"""Stage `radiomics`: features of every structure on every image of the course, a row each.

`radiomics/features.parquet`. A structure without features has its row too, with the reason. Each
ROI's features are kept in `kept/radiomics/` as soon as they are there: a run that was cut off, or
that another structure or dose has called for, computes only what is missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from ..config import Config
from ..config.keys import RadiomicsKeys
from ..config.robustness import RobustnessKeys
from ..course import Course
from ..dicom.dose import read_dose
from ..dicom.structures import read_structure_set
from ..dicom.suv import suv_scale
from ..errors import DataError
from ..model import Contours, Mask, Volume
from ..radiomics.engine import RoiFeatures, check_features, engine_version
from ..radiomics.parameters import Parameters
from ..radiomics.roi import Roi
from . import DONE, FAILED, PARTIAL, SKIPPED, Need, Outcome, Problem, Stage, Task
from .automatic import STRUCTURE_KINDS
from .derive import read_shares
from .dose import COURSE, DOSE_FILE
from .facts import read_facts
from .feature_extraction import (
    DOSE,
    PRESETS,
    SUV,
    Extracted,
    extracted,
    parameters_for,
    processes,
)
from .feature_rows import ImageFacts, KeptFeatures, feature_row, features_frame
from .further import further_structures
from .load import IMAGE_FILE
from .naming import named_rois
from .nrrd import read_nrrd
from .perturbed_features import Measured, write_robustness
from .structures import STRUCTURES_FILE

FEATURES_FILE = "radiomics/features.parquet"
KEPT_FOLDER = "kept/radiomics"


@dataclass(frozen=True)
class _Source:
    """An image or a dose to measure: how to read it, and the frame of reference that it lies in."""

    facts: ImageFacts
    frame_uid: str
    read: Callable[[], Volume]


def _inputs(course: Course) -> Sequence[Path]:
    files = [course.path_of(entry) for kind in STRUCTURE_KINDS for entry in course.of_kind(kind)]
    pet = [image for image in course.images if image.modality == "PT"]
    return files + [path for image in pet for path in course.image_paths(image)]


def _run(task: Task) -> Outcome:
    if not task.config.radiomics.enabled:
        return Outcome(SKIPPED, "features are not asked for (radiomics.enabled)")
    problems: list[Problem] = []
    structures = _structures(task, problems)
    if not structures:
        reason = problems[0].message if problems else "the course has no structures to measure"
        return Outcome(FAILED if problems else SKIPPED, reason, tuple(problems))
    ids = {"patient_id": task.course.patient_id, "course_id": task.course.course_id}
    kept = KeptFeatures(task.folder / KEPT_FOLDER)
    rows: list[dict[str, object]] = []
    measured: list[Measured] = []
    for source in _sources(task):
        own = [roi for roi in structures if source.frame_uid in ("", roi.frame_uid)]
        if not own:
            text = f"{source.facts.name} lies in another frame of reference than all structures"
            problems.append(Problem(source.facts.name, "info", text))
            continue
        found = list(_measured(task, source, own, kept, problems))
        ones, facts = [one for one, _ in found], found[-1][1]
        measured.append(Measured(source.read, facts, ones, partial(_Keeper, kept)))
        for one, facts in found:
            rows.append(feature_row(one, facts, ids))
            if isinstance(one.result, str) and one.severity:
                text = f"{one.structure.name} on {facts.name}: {one.result}"
                problems.append(Problem(one.structure.name, one.severity, text))
    if not rows:
        return Outcome(SKIPPED, "no image or dose shares a frame of reference with structures")
    features_frame(rows).to_parquet(task.output / Path(FEATURES_FILE).name, index=False)
    problems += write_robustness(task, measured, ids)
    kept.forget_others()
    errors = [problem for problem in problems if problem.severity == "error"]
    return Outcome(
        PARTIAL if errors else DONE, errors[0].message if errors else "", tuple(problems)
    )


def _measured(
    task: Task,
    source: _Source,
    structures: Sequence[Contours | Mask],
    kept: KeptFeatures,
    problems: list[Problem],
) -> Iterator[tuple[Extracted, ImageFacts]]:
    """The features of structures on one image, each with what its row says of the image. An image
    that cannot be measured is one problem, and the reason in the row of every structure."""
    facts = source.facts
    try:
        volume = source.read()
        facts = replace(facts, unit=volume.unit, flags=(*facts.flags, *volume.flags))
        found = extracted(volume, structures, task.config, _Keeper(kept, volume))
        for number, one in enumerate(found, start=1):
            task.progress(number, len(structures), f"{facts.name}: {one.structure.name}")
            yield one, facts
    except DataError as error:
        path = getattr(error, "path", None) or ""
        problems.append(Problem(facts.name, "error", f"{facts.name}: {error}", path))
        for roi in structures:
            yield Extracted(roi, None, str(error), severity=""), facts


class _Keeper:
    """The kept features of one image."""

    def __init__(self, kept: KeptFeatures, volume: Volume) -> None:
        self.kept = kept
        array = np.ascontiguousarray(volume.array)
        digest = hashlib.sha256(str(volume.grid.corners_mm().tolist()).encode())
        digest.update(array.dtype.str.encode() + array.tobytes())
        self.image = digest.hexdigest()

    def read(self, roi: Roi, parameters: Parameters) -> RoiFeatures | None:
        """What an earlier attempt found for this ROI."""
        return self.kept.read(self._key(roi, parameters))

    def write(self, roi: Roi, parameters: Parameters, found: RoiFeatures) -> None:
        """Keep what was found for this ROI."""
        self.kept.write(self._key(roi, parameters), found)

    def _key(self, roi: Roi, parameters: Parameters) -> str:
        return self.kept.key(self.image, roi.inside, roi.box.low, parameters.sha256)


# -- what is measured -----------------------------------------------------------------------------


def _structures(task: Task, problems: list[Problem]) -> list[Contours | Mask]:
    """Structures of all sources that the configuration asks for, with their standard names."""
    found: list[Contours | Mask] = []
    for entry in task.course.of_kind("rtstruct"):
        try:
            content = read_structure_set(task.course.path_of(entry))
        except DataError as error:
            path = getattr(error, "path", None) or ""
            problems.append(Problem(entry.path, "error", str(error), path))
            continue
        found += named_rois(content, task.config, task.overrides.names)
    found += further_structures(task, problems)
    try:
        found += read_shares(task.folder, read_facts(task.folder, STRUCTURES_FILE))
    except DataError as error:
        problems.append(Problem("derived structures", "error", str(error)))
    keys = task.config.radiomics
    wanted, unwanted = _folded(keys.rois), _folded(keys.skip)
    names = [(roi, _folded((roi.name, roi.standard_name))) for roi in found]
    return [roi for roi, own in names if (not wanted or own & wanted) and not own & unwanted]


def _folded(names: Sequence[str]) -> set[str]:
    return {name.casefold() for name in names if name}


def _sources(task: Task) -> list[_Source]:
    entries = {image.key: image for image in task.course.images}
    found = []
    for volume in read_facts(task.folder, IMAGE_FILE).get("volumes") or ():
        flags = (*volume["flags"], *(("resampled",) if volume["resampled"] else ()))
        facts = ImageFacts(
            Path(volume["file"]).stem,
            volume["modality"],
            volume["unit"],
            volume["series_uid"],
            tuple(flags),
        )
        paths = task.course.image_paths(entries[volume["key"]])
        found.append(
            _Source(facts, volume["frame_uid"], _reader(task.folder / volume["file"], facts, paths))
        )
    if task.config.radiomics.dose:
        for source in read_facts(task.folder, DOSE_FILE).get("sources") or ():
            facts = ImageFacts(f"dose:{source['name']}", DOSE, "Gy", "", tuple(source["flags"]))
            root = task.folder if source["record_in"] == COURSE else Path(task.course.dicom_root)
            found.append(_Source(facts, source["frame_uid"], _dose_reader(root / source["record"])))
    return found


def _reader(path: Path, facts: ImageFacts, slices: Sequence[Path]) -> Callable[[], Volume]:
    def read() -> Volume:
        try:
            array, grid = read_nrrd(path)
        except RuntimeError as error:
            raise DataError(f"{path} cannot be read; run with --force to make it anew") from error
        if facts.modality != "PT":
            return Volume(array, grid, facts.modality, facts.unit)
        scale = suv_scale(slices)
        values = array.astype(np.float64) * scale.factor
        note = (f"suv-factor:{scale.factor:.6g} ({scale.evidence.replace(';', ',')})",)
        return Volume(values.astype(np.float32), grid, "PT", SUV, flags=note)

    return read


def _dose_reader(path: Path) -> Callable[[], Volume]:
    def read() -> Volume:
        dose = read_dose(path)
        return Volume(dose.array_gy, dose.grid, DOSE, "Gy")

    return read


# -- the stage ------------------------------------------------------------------------------------


def _check(config: Config) -> None:
    """Raise `UsageError` when pyradiomics is missing or a parameter file asks for what it lacks."""
    if config.radiomics.enabled:
        engine_version()
        for modality in PRESETS:
            check_features(parameters_for(modality, config))


def _need(config: Config) -> Need:
    if not config.radiomics.enabled:
        return Need()
    return Need(processes(), 0.5 + 1.0 * processes())


def _limit_s(config: Config) -> float:
    """Every ROI has its own limit; this ends what nobody watches: a hundred of them, all slow."""
    if not config.radiomics.enabled:
        return config.run.timeout_s
    return config.run.timeout_s + 100 * config.radiomics.timeout_s


# All keys of radiomics but the one that only the cohort's tables heed.
_KEYS = (
    *(f"radiomics.{key}" for key in RadiomicsKeys.model_fields if key != "robustness"),
    *(f"radiomics.robustness.{key}" for key in RobustnessKeys.model_fields if key != "rescans"),
)

STAGE = Stage(
    name="radiomics",
    folder="radiomics",
    run=_run,
    inputs=_inputs,
    needs=("load",),
    uses=("segment", "structures", "dose"),
    parts=("images", "objects", "links"),
    sections=(*_KEYS, "structures"),
    decisions=("names", "dose"),
    edited=True,
    need=_need,
    limit_s=_limit_s,
    check=_check,
)
