"""`rtpipeline sum-dose`: what comes out, what is refused, and what other readers see."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset
from pydicom.uid import (
    RTIonPlanStorage,
)
from scipy.spatial.transform import Rotation

from RTPipelineLib.cli import main
from RTPipelineLib.dicom.derivation import Derivation, add_derivation
from RTPipelineLib.dicom.dose import read_dose
from RTPipelineLib.dicom.new_object import write_dataset
from RTPipelineLib.dicom.write import dose_dataset
from Testing.rt_export import FRAME, OTHER_FRAME, POSITIONS, rt_dose, rt_registration, save


@dataclass(frozen=True)
class Files:
    """Writes doses into a folder."""

    folder: Path

    def dose(self, name: str, gy: float | np.ndarray, **values: object) -> Path:
        return save(rt_dose(gy, **values), self.folder / f"{name}.dcm")

    def registration(self, matrix: np.ndarray) -> Path:
        return save(rt_registration(matrix), self.folder / "reg.dcm")

    def sum(self, *arguments: object, status: int = 0) -> pydicom.Dataset:
        out = self.folder / "sum.dcm"
        out.unlink(missing_ok=True)
        assert main(["sum-dose", *map(str, arguments), "-o", str(out)]) == status
        assert out.exists() == (status == 0)
        assert not list(self.folder.glob("*.part"))
        return pydicom.dcmread(out) if status == 0 else Dataset()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def gy(ds: pydicom.Dataset) -> np.ndarray:
    return ds.pixel_array * float(ds.DoseGridScaling)


# -- geometry --------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_two_doses_of_10_gy_are_20_gy_in_every_patient_position(files, position, order) -> None:
    offsets = (0.0, 3.0, 6.0, 9.0) if order == "ascending" else (0.0, -3.0, -6.0, -9.0)
    fields = {"orientation": POSITIONS[position], "offsets": offsets}
    found = gy(files.sum(files.dose("a", 10.0, **fields), files.dose("b", 10.0, **fields)))
    assert found.shape == (4, 5, 6)
    assert found == pytest.approx(np.full(found.shape, 20.0), abs=1e-6)


@pytest.mark.parametrize("offsets", [(30.0, 33.0, 36.0, 39.0), (39.0, 36.0, 33.0, 30.0)])
def test_absolute_and_relative_offsets_meet(files, offsets) -> None:
    """Absolute z (identity orientation only) and relative offsets of one and the same grid."""
    position = (-10.0, -20.0, offsets[0])
    absolute = files.dose("a", 10.0, position=position, offsets=offsets)
    relative = files.dose("b", 10.0)
    found = files.sum(absolute, relative)
    assert gy(found) == pytest.approx(np.full((4, 5, 6), 20.0), abs=1e-6)
    assert float(found.ImagePositionPatient[2]) == 30.0


@pytest.mark.parametrize("orientation", [p for p in POSITIONS if p != "HFS"])
def test_absolute_offsets_of_a_turned_grid_are_refused(files, orientation, capsys) -> None:
    fields = {"orientation": POSITIONS[orientation], "offsets": (30.0, 33.0, 36.0, 39.0)}
    files.sum(files.dose("a", 10.0, **fields), status=3)
    assert "relative offsets" in capsys.readouterr().err


def test_opposite_orientations_of_one_place_are_added_voxel_by_voxel(files) -> None:
    """The same ramp stored head first supine and head first prone (rows and columns reversed)."""
    ramp = np.arange(4 * 5 * 6).reshape(4, 5, 6) / 10
    supine = files.dose("a", ramp)
    prone = files.dose(
        "b", ramp[:, ::-1, ::-1], orientation=POSITIONS["HFP"], position=(0.0, -10.0, 30.0)
    )
    assert gy(files.sum(supine, prone)) == pytest.approx(2 * ramp, abs=1e-5)


def test_no_dose_is_lost_at_the_borders_of_the_union(files, capsys) -> None:
    first = files.dose("a", 10.0)
    second = files.dose("b", 10.0, position=(-4.0, -20.0, 36.0))  # 3 columns and 2 slices further
    found = gy(files.sum(first, second))
    assert found.shape == (6, 5, 9)
    assert np.unique(found.round(6)).tolist() == [0.0, 10.0, 20.0]
    assert found.sum() == pytest.approx(10.0 * 2 * 4 * 5 * 6)
    assert "not reached by every dose" in capsys.readouterr().err


# -- what the object says --------------------------------------------------------------------------


def test_several_whole_plans(files) -> None:
    a, b = files.dose("a", 40.0, plan="1.7.1"), files.dose("b", 20.0, plan="1.7.2")
    found = files.sum(a, b)
    assert (found.DoseSummationType, found.DoseType, found.DoseUnits) == (
        "MULTI_PLAN",
        "PHYSICAL",
        "GY",
    )
    plans = [item.ReferencedSOPInstanceUID for item in found.ReferencedRTPlanSequence]
    assert plans == ["1.7.1", "1.7.2"]
    sources = [item.ReferencedSOPInstanceUID for item in found.ReferencedInstanceSequence]
    assert sources == [pydicom.dcmread(path).SOPInstanceUID for path in (a, b)]
    assert all(uid in found.DerivationDescription for uid in sources)
    assert [code.CodeValue for code in found.DerivationCodeSequence] == ["121370"]
    assert "PlanOverviewSequence" not in found
    assert (found.PatientID, found.StudyInstanceUID, found.FrameOfReferenceUID) == (
        "P1",
        "1.2.3.1",
        FRAME,
    )


def test_one_plan_stays_one_plan(files) -> None:
    """A single file, and the beams of one plan."""
    assert files.sum(files.dose("a", 40.0, plan="1.7.1")).DoseSummationType == "PLAN"
    beams = [
        files.dose(f"b{n}", 10.0 * n, plan="1.7.1", DoseSummationType="BEAM", beams=(n,))
        for n in (1, 2)
    ]
    found = files.sum(*beams)
    assert (found.DoseSummationType, len(found.ReferencedRTPlanSequence)) == ("PLAN", 1)
    assert gy(found).max() == pytest.approx(30.0, abs=1e-6)


def test_weights_make_a_plan_overview_with_its_fractions(files) -> None:
    a, b = files.dose("a", 50.0, plan="1.7.1"), files.dose("b", 20.0, plan="1.7.2")
    found = files.sum(a, b, "--weights", "0.8,1", "--fractions", "25,10")
    assert found.DoseSummationType == "PLAN_OVERVIEW"
    assert gy(found) == pytest.approx(np.full((4, 5, 6), 60.0), abs=1e-5)
    overview = found.PlanOverviewSequence
    assert [(o.PlanOverviewIndex, o.NumberOfFractionsIncluded) for o in overview] == [
        (1, 20),
        (2, 10),
    ]
    assert [p.ReferencedPlanOverviewIndex for p in found.ReferencedRTPlanSequence] == [1, 2]
    assert "0.8 x" in found.DerivationDescription
    unknown = files.sum(a, b, "--weights", "0.8,1")
    assert "NumberOfFractionsIncluded" not in unknown.PlanOverviewSequence[0]


def test_other_readers_accept_it(files) -> None:
    ramp = np.arange(4 * 5 * 6).reshape(4, 5, 6) / 10
    files.sum(files.dose("a", ramp, plan="1.7.1"), files.dose("b", ramp, plan="1.7.2"))
    image = SimpleITK.ReadImage(str(files.folder / "sum.dcm"), SimpleITK.sitkUInt32)
    stored = SimpleITK.GetArrayFromImage(image)
    scaling = float(pydicom.dcmread(files.folder / "sum.dcm").DoseGridScaling)
    assert stored * scaling == pytest.approx(2 * ramp, abs=1e-6)
    assert image.GetOrigin() == pytest.approx((-10.0, -20.0, 30.0))
    assert read_dose(files.folder / "sum.dcm").array_gy == pytest.approx(2 * ramp, abs=1e-5)


def test_dciodvfy_finds_no_error(files) -> None:
    """In 16 bits: with 32 bit pixels the program itself ends at an assertion."""
    program = shutil.which("dciodvfy") or pytest.skip("dciodvfy (Debian: dicom3tools) is not here")
    files.sum(files.dose("a", 10.0, plan="1.7.1"), files.dose("b", 20.0, plan="1.7.2"))
    study = pydicom.dcmread(files.folder / "a.dcm", stop_before_pixels=True)
    ds = dose_dataset(read_dose(files.folder / "sum.dcm"), patient_from=study, bits=16)
    add_derivation(ds, Derivation(("1.2.8", "1.2.9")))
    write_dataset(files.folder / "short.dcm", ds)
    done = subprocess.run(
        [program, str(files.folder / "short.dcm")], capture_output=True, text=True, timeout=60
    )
    said = (done.stdout + done.stderr).splitlines()
    assert "RTDose" in said
    assert [line for line in said if line.startswith("Error")] == []


def test_plastimatch_reads_the_same_dose(files) -> None:
    beside = Path(sys.executable).parent / "plastimatch"
    program = shutil.which("plastimatch") or (str(beside) if beside.exists() else "")
    if not program:
        pytest.skip("plastimatch is not here")
    files.sum(files.dose("a", 10.0, plan="1.7.1"), files.dose("b", 20.0, plan="1.7.2"))
    out = files.folder / "dose.nrrd"
    arguments = ["--input-dose-img", str(files.folder / "sum.dcm"), "--output-dose-img", str(out)]
    subprocess.run([program, "convert", *arguments], check=True, capture_output=True, timeout=60)
    image = SimpleITK.ReadImage(str(out))
    assert SimpleITK.GetArrayFromImage(image) == pytest.approx(np.full((4, 5, 6), 30.0), abs=1e-4)
    assert image.GetOrigin() == pytest.approx((-10.0, -20.0, 30.0))


def test_the_same_sum_is_the_same_file(files) -> None:
    a, b = files.dose("a", 40.0, plan="1.7.1"), files.dose("b", 20.0, plan="1.7.2")
    files.sum(a, b)
    first = (files.folder / "sum.dcm").read_bytes()
    assert main(["sum-dose", str(a), str(b), "-o", str(files.folder / "sum.dcm")]) == 0
    assert (files.folder / "sum.dcm").read_bytes() == first


# -- EQD2 ------------------------------------------------------------------------------------------


def test_eqd2_of_sequential_plans(files) -> None:
    a, b = files.dose("a", 20.0, plan="1.7.1"), files.dose("b", 10.0, plan="1.7.2")
    found = files.sum(a, b, "--eqd2", "3", "--fractions", "30,4")
    expected = 20 * (20 / 30 + 3) / 5 + 10 * (10 / 4 + 3) / 5  # 14.667 + 11
    assert gy(found) == pytest.approx(np.full((4, 5, 6), expected), abs=1e-5)
    assert (found.DoseType, found.DoseSummationType) == ("EFFECTIVE", "MULTI_PLAN")
    assert found.DoseComment == "EQD2 a/b 3 Gy"
    assert [c.CodeValue for c in found.DerivationCodeSequence] == ["121370", "121377"]


def test_eqd2_adds_the_beams_of_one_plan_first(files) -> None:
    beams = [
        files.dose(f"b{n}", 25.0, plan="1.7.1", DoseSummationType="BEAM", beams=(n,))
        for n in (1, 2)
    ]
    found = files.sum(*beams, "--eqd2", "3", "--fractions", "25,25")
    assert gy(found) == pytest.approx(np.full((4, 5, 6), 50.0), abs=1e-5)
    files.sum(*beams, "--eqd2", "3", "--fractions", "25,20", status=2)


def test_eqd2_weights_leave_the_dose_per_fraction(files) -> None:
    found = files.sum(files.dose("a", 75.0), "--eqd2", "3", "--fractions", "25", "--weights", "0.8")
    assert gy(found).max() == pytest.approx(60.0 * (3 + 3) / 5, abs=1e-5)  # 20 fractions of 3 Gy


def test_what_is_biological_already_is_not_converted_or_mixed(files, capsys) -> None:
    dose = files.dose("a", 40.0)
    files.sum(dose, "--eqd2", "3", "--fractions", "20")
    eqd2 = (files.folder / "sum.dcm").rename(files.folder / "eqd2.dcm")
    files.sum(eqd2, "--eqd2", "3", "--fractions", "20", status=3)
    assert "already" in capsys.readouterr().err
    other = files.dose("b", 40.0, DoseType="EFFECTIVE")
    files.sum(eqd2, other, status=3)
    assert "BED or EQD2" in capsys.readouterr().err
    ten = files.dose("c", 40.0, DoseType="EFFECTIVE", DoseComment="EQD2 a/b = 10")
    files.sum(eqd2, ten, status=3)
    assert "different a/b" in capsys.readouterr().err


def test_ions_need_an_rbe(files, capsys) -> None:
    fields = {"plan": "1.7.1", "plan_class": RTIonPlanStorage}
    rbe = files.dose("a", 40.0, DoseType="EFFECTIVE", **fields)
    found = files.sum(rbe, "--eqd2", "2", "--fractions", "20")
    assert gy(found).max() == pytest.approx(40.0, abs=1e-5)
    physical = files.dose("b", 40.0, **fields)
    files.sum(physical, "--eqd2", "2", "--fractions", "20", status=3)
    assert "without RBE" in capsys.readouterr().err
    files.sum(
        files.dose("c", 40.0, DoseType="EFFECTIVE"), "--eqd2", "2", "--fractions", "20", status=3
    )
    assert "may be BED" in capsys.readouterr().err


# -- registration ----------------------------------------------------------------------------------


def test_a_registered_dose_lands_on_its_landmark(files) -> None:
    """A hot voxel of the other frame lies where the matrix (source to registered) puts it."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    matrix[:3, 3] = (-30.0, -9.0, 6.0)
    hot = np.zeros((4, 5, 6))
    hot[2, 1, 4] = 50.0
    spot = np.array([-10.0 + 4 * 2.0, -20.0 + 1 * 2.5, 30.0 + 2 * 3.0])
    own = files.dose("a", 0.0)
    other = files.dose("b", hot, FrameOfReferenceUID=OTHER_FRAME)
    reg = files.registration(matrix)
    found = files.sum(own, other, "--registration", reg)
    assert found.FrameOfReferenceUID == FRAME
    dose = read_dose(files.folder / "sum.dcm")
    landmark = matrix[:3, :3] @ spot + matrix[:3, 3]
    k, j, i = np.unravel_index(dose.array_gy.argmax(), dose.array_gy.shape)
    place = dose.grid.to_lps(np.array([i, j, k], float))
    assert np.abs(place - landmark).max() <= dose.grid.spacing_mm.max() / 2 + 1e-6
    assert found.SpatialTransformOfDose == "RIGID"
    used = found.ReferencedSpatialRegistrationSequence
    assert [u.ReferencedSOPInstanceUID for u in used] == [pydicom.dcmread(reg).SOPInstanceUID]


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"DoseType": "EFFECTIVE"}, "never added"),
        ({"DoseUnits": "RELATIVE"}, "RELATIVE units"),
        ({"DoseType": "ERROR"}, "never added"),
        ({"FrameOfReferenceUID": OTHER_FRAME}, "--registration"),
        ({"DoseGridScaling": "0"}, "Dose Grid Scaling"),
        ({"plan": "1.7.1", "DoseSummationType": "BEAM"}, "its own parts"),
        ({"plan": "1.7.1", "DoseSummationType": "MULTI_PLAN"}, "its own parts"),
    ],
)
def test_doses_that_must_not_be_added(files, capsys, changes, words) -> None:
    files.sum(files.dose("a", 10.0, plan="1.7.1"), files.dose("b", 10.0, **changes), status=3)
    message = capsys.readouterr().err
    assert words in message
    assert "b.dcm" in message
    assert len(message.strip().splitlines()) == 1


