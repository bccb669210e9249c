"""Objects and image series as nodes, references as edges: who refers to whom, and how that is
known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..course import BY_FRAME, BY_STUDY, BY_USER, REFERENCED, Flag, Link
from ..dicom.index import DicomObject, ImageSeries

# What each kind of object points at, strongest first: (kind of target, key in the summary).
REFERENCES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "rtdose": (("rtplan", "plan_uids"), ("rtstruct", "structure_set_uids")),
    "rtplan": (("rtstruct", "structure_set_uids"), ("rtdose", "dose_uids")),
    "record": (("rtplan", "plan_uids"),),
    "seg": (("image", "series_uids"),),
}
NAMES = {
    "rtdose": "RTDOSE",
    "rtplan": "RTPLAN",
    "rtstruct": "RTSTRUCT",
    "record": "treatment record",
    "reg": "registration",
    "seg": "segmentation",
    "image": "image series",
}
# A verification plan is computed on a phantom; it must not pull the patient's course into its own.
UNRELATED = {"VERIFIED_PLAN"}


@dataclass(frozen=True)
class Corrections:
    """What a person decided about links: for an object's UID the UIDs that it belongs to (they
    replace its own references of that kind), and image series that are planning images."""

    links: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    planning_images: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Inputs:
    """What the index knows: objects, image series, and the files of a series (a query each)."""

    objects: Sequence[DicomObject]
    series: Sequence[ImageSeries]
    files_of: Callable[[str], list[str]]


class Graph:
    """Objects and image series as nodes, references as edges."""

    def __init__(self, inputs: Inputs, corrections: Corrections) -> None:
        self.inputs = inputs
        self.corrections = corrections
        self.objects = {o.sop_uid: o for o in inputs.objects if o.kind in NAMES and o.sop_uid}
        self.series = {s.key: s for s in inputs.series}
        self.frames = {uid: frame_of(o) for uid, o in self.objects.items()}
        self.frames |= {key: s.frame_uid for key, s in self.series.items()}
        self.links: dict[str, list[Link]] = defaultdict(list)
        self.flags: dict[str, list[Flag]] = defaultdict(list)
        self.by_frame = self._grouped(lambda uid: self.frames[uid])
        self.by_study = self._grouped(lambda uid: self.node(uid).study_uid)
        for uid in sorted(self.objects):
            self._link(self.objects[uid])
        for uid in sorted(self.objects):
            self._fall_back(self.objects[uid])

    # -- edges ------------------------------------------------------------------------------------

    def node(self, uid: str) -> DicomObject | ImageSeries:
        """The object or image series."""
        return self.objects[uid] if uid in self.objects else self.series[uid]

    def kind(self, uid: str) -> str:
        """`rtplan`, `rtdose` .. or `image`."""
        return self.objects[uid].kind if uid in self.objects else "image"

    def _grouped(self, value_of: Callable[[str], str]) -> dict[tuple[str, str], list[str]]:
        groups: dict[tuple[str, str], list[str]] = defaultdict(list)
        for uid in [*sorted(self.objects), *sorted(self.series)]:
            if self.kind(uid) != "reg" and value_of(uid):
                groups[self.node(uid).patient_id, value_of(uid)].append(uid)
        return groups

    def _link(self, item: DicomObject) -> None:
        """Links by UID, those of the user first; a reference to what is not here is flagged."""
        corrected = self.corrections.links.get(item.sop_uid, ())
        replaced = {self.kind(t) for t in corrected if t in self.objects or t in self.series}
        for target in corrected:
            if target in self.objects or target in self.series:
                self._add(item.sop_uid, target, BY_USER)
            else:
                self.flag(
                    item.sop_uid,
                    "broken-link",
                    "warning",
                    f"overrides.yaml links {NAMES[item.kind]} {item.path} to {target}, which is "
                    "not among the files",
                )
        for kind, uid in _references(item):
            if kind in replaced:
                continue
            if (self.objects if kind != "image" else self.series).get(uid) is not None:
                self._add(item.sop_uid, uid, REFERENCED)
            else:
                self.flag(
                    item.sop_uid,
                    "broken-link",
                    "warning",
                    f"{NAMES[item.kind]} {item.path} refers to an {NAMES[kind]} ({uid}) that is "
                    "not among the files",
                )
        for related in item.summary.get("related_plans") or ():
            if related["relationship"] not in UNRELATED and related["uid"] in self.objects:
                self._add(item.sop_uid, related["uid"], REFERENCED)

    def _fall_back(self, item: DicomObject) -> None:
        """Frame of reference, then study, for what no UID connects."""
        wanted = {"rtdose": ("rtplan", "rtstruct"), "rtplan": ("rtstruct",), "rtstruct": ("image",)}
        for kind in wanted.get(item.kind, ()):
            if any(self.kind(link.target) == kind for link in self.links[item.sop_uid]):
                continue
            if item.kind == "rtdose" and kind == "rtplan" and item.summary.get("plan_uids"):
                continue  # it names its plan; another one is not a substitute
            if item.kind == "rtdose" and kind == "rtstruct" and self._has(item, "rtplan"):
                continue  # the plan leads to the structure set
            self._nearest(item, kind)

    def _has(self, item: DicomObject, kind: str) -> bool:
        return any(self.kind(link.target) == kind for link in self.links[item.sop_uid])

    def _nearest(self, item: DicomObject, kind: str) -> None:
        """Link to all objects of a kind in the same frame, else study. A plan must be the only one:
        which of several a dose belongs to cannot be guessed."""
        for how, groups, value in (
            (BY_FRAME, self.by_frame, self.frames[item.sop_uid]),
            (BY_STUDY, self.by_study, item.study_uid),
        ):
            found = [u for u in groups.get((item.patient_id, value), []) if self.kind(u) == kind]
            if not found:
                continue
            if kind == "rtplan" and len(found) > 1:
                self.flag(
                    item.sop_uid,
                    "ambiguous-link",
                    "warning",
                    f"{NAMES[item.kind]} {item.path} names no {NAMES[kind]} and {len(found)} share "
                    f"its {how}; say which one in overrides.yaml (links)",
                )
                return
            for target in found:
                self._add(item.sop_uid, target, how)
            self.flag(
                item.sop_uid,
                "fallback-link",
                "warning",
                f"{NAMES[item.kind]} {item.path} was linked to its {NAMES[kind]} by the same {how} "
                "only",
            )
            return

    def _add(self, source: str, target: str, how: str) -> None:
        link = Link(source, target, how)
        if source != target and link not in self.links[source]:
            self.links[source].append(link)

    def flag(self, uid: str, flag: str, severity: str, message: str) -> None:
        """Note something about one node; it becomes a flag of its course."""
        self.flags[uid].append(Flag(flag, severity, message, (uid,)))


def _references(item: DicomObject) -> list[tuple[str, str]]:
    """(kind, UID) of everything that the object names, without repetition."""
    found = [
        (kind, uid)
        for kind, key in REFERENCES.get(item.kind, ())
        for uid in item.summary.get(key) or ()
    ]
    if item.kind == "rtstruct":
        for frame in item.summary.get("frames") or ():
            found += [("image", uid) for uid in frame.get("series_uids") or () if uid]
    return list(dict.fromkeys((kind, uid) for kind, uid in found if uid))


def frame_of(item: DicomObject) -> str:
    """The object's frame of reference. A structure set may name it for its images or ROIs only."""
    if item.frame_uid or item.kind != "rtstruct":
        return item.frame_uid
    named = [frame.get("frame_uid") for frame in item.summary.get("frames") or ()]
    named += [roi.get("frame_uid") for roi in item.summary.get("rois") or ()]
    frames = {frame for frame in named if frame}
    return frames.pop() if len(frames) == 1 else ""
