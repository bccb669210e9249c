"""Harm done to stages from within: the run ends, all else is done, nothing is left running, and the
next run repairs what can be repaired."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import psutil
import pytest

from RTPipelineLib.cli import main
from RTPipelineLib.course import course_folders
from RTPipelineLib.phantoms.cohort import COHORT, FAULTS
from RTPipelineLib.phantoms.patient import make_patient
from RTPipelineLib.phantoms.scale import tiny_patients
from RTPipelineLib.run.ledger import read_record

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the faults are those of POSIX systems")

LIBRARY = Path(__file__).resolve().parents[2]
FAULTY = Path(__file__).parent / "faults"
# Fault -> words of its row, or None where the stage succeeds in the end.
HARM = {
    "ignore_signals": "was ended after 10 s",
    "stop": "was ended after 10 s",
    "leave_children": None,
    "die_with_children": "was killed by signal 9",
    "kill_once": None,
    "crash": "was killed by signal 11",
    "exhaust_memory": "for lack of memory",
    "bug": "internal error in stage dose: RuntimeError: planted",
}
MORE_HARM = {
    **HARM,
    "ignore_signals": "was ended after 60 s",
    "stop": "was ended after 60 s",
    "hang": "was ended after 60 s",
    "hang_in_c": "was ended after 60 s",
    "exit": "ended with status 7",
    "memory_error_once": None,
    "kill": "was killed by signal 9",
    "exhaust_memory_once": None,
    "child_exhausts_memory": "for lack of memory",
}


@pytest.fixture
def plant(tmp_path: Path, monkeypatch) -> Iterator[Callable[[dict[str, str]], Path]]:
    """Plants faults (by patient) into the workers to come; returns the folder of process numbers.
    Nothing that it started is left behind."""
    notes = tmp_path / "notes"
    notes.mkdir()
    path = tmp_path / "faults.json"

    def install(faults: dict[str, str]) -> Path:
        path.write_text(json.dumps({"notes": str(notes), "faults": faults}))
        monkeypatch.setenv("FAULTS_FILE", str(path))
        monkeypatch.setenv("PYTHONPATH", str(FAULTY))
        return notes

    yield install
    for pid in started(notes):
        if psutil.pid_exists(pid):
            psutil.Process(pid).kill()


def started(notes: Path) -> list[int]:
    return [int(path.name) for path in notes.iterdir() if path.name.isdigit()]


def write_config(folder: Path, timeout_s: float, memory_gb: float) -> Path:
    path = folder / "config.yaml"
    path.write_text(f"run: {{jobs: 2, timeout_s: {timeout_s}, memory_gb: {memory_gb}}}\n")
    return path


def failures(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "results" / "failures.csv", keep_default_na=False)


def statuses(out: Path, stage: str) -> dict[str, str]:
    return {f.parent.name: read_record(f, stage).status for f in course_folders(out)}


def assert_nothing_runs(notes: Path) -> None:
    left = []
    for pid in started(notes):
        try:
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE:
                left.append(" ".join(process.cmdline()))
        except psutil.NoSuchProcess:
            continue
    workers = [
        child.cmdline()
        for child in psutil.Process().children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE and "RTPipelineLib.run.child" in child.cmdline()
    ]
    assert left == [] and workers == []


def check(out: Path, victims: dict[str, str], harm: dict[str, str | None]) -> None:
    """Every victim has its row, everybody else has everything."""
    table = failures(out)
    table = table[table.stage.isin(["load", "dose", "dvh", "report"])]
    rows = table.groupby("patient_id").error.apply(" | ".join)
    for patient, fault in victims.items():
        words = harm[fault]
        if words is None:
            assert patient not in rows, rows[patient]
        else:
            assert words in rows[patient], (patient, rows[patient])
    hurt = {patient for patient, fault in victims.items() if harm[fault]}
    assert set(rows.index) == hurt
    for stage in ("load", "dose", "dvh", "report"):
        for patient, status in statuses(out, stage).items():
            if patient not in hurt or stage == "load":
                assert status in ("done", "skipped"), (patient, stage, status)
    dvh = statuses(out, "dvh")
    assert {dvh[patient] for patient in hurt} == {"skipped"}


def test_harm_costs_its_course_alone_and_the_next_run_repairs(tmp_path, plant, monkeypatch):
    dicom, out = tmp_path / "dicom", tmp_path / "out"
    patients = [p.patient_id for p in tiny_patients(dicom, len(HARM) + 1)]
    victims = dict(zip(patients, HARM, strict=False))
    notes = plant(victims)
    config = write_config(tmp_path, 10, 1.5)
    arguments = ["run", str(dicom), str(out), "--config", str(config), "--quiet"]
    assert main(arguments) == 3
    assert_nothing_runs(notes)
    assert len(started(notes)) >= 6
    check(out, victims, HARM)
    by_fault = {fault: next(out.glob(f"{patient}/*")) for patient, fault in victims.items()}
    attempts = {fault: read_record(folder, "dose").attempts for fault, folder in by_fault.items()}
    assert attempts["kill_once"] == (
        "was killed by signal 9 (the system may have run out of memory)",
    )
    assert len(attempts["exhaust_memory"]) == len(attempts["crash"]) == 1
    assert not attempts["bug"] and not attempts["stop"]  # in words, or by the clock: not repeated
    for fault, words in (
        ("stop", ""),
        ("ignore_signals", "Timeout"),  # where it was when its time was nearly up
        ("crash", "Segmentation fault"),
        ("bug", "RuntimeError: planted"),
        ("leave_children", "2 processes that the stage had left running were ended"),
    ):
        assert words in (by_fault[fault] / "logs" / "dose.log").read_text()
    assert "planted" not in (by_fault["stop"] / "logs" / "dose.log").read_text()

    monkeypatch.delenv("FAULTS_FILE")
    assert main(arguments) == 0
    assert failures(out).empty
    assert set(statuses(out, "dvh").values()) == {"done"}


def test_an_output_changed_afterwards_is_noticed(tmp_path, plant):
    dicom, out = tmp_path / "dicom", tmp_path / "out"
    list(tiny_patients(dicom, 2))
    arguments = ["run", str(dicom), str(out), "--quiet"]
    assert main(arguments) == 0
    good, bad = (next(out.glob(f"TINY-0000{number}/*")) for number in (0, 1))
    before = {f: read_record(f, "dose").started for f in (good, bad)}
    (cut,) = list(bad.glob("dose/*.nrrd"))[:1]
    content = cut.read_bytes()
    cut.write_bytes(content[:100])
    assert main(arguments) == 0
    assert cut.read_bytes() == content
    assert read_record(good, "dose").started == before[good]
    assert read_record(bad, "dose").started != before[bad]


def test_a_full_volume_is_a_row_though_its_record_cannot_be_written(tmp_path, plant):
    dicom, out = tmp_path / "dicom", tmp_path / "out"
    list(tiny_patients(dicom, 2))
    arguments = ["run", str(dicom), str(out), "--quiet", "--stages"]
    assert main([*arguments, "load"]) == 0
    folder = next(out.glob("TINY-00000/*"))
    content = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    command = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small volume can be mounted by root only")
    try:
        for path, data in content.items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        plant({"TINY-00000": "fill_disk"})
        assert main([*arguments, "load,dose,dvh"]) == 3
        rows = failures(out)
        assert set(rows.patient_id) == {"TINY-00000"} and rows.stage.tolist() == ["dose", "dvh"]
        assert rows.error.str.contains("disk is full").all()
        assert read_record(next(out.glob("TINY-00001/*")), "dvh").status == "done"
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("request_to_end", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_everything_cleanly(tmp_path, plant, request_to_end):
    dicom, out = tmp_path / "dicom", tmp_path / "out"
    list(tiny_patients(dicom, 1))
    notes = plant({"TINY-00000": "ignore_signals"})
    command = [sys.executable, "-m", "RTPipelineLib", "run", str(dicom), str(out), "--quiet"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(LIBRARY), str(FAULTY)])}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    try:
        end = time.monotonic() + 120
        while not started(notes):
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.05)
        process.send_signal(request_to_end)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, said
    assert json.loads((out / "run.json").read_text())["state"] == "interrupted"
    folder = next(out.glob("TINY-00000/*"))
    assert read_record(folder, "load").status == "done"  # what was done stays valid
    assert read_record(folder, "dose") is None
    assert_nothing_runs(notes)


@pytest.mark.slow
def test_harm_in_ten_demonstration_cohorts(tmp_path, plant, monkeypatch):
    dicom, out = tmp_path / "dicom", tmp_path / "out"
    patients = []
    for number in range(10):
        for name in [name for name in COHORT if name not in FAULTS]:
            spec = replace(COHORT[name](), patient_id=f"{name}-{number}")
            make_patient(dicom, spec)
            patients.append(spec.patient_id)
    with_dose = [p for p in patients if "THORAX4D" not in p]
    victims = dict(zip(with_dose[::2], MORE_HARM, strict=False))
    assert len(victims) == len(MORE_HARM)
    notes = plant(victims)
    config = write_config(tmp_path, 60, 2.5)
    arguments = ["run", str(dicom), str(out), "--config", str(config), "--quiet"]
    assert main(arguments) == 3
    assert_nothing_runs(notes)
    check(out, victims, MORE_HARM)
    monkeypatch.delenv("FAULTS_FILE")
    assert main(arguments) == 0
    assert failures(out).empty
