"""Atomic writes under kill -9, locks, process trees and folder names, against the real system."""

from __future__ import annotations

import ctypes
import errno
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import psutil
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from RTPipelineLib import platform
from RTPipelineLib.errors import OutputError

POSIX_ONLY = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals or permissions")
ROOT = os.name == "posix" and os.geteuid() == 0


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def python() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts Python programs that find the library, and leaves none behind."""
    started: list[subprocess.Popen[bytes]] = []
    root = str(Path(__file__).resolve().parents[1])

    def start(code: str, *arguments: object) -> subprocess.Popen[bytes]:
        program = f"import sys; sys.path.insert(0, {root!r})\n" + textwrap.dedent(code)
        started.append(
            platform.start_process(
                [sys.executable, "-c", program, *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
        return started[-1]

    yield start
    for process in started:
        platform.kill_tree(process.pid, grace_s=0)
        process.communicate()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- atomic writes --------------------------------------------------------------------------------


def test_a_file_appears_complete_and_alone(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b.nrrd"
    with platform.atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".nrrd"
        assert temporary.name.startswith(".")
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert files(target.parent) == ["b.nrrd"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(error), platform.atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert files(tmp_path) == ["a.txt"]


def test_text_is_utf8_with_the_same_bytes_everywhere(tmp_path: Path) -> None:
    platform.write_text(tmp_path / "a.txt", "Prostata ä\nµGy\n")
    assert (tmp_path / "a.txt").read_bytes() == "Prostata ä\nµGy\n".encode()


def test_json_is_valid_for_every_reader(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    value = {
        "b": math.nan,
        "a": (1, 2.5, math.inf),
        "n": {"x": np.float32(0.5), "y": np.arange(3), "z": np.float64("nan"), "t": np.True_},
        "p": Path("x") / "y",
        "ROI": "Ösophagus",
        "broken": "\udcff.dcm",  # a file name that is no UTF-8, as os.fsdecode gives it
    }
    platform.write_json(path, value)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text = path.read_bytes().decode("utf-8")  # strictly
    assert json.loads(text, parse_constant=refuse) == {
        "a": [1, 2.5, None],
        "b": None,
        "n": {"t": True, "x": 0.5, "y": [0, 1, 2], "z": None},
        "p": "x/y",
        "ROI": "Ösophagus",
        "broken": "\udcff.dcm",
    }
    assert "Ösophagus" in text
    keys = re.findall(r'^  "(\w+)":', text, re.MULTILINE)
    assert keys == sorted(keys)


def test_json_refuses_what_is_not_plain_data(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        platform.write_json(tmp_path / "a.json", {"x": object()})
    assert files(tmp_path) == []


WRITE_FOR_EVER = """
    from pathlib import Path
    from RTPipelineLib.platform import write_text
    target = Path(sys.argv[1])
    print("ready", flush=True)
    for n in range(10**9):
        write_text(target, f"{n % 10}" * 400_000)
