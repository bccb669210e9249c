"""`rtpipeline run DICOM_DIR OUT`: everything, resuming what is there."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("dicom_dir", metavar="DICOM_DIR", type=Path)
    parser.add_argument("out", metavar="OUT", type=Path)
    add_run_options(parser)
    parser.add_argument(
        "--patients", metavar="P,..", type=_names, help="only these PatientIDs (default: all)"
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Options that `run` and `demo` share."""
    parser.add_argument("--config", metavar="F", type=Path, help="configuration (YAML)")
    parser.add_argument("--stages", metavar="a,b", type=_names, help="only these stages")
    parser.add_argument("--jobs", metavar="N", type=int, help="courses at a time (default: cores)")
    parser.add_argument("--engine", choices=["local", "snakemake"], default="local")
    parser.add_argument(
        "--profile", metavar="P", help="Snakemake's profile: which cluster (docs/cluster.md)"
    )
    parser.add_argument("--overrides", metavar="F", type=Path, help="decisions kept outside OUT")
    parser.add_argument(
        "--roster", metavar="F.csv", type=Path, help="expected patients and clinical columns"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would run, write nothing")
    parser.add_argument("--force", action="store_true", help="run stages whose results still hold")
    parser.add_argument("--progress", choices=["auto", "json", "none"], default="auto")


def main(arguments: argparse.Namespace) -> int:
    """Run the pipeline."""
    from ..run.pipeline import run_pipeline
    from ..run.request import RunRequest
    from ._progress import make_reporter

    request = RunRequest(
        dicom_dir=arguments.dicom_dir,
        out=arguments.out,
        config_path=arguments.config,
        overrides_path=arguments.overrides,
        roster_path=arguments.roster,
        stages=tuple(arguments.stages or ()),
        patients=tuple(getattr(arguments, "patients", None) or ()),
        jobs=arguments.jobs,
        force=arguments.force,
        dry_run=arguments.dry_run,
        engine=arguments.engine,
        profile=arguments.profile,
    )
    with make_reporter(arguments.progress, quiet=arguments.quiet) as reporter:
        return run_pipeline(request, reporter)


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:  # an empty variable of a script must not mean all
        raise argparse.ArgumentTypeError("expected names with commas between them, found none")
    return names