def test_a_dose_counts_once(files, capsys) -> None:
    dose = files.dose("a", 10.0)
    copy = files.folder / "copy.dcm"
    copy.write_bytes(dose.read_bytes())
    files.sum(dose, copy, status=3)
    assert "the same dose" in capsys.readouterr().err


def test_a_registration_of_other_frames_does_not_help(files, capsys) -> None:
    other = files.dose("b", 10.0, FrameOfReferenceUID="1.2.3.9")
    reg = files.registration(np.eye(4))
    files.sum(files.dose("a", 10.0), other, "--registration", reg, status=3)
    assert "no registration joins" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--weights", "1"], "1 numbers for 2 files"),
        (["--weights", "1,two"], "'two' is no number"),
        (["--weights", "1,-1"], "'-1' is no number above 0"),
        (["--weights", "1,inf"], "'inf' is no number above 0"),
        (["--fractions", "25"], "1 numbers for 2 files"),
        (["--eqd2", "3"], "needs --fractions"),
        (["--eqd2", "3", "--fractions", "25,2.5"], "2.5 is no whole number"),
        (["--eqd2", "0", "--fractions", "25,25"], "'0' is no number above 0"),
        (["--registration", "missing.dcm"], "missing.dcm is not a file"),
    ],
)
def test_wrong_arguments_do_nothing(files, capsys, arguments, words) -> None:
    files.sum(files.dose("a", 10.0), files.dose("b", 10.0), *arguments, status=2)
    assert words in capsys.readouterr().err