"""


@POSIX_ONLY
def test_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path, python) -> None:
    target = tmp_path / "a.txt"
    target.write_text("0" * 400_000)
    for moment in range(12):
        process = python(WRITE_FOR_EVER, target)
        process.stdout.readline()
        time.sleep(0.003 * moment)
        process.kill()
        process.wait()
        text = target.read_text()
        assert len(text) == 400_000
        assert len(set(text)) == 1
    platform.clean_leftovers(tmp_path)
    assert files(tmp_path) == ["a.txt"]


@POSIX_ONLY
def test_a_reader_sees_whole_files_while_they_are_written(tmp_path: Path, python) -> None:
    target = tmp_path / "a.txt"
    target.write_text("0" * 400_000)
    process = python(WRITE_FOR_EVER, target)
    process.stdout.readline()
    seen = set()
    end = time.monotonic() + 1.0
    while time.monotonic() < end or len(seen) < 3:
        text = target.read_text()
        assert len(text) == 400_000
        assert len(set(text)) == 1
        seen.add(text[0])
        assert process.poll() is None


@POSIX_ONLY
def test_a_full_disk_is_one_sentence(tmp_path: Path, python) -> None:
    """A file size limit makes the system refuse a real write."""
    code = """
        import resource
        from pathlib import Path
        from RTPipelineLib.errors import OutputError
        from RTPipelineLib.platform import write_text
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write_text(Path(sys.argv[1]), "x" * 5000)
        except OutputError as error:
            print(error)
    """
    out, err = python(code, tmp_path / "a.txt").communicate(timeout=60)
    assert err == b""
    message = out.decode().strip()
    assert str(tmp_path / "a.txt") in message
    assert "disk is full" in message
    assert "\n" not in message
    assert files(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_writers_that_run_out_of_disk_are_translated(tmp_path: Path, number: int) -> None:
    expected = pytest.raises(OutputError, match=re.escape(str(tmp_path / "a.txt")))
    with expected, platform.atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise OSError(number, os.strerror(number))
    assert files(tmp_path) == []


@POSIX_ONLY
@pytest.mark.skipif(
    not Path("/sys/kernel").is_dir(), reason="needs a place where root may not write"
)
def test_a_place_where_nobody_may_write_is_one_sentence() -> None:
    with pytest.raises(OutputError, match="choose another output folder") as refusal:
        platform.write_text(Path("/sys/kernel/a.txt"), "x")
    assert "\n" not in str(refusal.value)


@POSIX_ONLY
@pytest.mark.skipif(ROOT, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="permissions"):
            platform.write_text(tmp_path / "a.txt", "x")
    finally:
        tmp_path.chmod(0o700)


def test_a_file_in_the_way_of_a_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for target in (tmp_path / "file" / "a.txt", tmp_path / "file" / "deep" / "a.txt"):
        with pytest.raises(OutputError, match="a file is where a folder should be"):
            platform.write_text(target, "x")
    expected = pytest.raises(OutputError, match="a file is where a folder should be")
    with expected, platform.FolderLock(tmp_path / "file"):
        pass


def test_an_input_that_is_missing_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    expected = pytest.raises(FileNotFoundError, match=r"input\.dcm")
    with expected, platform.atomic_path(tmp_path / "a.txt"):
        (tmp_path / "elsewhere" / "input.dcm").read_bytes()


def test_a_writer_that_wrote_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError), platform.atomic_path(tmp_path / "a.txt"):
        pass
    assert files(tmp_path) == []


# -- folders and leftovers ------------------------------------------------------------------------


def make_folder(target: Path, text: str) -> Path:
    new = platform.temporary_path(target)
    (new / "sub").mkdir(parents=True)
    (new / "sub" / "fact").write_text(text)
    return new


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "dose"
    for text in ("first", "second"):
        platform.replace_folder(make_folder(target, text), target)
        assert (target / "sub" / "fact").read_text() == text
    assert files(tmp_path) == ["dose"]


REPLACE_FOR_EVER = """
    from pathlib import Path
    from RTPipelineLib.platform import clean_leftovers, replace_folder, temporary_path
    target = Path(sys.argv[1])
    print("ready", flush=True)
    for n in range(10**9):
        new = temporary_path(target)
        new.mkdir()
        for name in "abc":
            (new / name).write_text(str(n))
        replace_folder(new, target)
