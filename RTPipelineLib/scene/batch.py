"""`rtpipeline` inside the Slicer application without a window: same arguments, same exit status.

    Slicer --no-splash --no-main-window --python-script <modules>/RTPipelineLib/scene/batch.py
        --exit-after-startup -- run DICOM_DIR OUT

A script that Slicer starts is no part of a package, so the library's folder is put on the path
here; child processes are handed it by those who start them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

HOME = Path(__file__).resolve().parents[2]


def arguments_of(argv: Sequence[str]) -> list[str]:
    """What follows the script's name; a `--` that Slicer left in front is not part of it."""
    rest = list(argv[1:])
    return rest[1:] if rest[:1] == ["--"] else rest


def main(argv: Sequence[str]) -> int:
    """Run one command of `rtpipeline` and return its exit status."""
    if str(HOME) not in sys.path:
        sys.path.insert(0, str(HOME))
    from RTPipelineLib.cli import main as rtpipeline

    return rtpipeline(arguments_of(argv))


if __name__ == "__main__":
    status = main(sys.argv)
    try:
        from slicer import app as _app  # noqa: F401 - is there an application?
        from slicer import util
    except ImportError:  # a plain interpreter, PythonSlicer
        sys.exit(status)
    util.exit(status)
