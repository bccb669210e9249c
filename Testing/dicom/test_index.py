"""The index: what it holds, what it forgets, and what it survives."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_objects import (
    CT_IMAGE,
    ENHANCED_CT,
    RT_DOSE,
    RT_PLAN,
    RT_STRUCT,
    STORAGE,
    dose,
    item,
    rt_object,
    save,
)
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from RTPipelineLib.dicom import index_db, index_read, index_rows, index_walk
from RTPipelineLib.dicom.headers import KIND_OF_SOP_CLASS, kind_of, summarise
from RTPipelineLib.dicom.index import Index, describe
from RTPipelineLib.errors import DataError, OutputError, UsageError


def ct(number: int, series: str = "1.2.3.4", **values: object) -> Dataset:
    ds = rt_object(
        CT_IMAGE,
        "CT",
        SOPInstanceUID=f"{series or '1.2.9'}.{number}",
        SeriesInstanceUID=series,
        StudyDate="20240301",
        SeriesDescription="Pelvis",
        SeriesNumber=2,
        InstanceNumber=number,
        ImagePositionPatient=[-10, -10, 3 * number],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        PixelSpacing=[1, 1],
        Rows=4,
        Columns=4,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=16,
        BitsStored=16,
        HighBit=15,
        PixelRepresentation=0,
        PixelData=bytes(32),
    )
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


@pytest.fixture
def folder(tmp_path):
    """Five CT slices, a plan, a structure set, and a text file."""
    root = tmp_path / "dicom"
    (root / "sub").mkdir(parents=True)
    for number in range(5):
        save(ct(number), root / f"slice{number}")
    save(rt_object(RT_PLAN, "RTPLAN", RTPlanLabel="Prostate"), root / "sub" / "plan.dcm")
    save(rt_object(RT_STRUCT, "RTSTRUCT", StructureSetLabel="CT1"), root / "sub" / "RS")
    (root / "readme.txt").write_text("not DICOM")
    return root


@pytest.fixture
def index(tmp_path):
    with Index(tmp_path / "index.sqlite") as opened:
        yield opened


def test_a_folder_is_listed(folder, index):
    report = index.update(folder)
    assert (report.files, report.new, report.unchanged, report.removed) == (8, 8, 0, 0)
    assert [item.kind for item in index.objects()] == ["rtstruct", "rtplan"]
    (plan,) = index.objects("rtplan")
    assert plan.path == "sub/plan.dcm" and plan.summary["label"] == "Prostate"
    assert (plan.patient_id, plan.study_uid, plan.frame_uid) == ("P1", "1.2.3", "1.2.3.5")
    (series,) = index.series()
    assert (series.key, series.n_files, series.n_frames) == ("1.2.3.4", 5, 5)
    assert (series.description, series.modality, series.study_date) == ("Pelvis", "CT", "20240301")
    assert index.series_files(series.key) == [f"slice{number}" for number in range(5)]
    assert len(index.objects("image")) == 5
    (text,) = index.unreadable()
    assert text.path == "readme.txt" and not text.damaged
    assert index.root == folder.resolve()


def test_only_what_changed_is_read_again(folder, index, monkeypatch):
    index.update(folder)
    os.utime(folder / "slice0", ns=(1, 1))
    (folder / "slice1").unlink()
    save(ct(7), folder / "slice7")
    read = []
    whole = index_read.read_files
    monkeypatch.setattr(index_read, "read_files", lambda root, e: read.extend(e) or whole(root, e))
    report = index.update(folder)
    assert sorted(entry[0] for entry in read) == ["slice0", "slice7"]
    assert (report.files, report.new, report.unchanged, report.removed) == (8, 2, 6, 1)
    assert len(index.series_files("1.2.3.4")) == 5
    assert index.update(folder).new == 0


def test_progress_counts_up_to_the_whole(folder, index):
    told = []
    index.update(folder, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (8, 8)


@pytest.mark.parametrize(
    ("sop_class", "modality", "kind"),
    [
        (RT_STRUCT, "RTDOSE", "rtstruct"),  # seen in real exports
        (RT_DOSE, "", "rtdose"),
        ("", "RTPLAN", "rtplan"),
        (STORAGE + "481.8", "RTPLAN", "rtplan"),
        (STORAGE + "481.4", "RTRECORD", "record"),
        (STORAGE + "66.1", "REG", "reg"),
        (STORAGE + "66.3", "REG", "reg"),
        (STORAGE + "66.4", "SEG", "seg"),
        (STORAGE + "7", "CT", "other"),  # secondary capture
        (STORAGE + "481.1", "RTIMAGE", "other"),
        (STORAGE + "11.1", "PR", "other"),
        ("1.2.840.10008.1.3.10", "", "other"),  # DICOMDIR
        ("1.3.12.2.1107.5.9.1", "CT", "other"),  # a maker's non-image that calls itself CT
    ],
)
def test_kind_by_class_then_modality(tmp_path, index, sop_class, modality, kind):
    (tmp_path / "d").mkdir()
    ds = rt_object(sop_class, modality)
    if sop_class:
        save(ds, tmp_path / "d" / "file")
    else:  # neither in the data set nor in file meta information
        pydicom.dcmwrite(tmp_path / "d" / "file", ds, implicit_vr=True, little_endian=True)
    index.update(tmp_path / "d")
    (found,) = index.objects()
    assert found.kind == kind
    contradiction = sop_class == RT_STRUCT and modality == "RTDOSE"
    assert ("modality-contradicts-class" in found.flags) == contradiction


def test_image_classes_are_those_of_the_headers():
    images = {uid for uid, kind in KIND_OF_SOP_CLASS.items() if kind == "image"}
    assert images == index_rows._IMAGE_CLASSES
    for modality in ("CT", "MR", "PT", "US", "RTIMAGE", "OT", "REG"):
        assert (kind_of("", modality) == "image") == (modality in index_rows._IMAGE_MODALITIES)


def test_enhanced_image_counts_its_frames(tmp_path, index):
    (tmp_path / "d").mkdir()
    save(ct(1, SOPClassUID=ENHANCED_CT, NumberOfFrames=90), tmp_path / "d" / "file")
    index.update(tmp_path / "d")
    (series,) = index.series()
    assert (series.n_files, series.n_frames) == (1, 90)


def test_series_without_uid_stay_together_and_apart(tmp_path, index):
    root = tmp_path / "d"
    for name in ("a", "b", "c"):
        (root / name).mkdir(parents=True)
    for number in range(3):
        jitter = [1, 0, 1e-7 * number, 0, 1, 0]
        save(ct(number, series="", ImageOrientationPatient=jitter), root / "a" / f"{number}")
        save(ct(10 + number, series="", SeriesDescription="Boost"), root / "a" / f"b{number}")
        nowhere = {"FrameOfReferenceUID": "", "StudyInstanceUID": "", "PatientID": ""}
        save(ct(20 + number, series="", **nowhere), root / "b" / f"{number}")
        save(ct(30 + number, series="", **nowhere), root / "c" / f"{number}")
    index.update(root)
    series = index.series()
    assert [item.n_files for item in series] == [3, 3, 3, 3]
    assert all(item.key.startswith("missing-uid:") for item in series)
    assert all("series-uid-missing" in item.flags for item in series)
    # Two anonymised patients whose scans differ in nothing but their folder:
    folders = [{Path(f).parent.name for f in index.series_files(item.key)} for item in series]
    assert sorted(map(sorted, folders)) == [["a"], ["a"], ["b"], ["c"]]


def test_the_uidless_real_series_is_one(shared_data, index):
    index.update(shared_data / "totalsegmentator_examples")
    (series,) = index.series()
    assert series.n_files == 20 and series.columns == 512
    assert "sop-uid-from-file-meta" in series.flags and "series-uid-missing" in series.flags
    files = index.series_files(series.key)
    numbers = [
        int(pydicom.dcmread(index.root / name, stop_before_pixels=True).InstanceNumber)
        for name in files
    ]
    assert numbers == sorted(numbers) and len(set(numbers)) == 20


def test_the_whole_of_the_real_data(shared_data, index):
    index.update(shared_data)
    objects = index.objects()
    kinds = {kind: sum(item.kind == kind for item in objects) for kind in ("rtplan", "rtstruct")}
    assert kinds == {"rtplan": 5, "rtstruct": 4} and len(objects) == 24
    assert sorted(item.n_files for item in index.series()) == [1, 20, 177]
    assert not [item for item in index.unreadable() if item.damaged]
    assert index.duplicates() == []
    for found in objects:
        ds = pydicom.dcmread(shared_data / found.path, force=True)
        assert found.kind == kind_of(ds.get("SOPClassUID", ""), ds.Modality)
        expected = summarise(ds)
        expected.pop("flags")
        assert found.summary == expected, found.path


def test_missing_uids_are_said(tmp_path, index):
    root = tmp_path / "d"
    root.mkdir()
    ds = rt_object(RT_DOSE, "RTDOSE")
    del ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID
    pydicom.dcmwrite(root / "dose", ds, implicit_vr=True, little_endian=True)
    index.update(root)
    (found,) = index.objects()
    assert found.sop_uid.startswith("missing-uid:")
    assert {"sop-uid-missing", "study-uid-missing", "series-uid-missing"} <= set(found.flags)


def test_series_flags(tmp_path, index):
    root = tmp_path / "d"
    root.mkdir()
    phase = {"ImagePositionPatient": [0, 0, 3], "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    save(ct(1, **phase), root / "1")
    save(ct(2, **phase, PatientID="P2"), root / "2")
    shutil.copy(root / "2", root / "copy of 2")
    index.update(root)
    (series,) = index.series()
    expected = {"localizer", "positions-repeat", "patient-id-mismatch", "duplicate-instances"}
    assert set(series.flags) == expected and series.n_files == 2
    assert index.series_files(series.key) == ["1", "2"]


def test_copies_are_one_object_and_conflicts_are_told(tmp_path, index):
    root = tmp_path / "d"
    root.mkdir()
    dose = rt_object(RT_DOSE, "RTDOSE", SOPInstanceUID="1.1", DoseComment="x")
    save(dose, root / "a")
    save(dose, root / "copy")
    with_other_meta = pydicom.dcmread(root / "a")
    with_other_meta.file_meta.SourceApplicationEntityTitle = "PACS"
    with_other_meta.save_as(root / "from pacs")
    plan = rt_object(RT_PLAN, "RTPLAN", SOPInstanceUID="2.2", RTPlanLabel="one")
    save(plan, root / "p1")
    plan.RTPlanLabel = "two"
    save(plan, root / "p2")
    index.update(root)
    assert index.duplicates() == [
        ("1.1", ["a", "copy", "from pacs"], True),
        ("2.2", ["p1", "p2"], False),
    ]
    assert [item.path for item in index.objects("rtdose")] == ["a"]
    plans = index.objects("rtplan")
    assert [item.path for item in plans] == ["p1", "p2"]
    assert all("duplicate-uid-different-content" in item.flags for item in plans)


def test_one_object_in_several_transfer_syntaxes_is_no_conflict(tmp_path, index):
    root = tmp_path / "d"
    root.mkdir()
    stored = np.arange(4 * 6 * 6, dtype="<u2").reshape(4, 6, 6)
    plan = item(ReferencedSOPClassUID=RT_PLAN, ReferencedSOPInstanceUID="2.2")
    ds = dose(stored, offsets=[0, 2, 4, 6], ReferencedRTPlanSequence=[plan])
    for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian):
        save(ds, root / syntax, syntax)
    compressed = pydicom.dcmread(root / ExplicitVRLittleEndian)
    compressed.compress(RLELossless, generate_instance_uid=False)
    compressed.save_as(root / "rle")
    ds.PixelData = stored.astype(">u2").tobytes()
    save(ds, root / "big", ExplicitVRBigEndian)
    index.update(root)
    ((_, paths, identical),) = index.duplicates()
    assert (len(paths), identical) == (5, True)
    assert len(index.objects("rtdose")) == 1
    stored[2, 1, 3] += 1
    ds.PixelData = stored.tobytes()
    save(ds, root / "another", ImplicitVRLittleEndian)
    index.update(root)
    assert index.duplicates()[0][2] is False


def test_digests_are_kept_until_the_file_changes(tmp_path, index):
    root = tmp_path / "d"
    root.mkdir()
    dose = rt_object(RT_DOSE, "RTDOSE", SOPInstanceUID="1.1")
    save(dose, root / "a")
    shutil.copy(root / "a", root / "b")
    index.update(root)
    assert index.duplicates()[0][2]
    status = (root / "b").stat()
    dose.PatientID = "P2"
    save(dose, root / "b")
    os.utime(root / "b", ns=(status.st_atime_ns, status.st_mtime_ns))
    index.update(root)
    assert index.duplicates()[0][2]  # same size and time: not looked at again
    os.utime(root / "b", ns=(1, 1))
    index.update(root)
    assert not index.duplicates()[0][2]
    (root / "b").unlink()
    (root / "a").touch()
    save(dose, root / "c")
    index.update(root)
    (root / "c").unlink()
    with pytest.raises(DataError, match="c has gone since it was indexed"):
        index.duplicates()


def test_no_name_and_no_birth_date_is_stored(tmp_path):
    root = tmp_path / "d"
    root.mkdir()
    private = {"PatientName": "Zachariasson^Wilhelmina", "PatientBirthDate": "19370405"}
    save(ct(1, **private, SeriesDescription="Zachariasson boost"), root / "ct")
    for sop_class, modality in ((RT_PLAN, "RTPLAN"), (RT_STRUCT, "RTSTRUCT"), (RT_DOSE, "RTDOSE")):
        label = {"RTPlanLabel": "wilhelmina 1", "StructureSetLabel": "Zachariasson"}
        save(rt_object(sop_class, modality, **private, **label), root / modality)
    with Index(tmp_path / "index.sqlite") as index:
        index.update(root)
        table = describe(index)
        assert index.series()[0].description == ""
        assert "label-contains-name" in index.series()[0].flags
    stored = (tmp_path / "index.sqlite").read_bytes().lower()
    for secret in (b"zacharias", b"wilhelmina", b"19370405"):
        assert secret not in stored and secret.decode() not in table.lower()


def test_contours_are_cut_out_but_all_else_is_summarised(tmp_path, index):
    root = tmp_path / "d"
    root.mkdir()
    ds = rt_object(RT_STRUCT, "RTSTRUCT", StructureSetLabel="S")
    roi, contour, observation, group = Dataset(), Dataset(), Dataset(), Dataset()
    roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = 1, "PTV", "1.2.3.5"
    contour.ContourData = [1.25] * 12_000
    group.ContourSequence, group.ReferencedROINumber = Sequence([contour]), 1
    observation.ReferencedROINumber, observation.RTROIInterpretedType = 1, "PTV"
    ds.StructureSetROISequence = Sequence([roi])
    ds.ROIContourSequence = Sequence([group])
    ds.RTROIObservationsSequence = Sequence([observation])  # comes after the contours
    ds["ROIContourSequence"].is_undefined_length = True
    save(ds, root / "RS")
    index.update(root)
    (found,) = index.objects()
    (summary,) = found.summary["rois"]
    assert (summary["name"], summary["interpreted_type"]) == ("PTV", "PTV")


def test_broken_files_are_damaged_and_others_are_not(tmp_path, index):
    root = tmp_path / "d"
    root.mkdir()
    save(ct(1), root / "cut")
    (root / "cut").write_bytes((root / "cut").read_bytes()[:-20])
    (root / "empty.dcm").touch()
    (root / "empty").touch()
    (root / "a.json").write_text("{}")
    index.update(root)
    found = {item.path: item for item in index.unreadable()}
    assert {name: item.damaged for name, item in found.items()} == {
        "cut": True,
        "empty.dcm": True,
        "empty": False,
        "a.json": False,
    }
    assert found["cut"].reason.startswith("the file ends after 12 bytes of 32 bytes pixel data")


def test_an_rt_object_that_cannot_be_parsed_is_damaged(folder, index, monkeypatch):
    def broken(ds):
        raise ValueError("nonsense in\n(300A,0070)")

    monkeypatch.setattr("RTPipelineLib.dicom.headers.summarise", broken)
    index.update(folder)
    reasons = {item.path: item.reason for item in index.unreadable() if item.damaged}
    assert "(nonsense in (300A,0070)); export it again" in reasons["sub/plan.dcm"]
    assert len(reasons) == 2 and index.objects() == []


# -- the folder -----------------------------------------------------------------------------------


def test_the_index_never_lists_itself(folder):
    with Index(folder / "index.sqlite") as index:
        index.update(folder)
        assert index.update(folder).files == 8
        assert len(index.unreadable()) == 1


def test_an_output_folder_inside_is_passed_over(folder, index):
    out = folder / "OUT"
    out.mkdir()
    (out / "run.json").write_text("{}")
    (out / "index.sqlite").touch()
    save(ct(9, series="9.9"), out / "RS_derived.dcm")
    report = index.update(folder)
    assert report.files == 8 and len(index.series()) == 1
    assert report.messages == ("OUT is an output folder of RT Pipeline and was not indexed",)


@pytest.fixture
def link(tmp_path):
    """Makes symbolic links, where the system lets us."""

    def make(path: Path, target: Path) -> None:
        try:
            path.symlink_to(target, target_is_directory=target.is_dir())
        except OSError as error:
            pytest.skip(f"no symbolic links here ({error})")

    return make


def test_links_to_folders_are_followed_once(folder, index, tmp_path, link):
    outside = tmp_path / "archive"
    outside.mkdir()
    save(ct(8), outside / "slice8")
    link(folder / "loop", folder)
    link(folder / "sub" / "up", folder)
    link(folder / "more", outside)
    link(folder / "again", outside)
    link(folder / "nothing", folder / "nowhere")
    index.update(folder)
    assert index.update(folder).files == 9
    assert "again/slice8" in index.series_files("1.2.3.4")
    assert ("nothing", "it is a link to nothing", False) in [
        (item.path, item.reason, item.damaged) for item in index.unreadable()
    ]
    assert [item.path for item in index.objects()] == ["sub/RS", "sub/plan.dcm"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_a_row_and_does_not_hang(folder, index):
    os.mkfifo(folder / "pipe.dcm")
    index.update(folder)
    assert ("pipe.dcm", False) in [(item.path, item.damaged) for item in index.unreadable()]


def test_what_may_not_be_read_is_an_error_until_it_may(folder, index, monkeypatch):
    scandir, open_file = os.scandir, index_rows.scan_header

    def no_folder(path):
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    def no_file(path, layouts):
        if path.endswith("slice0"):
            raise PermissionError(13, "Permission denied", path)
        if path.endswith("slice1"):
            raise FileNotFoundError(2, "No such file", path)
        return open_file(path, layouts)

    with monkeypatch.context() as patch:
        patch.setattr(index_walk.os, "scandir", no_folder)
        patch.setattr(index_rows, "scan_header", no_file)
        index.update(folder)
        rows = {item.path: item for item in index.unreadable()}
        assert rows["sub"].damaged and "permission denied" in rows["sub"].reason
        assert rows["slice0"].damaged and "permission denied" in rows["slice0"].reason
        assert not rows["slice1"].damaged and "disappeared" in rows["slice1"].reason
    index.update(folder)
    assert len(index.unreadable()) == 1 and index.series()[0].n_files == 5
    assert len(index.objects()) == 2


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are Unicode on this system")
def test_names_that_are_no_unicode(folder, index):
    name = os.fsdecode(b"Sch\xe4del.dcm")  # Latin-1, from an old share
    save(ct(6), folder / name)
    (folder / os.fsdecode(b"notiz\xff.txt")).write_text("x")
    index.update(folder)
    assert name in index.series_files("1.2.3.4")
    assert index.update(folder).new == 0
    (folder / name).unlink()
    assert index.update(folder).removed == 1
    describe(index).encode()


@pytest.mark.parametrize("name", ["missing", "readme.txt"])
def test_a_root_that_is_no_folder(folder, index, name):
    with pytest.raises(UsageError, match="is not a folder"):
        index.update(folder / name)
    with pytest.raises(UsageError, match="holds no folder yet"):
        _ = index.root


def test_another_folder_is_another_index(folder, index, tmp_path):
    index.update(folder)
    other = tmp_path / "other"
    shutil.copytree(folder, other)  # same names, sizes and times
    save(ct(0, PatientID="P2"), other / "slice0")
    status = (folder / "slice0").stat()
    os.utime(other / "slice0", ns=(status.st_atime_ns, status.st_mtime_ns))
    report = index.update(other)
    assert report.new == 8 and "is read anew" in report.messages[0]
    assert {item.patient_id for item in index.objects("image")} == {"P1", "P2"}


# -- the file -------------------------------------------------------------------------------------


def snapshot(index: Index) -> tuple:
    return index.objects(), index.objects("image"), index.series(), index.unreadable()


@pytest.mark.parametrize("harm", ["garbage", "half", "zeroed page", "old schema"])
def test_a_damaged_or_old_index_is_made_anew(folder, tmp_path, harm):
    database = tmp_path / "index.sqlite"
    with Index(database) as index:
        index.update(folder)
        expected = snapshot(index)
    data = database.read_bytes()
    if harm == "garbage":
        database.write_bytes(b"garbage" * 1000)
    elif harm == "half":
        database.write_bytes(data[: len(data) // 2])
    elif harm == "zeroed page":
        database.write_bytes(data[:8192] + bytes(4096) + data[12288:])
    else:
        with sqlite3.connect(database) as connection:
            connection.execute("PRAGMA user_version = 0")
            connection.execute("DROP TABLE objects")
        connection.close()
    with Index(database) as index:
        report = index.update(folder)
        assert report.new == 8 and len(report.messages) == 1
        assert snapshot(index) == expected
    kept = (tmp_path / "index.sqlite.damaged").exists()
    assert kept == (harm != "old schema")


def test_files_of_others_are_left_alone(tmp_path):
    letter, foreign = tmp_path / "letter.txt", tmp_path / "other.sqlite"
    letter.write_text("Dear colleague, " * 100)
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE theirs (x)")
    connection.commit()
    connection.close()
    for path in (letter, foreign):
        before = path.read_bytes()
        with pytest.raises(UsageError, match="name another file"):
            Index(path)
        assert path.read_bytes() == before and not list(tmp_path.glob("*.damaged"))


def test_an_index_that_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match="cannot be used"):
        Index(tmp_path / "no such folder" / "index.sqlite")


def test_two_writers_wait_and_then_say_so(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(index_db, "PATIENCE_S", 0.1)
    with Index(tmp_path / "index.sqlite") as index, Index(tmp_path / "index.sqlite") as reader:
        index.update(folder)
        expected = snapshot(index)
        with index._db.writing():
            assert snapshot(reader) == expected  # readers are not disturbed
            save(ct(9), folder / "slice9")
            with pytest.raises(OutputError, match="locked"):
                reader.update(folder)


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from RTPipelineLib.dicom import index, index_read
index.COMMIT_EVERY_S, index_read.CHUNK = 0.0, 2
def stop(done, total):
    if done >= 5:
        os.kill(os.getpid(), signal.SIGTERM)
with index.Index(sys.argv[3]) as opened:
    opened.update(sys.argv[2], jobs=1, progress=stop)
"""