def test_a_file_of_somebody_else_is_never_overwritten(files, capsys) -> None:
    dose, other = files.dose("a", 10.0), files.dose("b", 10.0)
    before = other.read_bytes()
    assert main(["sum-dose", str(dose), "-o", str(other)]) == 2
    assert main(["sum-dose", str(dose), "-o", str(dose)]) == 2
    assert main(["sum-dose", str(dose), "-o", str(files.folder)]) == 2
    assert other.read_bytes() == before
    assert "choose a new name" in capsys.readouterr().err


def test_real_proton_beams_make_their_plan(shared_data, tmp_path) -> None:
    """The BEAM doses of a real ion plan add up to its PLAN dose within 1e-4 Gy."""
    doses = sorted((shared_data / "proton_beams").glob("RD*.dcm"))
    kinds = {p: pydicom.dcmread(p, stop_before_pixels=True).DoseSummationType for p in doses}
    beams = [str(path) for path, kind in kinds.items() if kind == "BEAM"]
    plan = next(path for path, kind in kinds.items() if kind == "PLAN")
    out = tmp_path / "sum.dcm"
    assert main(["sum-dose", *beams, "-o", str(out)]) == 0
    assert read_dose(out).array_gy == pytest.approx(read_dose(plan).array_gy, abs=1e-4)
    assert read_dose(out).dose_type == "EFFECTIVE"
    assert main(["sum-dose", str(plan), beams[0], "-o", str(tmp_path / "twice.dcm")]) == 3
