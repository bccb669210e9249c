"""The cluster engine on this machine: the tables of the local engine, and jobs that are lost."""

from __future__ import annotations

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from RTPipelineLib.cli import main
from RTPipelineLib.config import Config
from RTPipelineLib.course import course_folders
from RTPipelineLib.overrides import Overrides
from RTPipelineLib.phantoms.scale import tiny_patients
from RTPipelineLib.run import snakemake
from RTPipelineLib.run.ledger import Record, read_record
from RTPipelineLib.run.local import Job, LocalEngine

needs_snakemake = pytest.mark.skipif(
    find_spec("snakemake") is None and shutil.which("snakemake") is None,
    reason="Snakemake is not installed: pip install 'slicer-rtpipeline[cluster]'",
)
FAULTY = Path(__file__).parent / "faults"


def tables(out: Path) -> dict[str, pd.DataFrame]:
    """All cohort tables; `folder` and all else is compared, times stand in none of them."""
    return {p.stem: pd.read_parquet(p) for p in sorted((out / "results").glob("*.parquet"))}


def test_without_snakemake_one_sentence_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(snakemake, "find_spec", lambda name: None)
    monkeypatch.setattr(snakemake.shutil, "which", lambda name: None)
    (tmp_path / "dicom").mkdir()
    arguments = ["run", str(tmp_path / "dicom"), str(tmp_path / "out")]
    assert main([*arguments, "--engine", "snakemake"]) == 2
    assert "pip install 'slicer-rtpipeline[cluster]'" in capsys.readouterr().err
    assert main([*arguments, "--profile", "slurm"]) == 2
    assert "add --engine snakemake" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_the_cluster_says_of_a_job_stands_in_its_row():
    said = """
Error in rule dose:
    message: SLURM-job '10' failed, SLURM status is: 'TIMEOUT'. Detailed failure reason \
unavailable (status command is not 'sacct').For further error details see the cluster/cloud log
    jobid: 14
    output: marks/3/dose

Error in rule load:
    message: None
    output: marks/2/load

Exiting because a job execution failed.
Error in rule dose:
    message: None
    output: marks/3/dose
""".replace("\\\n", "")
    assert snakemake._reasons(said) == {
        "marks/3/dose": "SLURM-job '10' failed, SLURM status is: 'TIMEOUT'. Detailed failure "
        "reason unavailable (status command is not 'sacct')"
    }


@pytest.fixture
def dead_cluster(tmp_path, monkeypatch):
    """An engine whose Snakemake starts every first job and ends none; its work and its rounds."""
    list(tiny_patients(tmp_path / "dicom", 2))
    out, rounds = tmp_path / "out", []
    assert main(["run", str(tmp_path / "dicom"), str(out), "--quiet", "--stages", "load"]) == 0
    monkeypatch.setattr(snakemake, "find_snakemake", lambda: [])
    engine = snakemake.SnakemakeEngine(Config(), out, None, jobs=1, force=True)

    def start_jobs(batch):
        rounds.append([job.stages for job in batch])
        return {f"marks/{n}/{job.stages[0]}": "node down" for n, job in enumerate(batch)}

    monkeypatch.setattr(engine, "_snakemake", start_jobs)
    return engine, course_folders(out), rounds


def test_a_dead_cluster_is_given_up(dead_cluster):
    """What needs a lost stage is skipped at once; the rest waits for the next run."""
    engine, folders, rounds = dead_cluster
    stages = ("load", "register", "structures", "dose", "dvh", "report")
    records = engine.run([Job(folder, Overrides(), stages) for folder in folders])
    assert len(rounds) == snakemake.FRUITLESS_ROUNDS < len(stages)
    for folder in folders:
        found = {record.stage: record for record in records[folder]}
        assert found["load"].status == "failed" and "(node down)" in found["load"].reason
        assert read_record(folder, "load").reason == found["load"].reason
        assert "report" not in found


def test_status_3_of_a_stage_means_a_record_of_it(tmp_path, monkeypatch, capsys):
    """An old record must not pass for that of a stage that could not write one."""
    list(tiny_patients(tmp_path / "dicom", 1))
    out = tmp_path / "out"
    assert main(["run", str(tmp_path / "dicom"), str(out), "--quiet", "--stages", "load"]) == 0
    (folder,) = course_folders(out)

    def end_without_record(self, work):
        return {folder: [Record("load", "failed", "was killed by signal 9", "")]}

    monkeypatch.setattr(LocalEngine, "run", end_without_record)
    assert main(["stage", "load", str(folder), "--from-engine"]) == 2
    assert "its record could not be written" in capsys.readouterr().err
    assert read_record(folder, "load").status == "done"


@needs_snakemake
def test_a_profile_that_does_not_exist_is_one_sentence(tmp_path, capsys):
    list(tiny_patients(tmp_path / "dicom", 1))
    arguments = ["run", str(tmp_path / "dicom"), str(tmp_path / "out"), "--engine", "snakemake"]
    assert main([*arguments, "--profile", str(tmp_path / "nowhere")]) == 3
    error = capsys.readouterr().err
    assert "before it started a job" in error and "nowhere" in error and "snakemake.log" in error


@needs_snakemake
@pytest.mark.skipif(os.name != "posix", reason="the faults are those of POSIX systems")
def test_the_tables_are_those_of_the_local_engine(tmp_path, monkeypatch):
    """One course whose dose fails in words, one whose job is killed with all that it started, one
    that is well; then the second run repairs what was killed."""

    list(tiny_patients(tmp_path / "dicom", 3))
    arguments = [str(tmp_path / "dicom"), "--stages", "load,structures,dose,dvh", "--quiet"]
    notes = tmp_path / "notes"
    notes.mkdir()
    faults = {"TINY-00001": "bug", "TINY-00002": "kill_job"}
    (tmp_path / "faults.json").write_text(json.dumps({"notes": str(notes), "faults": faults}))
    out, local = tmp_path / "out", tmp_path / "local"
    with monkeypatch.context() as patch:
        patch.setenv("FAULTS_FILE", str(tmp_path / "faults.json"))
        patch.setenv("PYTHONPATH", str(FAULTY))
        assert main(["run", arguments[0], str(out), *arguments[1:], "--engine", "snakemake"]) == 3
    failures = pd.read_csv(out / "results" / "failures.csv").set_index("patient_id").error
    assert "internal error in stage dose: RuntimeError: planted" in failures["TINY-00001"]
    assert "the job of stage dose ended without a record" in failures["TINY-00002"]
    statuses = pd.read_parquet(out / "results" / "courses.parquet").set_index("patient_id")
    assert statuses.stage_dvh["TINY-00000"] == "done"
    assert statuses.stage_dvh["TINY-00002"].startswith("skipped: stage dose gave no result")
    started = {folder: read_record(folder, "dose").started for folder in course_folders(out)}
    assert main(["run", arguments[0], str(out), *arguments[1:], "--engine", "snakemake"]) == 0
    again = {folder: read_record(folder, "dose").started for folder in course_folders(out)}
    assert [started[folder] == again[folder] for folder in sorted(started)] == [True, False, False]
    assert main(["run", arguments[0], str(local), *arguments[1:]]) == 0
    found, expected = tables(out), tables(local)
    assert found.keys() == expected.keys() and len(expected["dvh_metrics"]) > 0
    for name, table in expected.items():
        pd.testing.assert_frame_equal(found[name], table, obj=name)
