"""Output without identifiers: every byte of it is searched, and the numbers are those of the
identified run."""

from __future__ import annotations

import gzip
import json
import sqlite3
import zipfile
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from RTPipelineLib.cli import main
from RTPipelineLib.dicom.pseudonyms import PseudonymKey
from RTPipelineLib.phantoms.anatomy import thorax
from RTPipelineLib.phantoms.patient import CourseSpec, PatientSpec, PlanSpec, make_patient

pytest.importorskip("dicomanonymizer", reason="dicom-anonymizer is not installed")

PATIENT, NAME, BORN = "KH-778812", "Kowalska^Jadwiga Maria", "19511231"
TREATED = datetime(2021, 3, 17, 10, 20, 30)
SECRETS = (
    *("KH-778812", "Kowalska", "Jadwiga", "19511231", "1951-12-31", "20210317", "2021-03-17"),
    *("ACC-55501", "Zielonagora", "Doctorova", "HOSP-4711", "MACHINE-9"),
)

TABLES = ("courses", "failures", "dvh_metrics")


@pytest.fixture(scope="module")
def dicom(tmp_path_factory) -> Path:
    """A patient whose identifiers stand wherever clinical systems put them."""
    folder = tmp_path_factory.mktemp("Kowalska") / "dicom"
    plan = PlanSpec("Plan", 5, (("Heart", 20.0),), TREATED, (50, 40, 30), (8.0, 8.0, 8.0))
    course = CourseSpec(
        "Thorax",
        (thorax(),),
        TREATED,
        "Heart",
        plans=(plan,),
        image_size=(84, 86, 30),
        image_voxel_mm=(5.0, 4.0, 8.0),
    )
    make_patient(folder, PatientSpec(PATIENT, (course,), NAME, "F", BORN))
    for path in folder.rglob("*.dcm"):
        ds = pydicom.dcmread(path)
        _identify(ds)
        ds.save_as(path)
    damaged = next(iter(sorted(folder.rglob("CT*.dcm"))))
    (damaged.parent / "CT.Kowalska.dcm").write_bytes(damaged.read_bytes()[:-5000])
    (folder / "Kowalska.txt").write_text("not DICOM")
    return folder


def _identify(ds: Dataset) -> None:
    ds.AccessionNumber, ds.InstitutionName = "ACC-55501", "Szpital Zielonagora"
    ds.ReferringPhysicianName, ds.OtherPatientIDs = "Doctorova^Anna", ["HOSP-4711", "KH-778812-B"]
    ds.StudyDescription = "Kowalska thorax"
    ds.SeriesDescription = f"{ds.Modality} of KOWALSKA 2021-03-17 (HOSP-4711)"
    ds.StationName = ds.DeviceSerialNumber = "MACHINE-9"
    ds.PatientComments = "lives in Zielonagora"
    item = Dataset()
    item.PersonName = "Doctorova^Anna"
    ds.PhysiciansOfRecordIdentificationSequence = Sequence([item])
    deep = Dataset()
    deep.OperatorsName, deep.LabelText = "Doctorova^Anna", "Jadwiga"
    deep.AcquisitionDateTime = "20210317102030.5+0100"
    ds.SourceImageSequence = Sequence([deep])
    ds.private_block(0x0029, "VENDOR", create=True).add_new(0x10, "LO", "Kowalska private")
    if ds.Modality == "RTSTRUCT":
        ds.StructureSetLabel = "Kowalska RS"
        ds.ApprovalStatus, ds.ReviewDate = "APPROVED", "20210317"
        ds.ReviewerName = "Doctorova^Anna"
        ds.StructureSetROISequence[0].ROIName += " Kowalska"
    if ds.Modality == "RTPLAN":
        ds.RTPlanLabel = "Plan_Kowalska"
        ds.RTPlanDescription = "for Jadwiga"
    ds.file_meta.SourceApplicationEntityTitle = "MACHINE-9"


