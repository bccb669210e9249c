"""Stage `dvh`: every structure under every dose of the course, a row each.

`dvh/metrics.parquet` and `dvh/curves.parquet`; `dvh/goals.parquet` when there are goals;
`dvh/tps.parquet` and `dvh/tps_curves.parquet` when the planning system stored DVHs in a dose;
`dvh/crosscheck.parquet` when other programs are asked. A structure that cannot be computed has its
row too, with empty metrics and the reason in `flags`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Config
from ..course import REFERENCED, Course, ObjectEntry
from ..dicom.dose import read_dose
from ..dicom.structures import read_structure_set
from ..dose.prescription import level_for
from ..dose.registered import REGISTERED
from ..dvh.engine import DvhOptions, compute_dvh
from ..dvh.metrics import (
    IsodoseVolumes,
    MetricSettings,
    isodose_volumes,
    metric_columns,
    metric_row,
)
from ..dvh.uncertainty import Band
from ..errors import DataError
from ..model import CLOSED_TYPES, DVH, Contours, Dose, ImagePlanes, Prescription
from ..platform import write_json
from . import DONE, FAILED, PARTIAL, SKIPPED, Outcome, Problem, Stage, Task
from .bands import Bands, with_band
from .comparisons import (
    Comparison,
    beside_planning_system,
    beside_programs,
    comparison_frame,
    stored_curves_frame,
)
from .dose import COURSE, DOSE_FILE
from .eqd2 import with_eqd2
from .facts import prescription_from, read_facts
from .goal_rows import goals_frame
from .load import IMAGE_FILE
from .nrrd import grid_from_dict

if TYPE_CHECKING:
    import pandas

log = logging.getLogger(__name__)

METRICS_FILE = "dvh/metrics.parquet"
CURVES_FILE = "dvh/curves.parquet"
STRUCTURES_FILE = "dvh/structures.json"
GOALS_FILE = "dvh/goals.parquet"
TPS_FILE = "dvh/tps.parquet"
TPS_CURVES_FILE = "dvh/tps_curves.parquet"
CROSSCHECK_FILE = "dvh/crosscheck.parquet"
CURVE_STEP_GY = 0.01


@dataclass(frozen=True)
class DoseSource:
    """One dose as it stands in the tables: its name, its grid and the prescription that goes with
    it."""

    name: str
    dose: Dose
    prescription: Prescription
    plan_uids: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evaluated:
    """One structure under one dose: its row, its DVH and the band around it (None when there is
    none) and what went wrong."""

    roi: Contours
    row: dict[str, object]
    dvh: DVH | None
    problem: Problem | None = None
    band: Band | None = None


def _inputs(course: Course) -> Sequence[Path]:
    entries = [e for kind in ("rtstruct", "rtdose", "reg") for e in course.of_kind(kind)]
    return [course.path_of(entry) for entry in entries]


def _run(task: Task) -> Outcome:
    facts = read_facts(task.folder, DOSE_FILE)
    if not facts.get("sources"):
        return Outcome(SKIPPED, "the course has no dose that could be used")
    if not task.course.of_kind("rtstruct"):
        return Outcome(SKIPPED, "the course has no structure set")
    planes = _image_planes(task)
    results: list[Evaluated] = []
    problems: list[Problem] = []
    stored, checked = Comparison(), Comparison()
    for number, entry in enumerate(facts["sources"]):
        task.progress(number, len(facts["sources"]), entry["name"])
        try:
            source = _load_source(task, entry)
            structures = _structures_for(task.course, entry, planes, problems)
        except DataError as error:
            path = getattr(error, "path", None) or ""
            problems.append(Problem(entry["name"], "error", str(error), path))
            continue
        here = evaluate(structures, source, task.config, task.overrides.names)
        if task.config.dose.eqd2.enabled:
            here = with_eqd2(task, entry, here, options_of(task.config), problems)
        rx = source.prescription.course
        path = _record_path(task, entry)
        here = beside_planning_system(here, path, rx.dose_gy if rx else None, stored)
        results += beside_programs(task.config.dvh.crosscheck, task.course, here, path, checked)
    if not results:
        reason = problems[0].message if problems else "no structure set could be read"
        return Outcome(FAILED, reason, tuple(problems))
    problems += [result.problem for result in results if result.problem is not None]
    problems += checked.problems
    _write(task, results, stored, checked)
    errors = [problem for problem in problems if problem.severity == "error"]
    status = PARTIAL if errors else DONE
    return Outcome(status, errors[0].message if errors else "", tuple(problems))


def _write(
    task: Task, results: Sequence[Evaluated], stored: Comparison, checked: Comparison
) -> None:
    """All tables of the stage."""
    ids = {"patient_id": task.course.patient_id, "course_id": task.course.course_id}
    metrics_frame(results, ids).to_parquet(task.output / "metrics.parquet", index=False)
    curves_frame(results, ids).to_parquet(task.output / "curves.parquet", index=False)
    write_json(task.output / "structures.json", [_appearance(result.roi) for result in results])
    tables = {}
    if task.config.dvh.goals is not None:
        tables[GOALS_FILE] = goals_frame(task.config.dvh.goals, results, ids)
    if stored.rows:
        tables[TPS_FILE] = comparison_frame(stored.rows, ids, "dvh_tps")
    if stored.curves:
        tables[TPS_CURVES_FILE] = stored_curves_frame(stored.curves, ids, CURVE_STEP_GY)
    if checked.rows:
        tables[CROSSCHECK_FILE] = comparison_frame(checked.rows, ids, "dvh_crosscheck")
    for name, frame in tables.items():
        frame.to_parquet(task.output / Path(name).name, index=False)


def _appearance(roi: Contours) -> dict[str, object]:
    """How a structure is shown wherever its curve is drawn."""
    return {
        "structure_set_uid": roi.structure_set_uid,
        "roi_number": roi.number,
        "roi_name": roi.name,
        "source": roi.source,
        "colour_rgb": roi.colour_rgb,
        "interpreted_type": roi.interpreted_type,
    }


# -- structures under one dose --------------------------------------------------------------------


def evaluate(
    structures: Iterable[Contours],
    source: DoseSource,
    config: Config,
    names: Mapping[str, str] | None = None,
) -> list[Evaluated]:
    """Row and DVH of every structure under one dose; none can stop the others.

    `names` gives ROIs the standard name that a person decided on.
    """
    options = options_of(config)
    structures = list(structures)
    isodoses = Isodoses(structures, source)
    bands = Bands(isodoses, options, config) if config.dvh.uncertainty.enabled else None
    results = [_evaluate(roi, source, config, options, isodoses, bands) for roi in structures]
    for result in results:
        result.row["roi_standard_name"] = (names or {}).get(result.roi.name, "")
    return results


def options_of(config: Config) -> DvhOptions:
    """How DVHs are calculated, as the configuration has it."""
    return DvhOptions(
        end_caps=config.structures.end_caps,
        between_planes=config.structures.between_planes,
        outside_dose=config.dose.outside_dose,
    )


class Isodoses:
    """Isodose volumes of one dose for the indices of its targets, calculated when first asked
    for."""

    def __init__(self, structures: Sequence[Contours], source: DoseSource) -> None:
        self.source = source
        self.structures = structures
        self.externals = [s for s in structures if s.interpreted_type.upper() == "EXTERNAL"]
        levels = [self.level_of(s) for s in structures if s.is_target and len(s)]
        self.shared = {gy for gy in levels if levels.count(gy) > 1}
        self._volumes: dict[str, IsodoseVolumes | None] = {}

    def under(self, dose: Dose) -> Isodoses:
        """Those of another dose; the same when they cannot differ: without an External, shifting a
        dose changes none of its isodose volumes."""
        same = dose if self.externals else dose.array_gy
        if same is (self.source.dose if self.externals else self.source.dose.array_gy):
            return self
        return Isodoses(self.structures, replace(self.source, dose=dose))

    def level_of(self, roi: Contours) -> float | None:
        """The prescribed dose that the structure's relative metrics refer to."""
        level, _ = level_for(roi.name, roi.number, roi.is_target, self.source.prescription)
        return level.dose_gy if level else None

    def of(self, roi: Contours) -> IsodoseVolumes | None:
        """Isodose volumes inside the External of the target's structure set; None for no target."""
        if not roi.is_target or self.level_of(roi) is None:
            return None
        key = roi.structure_set_uid
        if key not in self._volumes:
            own = [external for external in self.externals if external.structure_set_uid == key]
            self._volumes[key] = isodose_volumes(self.source.dose, own[0] if own else None)
        return self._volumes[key]


