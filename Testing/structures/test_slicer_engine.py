"""What we write, in the engine of 3D Slicer: the same volumes within 1 %.

Three ways in, and what of each is Slicer's own:

* `.seg.nrrd`: read by Slicer's storage node, so names, colours, codes and voxels are its reading.
* RTSTRUCT: read by pydicom. Slicer reads RTSTRUCT through the extension SlicerRT, whose rule for
  planar contours is not part of the package `slicer-core`; here each plane becomes a slab as thick
  as a slice. The surface then is Slicer's: its segmentation node, its conversion to a labelmap on
  the CT, its measures.
* DICOM SEG: read by highdicom (Slicer's extension uses dcmqi, which is not in the package either),
  then a binary labelmap in Slicer's segmentation node, its closed surface and its measures.

The engine runs in an interpreter of its own (`make slicer`), since it brings a VTK that other
packages of the tests do not get along with.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from RTPipelineLib.dicom.segmentation_write import write_segmentation
from RTPipelineLib.dicom.structures import read_structure_set
from RTPipelineLib.dicom.write import ImageReference, write_structure_set
from RTPipelineLib.model import Mask
from RTPipelineLib.stages.seg_nrrd import write_segments
from RTPipelineLib.structures.outlines import outlines
from RTPipelineLib.structures.voxelise import voxelise
from Testing.dicom.test_masks_as_rtstruct import GRID, masks, volume_cc, write_ct

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENT = "RTPIPELINE_SLICER_PYTHON"
NAMES = [mask.name for mask in masks()]
# What the issue of volumes allows. Slabs know nothing between the planes, and a closed surface cuts
# the corners off voxels: both take up to 0.9 % of the smallest ball here.
SAME = 0.01


def slicer_python() -> Path | None:
    """An interpreter that can import `slicer`."""
    if importlib.util.find_spec("slicer"):
        return Path(sys.executable)
    folder = REPOSITORY / ".venv-slicer"
    known = [folder / "bin" / "python", folder / "Scripts" / "python.exe"]
    named = os.environ.get(ENVIRONMENT)
    return next((path for path in ([Path(named)] if named else known) if path.exists()), None)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What Slicer's engine measures, beside our own volumes."""
    python = slicer_python()
    if python is None:
        pytest.skip(
            f"3D Slicer's engine is not installed: `make slicer` installs it, or name its "
            f"interpreter in {ENVIRONMENT}"
        )
    highdicom = pytest.importorskip("highdicom", reason="the extra seg is not installed")
    folder = tmp_path_factory.mktemp("slicer")
    (folder / "ct").mkdir()
    slices, drawn = write_ct(folder / "ct"), masks()
    write_structure_set(
        folder / "RS.dcm",
        [outlines(mask) for mask in drawn],
        patient_from=slices[0],
        image=ImageReference.of(slices),
    )
    write_segments(folder / "written.seg.nrrd", drawn, GRID)
    write_segmentation(folder / "SEG.dcm", drawn, slices, kind="BINARY")
    rois = read_structure_set(folder / "RS.dcm").rois
    labels = highdicom.seg.segread(folder / "SEG.dcm").get_volume()
    lps_to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    fields = {"matrix": lps_to_ras @ _matrix(), "size": GRID.size_ijk, "names": NAMES}
    for number, roi in enumerate(rois):
        fields |= {f"points{number}": roi.points_mm @ lps_to_ras[:3, :3]}
        fields |= {f"starts{number}": roi.starts}
        fields |= {f"label{number}": _on_grid(labels.array[..., number], labels.affine)}
    fields |= {"thickness": GRID.spacing_mm[2], "segmentation": str(folder / "written.seg.nrrd")}
    np.savez(folder / "case.npz", **fields)
    script = Path(__file__).with_name("slicer_engine.py")
    command = [python, script, folder / "case.npz", folder / "answer.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answer = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    ours = [volume_cc(voxelise(roi.on_image(GRID), GRID, "fraction").array) for roi in rois]
    return answer | {"ours": dict(zip(NAMES, ours, strict=True))}


def _matrix() -> np.ndarray:
    """(4, 4) from index i, j, k to LPS in mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = GRID.direction * GRID.spacing_mm
    matrix[:3, 3] = GRID.origin_mm
    return matrix


def _on_grid(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Labels `[k, j, i]` of highdicom, whose `affine` maps array indices to LPS, on our grid."""
    ends = np.array([[0, 0, 0, 1], [*np.array(array.shape) - 1, 1]]) @ affine.T
    first, last = np.rint(GRID.to_index(ends[:, :3])).astype(int)[:, ::-1]
    array = array[
        tuple(slice(None, None, 1 if a <= b else -1) for a, b in zip(first, last, strict=True))
    ]
    whole = np.zeros(GRID.shape, dtype=bool)
    low, high = np.minimum(first, last), np.maximum(first, last) + 1
    whole[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = array > 0
    return whole


def _mask(name: str) -> Mask:
    return next(mask for mask in masks() if mask.name == name)


@pytest.mark.parametrize("name", NAMES)
def test_our_structure_set_has_our_volume_in_slicer(case: dict, name: str) -> None:
    found = case["contours"][name]
    assert found["surface"] == pytest.approx(case["ours"][name], rel=SAME)
    assert found["labelmap"] == pytest.approx(case["ours"][name], rel=SAME)


@pytest.mark.parametrize("name", NAMES)
def test_our_dicom_seg_has_our_volume_in_slicer(case: dict, name: str) -> None:
    ours = volume_cc(_mask(name).array >= 0.5)
    assert case["labels"][name]["labelmap"] == pytest.approx(ours, rel=1e-6)
    assert case["labels"][name]["surface"] == pytest.approx(ours, rel=SAME)


@pytest.mark.parametrize("name", NAMES)
def test_slicer_reads_our_seg_nrrd(case: dict, name: str) -> None:
    found = case["file"][name]
    assert found["labelmap"] == pytest.approx(volume_cc(_mask(name).array >= 0.5), rel=1e-6)
    colour = _mask(name).colour_rgb
    assert colour is None or tuple(found["colour"]) == colour
    assert "SCT^" in found["terminology"]
