"""A rigid registration of two CT images, made to be offered to a person.

Doses in two frames of reference are never added through it before a person has looked at it and
accepted it; the figures that come with it help to judge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import GeometryError
from ..geometry import Grid
from ..model import Volume
from ..resample import coverage_of, resample_onto

if TYPE_CHECKING:
    import SimpleITK

# Images are compared in voxels of this size, at full resolution of it last.
STEP_MM = 3.0
SHRINK, SMOOTH = (4, 2, 1), (6.0, 3.0, 0.0)
# What is denser belongs to the body (or the couch); values beyond the second say nothing more.
BODY_HU, RANGE_HU = -300.0, (-1000.0, 1000.0)
ITERATIONS = 100
# Share of the voxels that the comparison looks at.
SAMPLED, SEED = 0.2, 1


@dataclass(frozen=True, eq=False)
class Offer:
    """A registration and how far it can be trusted.

    `matrix` (4, 4) maps LPS millimetres of the moving image's frame to the fixed image's.
    `correlation` is that of the two images where both have body (1 is perfect); `overlap` the share
    of the fixed body that the moving image reaches; `inverse_mm` the largest disagreement, at the
    corners of the body, with the registration made the other way round.
    """

    matrix: np.ndarray
    correlation: float
    overlap: float
    inverse_mm: float


def rigid_offer(fixed: Volume, moving: Volume) -> Offer:
    """Register two CT images by the correlation of their values (six degrees of freedom).

    The result does not depend on the machine's number of cores. Raises `GeometryError` when one of
    them shows no body, or when they cannot be brought to overlap.
    """
    a, b = _coarse(fixed), _coarse(moving)
    there, back = _register(a, b), _register(b, a)
    matrix = np.linalg.inv(there)  # SimpleITK maps points of the fixed image to the moving one
    corners = _body_corners(a)
    returned = _apply(back @ there, corners)
    inverse_mm = float(np.linalg.norm(returned - corners, axis=-1).max())
    return Offer(matrix, *_agreement(a, b, matrix), inverse_mm)


def _coarse(volume: Volume) -> Volume:
    """The image in voxels of `STEP_MM`, values clipped."""
    grid = volume.grid.with_uniform_slices()
    extent = np.array(grid.size_ijk) * grid.spacing_mm
    size = np.maximum(np.round(extent / STEP_MM).astype(int), 1)
    spacing = extent / size
    corner = grid.to_lps(np.full(3, -0.5))
    origin = corner + grid.direction @ (spacing / 2)
    coarse = Grid(origin, grid.direction, spacing, (int(size[2]), int(size[1]), int(size[0])))
    values = np.clip(volume.array.astype(np.float32), *RANGE_HU)
    array = resample_onto(values, volume.grid, coarse, out=np.zeros(coarse.shape, np.float32))
    array[~coverage_of(volume.grid, coarse)] = RANGE_HU[0]
    if not (array > BODY_HU).any():
        raise GeometryError("an image to register shows no body")
    return Volume(array, coarse, volume.modality, volume.unit, volume.frame_uid)


def _register(fixed: Volume, moving: Volume) -> np.ndarray:
    """(4, 4) from points of the fixed image to points of the moving one; the best of two starts."""
    import SimpleITK as sitk  # noqa: N813 - everybody calls it so

    images = _image(fixed.array, fixed.grid), _image(moving.array, moving.grid)
    bodies = [_image((v.array > BODY_HU).astype(np.float32), v.grid) for v in (fixed, moving)]
    around = sitk.BinaryDilate(sitk.Cast(bodies[0], sitk.sitkUInt8), [3, 3, 3])
    starts = sitk.CenteredTransformInitializerFilter
    found = []
    for how in (starts.MOMENTS, starts.GEOMETRY):
        start = sitk.CenteredTransformInitializer(*bodies, sitk.Euler3DTransform(), how)
        method = sitk.ImageRegistrationMethod()
        method.SetNumberOfWorkUnits(1)
        method.SetMetricAsCorrelation()
        method.SetMetricFixedMask(around)
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(SAMPLED, SEED)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(4.0, 1e-4, ITERATIONS, 0.5, 1e-9)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetShrinkFactorsPerLevel(SHRINK)
        method.SetSmoothingSigmasPerLevel(SMOOTH)
        method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
        method.SetInitialTransform(start, inPlace=False)
        try:
            transform = method.Execute(*images)
        except RuntimeError:  # from this start the images do not overlap
            continue
        found.append((method.GetMetricValue(), len(found), _matrix(transform)))
    if not found:
        raise GeometryError("the images to register cannot be brought to overlap")
    return min(found)[2]


def _image(array: np.ndarray, grid: Grid) -> SimpleITK.Image:
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(array)
    image.SetOrigin(grid.origin_mm.tolist())
    image.SetSpacing(grid.spacing_mm.tolist())
    image.SetDirection(grid.direction.ravel().tolist())
    return image


def _matrix(transform: SimpleITK.Transform) -> np.ndarray:
    points = np.vstack([np.zeros(3), np.eye(3)])
    moved = np.array([transform.TransformPoint(point.tolist()) for point in points])
    matrix = np.eye(4)
    # The nearest rotation: rounding shall not make a matrix that is none.
    u, _, v = np.linalg.svd((moved[1:] - moved[0]).T)
    matrix[:3, :3], matrix[:3, 3] = u @ v, moved[0]
    return matrix


def _agreement(fixed: Volume, moving: Volume, matrix: np.ndarray) -> tuple[float, float]:
    """Correlation and overlap under a registration."""
    turn = matrix[:3, :3]
    origin = turn @ moving.grid.origin_mm + matrix[:3, 3]
    placed = Grid(origin, turn @ moving.grid.direction, moving.grid.spacing_mm, moving.grid.shape)
    values = resample_onto(moving.array, placed, fixed.grid)
    body = fixed.array > BODY_HU
    both = body & coverage_of(placed, fixed.grid)
    if both.sum() < 2:
        return 0.0, 0.0
    correlation = float(np.corrcoef(fixed.array[both], values[both])[0, 1])
    return correlation, float(both.sum() / body.sum())


def _body_corners(volume: Volume) -> np.ndarray:
    inside = np.argwhere(volume.array > BODY_HU)[:, ::-1]
    ends = np.stack([inside.min(axis=0), inside.max(axis=0)])
    corners = np.stack(np.meshgrid(*ends.T.astype(float), indexing="ij"), axis=-1).reshape(-1, 3)
    return volume.grid.to_lps(corners)


def _apply(matrix: np.ndarray, points_mm: np.ndarray) -> np.ndarray:
    return points_mm @ matrix[:3, :3].T + matrix[:3, 3]
