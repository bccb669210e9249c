"""How TotalSegmentator and nnU-Net are called: argument lists, environments, folders."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from .catalogue import program_environment

INPUT, OUTPUT = "image", "labels"
# By -c, because the program's own script may lie anywhere and its module runs an example.
_NNUNET = (
    "from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder as main;"
    " main()"
)


@dataclass(frozen=True)
class Machine:
    """Where a program runs: interpreter (`other` than ours), device, threads, folder for its
    temporary files."""

    python: Path
    other: bool
    device: str
    threads: int
    scratch: Path

    def environment(self, **more: str) -> dict[str, str]:
        """The program's environment."""
        temporary = {name: str(self.scratch) for name in ("TMPDIR", "TEMP", "TMP")}
        threads = {name: str(self.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        return program_environment(other=self.other, **temporary, **threads, **more)


@dataclass(frozen=True)
class Call:
    """A program's argument list, its environment, and the file that it shall write."""

    arguments: tuple[str, ...]
    env: dict[str, str]
    output: Path


def call_totalsegmentator(
    machine: Machine,
    image: Path,
    *,
    task: str,
    fast: bool,
    subset: tuple[str, ...],
    weights: Path,
    licence: str,
) -> Call:
    """One run of a task that writes one labelled image.

    TotalSegmentator keeps its settings in a folder of its own, rewritten after each run and shared
    by all runs of a user: this one gets a private folder, without usage statistics, and with the
    licence number, which so stands in no argument list.
    """
    home = machine.scratch / "home"
    home.mkdir(exist_ok=True)
    settings = {
        "totalseg_id": "rtpipeline",
        "send_usage_stats": False,
        "prediction_counter": 0,
        "statistics_disclaimer_shown": True,
    }
    if licence:
        settings["license_number"] = licence
    (home / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    output = machine.scratch / f"{OUTPUT}.nii.gz"
    arguments = [str(machine.python), "-m", "totalsegmentator.bin.TotalSegmentator"]
    arguments += ["-i", str(image), "-o", str(output), "--ml", "--task", task]
    arguments += ["--device", machine.device]
    arguments += ["--nr_thr_resamp", str(machine.threads), "--nr_thr_saving", "1"]
    if fast:
        arguments.append("--fast")
    if subset:
        arguments += ["--roi_subset", *subset]
    env = machine.environment(TOTALSEG_HOME_DIR=str(home), TOTALSEG_WEIGHTS_PATH=str(weights))
    return Call(tuple(arguments), env, output)


def call_nnunet(
    machine: Machine, image: Path, *, folder: Path, folds: tuple[str, ...], checkpoint: str
) -> Call:
    """One run of a trained network; `image` is `<name>_0000<ending>` alone in its folder."""
    output = machine.scratch / "prediction"
    output.mkdir(exist_ok=True)
    name, _, ending = image.name.partition("_0000")
    device, _, number = machine.device.partition(":")
    arguments = [str(machine.python), "-c", _NNUNET]
    arguments += ["-i", str(image.parent), "-o", str(output), "-m", str(folder)]
    arguments += ["-f", *folds, "-chk", checkpoint, "-npp", "1", "-nps", "1"]
    arguments += ["-device", "cuda" if device == "gpu" else device]
    places = {n: str(machine.scratch) for n in ("nnUNet_raw", "nnUNet_preprocessed")}
    env = machine.environment(**places, nnUNet_results=str(folder))
    if number:
        env["CUDA_VISIBLE_DEVICES"] = number
    return Call(tuple(arguments), env, output / f"{name}{ending}")


def dataset_facts(folder: Path) -> tuple[str, int]:
    """The image format of a trained network (`.nii.gz` ..) and how many images of a patient it
    needs at once, from its dataset.json."""
    dataset = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    names = dataset.get("channel_names") or dataset.get("modality") or {}
    return str(dataset.get("file_ending", ".nii.gz")), max(1, len(names))


def available_folds(folder: Path, checkpoint: str) -> tuple[str, ...]:
    """The folds whose checkpoint is there, in order."""
    return tuple(
        sorted(
            path.parent.name.removeprefix("fold_") for path in folder.glob(f"fold_*/{checkpoint}")
        )
    )
