"""The other DVH programs that the benchmarks compare with, on the same files.

dicompyler-core 0.5.6 needs `pydicom.dicomio.read_file` under pydicom 3: set here, for the
benchmark's own process only. plastimatch is the program of that name (`pip install plastimatch`,
or Debian's). Both are optional: `available()` names those that are there.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from RTPipelineLib.geometry import Grid


class PeerCurve(NamedTuple):
    """A cumulative DVH: volume in cc that receives at least each dose."""

    volume_cc: float
    dose_gy: np.ndarray
    at_least_cc: np.ndarray

    def D(self, volume_cc: float) -> float:  # noqa: N802 - the field's name
        """Dose to the hottest `volume_cc`, interpolated between the program's bins."""
        return float(np.interp(-volume_cc, -self.at_least_cc, self.dose_gy))

    @property
    def mean_gy(self) -> float:
        """Area under the curve over the volume."""
        return float(np.trapezoid(self.at_least_cc, self.dose_gy) / self.at_least_cc[0])


def available() -> list[str]:
    """Names of the peers that can run here."""
    names = ["dicompyler"] if importlib.util.find_spec("dicompylercore") else []
    return names + (["plastimatch"] if _plastimatch() else [])


def run_peer(name: str, structures: Path, dose: Path, image: Grid) -> dict[str, PeerCurve]:
    """All ROIs of the files by one peer, from reading to curves.

    `image` is the grid of the planning image, on which plastimatch draws the structures (dicompyler
    uses the dose grid).
    """
    if name == "dicompyler":
        return _run_dicompyler(structures, dose)
    return _run_plastimatch(structures, dose, image)


def _run_dicompyler(structures: Path, dose: Path) -> dict[str, PeerCurve]:
    import pydicom.dicomio

    if not hasattr(pydicom.dicomio, "read_file"):
        pydicom.dicomio.read_file = pydicom.dcmread
    from dicompylercore import dicomparser, dvhcalc

    rois = dicomparser.DicomParser(str(structures)).GetStructures()
    curves = {}
    for number, roi in rois.items():
        if roi["empty"]:
            continue
        dvh = dvhcalc.get_dvh(str(structures), str(dose), number)
        cumulative = dvh.cumulative.absolute_volume(dvh.volume)
        edges = cumulative.bins[: len(cumulative.counts)]
        curves[roi["name"]] = PeerCurve(float(dvh.volume), edges, cumulative.counts)
    return curves


def _run_plastimatch(structures: Path, dose: Path, image: Grid) -> dict[str, PeerCurve]:
    program = _plastimatch()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = folder / "study"
        study.mkdir()
        for path in (structures, dose):
            shutil.copy(path, study)
        fixed, labels, names = folder / "image.nrrd", folder / "ss.nrrd", folder / "ss.txt"
        grid, table = folder / "dose.nrrd", folder / "dvh.csv"
        _write_blank_image(fixed, image)
        convert = f"convert --input {study} --fixed {fixed} --output-ss-img {labels}"
        _call(program, f"{convert} --output-ss-list {names} --output-dose-img {grid}")
        read = f"dvh --input-ss-img {labels} --input-ss-list {names} --input-dose {grid}"
        _call(
            program,
            f"{read} --output-csv {table} --normalization vox --bin-width 0.05 --num-bins 2000",
        )
        return _read_plastimatch(table, image.voxel_volume_mm3 / 1000)


def _write_blank_image(path: Path, grid: Grid) -> None:
    """An image without content, for its geometry (axial grids)."""
    dx, dy, dz = grid.spacing_mm
    header = [
        "NRRD0004",
        "type: short",
        "dimension: 3",
        "space: left-posterior-superior",
        "sizes: {} {} {}".format(*grid.size_ijk),
        f"space directions: ({dx},0,0) (0,{dy},0) (0,0,{dz})",
        "endian: little",
        "encoding: raw",
        "space origin: ({},{},{})".format(*grid.origin_mm),
    ]
    content = np.zeros(grid.shape, dtype="<i2").tobytes()
    path.write_bytes("\n".join([*header, "", ""]).encode() + content)


def _read_plastimatch(path: Path, voxel_cc: float) -> dict[str, PeerCurve]:
    rows = [line.split(",") for line in path.read_text().splitlines() if line.strip()]
    header = next(n for n, row in enumerate(rows) if row[0].startswith("Dose"))
    values = np.array([[float(x) for x in row if x.strip()] for row in rows[header + 1 :]])
    names = [name.strip() for name in rows[header][1:] if name.strip()]
    curves = {}
    for column, name in enumerate(names, start=1):
        volume = values[:, column] * voxel_cc
        curves[name] = PeerCurve(float(volume[0]), values[:, 0], volume)
    return curves


def _plastimatch() -> str | None:
    beside = Path(sys.executable).with_name("plastimatch")
    return str(beside) if beside.exists() else shutil.which("plastimatch")


def _call(program: str | None, arguments: str) -> None:
    command = [str(program), *arguments.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[:2]}: {done.stderr[-500:] or done.stdout[-500:]}")
