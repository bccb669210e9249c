"""The slices of an image series, and which of them make one stack (PS3.3 C.7.6.2, C.7.6.16).

A series may hold more than one stack: phases of a 4D scan, repeated acquisitions, echoes, a
localizer. Slices first part by what no stack mixes (orientation, matrix, spacing, frame of
reference); where positions still repeat, by the acquisition attributes that leave the longest stack
without repeats.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np

from ..errors import DicomError, GeometryError
from .dataset import Header, read_dataset
from .headers import IMAGE, kind_of
from .pixels import read_frames

# Two slices closer than this lie at one position; the thinnest slices in use are 0.1 mm apart.
SAME_POSITION_MM = 0.01
_SAME_DIRECTION = 1e-3
_SAME_SPACING = 1e-3  # relative

# Functional groups that hold what is read here (enhanced CT, MR and PET).
_MACROS = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "FrameContentSequence",
    "CTImageFrameTypeSequence",
    "MRImageFrameTypeSequence",
    "PETFrameTypeSequence",
    "CTReconstructionSequence",
    "CardiacSynchronizationSequence",
    "MREchoSequence",
    "MRDiffusionSequence",
)
# What tells the stacks of one series apart, the most telling first.
_DISCRIMINATORS = (
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "NominalPercentageOfCardiacPhase",
    "TriggerTime",
    "FrameReferenceTime",
    "EchoNumbers",
    "EchoTime",
    "EffectiveEchoTime",
    "DiffusionBValue",
    "AcquisitionNumber",
    "FrameAcquisitionNumber",
    "ImageType",
    "FrameType",
    "ConvolutionKernel",
    "SeriesTime",
    "AcquisitionTime",
)


@dataclass(frozen=True, eq=False)
class Slice:
    """One plane of an image: a file, or one frame of an enhanced multi-frame file.

    `acquisition` holds the values of the attributes that may tell stacks apart. A slope, intercept
    or thickness that the file lacks is None.
    """

    path: Path
    frame: int
    sop_uid: str
    modality: str
    unit: str
    study_uid: str
    series_uid: str
    frame_uid: str
    rows: int
    columns: int
    is_localizer: bool
    position_mm: np.ndarray
    orientation: np.ndarray
    pixel_spacing_mm: np.ndarray
    thickness_mm: float | None
    slope: float | None
    intercept: float | None
    acquisition: tuple[str, ...]

    @property
    def normal(self) -> np.ndarray:
        """(3,) unit vector of row x column."""
        normal = np.cross(self.orientation[:3], self.orientation[3:])
        return normal / np.linalg.norm(normal)

    def may_join(self, other: Slice) -> bool:
        """True when nothing but their positions and acquisitions differs."""
        same = all(
            getattr(self, name) == getattr(other, name)
            for name in (
                "modality",
                "unit",
                "study_uid",
                "series_uid",
                "frame_uid",
                "rows",
                "columns",
            )
        )
        return (
            same
            and self.is_localizer == other.is_localizer
            and np.allclose(self.orientation, other.orientation, rtol=0, atol=_SAME_DIRECTION)
            and np.allclose(self.pixel_spacing_mm, other.pixel_spacing_mm, rtol=_SAME_SPACING)
        )


# -- reading --------------------------------------------------------------------------------------


def read_slices(path: str | Path) -> list[Slice]:
    """The slices of one image file, from its header.

    Raises `DicomError` (no CT, MR or PET image, or damaged) and `GeometryError` (no position).
    """
    header = Header(read_dataset(path, stop_before_pixels=True))
    sop_class, modality = header.text("SOPClassUID"), header.text("Modality")
    if kind_of(sop_class, modality) != IMAGE:
        raise DicomError(
            f"is no CT, MR or PET image (SOP Class {sop_class or 'missing'}, Modality "
            f"{modality or 'missing'})",
            path,
        )
    per_frame = header.items("PerFrameFunctionalGroupsSequence")
    frames = header.integer("NumberOfFrames") or 1
    if not per_frame and frames == 1:
        return [_slice(header, [header], 0, Path(path))]
    if len(per_frame) != frames:
        raise DicomError(
            f"has {frames} frames but {len(per_frame)} functional groups, so their positions are "
            "unknown; export single slices",
            path,
        )
    shared = _macros(header.item("SharedFunctionalGroupsSequence"))
    return [
        _slice(header, [*_macros(group), *shared, header], k, Path(path))
        for k, group in enumerate(per_frame)
    ]


def _macros(group: Header) -> list[Header]:
    return [item for keyword in _MACROS for item in group.items(keyword)[:1]]


def _slice(header: Header, holders: Sequence[Header], frame: int, path: Path) -> Slice:
    """One slice; each attribute is taken from the first of `holders` that has it."""

    def find(keyword: str) -> Header:
        return next((holder for holder in holders if holder.has(keyword)), header)

    def vector(keyword: str, count: int) -> np.ndarray:
        values = find(keyword).numbers(keyword)
        if len(values) != count:
            raise GeometryError(
                f"{path}: {keyword} has {len(values)} valid values, {count} are needed; leave the "
                "file out or export the series again"
            )
        return np.array(values)

    orientation = vector("ImageOrientationPatient", 6)
    if np.linalg.norm(np.cross(orientation[:3], orientation[3:])) < 0.5:
        raise GeometryError(f"{path}: ImageOrientationPatient has no direction; export again")
    spacing = vector("PixelSpacing", 2)
    if np.any(spacing <= 0):
        raise GeometryError(f"{path}: PixelSpacing is {spacing.tolist()} mm; export again")
    modality = header.text("Modality").upper()
    frame_type = find("FrameType").text("FrameType") or header.text("ImageType")
    return Slice(
        path=path,
        frame=frame,
        sop_uid=header.text("SOPInstanceUID"),
        modality=modality,
        unit=_unit(modality, find("RescaleType").text("RescaleType"), header.text("Units")),
        study_uid=header.text("StudyInstanceUID"),
        series_uid=header.text("SeriesInstanceUID"),
        frame_uid=header.text("FrameOfReferenceUID"),
        rows=header.integer("Rows") or 0,
        columns=header.integer("Columns") or 0,
        is_localizer="LOCALIZER" in frame_type.upper(),
        position_mm=vector("ImagePositionPatient", 3),
        orientation=orientation,
        pixel_spacing_mm=spacing,
        thickness_mm=find("SliceThickness").number("SliceThickness"),
        slope=find("RescaleSlope").number("RescaleSlope"),
        intercept=find("RescaleIntercept").number("RescaleIntercept"),
        acquisition=tuple(find(keyword).text(keyword) for keyword in _DISCRIMINATORS),
    )


def _unit(modality: str, rescale_type: str, units: str) -> str:
    """Unit of the rescaled values; `1` when they have none that is known."""
    if modality == "CT":  # C.8.2.1.1.2: HU unless Rescale Type says otherwise
        return "HU" if rescale_type.upper() in ("", "HU", "HU_MOD") else "1"
    return (units.upper() or "1") if modality == "PT" else "1"


# -- choosing -------------------------------------------------------------------------------------


def choose_stack(slices: Sequence[Slice]) -> tuple[list[Slice], list[str]]:
    """The longest stack, in ascending order along its normal, and flags.

    Flags: `several-stacks:<n>` (n stacks were found, the others are left out),
    `duplicate-slices:<n>` (n identical copies are left out). Of equally long stacks the first by
    acquisition is taken.

    Raises `DicomError` for one SOP Instance UID with different contents and `GeometryError` for
    different slices at one position that no attribute tells apart.
    """
    unique = _without_copies(slices)
    groups: list[list[Slice]] = []
    for item in unique:
        home = next((group for group in groups if group[0].may_join(item)), None)
        if home is None:
            groups.append([item])
        else:
            home.append(item)
    stacks = [stack for group in groups for stack in _split(group)]
    longest = max(len(stack) for stack in stacks)
    candidates = [stack for stack in stacks if len(stack) == longest]
    chosen = min(candidates, key=lambda stack: [_natural(text) for text in stack[0].acquisition])
    flags = []
    if len(stacks) > 1:
        flags.append(f"several-stacks:{len(stacks)}")
    copies = len(slices) - sum(len(stack) for stack in stacks)
    if copies:
        flags.append(f"duplicate-slices:{copies}")
    return _ascending(chosen), flags


def _natural(text: str) -> tuple[int, float, str]:
    try:
        return 0, float(text), ""
    except ValueError:
        return 1, 0.0, text


def _ascending(slices: Iterable[Slice]) -> list[Slice]:
    slices = list(slices)
    normal = slices[0].normal
    return sorted(slices, key=lambda item: float(item.position_mm @ normal))


def _repeats(slices: Sequence[Slice]) -> list[tuple[Slice, Slice]]:
    """Neighbouring slices that lie at one position."""
    ordered = _ascending(slices)
    normal = ordered[0].normal
    return [
        (a, b)
        for a, b in pairwise(ordered)
        if (b.position_mm - a.position_mm) @ normal < SAME_POSITION_MM
    ]


def _without_copies(slices: Sequence[Slice]) -> list[Slice]:
    """Each object once; the same file may lie in two places."""
    seen: dict[tuple[str, int], Slice] = {}
    kept = []
    for item in slices:
        first = seen.setdefault((item.sop_uid, item.frame), item)
        if first is item or not item.sop_uid:
            kept.append(item)
        elif not _same_content(first, item):
            raise DicomError(
                f"has the SOP Instance UID of {first.path} but other content; remove one of them",
                item.path,
            )
    return kept


def _same_content(a: Slice, b: Slice) -> bool:
    if not np.array_equal(a.position_mm, b.position_mm):
        return False
    if (a.slope, a.intercept, a.unit) != (b.slope, b.intercept, b.unit):
        return False
    first, second = (read_frames(read_dataset(s.path), s.path)[s.frame] for s in (a, b))
    return np.array_equal(first, second)


def _split(group: list[Slice]) -> list[list[Slice]]:
    """The stacks of slices that differ in position and acquisition only."""
    if not _repeats(group):
        return [group]
    best: list[list[Slice]] = []
    for size in (1, 2):
        for names in combinations(range(len(_DISCRIMINATORS)), size):
            parts = defaultdict(list)
            for item in group:
                parts[tuple(item.acquisition[name] for name in names)].append(item)
            stacks = list(parts.values())
            if len(stacks) > 1 and not any(_repeats(stack) for stack in stacks):
                best = max(best, stacks, key=lambda found: max(map(len, found), default=0))
        if best:
            return best
    return [_without_identical(group)]


def _without_identical(group: list[Slice]) -> list[Slice]:
    """One slice for each position, where all that lie at a position have the same pixels."""
    kept = group
    while repeats := _repeats(kept):
        for a, b in repeats:
            if not _same_content(a, b):
                raise GeometryError(
                    f"{a.path} and {b.path} lie at one position with different pixels, and no "
                    "attribute tells their stacks apart; remove one of them"
                )
        copies = {id(b) for _, b in repeats}
        kept = [item for item in kept if id(item) not in copies]
    return kept
