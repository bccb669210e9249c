"""`rtpipeline index DICOM_DIR`: what lies in a folder, from headers alone."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from . import ALL_DONE, SOME_FAILED, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("dicom_dir", metavar="DICOM_DIR", type=Path)
    parser.add_argument("--db", metavar="F", type=Path, help="keep the index in this SQLite file")


def main(arguments: argparse.Namespace) -> int:
    """Index the folder and print its table."""
    from ..dicom.index import Index, describe
    from ..run.find import check_dicom_folder, link_summary

    check_dicom_folder(arguments.dicom_dir)
    with tempfile.TemporaryDirectory() as scratch:
        database = arguments.db or Path(scratch) / "index.sqlite"
        with Index(database) as index:
            index.update(arguments.dicom_dir)
            show(describe(index))
            show(link_summary(index, arguments.dicom_dir))
            damaged = any(item.damaged for item in index.unreadable())
    return SOME_FAILED if damaged else ALL_DONE
