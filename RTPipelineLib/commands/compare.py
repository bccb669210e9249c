"""`rtpipeline compare`: the structures of two structure sets, by standard name."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("a", metavar="RTSTRUCT_A", type=Path, help="the reference")
    parser.add_argument("b", metavar="RTSTRUCT_B", type=Path, help="what is judged by it")
    parser.add_argument("-o", "--output", metavar="OUT.csv", type=Path, help="default: stdout")
    parser.add_argument(
        "--image",
        metavar="DIR",
        type=Path,
        help="folder of the DICOM image series on whose voxels to compare. Default: a grid of 0.5 "
        "mm in the contours' planes for each pair, coarser for large structures",
    )
    parser.add_argument(
        "--rtdose", metavar="F", type=Path, help="also the difference of every DVH metric, A - B"
    )
    parser.add_argument(
        "--tolerance",
        metavar="MM",
        type=float,
        help="of surface Dice; default: structures.tolerance_mm of the configuration (3)",
    )
    parser.add_argument("--config", metavar="F", type=Path, help="configuration (YAML)")


def main(arguments: argparse.Namespace) -> int:
    """Compare and write; see `run.compare_files`."""
    from ..run.compare_files import CompareRequest, compare_files

    return compare_files(
        CompareRequest(
            arguments.a,
            arguments.b,
            arguments.output,
            arguments.image,
            arguments.rtdose,
            arguments.tolerance,
            arguments.config,
        )
    )
