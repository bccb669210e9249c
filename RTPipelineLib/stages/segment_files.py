"""The files of an automatic segmentation: `.seg.nrrd` for Slicer, RTSTRUCT and DICOM SEG for
others."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from ..config.keys import OutputKeys
from ..dicom.dataset import read_dataset
from ..model import Contours, Mask
from ..platform import available_cores
from ..segmentation.terms import colour_of
from .segmenter import Found, SourceImage


@dataclass(frozen=True)
class ResultFiles:
    """Writes results into a folder: `.seg.nrrd` and what `output` asks for. RTSTRUCT and SEG need
    the DICOM slices that the image came from; without them there are none."""

    folder: Path
    output: OutputKeys

    def prepare(self, image: SourceImage) -> list[Dataset]:
        """What `write` needs of an image, whatever will be found in it: headers of its slices. Done
        while the model runs, as are the imports that only writing needs."""
        from ..dicom import write  # noqa: F401
        from ..structures import outlines  # noqa: F401
        from . import seg_nrrd  # noqa: F401

        return [read_dataset(path, stop_before_pixels=True) for path in image.slices]

    def write(self, name: str, found: Found, slices: Sequence[Dataset]) -> dict[str, object]:
        """Write a result under `name` and return what the manifest says of its files."""
        from ..structures.outlines import outlines
        from .seg_nrrd import write_segments

        masks = masks_of(found)
        terms = {segment.name: segment.term.codes for segment in found.labels.segments}
        facts: dict[str, object] = {"file": f"{name}.seg.nrrd"}
        with ThreadPoolExecutor(available_cores()) as pool:  # the model is done with the cores
            path = self.folder / f"{name}.seg.nrrd"
            labels = pool.submit(write_segments, path, masks, found.labels.grid, terms=terms)
            if slices and self.output.rtstruct:
                path = self.folder / f"RS_{name}.dcm"
                rois = list(pool.map(outlines, masks))
                facts["structure_set_uid"] = _write_structure_set(path, name, found, rois, slices)
                facts["rtstruct"] = path.name
            labels.result()
        if slices and self.output.seg:
            path = self.folder / f"SEG_{name}.dcm"
            _write_seg(path, name, found, masks, slices)
            facts["seg"] = path.name
        return facts


def _write_seg(
    path: Path, name: str, found: Found, masks: Sequence[Mask], slices: Sequence[Dataset]
) -> None:
    """A DICOM SEG object with the labels of every structure that was found."""
    from ..dicom.segmentation_write import write_segmentation

    write_segmentation(
        path,
        masks,
        slices,
        terms={segment.name: segment.term.codes for segment in found.labels.segments},
        label=name,
        description=_description(found),
        algorithm=found.model,
    )


def _write_structure_set(
    path: Path, name: str, found: Found, rois: Sequence[Contours], slices: Sequence[Dataset]
) -> str:
    """Contours of every structure that was found, in the image's frame of reference; its UID."""
    from ..dicom.write import ImageReference, write_structure_set

    written = write_structure_set(
        path,
        rois,
        patient_from=slices[0],
        image=ImageReference.of(slices),
        label=name,
        description=_description(found),
    )
    return str(written.SOPInstanceUID)


def _description(found: Found) -> str:
    return f"Automatic contours by {found.model}, not reviewed by a person"


def masks_of(found: Found) -> list[Mask]:
    """The structures of a result that are not empty."""
    labels, masks = found.labels, []
    boxes = labels.boxes()
    for segment in labels.segments:
        if segment.value not in boxes:
            continue
        box = boxes[segment.value]
        k, j, i = box
        masks.append(
            Mask(
                segment.name,
                labels.array[box] == segment.value,
                labels.grid.crop(k, j, i),
                number=found.first_number + segment.value,
                frame_uid=found.image.frame_uid,
                colour_rgb=segment.term.colour or colour_of(segment.value),
                interpreted_type="ORGAN",
                source=found.source,
            )
        )
    return masks
