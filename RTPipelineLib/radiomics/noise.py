"""How noisy an image is, and more of the same noise."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

# Scaling coefficients of the wavelet coif1 (Daubechies, Ten Lectures on Wavelets, SIAM 1992, table
# 8.1, times the root of 2): unit length, so that white noise keeps its standard deviation.
_COIF1 = np.array(
    [
        -0.01565572813546454,
        -0.0727326195128539,
        0.38486484686420286,
        0.8525720202122554,
        0.3378976624578092,
        -0.0727326195128539,
    ]
)
_HIGH_PASS = _COIF1[::-1] * np.array([1, -1, 1, -1, 1, -1])
# The median of the absolute value of a normal variable of unit standard deviation.
_NORMAL_MEDIAN = 0.6744897501960817
# So few coefficients give no median to rely on.
_LEAST_COEFFICIENTS = 100


def noise_sigma(array: np.ndarray) -> float:
    """Standard deviation of the noise in an image `[k, j, i]`, in its own unit.

    The median absolute coefficient of the diagonal high-pass of each slice, undecimated and with
    coif1, over that of a unit normal variable (Chang, Yu and Vetterli, IEEE Transactions on Image
    Processing 9 (2000) 1532), as Zwanenburg et al. estimate it (Scientific Reports 9 (2019) 614).
    What is flat, and its rim, does not count: air that was cut off, or beyond what was
    reconstructed. 0 for an image without variation, or too small to tell.
    """
    image = np.asarray(array, dtype=np.float64)
    if min(image.shape[1:]) < len(_HIGH_PASS):
        return 0.0
    detail = ndimage.correlate1d(image, _HIGH_PASS, axis=1, mode="mirror")
    detail = ndimage.correlate1d(detail, _HIGH_PASS, axis=2, mode="mirror")
    window = (1, 3, 3)
    flat = ndimage.maximum_filter(image, window) == ndimage.minimum_filter(image, window)
    counts = ~ndimage.maximum_filter(flat, (1, len(_HIGH_PASS), len(_HIGH_PASS)))
    if np.count_nonzero(counts) < _LEAST_COEFFICIENTS:
        return 0.0
    return float(np.median(np.abs(detail[counts])) / _NORMAL_MEDIAN)


def with_noise(array: np.ndarray, sigma: float, random: np.random.Generator) -> np.ndarray:
    """The image with white normal noise of this standard deviation added, as float64."""
    return array + sigma * random.standard_normal(array.shape)
