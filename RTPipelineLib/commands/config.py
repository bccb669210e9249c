"""`rtpipeline config`: check a configuration, or print the commented defaults."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import ALL_DONE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", metavar="F", type=Path, help="validate this file")
    what.add_argument("--defaults", action="store_true", help="print the defaults (the default)")
    what.add_argument(
        "--derived",
        metavar="REGION",
        help="print examples of structures.derived for pelvis, thorax, head-and-neck or breast",
    )


def main(arguments: argparse.Namespace) -> int:
    """Check or print; a wrong file is a `ConfigError`, which the command line shows with status
    2."""
    from ..config import defaults_yaml, load_config
    from ..config.structures import derived_template

    if arguments.check is not None:
        load_config(arguments.check)
        print(f"{arguments.check} is valid")
    elif arguments.derived is not None:
        print(derived_template(arguments.derived), end="")
    else:
        print(defaults_yaml(), end="")
    return ALL_DONE
