"""Boolean results and margins of a real plan beside those that another program stored as labels."""

from __future__ import annotations

import numpy as np
import pytest

from RTPipelineLib.dicom.structures import read_structure_set
from RTPipelineLib.geometry import Grid
from RTPipelineLib.structures.derived import Definition, Expression, derive
from RTPipelineLib.structures.margins import Margins

PIXEL, SLICE = 0.976562, 2.5
GRID = Grid([250, 250, -122.5], np.diag([-1.0, -1.0, 1.0]), [PIXEL, PIXEL, SLICE], (60, 512, 512))


def bladder(margin_mm: float) -> Expression:
    return Expression(("Bladder",), margins=Margins.even(margin_mm))


# Stored margins add whole voxels, to every label's outermost centre: half a pixel more than from
# the surface. The bound is that half pixel on the area that the margin itself shows, and a quarter
# more because the outermost surface is larger than the mean.
HALF_PIXEL = PIXEL / 2 / 5


@pytest.mark.parametrize(
    ("stored", "expression", "plain"),
    [
        ("Bladder_Union_PTV", Expression(("Bladder", "PTV")), None),
        ("Bladder_Intersect_PTV", Expression(("Bladder", "PTV"), "intersection"), None),
        ("Bladder_Subtract_PTV", Expression(("Bladder", "PTV"), "subtract"), None),
        ("Expanded_5_5_5_Bladder", bladder(5), "Bladder"),
        ("Expanded_5_5_5_Rectum", Expression(("Rectum",), margins=Margins.even(5)), "Rectum"),
        ("Shrunk_5_5_5_Bladder", bladder(-5), "Bladder"),
    ],
)
def test_volumes_agree_within_the_voxelisation(shared_data, stored, expression, plain):
    sitk = pytest.importorskip("SimpleITK")
    folder = shared_data / "eclipse_prostate"
    rois = {roi.name: roi for roi in read_structure_set(next(folder.glob("RS*"))).rois}
    definitions = [Definition("derived", expression)]
    if plain:
        definitions.append(Definition("plain", Expression((plain,))))
    result = derive(definitions, rois, GRID)
    assert not result.failed
    cc = {n: m.array.sum() * m.grid.voxel_volume_mm3 / 1000 for n, m in result.masks.items()}
    label = sitk.ReadImage(str(folder / f"EclipseProstate_{stored}.seg.nrrd"))
    expected = np.count_nonzero(sitk.GetArrayFromImage(label)) * PIXEL**2 * SLICE / 1000
    if plain is None:
        assert cc["derived"] == pytest.approx(expected, abs=0.1)
    else:
        grown = abs(cc["derived"] - cc["plain"])
        assert abs(cc["derived"] - expected) < 1.25 * HALF_PIXEL * grown