def _evaluate(
    roi: Contours,
    source: DoseSource,
    config: Config,
    options: DvhOptions,
    isodoses: Isodoses,
    bands: Bands | None,
) -> Evaluated:
    level, rx_flag = level_for(roi.name, roi.number, roi.is_target, source.prescription)
    rx_gy = level.dose_gy if level else None
    row: dict[str, object] = {
        "source": roi.source,
        "roi_number": roi.number,
        "roi_name": roi.name,
        "roi_standard_name": "",
        "volume_cc": None,
        "dose_coverage_percent": None,
        "rx_gy": rx_gy,
        "rx_level": level.name if level else "",
        "rx_source": level.source if level else "none",
        "dose_source": source.name,
    }
    flags = [*roi.flags, *source.flags, *source.prescription.flags, rx_flag]
    if len(roi) and not CLOSED_TYPES.intersection(roi.kinds):
        flags.append("no-closed-contour")
    problem = None
    dvh = None
    around = None
    metrics: dict[str, float | None] = dict.fromkeys(metric_columns(_settings(roi, config)))
    try:
        dvh = compute_dvh(roi, source.dose, options)
        metrics = metric_row(dvh, _settings(roi, config), rx_gy=rx_gy, isodoses=isodoses.of(roi))
        around = bands.around(roi, dvh, metrics, _settings(roi, config)) if bands else None
    except DataError as error:
        flags.append("no-dvh")
        problem = Problem(roi.name, "error", f"{roi.name}: {error}")
    except Exception as error:  # the boundary: an unforeseen shape costs one structure
        log.exception("structure %s under %s", roi.name, source.name)
        flags.append("internal-error")
        message = f"{roi.name}: internal error {type(error).__name__}: {error}; please report it"
        problem = Problem(roi.name, "error", message)
    if dvh is not None:
        row["volume_cc"] = dvh.volume_cc or None  # nothing drawn is not a volume of 0
        row["dose_coverage_percent"] = dvh.dose_coverage_percent
        flags += dvh.flags
        if roi.is_target and rx_gy in isodoses.shared and rx_gy is not None:
            flags.append("isodose-shared-by-targets")
        if roi.is_target and rx_gy and metrics["Dmean_Gy"] and metrics["CI_RTOG"] is None:
            flags.append("isodose-reaches-grid-edge")
    row |= metrics
    if around is not None:
        row |= {f"{name}_low": value for name, value in around.low.items()}
        row |= {f"{name}_high": value for name, value in around.high.items()}
        flags += around.flags
    row["flags"] = ";".join(dict.fromkeys(flag for flag in flags if flag))
    row["dose_uids"] = ";".join(source.dose.sop_uids)
    row["structure_set_uid"] = roi.structure_set_uid
    row["plan_uids"] = ";".join(source.plan_uids)
    return Evaluated(roi, row, dvh, problem, around)


