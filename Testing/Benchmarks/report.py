"""What the pages weigh and how fast a browser shows them: those of a cohort, and of its courses.

Synthetic courses with a dozen ROIs of standard names each, a noisy image and a dose, go through the
whole pipeline. Sizes are those of the files; the times are what chromium (headless) itself says of
its loading, from the disk, medians of several.

Usage: report.py [--courses 100] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from html import unescape
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(LIBRARY))

from RTPipelineLib.phantoms.patient import make_patient  # noqa: E402
from RTPipelineLib.phantoms.scale import busy_patient  # noqa: E402

NAMES = (
    *("Bladder", "Rectum", "Bowel", "Femur_Head_L", "Femur_Head_R", "SpinalCord"),
    *("Kidney_L", "Kidney_R", "Liver", "Stomach"),
)
REPEATS = 5
HARNESS = """<!DOCTYPE html><iframe src="%s" width="1400" height="900"></iframe>
<pre id="out"></pre><script>window.onload = () => {
  const view = document.querySelector("iframe").contentWindow;
  const [own] = view.performance.getEntriesByType("navigation");
  document.querySelector("#out").textContent = JSON.stringify([own.domContentLoadedEventEnd,
    own.loadEventEnd, view.performance.getEntriesByType("resource").length,
    view.document.querySelectorAll("*").length]);
};</script>"""


def make_cohort(folder: Path, number: int) -> Path:
    """Courses of about a megabyte of DICOM each, and what the pipeline makes of them."""
    for n in range(number):
        patient = busy_patient(
            n_rois=len(NAMES) + 2,
            n_contours=24,
            vertices=80,
            dose_size=(60, 60, 24),
            image_size=(128, 128),
            names=NAMES,
            seed=n,
        )
        make_patient(folder / "dicom", replace(patient, patient_id=f"BENCH-{n:04d}"))
    command = [sys.executable, "-m", "RTPipelineLib", "run", str(folder / "dicom")]
    begin = time.perf_counter()
    subprocess.run([*command, str(folder / "out"), "--quiet"], cwd=LIBRARY, check=True)
    print(f"run: {time.perf_counter() - begin:.0f} s for {number} courses")
    return folder / "out"


def loading(page: Path, browser: str) -> tuple[float, float, int, int]:
    """Milliseconds to DOMContentLoaded and to load, resources that were fetched, elements."""
    with tempfile.TemporaryDirectory() as scratch:
        harness = Path(scratch) / "harness.html"
        harness.write_text(HARNESS % page.as_uri(), encoding="utf-8")
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu"]
        command += ["--disable-background-networking", "--allow-file-access-from-files"]
        command += ["--disable-web-security", f"--user-data-dir={scratch}/profile", "--dump-dom"]
        found = subprocess.run(
            [*command, harness.as_uri()], capture_output=True, encoding="utf-8", timeout=120
        )
    said = re.search(r'<pre id="out">(.*?)</pre>', found.stdout, re.DOTALL)
    if said is None or not said[1]:
        raise SystemExit(f"{browser} said nothing about {page}: {found.stderr[-500:]}")
    return tuple(json.loads(unescape(said[1])))


def measure(out: Path) -> None:
    """Print sizes and times of the pages."""
    pages = sorted(out.glob("*/*/report/course.html"), key=lambda path: path.stat().st_size)
    sizes = [path.stat().st_size / 1000 for path in pages]
    cohort = out / "results" / "report.html"
    records = [json.loads(p.read_text()) for p in out.glob("*/*/stages/report.json")]
    print(
        f"{len(pages)} courses' pages: median {statistics.median(sizes):.0f} kB, largest "
        f"{sizes[-1]:.0f} kB, together {sum(sizes) / 1000:.2f} MB; stage report: "
        f"{statistics.median(record['seconds'] for record in records):.2f} s"
    )
    print(f"the cohort's page: {cohort.stat().st_size / 1000:.0f} kB")
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "RTPipelineLib", "report", str(out), "--quiet"],
        cwd=LIBRARY,
        check=True,
    )
    print(f"rtpipeline report: {time.perf_counter() - begin:.1f} s")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print("no chromium here: loading is not measured (apt-get install chromium)")
        return
    for name, page in (("cohort", cohort), ("largest course", pages[-1])):
        every = [loading(page, browser) for _ in range(REPEATS)]
        ready, loaded = (statistics.median(one[n] for one in every) for n in (0, 1))
        print(
            f"{name}: DOMContentLoaded {ready:.0f} ms, load {loaded:.0f} ms, {every[0][2]} "
            f"resources fetched, {every[0][3]} elements"
        )


def main() -> None:
    """Make the cohort, or take one that is there, and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--courses", type=int, default=100)
    parser.add_argument("--keep", metavar="FOLDER", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        out = folder / "out"
        measure(out if out.exists() else make_cohort(folder, arguments.courses))


if __name__ == "__main__":
    main()
