"""Inner loops compiled by numba, where it is installed: coverage of cells, and boxes to histogram.

Each does what a NumPy function does that is the reference (`structures.coverage.cover`;
`dvh.engine._covered_boxes` with `AlignedDose.boxes` and `DoseHistogram.add`), value by value in the
same order and precision; only the order of summing differs, so that results agree to about 1e-7.
They need no arrays in between, which is where their speed comes from.

A kernel is None where numba is missing. Nothing here is imported or compiled before a kernel is
asked for; compiled code is kept in numba's cache, so that a machine pays for it once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import numpy as np

Function = TypeVar("Function", bound=Callable)


def jit(function: Function) -> Function | None:
    """The function compiled on its first call, kept on disk where a folder can be written; None
    without numba. It does not hold Python's lock.

    A kernel holds its helpers inside itself: one that refers to another compiled function would be
    compiled anew in every process.
    """
    try:
        import numba
    except ImportError:
        return None
    # Division by zero gives inf or nan, as in NumPy, and products may be joined to sums: without
    # that the processor takes one number at a time.
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "arcp", "nsz"}}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's can hold compiled code
        return numba.njit(**options)(function)


@cache
def coverage_kernel() -> Callable[..., None] | None:
    """Kernel of `cover`: `(edges (n, 4), first_edge (p + 1,), share, moment_u, moment_v)`, of which
    the last three, (p, nv, nu) float32, are written."""

    def cover_planes(edges, first_edge, share, moment_u, moment_v):  # type: ignore[no-untyped-def]
        def add_piece(row, column, xa, xb, ya, yb, sign):
            # What a piece of an edge covers of its cell and of all cells to its right, added
            # to `row` (nu + 2, 3); formulas as in `coverage._changes`.
            height = sign * (yb - ya)
            middle = (xa + xb) / 2
            dx, dy = xb - xa, yb - ya
            lever = ya - 0.5
            area = height * (1 - middle)
            moment_v = height * (lever * (1 - xa) + (dy * (1 - xa) - lever * dx) / 2 - dx * dy / 3)
            row[column, 0] += area
            row[column + 1, 0] += height - area
            row[column, 1] += height * (middle - (xa * xa + xa * xb + xb * xb) / 3) / 2
            row[column, 2] += moment_v
            row[column + 1, 2] += height * (lever + dy / 2) - moment_v

        planes, rows, columns = share.shape
        sums = np.zeros((rows, columns + 2, 3))
        for plane in range(planes):
            begin_row, end_row = rows, 0
            for number in range(first_edge[plane], first_edge[plane + 1]):
                x0, y0, x1, y1 = edges[number]
                sign = 1.0
                x_low, y_low, x_high, y_high = x1, y1, x0, y0
                if y1 >= y0:
                    sign = -1.0
                    x_low, y_low, x_high, y_high = x0, y0, x1, y1
                low, high = max(y_low, 0.0), min(y_high, float(rows))
                if low >= high:
                    continue
                slope = (x_high - x_low) / (y_high - y_low)
                left, right = min(x0, x1), max(x0, x1)
                first, last = int(low), math.ceil(high)
                begin_row, end_row = min(begin_row, first), max(end_row, last)
                for row in range(first, last):
                    ya, yb = max(low - row, 0.0), min(high - row, 1.0)
                    rise = row - y_low
                    xa = min(max(x_low + (rise + ya) * slope, left), right)
                    xb = min(max(x_low + (rise + yb) * slope, left), right)
                    near, far = min(xa, xb), max(xa, xb)
                    start, stop = math.floor(near), math.ceil(far)
                    if near >= 0 and stop - start <= 1 and start < columns:
                        add_piece(sums[row], start, xa - start, xb - start, ya, yb, sign)
                        continue
                    tilt = (yb - ya) / (xb - xa) if xb != xa else 0.0
                    if near < 0:  # left of the lattice: covers all of the row
                        a, b = min(xa, 0.0), min(xb, 0.0)
                        y_a = ya + (a - xa) * tilt
                        y_b = ya + (b - xa) * tilt if b < xb else yb
                        add_piece(sums[row], 0, 0.0, 0.0, y_a, y_b, sign)
                    for column in range(max(start, 0), min(stop, columns)):
                        a, b = max(near, column), min(far, column + 1)
                        if xb < xa:
                            a, b = b, a
                        y_a, y_b = ya + (a - xa) * tilt, ya + (b - xa) * tilt
                        add_piece(sums[row], column, a - column, b - column, y_a, y_b, sign)
            share[plane, :begin_row] = 0
            moment_u[plane, :begin_row] = 0
            moment_v[plane, :begin_row] = 0
            end_row = max(end_row, begin_row)
            for row in range(begin_row, end_row):
                covered, vertical = 0.0, 0.0
                for column in range(columns):
                    covered += sums[row, column, 0]
                    vertical += sums[row, column, 2]
                    share[plane, row, column] = covered
                    moment_u[plane, row, column] = sums[row, column, 1]
                    moment_v[plane, row, column] = vertical
                sums[row] = 0
            share[plane, end_row:] = 0
            moment_u[plane, end_row:] = 0
            moment_v[plane, end_row:] = 0

    return jit(cover_planes)


@cache
def boxes_kernel() -> Callable[..., tuple[float, ...]] | None:
    """Kernel of one run of layers, from coverage and dose to the histogram.

    Called with tuples and arrays: `coverage` (share, moment_u, moment_v) of a window of planes, the
    moments of size 0 where all are zero; `planes` (first, second), of each layer (n,); `weights`
    (n, 2), the volume of a cell that is full in one of them; the `block` of voxels [w, v, u];
    `layers`, `along_u` and `along_v` as `sampling.LayerTable` and `AxisTable`; the `least` share of
    a cell that counts; `ladder` (low, high and rung in Gy, and the share of its dose below which a
    width is none), all float32; the `density`, which is added to; and `room` for the dose and the
    volume of boxes of uniform dose.

    Returns volume, volume x dose, volume x dose^2, least and greatest dose, and the numbers of
    boxes and of uniform boxes.
    """

    def add_boxes(  # type: ignore[no-untyped-def]
        coverage, planes, weights, block, layers, along_u, along_v, least, ladder, density, room
    ):
        def corner_row(slab, left_v, share_v, left_u, share_u, out):
            # Mean and rise (2, nu + 1) at the corners of one line, interpolated along u, then v.
            last_v, last_u = slab.shape[1] - 1, slab.shape[2] - 1
            below, above = left_v, min(left_v + 1, last_v)
            for kind in range(2):
                for i in range(len(left_u)):
                    left, right = left_u[i], min(left_u[i] + 1, last_u)
                    near, far = slab[kind, below, left], slab[kind, above, left]
                    near += (slab[kind, below, right] - near) * share_u[i]
                    far += (slab[kind, above, right] - far) * share_u[i]
                    out[kind, i] = near + (far - near) * share_v

        f32 = np.float32
        zero, one, two, half, quarter = f32(0), f32(1), f32(2), f32(0.5), f32(0.25)
        share, moment_u, moment_v = coverage
        voxel, for_mean, for_rise, inside_w = layers
        left_u, share_u, inside_u = along_u
        left_v, share_v, inside_v = along_v
        low_gy, high_gy, rung_gy, uniform = ladder
        most = f32(1 - np.float64(least))
        nv, nu = len(inside_v), len(inside_u)
        centred = moment_u.size == 0
        slab = np.empty((2, block.shape[1], block.shape[2]), f32)  # mean and rise of the layer
        kept = np.empty((2, 2, nu + 1), f32)  # both, at the last two lines of corners
        row = np.empty((5, nu), f32)  # volume, mean and the three differences of a row of boxes
        total, dose_sum, square_sum = 0.0, 0.0, 0.0
        least_gy, most_gy = f32(np.inf), f32(-np.inf)
        boxes, alone = 0, 0
        for layer in range(len(weights)):
            if not inside_w[layer]:
                continue
            slab[:] = 0
            for step in range(voxel.shape[1]):
                mean_weight, rise_weight = for_mean[layer, step], for_rise[layer, step]
                values = block[voxel[layer, step]]
                for j in range(block.shape[1]):
                    for i in range(block.shape[2]):
                        slab[0, j, i] += values[j, i] * mean_weight
                        slab[1, j, i] += values[j, i] * rise_weight
            a, b = planes[0][layer], planes[1][layer]
            weight_a, weight_b = weights[layer, 0], weights[layer, 1]
            full = weight_a + weight_b
            enough, whole = least * full, full * most
            fresh = -1  # the line of corners that `kept[1]` holds
            for j in range(nv):
                begin, end = 0, nu if inside_v[j] else 0
                while begin < end and share[a, j, begin] == 0 and share[b, j, begin] == 0:
                    begin += 1
                while end > begin and share[a, j, end - 1] == 0 and share[b, j, end - 1] == 0:
                    end -= 1
                if begin == end:
                    continue
                if fresh == j:
                    kept[0] = kept[1]
                else:
                    corner_row(slab, left_v[j], share_v[j], left_u, share_u, kept[0])
                fresh = j + 1
                corner_row(slab, left_v[fresh], share_v[fresh], left_u, share_u, kept[1])
                near_mean, near_rise = kept[0]
                far_mean, far_rise = kept[1]
                for i in range(begin, end):
                    row[0, i] = share[a, j, i] * weight_a + share[b, j, i] * weight_b
                    near = near_mean[i] + near_mean[i + 1]
                    far = far_mean[i] + far_mean[i + 1]
                    row[1, i] = (near + far) * quarter
                    rise = near_mean[i + 1] - near_mean[i]
                    row[2, i] = (rise + (far_mean[i + 1] - far_mean[i])) * half
                    row[3, i] = (far - near) * half
                    rise = near_rise[i] + near_rise[i + 1]
                    row[4, i] = (rise + (far_rise[i] + far_rise[i + 1])) * quarter
                for i in range(begin, end):
                    cc, mean, du, dv, dw = row[0, i], row[1, i], row[2, i], row[3, i], row[4, i]
                    if not cc > enough or not inside_u[i]:
                        continue
                    if cc < whole and not centred:
                        shift = moment_u[a, j, i] * weight_a + moment_u[b, j, i] * weight_b
                        shift = min(max(shift / cc, -half), half)
                        mean += shift * du
                        du *= one - two * abs(shift)
                        shift = moment_v[a, j, i] * weight_a + moment_v[b, j, i] * weight_b
                        shift = min(max(shift / cc, -half), half)
                        mean += shift * dv
                        dv *= one - two * abs(shift)
                    width = np.sqrt(du * du + dv * dv + dw * dw)
                    reach = two * min(mean - low_gy, high_gy - mean)
                    width = min(width, max(reach, zero))
                    low = mean - width * half
                    least_gy, most_gy = min(least_gy, low), max(most_gy, low + width)
                    boxes += 1
                    total += cc
                    weighted = cc * mean
                    dose_sum += weighted
                    square_sum += weighted * mean + cc * (width * width) / f32(12)
                    if width <= uniform * mean:
                        room[0][alone], room[1][alone] = mean, cc
                        alone += 1
                        continue
                    rungs = max(int(width / rung_gy + half), 1)
                    middle = (low - low_gy + width * half) / rung_gy
                    first = int(max(np.float64(middle) - 0.5 * rungs + 0.5, 0.0))
                    last = min(first + rungs, len(density) - 1)
                    density[first] += np.float64(cc) / rungs
                    density[last] -= np.float64(cc) / rungs
        return total, dose_sum, square_sum, least_gy, most_gy, boxes, alone

    return jit(add_boxes)
