"""Stored pixel values of a dataset, native or compressed (PS3.3 C.7.6.3, PS3.5 section 8)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID, JPEGLSTransferSyntaxes

from ..errors import DicomError
from .dataset import PARSE_ERRORS, Header

_UNDEFINED = 0xFFFFFFFF


def read_frames(ds: Dataset, path: str | Path) -> np.ndarray:
    """Stored values `[frame, row, column]` of a monochrome dataset, before any rescale.

    Native pixel data come as a read-only view on the bytes of `ds` where that is possible.

    Raises `DicomError` when there are none, they are cut off or do not fit Rows, Columns, Number of
    Frames and Bits Allocated, or when no decoder is installed for their transfer syntax.
    """
    header = Header(ds)
    rows, columns, bits = (header.integer(k) for k in ("Rows", "Columns", "BitsAllocated"))
    frames = header.integer("NumberOfFrames") or 1
    samples = header.integer("SamplesPerPixel") or 1
    if not rows or not columns or bits not in (8, 16, 32) or samples != 1:
        raise DicomError(
            f"is no monochrome image of 8, 16 or 32 bits (Rows {rows}, Columns {columns}, Bits "
            f"Allocated {bits}, Samples per Pixel {samples})",
            path,
        )
    if "PixelData" not in ds:
        raise DicomError("has no pixel data, or they are cut off; export or copy it again", path)
    shape = (frames, rows, columns)
    element = ds.get_item("PixelData")
    # PS3.5 A.4: compressed pixel data, and no other, have undefined length.
    if getattr(element, "length", None) == _UNDEFINED or getattr(
        element, "is_undefined_length", False
    ):
        return _decompress(ds, shape, path)
    values = _native(ds, shape, bits, header.integer("PixelRepresentation") == 1, path)
    unused = bits - (header.integer("BitsStored") or bits)
    if 0 < unused < bits:  # PS3.5 8.1.1: bits that are not stored mean nothing
        values = np.right_shift(np.left_shift(values, unused), unused)
    return values


def _native(
    ds: Dataset, shape: tuple[int, int, int], bits: int, signed: bool, path: str | Path
) -> np.ndarray:
    element = ds.get_item("PixelData")
    count = shape[0] * shape[1] * shape[2]
    expected, found = count * bits // 8, len(element.value or b"")
    if found < expected or found > expected + expected % 2:
        raise DicomError(
            f"has {found} bytes of pixel data; {shape[0]} frames of {shape[1]} x {shape[2]} at "
            f"{bits} bits need {expected}; export or copy it again",
            path,
        )
    order = "<" if getattr(element, "is_little_endian", True) else ">"
    dtype = np.dtype(f"{order}{'i' if signed else 'u'}{bits // 8}")
    return np.frombuffer(element.value, dtype=dtype, count=count).reshape(shape)


def _decompress(ds: Dataset, shape: tuple[int, int, int], path: str | Path) -> np.ndarray:
    syntax = UID(getattr(getattr(ds, "file_meta", None), "TransferSyntaxUID", None) or "")
    try:
        values = ds.pixel_array
    except (*PARSE_ERRORS, RuntimeError) as error:
        text = " ".join(str(error).split())
        if "missing dependencies" in text:
            package = "pyjpegls" if syntax in JPEGLSTransferSyntaxes else "python-gdcm"
            raise DicomError(
                f"no decoder for {syntax.name} is installed; install the package {package}", path
            ) from error
        raise DicomError(
            f"its {syntax.name or 'compressed'} pixel data cannot be decoded ({text})", path
        ) from error
    if values.size != shape[0] * shape[1] * shape[2]:
        raise DicomError(f"its {syntax.name} pixel data do not fit {shape} pixels", path)
    return values.reshape(shape)
