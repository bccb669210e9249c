"""Programs that hang, ignore signals, leave children or lack memory: all ends, with a reason."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from living import alive

from RTPipelineLib.segmentation.reasons import GPU_MEMORY, MEMORY, explain, failure_kind
from RTPipelineLib.segmentation.watch import Ending, Limits, run_program

# Writes the ids of itself and of two children, which all ignore the polite signal; one child has
# left the family (its parent is gone).
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
first = subprocess.Popen([sys.executable, "-c", child])
orphan = subprocess.run(
    [sys.executable, "-c",
     "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', sys.argv[1]],"
     " stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)", child],
    capture_output=True, text=True).stdout.strip()
open(sys.argv[1], "w").write(f"{os.getpid()} {first.pid} {orphan}")
print("started", flush=True)
time.sleep(600)
"""
GENEROUS = Limits(timeout_s=60, stall_s=60)


def _run(code: str, folder: Path, limits: Limits = GENEROUS, *arguments: str, listen=None):
    return run_program(
        [sys.executable, "-c", code, *arguments],
        env=dict(os.environ),
        cwd=folder,
        limits=limits,
        listen=listen or (lambda line, percent: None),
    )


def _pids(file: Path) -> list[int]:
    return [int(pid) for pid in file.read_text().split()]


def _wait_for(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


def test_lines_and_percentages_are_forwarded(tmp_path):
    heard = []
    code = "import sys; print('one'); sys.stderr.write('\\r 10%|#  | 1/9\\r 90%|## | 8/9\\n')"
    ending = _run(code, tmp_path, listen=lambda line, percent: heard.append((line, percent)))
    assert ending.succeeded
    assert ("one", None) in heard
    assert [percent for _, percent in heard if percent is not None] == [10, 90]
    assert ending.tail == ("one",)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signal that can be ignored")
@pytest.mark.parametrize("limits", [Limits(2.0, 60.0), Limits(60.0, 2.0)], ids=["time", "silence"])
def test_nothing_is_left_of_a_program_that_hangs(tmp_path, limits):
    ending = _run(STUBBORN, tmp_path, limits, str(tmp_path / "pids"))
    assert ending.how == ("timeout" if limits.timeout_s < 10 else "stalled")
    pids = _pids(tmp_path / "pids")
    assert len(pids) == 3
    assert alive(pids) == []
    assert "segmentation." in explain(ending, limits)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_nothing_is_left_when_the_asking_process_is_killed(tmp_path):
    asking = (
        "import os, sys; from pathlib import Path\n"
        "from RTPipelineLib.segmentation.watch import Limits, run_program\n"
        "run_program([sys.executable, '-c', sys.argv[1], sys.argv[2]], env=dict(os.environ),"
        " cwd=Path.cwd(), limits=Limits(600, 600))"
    )
    file = tmp_path / "pids"
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", asking, STUBBORN, str(file)], env={**os.environ, "PYTHONPATH": root}
    )
    _wait_for(lambda: file.exists() and len(file.read_text().split()) == 3)
    guard = psutil.Process(process.pid).children()[0].pid
    process.kill()
    process.wait()
    _wait_for(lambda: not alive([*_pids(file), guard]))


def test_an_interrupt_ends_the_program(tmp_path):
    class Stop(BaseException):
        pass

    def listen(line: str, percent: int | None) -> None:
        pids.append(int(line))

    pids: list[int] = []
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    import RTPipelineLib.segmentation.watch as watch

    original = watch.time.sleep

    def sleep(seconds: float) -> None:
        original(seconds)
        if pids:
            raise Stop

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(watch.time, "sleep", sleep)
        _run(code, tmp_path, listen=listen)
    assert alive(pids) == []


def test_a_program_that_is_not_there(tmp_path):
    ending = run_program(
        [str(tmp_path / "nothing")], env=dict(os.environ), cwd=tmp_path, limits=GENEROUS
    )
    assert not ending.succeeded
    assert "could not be started" in ending.tail[-1]


@pytest.mark.parametrize(
    ("printed", "kind", "words"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried ..", GPU_MEMORY, "memory of the GPU"),
        ("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried",
         MEMORY, "memory of this computer"),
        ("OSError: [Errno 28] No space left on device: 'x'", "other", "disk is full"),
        ("RuntimeError: PytorchStreamReader failed reading zip archive", "other", "damaged"),
        ("ModuleNotFoundError: No module named 'nnunetv2'", "other", "missing: nnunetv2"),
        ("something else", "other", "its last words: something else"),
    ],
)  # fmt: skip
def test_reasons_are_plain_words(printed, kind, words):
    ending = Ending("ended", 1, ("Traceback", printed), 1.0)
    assert failure_kind(ending) == kind
    assert words in explain(ending, GENEROUS)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_program_most_likely_lacked_memory(tmp_path):
    ending = _run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", tmp_path)
    assert ending.status == 137
    assert failure_kind(ending) == MEMORY
    assert "memory did not suffice" in explain(ending, GENEROUS)
