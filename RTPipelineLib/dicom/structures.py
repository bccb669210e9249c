"""RTSTRUCT to contours, exactly as they were drawn (PS3.3 C.8.8.5, C.8.8.6, C.8.8.8).

Coordinates are parsed as arrays from the stored text. What is wrong with one contour costs that
contour and leaves a flag on its ROI; indices in flags count the items of the ROI's Contour Sequence
from 0:

    contour-broken:i,j      not numbers, not whole points, or cut off; left out
    contour-nonfinite:i     NaN or infinite coordinates; left out
    contour-empty:i         no coordinates; left out
    contour-count:i         Number of Contour Points says otherwise; kept as stored
    contour-separator:i     doubled or trailing backslashes between whole points; read without them
    contour-type-assumed:i  no Contour Geometric Type; taken for CLOSED_PLANAR
    contours-unreadable     the Contour Sequence itself is damaged: contours are missing, here and
                            perhaps in later ROIs (so the set is flagged, too)
    roi-undeclared          has contours but no item in the Structure Set ROI Sequence; name ""
    duplicate-roi-number    several ROIs have this number; contours go to them in file order
    contours-split          its contours stand in several items; all are taken
    roi-number-missing      no ROI Number; contours without number are its own
    roi-frame-missing       no frame of reference of its own, and the set refers to none or several
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DicomError
from ..model import Contours
from .contour_items import (
    CONTOUR_DATA,
    OddItemsError,
    StoredContour,
    StoredRoi,
    contour_items,
    rgb,
)
from .dataset import Header, read_dataset
from .decimals import parse_decimals
from .headers import RTSTRUCT, kind_of, summarise
from .scan import Header as ScannedHeader
from .scan import scan_header

# An explicit VR with a two-byte length cannot hold more (PS3.5 7.1.2); writers that overflow it
# store the length modulo 65536.
_SHORT_VALUE_LIMIT = 0xFFFF


@dataclass(frozen=True, eq=False)
class StructureSet:
    """One RT Structure Set.

    `rois` are in the order of the Structure Set ROI Sequence. `frame_uid` is the frame of reference
    that the set refers to (the first, flagged `several-frames` when there are more), `series_uids`
    the image series that it was drawn on. `label` is empty when it contains the patient's name.
    """

    label: str
    sop_uid: str
    frame_uid: str
    study_uid: str
    series_uids: tuple[str, ...]
    patient_id: str
    rois: tuple[Contours, ...]
    flags: tuple[str, ...] = ()


@dataclass
class _Drawn:
    """What the ROI Contour Sequence holds of one ROI."""

    loops: list[np.ndarray]
    kinds: list[str]
    colour: tuple[int, int, int] | None
    flags: list[str]


def read_structure_set(path: str | Path) -> StructureSet:
    """Read an RT Structure Set, whatever its Modality says.

    Raises `DicomError` when the file is missing, truncated, damaged or no structure set.
    """
    header, items = _read(path)
    _check_kind(header, path)
    summary = summarise(header.ds, RTSTRUCT)
    header.flags = list(summary["flags"])
    frames = [frame["frame_uid"] for frame in summary["frames"] if frame["frame_uid"]]
    if not frames and header.text("FrameOfReferenceUID"):
        frames = [header.text("FrameOfReferenceUID")]
    frames = list(dict.fromkeys(frames))
    if len(frames) > 1:
        header.flag("several-frames")
    if items is None:
        items = [_stored_roi(item) for item in header.items("ROIContourSequence")]
    if "bad-value:ROIContourSequence" in header.flags:
        raise DicomError("the contours are damaged; export the structure set again", path)
    sop_uid = header.text("SOPInstanceUID")
    fallback_frame = frames[0] if len(frames) == 1 else ""
    rois = _rois(summary["rois"], items, fallback_frame, sop_uid)
    for flag in ("duplicate-roi-number", "contours-unreadable"):
        if any(flag in roi.flags for roi in rois):
            header.flag(flag)
    series = [uid for frame in summary["frames"] for uid in frame["series_uids"]]
    return StructureSet(
        label=summary["label"],
        sop_uid=sop_uid,
        frame_uid=frames[0] if frames else "",
        study_uid=header.text("StudyInstanceUID"),
        series_uids=tuple(dict.fromkeys(series)),
        patient_id=header.text("PatientID"),
        rois=rois,
        flags=tuple(header.flags),
    )


def _read(path: str | Path) -> tuple[Header, list[StoredRoi] | None]:
    """The header and, where they are encoded plainly, the contours; None leaves these to the
    header's own sequence."""
    found = _contour_span(path)
    if found is not None:
        begin, end = found
        content = Path(path).read_bytes()
        try:
            rest = read_dataset(path, content=content[:begin] + content[end:])
            explicit = not rest.original_encoding[0]
            return Header(rest), contour_items(content[begin:end], explicit)
        except (OddItemsError, DicomError):
            pass  # the general parser reads it, or says what is wrong
    return Header(read_dataset(path, stop_before_pixels=True)), None


