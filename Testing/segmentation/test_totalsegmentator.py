"""The real TotalSegmentator, from DICOM to a DVH row; nothing of it is replaced but the training.

The weights label bands of HU (`standin_weights.py`), and the phantom's organs have HU of their own.
So the organs that come out are compared with the shapes that were painted. Between bone and fat
every HU occurs, so that a thin shell around bones counts as liver or heart: the comparison looks at
the organ's surroundings only.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK

from RTPipelineLib.cli import main
from RTPipelineLib.dicom.structures import read_structure_set
from RTPipelineLib.geometry import Grid
from RTPipelineLib.phantoms.cohort import make_cohort
from RTPipelineLib.stages.nrrd import read_nrrd
from RTPipelineLib.stages.seg_nrrd import read_segments
from RTPipelineLib.structures.mask_resampling import resample_mask
from RTPipelineLib.structures.voxelise import voxelise

# Voxels of 3 mm, smoothed over neighbours: an organ of 60 mm loses and gains half a voxel.
LEAST_DICE = 0.9
SURROUNDINGS_MM = 9.0


@pytest.fixture(scope="module")
def out(segmentation_python, weights, tmp_path_factory) -> Path:
    """The output of a run over a lung patient with a plan and a dose."""
    folder = tmp_path_factory.mktemp("totalsegmentator")
    make_cohort(folder / "dicom", patients=["DEMO-LUNG"])
    config = folder / "config.yaml"
    config.write_text(
        f"segmentation:\n  python: {segmentation_python}\n  weights: {weights}\n"
        "  models:\n  - {task: total, fast: true}\n",
        encoding="utf-8",
    )
    status = main(
        ["run", str(folder / "dicom"), str(folder / "out"), "--config", str(config), "--quiet"]
    )
    course = next((folder / "out" / "DEMO-LUNG").iterdir())
    log = course / "logs" / "segment.log"
    assert status == 0, log.read_text() if log.exists() else "no log"
    return course


def _found(out: Path, structure: str, grid: Grid) -> np.ndarray:
    """A structure of the result as voxels of the image."""
    masks = {m.name: m for m in read_segments(out / "segmentation" / "total_fast.seg.nrrd")}
    return resample_mask(masks[structure], grid, whole=True).array > 0


def _image(out: Path) -> Grid:
    return read_nrrd(out / "image" / "ct.nrrd")[1]


@pytest.mark.parametrize(
    ("structure", "drawn"),
    [("liver", "Liver"), ("heart", "Heart"), ("lung_lower_lobe_left", "Lungs")],
)
def test_organs_are_where_they_were_painted(out, structure, drawn):
    grid = _image(out)
    found = _found(out, structure, grid)
    truth = _drawn(out, grid, drawn)
    margin = np.ceil(SURROUNDINGS_MM / grid.spacing_mm[::-1]).astype(int)
    where = np.argwhere(truth)
    low, high = np.maximum(where.min(axis=0) - margin, 0), where.max(axis=0) + margin + 1
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    both = (found & truth)[box].sum()
    dice = 2 * both / (found[box].sum() + truth[box].sum())
    assert dice > LEAST_DICE


def _drawn(out: Path, grid: Grid, name: str) -> np.ndarray:
    """The clinical contours of an organ (or both lungs) as voxels of the image."""
    course = json.loads((out / "course.json").read_text())
    path = next(o["path"] for o in course["objects"] if o["kind"] == "rtstruct")
    rois = read_structure_set(Path(course["dicom_root"]) / path).rois
    names = ("Lung_L", "Lung_R") if name == "Lungs" else (name,)
    masks = [voxelise(roi, grid, "coverage", whole=True).array for roi in rois if roi.name in names]
    assert len(masks) == len(names)
    return np.logical_or.reduce(masks)


def test_labels_lie_on_the_voxels_of_the_image(out):
    for mask in read_segments(out / "segmentation" / "total_fast.seg.nrrd"):
        assert mask.grid.offset_in(_image(out)) is not None


def test_slicer_finds_names_colours_and_codes(out):
    header = SimpleITK.ReadImage(str(out / "segmentation" / "total_fast.seg.nrrd"))
    number = next(
        key.removesuffix("_Name")
        for key in header.GetMetaDataKeys()
        if key.endswith("_Name") and header.GetMetaData(key) == "liver"
    )
    assert "SCT^10200004^Liver" in header.GetMetaData(f"{number}_Tags")
    assert len(header.GetMetaData(f"{number}_Color").split()) == 3


def test_the_structure_set_belongs_to_the_ct(out):
    written = pydicom.dcmread(out / "segmentation" / "RS_total_fast.dcm")
    rois = read_structure_set(out / "segmentation" / "RS_total_fast.dcm").rois
    facts = json.loads((out / "image" / "image.json").read_text())["volumes"][0]
    assert written.FrameOfReferenceUID == facts["frame_uid"]
    assert {"liver", "heart", "vertebrae_L1"} <= {roi.name for roi in rois}
    grid = _image(out)
    for roi in rois:
        voxels = np.count_nonzero(_found(out, roi.name, grid))
        volume = voxelise(roi, grid, "fraction").array.sum()
        # The outlines keep the volume; what a structure has many small parts of may lose one.
        assert abs(volume - voxels) <= max(0.01 * voxels, 20)


def test_the_manifest_says_what_was_found_and_what_not(out):
    (row,) = json.loads((out / "segmentation" / "segmentation.json").read_text())["models"]
    assert (row["status"], row["device"], row["source"]) == ("done", "cpu", "totalsegmentator")
    assert row["versions"]["totalsegmentator"].startswith("2.")
    assert row["structures"]["liver"]["mean"] == pytest.approx(110, abs=15)
    assert len(row["structures"]) + len(row["empty"]) == 117


def test_a_dvh_row_has_the_source_totalsegmentator(out):
    metrics = pd.read_parquet(out / "dvh" / "metrics.parquet")
    rows = metrics[metrics["source"] == "totalsegmentator"].set_index("roi_name")
    clinical = metrics[metrics["source"] == "clinical"].set_index("roi_name")
    assert {"liver", "heart"} <= set(rows.index)
    # The same dose, nearly the same organ; the dose grid ends inside the liver.
    assert rows.loc["liver", "dose_coverage_percent"] < 100
    assert rows.loc["heart", "Dmax_Gy"] == pytest.approx(clinical.loc["Heart", "Dmax_Gy"], rel=0.2)
    assert rows.loc["heart", "roi_standard_name"] == "Heart"


def test_what_a_person_drew_is_compared(out):
    agreement = pd.read_parquet(out / "structures" / "agreement.parquet")
    rows = agreement.set_index("roi_standard_name")
    assert {"Liver", "Heart"} <= set(rows.index)
    assert (rows["source_b"] == "totalsegmentator").all()


def test_a_network_of_nnunet_runs_by_itself(segmentation_python, weights, out, tmp_path):
    """The same network as an nnU-Net model folder, with a model file that names and cleans."""
    network = next(weights.glob("Dataset297*/*"))
    (tmp_path / "model.yaml").write_text(
        f"name: organs\nmembers:\n- {{folder: {network}}}\nstructures:\n"
        "- {name: liver, rename: Liver_auto, largest_component: true, min_volume_cc: 5}\n"
    )
    (tmp_path / "config.yaml").write_text(
        f"segmentation:\n  python: {segmentation_python}\n"
        f"  models:\n  - {{folder: {tmp_path / 'model.yaml'}, roi_subset: [liver, heart]}}\n"
    )
    arguments = ["segment", str(out / "image" / "ct.nrrd"), "-o", str(tmp_path / "result")]
    assert main([*arguments, "--config", str(tmp_path / "config.yaml")]) == 0
    masks = {m.name: m for m in read_segments(tmp_path / "result" / "organs.seg.nrrd")}
    assert set(masks) == {"Liver_auto", "heart"}
    grid = _image(out)
    liver = resample_mask(masks["Liver_auto"], grid, whole=True).array > 0
    by_totalsegmentator = _found(out, "liver", grid)
    # One connected part of what TotalSegmentator found by the same weights.
    assert 0 < np.count_nonzero(liver) <= np.count_nonzero(by_totalsegmentator) * 1.02
    # nnU-Net brings probabilities back to the image, TotalSegmentator brings back labels.
    assert np.count_nonzero(liver & by_totalsegmentator) > 0.9 * np.count_nonzero(liver)
