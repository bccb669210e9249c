"""Stages that misbehave, for tests alone: Python imports this file at its start where its folder is
on PYTHONPATH. In a worker of the local engine the stage `dose` of the courses that FAULTS_FILE
names does harm; the library knows nothing of it.

FAULTS_FILE is JSON: `{"notes": folder, "faults": {patient_id: name of a function below}}`. Process
numbers of children go to `notes`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

STAGE = "dose"
SLEEP = "import time; time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
DAEMON = (
    "import os, sys, time\n"
    "if os.fork(): os._exit(0)\n"
    "os.setsid()\n"
    "open(os.path.join(sys.argv[1], str(os.getpid())), 'w').close()\n"
    "time.sleep(600)"
)


class Victim:
    """One run of the stage for a course that shall suffer."""

    def __init__(self, task, run, notes: Path) -> None:
        self.task, self.run, self.notes = task, run, notes

    def child(self, code: str) -> None:
        process = subprocess.Popen([sys.executable, "-S", "-c", code])
        (self.notes / str(process.pid)).touch()

    def once(self) -> bool:
        """True at the first run of this stage for this course."""
        mark = self.notes / f"{self.task.course.patient_id}.once"
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    # -- faults: what each returns is the stage's outcome -----------------------------------------

    def hang(self):
        while True:
            time.sleep(1)

    def ignore_signals(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.child(DEAF)
        self.hang()

    def stop(self):
        os.kill(os.getpid(), signal.SIGSTOP)
        self.hang()

    def hang_in_c(self):
        """Keeps the interpreter's lock, so that no thread of the worker runs any more."""
        import ctypes

        ctypes.PyDLL(None).sleep(600)

    def leave_children(self):
        self.child(SLEEP)
        subprocess.run([sys.executable, "-S", "-c", DAEMON, str(self.notes)], check=True)
        return self.run(self.task)

    def die_with_children(self):
        self.leave_children()
        while sum(path.name.isdigit() for path in self.notes.iterdir()) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)

    def kill(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def kill_once(self):
        return self.kill() if self.once() else self.run(self.task)

    def kill_job(self):
        """As a cluster does that ends a job: the command goes with its worker."""
        os.kill(os.getppid(), signal.SIGKILL)
        self.hang()

    def stop_job(self):
        """The command does not come to an end, nor does it watch the time any more."""
        os.kill(os.getppid(), signal.SIGSTOP)
        self.hang()

    def crash(self):
        import faulthandler

        faulthandler._sigsegv()

    def exit(self):
        os._exit(7)

    def exhaust_memory(self):
        blocks = []
        while True:
            blocks.append(b"x" * 20_000_000)
            time.sleep(0.005)

    def exhaust_memory_once(self):
        return self.exhaust_memory() if self.once() else self.run(self.task)

    def memory_error_once(self):
        if self.once():
            raise MemoryError
        return self.run(self.task)

    def child_exhausts_memory(self):
        code = "x = []\nwhile True: x.append(b'x' * 20_000_000); import time; time.sleep(0.005)"
        self.child(code)
        self.hang()

    def fill_disk(self):
        """The course lies on a small volume of its own, which is full from now on."""
        with suppress(OSError), (self.task.folder / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(b"x" * 1024)
        return self.run(self.task)

    def bug(self):
        raise RuntimeError("planted")


def install(path: Path) -> None:
    """Put the faults before the stage."""
    from importlib import import_module

    plan = json.loads(path.read_text(encoding="utf-8"))
    module = import_module(f"RTPipelineLib.stages.{STAGE}")
    original = module.STAGE

    def run(task):
        fault = plan["faults"].get(task.course.patient_id)
        if fault is None:
            return original.run(task)
        return getattr(Victim(task, original.run, Path(plan["notes"])), fault)()

    module.STAGE = replace(original, run=run)


if "RTPipelineLib.run.child" in sys.orig_argv and os.environ.get("FAULTS_FILE"):
    install(Path(os.environ["FAULTS_FILE"]))
