"""`rtpipeline compare`, and the stage `structures`, on small structure sets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from RTPipelineLib.cli import main
from Testing.dicom.dicom_objects import ds_text, item, save, structure_set

FRAME = "1.2.3.5"


def cylinder(x_mm: float, radius_mm: float, slices: int = 10) -> list[dict[str, object]]:
    """Contour items of an upright cylinder."""
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    items = []
    for k in range(slices):
        x, y = x_mm + radius_mm * np.cos(angle), radius_mm * np.sin(angle)
        points = np.stack([x, y, np.full(90, 3.0 * k)], axis=1).ravel()
        items.append(
            {
                "ContourGeometricType": "CLOSED_PLANAR",
                "NumberOfContourPoints": 90,
                "ContourData": [ds_text(round(v, 4)) for v in points],
            }
        )
    return items


def write(path: Path, rois: Mapping[str, tuple[float, float]], **values: object) -> Path:
    """A structure set of upright cylinders: name -> (x, radius) in mm; None draws nothing."""
    automatic = values.pop("automatic", False)
    numbers = list(enumerate(rois, start=1))
    ds = structure_set(
        [],
        StructureSetROISequence=[
            item(
                ROINumber=n,
                ROIName=name,
                ReferencedFrameOfReferenceUID=values.get("frame", FRAME),
                ROIGenerationAlgorithm="AUTOMATIC" if automatic else "MANUAL",
            )
            for n, name in numbers
        ],
        ROIContourSequence=[
            item(
                ReferencedROINumber=n,
                ContourSequence=[item(**c) for c in cylinder(*rois[name])] if rois[name] else [],
            )
            for n, name in numbers
        ],
        RTROIObservationsSequence=[],
        SOPInstanceUID=str(values.get("uid", "1.2.3.100")),
    )
    return save(ds, path)


def compared(tmp_path: Path, *arguments: object, status: int = 0) -> pd.DataFrame:
    out = tmp_path / "out.csv"
    assert main(["compare", *map(str, arguments), "-o", str(out), "--quiet"]) == status
    return pd.read_csv(out).set_index("roi_name_a")


def test_structures_are_paired_by_standard_name(tmp_path):
    a = write(tmp_path / "a.dcm", {"LT LUNG": (0, 20), "Lung_R": (80, 20), "Own": (0, 5)})
    b = write(tmp_path / "b.dcm", {"Lung_L": (3, 20), "rt lung": (80, 20), "own": (0, 5)})
    found = compared(tmp_path, a, b)
    assert found.roi_name_b.to_dict() == {"LT LUNG": "Lung_L", "Lung_R": "rt lung", "Own": "own"}
    assert found.loc["Lung_R", "dice"] == 1 and found.loc["Own", "roi_standard_name"] != "Own"
    left = found.loc["LT LUNG"]
    # Two circles of 20 mm, 3 mm apart: the share of one that the other covers.
    angle = 2 * np.arccos(3 / 40)
    share = (angle - np.sin(angle)) / np.pi
    assert left.dice == pytest.approx(share, abs=5e-3)
    assert left.shift_x_mm == pytest.approx(3, abs=0.02)
    assert left.hausdorff_mm == pytest.approx(3, abs=0.5)
    assert left.grid_mm == "0.5 x 0.5 x 3" and left.tolerance_mm == 3


def test_what_has_no_partner_is_a_row(tmp_path):
    a = write(tmp_path / "a.dcm", {"Heart": (0, 20), "Liver": None})
    b = write(tmp_path / "b.dcm", {"Liver": (0, 20), "Brain": (0, 30)})
    found = compared(tmp_path, a, b).reset_index()
    flags = dict(zip(found.roi_standard_name, found["flags"], strict=True))
    assert flags == {"Heart": "only-in-a", "Brain": "only-in-b", "Liver": "a-is-empty"}
    assert found.dice.isna().all()
    liver = found[found.roi_standard_name == "Liver"].iloc[0]
    assert np.isnan(liver.volume_a_cc) and liver.volume_b_cc > 30


def test_several_structures_of_one_name_are_all_compared_and_flagged(tmp_path):
    a = write(tmp_path / "a.dcm", {"Lung_L": (0, 20), "left lung": (5, 20)})
    b = write(tmp_path / "b.dcm", {"LUNG L": (0, 20)})
    found = compared(tmp_path, a, b)
    assert len(found) == 2 and set(found["flags"]) == {"several-of-this-name"}


def test_another_frame_of_reference_costs_the_pair_and_says_so(tmp_path, capsys):
    a = write(tmp_path / "a.dcm", {"Heart": (0, 20)})
    b = write(tmp_path / "b.dcm", {"Heart": (0, 20)}, frame="9.9")
    found = compared(tmp_path, a, b, status=3)
    assert found.loc["Heart", "flags"] == "not-compared"
    assert "different frames of reference" in capsys.readouterr().err


def test_names_and_tolerance_come_from_the_user(tmp_path):
    (tmp_path / "names.yaml").write_text("exact: {Blase: Bladder}", encoding="utf-8")
    config = tmp_path / "config.yaml"
    config.write_text("structures: {names: names.yaml}", encoding="utf-8")
    a = write(tmp_path / "a.dcm", {"Blase": (0, 20)})
    b = write(tmp_path / "b.dcm", {"urinary bladder": (0, 22)})
    found = compared(tmp_path, a, b, "--config", config, "--tolerance", "0.5")
    assert found.loc["Blase", "roi_standard_name"] == "Bladder"
    assert found.loc["Blase", "surface_dice"] < 0.9
    assert found.loc["Blase", "tolerance_mm"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.dcm"], "is not a file"),
        (["--tolerance", "-1"], "must be a distance"),
        (["--image", "nowhere"], "is not a folder"),
    ],
)
def test_wrong_arguments_are_one_sentence(tmp_path, capsys, arguments, message):
    a = write(tmp_path / "a.dcm", {"Heart": (0, 20)})
    files = [str(a)] if arguments[0].endswith(".dcm") else [str(a), str(a)]
    assert main(["compare", *files, *arguments, "-o", str(tmp_path / "o.csv")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o.csv").exists()


def test_a_course_lists_its_names_and_what_programs_drew_otherwise(tmp_path):
    dicom = tmp_path / "dicom"
    dicom.mkdir()
    write(dicom / "a.dcm", {"LT LUNG": (0, 20), "Hart": (50, 9), "Liver": (90, 9)}, uid="1.2.3.101")
    write(dicom / "b.dcm", {"Lung_L": (2, 20), "Lung_R": (0, 20)}, uid="1.2.3.102", automatic=True)
    out = tmp_path / "out"
    assert main(["run", str(dicom), str(out), "--quiet"]) == 0
    (path,) = out.glob("*/*/structures/structures.json")
    rois = {roi["roi_name"]: roi for roi in json.loads(path.read_text())["rois"]}
    assert rois["LT LUNG"]["roi_standard_name"] == "Lung_L"
    assert rois["LT LUNG"]["found_by"] == "tg263-spelling"
    assert rois["LT LUNG"]["volume_cc"] == pytest.approx(np.pi * 400 * 30 / 1000, rel=2e-3)
    assert (rois["Hart"]["roi_standard_name"], rois["Hart"]["suggestions"]) == ("", ["Heart"])
    table = pd.read_parquet(out / "results" / "agreement.parquet")
    assert table.roi_standard_name.tolist() == ["Lung_L"]
    row = table.iloc[0]
    assert (row.roi_name_a, row.roi_name_b) == ("LT LUNG", "Lung_L")
    assert row.shift_x_mm == pytest.approx(2, abs=0.02)


def test_a_decided_name_wins_and_runs_the_stage_again(tmp_path):
    dicom = tmp_path / "dicom"
    dicom.mkdir()
    write(dicom / "a.dcm", {"Hart": (50, 9)})
    out = tmp_path / "out"
    assert main(["run", str(dicom), str(out), "--quiet"]) == 0
    (path,) = out.glob("*/*/structures/structures.json")
    (path.parents[1] / "overrides.yaml").write_text("names: {Hart: Heart}", encoding="utf-8")
    assert main(["run", str(dicom), str(out), "--quiet"]) == 0
    (roi,) = json.loads(path.read_text())["rois"]
    assert (roi["roi_standard_name"], roi["found_by"]) == ("Heart", "decided")
