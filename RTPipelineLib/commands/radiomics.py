"""`rtpipeline radiomics IMAGE MASK_OR_RTSTRUCT -o OUT.csv`: features of loose files."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument(
        "image",
        metavar="IMAGE",
        type=Path,
        help="a volume (.nrrd, .nii, .nii.gz, .mha) or a folder that holds one DICOM series",
    )
    parser.add_argument(
        "structures",
        metavar="MASK_OR_RTSTRUCT",
        type=Path,
        help="labels (.seg.nrrd, .nrrd, .nii, .nii.gz, .mha), an RTSTRUCT or a DICOM SEG",
    )
    parser.add_argument("-o", "--output", metavar="OUT.csv", type=Path, help="default: stdout")
    parser.add_argument(
        "--params", metavar="F", type=Path, help="pyradiomics parameter file, or a preset's name"
    )
    parser.add_argument(
        "--roi", metavar="NAME", nargs="+", action="extend", default=[], help="only these ROIs"
    )
    parser.add_argument(
        "--modality", choices=("CT", "MR", "PT"), help="of a volume that does not say it"
    )
    parser.add_argument(
        "--series", metavar="UID", help="which series of a DICOM folder that holds several"
    )
    parser.add_argument("--config", metavar="F", type=Path, help="for the section radiomics")
    parser.add_argument("--progress", choices=["auto", "json", "none"], default="auto")


def main(arguments: argparse.Namespace) -> int:
    """Compute and write; see `run.feature_files`."""
    from ..run.feature_files import FeatureRequest, features_of_files
    from ._progress import make_reporter

    request = FeatureRequest(
        arguments.image,
        arguments.structures,
        arguments.output,
        arguments.params,
        tuple(arguments.roi),
        arguments.modality,
        arguments.series,
        arguments.config,
    )
    with make_reporter(arguments.progress, quiet=arguments.quiet) as reporter:
        return features_of_files(request, reporter)
