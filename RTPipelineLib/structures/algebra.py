"""Union, intersection, subtraction and exclusive or of masks with covered shares.

In a voxel that two structures cover in part, the shares alone do not say how much they have in
common: between max(0, a + b - 1) and min(a, b). The directions of the two surfaces do: where they
face the same way (a CTV inside its PTV) one covers what the other does, min(a, b); where they face
each other (two neighbours) they have as little in common as can be; at a right angle a b, as if
independent. In between the three are mixed by the cosine. What is off by this is at most a part of
the voxels through which both surfaces run at once; everywhere else the operations are exact. All
four are made from the one common share, so that volumes add up:
volume(A or B) = volume(A) + volume(B) - volume(A and B).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Literal, get_args

import numpy as np

from ..model import Mask
from .lattice_boxes import box_of, cropped, on_box

Operation = Literal["union", "intersection", "subtract", "xor"]
OPERATIONS: tuple[str, ...] = get_args(Operation)


def combine(operation: Operation, masks: Sequence[Mask]) -> Mask:
    """Masks on one lattice combined from left to right; `subtract` takes all others from the first.

    The result has float32 shares 0..1 and is cropped to what is covered; name and the other facts
    are those of the first mask, flags are those of all. Raises `GeometryError` for masks whose
    voxels do not fit onto each other, `ValueError` for no masks or an unknown operation.
    """
    if operation not in OPERATIONS:
        raise ValueError(f"{operation!r} is no operation; one of {', '.join(OPERATIONS)}")
    if not masks:
        raise ValueError("nothing to combine")
    base = masks[0].grid
    boxes = [box_of(mask, base) for mask in masks]
    if operation == "intersection":
        box = reduce(lambda a, b: a & b, boxes)
    elif operation == "subtract":
        box = boxes[0]
    else:
        box = reduce(lambda a, b: a | b, boxes)
    flags = tuple(dict.fromkeys(flag for mask in masks for flag in mask.flags))
    if box.is_empty:
        return cropped(replace(masks[0], array=np.zeros(base.shape, np.float32), flags=flags))
    margin = box.wider((1, 1, 1))  # for the directions of the surfaces at the border
    spacing = tuple(float(s) for s in base.spacing_mm[::-1])
    parts = [on_box(mask, base, margin) for mask in masks]
    share = parts[0].array
    for part in parts[1:]:
        share = _pair(operation, share, part.array, spacing)
    return cropped(replace(parts[0], array=share, flags=flags))


def _pair(
    operation: Operation, a: np.ndarray, b: np.ndarray, spacing: tuple[float, float, float]
) -> np.ndarray:
    common = common_share(a, b, spacing)
    if operation == "union":
        return np.clip(a + b - common, 0, 1)
    if operation == "intersection":
        return common
    if operation == "subtract":
        return np.clip(a - common, 0, 1)
    return np.clip(a + b - 2 * common, 0, 1)


def common_share(
    a: np.ndarray, b: np.ndarray, spacing_mm: tuple[float, float, float]
) -> np.ndarray:
    """Share of each voxel `[k, j, i]` that lies in both of two structures with shares `a` and `b`;
    `spacing_mm` in the order of the array's axes."""
    common = np.minimum(a, b)
    partial = (a > 0) & (a < 1) & (b > 0) & (b < 1)
    index = np.nonzero(partial)
    if not index[0].size:
        return common
    x, y = a[index].astype(np.float64), b[index].astype(np.float64)
    cosine = _cosine(_slope(a, index, spacing_mm), _slope(b, index, spacing_mm))
    independent = x * y
    nested, apart = np.minimum(x, y), np.maximum(x + y - 1, 0)
    target = np.where(cosine > 0, nested, apart)
    common[index] = independent + np.abs(cosine) * (target - independent)
    return common


def _slope(
    share: np.ndarray, index: tuple[np.ndarray, ...], spacing_mm: tuple[float, float, float]
) -> np.ndarray:
    """(n, 3) how the share rises per mm; beyond the array it goes on as at its border."""
    slope = np.empty((len(index[0]), 3))
    for axis in range(3):
        after, before = list(index), list(index)
        after[axis] = np.minimum(index[axis] + 1, share.shape[axis] - 1)
        before[axis] = np.maximum(index[axis] - 1, 0)
        step = np.maximum(after[axis] - before[axis], 1) * spacing_mm[axis]
        slope[:, axis] = (share[tuple(after)] - share[tuple(before)]) / step
    return slope


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    product = np.einsum("ij,ij->i", a, b)
    return np.divide(product, length, out=np.zeros(len(a)), where=length > 0)
