"""`.seg.nrrd` as we, SimpleITK and Slicer's own reader see it."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from RTPipelineLib.dicom.structures import read_structure_set
from RTPipelineLib.errors import DataError, GeometryError
from RTPipelineLib.geometry import Grid
from RTPipelineLib.model import Mask
from RTPipelineLib.stages.seg_nrrd import read_segments, write_segments
from RTPipelineLib.structures.voxelise import voxelise

TURN = np.array([[0.8, 0.6, 0.0], [-0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
GRID = Grid([-20.0, -15.0, -30.0], TURN, [1.0, 1.2, 3.0], (14, 26, 40))


def masks() -> list[Mask]:
    """Two that overlap, one that does not, one empty."""
    random = np.random.default_rng(1)
    parts = [
        (slice(3, 9), slice(5, 20), slice(4, 30)),
        (slice(6, 11), slice(10, 25), slice(20, 38)),
        (slice(1, 3), slice(1, 5), slice(1, 9)),
    ]
    arrays = [random.random(tuple(s.stop - s.start for s in part)) > 0.4 for part in parts]
    found = [
        Mask(name, array, GRID.crop(*part), colour_rgb=colour)
        for name, array, part, colour in zip(
            ("PTV 60", "Blase: Ö\n|x", "Lung_L"),
            arrays,
            parts,
            ((255, 0, 0), None, (30, 144, 255)),
            strict=True,
        )
    ]
    return [*found, Mask("EMPTY", np.zeros((1, 1, 1), dtype=bool), GRID.crop(*(slice(2, 3),) * 3))]


def whole(mask: Mask) -> np.ndarray:
    out = np.zeros(GRID.shape, dtype=bool)
    offset = mask.grid.offset_in(GRID)
    assert offset is not None
    out[tuple(slice(o, o + n) for o, n in zip(offset, mask.grid.shape, strict=True))] = mask.array
    return out


def test_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "a.seg.nrrd"
    write_segments(path, masks(), GRID)
    found = read_segments(path)
    assert [mask.name for mask in found] == ["PTV 60", "Blase: Ö |x", "Lung_L", "EMPTY"]
    assert [mask.colour_rgb for mask in found] == [
        (255, 0, 0),
        (128, 128, 128),
        (30, 144, 255),
        (128, 128, 128),
    ]
    assert found[3].flags == ("structure-empty",)
    for mine, read in zip(masks(), found, strict=True):
        np.testing.assert_array_equal(whole(read), whole(mine))
    text = path.read_bytes().split(b"\n\n")[0].decode()
    assert "sizes: 2 37 24 10" in text and "Segmentation_ReferenceImageExtentOffset:=1 1 1" in text
    assert "Segment2_Layer:=0\nSegment2_Extent:=0 7 0 3 0 1" in text
    write_segments(tmp_path / "b.seg.nrrd", masks(), GRID)
    assert path.read_bytes() == (tmp_path / "b.seg.nrrd").read_bytes()


def test_simpleitk_reads_a_single_layer(tmp_path: Path) -> None:
    import SimpleITK

    path = tmp_path / "a.seg.nrrd"
    one = masks()[:1]
    write_segments(path, one, GRID)
    image = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), one[0].array)
    np.testing.assert_allclose(image.GetOrigin(), one[0].grid.origin_mm)
    np.testing.assert_allclose(np.reshape(image.GetDirection(), (3, 3)), GRID.direction, atol=1e-12)
    assert image.GetMetaData("Segment0_Name") == "PTV 60"


def test_slicer_reads_the_same(tmp_path: Path) -> None:
    """Slicer's own storage node, on its engine."""
    slicer_core = pytest.importorskip("slicer_core", reason="slicer-core is not installed")
    assert slicer_core
    from slicer import vtkMRMLScene, vtkMRMLSegmentationNode, vtkMRMLSegmentationStorageNode

    path = tmp_path / "a.seg.nrrd"
    write_segments(path, masks(), GRID)
    scene = vtkMRMLScene()
    node, storage = vtkMRMLSegmentationNode(), vtkMRMLSegmentationStorageNode()
    scene.AddNode(node)
    scene.AddNode(storage)
    storage.SetFileName(str(path))
    assert storage.ReadData(node) == 1
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 4
    from slicer import vtkOrientedImageData
    from vtk.util.numpy_support import vtk_to_numpy

    for number, mask in enumerate(masks()[:3]):
        name = segmentation.GetNthSegmentID(number)
        segment = segmentation.GetSegment(name)
        assert segment.GetName() == " ".join(mask.name.split("\n"))
        image = vtkOrientedImageData()
        node.GetBinaryLabelmapRepresentation(name, image)
        values = vtk_to_numpy(image.GetPointData().GetScalars())
        volume = np.count_nonzero(values) * np.prod(image.GetSpacing())
        assert volume == pytest.approx(mask.array.sum() * mask.grid.voxel_volume_mm3, rel=1e-6)
        if mask.colour_rgb is not None:
            np.testing.assert_allclose(
                segment.GetColor(), np.array(mask.colour_rgb) / 255, atol=1e-5
            )
        assert "SCT^85756007^Tissue" in segment.GetTerminology()


