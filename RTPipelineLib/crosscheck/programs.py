"""DVHs by dicompyler-core and plastimatch from the same DICOM files.

Each runs in a process of its own with a time limit; what it prints or breaks stays there.
"""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import StageError
from ..model import DVH, Contours
from ..platform import kill_tree, start_process

DICOMPYLER, PLASTIMATCH = "dicompyler", "plastimatch"
TIME_LIMIT_S = 1200.0
BIN_GY = {DICOMPYLER: 0.01, PLASTIMATCH: 0.02}
_BINS = 10_000  # of plastimatch: to 200 Gy
_CELL_MM = 1.0  # in the plane on which plastimatch draws
_MOST_CELLS = 60_000_000
_SAID = 300  # characters of a program's last words in a message


@dataclass(frozen=True)
class Calculation:
    """What another program found: curves by ROI number, and why there is none for others."""

    program: str
    version: str
    curves: Mapping[int, DVH]
    errors: Mapping[int, str]


def calculate(
    program: str,
    rtstruct: Path,
    rtdose: Path,
    structures: Sequence[Contours],
    *,
    timeout_s: float = TIME_LIMIT_S,
) -> Calculation:
    """All structures of `rtstruct` (given as `structures` too) under `rtdose` by one program.

    Raises `StageError` when the program is not installed, fails or takes too long.
    """
    run = _dicompyler if program == DICOMPYLER else _plastimatch
    with tempfile.TemporaryDirectory(prefix="rtpipeline-") as folder:
        return run(rtstruct, rtdose, structures, Path(folder), timeout_s)


def is_installed(program: str) -> bool:
    """True when `calculate` can run this program here."""
    if program == DICOMPYLER:
        return importlib.util.find_spec("dicompylercore") is not None
    return _plastimatch_path() is not None


def _missing(program: str) -> StageError:
    elsewhere = ""
    if program == PLASTIMATCH:
        elsewhere = " (on machines other than x86-64 Linux and Windows: a plastimatch on the PATH)"
    return StageError(
        f"dvh.crosscheck asks for {program}, which is not installed: install the extra crosscheck "
        "(pip install 'slicer-rtpipeline[crosscheck]') and run the stage dvh again with --force, "
        f"or take {program} out of dvh.crosscheck{elsewhere}"
    )


# -- dicompyler-core ------------------------------------------------------------------------------


def _dicompyler(
    rtstruct: Path, rtdose: Path, structures: Sequence[Contours], folder: Path, timeout_s: float
) -> Calculation:
    if not is_installed(DICOMPYLER):
        raise _missing(DICOMPYLER)
    script = Path(__file__).with_name("dicompyler_child.py")
    output = folder / "dvh.json"
    _call(DICOMPYLER, [sys.executable, script, rtstruct, rtdose, output], folder, timeout_s)
    found = json.loads(output.read_text(encoding="utf-8"))
    curves, errors = {}, {}
    for number, roi in found["rois"].items():
        if "error" in roi:
            errors[int(number)] = str(roi["error"])
            continue
        dose, at_least = np.array(roi["dose_gy"]), np.array(roi["at_least_cc"])
        curve = _curve(number, dose[: len(at_least)], at_least)
        if curve is None:
            errors[int(number)] = "dicompyler found no volume"
        else:
            curves[int(number)] = curve
    return Calculation(DICOMPYLER, str(found["version"]), curves, errors)


# -- plastimatch ----------------------------------------------------------------------------------


def _plastimatch_path() -> str | None:
    """The program beside our interpreter, else on the search path."""
    beside = Path(sys.executable).parent
    return shutil.which("plastimatch", path=str(beside)) or shutil.which("plastimatch")


def _plastimatch(
    rtstruct: Path, rtdose: Path, structures: Sequence[Contours], folder: Path, timeout_s: float
) -> Calculation:
    """plastimatch draws the structures on an image; as there need not be one, it gets an empty one
    whose slices are the contours' planes."""
    program = _plastimatch_path()
    if program is None:
        raise _missing(PLASTIMATCH)
    study = folder / "study"
    study.mkdir()
    for name, path in (("rs.dcm", rtstruct), ("rd.dcm", rtdose)):
        shutil.copy(path, study / name)
    voxel_cc = _write_empty_image(folder / "image.nrrd", structures)
    version = _call(PLASTIMATCH, [program, "--version"], folder, timeout_s).split()
    convert = [program, "convert", "--input", study, "--fixed", folder / "image.nrrd"]
    convert += ["--output-ss-img", folder / "ss.nrrd", "--output-ss-list", folder / "ss.txt"]
    _call(PLASTIMATCH, [*convert, "--output-dose-img", folder / "dose.nrrd"], folder, timeout_s)
    draw = [program, "dvh", "--input-ss-img", folder / "ss.nrrd"]
    draw += ["--input-ss-list", folder / "ss.txt", "--input-dose", folder / "dose.nrrd"]
    draw += ["--output-csv", folder / "dvh.csv", "--cumulative", "--normalization", "vox"]
    draw += ["--bin-width", str(BIN_GY[PLASTIMATCH]), "--num-bins", str(_BINS)]
    _call(PLASTIMATCH, draw, folder, timeout_s)
    curves, errors = _read_plastimatch(folder / "dvh.csv", voxel_cc, structures)
    return Calculation(PLASTIMATCH, version[-1] if version else "", curves, errors)