def _settings(roi: Contours, config: Config) -> MetricSettings:
    return MetricSettings(
        dose_levels_gy=config.dvh.dose_levels_gy,
        dose_levels_percent=config.dvh.dose_levels_percent,
        metrics=config.dvh.metrics,
        geud_a=config.dvh.geud_a.get(roi.name),
    )


def metrics_frame(results: Sequence[Evaluated], ids: dict[str, str]) -> pandas.DataFrame:
    """All rows, in the column order of the contract."""
    from ..report.tables import rows_frame

    frame = rows_frame([{**ids, **result.row} for result in results], "dvh_metrics")
    unknown = [name for name in frame if frame[name].isna().all()]  # numbers that no row has
    return frame.astype(dict.fromkeys(unknown, float))


def curves_frame(results: Sequence[Evaluated], ids: dict[str, str]) -> pandas.DataFrame:
    """Cumulative curves of all structures that have one, 0.01 Gy a row."""
    import pandas

    keys = ("source", "roi_number", "roi_name", "dose_source", "structure_set_uid")
    frames = []
    for result in results:
        if result.dvh is None or not result.dvh.volume_cc > 0:
            continue
        curve = result.dvh.curve(CURVE_STEP_GY)
        columns = {**ids, **{key: result.row[key] for key in keys}, **curve._asdict()}
        if result.band is not None:
            columns |= with_band(curve, result.band)
        frames.append(pandas.DataFrame(columns))
    if not frames:
        names = [*ids, *keys, "dose_gy", "volume_cc", "volume_percent"]
        return pandas.DataFrame(columns=names)
    return pandas.concat(frames, ignore_index=True)


