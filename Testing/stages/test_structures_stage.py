"""Stage `structures` with a dose: derived structures in the tables, and what disagreement costs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK

from RTPipelineLib.cli import main
from RTPipelineLib.config import Config
from RTPipelineLib.config.structures import Derived
from RTPipelineLib.dicom.segmentation_write import write_segmentation
from RTPipelineLib.dicom.structures import read_structure_set
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Contours, Mask
from RTPipelineLib.phantoms.scale import tiny_patients
from RTPipelineLib.stages.agreement import agreement_row, paired
from RTPipelineLib.stages.derive import derived_structures
from RTPipelineLib.structures.volume import volume_cc
from RTPipelineLib.structures.voxelise import voxelise
from Testing.rt_export import FRAME, Export


@pytest.fixture
def export(tmp_path: Path) -> Export:
    return Export(tmp_path)


def run(export: Export, config: str, status: int = 0) -> pd.DataFrame:
    """All stages; the metrics of the course."""
    path = export.root / "c.yaml"
    path.write_text(config, encoding="utf-8")
    arguments = ["run", str(export.root / "dicom"), str(export.out), "--config", str(path)]
    assert main([*arguments, "--quiet"]) == status
    return pd.read_parquet(export.out / "results" / "dvh_metrics.parquet")


DERIVED = """\
structures:
  derived:
    - {name: Shell, operation: subtract, sources: [spinalcord, Inner]}
    - {name: Inner, sources: [PTV], margin_mm: -1}
    - {name: Lost, sources: [Nobody]}
    - {name: OfLost, sources: [Lost, PTV]}
