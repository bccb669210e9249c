"""A CT of an anatomy: painted, blurred, noisy, on a couch, and as the slices of a DICOM series."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from scipy.ndimage import gaussian_filter

from ..dicom.contour_bytes import ds_text
from ..dicom.new_object import new_object, uid_from
from ..geometry import Grid
from ..model import Volume
from .anatomy import Anatomy

AIR_HU, PLATE_HU, FOAM_HU = -1000.0, -250.0, -930.0
COUCH_GAP_MM, COUCH_MM, PLATE_MM = 4.0, 40.0, 4.0
NOISE_HU = 9.0
BLUR_VOXELS = 0.45
STORED_OFFSET_HU = -1024

# Image Orientation (Patient) as planning systems export it for each Patient Position (C.7.3.1.1.2):
# rows run along the scanner's x, columns towards the couch.
ORIENTATIONS = {
    "HFS": (1, 0, 0, 0, 1, 0),
    "HFP": (-1, 0, 0, 0, -1, 0),
    "HFDL": (0, -1, 0, 1, 0, 0),
    "HFDR": (0, 1, 0, -1, 0, 0),
    "FFS": (-1, 0, 0, 0, 1, 0),
    "FFP": (1, 0, 0, 0, -1, 0),
    "FFDL": (0, 1, 0, 1, 0, 0),
    "FFDR": (0, -1, 0, -1, 0, 0),
}


def upright_grid(
    centre_mm: np.ndarray, size: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> Grid:
    """An identity-oriented grid of `size` (ni, nj, nk) whose middle is at `centre_mm`."""
    origin = np.asarray(centre_mm) - (np.array(size) - 1) / 2 * np.array(spacing_mm)
    return Grid(origin, np.eye(3), np.array(spacing_mm), size[::-1])


def as_lying(array: np.ndarray, grid: Grid, position: str) -> tuple[np.ndarray, Grid]:
    """The same voxels, of an identity-oriented grid, in the order that a scan in `position` has."""
    row, column = np.array(ORIENTATIONS[position], dtype=np.float64).reshape(2, 3)
    direction = np.stack([row, column, np.cross(row, column)], axis=1)
    axes = np.abs(direction).argmax(axis=0)  # the patient axis that i, j, k run along
    signs = direction[axes, np.arange(3)]
    corner = np.where(signs > 0, 0, np.array(grid.size_ijk)[axes] - 1)
    index = np.zeros(3)
    index[axes] = corner
    # Array axes are k, j, i; patient axes x, y, z are the array axes 2, 1, 0.
    turned = np.transpose(array, [2 - axes[2], 2 - axes[1], 2 - axes[0]])
    turned = np.flip(turned, [n for n, sign in enumerate(signs[::-1]) if sign < 0])
    lying = Grid(grid.to_lps(index), direction, grid.spacing_mm[axes], turned.shape)
    return np.ascontiguousarray(turned), lying


def paint(anatomy: Anatomy, grid: Grid, position: str, rng: np.random.Generator) -> np.ndarray:
    """HU, float32 `[k, j, i]`, of an anatomy on an identity-oriented grid in anatomy
    coordinates."""
    image = np.full(grid.shape, AIR_HU, dtype=np.float32)
    _paint_couch(image, grid, anatomy, position)
    for organ in anatomy.organs:
        if organ.hu is not None:
            box, x, y, z = box_axes(grid, organ.solid.bounds_mm)
            image[box][organ.solid.inside(x, y, z)] = organ.hu
    image = gaussian_filter(image, BLUR_VOXELS)
    image += rng.normal(0.0, NOISE_HU, grid.shape).astype(np.float32)
    return np.clip(np.rint(image), STORED_OFFSET_HU, 3071)


def box_axes(
    grid: Grid, bounds_mm: np.ndarray
) -> tuple[tuple[slice, slice, slice], np.ndarray, np.ndarray, np.ndarray]:
    """The part of an identity-oriented grid within a box: array slices, and x, y, z of its voxels,
    shaped to broadcast as `[k, j, i]`."""
    index = (bounds_mm - grid.origin_mm) / grid.spacing_mm
    low = np.clip(np.ceil(index[0]).astype(int), 0, grid.size_ijk)
    high = np.clip(np.floor(index[1]).astype(int) + 1, low, grid.size_ijk)
    x, y, z = (
        grid.origin_mm[a] + grid.spacing_mm[a] * np.arange(low[a], high[a]) for a in range(3)
    )
    box = (slice(low[2], high[2]), slice(low[1], high[1]), slice(low[0], high[0]))
    return box, x[None, None, :], y[None, :, None], z[:, None, None]


def _paint_couch(image: np.ndarray, grid: Grid, anatomy: Anatomy, position: str) -> None:
    """A foam table between two plates, on the side to which the image columns run."""
    down = np.array(ORIENTATIONS[position][3:], dtype=np.float64)
    axis = int(np.abs(down).argmax())
    sign = down[axis]
    scanned = np.stack([grid.origin_mm, grid.corners_mm()[-1]])
    z = np.linspace(*scanned[:, 2], 30)
    outlines = [loop for level in z for loop in anatomy.body.solid.outlines(float(level), 72)]
    top = max((sign * np.concatenate(outlines)[:, axis]).max() + COUCH_GAP_MM, 0)
    coordinate = grid.origin_mm[axis] + grid.spacing_mm[axis] * np.arange(grid.size_ijk[axis])
    depth = sign * coordinate - top
    line = np.where((depth >= 0) & (depth <= COUCH_MM), FOAM_HU, AIR_HU)
    line[(np.abs(depth - PLATE_MM / 2) <= PLATE_MM / 2)] = PLATE_HU
    line[(np.abs(depth - COUCH_MM + PLATE_MM / 2) <= PLATE_MM / 2)] = PLATE_HU
    image[...] = line.reshape([-1 if 2 - n == axis else 1 for n in range(3)])


def ct_slices(
    volume: Volume,
    study: Dataset,
    *,
    position: str,
    body_part: str,
    description: str,
    series_number: int,
    signed: bool = False,
) -> Iterator[FileDataset]:
    """The slices of a CT series (PS3.3 A.3), one dataset after another, in ascending k.

    `volume` is in HU and knows its series and frame; `signed` stores HU as they are, else they are
    stored above -1024.
    """
    offset = 0 if signed else STORED_OFFSET_HU
    grid = volume.grid
    stored = (volume.array - offset).astype("<i2" if signed else "<u2")
    orientation = ds_text(grid.direction[:, :2].T.ravel())
    spacing = ds_text(grid.spacing_mm)
    for k, frame in enumerate(stored):
        uid = uid_from(volume.series_uid, k)
        ds = new_object(CTImageStorage, ExplicitVRLittleEndian, uid, study, None)
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.Modality = "CT"
        ds.SeriesInstanceUID = volume.series_uid
        ds.SeriesNumber = series_number
        ds.SeriesDescription = description
        ds.SeriesDate, ds.SeriesTime = study.StudyDate, study.StudyTime
        ds.AcquisitionDate, ds.AcquisitionTime = study.StudyDate, study.StudyTime
        ds.ContentDate, ds.ContentTime = study.StudyDate, study.StudyTime
        ds.PatientPosition, ds.BodyPartExamined = position, body_part
        ds.FrameOfReferenceUID = volume.frame_uid
        ds.PositionReferenceIndicator = ""
        ds.KVP, ds.AcquisitionNumber, ds.InstanceNumber = "120", 1, k + 1
        ds.ImagePositionPatient = ds_text(grid.to_lps(np.array([0.0, 0.0, k])))
        ds.ImageOrientationPatient = orientation
        ds.PixelSpacing, ds.SliceThickness = [spacing[1], spacing[0]], spacing[2]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.Rows, ds.Columns = frame.shape
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.PixelRepresentation = int(signed)
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = offset, 1, "HU"
        ds.add_new("PixelData", "OW", frame.tobytes())
        yield ds