# -- facts of the course --------------------------------------------------------------------------


def _record_path(task: Task, entry: dict) -> Path:
    """The RTDOSE that holds the exact numbers of a source."""
    folder = task.folder if entry["record_in"] == COURSE else Path(task.course.dicom_root)
    return folder / entry["record"]


def _load_source(task: Task, entry: dict) -> DoseSource:
    return DoseSource(
        entry["name"],
        read_dose(_record_path(task, entry)),
        prescription_from(entry),
        tuple(entry["plan_uids"]),
        tuple(entry["flags"]),
    )


def _structures_for(
    course: Course, entry: dict, planes: dict[str, ImagePlanes], problems: list[Problem]
) -> list[Contours]:
    """The structure sets that belong to a dose: those its plans or itself refer to."""
    found: list[Contours] = []
    for structure_set, how in _sets_for(course, entry):
        try:
            rois = read_structure_set(course.path_of(structure_set)).rois
        except DataError as error:
            path = getattr(error, "path", None) or ""
            problems.append(Problem(structure_set.path, "error", str(error), path))
            continue
        mark = () if how == REFERENCED else (f"structure-set-by-{how}",)
        if REGISTERED in entry["flags"]:
            rois = _of_frame(rois, entry, structure_set, problems)
        for roi in rois:
            flags = (*roi.flags, *mark)
            found.append(replace(roi, flags=flags, image_planes=planes.get(roi.frame_uid)))
    return found


def _of_frame(
    rois: Sequence[Contours], entry: dict, structure_set: ObjectEntry, problems: list[Problem]
) -> list[Contours]:
    """The ROIs in the frame of reference of a sum over frames."""
    own = [roi for roi in rois if roi.frame_uid in ("", entry["frame_uid"])]
    if len(own) < len(rois):
        message = (
            f"{len(rois) - len(own)} structures lie in another frame of reference than "
            f"{entry['name']} and are reported under the doses of their own plan"
        )
        problems.append(Problem(entry["name"], "warning", message, structure_set.path))
    return own


def _sets_for(course: Course, entry: dict) -> list[tuple[ObjectEntry, str]]:
    """Structure sets of a dose, each once, with how the link was made."""
    sources = [*entry["plan_uids"], *(part["sop_uid"] for part in entry["doses"])]
    found: dict[str, tuple[ObjectEntry, str]] = {}
    for uid in sources:
        for structure_set, how in course.targets_of(uid, "rtstruct"):
            found.setdefault(structure_set.sop_uid, (structure_set, how))
        if found and uid in entry["plan_uids"][-1:]:
            break  # the plans name their structure sets; the doses' own links add nothing
    if not found:
        sets = [s for s in course.of_kind("rtstruct") if s.frame_uid == entry["frame_uid"]]
        found = {s.sop_uid: (s, "frame-of-reference") for s in sets}
    return list(found.values())


def _image_planes(task: Task) -> dict[str, ImagePlanes]:
    """Slices of the planning image by its frame of reference."""
    volumes = read_facts(task.folder, IMAGE_FILE).get("volumes") or ()
    return {
        volume["frame_uid"]: ImagePlanes.from_grid(grid_from_dict(volume["grid"]))
        for volume in volumes
        if volume["role"] == "planning"
    }


STAGE = Stage(
    name="dvh",
    folder="dvh",
    run=_run,
    inputs=_inputs,
    needs=("dose",),
    uses=("load",),
    parts=("objects", "links"),
    sections=("dose", "structures", "dvh"),
    decisions=("names", "dose"),
    version=2,
)