@pytest.mark.parametrize(
    ("name", "source", "cc"),
    [("Bladder_Union_PTV", "Bladder", 116.8), ("Expanded_5_5_5_Rectum", "Rectum", 30.3)],
)
def test_files_of_an_old_slicer(shared_data: Path, name: str, source: str, cc: float) -> None:
    path = shared_data / "eclipse_prostate" / f"EclipseProstate_{name}.seg.nrrd"
    (mask,) = read_segments(path)
    assert mask.name == name
    # It holds the ROI that it was made of, where that was drawn: all but some voxels at the edge.
    (path,) = (shared_data / "eclipse_prostate").glob("RS*.dcm")
    roi = next(roi for roi in read_structure_set(path).rois if roi.name == source)
    drawn = voxelise(roi, mask.grid, "coverage", whole=True)
    assert drawn.array.sum() * mask.grid.voxel_volume_mm3 / 1000 == pytest.approx(cc, rel=0.02)
    assert np.mean(mask.array[drawn.array]) > 0.98


def test_what_cannot_be_written(tmp_path: Path) -> None:
    shifted = replace(masks()[0], grid=replace(masks()[0].grid, origin_mm=GRID.origin_mm + 0.3))
    with pytest.raises(GeometryError, match="lattice"):
        write_segments(tmp_path / "a.seg.nrrd", [shifted], GRID)
    with pytest.raises(GeometryError, match="beyond"):
        write_segments(tmp_path / "a.seg.nrrd", masks(), GRID.crop(*(slice(0, 5),) * 3))


def test_what_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.seg.nrrd"
    write_segments(path, masks(), GRID)
    good = path.read_bytes()
    header, _, data = good.partition(b"\n\n")
    bad = {
        "begin like NRRD": b"PK" + good,
        "header has no end": header,
        "cut off": header + b"\n\n" + data[:50],
        "no labels": good.replace(b"unsigned char", b"double"),
        "no volume": good.replace(b"sizes: 2 37 24 10", b"sizes: 2 0 24 10"),
        "another file": good.replace(b"endian", b"data file: x.raw\nendian"),
        "in layer 9": good.replace(b"Segment1_Layer:=1", b"Segment1_Layer:=9"),
        "none of them is a list": good.replace(b"(0.0,0.0,3.0)", b"(0.0,0.0,0.0)"),
        "is cut off": header + b"\n\n" + gzip.compress(b"\0" * 100),
        "space": good.replace(b"space: left-posterior-superior", b"space: scanner-xyz"),
    }
    for words, content in bad.items():
        path.write_bytes(content)
        with pytest.raises(DataError, match=words):
            read_segments(path)
    with pytest.raises(DataError, match="cannot read"):
        read_segments(tmp_path / "none.seg.nrrd")