"""


@POSIX_ONLY
def test_kill_at_any_moment_leaves_a_whole_folder_after_cleaning(tmp_path: Path, python) -> None:
    target = tmp_path / "dose"
    new = platform.temporary_path(target)
    new.mkdir()
    for name in "abc":
        (new / name).write_text("-1")
    platform.replace_folder(new, target)
    for moment in range(12):
        process = python(REPLACE_FOR_EVER, target)
        process.stdout.readline()
        time.sleep(0.002 * moment)
        process.kill()
        process.wait()
        platform.clean_leftovers(tmp_path)
        assert files(tmp_path) == ["dose"]
        assert len({(target / name).read_text() for name in "abc"}) == 1


def test_a_kill_between_the_renames_brings_the_old_folder_back(tmp_path: Path, python) -> None:
    """The one moment without a target, made certain: the process ends inside the second rename."""
    target = tmp_path / "dose"
    platform.replace_folder(make_folder(target, "old"), target)
    code = """
        import os
        from pathlib import Path
        from RTPipelineLib import platform
        target = Path(sys.argv[1])
        new = platform.temporary_path(target)
        new.mkdir()
        class Deadly(type(new)):
            def rename(self, target):
                os._exit(9)
        platform.replace_folder(Deadly(new), target)
    """
    process = python(code, target)
    assert process.wait(60) == 9, process.stderr.read()
    assert not target.exists()
    platform.clean_leftovers(tmp_path)
    assert (target / "sub" / "fact").read_text() == "old"
    assert files(tmp_path) == ["dose"]


def test_a_folder_that_cannot_come_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "dose"
    platform.replace_folder(make_folder(target, "old"), target)
    with pytest.raises(OutputError, match="dose"):
        platform.replace_folder(tmp_path / "missing", target)
    assert (target / "sub" / "fact").read_text() == "old"
    assert files(tmp_path) == ["dose"]


def test_cleaning_leaves_the_living_and_the_strange(tmp_path: Path) -> None:
    mine = platform.temporary_path(tmp_path / "mine.txt")
    mine.write_text("in work")
    host = mine.name.split("-")[1]
    foreign = tmp_path / f".tmp-{'0' * 6 if host != '0' * 6 else '1' * 6}-1-abcdef-x.txt"
    others = [tmp_path / name for name in (".tmp", ".tmp-x", ".old-1", "dose.tmp", ".lock")]
    for path in (foreign, *others):
        path.write_text("x")
    before = files(tmp_path)
    platform.clean_leftovers(tmp_path)
    assert files(tmp_path) == before


def test_cleaning_removes_the_dead(tmp_path: Path, python) -> None:
    process = python("print('hello')")
    process.wait(60)
    living = platform.temporary_path(tmp_path / "x").name
    dead = living.replace(f"-{os.getpid()}-", f"-{process.pid}-")
    (tmp_path / dead).write_text("x")
    folder = tmp_path / (dead + "folder")
    folder.mkdir()
    (folder / "file").write_text("x")
    platform.clean_leftovers(tmp_path)
    assert files(tmp_path) == []


def test_a_reused_process_number_does_not_protect_a_leftover(tmp_path: Path, python) -> None:
    """A leftover from before its namesake's start was made by a process that is gone."""
    process = python("import time; print('ready', flush=True); time.sleep(60)")
    leftover = platform.temporary_path(tmp_path / "x").name
    path = tmp_path / leftover.replace(f"-{os.getpid()}-", f"-{process.pid}-")
    path.write_text("x")
    created = psutil.Process(process.pid).create_time()
    platform.clean_leftovers(tmp_path)
    assert path.exists()  # written while that process ran
    assert not platform.runs_since(process.pid, created - 60)
    assert platform.runs_since(process.pid, created)


def test_cleaning_an_absent_folder_does_nothing(tmp_path: Path) -> None:
    platform.clean_leftovers(tmp_path / "absent")
    platform.remove_folder(tmp_path / "absent")
    assert files(tmp_path) == []


# -- one writer per folder ------------------------------------------------------------------------

HOLD = """
    import time
    from pathlib import Path
    from RTPipelineLib.platform import FolderLock
    with FolderLock(Path(sys.argv[1]), "rtpipeline run"):
        print("locked", flush=True)
        time.sleep(60)
"""


def test_the_second_writer_learns_who_the_first_is(tmp_path: Path, python) -> None:
    holder = python(HOLD, tmp_path / "out")
    assert holder.stdout.readline().strip() == b"locked"
    with pytest.raises(OutputError) as refusal, platform.FolderLock(tmp_path / "out"):
        pass
    message = str(refusal.value)
    assert f"process {holder.pid} on host " in message
    assert "rtpipeline run" in message
    assert re.search(r"since \d{4}-\d\d-\d\dT\d\d:\d\d", message)
    assert str(tmp_path / "out") in message
    assert "wait until it ends or stop it" in message
    assert psutil.Process().username() not in (tmp_path / "out" / ".lock.json").read_text()


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path, python) -> None:
    holder = python(HOLD, tmp_path)
    holder.stdout.readline()
    holder.kill()
    holder.wait()
    assert (tmp_path / ".lock.json").exists()
    with platform.FolderLock(tmp_path):
        assert json.loads((tmp_path / ".lock.json").read_text())["pid"] == os.getpid()
    assert files(tmp_path) == [".lock"]


