"""Stage `radiomics` and `rtpipeline radiomics`: rows, reasons, wrong parameter files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK

from RTPipelineLib.cli import main
from RTPipelineLib.config import load_config
from RTPipelineLib.config.radiomics_file import read_parameters
from RTPipelineLib.dicom.image import read_series
from RTPipelineLib.dicom.structures import read_structure_set
from RTPipelineLib.errors import ConfigError
from RTPipelineLib.overrides import Overrides
from RTPipelineLib.phantoms.cohort import make_cohort
from RTPipelineLib.run.execute import execute
from RTPipelineLib.structures.voxelise import voxelise

needs_engine = pytest.mark.skipif(
    "not __import__('importlib.util').util.find_spec('pywt')",
    reason="pyradiomics is not installed (extra radiomics)",
)
FAST = """\
setting: {binWidth: 25, resampledPixelSpacing: [4, 4, 4]}
imageType: {Original: {}}
featureClass: {firstorder: [Mean, Variance], glcm: [Contrast], shape: [VoxelVolume]}
"""
CONFIG = """\
radiomics:
  enabled: true
  params: fast.yaml
  rois: [gtv, Lung_L, spinalcord]
  skip: [SpinalCord]
  dose: true
"""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    make_cohort(folder / "dicom", patients=["DEMO-LUNG"])
    (folder / "fast.yaml").write_text(FAST)
    (folder / "c.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def out(cohort: Path) -> Path:
    arguments = ["--config", str(cohort / "c.yaml"), "--stages", "load,structures,dose,radiomics"]
    status = main(["run", str(cohort / "dicom"), str(cohort / "out"), *arguments, "--quiet"])
    assert status == 0
    return cohort / "out"


@needs_engine
def test_a_row_for_every_structure_and_image(out: Path, cohort: Path) -> None:
    table = pd.read_parquet(out / "results" / "radiomics.parquet")
    rows = table.set_index(["roi_name", "image"])
    assert sorted(rows.index) == [
        ("GTV", "ct"),
        ("GTV", "dose:plan:SABR_RML"),
        ("Lung_L", "ct"),
        ("Lung_L", "dose:plan:SABR_RML"),
    ]
    assert (table.reason == "").all()
    own = rows.loc[("GTV", "ct")]
    assert (own.modality, own.image_unit, own.engine) == ("CT", "HU", "pyradiomics")
    assert own.parameters == "fast.yaml"
    assert own.parameters_sha256 == read_parameters(cohort / "fast.yaml").sha256
    # The same structure measured another way: its voxels are its volume, its dose that of the DVH.
    assert own.voxels > own.analysed_voxels > 0
    assert rows.loc[("Lung_L", "ct")].original_firstorder_Mean < -600
    assert rows.loc[("GTV", "dose:plan:SABR_RML")].original_firstorder_Mean > 40
    assert rows.loc[("GTV", "dose:plan:SABR_RML")].parameters == "dose.yaml"


@needs_engine
def test_what_is_known_is_not_computed_again(out: Path, cohort: Path) -> None:
    (course,) = (out / "DEMO-LUNG").iterdir()
    kept = sorted((course / "kept" / "radiomics").glob("*.parquet"))
    assert len(kept) == 4
    before = [path.stat().st_mtime_ns for path in kept]
    first = pd.read_parquet(course / "radiomics" / "features.parquet")
    record = execute("radiomics", course, load_config(cohort / "c.yaml"), Overrides())
    assert record.status == "done"
    assert [path.stat().st_mtime_ns for path in kept] == before
    pd.testing.assert_frame_equal(pd.read_parquet(course / "radiomics" / "features.parquet"), first)


@needs_engine
def test_too_small_is_a_row_with_the_reason(out: Path, cohort: Path, tmp_path: Path) -> None:
    (course,) = (out / "DEMO-LUNG").iterdir()
    large = CONFIG.replace("dose: true", "min_voxels: 5000").replace("fast.yaml", "ct_native")
    (tmp_path / "c.yaml").write_text(large)
    record = execute("radiomics", course, load_config(tmp_path / "c.yaml"), Overrides())
    assert record.status == "done"  # nothing went wrong
    table = pd.read_parquet(course / "radiomics" / "features.parquet").set_index("roi_name")
    assert "radiomics.min_voxels asks for at least 5000" in table.loc["GTV", "reason"]
    assert table.loc["Lung_L", "reason"] == ""
    assert any(problem.item == "GTV" for problem in record.problems)


def test_not_asked_for_is_skipped(out_without: Path) -> None:
    record = json.loads(next(out_without.glob("*/*/stages/radiomics.json")).read_text())
    assert record["status"] == "skipped"
    assert len(pd.read_parquet(out_without / "results" / "radiomics.parquet")) == 0


@pytest.fixture(scope="module")
def out_without(cohort: Path) -> Path:
    arguments = ["run", str(cohort / "dicom"), str(cohort / "plain"), "--stages", "load,radiomics"]
    assert main([*arguments, "--quiet"]) == 0
    return cohort / "plain"


# -- parameter files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("setting: {binWidht: 25}", "setting.binWidht is not a key; did you mean binWidth?"),
        ("setting:\n  binWidth: wide", "line 2: setting.binWidth: expected a number"),
        ("setting: {resampledPixelSpacing: [1, 1]}", "setting.resampledPixelSpacing"),
        ("imageType: {Log: {}}", "'Log' is not an image type; did you mean LoG?"),
        ("imageType: {LoG: {}}", "imageType.LoG needs the key sigma"),
        ("imageType: {LBP3D: {lbp3DLevels: 0}}", "lbp3DLevels"),
        ("imageType: {Square: {normalize: true}}", "belongs under setting"),
        ("featureClass: {glszn: }", "'glszn' is not a feature class; did you mean glszm?"),
        ("setting: {interpolator: BSpline}", "did you mean sitkBSpline?"),
        ("voxelSetting: {kernelRadius: 2}", "voxelSetting is not a key"),
    ],
)
def test_wrong_parameter_files(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as found:
        read_parameters(path)
    assert sentence in str(found.value)
    config = tmp_path / "c.yaml"
    config.write_text("radiomics: {params: params.yaml}")
    assert main(["config", "--check", str(config)]) == 2


# -- the command ----------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    array = np.random.default_rng(5).normal(40, 60, (12, 30, 32)).astype(np.int16)
    labels = np.zeros(array.shape, np.uint8)
    labels[3:9, 5:20, 6:20] = 1
    labels[2:10, 22:28, 22:30] = 3
    labels[0, 0, 0] = 7
    paths = []
    for name, values in (("ct.nii.gz", array), ("seg.nii.gz", labels)):
        image = SimpleITK.GetImageFromArray(values)
        image.SetSpacing((1.0, 1.0, 2.0))
        SimpleITK.WriteImage(image, str(tmp_path / name))
        paths.append(tmp_path / name)
    return paths[0], paths[1]


@needs_engine
def test_command_with_labels(files: tuple[Path, Path], tmp_path: Path) -> None:
    image, labels = files
    table = tmp_path / "out.csv"
    (tmp_path / "p.yaml").write_text("setting: {binWidth: 20}\nfeatureClass: {firstorder: [Mean]}")
    arguments = ["radiomics", str(image), str(labels), "-o", str(table)]
    status = main([*arguments, "--params", str(tmp_path / "p.yaml"), "--quiet"])
    assert status == 0
    rows = pd.read_csv(table).set_index("roi_name")
    assert list(rows.index) == ["seg_1", "seg_3", "seg_7"]
    array = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(image)))
    there = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(labels)))
    for number in (1, 3):
        mean = rows.loc[f"seg_{number}", "original_firstorder_Mean"]
        assert mean == pytest.approx(array[there == number].mean(), rel=1e-9)
    assert "at least 64" in rows.loc["seg_7", "reason"]


@needs_engine
def test_command_refuses_what_it_cannot_use(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, labels = files
    for arguments, sentence in (
        ([image, labels], "give --modality"),
        ([image, labels, "--params", "nothing.yaml"], "there is no file nothing.yaml"),
        ([image, tmp_path / "none.nrrd", "--params", "ct"], "is not a file"),
        ([image, labels, "--params", "ct", "--roi", "seg_2"], "did you mean 'seg_"),
        ([image, labels, "--modality", "PT"], "the preset pet is for SUV"),
        ([image, image, "--params", "ct"], "holds no labels"),
    ):
        status = main(["radiomics", *map(str, arguments), "-o", str(tmp_path / "o.csv")])
        assert status in (2, 3)
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "o.csv").exists()


@needs_engine
def test_contours_and_the_equal_mask(cohort: Path, tmp_path: Path) -> None:
    """The same features from an RTSTRUCT and from its voxels as labels."""
    folder = cohort / "dicom" / "DEMO-LUNG"
    structure_set = next((folder / "RS").iterdir())
    image = read_series([path for path in (folder / "CT").rglob("*") if path.is_file()])
    roi = next(r for r in read_structure_set(structure_set).rois if r.name == "GTV")
    mask = voxelise(roi.on_image(image.grid), image.grid, "coverage", whole=True)
    label = SimpleITK.GetImageFromArray(mask.array.astype(np.uint8))
    label.SetOrigin(image.grid.origin_mm.tolist())
    label.SetSpacing(image.grid.spacing_mm.tolist())
    label.SetDirection(image.grid.direction.ravel().tolist())
    SimpleITK.WriteImage(label, str(tmp_path / "GTV.nrrd"))
    tables = []
    for structures, extra in ((structure_set, ["--roi", "GTV"]), (tmp_path / "GTV.nrrd", [])):
        out = tmp_path / f"{len(tables)}.csv"
        arguments = ["radiomics", str(folder / "CT"), str(structures), "-o", str(out), *extra]
        assert main([*arguments, "--params", "ct_native", "--quiet"]) == 0
        tables.append(pd.read_csv(out).iloc[0])
    names = [name for name in tables[0].index if "_firstorder_" in name or "_glcm_" in name]
    assert len(names) > 400
    for name in names:
        assert tables[0][name] == pytest.approx(tables[1][name], rel=1e-9), name
