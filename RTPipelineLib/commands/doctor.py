"""`rtpipeline doctor`: what works on this machine, and what to install."""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from . import ALL_DONE, SOME_FAILED

CORE = (
    ("numpy", "arrays"),
    ("scipy", "interpolation"),
    ("SimpleITK", "NRRD volumes"),
    ("pydicom", "DICOM"),
    ("pandas", "tables"),
    ("pyarrow", "Parquet"),
    ("pydantic", "configuration"),
    ("ruamel.yaml", "configuration"),
    ("psutil", "processes"),
    ("tqdm", "progress bars"),
)
# (package, what for, extra that installs it)
OPTIONAL = (
    ("xlsxwriter", "results.xlsx", "xlsx"),
    ("matplotlib", "figures as files", "plots"),
    ("numba", "faster kernels, same numbers", "fast"),
    ("pyradiomics", "image features (needs a C compiler)", "radiomics"),
    ("highdicom", "DICOM SEG written", "seg"),
    ("dicom-anonymizer", "output without identifiers", "pseudonymise"),
    ("TotalSegmentator", "automatic contours, also from another Python", "segmentation"),
    ("dicompyler-core", "second calculation of DVHs", "crosscheck"),
    ("plastimatch", "second calculation of DVHs", "crosscheck"),
    ("snakemake", "runs on a cluster", "cluster"),
)
# DICOM PS3.5 A.4: compressed transfer syntaxes that images come in.
SYNTAXES = (
    ("RLE Lossless", "1.2.840.10008.1.2.5"),
    ("JPEG Lossless", "1.2.840.10008.1.2.4.70"),
    ("JPEG-LS Lossless", "1.2.840.10008.1.2.4.80"),
    ("JPEG 2000 Lossless", "1.2.840.10008.1.2.4.90"),
)
LOW_DISK_GB = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command has no arguments of its own."""


def main(arguments: argparse.Namespace) -> int:
    """Print what is here; status 3 when something that every run needs is missing."""
    from importlib.metadata import PackageNotFoundError, version

    from .. import __version__
    from ..platform import available_cores

    print(f"RT Pipeline {__version__}, Python {platform.python_version()}, {platform.platform()}")
    print(f"{available_cores()} cores, {_memory()}")
    missing = []
    for name, use in CORE:
        try:
            print(f"  {name:<16} {version(name):<10} {use}")
        except PackageNotFoundError:
            missing.append(name)
            print(f"  {name:<16} MISSING    {use}: {sys.executable} -m pip install {name}")
    for name, use, extra in OPTIONAL:
        found = _installed(name)
        install = "" if found else f': pip install "slicer-rtpipeline[{extra}]"'
        print(f"  {name:<16} {found or '-':<10} {use}{install}")
    if "pydicom" not in missing:
        _print_decoders()
    print(f"  GPU              {_gpus()}")
    print(f"  weights          {_weights()}")
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    print(f"  disk             {free:.0f} GB free here{' (little)' if free < LOW_DISK_GB else ''}")
    return SOME_FAILED if missing else ALL_DONE


def _installed(name: str) -> str:
    """Its version; "" where it is not installed. What provides the features has several names."""
    from importlib.metadata import PackageNotFoundError, version

    from ..errors import UsageError
    from ..radiomics.engine import engine_version

    try:
        return engine_version() if name == "pyradiomics" else version(name)
    except (PackageNotFoundError, UsageError):
        return ""


def _gpus() -> str:
    """What NVIDIA's driver reports; models run on the CPU without one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "none found (no nvidia-smi): models run on the CPU"
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, encoding="utf-8", timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi does not answer ({error})"
    if done.returncode:
        return f"nvidia-smi fails: {(done.stdout + done.stderr).strip()[:200]}"
    return "; ".join(done.stdout.split("\n")).strip("; ")


def _weights() -> str:
    """Where TotalSegmentator's weights lie and which are there."""
    from ..segmentation.catalogue import Home

    folder = Home().weights_folder
    if not folder.is_dir():
        return f"none in {folder}: totseg_download_weights -t total"
    found = sorted(path.name for path in folder.glob("Dataset*") if path.is_dir())
    return f"{len(found)} networks in {folder}"


def _memory() -> str:
    try:
        import psutil
    except ImportError:
        return "memory not known without psutil"
    return f"{psutil.virtual_memory().total / 1e9:.0f} GB memory"


def _print_decoders() -> None:
    """Which compressed images can be read, by asking pydicom's own list of decoders."""
    from pydicom.pixels import get_decoder

    for name, uid in SYNTAXES:
        decoder = get_decoder(uid)
        if decoder.is_available:
            print(f"  {name:<20} readable")
        else:
            print(f"  {name:<20} NOT readable: pip install python-gdcm pyjpegls")
