"""What `rtpipeline status` shows of an output folder, while or after a run. Only reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..course import course_folders, read_course
from ..errors import DataError
from ..platform import FolderLock
from ..stages import SKIPPED, STAGES
from ..stages.facts import course_row
from .ledger import Record, valid_record
from .output import RUNNING, read_run

NOT_RUN = "not run"


@dataclass(frozen=True)
class CourseState:
    """One course: the record of every stage that has one, the stage that runs now, the dose's
    question that waits for an answer, or why the course cannot be read."""

    folder: Path
    patient_id: str
    course_id: str
    records: dict[str, Record]
    running: str = ""
    question: str = ""
    problem: str = ""

    @property
    def name(self) -> str:
        """`<patient>/<course>` as the folders are called."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def failed(self) -> tuple[Record, ...]:
        """The stages that failed, or partly."""
        return tuple(record for record in self.records.values() if record.is_failure)

    @property
    def needs_attention(self) -> bool:
        """True when a person has to look at it."""
        return bool(self.problem or self.question or self.failed)

    def state_of(self, stage: str) -> str:
        """In one word or two."""
        record = self.records.get(stage)
        if stage == self.running:
            return "running"
        return record.status if record else NOT_RUN

    @property
    def remarks(self) -> list[str]:
        """Reasons of everything that is not simply done."""
        return [
            f"{record.stage} {record.status}: {record.reason}"
            for record in self.records.values()
            if record.reason and (record.is_failure or record.status == SKIPPED)
        ]


def run_line(out: Path) -> str:
    """The last run in one line, and whether it still goes on."""
    run = read_run(out)
    state, holder = run["state"], FolderLock(out).holder()
    if state == RUNNING:
        state = f"running ({holder})" if holder else "was killed; the next run goes on from here"
    elif holder:
        state = f"{state}; in use now ({holder})"
    error = f": {run['error']}" if run.get("error") else ""
    return f"{out}: run of {run['started']}, {state}{error}, RT Pipeline {run['version']}"


def course_states(out: Path) -> Iterator[CourseState]:
    """Every course as it stands on the disk at this moment."""
    for folder in course_folders(out):
        yield course_state(folder, out)


def course_state(folder: Path, out: Path) -> CourseState:
    """The state of one course folder."""
    try:
        course = read_course(folder)
    except DataError as error:
        return CourseState(folder, "", folder.name, {}, problem=str(error))
    found = {name: valid_record(folder, name) for name in STAGES}
    records = {name: record for name, record in found.items() if record is not None}
    holder = FolderLock(folder).holder() if (folder / ".lock.json").exists() else ""
    running = next((name for name in STAGES if holder.endswith(f"rtpipeline stage {name}")), "")
    row = course_row(course, folder, out)
    waits = row["dose_decision"] == "needs-decision"
    question = f"{row['dose_reason']}; edit {folder / 'overrides.yaml'}" if waits else ""
    return CourseState(folder, course.patient_id, course.course_id, records, running, question)