def _write_empty_image(path: Path, structures: Sequence[Contours]) -> float:
    """An NRRD of zeros around all contours, a slice at every plane; returns its voxels' cc."""
    points = np.concatenate([s.points_mm for s in structures if len(s)] or [np.zeros((0, 3))])
    if not len(points) or not np.isfinite(points).all():
        raise StageError("plastimatch needs contours with finite coordinates, and there are none")
    planes = np.unique(np.round(points[:, 2], 2))
    steps = np.diff(planes)
    dz = float(np.median(steps[steps > 0.1])) if (steps > 0.1).any() else 1.0
    low, high = points.min(axis=0) - 5 * _CELL_MM, points.max(axis=0) + 5 * _CELL_MM
    slices = round((planes[-1] - planes[0]) / dz) + 3
    area = float((high[0] - low[0]) * (high[1] - low[1]))
    cell = max(_CELL_MM, math.sqrt(area * slices / _MOST_CELLS))
    columns, rows = (math.ceil((high[a] - low[a]) / cell) + 1 for a in (0, 1))
    header = [
        "NRRD0004",
        "type: short",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {columns} {rows} {slices}",
        f"space directions: ({cell},0,0) (0,{cell},0) (0,0,{dz})",
        "endian: little",
        "encoding: raw",
        f"space origin: ({low[0]},{low[1]},{planes[0] - dz})",
    ]
    with path.open("wb") as file:
        file.write("\n".join([*header, "", ""]).encode())
        slice_bytes = bytes(2 * columns * rows)
        for _ in range(slices):
            file.write(slice_bytes)
    return cell * cell * dz / 1000


def _read_plastimatch(
    path: Path, voxel_cc: float, structures: Sequence[Contours]
) -> tuple[dict[int, DVH], dict[int, str]]:
    """The table's columns are named after the ROIs, commas taken out; ROIs that share a name are
    left out."""
    lines = [line.split(",") for line in path.read_text("utf-8", "replace").splitlines() if line]
    top = next((n for n, row in enumerate(lines) if row[0].startswith("Dose")), None)
    if top is None:
        raise StageError("plastimatch wrote no table of DVHs")
    names = [name.strip() for name in lines[top][1:] if name.strip()]
    values = np.array([[float(v) for v in row[: len(names) + 1]] for row in lines[top + 1 :]])
    curves, errors = {}, {}
    for structure in structures:
        name = structure.name.replace(",", "").strip()
        places = [n for n, other in enumerate(names, start=1) if other == name]
        if len(places) != 1:
            what = "has no curve of" if not places else "has several structures named"
            errors[structure.number] = f"plastimatch {what} {structure.name!r}"
            continue
        curve = _curve(name, values[:, 0], values[:, places[0]] * voxel_cc)
        if curve is None:
            errors[structure.number] = "plastimatch found no volume"
        else:
            curves[structure.number] = curve
    return curves, errors


# -- shared ---------------------------------------------------------------------------------------


def _curve(name: str, dose_gy: np.ndarray, at_least_cc: np.ndarray) -> DVH | None:
    """A cumulative histogram (volume at each bin's lower edge) as a DVH."""
    if not at_least_cc.size or not at_least_cc[0] > 0:
        return None
    width = float(dose_gy[1] - dose_gy[0]) if len(dose_gy) > 1 else 0.0
    dose = np.append(dose_gy, dose_gy[-1] + width)
    at_least = np.append(np.minimum.accumulate(at_least_cc), 0.0)
    part = -np.diff(at_least)
    middle = (dose[1:] + dose[:-1]) / 2
    total = float(at_least[0])
    mean = float(part @ middle) / total
    filled = np.flatnonzero(part > 0)
    return DVH(
        name,
        total,
        total,
        dose,
        at_least,
        mean,
        math.sqrt(float(part @ (middle - mean) ** 2) / total),
        float(dose[filled[0]]),
        float(dose[filled[-1] + 1]),
    )


def _call(program: str, arguments: Sequence[str | Path], folder: Path, timeout_s: float) -> str:
    """Run a program to its end; its standard output. Raises `StageError` when it does not work."""
    printed = folder / "printed.txt"
    with printed.open("wb") as output:
        try:
            child = start_process(arguments, stdout=output, stderr=subprocess.STDOUT)
        except OSError as error:
            raise StageError(f"{program} cannot be started: {error}") from error
        try:
            status = child.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise StageError(f"{program} was ended after {timeout_s:g} s") from None
        finally:
            if child.poll() is None:
                kill_tree(child.pid)
                child.wait()
    said = printed.read_text("utf-8", "replace")
    if status:
        last = " ".join(said.split())[-_SAID:]
        raise StageError(f"{program} failed (status {status}): {last or 'it said nothing'}")
    return said
