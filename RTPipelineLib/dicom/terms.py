"""Coded names of what a segment shows, as DICOM SEG and Slicer's segmentations store them."""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """A coded concept (PS3.3 8.8): value, designator of its scheme (SCT: SNOMED CT), meaning."""

    value: str
    scheme: str
    meaning: str


class Terms(NamedTuple):
    """Segmented property category, type (PS3.16 CID 7150, 7151) and, where it says more, the type's
    modifier (CID 244: left, right)."""

    category: Code
    kind: Code
    modifier: Code | None = None


ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
# What is said of a segment of which nothing more is known; Slicer's own default.
TISSUE = Code("85756007", "SCT", "Tissue")
UNSPECIFIED = Terms(TISSUE, TISSUE)
