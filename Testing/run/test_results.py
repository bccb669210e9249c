"""When the cohort's results are made anew, and when what is there still holds."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pandas as pd
import pydicom
import pytest

from RTPipelineLib.cli import main
from RTPipelineLib.phantoms.scale import tiny_patients

STAGES = "load,structures,dose,dvh"


class Finished:
    """Two finished courses, and whether the next run makes their results anew."""

    def __init__(self, folder: Path) -> None:
        self.dicom, self.out = folder / "dicom", folder / "out"
        list(tiny_patients(self.dicom, 2))
        assert self.run() == 0

    @property
    def results(self) -> Path:
        return self.out / "results"

    @property
    def course(self) -> Path:
        return next(self.out.glob("TINY-00000/*"))

    def run(self, *options: str) -> int:
        options = options or ("--stages", STAGES)
        return main(["run", str(self.dicom), str(self.out), "--quiet", *options])

    def made_anew(self, *options: str) -> bool:
        """Whether a run makes anew, and a further one finds that all holds."""
        before = self._written()
        self.run(*options)
        after = self._written()
        self.run(*options)
        assert self._written() == after
        return before != after

    def _written(self) -> tuple[int, ...]:
        paths = [self.results / name for name in ("courses.parquet", "report.html")]
        return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Finished:
    """One for all tests: each of them leaves it finished."""
    return Finished(tmp_path_factory.mktemp("finished"))


def edit_record(cohort: Finished) -> None:
    path = cohort.course / "stages" / "load.json"
    record = json.loads(path.read_text())
    record["reason"] = "seen"
    path.write_text(json.dumps(record))


def decide(cohort: Finished) -> None:
    (cohort.course / "overrides.yaml").write_text("names: {PTV_20: PTV_High}\n")


def export_again(cohort: Finished) -> None:
    path = next(cohort.dicom.glob("TINY-00001/**/RP*"))
    dataset = pydicom.dcmread(path)
    dataset.SOPInstanceUID = pydicom.uid.generate_uid()
    dataset.RTPlanLabel = "Again"
    dataset.save_as(path.with_name("RP.again.dcm"))


def cut_the_dose(cohort: Finished) -> None:
    path = next(cohort.dicom.glob("TINY-00001/**/RD*"))
    path.write_bytes(path.read_bytes()[:900])


def rewrite_of_the_same_size(cohort: Finished) -> None:
    path = cohort.results / "courses.parquet"
    path.write_bytes(bytes(reversed(path.read_bytes())))


CHANGES = {
    "a record": edit_record,
    "a decision": decide,
    "a new plan": export_again,
    "a course that went": lambda c: (c.course / "course.json").rename(c.course / "gone.json"),
    "a course's table": lambda c: os.utime(c.course / "dvh" / "metrics.parquet"),
    "a table that went": lambda c: (c.results / "dvh_metrics.parquet").unlink(),
    "the page that went": lambda c: (c.results / "report.html").unlink(),
    "a table of the same size": rewrite_of_the_same_size,
    "a note that is no note": lambda c: (c.results / ".made.json").write_text("[1"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_is_seen(cohort, change):
    CHANGES[change](cohort)
    assert cohort.made_anew()


def test_what_has_not_changed_is_kept_with_what_was_said_of_it(cohort, capsys):
    arguments = ["run", str(cohort.dicom), str(cohort.out), "--stages", STAGES]
    cut_the_dose(cohort)
    assert cohort.made_anew()
    said = []
    for _ in range(2):
        assert main(arguments) == 3
        lines = capsys.readouterr().err.splitlines()
        said.append([line for line in lines if line.startswith(("2 courses", "failed"))])
        before = cohort._written()
    assert said[0] == said[1] and len(said[0]) == 2 and ".dcm" in said[0][1]
    (cohort.results / "notes of mine.txt").write_text("not ours")
    for hidden in (cohort.course / ".lock", next(cohort.course.glob("logs/*"))):
        os.utime(hidden)
    assert main(arguments) == 3 and cohort._written() == before


def test_settings_and_roster_make_them_anew(cohort, tmp_path):
    roster, config = tmp_path / "roster.csv", tmp_path / "config.yaml"
    roster.write_text("patient_id,arm\nTINY-00000,A\n")
    options = ("--stages", STAGES, "--roster", str(roster))
    assert cohort.made_anew(*options)
    roster.write_text("patient_id,arm\nTINY-00000,B\n")
    assert cohort.made_anew(*options)
    courses = pd.read_parquet(cohort.results / "courses.parquet").set_index("patient_id")
    assert courses.arm["TINY-00000"] == "B"
    config.write_text("output: {csv: true}\n")
    assert cohort.made_anew(*options, "--config", str(config))
    assert (cohort.results / "courses.csv").exists()


def test_without_the_package_there_is_no_workbook_and_a_sentence_says_so(
    cohort, monkeypatch, capsys
):
    book = cohort.results / "results.xlsx"
    cohort.run()
    assert book.exists()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "xlsxwriter", None)
        arguments = ["run", str(cohort.dicom), str(cohort.out), "--stages", STAGES]
        assert main(arguments) == cohort.run()
        assert "pip install 'slicer-rtpipeline[xlsx]'" in capsys.readouterr().err
        assert not book.exists()
    cohort.run()
    assert book.exists()
