"""Local binary patterns in three dimensions (pyradiomics' image type LBP3D).

The image is sampled on a sphere around every voxel; which samples reach the voxel's own value is a
pattern, and what spherical harmonics of one degree see of it does not change when it is turned
(Banerjee, Moelker, Niessen and van Walsum, ACCV 2012 Workshops, LNCS 7728,
doi:10.1007/978-3-642-37410-4_3). pyradiomics' own code needs names that SciPy has moved since; this
has its values, the polar and azimuthal angle exchanged as there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

# Where a region ends shows in its cubic spline, a voxel further 0.27 times as much.
SPLINE_VOXELS = 14


def reach(settings: Mapping[str, object]) -> int:
    """Voxels around a ROI that the samples of its own voxels need."""
    return math.ceil(_radius(settings)) + SPLINE_VOXELS


def patterns(
    settings: Mapping[str, object], region: np.ndarray, part: tuple[slice, ...]
) -> Iterator[tuple[str, np.ndarray]]:
    """(image name, values over `part`) for every degree of spherical harmonics, and the kurtosis of
    the samples. `region` is `[k, j, i]`, lengths are in voxels."""
    from scipy import ndimage
    from scipy.stats import kurtosis

    levels = int(settings.get("lbp3DLevels") or 2)
    subdivision = settings.get("lbp3DIcosphereSubdivision")
    sphere = _icosphere(1 if subdivision is None else int(subdivision))
    forms = [_turned_energy(sphere, degree) for degree in range(levels)]
    offsets = _radius(settings) * sphere
    spline = ndimage.spline_filter(region, order=3, output=np.float64)
    rows = np.mgrid[part[1], part[2]].reshape(2, -1)
    images = np.empty((levels + 1, *region[part].shape))
    for number, k in enumerate(range(part[0].start, part[0].stop)):
        own = np.stack([np.full(rows.shape[1], k), *rows]).astype(np.float64)
        places = own[:, None, :] + offsets.T[:, :, None]  # axis, sample, voxel
        samples = ndimage.map_coordinates(
            spline, places, output=region.dtype, order=3, prefilter=False
        ).T
        reached = (samples >= region[k][part[1:]].reshape(-1, 1)).astype(np.float64)
        for level, form in enumerate(forms):
            energy = np.einsum("pv,pv->p", reached @ form, reached)
            images[level, number] = np.sqrt(energy).real.reshape(images.shape[2:])
        images[levels, number] = kurtosis(samples, axis=1).reshape(images.shape[2:])
    for level in range(levels):
        yield f"lbp-3D-m{level + 1}", images[level]
    yield "lbp-3D-k", images[levels]


def _radius(settings: Mapping[str, object]) -> float:
    return float(settings.get("lbp3DIcosphereRadius") or 1)


def _turned_energy(sphere: np.ndarray, degree: int) -> np.ndarray:
    """The form (samples, samples) that gives the squared length of what the harmonics of a degree
    keep of a pattern: the kernel of all orders, applied twice."""
    from scipy.special import sph_harm_y

    polar, azimuth = np.arccos(sphere[:, 2]), np.arctan2(sphere[:, 1], sphere[:, 0])
    orders = np.arange(-degree, degree + 1)
    # The azimuth stands for the polar angle, whose sine is not negative.
    harmonics = sph_harm_y(degree, orders[:, None], np.abs(azimuth), polar)
    kernel = harmonics.T @ harmonics  # not its conjugate
    return kernel @ kernel


def _icosphere(subdivision: int) -> np.ndarray:
    """(n, 3) unit vectors: an icosahedron whose triangles were cut into four so many times."""
    golden = (1 + math.sqrt(5)) / 2
    pairs = np.array([(a, b) for a in (-1.0, 1.0) for b in (-golden, golden)])
    zeros = np.zeros(4)
    corners = np.concatenate(
        [np.roll(np.column_stack([zeros, pairs]), turn, axis=1) for turn in range(3)]
    )
    triples = np.stack(np.meshgrid(*[np.arange(12)] * 3, indexing="ij"), -1).reshape(-1, 3)
    triples = triples[(triples[:, 0] < triples[:, 1]) & (triples[:, 1] < triples[:, 2])]
    sides = corners[triples] - corners[np.roll(triples, 1, axis=1)]
    faces = triples[np.isclose((sides**2).sum(-1), 4.0).all(axis=1)]  # edges have the length 2
    points = corners / np.linalg.norm(corners, axis=1, keepdims=True)
    for _ in range(subdivision):
        edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]))
        unique, number = np.unique(edges, axis=0, return_inverse=True)
        middle = points[unique].sum(axis=1)
        ab, bc, ca = (number.reshape(-1) + len(points)).reshape(3, -1)
        a, b, c = faces.T
        triangles = [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
        faces = np.concatenate([np.column_stack(triangle) for triangle in triangles])
        middle /= np.linalg.norm(middle, axis=1, keepdims=True)
        points = np.concatenate([points, middle])
    return points