def run(dicom: Path, out: Path, *more: str) -> int:
    return main(["run", str(dicom), str(out), "--quiet", *more])


@pytest.fixture(scope="module")
def runs(dicom, tmp_path_factory) -> tuple[Path, Path, Path]:
    """Output with identifiers, output without, and the key."""
    folder = tmp_path_factory.mktemp("out")
    key, config, roster = folder / "key.json", folder / "config.yaml", folder / "roster.csv"
    config.write_text(f"output:\n  pseudonymise: {key}\n  csv: true\n")
    roster.write_text(f"patient_id,arm\n{PATIENT},A\nNOT-THERE,B\n")
    assert run(dicom, folder / "plain", "--roster", str(roster)) == 3
    more = ("--config", str(config), "--roster", str(roster))
    assert run(dicom, folder / "pseudonyms", *more) == 3
    return folder / "plain", folder / "pseudonyms", key


def contents(path: Path) -> str:
    """All that a file says, decompressed."""
    data = path.read_bytes()
    if path.suffix == ".parquet":
        return pd.read_parquet(path).to_csv()
    if path.suffix == ".xlsx":
        with zipfile.ZipFile(path) as book:
            data = b"".join(book.read(name) for name in book.namelist())
    elif path.suffix == ".sqlite":
        with sqlite3.connect(path) as database:
            data = "\n".join(database.iterdump()).encode()
    elif path.suffix == ".nrrd":
        header, _, body = data.partition(b"\n\n")
        data = header + (gzip.decompress(body) if b"encoding: gzip" in header else body)
    return data.decode("latin-1")


def test_no_byte_of_the_output_tells_who_it_is(dicom, runs):
    plain, out, _ = runs
    secrets = set(SECRETS)
    for path in sorted(dicom.rglob("*.dcm"))[::5]:
        ds = pydicom.dcmread(path, force=True)
        secrets |= {str(ds.SOPInstanceUID), str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID)}
        secrets |= {str(ds.FrameOfReferenceUID)} if "FrameOfReferenceUID" in ds else set()
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) > 50
    found = {
        (path.relative_to(out).as_posix(), secret)
        for path in files
        for text in [str(path.relative_to(out)).lower() + contents(path).lower()]
        for secret in secrets
        if secret.lower() in text
    }
    assert not found
    # The search finds what is there: the identified run has nearly all of it.
    everything = "".join(contents(path).lower() for path in plain.rglob("*") if path.is_file())
    assert sum(secret.lower() in everything for secret in secrets) > len(secrets) / 2


def test_the_numbers_are_those_of_the_identified_run(runs):
    plain, out, key_path = runs
    key = PseudonymKey(key_path)
    for table in ("dvh_metrics", "dvh_curves", "courses"):
        before = pd.read_parquet(plain / "results" / f"{table}.parquet")
        after = pd.read_parquet(out / "results" / f"{table}.parquet")
        assert len(before) == len(after) > 0
        numbers = before.select_dtypes("number").columns
        assert list(numbers) == list(after.select_dtypes("number").columns)
        np.testing.assert_array_equal(before[numbers], after[numbers])
        assert set(after.patient_id) <= {key.pseudonym(PATIENT), key.pseudonym("NOT-THERE")}
    assert "A" in after.arm.tolist()


def test_intervals_and_links_stay(dicom, runs):
    _, out, key_path = runs
    key = PseudonymKey(key_path)
    copies = {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, (out / "dicom").rglob("*.dcm"))}
    for path in sorted(dicom.rglob("R*.dcm")):
        ds = pydicom.dcmread(path)
        copy = copies[key.uid(ds.SOPInstanceUID)]
        moved = datetime.fromisoformat(copy.StudyDate) - datetime.fromisoformat(ds.StudyDate)
        assert moved == key.shift(PATIENT) and moved.days % 7 == 0
        assert copy.FrameOfReferenceUID == key.uid(ds.FrameOfReferenceUID)
        assert copy.PatientIdentityRemoved == "YES" and copy.PatientBirthDate == ""
        assert copy.SourceImageSequence[0].AcquisitionDateTime.endswith("102030.5+0100")
        if ds.Modality == "RTSTRUCT":
            assert copy.StructureSetROISequence[0].ROIName.endswith(" XXX")
            for before, after in zip(ds.ROIContourSequence, copy.ROIContourSequence, strict=True):
                for one, two in zip(before.ContourSequence, after.ContourSequence, strict=True):
                    assert one.ContourData == two.ContourData


