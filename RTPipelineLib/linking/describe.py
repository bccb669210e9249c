"""A group of linked objects as a course: its planning image, its patient and its flags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..course import (
    BY_USER,
    PLANNING,
    REFERENCED,
    SECONDARY,
    Course,
    Flag,
    ImageEntry,
    Link,
    ObjectEntry,
)
from ..dicom.index import DicomObject, ImageSeries
from .graph import Graph, frame_of


def course_of(graph: Graph, uids: list[str], dicom_root: str) -> Course:
    """The group as a course, with its planning image chosen and its flags."""
    objects = tuple(_entry(graph.objects[u]) for u in uids if u in graph.objects)
    series = [graph.series[u] for u in uids if u in graph.series]
    inside = set(uids)
    links = tuple(link for u in uids for link in graph.links.get(u, ()) if link.target in inside)
    flags = [flag for u in uids for flag in graph.flags.get(u, ())]
    flags += [flag for u in uids for flag in _own_flags(graph.node(u), u)]
    patient_id, mismatch = _patient_of([graph.node(u) for u in uids])
    planning, reason = _planning_image(graph, series, links)
    images = tuple(_image(graph, s, s.key == planning) for s in series)
    flags += [flag for flag in (mismatch, reason) if flag is not None]
    return Course(patient_id, "", dicom_root, images, objects, links, tuple(flags))


def _planning_image(
    graph: Graph, series: list[ImageSeries], links: Sequence[Link]
) -> tuple[str, Flag | None]:
    """The series that a structure set references; else the one with the most slices,
    flagged."""
    if not series:
        return "", None
    chosen = [s.key for s in series if s.key in graph.corrections.planning_images]
    if chosen:
        return chosen[0], None
    votes = Counter(
        link.target
        for link in links
        if link.target in graph.series
        and link.how in (REFERENCED, BY_USER)
        and graph.kind(link.source) == "rtstruct"
    )
    if votes:
        return min(votes, key=lambda key: (-votes[key], -graph.series[key].n_files, key)), None
    # CT before others: contours and doses live on it.
    best = min(series, key=lambda s: (s.modality != "CT", -s.n_files, s.key))
    if len(series) == 1:
        return best.key, None
    others = ", ".join(f"{s.description or s.modality} ({s.n_files})" for s in series if s != best)
    message = (
        f"no structure set names its images; the series with the most slices "
        f"({best.description or best.modality}, {best.n_files} files) was taken as planning "
        f"image, not {others}; choose another one in overrides.yaml (planning_image)"
    )
    return best.key, Flag("planning-image-by-size", "warning", message, (best.key,))


def _image(graph: Graph, series: ImageSeries, planning: bool) -> ImageEntry:
    return ImageEntry(
        key=series.key,
        modality=series.modality,
        series_uid=series.series_uid,
        study_uid=series.study_uid,
        frame_uid=series.frame_uid,
        patient_id=series.patient_id,
        description=series.description,
        study_date=series.study_date,
        files=tuple(graph.inputs.files_of(series.key)),
        role=PLANNING if planning else SECONDARY,
        flags=tuple(series.flags),
    )


def _entry(item: DicomObject) -> ObjectEntry:
    return ObjectEntry(
        kind=item.kind,
        sop_uid=item.sop_uid,
        path=item.path,
        patient_id=item.patient_id,
        study_uid=item.study_uid,
        frame_uid=frame_of(item),
        study_date=item.study_date,
        summary=item.summary,
        flags=tuple(item.flags),
    )


def _own_flags(node: DicomObject | ImageSeries, uid: str) -> list[Flag]:
    """Flags that the index gave to the object itself, as flags of the course."""
    ids = [*node.flags, *(getattr(node, "summary", {}).get("flags") or ())]
    where = node.path if isinstance(node, DicomObject) else node.description or node.modality
    return [
        Flag(flag, "warning", f"{where}: {flag.replace('-', ' ')}", (uid,))
        for flag in dict.fromkeys(ids)
    ]


def _patient_of(nodes: Sequence[DicomObject | ImageSeries]) -> tuple[str, Flag | None]:
    """PatientID of a course: that of most of its objects, structure sets and images deciding a
    tie."""
    votes: Counter[str] = Counter()
    for node in nodes:
        kind = node.kind if isinstance(node, DicomObject) else "image"
        votes[node.patient_id] += {"rtstruct": 1002, "image": 1001}.get(kind, 1000)
    chosen = min(votes, key=lambda patient: (-votes[patient], patient))
    if len(votes) == 1:
        return chosen, None
    others = ", ".join(repr(patient) for patient in sorted(votes) if patient != chosen)
    message = (
        f"objects that refer to each other have different PatientIDs: {chosen!r} and {others}; "
        f"the course stands under {chosen!r}"
    )
    return chosen, Flag("patient-id-mismatch", "warning", message)
