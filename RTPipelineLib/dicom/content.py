"""Whether files hold the same object, whatever transfer syntax each of them was written in."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

from .dataset import PARSE_ERRORS, read_dataset
from .pixels import read_frames

# PS3.5 6.2: the size in bytes of the numbers of a VR, whose order the transfer syntax decides.
_NUMBERS = {
    **dict.fromkeys(("US", "SS", "OW", "AT"), 2),
    **dict.fromkeys(("UL", "SL", "FL", "OF", "OL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
_PIXELS, _TRAILING_PADDING = 0x7FE00010, 0xFFFCFFFC


def value_digest(path: str | Path) -> str:
    """SHA-256 (hex) of all values of a DICOM file, its pixel data decoded.

    Files that differ in byte order, explicit or implicit VR, lossless compression or padding alone
    have the same digest. Raises `DicomError` for a file that cannot be read.
    """
    digest = hashlib.sha256()
    _add(digest, read_dataset(path), path)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, ds: Dataset, path: str | Path) -> None:
    for tag in sorted(ds.keys()):
        if tag.element == 0 or tag == _TRAILING_PADDING:  # lengths and filling say nothing
            continue
        digest.update(f"{tag:08X}".encode())
        if tag == _PIXELS:
            frames = read_frames(ds, path)
            digest.update(frames.astype(frames.dtype.newbyteorder("<")).tobytes())
            continue
        value, kind, is_little = _stored(ds, tag)
        if kind == "SQ":
            for item in ds[tag].value or ():
                digest.update(b"item")
                _add(digest, item, path)
        elif isinstance(value, bytes):
            size = _NUMBERS.get(kind, 1)
            if size > 1 and not is_little and len(value) % size == 0:
                value = np.frombuffer(value, f">u{size}").astype(f"<u{size}").tobytes()
            digest.update(value.rstrip(b" \0"))
        else:
            digest.update(str(value).encode())


def _stored(ds: Dataset, tag: int) -> tuple[object, str, bool]:
    """Stored value, VR and byte order of an element."""
    element = ds.get_item(tag)
    kind = element.VR or ""
    if kind in ("", "UN"):
        try:
            kind = dictionary_VR(tag)
        except PARSE_ERRORS:  # a private element: its bytes are compared as they are
            kind = "UN"
    return element.value, kind.split(" ")[0], getattr(element, "is_little_endian", True)
