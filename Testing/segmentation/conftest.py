"""The real TotalSegmentator where it is installed, and a stand-in that can be told to fail."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENT = "RTPIPELINE_SEGMENTATION_PYTHON"
_BIN = Path("Scripts/python.exe") if os.name == "nt" else Path("bin/python")


@pytest.fixture(scope="session")
def segmentation_python() -> Path:
    """The interpreter that has TotalSegmentator: `make segmentation` makes one."""
    named = os.environ.get(ENVIRONMENT)
    python = Path(named) if named else REPOSITORY / ".venv-segmentation" / _BIN
    if not python.exists():
        pytest.skip(
            f"TotalSegmentator is not installed: `make segmentation` installs it, or name its "
            f"interpreter in {ENVIRONMENT}"
        )
    return python


@pytest.fixture(scope="session")
def weights(segmentation_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that label bands of HU, for the task total with fast: true."""
    folder = tmp_path_factory.mktemp("weights")
    script = Path(__file__).with_name("standin_weights.py")
    subprocess.run([segmentation_python, script, folder], check=True, capture_output=True)
    return folder


# A package with the tables and the program of TotalSegmentator, as far as we use them; what it does
# with an image is told by the environment.
STUB = {
    "__init__.py": "",
    "registry.py": """
TASKS = ["total", "total_mr", "lungs_only", "face"]
CLASSES = {1: "liver", 2: "heart", 3: "lung_left", 4: "lung_right"}
def package_version(): return "2.18.0"
def task_modality(name): return "MR" if name.endswith("_mr") else "CT"
def requires_license(name): return name == "face"
def get_task_classes(name): return CLASSES if name.startswith("total") else {1: "lung_left"}
""",
    "map_tasks_config.py": """
TASK_CONFIGS = {
    "total": {"sub_modes": {"fast": {"task_id": 297}, "default": {"task_id": [291, 292]}}},
    "total_mr": {"sub_modes": {"fast": {"task_id": 852}, "default": {"task_id": [850]}}},
    "lungs_only": {"task_id": 117, "crop": ["lung_left"], "robust_crop": True},
    "face": {"task_id": 303},
}
TASK_ID_WEIGHTS_CONFIGS = {n: {"foldername": f"Dataset{n}"}
                           for n in (291, 292, 297, 298, 300, 850, 852, 117, 303)}
""",
    "bin/__init__.py": "",
    "bin/totalseg_download_weights.py": """
TASK_TO_ID = {"total": [291, 292, 298], "total_fast": [297, 298], "lung": [117]}
""",
    "bin/TotalSegmentator.py": """
import json, os, subprocess, sys, time
import numpy as np
import SimpleITK as sitk

def main():
    how = os.environ.get("STUB_DOES", "well")
    how, _, only = how.partition(" in ")
    if only and only not in sys.argv:
        how = "well"
    with open(os.environ["STUB_NOTES"], "a") as notes:
        notes.write(json.dumps([how, os.getpid(), sys.argv[1:]]) + "\\n")
    arguments = dict(zip(sys.argv[1::1], sys.argv[2::1]))
    image = sitk.ReadImage(arguments["-i"])
    array = sitk.GetArrayFromImage(image)
    home = json.load(open(os.path.join(os.environ["TOTALSEG_HOME_DIR"], "config.json")))
    assert home["send_usage_stats"] is False
    print("licence", home.get("license_number", "none"))
    if how == "hangs":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        time.sleep(600)
    if how == "gpu-memory" and arguments["--device"] != "cpu":
        sys.exit("torch.OutOfMemoryError: CUDA out of memory.")
    if how == "writes nothing":
        return
    labels = np.zeros(array.shape, np.uint8)
    if arguments["--task"] == "lungs_only":
        labels[array < -400] = 1
    elif how != "finds nothing":
        labels[array > 90] = 1
        labels[array < -400] = 3
        labels[(array > 60) & (array <= 90)] = 2
    if how == "strange values":
        labels[0, 0, 0] = 77
    out = sitk.GetImageFromArray(labels)
    out.CopyInformation(image)
    if how == "moves it":
        out.SetOrigin([value + 3 for value in image.GetOrigin()])
    if how == "turns it":
        out = sitk.GetImageFromArray(labels[:, :, 1:])
    sitk.WriteImage(out, arguments["-o"])
    if how == "truncates it":
        data = open(arguments["-o"], "rb").read()
        open(arguments["-o"], "wb").write(data[: len(data) // 2])

if __name__ == "__main__":
    main()
""",
}


class Stub:
    """The stand-in: its notes of how it was called, its weights."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.weights = folder / "weights"
        self._notes = folder / "notes"
        self._patch = patch
        for name, text in STUB.items():
            path = folder / "package" / "totalsegmentator" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for number in (297, 298, 117, 852):
            self.add_weights(number)
        path = os.pathsep.join([str(folder / "package"), os.environ.get("PYTHONPATH", "")])
        patch.setenv("PYTHONPATH", path)
        patch.setenv("STUB_NOTES", str(self._notes))
        patch.setenv("TOTALSEG_WEIGHTS_PATH", str(self.weights))
        patch.setenv("TOTALSEG_HOME_DIR", str(folder / "home"))
        patch.delenv("TOTALSEG_LICENSE_NUMBER", raising=False)

    def add_weights(self, number: int) -> None:
        """A folder of weights that is there."""
        fold = self.weights / f"Dataset{number}" / "trainer" / "fold_0"
        fold.mkdir(parents=True)
        (fold / "checkpoint_final.pth").write_bytes(b"x")

    def does(self, how: str) -> None:
        """What it does from now on."""
        self._patch.setenv("STUB_DOES", how)

    @property
    def calls(self) -> list[tuple[str, int, list[str]]]:
        """Behaviour, process id and arguments of every call."""
        if not self._notes.exists():
            return []
        return [tuple(json.loads(line)) for line in self._notes.read_text().splitlines()]


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stub:
    """A TotalSegmentator in this interpreter that does what a test tells it to do."""
    return Stub(tmp_path, monkeypatch)
