"""The files of an automatic segmentation: `.seg.nrrd` for Slicer, RTSTRUCT and DICOM SEG for
others."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydicom.dataset import Dataset

from ..config.keys import OutputKeys
from ..dicom.dataset import read_dataset
from ..dicom.segmentation_write import write_segmentation
from ..dicom.write import ImageReference, write_structure_set
from ..model import Mask
from ..platform import available_cores
from ..segmentation.terms import colour_of
from ..structures.outlines import outlines
from .seg_nrrd import write_segments
from .segmenter import Found


def write_result(folder: Path, output: OutputKeys, name: str, found: Found) -> dict[str, object]:
    """Write a result under `name` and return what the manifest says of its files.

    RTSTRUCT and SEG need the DICOM slices that the image came from; without them there are none.
    """
    masks = masks_of(found)
    terms = {segment.name: segment.term.codes for segment in found.labels.segments}
    file = folder / f"{name}.seg.nrrd"
    write_segments(file, masks, found.labels.grid, terms=terms)
    facts: dict[str, object] = {"file": file.name}
    if not found.image.slices:
        return facts
    slices = [read_dataset(path, stop_before_pixels=True) for path in found.image.slices]
    if output.rtstruct:
        path = folder / f"RS_{name}.dcm"
        facts["structure_set_uid"] = _write_structure_set(path, name, found, masks, slices)
        facts["rtstruct"] = path.name
    if output.seg:
        path = folder / f"SEG_{name}.dcm"
        write_segmentation(
            path,
            masks,
            slices,
            terms=terms,
            label=name,
            description=_description(found),
            algorithm=found.model,
        )
        facts["seg"] = path.name
    return facts


def _write_structure_set(
    path: Path, name: str, found: Found, masks: Sequence[Mask], slices: Sequence[Dataset]
) -> str:
    """Contours of every structure that was found, in the image's frame of reference."""
    with ThreadPoolExecutor(available_cores()) as pool:  # the model is done with the cores
        rois = list(pool.map(outlines, masks))
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
