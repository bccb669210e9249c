"""A worker that computes features: started by `roi_workers`, one image and one parameter file for
its whole life.

It reads one order a line (`{"rois": [3, 7]}`) and answers in lines of JSON: `ready`; for each step
`step`, with the number of the ROI when it is about one alone; for each ROI `done` with its features
or `failed` with the reason; `end` after the last one of an order.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import pickle
import sys
from pathlib import Path
from typing import TextIO

import numpy as np

from ..errors import DataError
from ..platform import die_with_starter, exit_with_parent, take_channel
from .roi_workers import IMAGE_FILE, JOB_FILE, Serve, Work


def main() -> int:
    """Serve until standard input is closed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    orders, answers = take_channel()
    die_with_starter()
    exit_with_parent(arguments.parent)
    faulthandler.enable()
    job: Work = pickle.loads((arguments.folder / JOB_FILE).read_bytes())  # our parent's own file
    serve = job.serve(np.load(arguments.folder / IMAGE_FILE, mmap_mode="r"))
    _say(answers, event="ready")
    for line in orders:
        _answer(json.loads(line)["rois"], serve, answers)
        _say(answers, event="end")
    return 0


def _answer(numbers: list[int], serve: Serve, answers: TextIO) -> None:
    def began(what: str, roi: int | None) -> None:
        _say(answers, event="step", what=what, roi=roi)

    for roi, found in serve(numbers, began):
        if isinstance(found, DataError):
            _say(answers, event="failed", roi=roi, reason=str(found))
            continue
        _say(
            answers,
            event="done",
            roi=roi,
            values=found.values,
            voxels=found.voxels,
            analysed_voxels=found.analysed_voxels,
            notes=found.notes,
        )


def _say(answers: TextIO, **event: object) -> None:
    answers.write(json.dumps(event) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