def test_a_killed_run_leaves_what_the_next_completes(folder, tmp_path, repository):
    database = tmp_path / "index.sqlite"
    command = [sys.executable, "-c", KILLED, str(repository), str(folder), str(database)]
    assert subprocess.run(command, check=False, timeout=60).returncode != 0
    with Index(database) as index:
        half = len(index.objects("image")) + len(index.objects()) + len(index.unreadable())
        assert 0 < half < 8
        report = index.update(folder)
        assert report.new == 8 - half and report.unchanged == half
        resumed = snapshot(index)
    with Index(tmp_path / "fresh.sqlite") as index:
        index.update(folder)
        assert snapshot(index) == resumed


# -- several processes ----------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["healthy", "missing", "dying"])
def test_processes_give_the_same_rows(folder, tmp_path, monkeypatch, workers):
    with Index(tmp_path / "serial.sqlite") as index:
        index.update(folder, jobs=1)
        expected = snapshot(index)
    monkeypatch.setattr(index_read, "WORKERS_PAY_S", 0.0)
    monkeypatch.setattr(index_read, "CHUNK", 1)
    if workers == "missing":
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python-none"))
    elif workers == "dying":
        monkeypatch.setattr(index_read, "SERVE", "raise SystemExit(3)")
    with Index(tmp_path / "parallel.sqlite") as index:
        report = index.update(folder, jobs=2)
        assert report.new == 8 and snapshot(index) == expected