def test_a_refused_writer_does_not_free_the_lock(tmp_path: Path, python) -> None:
    with platform.FolderLock(tmp_path, "first"):
        for _ in range(2):
            with pytest.raises(OutputError, match="first"), platform.FolderLock(tmp_path):
                pass
        code = """
            from pathlib import Path
            from RTPipelineLib.errors import OutputError
            from RTPipelineLib.platform import FolderLock
            try:
                FolderLock(Path(sys.argv[1])).__enter__()
            except OutputError as error:
                print(error)
        """
        out, err = python(code, tmp_path).communicate(timeout=60)
        assert f"process {os.getpid()} ".encode() in out, err
    with platform.FolderLock(tmp_path):
        pass


def test_a_lock_outlives_no_error_and_no_child(tmp_path: Path, python) -> None:
    child = None
    with pytest.raises(RuntimeError), platform.FolderLock(tmp_path):
        child = python("import time; time.sleep(60)")
        raise RuntimeError
    assert child.poll() is None
    with platform.FolderLock(tmp_path):
        pass


def test_a_damaged_holder_file_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / ".lock.json").write_text("[not json")
    with platform.FolderLock(tmp_path):
        (tmp_path / ".lock.json").write_text("[]")
        with pytest.raises(OutputError, match="another process"), platform.FolderLock(tmp_path):
            pass


def foreign_holder(folder: Path, silent_for_s: float) -> Path:
    """As a run on another computer leaves it, on a share whose locks only that computer sees."""
    path = folder / ".lock.json"
    path.write_text('{"pid": 1, "host": "node7", "started": "2024-03-01", "command": "run"}')
    then = time.time() - silent_for_s
    os.utime(path, (then, then))
    return path


def test_a_living_holder_on_another_computer_is_respected(tmp_path: Path) -> None:
    path = foreign_holder(tmp_path, 30)
    with pytest.raises(OutputError, match="on host node7") as refusal:
        platform.FolderLock(tmp_path).__enter__()
    assert "free after 120 s" in str(refusal.value)
    assert path.exists()


def test_a_silent_holder_on_another_computer_is_replaced(tmp_path: Path) -> None:
    foreign_holder(tmp_path, 150)
    with platform.FolderLock(tmp_path):
        assert json.loads((tmp_path / ".lock.json").read_text())["pid"] == os.getpid()
    assert files(tmp_path) == [".lock"]


