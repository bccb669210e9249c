"""How fast the module "RT Pipeline Cohort" opens and filters a cohort of 1,000 courses, and how
long its window does not answer while a run goes on (the panel that runs is that of both modules).

    python Testing/Benchmarks/cohort_module.py [COURSES]

The module's real file in the stand-in application on Slicer's engine (`make slicer`), which is
started here with the packages of this interpreter. The tables are made up: courses, four checks a
course and a verdict for every second. The run is one of the synthetic cohort. Targets: open in 2 s,
filter in 0.2 s, 200 MB; the window busy for 0.2 s at most.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
MODULE = REPOSITORY / "RTPipelineCohort" / "RTPipelineCohort.py"


def make_tables(out: Path, courses: int) -> None:
    """The tables of a cohort and its course folders."""
    import pandas

    from RTPipelineLib.report.codebook import layout
    from RTPipelineLib.stages import STAGES

    results = out / "results"
    results.mkdir(parents=True)
    rows, checks, reviews = [], [], []
    for number in range(courses):
        patient, course = f"P{number:05d}", "2024-01_Plan"
        folder = out / patient / course
        folder.mkdir(parents=True)
        (folder / "course.json").write_text("{}")
        row = {"patient_id": patient, "course_id": course, "folder": f"{patient}/{course}"}
        row |= {"dose_decision": "decided", "rx_gy": 60.0 + number % 7}
        rows.append(row | {f"stage_{name}": "done" for name in STAGES})
        checks += [{**row, "check": f"check-{n}", "severity": "warning"} for n in range(4)]
        if number % 2:
            state = {"state": "current", "reviewer": "Ada", "verdict": "accept"}
            reviews.append({**row, **state, "item": "", "source": ""})
    for name, table in (("courses", rows), ("quality", checks), ("reviews", reviews)):
        frame = pandas.DataFrame(table)
        for column in layout(name):
            if column not in frame and not column.startswith("<") and "<" not in column:
                frame[column] = ""
        frame.to_parquet(results / f"{name}.parquet")
    (out / "run.json").write_text(
        '{"schema": 1, "state": "finished", "started": "2024-01-01T00:00:00", "version": "0"}'
    )


def measure(out: Path) -> None:
    """Open, filter, sort; print the seconds and what memory that took."""
    import slicer  # noqa: F401 - the engine has to be there

    from RTPipelineLib.platform import current_memory_mb
    from Testing.Slicer.standin.app import load_scripted_module
    from Testing.Slicer.standin.boot import start

    app = start()
    module = load_scripted_module(str(MODULE), app)
    before = current_memory_mb()
    module.widgetRepresentation()
    import slicer as running

    widget = running.modules.RTPipelineCohortWidget
    began = time.perf_counter()
    widget.ui.outPath.currentPath = str(out)
    app.processEvents()
    opened = time.perf_counter() - began
    times = []
    for text in ("P00", "P0042", "accept", ""):
        began = time.perf_counter()
        widget.ui.courseFilter.text = text
        app.processEvents()
        times.append(time.perf_counter() - began)
    number = widget.courses.model.rowCount()
    print(
        f"{number} courses: open {opened:.2f} s (target: 2), filter {max(times):.3f} s (0.2), "
        f"memory {current_memory_mb() - before:.0f} MB (200)"
    )
    run(app, widget, out.parent)
    widget.cleanup()


def run(app, widget, folder: Path) -> None:
    """Run over the synthetic cohort, once to its end and once cancelled in the middle."""
    from RTPipelineLib.phantoms.cohort import make_cohort

    make_cohort(folder / "dicom")
    for name, enough in (("whole", float("inf")), ("cancelled", 4.0)):
        widget.ui.outPath.currentPath = str(folder / name)
        widget.ui.dicomPath.currentPath = str(folder / "dicom")
        widget.ui.startButton.click()
        began, longest, busiest, ended = time.monotonic(), 0.0, 0.0, None
        while widget.run.process is not None:
            at, busy = time.monotonic(), time.thread_time()
            if ended is None and at - began > enough:
                ended = at
                widget.ui.stopButton.click()
            app.processEvents()
            longest = max(longest, time.monotonic() - at)
            busiest = max(busiest, time.thread_time() - busy)
            time.sleep(0.01)
        after = f", gone {time.monotonic() - ended:.1f} s after Cancel" if ended else ""
        print(
            f"run, {name}: {time.monotonic() - began:.0f} s{after}; window busy at most "
            f"{busiest:.3f} s (target: 0.2), {longest:.3f} s by the clock"
        )


def main() -> None:
    """Make the tables here, measure in the engine's interpreter."""
    if len(sys.argv) > 2 and sys.argv[1] == "--measure":
        measure(Path(sys.argv[2]))
        return
    named = os.environ.get("RTPIPELINE_SLICER_PYTHON")
    folder = REPOSITORY / ".venv-slicer"
    known = [folder / "bin" / "python", folder / "Scripts" / "python.exe"]
    python = next((p for p in ([Path(named)] if named else known) if p.exists()), None)
    if python is None:
        print("left out: 3D Slicer's engine is not installed (make slicer)")
        return
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out"
        make_tables(out, int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
        paths = [str(REPOSITORY), sysconfig.get_paths()["purelib"]]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        subprocess.run([python, __file__, "--measure", out], check=True, env=env)


if __name__ == "__main__":
    main()
