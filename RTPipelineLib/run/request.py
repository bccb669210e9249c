"""What a run is asked for, and what it tells a front end meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

LOCAL, SNAKEMAKE = ("local", "snakemake")


class Reporter(Protocol):
    """What a front end shows of a run's progress."""

    def begin(self, title: str, total: int) -> None: ...

    def report(self, course: str, stage: str, done: int, total: int, message: str) -> None: ...

    def advance(self, message: str) -> None: ...

    def end(self) -> None: ...


@dataclass(frozen=True)
class RunRequest:
    """What `rtpipeline run` was asked for; empty `stages` and `patients` mean all."""

    dicom_dir: Path
    out: Path
    config_path: Path | None = None
    overrides_path: Path | None = None
    roster_path: Path | None = None
    stages: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()
    jobs: int | None = None
    force: bool = False
    dry_run: bool = False
    engine: str = LOCAL
    profile: str | None = None
