"""Two structure sets compared, structure by structure."""

from __future__ import annotations

import logging
import math
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from ..config import Config, load_config
from ..dicom.dose import read_dose
from ..dicom.image import read_series
from ..dicom.structures import read_structure_set
from ..errors import DataError, GeometryError, UsageError
from ..geometry import Grid
from ..model import Contours, Prescription
from ..platform import atomic_path
from ..stages import Problem
from ..stages.agreement import Pair, agreement_frame, agreement_row, metric_differences, paired
from ..stages.evaluation import evaluate
from ..stages.isodoses import DoseSource
from ..stages.naming import named_rois

log = logging.getLogger(__name__)

ALL_DONE, SOME_FAILED = 0, 3


@dataclass(frozen=True)
class CompareRequest:
    """What `rtpipeline compare` was asked for."""

    a: Path
    b: Path
    output: Path | None = None
    image: Path | None = None
    rtdose: Path | None = None
    tolerance_mm: float | None = None
    config_path: Path | None = None


def compare_files(request: CompareRequest) -> int:
    """Compare every structure that both sets have; those that only one has stand in the table too.

    Writes a CSV to `output`, else to stdout; returns the exit status. Raises `UsageError` for wrong
    arguments, `DataError` for files that cannot be read.
    """
    config = _config(request)
    for path in filter(None, (request.a, request.b, request.rtdose)):
        if not path.is_file():
            raise UsageError(f"{path} is not a file")
    first, second = (named_rois(read_structure_set(p), config) for p in (request.a, request.b))
    pairs = paired(first, second)
    if not any(pair.a and pair.b for pair in pairs):
        log.warning(
            "no structure of %s has the name of one of %s; map them by structures.names in the "
            "configuration",
            request.a,
            request.b,
        )
    grid, frame_uid = _image(request.image)
    problems: list[Problem] = []
    rows = []
    for pair in pairs:
        _check_frame(pair, frame_uid, request)
        rows.append(agreement_row(pair, grid, config, problems))
    if request.rtdose is not None:
        dose = DoseSource(request.rtdose.name, read_dose(request.rtdose), Prescription())
        for pair, row in zip(pairs, rows, strict=True):
            row |= _dose_difference(pair, dose, config, problems)
    frame = agreement_frame(rows, {})
    frame = frame.drop(columns=[c for c in ("patient_id", "course_id") if c in frame])
    with atomic_path(request.output) if request.output else nullcontext(sys.stdout) as target:
        frame.to_csv(target, index=False)
    for problem in problems:
        log.error("%s", problem.message)
    return SOME_FAILED if problems else ALL_DONE


def _config(request: CompareRequest) -> Config:
    config = load_config(request.config_path)
    tolerance = request.tolerance_mm
    if tolerance is None:
        return config
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise UsageError(f"--tolerance must be a distance in mm, found {tolerance}")
    structures = config.structures.model_copy(update={"tolerance_mm": tolerance})
    return config.model_copy(update={"structures": structures})


def _image(folder: Path | None) -> tuple[Grid | None, str]:
    if folder is None:
        return None, ""
    if not folder.is_dir():
        raise UsageError(f"--image: {folder} is not a folder; give that of one image series")
    volume = read_series(sorted(path for path in folder.iterdir() if path.is_file()))
    return volume.grid, volume.frame_uid


def _check_frame(pair: Pair, frame_uid: str, request: CompareRequest) -> None:
    for roi in (pair.a, pair.b):
        if roi is not None and frame_uid and roi.frame_uid not in ("", frame_uid):
            raise GeometryError(
                f"{roi.name} was not drawn in the frame of reference of the image in "
                f"{request.image}; give the image of the structure sets, or none"
            )


def _dose_difference(
    pair: Pair, dose: DoseSource, config: Config, problems: list[Problem]
) -> dict[str, object]:
    """Columns of one pair: every DVH metric of A minus that of B."""
    sides = [roi for roi in (pair.a, pair.b) if isinstance(roi, Contours)]
    if len(sides) < 2:
        return {}
    try:
        results = evaluate(sides, dose, config)
    except DataError as error:
        problems.append(Problem(pair.name, "error", f"{pair.name}: {error}"))
        return {}
    problems += [result.problem for result in results if result.problem is not None]
    return {"dose_source": dose.name, **metric_differences(results[0].row, results[1].row)}
