"""The frozen dataclasses that flow through the house.

Arrays are `[k, j, i]`, points are LPS millimetres as x, y, z. Nothing here reads a file or knows a
DICOM tag; `dicom/` makes these objects and `structures/`, `dose/`, `dvh/` calculate with them.
"""

from .dvh import DVH, UNKNOWN_SHARE, DvhCurve, DvhSettings
from .grids import Dose, Volume
from .prescription import Prescription, PrescriptionLevel
from .rois import (
    CLINICAL,
    CLOSED_TYPES,
    EDITED,
    Contours,
    ImagePlanes,
    Mask,
    Structure,
    is_target,
)

__all__ = [
    "CLINICAL",
    "CLOSED_TYPES",
    "DVH",
    "EDITED",
    "UNKNOWN_SHARE",
    "Contours",
    "Dose",
    "DvhCurve",
    "DvhSettings",
    "ImagePlanes",
    "Mask",
    "Prescription",
    "PrescriptionLevel",
    "Structure",
    "Volume",
    "is_target",
]
