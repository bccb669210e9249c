"""The other DVH programs that the benchmarks compare with, on the same files.

dicompyler-core 0.5.6 needs `pydicom.dicomio.read_file` under pydicom 3: set here, for the
benchmark's own process only. plastimatch is the program of that name (`pip install plastimatch`, or Debian's).
Both are optional: `available()` names those that are there.
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


def run_peer(name: str, structures: Path, dose: Path) -> dict[str, PeerCurve]:
    """All ROIs of the files by one peer, from reading to curves."""
    return (
        _run_dicompyler(structures, dose)
        if name == "dicompyler"
        else _run_plastimatch(structures, dose)
    )


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


def _run_plastimatch(structures: Path, dose: Path) -> dict[str, PeerCurve]:
    program = _plastimatch()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = folder / "study"
        study.mkdir()
        for path in (structures, dose):
            shutil.copy(path, study)
        outputs = {
            kind: folder / f"{kind}" for kind in ("ss.nrrd", "ss.txt", "dose.nrrd", "dvh.csv")
        }
        _call(
            program,
            "convert",
            "--input",
            study,
            "--output-ss-img",
            outputs["ss.nrrd"],
            "--output-ss-list",
            outputs["ss.txt"],
            "--output-dose-img",
            outputs["dose.nrrd"],
        )
        _call(
            program,
            "dvh",
            "--input-ss-img",
            outputs["ss.nrrd"],
            "--input-ss-list",
            outputs["ss.txt"],
            "--input-dose",
            outputs["dose.nrrd"],
            "--output-csv",
            outputs["dvh.csv"],
            "--normalization",
            "vox",
            "--bin-width",
            "0.1",
            "--num-bins",
            "900",
        )
        voxel = _voxel_cc(outputs["ss.nrrd"])
        return _read_plastimatch(outputs["dvh.csv"], voxel)


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


def _voxel_cc(path: Path) -> float:
    """Voxel volume from the header of an NRRD file."""
    for line in path.read_bytes()[:4096].splitlines():
        if line.startswith(b"space directions:"):
            numbers = np.array(
                line.decode()
                .replace("(", " ")
                .replace(")", " ")
                .replace(",", " ")
                .replace("none", " ")
                .split()[2:],
                dtype=float,
            )
            return abs(float(np.linalg.det(numbers.reshape(3, 3)))) / 1000
    raise ValueError(f"{path} has no space directions")


def _plastimatch() -> str | None:
    beside = Path(sys.executable).with_name("plastimatch")
    return str(beside) if beside.exists() else shutil.which("plastimatch")


def _call(*arguments: object) -> None:
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{arguments[:2]}: {done.stderr[-500:] or done.stdout[-500:]}")
