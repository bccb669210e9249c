"""Features of loose files, no course needed: what `rtpipeline radiomics` does."""

from __future__ import annotations

import logging
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol

import numpy as np

from ..config import Config, load_config
from ..config.radiomics_file import read_parameters
from ..config.section import parameter_presets
from ..dicom.dataset import read_dataset
from ..dicom.headers import RTSTRUCT, kind_of
from ..dicom.segmentation import read_segmentation
from ..dicom.structures import read_structure_set
from ..dicom.suv import suv_scale
from ..errors import DataError, UsageError
from ..geometry import Grid
from ..model import Contours, Mask, Volume
from ..platform import atomic_path
from ..radiomics.engine import engine_version
from ..stages.feature_extraction import SUV, Extracted, extracted
from ..stages.feature_rows import ImageFacts, feature_row, features_frame
from ..stages.naming import named, named_rois, naming_for
from ..stages.seg_nrrd import read_segments
from ..stages.segmenter import SourceImage
from .loose_image import VOLUME_ENDINGS, find_image

log = logging.getLogger(__name__)

ALL_DONE, SOME_FAILED = 0, 3
HU = "HU"
MOST_LABELS = 1000  # no segmentation has more structures


class Reporter(Protocol):
    """What a front end shows of the progress."""

    def report(self, course: str, stage: str, done: int, total: int, message: str) -> None: ...


@dataclass(frozen=True)
class FeatureRequest:
    """What `rtpipeline radiomics` was asked for."""

    image: Path
    structures: Path
    output: Path | None = None
    params: Path | None = None
    rois: tuple[str, ...] = ()
    modality: str | None = None
    series: str | None = None
    config_path: Path | None = None


def features_of_files(request: FeatureRequest, reporter: Reporter) -> int:
    """Write a row for every structure as CSV (to stdout without `output`); returns the exit status.

    Raises `UsageError` for arguments that are wrong, `DataError` for files that cannot be used.
    """
    config = _config(request)
    engine_version()
    # Only the choice of a preset needs the modality.
    needed = config.radiomics.params is None
    source = find_image(request.image, request.modality, request.series, modality_needed=needed)
    structures = _chosen(_structures(request.structures, config), request)
    image = _volume(source, request, config)
    facts = ImageFacts(source.name, image.modality, image.unit, image.series_uid, image.flags)
    rows = []
    failed = False
    elsewhere = [roi for roi in structures if _is_elsewhere(roi, image)]
    here = [_placed(roi, image.grid) for roi in structures if roi not in elsewhere]
    results = [
        Extracted(roi, None, "lies in another frame of reference than the image")
        for roi in elsewhere
    ]
    for one in (*results, *extracted(image, here, config)):
        reporter.report(source.name, "radiomics", len(rows), len(structures), one.structure.name)
        rows.append(feature_row(one, facts, {"patient_id": "", "course_id": ""}))
        if isinstance(one.result, str):
            log.log(
                logging.ERROR if one.severity == "error" else logging.WARNING,
                "%s: %s",
                one.structure.name,
                one.result,
            )
            failed |= one.severity == "error"
    frame = features_frame(rows)
    with atomic_path(request.output) if request.output else nullcontext(sys.stdout) as target:
        frame.to_csv(target, index=False)
    return SOME_FAILED if failed else ALL_DONE


def _config(request: FeatureRequest) -> Config:
    config = load_config(request.config_path)
    if request.params is None:
        return config
    if not request.params.is_file() and str(request.params) not in parameter_presets():
        raise UsageError(
            f"--params: there is no file {request.params}; presets are "
            f"{', '.join(parameter_presets())}"
        )
    read_parameters(request.params)
    file = parameter_presets().get(str(request.params), request.params)
    keys = config.radiomics.model_copy(update={"params": file})
    return config.model_copy(update={"radiomics": keys})


# -- what is measured -----------------------------------------------------------------------------


def _volume(source: SourceImage, request: FeatureRequest, config: Config) -> Volume:
    """The image with its unit; PET of a DICOM series as SUV, unless the user's own parameters may
    be meant for something else."""
    array, grid = source.load()
    unit, flags = _unit(source, request), ()
    if source.modality == "PT" and source.slices:
        try:
            scale = suv_scale(source.slices)
            array = (array.astype(np.float64) * scale.factor).astype(np.float32)
            unit = SUV
            flags = (f"suv-factor:{scale.factor:.6g} ({scale.evidence})",)
        except DataError as error:
            if config.radiomics.params is None:
                raise
            log.warning("%s; its features are of the values as they are", error)
    return Volume(array, grid, source.modality, unit, source.frame_uid, flags=flags)


def _unit(source: SourceImage, request: FeatureRequest) -> str:
    if source.modality == "PT" and source.slices:
        header = read_dataset(source.slices[0], stop_before_pixels=True)
        return str(header.get("Units", "") or "1")
    if source.slices or not request.image.is_file():
        return HU if source.modality == "CT" else "1"
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(request.image))
    reader.ReadImageInformation()
    if reader.HasMetaDataKey("unit"):
        return reader.GetMetaData("unit")
    return HU if source.modality == "CT" else "1"


def _structures(path: Path, config: Config) -> list[Contours | Mask]:
    if not path.is_file():
        raise UsageError(f"{path} is not a file; give labels, an RTSTRUCT or a DICOM SEG")
    naming = naming_for(config, {})
    if path.name.lower().endswith(".seg.nrrd"):
        return named(read_segments(path), naming)
    if path.name.lower().endswith(VOLUME_ENDINGS):
        return named(_labels(path), naming)
    dataset = read_dataset(path, stop_before_pixels=True)
    kind = kind_of(str(dataset.get("SOPClassUID", "")), str(dataset.get("Modality", "")))
    if kind == RTSTRUCT:
        return list(named_rois(read_structure_set(path), config))
    return named(read_segmentation(path).masks, naming)


def _labels(path: Path) -> list[Mask]:
    """A mask for every whole number above 0 of a label volume."""
    import SimpleITK

    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise UsageError(f"{path} cannot be read: {str(error).strip().splitlines()[-1]}") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise UsageError(f"{path} is not a volume of single labels")
    array = SimpleITK.GetArrayFromImage(image)
    values = np.unique(array)
    if not np.array_equal(values, np.rint(values)) or values.min() < 0:
        raise UsageError(f"{path} holds no labels: its values are not whole numbers from 0")
    direction = np.array(image.GetDirection()).reshape(3, 3)
    grid = Grid(image.GetOrigin(), direction, image.GetSpacing(), array.shape)
    name = path.name.partition(".")[0]
    labels = [int(value) for value in values if value > 0]
    if len(labels) > MOST_LABELS:
        raise UsageError(f"{path} holds {len(labels)} different values; is it an image?")
    return [
        Mask(name if labels == [1] else f"{name}_{label}", array == label, grid, number=label)
        for label in labels
    ]


def _chosen(structures: list[Contours | Mask], request: FeatureRequest) -> list[Contours | Mask]:
    if not structures:
        raise DataError(f"{request.structures} holds no structure")
    known = [roi.name for roi in structures]
    for name in request.rois:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise UsageError(f"--roi: {request.structures} has no ROI {name!r}; {hint}")
    return [roi for roi in structures if not request.rois or roi.name in request.rois]


def _is_elsewhere(roi: Contours | Mask, image: Volume) -> bool:
    return bool(roi.frame_uid and image.frame_uid) and roi.frame_uid != image.frame_uid


def _placed(roi: Contours | Mask, grid: Grid) -> Contours | Mask:
    return roi.on_image(grid) if isinstance(roi, Contours) else roi
