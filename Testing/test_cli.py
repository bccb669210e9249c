"""The command line: exit statuses, and one clear sentence for every wrong input."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pydicom
import pytest

from RTPipelineLib.cli import COMMANDS, main
from RTPipelineLib.phantoms.cohort import make_cohort


@pytest.fixture(scope="module")
def dicom(tmp_path_factory) -> Path:
    """One small patient: CT, structure set, plan, dose."""
    folder = tmp_path_factory.mktemp("cli") / "dicom"
    make_cohort(folder, patients=["DEMO-HEADNECK"])
    return folder


def said(capsys, arguments: list[str], status: int) -> str:
    """Run, check the status, and return what went to stderr: never a trace-back."""
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.err


def one(folder: Path, pattern: str) -> Path:
    (path,) = folder.rglob(pattern)
    return path


# -- wrong arguments: status 2, nothing done -------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "required: COMMAND"),
        (["rnu", "a", "b"], "did you mean run?"),
        (["run", "a"], "required: OUT"),
        (["run", ".", "out", "--job", "2"], "did you mean --jobs?"),
        (["run", "no-such-folder", "out"], "no-such-folder does not exist"),
        (["run", ".", "."], "holds the DICOM files; give another folder"),
        (["run", ".", "out", "--jobs", "0"], "--jobs must be at least 1"),
        (["run", ".", "out", "--jobs", "two"], "invalid int value: 'two'; see rtpipeline run -h"),
        (["run", ".", "out", "--stages", "laod"], "'laod' is not a stage; did you mean load?"),
        (["run", ".", "out", "--stages", " ,"], "expected names with commas between them"),
        (["run", ".", "out", "--patients", ""], "expected names with commas between them"),
        (["run", ".", "out", "--config", "none.yaml"], "none.yaml"),
        (["stage", "dvhs", "."], "did you mean dvh?"),
        (["status", "."], "is not an output folder"),
        (["aggregate", "."], "is not an output folder"),
        (["dvh", "--rtstruct", "a", "--rtdose", "b"], "a is not a file"),
        (["config", "--check", "none.yaml"], "none.yaml"),
    ],
)
def test_wrong_arguments(capsys, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    error = said(capsys, arguments, 2)
    assert sentence in error and len(error.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"schema": 1, "sta', "cannot be read"),
        ("[]", "has schema None, this version reads 1"),
        ('{"schema": 9}', "has schema 9, this version reads 1"),
    ],
)
def test_an_output_folder_that_we_cannot_read(capsys, tmp_path, text, sentence):
    (tmp_path / "run.json").write_text(text)
    for command in ("status", "aggregate", "report"):
        error = said(capsys, [command, str(tmp_path)], 2)
        assert sentence in error and len(error.strip().splitlines()) == 1


def test_a_folder_without_dicom(capsys, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("no images here")
    error = said(capsys, ["run", str(tmp_path / "in"), str(tmp_path / "out"), "--quiet"], 2)
    assert "no DICOM images or RT objects" in error and "1 files looked at" in error


def test_a_file_in_place_of_a_folder(capsys, dicom, tmp_path):
    (tmp_path / "out").write_text("in the way")
    assert "in the way" not in said(capsys, ["run", str(dicom), str(tmp_path / "out")], 2)
    assert (tmp_path / "out").read_text(encoding="utf-8") == "in the way"
    error = said(capsys, ["run", str(tmp_path / "out"), str(tmp_path / "o2")], 2)
    assert "is a file; give the folder" in error


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that nobody can write")
def test_an_unwritable_output(capsys, dicom):
    error = said(capsys, ["run", str(dicom), "/proc/rtpipeline-out"], 2)
    assert "/proc/rtpipeline-out cannot be written" in error


def test_a_misspelt_key_is_named_with_line_and_suggestion(capsys, dicom, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("merge: plan\ndose:\n  outside_dos: zero\n")
    for arguments in (
        ["run", str(dicom), str(tmp_path / "out"), "--config", str(config)],
        ["config", "--check", str(config)],
    ):
        error = said(capsys, arguments, 2)
        assert "line 3" in error and "did you mean outside_dose" in error
    assert not (tmp_path / "out").exists()


def test_an_output_in_use_is_refused_with_its_holder(capsys, dicom, tmp_path):
    from RTPipelineLib.platform import FolderLock

    out = tmp_path / "out"
    out.mkdir()
    code = (
        "import sys, time; from RTPipelineLib.platform import FolderLock\n"
        f"with FolderLock(__import__('pathlib').Path({str(out)!r})):\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    root = Path(__file__).resolve().parents[1]
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=root)
    try:
        assert holder.stdout.readline() == b"held\n"
        error = said(capsys, ["run", str(dicom), str(out)], 2)
        assert str(holder.pid) in error and "in use" in error
    finally:
        holder.kill()
        holder.communicate()
    with FolderLock(out):  # a crash leaves no lock behind
        pass


# -- damaged data: status 3, a row, and the rest is done -------------------------------------------


@pytest.fixture
def broken(dicom, tmp_path) -> Path:
    """A copy of the patient, to be damaged."""
    return Path(shutil.copytree(dicom, tmp_path / "in"))


def run(folder: Path, out: Path, capsys, status: int) -> pd.DataFrame:
    """Run, and return the table of failures, which stand on stderr too."""
    assert main(["run", str(folder), str(out)]) == status
    error = capsys.readouterr().err
    assert "Traceback" not in error
    failures = pd.read_csv(out / "results" / "failures.csv")
    assert error.count("failed: ") == len(failures)
    return failures


def test_a_truncated_dose(broken, tmp_path, capsys):
    dose = one(broken, "RD*")
    dose.write_bytes(dose.read_bytes()[:200_000])
    failures = run(broken, tmp_path / "out", capsys, 3)
    name = dose.relative_to(broken).as_posix()
    assert failures.file.tolist() == [name] and "ends after" in failures.error[0]
    assert list((tmp_path / "out").glob("*/*/image/ct.nrrd"))


def test_a_truncated_slice_costs_the_image_not_the_dvh(broken, tmp_path, capsys):
    slices = sorted(broken.rglob("CT*"))
    slices[10].write_bytes(slices[10].read_bytes()[:5000])
    failures = run(broken, tmp_path / "out", capsys, 3)
    assert slices[10].relative_to(broken).as_posix() in set(failures.file)
    metrics = pd.read_parquet(tmp_path / "out" / "results" / "dvh_metrics.parquet")
    assert (metrics[metrics.roi_name == "PTV_70"].Dmean_Gy - 70).abs().max() < 2


def test_the_same_uid_with_different_content_is_an_error(broken, tmp_path, capsys):
    dose = one(broken, "RD*")
    other = pydicom.dcmread(dose)
    other.DoseGridScaling = str(float(other.DoseGridScaling) * 2)
    other.save_as(dose.with_name("second.dcm"))
    failures = run(broken, tmp_path / "out", capsys, 3)
    assert "different content" in failures.error[0]
    assert not list((tmp_path / "out").glob("*/*/dose/total.nrrd"))


def test_an_exact_copy_is_read_once(broken, tmp_path, capsys):
    dose = one(broken, "RD*")
    shutil.copy(dose, dose.with_name("copy"))
    assert run(broken, tmp_path / "out", capsys, 0).empty
    metrics = pd.read_parquet(tmp_path / "out" / "results" / "dvh_metrics.parquet")
    assert metrics.roi_number.is_unique


def test_relative_dose_is_refused_until_a_person_normalises_it(broken, tmp_path, capsys):
    path = one(broken, "RD*")
    dose = pydicom.dcmread(path)
    dose.DoseUnits = "RELATIVE"
    dose.DoseGridScaling = str(float(dose.DoseGridScaling) / 70)
    dose.save_as(path)
    out = tmp_path / "out"
    failures = run(broken, out, capsys, 3)
    assert "RELATIVE" in failures.error[0] and failures.stage[0] == "dose"
    folder = next(out.glob("*/*/course.json")).parent
    decision = f"dose: {{normalisation: {{{dose.SOPInstanceUID}: 70}}}}\n"
    (folder / "overrides.yaml").write_text(decision)
    assert run(broken, out, capsys, 0).empty
    metrics = pd.read_parquet(out / "results" / "dvh_metrics.parquet").set_index("roi_name")
    assert metrics.loc["PTV_70", "Dmean_Gy"] == pytest.approx(70, rel=0.03)
    assert "normalised-by-user" in metrics.loc["PTV_70", "flags"]


def test_a_patient_id_that_climbs_writes_nothing_outside(broken, tmp_path, capsys):
    for path in broken.rglob("*"):
        if path.is_file():
            dataset = pydicom.dcmread(path, force=True)
            dataset.PatientID = "../../x"
            dataset.save_as(path)
    before = {path.name for path in tmp_path.iterdir()}
    outside = {path.name for path in tmp_path.parent.iterdir()}
    assert run(broken, tmp_path / "a" / "b" / "out", capsys, 0).empty
    assert {path.name for path in tmp_path.iterdir()} == before | {"a"}
    assert {path.name for path in tmp_path.parent.iterdir()} == outside
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    courses = pd.read_parquet(tmp_path / "a" / "b" / "out" / "results" / "courses.parquet")
    assert courses.patient_id.tolist() == ["../../x"]


def test_hostile_names_of_structures_stay_text(broken, tmp_path, capsys):
    path = one(broken, "RS*")
    dataset = pydicom.dcmread(path)
    names = ["=HYPERLINK(1)", "<script>alert(1)</script>", "../../etc", 'a,b"c', "\u00e9\u4e2d"]
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for item, name in zip(dataset.StructureSetROISequence, names, strict=False):
        item.ROIName = name
    dataset.save_as(path)
    out = tmp_path / "out"
    assert run(broken, out, capsys, 0).empty
    metrics = pd.read_parquet(out / "results" / "dvh_metrics.parquet")
    assert set(names) <= set(metrics.roi_name)
    sheet = pd.read_excel(out / "results" / "results.xlsx", sheet_name="dvh_metrics")
    assert set(names) <= set(sheet.roi_name)
    page = next(out.glob("*/*/report/course.html")).read_text(encoding="utf-8")
    assert "<script>alert" not in page


# -- the commands ----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help(capsys, command):
    assert main([command, "--help"]) == 0
    assert "usage: rtpipeline " + command in capsys.readouterr().out


def test_index_lists_patients_courses_and_files_that_are_not_dicom(capsys, dicom, tmp_path):
    before = sorted(p.name for p in dicom.iterdir())
    assert main(["index", str(dicom)]) == 0
    out = capsys.readouterr().out
    assert "DEMO-HEADNECK" in out and "1 course" in out and "Demo" not in out
    assert sorted(p.name for p in dicom.iterdir()) == before
    assert main(["index", str(dicom), "--db", str(tmp_path / "index.sqlite")]) == 0
    assert (tmp_path / "index.sqlite").exists()


def test_dvh_of_loose_files(capsys, dicom, tmp_path):
    files = ["--rtstruct", str(one(dicom, "RS*")), "--rtdose", str(one(dicom, "RD*"))]
    files += ["--rtplan", str(one(dicom, "RP*"))]
    output, curves = tmp_path / "dvh.csv", tmp_path / "curves.csv"
    status = main(["dvh", *files, "-o", str(output), "--curves", str(curves), "--quiet"])
    assert status == 0
    table = pd.read_csv(output).set_index("roi_name")
    assert table.loc["PTV_60", "rx_gy"] == 60
    assert table.loc["PTV_70", "Dmean_Gy"] == pytest.approx(70, rel=0.03)
    lines = pd.read_csv(curves)
    assert list(lines.columns) == ["roi_name", "dose_gy", "volume_cc", "volume_percent"]
    ptv = lines[lines.roi_name == "PTV_70"]
    assert ptv.dose_gy.diff().dropna().round(6).eq(0.01).all()
    assert ptv.volume_percent.is_monotonic_decreasing and ptv.volume_percent.iloc[0] == 100
    capsys.readouterr()
    assert main(["dvh", *files, "--roi", "PTV_70", "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0].startswith("patient_id,course_id,source")


def test_dvh_of_a_structure_that_is_not_there(capsys, dicom):
    files = ["--rtstruct", str(one(dicom, "RS*")), "--rtdose", str(one(dicom, "RD*"))]
    assert "did you mean 'PTV_70'?" in said(capsys, ["dvh", *files, "--roi", "PTV70"], 2)


def test_dvh_of_files_in_the_wrong_places(capsys, dicom):
    files = ["--rtstruct", str(one(dicom, "RD*")), "--rtdose", str(one(dicom, "RS*"))]
    error = said(capsys, ["dvh", *files], 3)
    assert one(dicom, "RD*").name in error


def test_config_prints_defaults_that_are_valid(capsys, tmp_path):
    assert main(["config", "--defaults"]) == 0
    path = tmp_path / "config.yaml"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    assert main(["config", "--check", str(path)]) == 0


def test_doctor_finds_what_every_run_needs(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("TOTALSEG_HOME_DIR", str(tmp_path))
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "pydicom" in out and "MISSING" not in out
    assert "totseg_download_weights" in out and "GPU" in out and "GB free" in out
    (tmp_path / "nnunet" / "results" / "Dataset291_x").mkdir(parents=True)
    assert main(["doctor"]) == 0
    assert "1 networks in" in capsys.readouterr().out


def test_a_structure_set_without_roi_is_told(capsys, dicom, tmp_path):
    rtstruct, rtdose = (one(dicom, f"{kind}*") for kind in ("RS", "RD"))
    empty = pydicom.dcmread(rtstruct)
    empty.StructureSetROISequence, empty.ROIContourSequence = [], []
    empty.save_as(tmp_path / "empty.dcm")
    files = ["dvh", "--rtstruct", str(tmp_path / "empty.dcm"), "--rtdose", str(rtdose)]
    assert "empty.dcm has no ROI" in said(capsys, files, 3)


def test_a_decision_about_nothing_is_told(capsys, dicom, tmp_path):
    decisions = tmp_path / "decisions.yaml"
    decisions.write_text("courses: {DEMO-HEADNECK/2024: {links: {1.2.3: [1.2.4]}}}\n")
    options = ["--dry-run", "--overrides", str(decisions)]
    error = said(capsys, ["run", str(dicom), str(tmp_path / "out"), *options], 0)
    assert "1.2.3 is not among the files" in error
    assert "there is no course DEMO-HEADNECK/2024; did you mean DEMO-HEADNECK/20" in error


def test_dry_run_writes_nothing(capsys, dicom, tmp_path):
    out = tmp_path / "out"
    assert main(["run", str(dicom), str(out), "--dry-run", "--quiet"]) == 0
    assert "DEMO-HEADNECK\t" in capsys.readouterr().out
    assert not out.exists()


def test_progress_as_json(dicom, tmp_path):
    import json

    command = [sys.executable, "-m", "RTPipelineLib", "run", str(dicom), str(tmp_path / "out")]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [*command, "--progress", "json"], cwd=root, capture_output=True, text=True, check=False
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and events
    for event in events:
        assert event["event"] == "progress" and event["done"] <= event["total"]
    assert {"load", "dose", "dvh", "report"} <= {event["stage"] for event in events}


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_an_interrupt_ends_with_130_and_leaves_no_process(dicom, tmp_path):
    import signal
    import time

    import psutil

    command = [sys.executable, "-m", "RTPipelineLib", "run", str(dicom), str(tmp_path / "out")]
    root = Path(__file__).resolve().parents[1]
    process = subprocess.Popen(
        command,
        cwd=root,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore SIGINT, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    children: list[psutil.Process] = []
    limit = time.monotonic() + 30
    while not children and time.monotonic() < limit:
        time.sleep(0.05)
        children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in error
    assert not psutil.wait_procs(children, timeout=5)[1]


def test_names_cannot_command_the_terminal(broken, tmp_path, capsys):
    for path in broken.rglob("*"):
        if path.is_file():
            dataset = pydicom.dcmread(path, force=True)
            dataset.PatientID = "a\x1b[31mred"
            dataset.save_as(path)
    out = tmp_path / "out"
    assert main(["index", str(broken)]) == 0
    assert main(["run", str(broken), str(out), "--stages", "dose"]) == 0
    assert main(["status", str(out)]) == 0
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err and "a?[31mred" in captured.out


def test_a_file_of_another_kind_in_the_plans_place(capsys, dicom):
    structures = str(one(dicom, "RS*"))
    files = ["--rtstruct", structures, "--rtdose", str(one(dicom, "RD*")), "--rtplan", structures]
    assert "is no RT Plan but rtstruct" in said(capsys, ["dvh", *files], 2)


def test_a_dose_with_negative_values_is_flagged_and_used(broken, tmp_path, capsys):
    path = one(broken, "RD*")
    dose = pydicom.dcmread(path)
    dose.PixelRepresentation = 1
    dose.PixelData = (
        (dose.pixel_array.astype("<i8") // 2 - 1000)
        .astype(f"<i{dose.BitsAllocated // 8}")
        .tobytes()
    )
    dose.save_as(path)
    assert run(broken, tmp_path / "out", capsys, 0).empty
    metrics = pd.read_parquet(tmp_path / "out" / "results" / "dvh_metrics.parquet")
    assert metrics["flags"].str.contains("signed-dose").all()


def test_a_dose_of_one_fraction_is_suspected_and_not_scaled(broken, tmp_path, capsys):
    path = one(broken, "RD*")
    dose = pydicom.dcmread(path)
    dose.DoseGridScaling = f"{float(dose.DoseGridScaling) / 33:.10e}"
    dose.save_as(path)
    out = tmp_path / "out"
    assert run(broken, out, capsys, 0).empty
    metrics = pd.read_parquet(out / "results" / "dvh_metrics.parquet").set_index("roi_name")
    assert metrics["flags"].str.contains("dose-scale-suspect").all()
    assert metrics.loc["PTV_70", "Dmean_Gy"] == pytest.approx(70 / 33, rel=0.03)


def test_names_and_doses_that_a_person_decided_on(broken, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(broken, out, capsys, 0).empty
    folder = next(out.glob("*/*/course.json")).parent
    uid = pydicom.dcmread(one(broken, "RD*"), stop_before_pixels=True).SOPInstanceUID
    decisions = f"names: {{Parotid_L: Glnd_Parotid_L}}\ndose: {{doses: {{{uid}: 0.5}}}}\n"
    (folder / "overrides.yaml").write_text(decisions)
    assert run(broken, out, capsys, 0).empty
    metrics = pd.read_parquet(out / "results" / "dvh_metrics.parquet").set_index("roi_name")
    assert metrics.loc["Parotid_L", "roi_standard_name"] == "Glnd_Parotid_L"
    assert metrics.loc["Parotid_R", "roi_standard_name"] == "Parotid_R"  # nobody decided
    assert metrics.loc["PTV_70", "rx_gy"] == 35
    assert metrics.loc["PTV_70", "Dmean_Gy"] == pytest.approx(35, rel=0.03)


def test_a_terminal_that_knows_few_letters_shows_all(tmp_path):
    root = Path(__file__).resolve().parents[1]
    (tmp_path / "\u00fcn\u00ef").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "RTPipelineLib", "status", str(tmp_path / "\u00fcn\u00ef")],
        cwd=root,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2 and b"\\xfcn\\xef is not an output folder" in done.stderr