def _contour_span(path: str | Path) -> tuple[int, int] | None:
    """Where the ROI Contour Sequence lies in the file, if the plain scan finds it."""
    try:
        scanned = scan_header(path)
    except OSError:
        return None
    return scanned.contours if isinstance(scanned, ScannedHeader) else None


def _check_kind(header: Header, path: str | Path) -> None:
    sop_class, modality = header.text("SOPClassUID"), header.text("Modality")
    has_rois = header.has("StructureSetROISequence") or header.has("ROIContourSequence")
    if kind_of(sop_class, modality) != RTSTRUCT and not has_rois:
        raise DicomError(
            f"is no RT Structure Set (SOP Class {sop_class or 'missing'}, "
            f"Modality {modality or 'missing'}); give the RTSTRUCT file of the plan",
            path,
        )


# -- ROIs -----------------------------------------------------------------------------------------


def _rois(
    declared: Sequence[dict], items: Sequence[StoredRoi], frame_uid: str, sop_uid: str
) -> tuple[Contours, ...]:
    """All declared ROIs with their contours, then those that only the contours know."""
    times_declared = Counter(roi["number"] for roi in declared)
    drawn: dict[int | None, list[StoredRoi]] = defaultdict(list)
    for item in items:
        drawn[item.number].append(item)
    undeclared = [
        {"number": number, "name": "", "frame_uid": ""}
        for number in drawn
        if number not in times_declared
    ]
    rois = []
    left = Counter(times_declared)
    for roi in [*declared, *undeclared]:
        number = roi["number"]
        left[number] -= 1
        shared = left[number] > 0  # a later ROI of the same number takes the items after the first
        own = drawn[number][:1] if shared else drawn[number]
        drawn[number] = drawn[number][1:] if shared else []
        contours = _read_contours(own)
        for flag, raised in (
            ("duplicate-roi-number", times_declared[number] > 1),
            ("roi-undeclared", number not in times_declared),
            ("contours-split", len(own) > 1),
            ("roi-number-missing", number is None),
            ("roi-frame-missing", not (roi["frame_uid"] or frame_uid)),
        ):
            if raised:
                contours.flags.append(flag)
        rois.append(
            Contours(
                name=roi["name"],
                points_mm=np.concatenate([np.empty((0, 3)), *contours.loops]),
                starts=np.cumsum([0, *(len(loop) for loop in contours.loops)]),
                kinds=tuple(contours.kinds),
                number=number or 0,
                frame_uid=roi["frame_uid"] or frame_uid,
                colour_rgb=contours.colour,
                interpreted_type=roi.get("interpreted_type", ""),
                generation_algorithm=roi.get("generation_algorithm", ""),
                structure_set_uid=sop_uid,
                flags=tuple(contours.flags),
            )
        )
    return tuple(rois)


def _stored_roi(item: Header) -> StoredRoi:
    """The same from an item that the general parser read."""
    own = Header(item.ds)
    contours = [
        StoredContour(
            contour.text("ContourGeometricType").upper(),
            contour.integer("NumberOfContourPoints"),
            _text_of(contour),
            _vr_of(contour),
        )
        for contour in own.items("ContourSequence")
    ]
    colour = rgb(own.numbers("ROIDisplayColor"))
    number = own.integer("ReferencedROINumber")
    if "bad-value:ContourSequence" in own.flags:
        own.flags[:] = ["contours-unreadable"]
    return StoredRoi(number, colour, contours, own.flags)


