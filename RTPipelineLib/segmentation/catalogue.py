"""What the installed TotalSegmentator offers, and whether a task can run here: its weights and its
licence are looked at before any work starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import UsageError
from .terms import Term

TIMEOUT_S = 120.0
LICENCE_LENGTH = 18  # of TotalSegmentator's licence numbers, which it checks the same way offline
LICENCE_VARIABLE = "TOTALSEG_LICENSE_NUMBER"
INSTALL = "pip install 'TotalSegmentator>=2.18'"


@dataclass(frozen=True)
class TaskFacts:
    """A task of TotalSegmentator: modality (CT, MR), whether it needs a licence, its classes by
    label value, whether it has a fast model, and its folders of weights."""

    name: str
    modality: str
    licensed: bool
    classes: Mapping[int, str]
    weights: Mapping[str, tuple[str, ...]]
    crop_weights: tuple[str, ...]

    def folders(self, fast: bool, subset: bool) -> tuple[str, ...]:
        """The folders of weights that a run needs."""
        own = self.weights["fast" if fast and "fast" in self.weights else "full"]
        return tuple(dict.fromkeys([*own, *(self.crop_weights if subset else ())]))


@dataclass(frozen=True)
class Catalogue:
    """The tasks, codes and colours of the TotalSegmentator that `python` has, and the names under
    which its weights are fetched."""

    python: Path
    versions: Mapping[str, str]
    tasks: Mapping[str, TaskFacts]
    terms: Mapping[str, Term]
    downloads: Mapping[str, tuple[str, ...]]

    def task(self, name: str) -> TaskFacts:
        """A task by name. Raises `UsageError` with the nearest name."""
        from difflib import get_close_matches

        if name not in self.tasks:
            near = get_close_matches(name, self.tasks, 1)
            hint = f"did you mean {near[0]}?" if near else f"tasks are {', '.join(self.tasks)}"
            version = self.versions.get("totalsegmentator")
            raise UsageError(f"TotalSegmentator {version} has no task {name!r}; {hint}")
        return self.tasks[name]

    def check_subset(self, task: TaskFacts, subset: tuple[str, ...]) -> None:
        """Raise `UsageError` when a class of `roi_subset` is none of the task."""
        from difflib import get_close_matches

        if subset and not task.name.startswith("total"):
            raise UsageError(f"roi_subset works with the tasks total and total_mr, not {task.name}")
        for name in subset:
            if name not in task.classes.values():
                near = get_close_matches(name, task.classes.values(), 1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise UsageError(f"roi_subset: task {task.name} has no class {name!r}{hint}")

    def missing_weights(
        self, task: TaskFacts, fast: bool, subset: bool, folder: Path
    ) -> tuple[str, ...]:
        """Folders of weights that a run needs and that `folder` lacks, or holds without a
        checkpoint."""
        wanted = task.folders(fast, subset)
        return tuple(name for name in wanted if not any((folder / name).glob("*/fold_*/*.pth")))

    def fetch_commands(self, folders: tuple[str, ...]) -> list[str]:
        """The commands that fetch these folders of weights."""
        left, commands = set(folders), []
        while left:
            best = max(self.downloads, key=lambda n: len(left & set(self.downloads[n])), default="")
            gain = left & set(self.downloads.get(best, ()))
            if not gain:
                break
            commands.append(f"totseg_download_weights -t {best}")
            left -= gain
        return commands


@dataclass(frozen=True)
class Home:
    """Where TotalSegmentator finds weights and licence, from the configuration, else from the
    user's own installation."""

    weights: Path | None = None
    license_file: Path | None = None

    @cached_property
    def _own(self) -> Path:
        return Path(os.environ.get("TOTALSEG_HOME_DIR") or Path.home() / ".totalsegmentator")

    @property
    def weights_folder(self) -> Path:
        """The folder of weights."""
        named = self.weights or os.environ.get("TOTALSEG_WEIGHTS_PATH")
        return Path(named) if named else self._own / "nnunet" / "results"

    def licence(self) -> str:
        """The licence number; empty when there is none. Raises `UsageError` for a file that cannot
        be read or holds something else."""
        if self.license_file is not None:
            try:
                number = self.license_file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"{self.license_file} cannot be read: {error}") from error
            if len(number) != LICENCE_LENGTH:
                raise UsageError(
                    f"{self.license_file} does not hold a licence number of TotalSegmentator "
                    f"({LICENCE_LENGTH} characters and nothing else)"
                )
            return number
        if os.environ.get(LICENCE_VARIABLE):
            return os.environ[LICENCE_VARIABLE].strip()
        try:
            own = json.loads((self._own / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return ""
        return str(own.get("license_number", "")) if isinstance(own, dict) else ""


def read_catalogue(python: Path | None = None) -> Catalogue:
    """Ask the TotalSegmentator of an interpreter (None: this one) what it offers.

    Raises `UsageError` when there is none, or an older one than 2.18.
    """
    interpreter = Path(sys.executable) if python is None else python
    child = Path(__file__).with_name("totalsegmentator_child.py")
    where = f"{interpreter} (segmentation.python)" if python else f"{interpreter}"
    try:
        done = subprocess.run(
            [str(interpreter), str(child)],
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
            env=program_environment(other=python is not None),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{where} cannot be asked for TotalSegmentator: {error}") from error
    if done.returncode:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        last = words[-1] if words else f"status {done.returncode}"
        if "No module named 'totalsegmentator'" in last:
            raise UsageError(
                f"TotalSegmentator is not installed in {where}: install it into an environment of "
                f"its own ({INSTALL}) and name that interpreter in segmentation.python"
            )
        if "totalsegmentator.registry" in last or "map_tasks_config" in last:
            raise UsageError(f"{where} has a TotalSegmentator older than 2.18: {INSTALL}")
        raise UsageError(f"TotalSegmentator in {where} does not work: {last}")
    found = json.loads(done.stdout)
    tasks = {
        name: TaskFacts(
            name,
            facts["modality"],
            facts["licensed"],
            {int(value): label for value, label in facts["classes"].items()},
            {mode: tuple(folders) for mode, folders in facts["weights"].items()},
            tuple(facts["crop_weights"]),
        )
        for name, facts in found["tasks"].items()
    }
    versions = {"totalsegmentator": found["totalsegmentator"], **found["versions"]}
    return Catalogue(
        interpreter,
        {name: version for name, version in versions.items() if version},
        tasks,
        {name: Term.from_table(term) for name, term in found["terms"].items()},
        {name: tuple(folders) for name, folders in found["downloads"].items()},
    )


def program_environment(*, other: bool, **more: str) -> dict[str, str]:
    """The environment of a program: ours without what would turn an `other` interpreter away from
    its own packages (Slicer's launcher sets all of these)."""
    env = dict(os.environ)
    if other:
        for name in (
            *("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONNOUSERSITE"),
            *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"),
        ):
            env.pop(name, None)
    return env | {"MPLBACKEND": "Agg", "PYTHONUNBUFFERED": "1"} | more
