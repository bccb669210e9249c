"""`rtpipeline dvh`: DVH of loose files, no course needed."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("--rtstruct", metavar="F", type=Path, required=True)
    parser.add_argument(
        "--rtdose", metavar="F", type=Path, nargs="+", action="extend", required=True
    )
    parser.add_argument("--rtplan", metavar="F", type=Path, nargs="+", action="extend", default=[])
    parser.add_argument("--config", metavar="F", type=Path, help="configuration (YAML)")
    parser.add_argument(
        "--roi", metavar="NAME", nargs="+", action="extend", default=[], help="only these ROIs"
    )
    parser.add_argument("-o", "--output", metavar="OUT.csv", type=Path, help="default: stdout")
    parser.add_argument("--curves", metavar="OUT.csv", type=Path, help="cumulative curves")


def main(arguments: argparse.Namespace) -> int:
    """Compute and write; see `run.loose`."""
    from ..run.loose import LooseFiles, dvh_of_files

    files = LooseFiles(arguments.rtstruct, tuple(arguments.rtdose), tuple(arguments.rtplan))
    return dvh_of_files(
        files,
        config_path=arguments.config,
        names=tuple(arguments.roi),
        output=arguments.output,
        curves=arguments.curves,
    )