def _read_contours(items: Sequence[StoredRoi]) -> _Drawn:
    """Loops, kinds and colour of one ROI from its items (regularly one) in the contour sequence."""
    colour = next((item.colour_rgb for item in items if item.colour_rgb is not None), None)
    contours = [contour for item in items for contour in item.contours]
    own_flags = list(dict.fromkeys(flag for item in items for flag in item.flags))
    trouble: dict[str, list[int]] = defaultdict(list)
    loops = _parse_loops([contour.text for contour in contours], trouble)
    kept, kinds = [], []
    for index, (contour, loop) in enumerate(zip(contours, loops, strict=True)):
        if _overflowed(contour, loop):
            trouble["contours-unreadable"].append(index)
            if loop is not None:
                trouble["contour-broken"].append(index)
            continue
        if loop is None:
            continue
        if contour.count not in (None, len(loop)):
            trouble["contour-count"].append(index)
        if not contour.kind:
            trouble["contour-type-assumed"].append(index)
        kept.append(loop)
        kinds.append(contour.kind or "CLOSED_PLANAR")
    if trouble.pop("contours-unreadable", None):
        own_flags = ["contours-unreadable"]
    flags = [f"{name}:{','.join(map(str, indices))}" for name, indices in trouble.items()]
    return _Drawn(kept, kinds, colour, [*own_flags, *flags])


# -- coordinates ----------------------------------------------------------------------------------


def _text_of(contour: Header) -> bytes | None:
    """Contour Data as stored, without padding; None when its bytes are cut off."""
    value = contour.raw("ContourData")
    if value is None:
        return b""
    if not isinstance(value, bytes):  # a dataset made in memory
        return contour.text("ContourData").encode("ascii", "replace")
    length = contour.ds.get_item(CONTOUR_DATA).length
    return None if length != 0xFFFFFFFF and length > len(value) else value.rstrip(b" \0")


def _parse_loops(
    texts: Sequence[bytes | None], trouble: dict[str, list[int]]
) -> list[np.ndarray | None]:
    """One (n, 3) array per text, None for what is no loop.

    The text of all contours is parsed at once; when that fails, one after another to find which.
    """
    good = [text for text in texts if text]
    counts = [text.count(b"\\") + 1 for text in good]
    try:
        numbers = parse_decimals(b"\\".join(good)) if good else np.empty(0)
        whole = all(count % 3 == 0 for count in counts) and len(good) == len(texts)
        if whole and np.isfinite(numbers).all():
            points = numbers.reshape(-1, 3)
            ends = np.cumsum(counts) // 3
            return list(np.split(points, ends[:-1])) if good else []
    except ValueError:
        pass  # which contour it is stands in the flags that the next line makes
    return [_parse_loop(text, index, trouble) for index, text in enumerate(texts)]


def _parse_loop(text: bytes | None, index: int, trouble: dict[str, list[int]]) -> np.ndarray | None:
    if text is None:
        trouble["contour-broken"].append(index)
        return None
    parts = text.split(b"\\")
    values = [part for part in parts if part.strip(b" \0")]
    if not values:
        trouble["contour-empty"].append(index)
        return None
    try:
        numbers = parse_decimals(b"\\".join(value.strip(b" \0") for value in values))
    except ValueError:
        trouble["contour-broken"].append(index)
        return None
    if numbers.size % 3:
        trouble["contour-broken"].append(index)
        return None
    if len(values) < len(parts):
        trouble["contour-separator"].append(index)
    if not np.isfinite(numbers).all():
        trouble["contour-nonfinite"].append(index)
        return None
    return numbers.reshape(-1, 3)


def _vr_of(contour: Header) -> str:
    """The VR that the coordinates were stored with; "" in implicit VR."""
    if not contour.has("ContourData"):
        return ""
    return str(contour.ds.get_item(CONTOUR_DATA).VR or "")


def _overflowed(contour: StoredContour, loop: np.ndarray | None) -> bool:
    """True for a DS beyond 64 kB whose length was stored modulo 65536.

    The rest of its text was taken for elements, and what follows it may be gone.
    """
    if not contour.text or contour.count is None or contour.vr != "DS":
        return False
    stored = contour.text.count(b"\\") + 1 if loop is None else 3 * len(loop)
    if contour.count * 3 <= stored:
        return False
    return contour.count * 3 * len(contour.text) / stored > _SHORT_VALUE_LIMIT
