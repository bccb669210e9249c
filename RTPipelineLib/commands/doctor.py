"""`rtpipeline doctor`: what works on this machine, and what to install."""

from __future__ import annotations

import argparse
import platform
import shutil
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
    print(f"{available_cores()} cores, {_memory_gb():.0f} GB memory")
    missing = []
    for name, use in CORE:
        try:
            print(f"  {name:<12} {version(name):<10} {use}")
        except PackageNotFoundError:
            missing.append(name)
            print(f"  {name:<12} MISSING    {use}: {sys.executable} -m pip install {name}")
    print(f"  {_radiomics()}")
    for name, use, extra in OPTIONAL:
        try:
            print(f"  {name:<12} {version(name):<10} {use}")
        except PackageNotFoundError:
            print(f'  {name:<12} -          {use}: pip install "slicer-rtpipeline[{extra}]"')
    if "pydicom" not in missing:
        _print_decoders()
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    print(f"  disk         {free:.0f} GB free here{' (little)' if free < LOW_DISK_GB else ''}")
    return SOME_FAILED if missing else ALL_DONE


def _radiomics() -> str:
    """Which package provides the features, if any."""
    from ..errors import UsageError
    from ..radiomics.engine import engine_version

    try:
        return f"{engine_version():<23} image features"
    except UsageError:
        return 'pyradiomics  -          image features: pip install "slicer-rtpipeline[radiomics]"'


def _memory_gb() -> float:
    try:
        import psutil
    except ImportError:
        return float("nan")
    return psutil.virtual_memory().total / 1e9


def _print_decoders() -> None:
    """Which compressed images can be read, by asking pydicom's own list of decoders."""
    from pydicom.pixels import get_decoder

    for name, uid in SYNTAXES:
        decoder = get_decoder(uid)
        if decoder.is_available:
            print(f"  {name:<19} readable")
        else:
            print(f"  {name:<19} NOT readable: pip install python-gdcm pyjpegls")