def test_workers_end_when_the_run_is_interrupted(folder, index, monkeypatch):
    monkeypatch.setattr(index_read, "WORKERS_PAY_S", 0.0)
    monkeypatch.setattr(index_read, "CHUNK", 1)
    started = []
    start = index_read._start_worker
    monkeypatch.setattr(index_read, "_start_worker", lambda: started.append(start()) or started[-1])

    def interrupt(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.update(folder, jobs=2, progress=interrupt)
    assert len(started) == 2 and all(worker.poll() is not None for worker in started)
    assert index.update(folder, jobs=1).files == 8 and len(index.objects()) == 2


# -- the table ------------------------------------------------------------------------------------


def test_the_table_names_everything_that_matters(folder, index):
    shutil.copy(folder / "slice0", folder / "copy of slice0")
    (folder / "broken.dcm").write_bytes(b"garbage")
    plan = rt_object(RT_PLAN, "RTPLAN", SOPInstanceUID="2.2", RTPlanLabel="one")
    save(plan, folder / "p1")
    plan.RTPlanLabel = "two"
    save(plan, folder / "p2")
    index.update(folder)
    table = describe(index, width=80)
    for text in (
        "1 patient, 1 image series",
        "Patient P1",
        "4 x 4 x 5",
        "Pelvis",
        "broken.dcm: named like DICOM",
        "Not used: 1",
        "2.2: p1, p2",
        "copy of slice0, slice0",
    ):
        assert text in table
    assert "Doe" not in table and "Jane" not in table
    assert max(map(len, table.splitlines())) <= 80


def test_the_table_survives_hostile_text(tmp_path, index):
    root = tmp_path / "d"
    root.mkdir()
    save(ct(1, PatientID="\x1b[31mred\x07", SeriesDescription="a\u202eb"), root / "1")
    index.update(root)
    table = describe(index)
    assert all(line.isprintable() for line in table.splitlines())
