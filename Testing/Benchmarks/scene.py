"""How long a large course takes from its DICOM files into Slicer's scene: CT 512 x 512 x 150, 30
structures with a contour of 200 points on every slice, dose 200 x 200 x 150.

    .venv-slicer/bin/python Testing/Benchmarks/scene.py

The folder is made beforehand and its files are in the memory of the system, as after a copy.
Last, a segment of the loaded course is edited and its DVH computed again.
Medians of three; finding courses reads all headers and is done once a folder.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from RTPipelineLib.scene.display import Shown

ROOT = Path(__file__).parents[2]
REPEATS = 3
LIMIT_S = 5.0
EDIT_S = 1.0
NEXT_S = 2.0  # the next course of a review


def main() -> None:
    """Make the course, load it `REPEATS` times and print seconds."""
    from RTPipelineLib.phantoms.patient import make_patient
    from RTPipelineLib.phantoms.scale import busy_patient
    from Testing.Slicer.standin.boot import start

    start()
    with tempfile.TemporaryDirectory() as folder:
        make_patient(folder, busy_patient(image_size=(512, 512)))
        parts: dict[str, list[float]] = defaultdict(list)
        edits, ahead = [], []
        for _ in range(REPEATS):
            shown, loaded = load(folder)
            for name, seconds in loaded:
                parts[name].append(seconds)
            edits.append(edit(shown))
            ahead.append(load_prepared(folder))
    for name, seconds in parts.items():
        print(f"{name:30s} {statistics.median(seconds):6.2f} s")
    together = statistics.median(map(sum, zip(*parts.values(), strict=True)))
    print(f"{'together':30s} {together:6.2f} s (bar: {LIMIT_S:g} s)")
    prepared = statistics.median(ahead)
    print(f"{'the same, prepared before':30s} {prepared:6.2f} s (bar: {NEXT_S:g} s)")
    again = statistics.median(edits)
    print(f"{'DVH of the largest, edited':30s} {again:6.2f} s (bar: {EDIT_S:g} s)")


def edit(shown: Shown) -> float:
    """Seconds from the edit of the largest segment to its DVH."""
    import slicer

    from RTPipelineLib.scene.live import LiveDvhs
    from RTPipelineLib.scene.segmentations import masks_of

    (node,) = shown.segmentations.values()
    largest = max(masks_of(node), key=lambda mask: mask.array.sum())
    key = node.GetSegmentation().GetSegmentIdBySegmentName(largest.name)
    live = LiveDvhs(node, shown.doses_gy[0])
    array = slicer.util.arrayFromSegmentBinaryLabelmap(node, key)
    array[: len(array) // 2] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, key)
    start = time.perf_counter()
    ((dvh, _),) = live.refresh()
    assert dvh.name == largest.name
    return time.perf_counter() - start


def load(folder: str) -> tuple[Shown, list[tuple[str, float]]]:
    """The course, and every part of its load into an empty scene with its seconds."""
    import slicer

    from RTPipelineLib.scene.display import show_course
    from RTPipelineLib.scene.opening import find_courses

    slicer.mrmlScene.Clear(0)
    marks = [("find courses", time.perf_counter())]
    (course,) = find_courses(folder)
    marks.append(("open", time.perf_counter()))
    shown = show_course(course, lambda text: marks.append((text, time.perf_counter())))
    marks.append(("", time.perf_counter()))
    assert not shown.problems and len(shown.images) == len(shown.doses) == 1, shown.problems
    (structures,) = shown.structures.values()
    assert len(structures) == 30
    return shown, [(name, after - at) for (name, at), (_, after) in pairwise(marks)]


def load_prepared(folder: str) -> float:
    """Seconds to show a course that a thread has prepared before."""
    import slicer

    from RTPipelineLib.scene.ahead import prepare_in_background
    from RTPipelineLib.scene.display import show_course
    from RTPipelineLib.scene.opening import find_courses

    slicer.mrmlScene.Clear(0)
    (course,) = find_courses(folder)
    prepared = prepare_in_background(course).result()
    start = time.perf_counter()
    shown = show_course(course, prepared=prepared)
    assert not shown.problems
    return time.perf_counter() - start


if __name__ == "__main__":
    if not (find_spec("slicer") and find_spec("PySide6")):
        print("needs the environment of Slicer's engine (`make slicer`)")
        sys.exit(0)
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    sys.path.insert(0, str(ROOT))
    main()
