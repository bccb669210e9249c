"""An image outside any course: a volume file, or a folder with a DICOM series."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from ..dicom.image import read_series
from ..dicom.index import ImageSeries, Index
from ..errors import DataError, UsageError
from ..geometry import Grid
from ..resample import resample_onto
from ..stages.segmenter import SourceImage

VOLUME_ENDINGS = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")


def find_image(
    path: Path,
    modality: str | None = None,
    series: str | None = None,
    *,
    modality_needed: bool = True,
) -> SourceImage:
    """The image of a volume file, or of the one series (or that of this UID) in a DICOM folder.

    `modality` is that of a volume, which may not say it. Raises `UsageError` when there is no such
    image, or more than one, or when its modality is needed and unknown.
    """
    if path.is_dir():
        return _series(path, series)
    if not path.is_file():
        raise UsageError(f"{path} does not exist; give a volume or a folder with a DICOM series")
    if not path.name.lower().endswith(VOLUME_ENDINGS):
        raise UsageError(
            f"{path} is no volume that can be read ({', '.join(VOLUME_ENDINGS)}); for DICOM give "
            "the folder of the series"
        )
    array, grid, told = _read_volume(path)
    name = path.name.partition(".")[0]
    modality = modality or told
    if modality_needed and modality not in ("CT", "MR", "PT"):
        raise UsageError(f"{path} does not say what it is; give --modality CT, MR or PT")
    return SourceImage(name, modality, "", True, (), lambda: (array, grid))


def _read_volume(path: Path) -> tuple[np.ndarray, Grid, str]:
    import SimpleITK

    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise UsageError(f"{path} cannot be read: {str(error).strip().splitlines()[-1]}") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise UsageError(f"{path} is not a volume of single values")
    ni, nj, nk = image.GetSize()
    direction = np.array(image.GetDirection()).reshape(3, 3)
    grid = Grid(image.GetOrigin(), direction, image.GetSpacing(), (nk, nj, ni))
    modality = image.GetMetaData("modality") if image.HasMetaDataKey("modality") else ""
    return SimpleITK.GetArrayFromImage(image), grid, modality


def _series(folder: Path, wanted: str | None) -> SourceImage:
    """The one image series of a folder, or the one whose UID was given."""
    with tempfile.TemporaryDirectory() as scratch, Index(Path(scratch) / "index.sqlite") as index:
        index.update(folder)
        series = [s for s in index.series() if s.modality in ("CT", "MR", "PT")]
        chosen = _chosen(folder, series, wanted)
        paths = tuple(folder / name for name in index.series_files(chosen.key))
    try:
        volume = read_series(paths)
    except DataError as error:
        raise UsageError(str(error)) from error
    grid = volume.grid.with_uniform_slices()
    array = volume.array
    if grid is not volume.grid:
        array = resample_onto(array.astype(np.float32), volume.grid, grid)
    return SourceImage(
        folder.name, volume.modality, volume.frame_uid, True, paths, lambda: (array, grid)
    )


def _chosen(folder: Path, series: list[ImageSeries], wanted: str | None) -> ImageSeries:
    fitting = [s for s in series if wanted in (None, s.series_uid, s.key)]
    if len(fitting) == 1:
        return fitting[0]
    known = "; ".join(f"{s.key} ({s.modality}, {s.n_files} files)" for s in series[:10])
    if not series:
        raise UsageError(f"{folder} holds no CT, MR or PET series")
    if not fitting:
        raise UsageError(f"--series {wanted}: {folder} holds {known}")
    raise UsageError(f"{folder} holds {len(fitting)} series, give one by --series: {known}")
