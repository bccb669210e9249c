"""pyradiomics' feature classes on one cropped image, grey levels cut into bins once for all."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

# Up to this asymmetry of the matrix of the maximal correlation coefficient, its symmetric part has
# the same eigenvalues to 1e-7 (the error is of second order).
_NEARLY_SYMMETRIC = 3e-4


@dataclass(frozen=True, eq=False)
class Binned:
    """Grey levels of a ROI as bins: `matrix` `[k, j, i]` with 1 .. `count` inside and 0 outside,
    and the `levels` that occur."""

    matrix: np.ndarray
    levels: np.ndarray

    @property
    def count(self) -> int:
        """The highest bin."""
        return int(self.levels[-1])

    @classmethod
    def of(cls, values: np.ndarray, inside: np.ndarray, settings: Mapping[str, object]) -> Binned:
        """Bins of the voxels inside, by `binCount`, else `binWidth` (default 25), as pyradiomics
        defines them: of fixed width they begin at a multiple of it."""
        chosen = values[inside]
        count, width = settings.get("binCount"), settings.get("binWidth")
        if count is not None:
            edges = np.histogram(chosen, int(count))[1]
            edges[-1] += 1
        else:
            width = 25 if width is None else width
            low, high = chosen.min(), chosen.max()
            edges = np.arange(low - (low % width), high + 2 * width, width)
            if len(edges) == 1:
                edges = np.array([edges[0] - 0.5, edges[0] + 0.5])
        matrix = np.zeros(values.shape, dtype=np.int32)
        bins = np.digitize(chosen, edges)
        matrix[inside] = bins
        return cls(matrix, np.flatnonzero(np.bincount(bins)))


def feature_values(
    name: str,
    values: np.ndarray,
    inside: np.ndarray,
    spacing: tuple[float, float, float],
    classes: Mapping[str, Sequence[str]],
    settings: Mapping[str, object],
) -> dict[str, float]:
    """`<name>_<class>_<feature>` of the grey level classes for one image.

    `values` and `inside` (boolean) are `[k, j, i]` over the ROI's box, `spacing` (k, j, i) in mm. A
    feature that cannot be computed is NaN.
    """
    binned = Binned.of(values, inside, settings)
    image, mask = _as_images(values, inside, spacing)
    found = {}
    for class_name, features in classes.items():
        if class_name.startswith("shape"):
            continue
        made = _binned_class(class_name)(image, mask, binned=binned, **{**settings, "label": 1})
        found |= _executed(made, features, f"{name}_{class_name}")
    return found


def shape_values(
    inside: np.ndarray,
    spacing: tuple[float, float, float],
    classes: Mapping[str, Sequence[str]],
    settings: Mapping[str, object],
) -> dict[str, float]:
    """`original_shape_<feature>` (and shape2D) of a mask `[k, j, i]`, boolean; `spacing` in mm."""
    from radiomics import getFeatureClasses

    wanted = [name for name in classes if name.startswith("shape")]
    if "shape2D" in wanted and not _is_flat(inside, settings):
        wanted.remove("shape2D")
    image, mask = _as_images(inside.astype(np.int16), inside, spacing)
    found = {}
    for name in wanted:
        made = getFeatureClasses()[name](image, mask, **{**settings, "label": 1})
        found |= _executed(made, classes[name], f"original_{name}")
    return found


def _is_flat(inside: np.ndarray, settings: Mapping[str, object]) -> bool:
    axis = int(settings.get("force2Ddimension") or 0)
    return bool(settings.get("force2D")) and inside.shape[axis] == 1


def _as_images(
    values: np.ndarray, inside: np.ndarray, spacing: tuple[float, float, float]
) -> tuple[object, object]:
    import SimpleITK

    images = []
    for array in (values, inside.astype(np.uint8)):
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array))
        image.SetSpacing(spacing[::-1])
        images.append(image)
    return images[0], images[1]


def _executed(made: object, features: Sequence[str] | None, prefix: str) -> dict[str, float]:
    for feature in features or ():
        made.enableFeatureByName(feature)
    with np.errstate(all="ignore"):
        values = made.execute()
    # Two equal axes of a ROI may come out as a complex pair whose imaginary parts are rounding.
    return {f"{prefix}_{name}": float(np.real(value)) for name, value in values.items()}


@cache
def _binned_class(name: str) -> type:
    """A feature class of pyradiomics that takes its bins instead of making them."""
    from radiomics import getFeatureClasses

    base = getFeatureClasses()[name]

    class WithBins(base):
        def __init__(
            self, image: object, mask: object, *, binned: Binned, **settings: object
        ) -> None:
            self._binned = binned
            super().__init__(image, mask, **settings)
            # Its warnings repeat for every image; what fails is still heard of.
            self.logger = logging.Logger(f"radiomics.{name}", logging.ERROR)

        def _applyBinning(self, matrix: np.ndarray) -> np.ndarray:  # noqa: N802 - pyradiomics'
            self.coefficients["grayLevels"] = self._binned.levels
            self.coefficients["Ng"] = self._binned.count
            return self._binned.matrix

    class WithFastCorrelation(WithBins):
        def getMCCFeatureValue(self) -> np.ndarray | int:  # noqa: N802 - pyradiomics'
            found = _maximal_correlation(
                self.P_glcm,
                self.coefficients["px"],
                self.coefficients["py"],
                self.coefficients["eps"],
            )
            return super().getMCCFeatureValue() if found is None else found

    return WithFastCorrelation if name == "glcm" else WithBins


def _maximal_correlation(
    p: np.ndarray, px: np.ndarray, py: np.ndarray, eps: float
) -> np.ndarray | None:
    """The maximal correlation coefficient, mean over the angles, of co-occurrence matrices
    `(1, level, level, angle)`; None where pyradiomics' general way is needed.

    Its matrix Q(i, j) = sum_k p(i,k) p(j,k) / (px(i) py(k) + eps) is, but for eps, similar to a
    symmetric one, whose eigenvalues take a fraction of the time.
    """
    levels = p.shape[1]
    if levels < 2 or p.shape[0] != 1 or not np.isfinite(p).all():
        return None
    second = []
    for angle in range(p.shape[3]):
        matrix, rows, columns = p[0, :, :, angle], px[0, :, 0, angle], py[0, 0, :, angle]
        there = rows > 0
        smallest = rows[there].min(initial=1.0) * columns[columns > 0].min(initial=1.0)
        if eps > _NEARLY_SYMMETRIC * smallest or np.count_nonzero(there) < 2:
            return None
        q = (matrix / (rows[:, None] * columns[None, :] + eps)) @ matrix.T
        root = np.sqrt(rows[there])
        similar = q[np.ix_(there, there)] * (root[:, None] / root[None, :])
        values = np.linalg.eigvalsh((similar + similar.T) / 2)
        second.append(np.sqrt(values[-2]) if values[-2] > 0 else 0.0)
    return np.array([np.mean(second)])
