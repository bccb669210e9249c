"""Spatial registrations, rigid and deformable (PS3.3 C.20.2, C.20.3).

The two kinds run in opposite directions. A matrix maps points of the **source** frame to the
registered frame (C.20.2.1.1). A deformation maps points of the **registered** frame to where the
source is sampled (C.20.3.1.1): first the pre-deformation matrix, then the offset of the grid at the
unchanged point, then the post-deformation matrix. `from_frame_uid` and `to_frame_uid` say which way
`map_points` goes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.uid import SpatialRegistrationStorage

from ..errors import DicomError, GeometryError
from ..geometry import Grid
from .dataset import Header, read_dataset
from .headers import REG, kind_of

_LAST_ROW = np.array([0.0, 0.0, 0.0, 1.0])
_RIGID_TOLERANCE = 1e-3
_INVERSE_STEPS, _INVERSE_MM = 50, 0.01


@dataclass(frozen=True, eq=False)
class MatrixRegistration:
    """A 4 x 4 matrix that maps LPS millimetres of the source frame to the registered frame.

    `kind` is RIGID, RIGID_SCALE or AFFINE. `image_uids` are the images it is restricted to, if any.
    """

    from_frame_uid: str
    to_frame_uid: str
    matrix: np.ndarray
    kind: str = "RIGID"
    image_uids: tuple[str, ...] = ()

    def map_points(self, points_mm: np.ndarray) -> np.ndarray:
        """Points `(..., 3)` of the source frame in the registered frame."""
        return _apply(self.matrix, points_mm)

    def inverse(self) -> MatrixRegistration:
        """The same registration from the registered frame to the source frame."""
        inverse = np.linalg.inv(self.matrix)
        return MatrixRegistration(
            self.to_frame_uid, self.from_frame_uid, inverse, self.kind, self.image_uids
        )


@dataclass(frozen=True, eq=False)
class DeformableRegistration:
    """A deformation that maps LPS millimetres of the registered frame to the source frame.

    `grid` lies in the registered frame; `offsets_mm` has shape `(*grid.shape, 3)`, float32, x, y, z
    in LPS. Both are None for an item that has matrices alone.
    """

    from_frame_uid: str
    to_frame_uid: str
    pre: np.ndarray
    post: np.ndarray
    grid: Grid | None = None
    offsets_mm: np.ndarray | None = None
    image_uids: tuple[str, ...] = ()

    @property
    def matrix(self) -> np.ndarray | None:
        """The whole mapping as one 4 x 4 matrix where there is no deformation grid, else None."""
        return self.post @ self.pre if self.grid is None else None

    def covers(self, points_mm: np.ndarray) -> np.ndarray:
        """`(...)` booleans: inside the deformation grid (to the edges of its outer voxels)."""
        if self.grid is None:
            return np.ones(np.shape(points_mm)[:-1], dtype=bool)
        return self.grid.contains(points_mm)

    def map_points(self, points_mm: np.ndarray) -> np.ndarray:
        """Points `(..., 3)` of the registered frame in the source frame.

        Offsets are interpolated trilinearly. Outside the grid the deformation is unknown: there the
        result is NaN, never an undeformed point (`covers` tells where).
        """
        points = np.asarray(points_mm, dtype=np.float64)
        moved = _apply(self.pre, points)
        if self.grid is not None and self.offsets_mm is not None:
            moved = moved + _trilinear(self.offsets_mm, self.grid.to_index(points))
            moved[~self.covers(points)] = np.nan
        return _apply(self.post, moved)

    def inverse(self) -> InverseDeformation:
        """The same deformation from the source frame to the registered frame."""
        return InverseDeformation(self)


@dataclass(frozen=True, eq=False)
class InverseDeformation:
    """A deformation run backwards: from the source frame to the registered frame.

    Solved point by point (Chen et al., Med Phys 35 (2008) 81):
    x = pre^-1 (post^-1 (y) - offset(x)).
    """

    forward: DeformableRegistration

    @property
    def from_frame_uid(self) -> str:
        """The source frame of the deformation."""
        return self.forward.to_frame_uid

    @property
    def to_frame_uid(self) -> str:
        """The registered frame of the deformation."""
        return self.forward.from_frame_uid

    @property
    def matrix(self) -> np.ndarray | None:
        """One 4 x 4 matrix where there is no deformation grid, else None."""
        return None if self.forward.matrix is None else np.linalg.inv(self.forward.matrix)

    def inverse(self) -> DeformableRegistration:
        """The deformation itself."""
        return self.forward

    def map_points(self, points_mm: np.ndarray) -> np.ndarray:
        """Points `(..., 3)` of the source frame in the registered frame; NaN outside the grid and
        where no point maps back to within 0.01 mm (the deformation folds)."""
        points = np.asarray(points_mm, dtype=np.float64)
        shifted = _apply(np.linalg.inv(self.forward.post), points)
        back = np.linalg.inv(self.forward.pre)
        found = _apply(back, shifted)
        grid, offsets = self.forward.grid, self.forward.offsets_mm
        if grid is None or offsets is None:
            return found
        for _ in range(_INVERSE_STEPS):
            step = _apply(back, shifted - _trilinear(offsets, grid.to_index(found)))
            change = np.abs(step - found).max(initial=0.0)
            found = step
            if change < _INVERSE_MM / 10:
                break
        missed = self.forward.map_points(found) - points
        found[~(np.abs(missed).max(axis=-1) < _INVERSE_MM)] = np.nan
        return found


@dataclass(frozen=True, eq=False)
class Registration:
    """One registration object: its registered frame and an item for each source.

    Flags: `several-matrices` (an item chains matrices; they are applied in item order, see
    `_matrix`, which some readers reverse) and `bad-value:*`.
    """

    sop_uid: str
    frame_uid: str
    matrices: tuple[MatrixRegistration, ...] = ()
    deformations: tuple[DeformableRegistration, ...] = ()
    flags: tuple[str, ...] = field(default=())
    sop_class_uid: str = SpatialRegistrationStorage

    @property
    def mappings(self) -> tuple[MatrixRegistration | DeformableRegistration, ...]:
        """The items that join two different frames (the registered one is often listed too)."""
        items = (*self.matrices, *self.deformations)
        ends = [(m, {m.from_frame_uid, m.to_frame_uid} - {""}) for m in items]
        return tuple(m for m, frames in ends if len(frames) == 2)


def read_registration(path: str | Path) -> Registration:
    """Read a Spatial Registration or a Deformable Spatial Registration.

    Raises `DicomError` (the file is none, or damaged) and `GeometryError` (a matrix that is none, a
    deformation grid whose sizes do not fit its vectors).
    """
    header = Header(read_dataset(path))
    if kind_of(header.text("SOPClassUID"), header.text("Modality")) != REG:
        raise DicomError("is no spatial registration", path)
    frame_uid = header.text("FrameOfReferenceUID")
    matrices = tuple(
        MatrixRegistration(
            from_frame_uid=item.text("FrameOfReferenceUID"),
            to_frame_uid=frame_uid,
            matrix=_matrix(item.items("MatrixRegistrationSequence"), path),
            kind=_matrix_kind(item),
            image_uids=_image_uids(item),
        )
        for item in header.items("RegistrationSequence")
    )
    deformations = tuple(
        _deformation(item, frame_uid, path)
        for item in header.items("DeformableRegistrationSequence")
    )
    if not matrices and not deformations:
        raise DicomError("holds no registration; export it again", path)
    return Registration(
        header.text("SOPInstanceUID"),
        frame_uid,
        matrices,
        deformations,
        tuple(header.flags),
        header.text("SOPClassUID") or SpatialRegistrationStorage,
    )


# -- matrices -------------------------------------------------------------------------------------


def _image_uids(item: Header) -> tuple[str, ...]:
    images = item.items("ReferencedImageSequence")
    return tuple(image.text("ReferencedSOPInstanceUID") for image in images)


def _matrix_kind(item: Header) -> str:
    matrices = item.item("MatrixRegistrationSequence").items("MatrixSequence")
    kinds = {m.text("FrameOfReferenceTransformationMatrixType") for m in matrices}
    return next((k for k in ("AFFINE", "RIGID_SCALE", "RIGID") if k in kinds), "")


def _matrix(registrations: list[Header], path: str | Path) -> np.ndarray:
    """The product of all matrices of a matrix registration, the first item applied first.

    PS3.3 table C.20.2-1: the order of the items of the Matrix Sequence is that of the matrix
    multiplication; equation C.20.2-2 has the later items to the left of the earlier ones, so with
    three items a point x becomes M3 M2 M1 x. Some readers (SlicerRT) multiply the other way round,
    so chains are flagged; one matrix, by far the usual case, is the same for all.
    """
    parts = registrations[0].items("MatrixSequence") if registrations else []
    if not parts:
        raise GeometryError(f"{path}: a registration has no matrix; export it again")
    if len(parts) > 1:
        parts[0].flag("several-matrices")
    product = np.eye(4)
    for part in parts:
        product = _checked(part, path) @ product
    product.flags.writeable = False
    return product


def _checked(part: Header, path: str | Path) -> np.ndarray:
    values = part.numbers("FrameOfReferenceTransformationMatrix")
    if len(values) != 16:
        raise GeometryError(
            f"{path}: a transformation matrix has {len(values)} valid values, 16 are needed; "
            "export the registration again"
        )
    matrix = np.array(values).reshape(4, 4)
    kind = part.text("FrameOfReferenceTransformationMatrixType")
    turn = matrix[:3, :3]
    if not np.allclose(matrix[3], _LAST_ROW, atol=1e-6) or abs(np.linalg.det(turn)) < 1e-6:
        raise GeometryError(
            f"{path}: a transformation matrix cannot be applied (last row "
            f"{matrix[3].tolist()}, determinant {np.linalg.det(turn):g}); export it again"
        )
    is_rotation = np.allclose(turn.T @ turn, np.eye(3), atol=_RIGID_TOLERANCE)
    if kind == "RIGID" and not (is_rotation and np.linalg.det(turn) > 0):
        raise GeometryError(f"{path}: a matrix is called RIGID but is no rotation; export it again")
    return matrix


def _apply(matrix: np.ndarray, points_mm: np.ndarray) -> np.ndarray:
    points = np.asarray(points_mm, dtype=np.float64)
    return points @ matrix[:3, :3].T + matrix[:3, 3]


# -- deformations ---------------------------------------------------------------------------------


def _deformation(item: Header, frame_uid: str, path: str | Path) -> DeformableRegistration:
    pre = item.items("PreDeformationMatrixRegistrationSequence")
    post = item.items("PostDeformationMatrixRegistrationSequence")
    grids = item.items("DeformableRegistrationGridSequence")
    grid, offsets = _vector_grid(grids[0], path) if grids else (None, None)
    return DeformableRegistration(
        from_frame_uid=frame_uid,
        to_frame_uid=item.text("SourceFrameOfReferenceUID"),
        pre=_deformation_matrix(pre, path),
        post=_deformation_matrix(post, path),
        grid=grid,
        offsets_mm=offsets,
        image_uids=_image_uids(item),
    )


def _deformation_matrix(registrations: list[Header], path: str | Path) -> np.ndarray:
    """Pre- and post-deformation items hold one matrix (table C.20.3-1), or are left out."""
    return _checked(registrations[0], path) if registrations else np.eye(4)


def _vector_grid(item: Header, path: str | Path) -> tuple[Grid, np.ndarray]:
    size = [int(n) for n in item.numbers("GridDimensions")]
    resolution = item.numbers("GridResolution")
    position = item.numbers("ImagePositionPatient")
    orientation = item.numbers("ImageOrientationPatient")
    if [len(v) for v in (size, resolution, position, orientation)] != [3, 3, 3, 6] or min(size) < 1:
        raise GeometryError(
            f"{path}: the deformation grid lacks sizes, resolution, position or orientation; "
            "export the registration again"
        )
    nx, ny, nz = size
    raw = item.raw("VectorGridData")
    if not isinstance(raw, bytes) or len(raw) < nx * ny * nz * 12:
        raise DicomError(
            f"the deformation grid has {len(raw) if isinstance(raw, bytes) else 0} bytes, "
            f"{nx} x {ny} x {nz} vectors need {nx * ny * nz * 12}; copy the file again",
            path,
        )
    element = item.ds.get_item("VectorGridData")
    order = "<" if getattr(element, "is_little_endian", True) else ">"
    vectors = np.frombuffer(raw, f"{order}f4", count=nx * ny * nz * 3).astype(np.float32)
    if not np.isfinite(vectors).all():
        raise GeometryError(f"{path}: the deformation grid holds NaN or infinity; export it again")
    try:
        grid = Grid.from_dicom(
            position,
            orientation,
            (resolution[1], resolution[0]),
            ny,
            nx,
            np.arange(nz) * resolution[2],
            resolution[2],
        )
    except ValueError as error:
        raise GeometryError(f"{path}: {error}; export the registration again") from error
    return grid, vectors.reshape(nz, ny, nx, 3)


def _trilinear(field_mm: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Vectors `(..., 3)` of a field `[k, j, i, 3]` at continuous indices i, j, k, clipped."""
    limit = np.array(field_mm.shape[2::-1]) - 1
    index = np.clip(index, 0, limit)
    low = np.minimum(np.floor(index).astype(np.int64), np.maximum(limit - 1, 0))
    part = index - low
    value = np.zeros(index.shape)
    for corner in np.ndindex(2, 2, 2):
        step = np.array(corner)
        i, j, k = np.moveaxis(np.minimum(low + step, limit), -1, 0)
        weight = np.prod(np.where(step == 1, part, 1 - part), axis=-1)
        value += weight[..., None] * field_mm[k, j, i]
    return value
