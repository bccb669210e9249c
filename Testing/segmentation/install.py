"""An environment of its own for TotalSegmentator, if torch's CPU build can be had here.

    python install.py FOLDER

TotalSegmentator brings a torch and a vtk that fit nothing else, and from PyPI torch for Linux is a
build for GPUs with gigabytes of libraries. So torch is looked at first: pip tells without a
download what it would install. Ends with status 0 when FOLDER is usable, and also, after saying
why, when it cannot be made; the tests that need it then skip with that reason.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

PACKAGES = ("TotalSegmentator==2.18.0", "nnunetv2==2.6.0")
TORCH = "torch==2.13.0"
# Versions whose file may be the CPU build, and Pythons that the packages support.
PYTHONS = ((3, 11), (3, 12))


def main(folder: Path) -> None:
    """Make the environment, or say why not."""
    done = folder / ".installed"
    wanted = " ".join((TORCH, *PACKAGES))
    if done.is_file() and done.read_text() == wanted:
        return
    if sys.version_info[:2] not in PYTHONS:
        _say(f"Python {sys.version_info[0]}.{sys.version_info[1]} is not one that it supports")
        return
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    python = next(p for p in (folder / "bin/python", folder / "Scripts/python.exe") if p.exists())
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]
    reason = _why_not(pip)
    if not reason:
        print(f"Installing TotalSegmentator into {folder} (once; some minutes) ...", flush=True)
        result = subprocess.run([*pip, "install", TORCH, *PACKAGES], check=False)
        reason = "" if result.returncode == 0 else "pip could not install it"
    if reason:
        shutil.rmtree(folder, ignore_errors=True)
        _say(reason)
    else:
        done.write_text(wanted)


def _why_not(pip: list[str]) -> str:
    """Empty when torch would be the CPU build."""
    command = [*pip, "install", "--dry-run", "--no-deps", "--ignore-installed", "--report", "-"]
    asked = subprocess.run([*command, TORCH], capture_output=True, check=False)
    if asked.returncode:
        return f"pip finds no {TORCH}"
    torch = json.loads(asked.stdout)["install"][0]
    needs = torch["metadata"].get("requires_dist", [])
    if any("nvidia" in need or "cuda" in need for need in needs):
        return (
            f"pip offers {TORCH} as a build for GPUs only; with PIP_EXTRA_INDEX_URL="
            "https://download.pytorch.org/whl/cpu it finds the CPU build"
        )
    return ""


def _say(reason: str) -> None:
    print(f"TotalSegmentator is not installed, its tests are skipped: {reason}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
