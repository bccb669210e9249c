"""DVHs of loose files: one structure set, one or more doses, plans if there are any."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from ..config import Config, load_config
from ..dicom.dataset import read_dataset
from ..dicom.dose import read_dose
from ..dicom.headers import RTPLAN, kind_of, summarise
from ..dicom.structures import read_structure_set
from ..dose.facts import PlanFacts
from ..dose.prescription import prescription_of
from ..errors import DataError, UsageError
from ..model import Contours, Dose
from ..platform import atomic_path
from ..stages.bands import BAND_COLUMNS
from ..stages.dvh_tables import curves_frame, metrics_frame
from ..stages.evaluation import Evaluated, evaluate
from ..stages.isodoses import DoseSource
from ..stages.naming import named_rois

log = logging.getLogger(__name__)

ALL_DONE, SOME_FAILED = 0, 3


@dataclass(frozen=True)
class LooseFiles:
    """The files of one calculation."""

    rtstruct: Path
    rtdoses: tuple[Path, ...]
    rtplans: tuple[Path, ...] = ()


def dvh_of_files(
    files: LooseFiles,
    *,
    config_path: Path | None,
    names: Sequence[str],
    output: Path | None,
    curves: Path | None,
) -> int:
    """Each dose is evaluated alone; several doses are added by `rtpipeline sum-dose` first.

    Writes the metrics to `output` (else to stdout) and the curves to `curves`; returns the exit
    status. Raises `UsageError` for files that are not there and names that are no ROI.
    """
    for path in (files.rtstruct, *files.rtdoses, *files.rtplans):
        if not path.is_file():
            raise UsageError(f"{path} is not a file")
    config = load_config(config_path)
    structure_set = read_structure_set(files.rtstruct)
    rois = _chosen(named_rois(structure_set, config), names, files.rtstruct)
    plans = [_plan(path) for path in files.rtplans]
    results: list[Evaluated] = []
    failed = False
    for path in files.rtdoses:
        try:
            source = _source(path, plans, rois, config)
        except DataError as error:
            log.error("%s", error)
            failed = True
            continue
        here = evaluate(rois, source, config)
        results += here
        failed |= _say_what_failed(here, files.rtstruct, path, source.dose)
    if not results:
        return SOME_FAILED
    ids = {"patient_id": "", "course_id": ""}
    metrics = metrics_frame(results, ids)
    with atomic_path(output) if output else nullcontext(sys.stdout) as target:
        metrics.to_csv(target, index=False)
    if curves is not None:
        columns = ["roi_name", "dose_gy", "volume_cc", "volume_percent"]
        if len(files.rtdoses) > 1:
            columns.append("dose_source")
        frame = curves_frame(results, ids)
        columns += [name for name in BAND_COLUMNS if name in frame]
        with atomic_path(curves) as target:
            frame[columns].to_csv(target, index=False)
    return SOME_FAILED if failed else ALL_DONE


def _say_what_failed(
    results: Sequence[Evaluated], rtstruct: Path, rtdose: Path, dose: Dose
) -> bool:
    """Log why structures have no numbers, one reason that all share once; True when any has one."""
    problems = [result.problem for result in results if result.problem is not None]
    frames = {result.roi.frame_uid for result in results if result.problem is not None}
    if len(problems) > 1 and dose.frame_uid and not frames & {"", dose.frame_uid}:
        log.error(
            "%s: %d structures lie in another frame of reference than %s and have no DVH; give the "
            "dose of their plan, or register it first (rtpipeline sum-dose --registration)",
            *(rtstruct, len(problems), rtdose),
        )
        return True
    for problem in problems:
        log.error("%s", problem.message)
    return bool(problems)


def _chosen(rois: Sequence[Contours], names: Sequence[str], path: Path) -> list[Contours]:
    if not rois:
        raise DataError(f"{path} has no ROI; export the structure set again")
    known = [roi.name for roi in rois]
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise UsageError(f"--roi: {path} has no ROI {name!r}; {hint}")
    return [roi for roi in rois if not names or roi.name in names]


def _plan(path: Path) -> PlanFacts:
    dataset = read_dataset(path)
    kind = kind_of(str(dataset.get("SOPClassUID", "")), str(dataset.get("Modality", "")))
    if kind != RTPLAN:
        raise UsageError(f"--rtplan: {path} is no RT Plan but {kind}; give the plan of the dose")
    return PlanFacts.from_summary(str(dataset.get("SOPInstanceUID", "")), summarise(dataset))


def _source(
    path: Path, plans: Sequence[PlanFacts], rois: Sequence[Contours], config: Config
) -> DoseSource:
    """One dose with the plan that it refers to; a single plan is taken for a dose that names
    none."""
    dose: Dose = read_dose(path)
    own = [plan for plan in plans if plan.uid in dose.plan_uids]
    if not own and not dose.plan_uids and len(plans) == 1:
        own = list(plans)
    flags: tuple[str, ...] = dose.flags
    if plans and not own:
        flags = (*flags, "plan-not-referenced-by-dose")
    prescription = prescription_of(own, rois, from_name=config.prescription.from_name)
    label = own[0].label if own else ""
    name = f"plan:{label}" if label else path.name
    return DoseSource(name, dose, prescription, tuple(plan.uid for plan in own), flags)