def test_a_holder_shows_that_it_lives(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(platform.locks, "SIGN_OF_LIFE_S", 0.05)
    path = tmp_path / ".lock.json"
    with platform.FolderLock(tmp_path):
        os.utime(path, (1, 1))
        wait_for(lambda: time.time() - path.stat().st_mtime < 10)


@pytest.mark.parametrize("living", [True, False])
def test_without_locks_of_the_system_the_process_number_decides(
    tmp_path: Path, monkeypatch, python, living: bool
) -> None:
    monkeypatch.setattr(platform.locks, "_lock_file", lambda file: None)
    holder = python("import time; print(1, flush=True); time.sleep(60)" if living else "pass")
    holder.stdout.readline()
    if not living:
        holder.wait(60)
    path = foreign_holder(tmp_path, 0)
    note = {"pid": holder.pid, "host": socket.gethostname()}
    path.write_text(json.dumps(note))
    if living:
        with pytest.raises(OutputError, match=f"process {holder.pid} "):
            platform.FolderLock(tmp_path).__enter__()
    else:
        with platform.FolderLock(tmp_path):
            assert json.loads(path.read_text())["pid"] == os.getpid()


# -- processes ------------------------------------------------------------------------------------

STUBBORN = """
    import os, signal, subprocess, time
    from pathlib import Path
    folder, depth = Path(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if depth:
        subprocess.Popen([sys.executable, "-c", sys.argv[3], folder, str(depth - 1), sys.argv[3]])
    (folder / str(os.getpid())).touch()
    time.sleep(120)
"""


def stubborn_tree(folder: Path, python) -> tuple[subprocess.Popen[bytes], list[int]]:
    program = "import sys\n" + textwrap.dedent(STUBBORN)
    process = python(STUBBORN, folder, 2, program)
    wait_for(lambda: len(files(folder)) == 3)
    return process, [int(name) for name in files(folder)]


def test_a_stubborn_tree_ends_as_a_whole(tmp_path: Path, python) -> None:
    process, members = stubborn_tree(tmp_path, python)
    assert process.pid in members
    platform.kill_tree(process.pid, grace_s=0.3)
    assert [pid for pid in members if runs(pid)] == []
    if os.name == "posix":
        assert process.wait() == -signal.SIGKILL  # the status was left to the caller


@POSIX_ONLY
def test_orphans_of_a_tree_end_too(tmp_path: Path, python) -> None:
    process, members = stubborn_tree(tmp_path, python)
    process.kill()
    process.wait()
    assert sum(runs(pid) for pid in members) == 2
    platform.kill_tree(process.pid, grace_s=0)
    assert [pid for pid in members if runs(pid)] == []


DAEMON = """
    import os, subprocess, time
    from RTPipelineLib.platform import adopt_orphans, end_children
    adopt_orphans()
    code = (
        "import os, time, sys\\n"
        "if os.fork(): os._exit(0)\\n"
        "os.setsid()\\n"
        "open(sys.argv[1], 'w').write(str(os.getpid()))\\n"
        "time.sleep(120)"
    )
    subprocess.run([sys.executable, "-c", code, sys.argv[1]])
    while not os.path.exists(sys.argv[1]) or not open(sys.argv[1]).read():
        time.sleep(0.01)
    if sys.argv[2] == "end":
        print(end_children(), flush=True)
    print("ready", flush=True)
    time.sleep(120)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands orphans on")
def test_a_daemon_that_left_the_session_ends_with_the_tree(tmp_path: Path, python) -> None:
    process = python(DAEMON, tmp_path / "pid", "stay")
    process.stdout.readline()
    daemon = int((tmp_path / "pid").read_text())
    assert runs(daemon) and os.getsid(daemon) != process.pid
    platform.kill_tree(process, grace_s=0)
    assert not runs(daemon) and process.wait() == -signal.SIGKILL


@POSIX_ONLY
def test_those_seen_before_end_though_nothing_leads_to_them_now(tmp_path: Path, python) -> None:
    process = python(DAEMON, tmp_path / "pid", "stay")
    process.stdout.readline()
    state = platform.look_at_trees([process.pid])[process.pid]
    daemon = int((tmp_path / "pid").read_text())
    if sys.platform == "linux":
        assert {process.pid, daemon} == {member.pid for member in state.members}
        assert 5 < state.memory_mb < 500
    process.kill()
    process.wait()
    assert runs(daemon)
    platform.kill_tree(process, 0, seen=state.members | {psutil.Process(daemon)})
    assert not runs(daemon)


@POSIX_ONLY
def test_a_daemon_is_known_by_its_mark_when_its_tree_is_gone(tmp_path: Path, python) -> None:
    process = python(DAEMON, tmp_path / "pid", "stay")
    process.stdout.readline()
    process.kill()
    process.wait()
    daemon = int((tmp_path / "pid").read_text())
    assert runs(daemon)
    platform.kill_tree(process, 0)
    assert not runs(daemon)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands orphans on")
def test_a_worker_ends_what_was_left_running(tmp_path: Path, python) -> None:
    process = python(DAEMON, tmp_path / "pid", "end")
    assert process.stdout.readline().split() == [b"1"], process.stderr.read()
    assert not runs(int((tmp_path / "pid").read_text()))
    assert process.poll() is None


@POSIX_ONLY
def test_a_stopped_process_ends(python) -> None:
    process = python("import time; print(1, flush=True); time.sleep(60)")
    process.stdout.readline()
    psutil.Process(process.pid).suspend()
    platform.kill_tree(process, grace_s=0.2)
    assert not runs(process.pid)


def test_the_layout_of_windows_structures() -> None:
    """144 bytes: JOBOBJECT_EXTENDED_LIMIT_INFORMATION of winnt.h on 64 bits."""
    from RTPipelineLib.platform import windows_job

    if sys.maxsize > 2**32:
        assert ctypes.sizeof(windows_job._ExtendedLimits) == 144


@POSIX_ONLY
def test_a_process_that_obeys_may_tidy_up(tmp_path: Path, python) -> None:
    code = """
        import signal, time
        from pathlib import Path
        def tidy(*_):
            Path(sys.argv[1]).write_text("tidy")
            sys.exit(7)
        signal.signal(signal.SIGTERM, tidy)
        print("ready", flush=True)
        time.sleep(60)
    """
    process = python(code, tmp_path / "note")
    process.stdout.readline()
    platform.kill_tree(process.pid, grace_s=20)
    assert (tmp_path / "note").read_text() == "tidy"
    assert process.wait() == 7


def test_killing_what_is_gone_does_nothing(python) -> None:
    process = python("pass")
    process.wait(60)
    platform.kill_tree(process.pid)


def test_kill_tree_spares_everyone_else(python) -> None:
    bystander = python("import time; time.sleep(60)")
    victim = python("import time; time.sleep(60)")
    platform.kill_tree(victim.pid, grace_s=1)
    assert not runs(victim.pid)
    assert runs(bystander.pid)


@POSIX_ONLY
def test_a_process_has_its_own_session_and_environment(python) -> None:
    with platform.start_process(
        [sys.executable, "-c", "import os; print(os.getsid(0) == os.getpid(), os.environ['X'])"],
        env={**os.environ, "X": "ä"},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.read().decode().split() == ["True", "ä"]
    assert "X" not in os.environ


def test_a_program_that_does_not_exist_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nothing-here"):
        platform.start_process([tmp_path / "nothing-here"])


def test_workers_end_with_a_killed_parent(tmp_path: Path, python) -> None:
    worker = """
        import os, subprocess, time
        from pathlib import Path
        from RTPipelineLib.platform import exit_with_parent
        exit_with_parent(int(sys.argv[2]), interval_s=0.05)
        inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
        Path(sys.argv[1], str(inner.pid)).touch()
        Path(sys.argv[1], str(os.getpid())).touch()
        time.sleep(120)
    """
    root = str(Path(__file__).resolve().parents[1])
    program = f"import sys; sys.path.insert(0, {root!r})\n" + textwrap.dedent(worker)
    parent = python(
        """
        import os, subprocess, time
        subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[1], str(os.getpid())])
        time.sleep(120)
        """,
        tmp_path,
        program,
    )
    wait_for(lambda: len(files(tmp_path)) == 2)
    pids = [int(name) for name in files(tmp_path)]
    time.sleep(0.3)
    assert all(runs(pid) for pid in pids)  # they stay as long as the parent does
    parent.kill()
    parent.wait()
    wait_for(lambda: not any(runs(pid) for pid in pids))


def test_a_worker_whose_parent_is_already_gone_ends(python) -> None:
    gone = python("pass")
    gone.wait(60)
    code = """
        import time
        from RTPipelineLib.platform import exit_with_parent
        exit_with_parent(int(sys.argv[1]))
        time.sleep(60)
    """
    assert python(code, gone.pid).wait(30) == 1


def test_memory_and_cores_are_those_of_this_process(python) -> None:
    code = """
        from RTPipelineLib.platform import peak_memory_mb
        before = peak_memory_mb()
        block = b"x" * 150_000_000
        del block
        print(before, peak_memory_mb())
    """
    out, err = python(code).communicate(timeout=60)
    before, after = map(float, out.split())
    assert 1 < before < 150, err
    assert 145 < after - before < 170  # 150 MB of a buffer that was freed again
    assert 1 <= platform.available_cores() <= os.cpu_count()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can count anew")
def test_memory_is_counted_anew(python) -> None:
    code = """
        from RTPipelineLib.platform import current_memory_mb, peak_memory_mb, restart_peak_memory
        block = b"x" * 150_000_000
        del block
        high = peak_memory_mb()
        assert restart_peak_memory()
        print(high - peak_memory_mb(), current_memory_mb() / peak_memory_mb())
    """
    out, err = python(code).communicate(timeout=60)
    gone, share = map(float, out.split())
    assert gone > 140 and 0.8 < share < 1.2, err
    assert 100 < platform.machine_memory_mb() <= psutil.virtual_memory().total / 1e6


def test_what_is_printed_goes_to_the_log_and_not_into_the_channel(tmp_path: Path, python) -> None:
    code = """
        import os, subprocess
        from pathlib import Path
        from RTPipelineLib.platform import redirect_output, take_channel
        reader, writer = take_channel()
        for name in "ab":
            redirect_output(Path(sys.argv[1], name))
            print("Python", name)
            os.write(1, b"system\\n")
            subprocess.run([sys.executable, "-c", "print('child')"])
            print("error", file=sys.stderr)
        assert sys.stdin.read() == ""
        print(reader.readline().strip(), file=writer)
    """
    process = python(code, tmp_path)
    out, err = process.communicate(timeout=60)
    assert (out.split(), err) == ([], b""), err
    for name in "ab":
        text = (tmp_path / name).read_text().split()
        assert text == ["Python", name, "system", "child", "error"]


# -- names ----------------------------------------------------------------------------------------

anything = st.text(st.characters(exclude_categories=()), min_size=1, max_size=80)
nearly_names = st.text("ABCabc019_-. /\\é:", min_size=1, max_size=45)


@pytest.mark.filterwarnings("ignore:pathlib.PureWindowsPath.is_reserved:DeprecationWarning")
@given(anything | nearly_names, st.integers(16, 60))
@example("../../x", 40)
@example("..", 40)
@example("C:\\x", 40)
@example("\0", 40)
@example("a" * 300, 40)
def test_a_folder_name_is_one_safe_component(text: str, limit: int) -> None:
    name = platform.folder_name(text, limit)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", name)
    assert len(name) <= limit
    assert PureWindowsPath(name).parts == PurePosixPath(name).parts == (name,)
    assert not PureWindowsPath(name).is_reserved()
    assert name.lower() not in {"results", "logs"}
    assert platform.folder_name(text, limit) == name


@given(anything | nearly_names, anything | nearly_names)
def test_different_texts_have_different_names_on_any_file_system(one: str, other: str) -> None:
    names = {platform.folder_name(text).casefold() for text in (one, other)}
    assert len(names) == len({one, other})


@given(anything | nearly_names)
def test_variants_of_a_text_have_different_names(text: str) -> None:
    """Also the one that is the name of another text, which a careless rule would let collide."""
    name = platform.folder_name(text)
    texts = {text, text.upper(), text.lower(), text + " ", name, name.upper(), text + "A" * 50}
    assert len({platform.folder_name(variant).casefold() for variant in texts}) == len(texts)


@pytest.mark.parametrize("text", ["A", "PAT001", "12345678", "HN_01-B", "A" * 32])
def test_short_upper_case_identifiers_stay(text: str) -> None:
    assert platform.folder_name(text) == text


@pytest.mark.parametrize(
    "text",
    ["con", "CON", "NUL", "COM1", "LPT9", "RESULTS", "LOGS", "-RF", "_A", "A" * 33, "a", "A."],
)
def test_others_get_a_mark(text: str) -> None:
    assert re.search(r"-[0-9a-f]{8}$", platform.folder_name(text))


def test_the_readable_part_stays_readable() -> None:
    # digits from `printf '%s' 'smith, john' | sha256sum`
    assert platform.folder_name("smith, john") == "smith_john-423778cd"
    assert platform.folder_name("CON") == "CON-a3dbc4b6"


def test_an_empty_name_is_the_callers_error() -> None:
    with pytest.raises(ValueError, match="empty"):
        platform.folder_name("")