def test_what_cannot_be_copied_has_its_row(runs):
    _, out, _ = runs
    failures = pd.read_csv(out / "results" / "failures.csv", dtype=str).fillna("")
    lost = failures[failures.stage == "index"]
    assert len(lost) == 1 and "file ends after" in lost.error.iloc[0]
    note = json.loads((out.parent / "key.json.copies.json").read_text())
    assert sum(bool(one["lost"]) for one in note["files"].values()) == 1


def test_a_second_run_copies_only_what_is_new(dicom, runs, tmp_path):
    _, out, _ = runs
    config = out.parent / "config.yaml"
    before = {path: path.stat().st_mtime_ns for path in (out / "dicom").rglob("*.dcm")}
    run(dicom, out, "--config", str(config))
    assert before == {path: path.stat().st_mtime_ns for path in (out / "dicom").rglob("*.dcm")}


def test_tables_made_anew_keep_rows_and_roster(runs):
    _, out, _ = runs
    before = {name: pd.read_parquet(out / "results" / f"{name}.parquet") for name in TABLES}
    assert main(["aggregate", str(out)]) == 3
    for name, frame in before.items():
        again = pd.read_parquet(out / "results" / f"{name}.parquet")
        pd.testing.assert_frame_equal(frame, again)


def test_pseudonyms_and_identifiers_are_never_mixed(dicom, runs, tmp_path, capsys):
    plain, out, _ = runs
    assert run(dicom, out) == 2
    assert "has results with pseudonyms" in capsys.readouterr().err
    config = out.parent / "config.yaml"
    assert run(dicom, plain, "--config", str(config)) == 2
    assert "has results with identifiers" in capsys.readouterr().err
    inside = tmp_path / "inside.yaml"
    inside.write_text(f"output:\n  pseudonymise: {tmp_path}/new/key.json\n")
    assert run(dicom, tmp_path / "new", "--config", str(inside)) == 2
    assert "keep it elsewhere" in capsys.readouterr().err
    (tmp_path / "other").write_text("{}")
    inside.write_text(f"output:\n  pseudonymise: {tmp_path}/other\n")
    assert run(dicom, tmp_path / "new", "--config", str(inside)) == 2
    assert "is no key file of pseudonyms" in capsys.readouterr().err


def test_objects_without_uids_or_file_meta_are_copied_too(dicom, tmp_path):
    from RTPipelineLib.dicom.pseudonyms import PseudonymKey as Key
    from RTPipelineLib.run.pseudonymised import _copied

    source = sorted(dicom.rglob("CT*.dcm"))[1]
    ds = pydicom.dcmread(source)
    ds.SOPInstanceUID = ""
    ds.save_as(tmp_path / "no-uid.dcm")
    bare = pydicom.dcmread(source)
    bare.preamble, bare.file_meta = None, pydicom.dataset.FileMetaDataset()
    with (tmp_path / "bare.dcm").open("wb") as file:
        pydicom.dcmwrite(file, bare, implicit_vr=False, little_endian=True)
    key = Key(tmp_path / "key.json")
    for name in ("no-uid.dcm", "bare.dcm"):
        copy, reason = _copied(tmp_path / name, name, tmp_path / "copies", key)
        assert reason == "" and copy
        again = pydicom.dcmread(tmp_path / "copies" / copy)
        assert again.PixelData == ds.PixelData and again.PatientName == key.pseudonym(PATIENT)
        assert again.file_meta.MediaStorageSOPInstanceUID == key.uid(bare.SOPInstanceUID)
