"""`rtpipeline sum-dose`: add RTDOSE files, physically or as EQD2, into one RTDOSE."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("doses", metavar="F", type=Path, nargs="+", help="RTDOSE files in Gy")
    parser.add_argument("-o", "--output", metavar="OUT.dcm", type=Path, required=True)
    parser.add_argument(
        "--weights",
        metavar="w,..",
        help="one factor per file; 0.8 for 20 of 25 fractions given. Default: 1 each",
    )
    parser.add_argument(
        "--eqd2",
        metavar="AB",
        help="add the doses in 2 Gy fractions for this a/b in Gy. Files of one plan (beams) are "
        "added before the conversion, all others after it; sum plans given in the same fractions "
        "first",
    )
    parser.add_argument(
        "--fractions",
        metavar="n,..",
        help="fractions in which each file's dose is planned to be given; needed for --eqd2",
    )
    parser.add_argument(
        "--registration",
        metavar="REG.dcm",
        type=Path,
        help="brings files of another frame of reference into that of the first file",
    )


def main(arguments: argparse.Namespace) -> int:
    """Add and write; see `run.sum_files`."""
    from ..run.sum_files import SumRequest, numbers, sum_files, whole_numbers

    return sum_files(
        SumRequest(
            tuple(arguments.doses),
            arguments.output,
            numbers("--weights", arguments.weights),
            next(iter(numbers("--eqd2", arguments.eqd2)), None),
            whole_numbers("--fractions", arguments.fractions),
            arguments.registration,
        )
    )