"""


def nrrd_fields(path: Path) -> tuple[dict[str, str], tuple[int, ...]]:
    """Header keys and size of a NRRD file, as SimpleITK reads them."""
    image = SimpleITK.ReadImage(str(path))
    return {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}, image.GetSize()


def test_derived_structures_have_rows_and_a_missing_source_costs_its_own_only(export):
    sets = export.structures(rois={"Spinal Cord": 4.0, "PTV": 3.0})
    plan = export.plan("A", 25, structures=sets)
    export.dose(plan, 50.0)
    table = run(export, DERIVED, status=3)
    derived = table[table.source == "derived"].set_index("roi_name")
    assert sorted(derived.index) == ["Inner", "Shell"]
    assert (derived.structure_set_uid == sets).all()
    assert derived["Dmean_Gy"].to_numpy() == pytest.approx(50.0, rel=1e-6)
    cord = table.set_index("roi_name").loc["Spinal Cord"]
    assert cord.roi_standard_name == "SpinalCord"
    inner, shell = derived.loc["Inner", "volume_cc"], derived.loc["Shell", "volume_cc"]
    assert inner + shell == pytest.approx(cord.volume_cc, rel=0.02)
    failures = pd.read_csv(export.out / "results" / "failures.csv").set_index("item")
    assert set(failures.index) == {"Lost", "OfLost"}
    assert "there is no structure Nobody" in failures.loc["Lost", "error"]
    facts = json.loads((export.folder / "structures" / "structures.json").read_text())
    by_name = {roi["roi_name"]: roi for roi in facts["rois"]}
    assert by_name["Inner"]["volume_cc"] == pytest.approx(inner, rel=1e-6)
    assert (export.folder / by_name["Inner"]["file"]).exists()
    written = read_structure_set(export.folder / "structures" / "RS_derived.dcm")
    volumes = {roi.name: volume_cc(roi) for roi in written.rois}
    # The exact volumes are those of the shares; an RTSTRUCT keeps them within 0.5 %.
    assert volumes == pytest.approx({"Shell": shell, "Inner": inner}, rel=5e-3)
    labels, _ = nrrd_fields(export.folder / "structures" / "derived.seg.nrrd")
    assert labels["Segment0_Name"] == "Shell" and labels["Segment1_Name"] == "Inner"
    assert written.frame_uid == FRAME and written.patient_id == "P1"


def test_the_dose_of_what_a_program_drew_is_compared(export):
    sets = export.structures(rois={"LT LUNG": 3.0})
    other = export.structures(rois={"Lung_L": 4.0})
    path = export.root / "dicom" / f"{other}.dcm"
    ds = pydicom.dcmread(path)
    ds.StructureSetROISequence[0].ROIGenerationAlgorithm = "AUTOMATIC"
    ds.save_as(path)
    plan = export.plan("A", 25, structures=sets)
    ramp = np.broadcast_to(np.arange(6) * 10.0, (4, 5, 6)).copy()
    export.dose(plan, ramp)
    table = run(export, "{}")
    found = pd.read_parquet(export.out / "results" / "agreement_dose.parquet")
    (row,) = found.to_dict("records")
    assert (row["roi_name_a"], row["roi_name_b"]) == ("LT LUNG", "Lung_L")
    assert (row["structure_set_uid_a"], row["structure_set_uid_b"]) == (sets, other)
    own = table.set_index("roi_name").loc["LT LUNG"]
    # Both boxes have the same centre, so that only the spread of the dose differs.
    assert row["Dmean_Gy_difference"] == pytest.approx(0, abs=0.02)
    assert row["Dmax_Gy_difference"] < -1 and row["Dmin_Gy_difference"] > 1
    assert row["volume_cc_difference"] == pytest.approx(own.volume_cc * (1 - 16 / 9), rel=1e-3)
    assert "Lung_L" not in set(table.roi_name)
    agreement = pd.read_parquet(export.out / "results" / "agreement.parquet")
    assert agreement.dice.iloc[0] == pytest.approx(2 * 9 / 25, abs=0.03)


def box(name: str, half_mm: float, uid: str, frame: str = FRAME, **fields: object) -> Contours:
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half_mm
    loops = [np.column_stack([corners, np.full(4, 2.0 * k)]) for k in range(10)]
    return Contours.from_loops(
        name, loops, structure_set_uid=uid, frame_uid=frame, number=1, **fields
    )


def config(*derived: Derived) -> Config:
    structures = Config().structures.model_copy(update={"derived": derived})
    return Config().model_copy(update={"structures": structures})


def test_every_set_gets_its_own_and_borrows_what_it_lacks():
    wanted = config(Derived(name="Both", operation="subtract", sources=("PTV", "Bladder")))
    rois = [
        box("PTV", 20, "1"),
        box("PTV", 30, "2"),
        box("Bladder", 10, "2"),
        box("PTV", 25, "3", "other"),
        box("Bladder", 5, "4", generation_algorithm="AUTOMATIC"),
    ]
    problems: list = []
    found = derived_structures(rois, {}, wanted, problems)
    volumes = {mask.structure_set_uid: mask.array.sum() / 1000 for mask in found}
    assert set(volumes) == {"1", "2"} and not problems
    assert volumes["1"] == pytest.approx((40**2 - 20**2) * 20 / 1000, rel=0.02)
    assert volumes["2"] == pytest.approx((60**2 - 20**2) * 20 / 1000, rel=0.02)
    assert [mask.number for mask in found] == [1, 2]
    assert {mask.colour_rgb for mask in found} == {found[0].colour_rgb}


def test_what_no_set_can_make_is_one_problem():
    wanted = config(Derived(name="Gone", sources=("Nobody",)))
    problems: list = []
    assert derived_structures([box("PTV", 9, "1"), box("PTV", 9, "2")], {}, wanted, problems) == []
    (problem,) = problems
    assert problem.severity == "error" and problem.item == "Gone"


def test_contours_of_a_person_are_compared_with_the_mask_of_a_model():
    grid = Grid(np.array([-39.5, -39.5, 0.0]), np.eye(3), np.array([1.0, 1.0, 2.0]), (10, 80, 80))
    inside = np.zeros(grid.shape, dtype=bool)
    inside[:, 20:60, 20:60] = True
    model = Mask("lung_left", inside, grid, frame_uid=FRAME, source="total", number=3)
    model = replace(model, standard_name="Lung_L")
    person = replace(box("LT LUNG", 20, "1"), standard_name="Lung_L")
    (pair,) = paired([person], [model], alone=False)
    row = agreement_row(pair, grid, Config(), [])
    assert (row["source_a"], row["source_b"]) == ("clinical", "total")
    assert row["dice"] == pytest.approx(1, abs=1e-9) and row["hausdorff_mm"] == 0
    assert row["volume_a_cc"] == pytest.approx(32, rel=1e-3)


def test_a_result_that_is_not_what_it_was_meant_to_be_has_a_sentence():
    rois = [box("PTV", 10.0, "1"), box("Body", 20.0, "1"), box("Sheet", 10.0, "1")]
    rois[2] = replace(rois[2], points_mm=rois[2].points_mm * [0.004, 1.0, 1.0])  # 0.08 mm
    grid = Grid([-40.0, -40.0, -30.0], np.eye(3), [1.0, 1.0, 2.0], (31, 81, 81))
    problems = []
    derived_structures(
        rois,
        {FRAME: grid},
        config(
            Derived(name="Nothing", operation="subtract", sources=("PTV", "Body")),
            Derived(name="Ring", sources=("Sheet",), margin_mm=5.0),
        ),
        problems,
    )
    said = {problem.item: problem.message for problem in problems}
    assert said["Nothing"].startswith("Nothing is empty: ")
    assert "no surface to grow" in said["Ring"]


def test_segments_of_a_dicom_seg_are_structures_of_the_course(tmp_path):
    """The clinical target written as DICOM SEG beside its plan has a row of its own and agrees."""
    (patient,) = tiny_patients(tmp_path / "dicom", 1, slices=6)
    folder = tmp_path / "dicom" / patient.patient_id
    slices = [pydicom.dcmread(path) for path in sorted(folder.rglob("CT*"))]
    slices.sort(key=lambda ds: float(ds.ImagePositionPatient[2]))
    (drawn,) = folder.rglob("RS*")
    rois = read_structure_set(drawn).rois
    target = next(roi for roi in rois if roi.name == "PTV_20")
    grid = Grid(
        slices[0].ImagePositionPatient,
        np.eye(3),
        [*map(float, slices[0].PixelSpacing[::-1]), 4.0],
        (len(slices), slices[0].Rows, slices[0].Columns),
    )
    mask = voxelise(target.on_image(grid), grid, "coverage", whole=True)
    pytest.importorskip("highdicom", reason="the extra seg is not installed")
    write_segmentation(folder / "SEG.dcm", [replace(mask, name="PTV_20")], slices)
    arguments = ["run", str(tmp_path / "dicom"), str(tmp_path / "out"), "--quiet"]
    assert main(arguments) == 0
    metrics = pd.read_parquet(tmp_path / "out" / "results" / "dvh_metrics.parquet")
    rows = metrics[metrics["roi_name"] == "PTV_20"].set_index("source")
    assert set(rows.index) == {"clinical", "seg"}
    volume = grid.voxel_volume_mm3 * mask.array.sum(dtype=float) / 1000
    assert rows.loc["seg", "volume_cc"] == pytest.approx(volume, rel=1e-6)
    (agreement,) = (tmp_path / "out" / patient.patient_id).rglob("structures/agreement.parquet")
    assert pd.read_parquet(agreement)["source_b"].tolist() == ["seg"]
