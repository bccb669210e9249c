"""`rtpipeline segment IMAGE_OR_DICOM_DIR -o DIR`: automatic contours of one image."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument(
        "image",
        metavar="IMAGE_OR_DICOM_DIR",
        type=Path,
        help="a volume (.nrrd, .nii, .nii.gz, .mha) or a folder that holds one DICOM series",
    )
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, required=True)
    parser.add_argument(
        "--task",
        help="task of TotalSegmentator; default: total (total_mr for MR), or what the "
        "configuration has",
    )
    parser.add_argument(
        "--model", metavar="F", type=Path, help="an nnU-Net v2 model folder or its YAML file"
    )
    parser.add_argument("--fast", action="store_true", help="TotalSegmentator's 3 mm model")
    parser.add_argument("--roi-subset", metavar="NAME", nargs="+", default=[])
    parser.add_argument("--device", help="cpu, gpu, gpu:N or mps; default: cpu")
    parser.add_argument(
        "--modality", choices=("CT", "MR", "PT"), help="of a volume that does not say it"
    )
    parser.add_argument(
        "--series", metavar="UID", help="which series of a DICOM folder that holds several"
    )
    parser.add_argument("--config", metavar="F", type=Path, help="for the section segmentation")
    parser.add_argument("--progress", choices=["auto", "json", "none"], default="auto")


def main(arguments: argparse.Namespace) -> int:
    """Segment and write; see `run.segment_image`."""
    from ..run.segment_image import SegmentRequest, segment_image
    from ._progress import make_reporter

    request = SegmentRequest(
        arguments.image,
        arguments.output,
        arguments.task,
        arguments.model,
        arguments.fast,
        tuple(arguments.roi_subset),
        arguments.device,
        arguments.modality,
        arguments.series,
        arguments.config,
    )
    with make_reporter(arguments.progress, quiet=arguments.quiet) as reporter:
        return segment_image(request, reporter)
