"""3D Slicer's engine (the package slicer-core) in an environment of its own.

    python install_slicer.py FOLDER

It brings a VTK of 1 GB that not every package of the tests gets along with. Ends with status 0 when
FOLDER is usable, and also, after saying why, when it cannot be made; the tests that need it then
skip with that reason.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

# By Python: each release of slicer-core is built for one.
PACKAGES = {(3, 11): "slicer-core==5.13.31053.0", (3, 12): "slicer-core==5.12.4.0"}
# What Slicer ships and the extension uses (nothing else: it must work before any installation), Qt
# for the stand-in of the application, and pytest.
BESIDE = (
    *("numpy", "scipy", "pydicom", "SimpleITK"),
    *("PySide6-Essentials==6.12.0", "pytest", "hypothesis"),
)
CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"


def main(folder: Path) -> None:
    """Make the environment, or say why not."""
    engine = PACKAGES.get(sys.version_info[:2])
    wanted = " ".join((engine, *BESIDE)) if engine else ""
    done = folder / ".installed"
    if wanted and done.is_file() and done.read_text() == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    reason = f"there is none for Python {sys.version_info[0]}.{sys.version_info[1]}"
    if wanted:
        print(f"Installing {engine} into {folder} (once; about a minute) ...", flush=True)
        venv.create(folder, with_pip=True)
        python = next(
            p for p in (folder / "bin/python", folder / "Scripts/python.exe") if p.exists()
        )
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]
        command = [*pip, "install", "--constraint", str(CONSTRAINTS), engine, *BESIDE]
        if subprocess.run(command, check=False).returncode == 0:
            done.write_text(wanted)
            return
        shutil.rmtree(folder, ignore_errors=True)
        reason = "pip could not install it"
    print(f"3D Slicer's engine is not installed, its tests are skipped: {reason}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
