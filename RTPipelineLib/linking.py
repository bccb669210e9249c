"""From single DICOM objects to courses: who refers to whom, and what belongs together.

The rules are those of the references themselves (RTDOSE -> RTPLAN -> RTSTRUCT -> images, PS3.3
C.8.8.3, C.8.8.1, C.8.8.5); where one is missing, the frame of reference and then the study stand in
for it, and the link says so. Nothing is linked by the words in a label.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from .course import (
    BY_FRAME,
    BY_STUDY,
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
from .dicom.index import DicomObject, ImageSeries

FRAME_OR_STUDY, FRAME, STUDY, PLAN = (
    "frame-of-reference-or-ct-study",
    "frame-of-reference",
    "ct-study",
    "plan",
)

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


def link_courses(
    inputs: Inputs,
    *,
    dicom_root: str,
    merge: str = FRAME_OR_STUDY,
    max_days_between_plans: int | None = None,
    corrections: Corrections | None = None,
) -> list[Course]:
    """All courses among the objects, without IDs (`course_id` is empty), in a stable order.

    `merge` and `max_days_between_plans` are the configuration keys of these names.
    """
    graph = _Graph(inputs, corrections or Corrections())
    groups = graph.merged(merge)
    if merge == PLAN:
        groups = [part for group in groups for part in graph.split(group, None)]
    elif max_days_between_plans is not None:
        groups = [part for group in groups for part in graph.split(group, max_days_between_plans)]
    courses = [graph.course(sorted(group), dicom_root) for group in groups]
    return sorted(courses, key=lambda c: (c.patient_id, course_date(c), sorted(c.uids)))


def course_date(course: Course) -> str:
    """The date a course is called by: of its first plan, else of its RT objects, else of its
    images."""
    plans = [str(p.summary.get("date") or "") for p in course.of_kind("rtplan")]
    objects = [str(o.summary.get("date") or o.study_date) for o in course.objects]
    images = [image.study_date for image in course.images]
    for dates in (plans, objects, images):
        known = sorted(d for d in dates if _as_date(d) is not None)
        if known:
            return known[0]
    return ""


class _Graph:
    """Objects and image series as nodes, references as edges."""

    def __init__(self, inputs: Inputs, corrections: Corrections) -> None:
        self.inputs = inputs
        self.corrections = corrections
        self.objects = {o.sop_uid: o for o in inputs.objects if o.kind in NAMES and o.sop_uid}
        self.series = {s.key: s for s in inputs.series}
        self.frames = {uid: _frame_of(o) for uid, o in self.objects.items()}
        self.frames |= {key: s.frame_uid for key, s in self.series.items()}
        self.links: dict[str, list[Link]] = defaultdict(list)
        self.flags: dict[str, list[Flag]] = defaultdict(list)
        self.by_frame = self._grouped(lambda uid: self.frames[uid])
        self.by_study = self._grouped(lambda uid: self._node(uid).study_uid)
        for uid in sorted(self.objects):
            self._link(self.objects[uid])
        for uid in sorted(self.objects):
            self._fall_back(self.objects[uid])

    # -- edges ------------------------------------------------------------------------------------

    def _node(self, uid: str) -> DicomObject | ImageSeries:
        return self.objects[uid] if uid in self.objects else self.series[uid]

    def _kind(self, uid: str) -> str:
        return self.objects[uid].kind if uid in self.objects else "image"

    def _grouped(self, value_of: Callable[[str], str]) -> dict[tuple[str, str], list[str]]:
        groups: dict[tuple[str, str], list[str]] = defaultdict(list)
        for uid in [*sorted(self.objects), *sorted(self.series)]:
            if self._kind(uid) != "reg" and value_of(uid):
                groups[self._node(uid).patient_id, value_of(uid)].append(uid)
        return groups

    def _link(self, item: DicomObject) -> None:
        """Links by UID, those of the user first; a reference to what is not here is flagged."""
        corrected = self.corrections.links.get(item.sop_uid, ())
        replaced = {self._kind(t) for t in corrected if t in self.objects or t in self.series}
        for target in corrected:
            if target in self.objects or target in self.series:
                self._add(item.sop_uid, target, BY_USER)
            else:
                self._flag(
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
                self._flag(
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
            if any(self._kind(link.target) == kind for link in self.links[item.sop_uid]):
                continue
            if item.kind == "rtdose" and kind == "rtplan" and item.summary.get("plan_uids"):
                continue  # it names its plan; another one is not a substitute
            if item.kind == "rtdose" and kind == "rtstruct" and self._has(item, "rtplan"):
                continue  # the plan leads to the structure set
            self._nearest(item, kind)

    def _has(self, item: DicomObject, kind: str) -> bool:
        return any(self._kind(link.target) == kind for link in self.links[item.sop_uid])

    def _nearest(self, item: DicomObject, kind: str) -> None:
        """Link to all objects of a kind in the same frame, else study. A plan must be the only one:
        which of several a dose belongs to cannot be guessed."""
        for how, groups, value in (
            (BY_FRAME, self.by_frame, self.frames[item.sop_uid]),
            (BY_STUDY, self.by_study, item.study_uid),
        ):
            found = [u for u in groups.get((item.patient_id, value), []) if self._kind(u) == kind]
            if not found:
                continue
            if kind == "rtplan" and len(found) > 1:
                self._flag(
                    item.sop_uid,
                    "ambiguous-link",
                    "warning",
                    f"{NAMES[item.kind]} {item.path} names no {NAMES[kind]} and {len(found)} share "
                    f"its {how}; say which one in overrides.yaml (links)",
                )
                return
            for target in found:
                self._add(item.sop_uid, target, how)
            self._flag(
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

    def _flag(self, uid: str, flag: str, severity: str, message: str) -> None:
        self.flags[uid].append(Flag(flag, severity, message, (uid,)))

    # -- what belongs together --------------------------------------------------------------------

    def merged(self, merge: str) -> list[set[str]]:
        """Connected groups of UIDs under the merge rule; registrations join the groups of their
        frames."""
        sets = _DisjointSets([u for u in [*self.objects, *self.series] if self._kind(u) != "reg"])
        for links in self.links.values():
            for link in links:
                if link.how != BY_STUDY or merge in (FRAME_OR_STUDY, STUDY):
                    sets.join(link.source, link.target)
        if merge != STUDY:
            for members in self.by_frame.values():
                sets.join(*members)
        if merge in (FRAME_OR_STUDY, STUDY):
            for members in self.by_study.values():
                sets.join(*(u for u in members if self._is_ct_or_rt(u)))
        groups = sets.groups()
        for uid, item in self.objects.items():
            if item.kind == "reg":
                self._join_registration(uid, item, groups)
        return groups

    def _is_ct_or_rt(self, uid: str) -> bool:
        return uid in self.objects or self.series[uid].modality == "CT"

    def _join_registration(self, uid: str, item: DicomObject, groups: list[set[str]]) -> None:
        frames = set(item.summary.get("frames") or ()) | {self.frames[uid]}
        frames.discard("")
        found = [g for g in groups if any(self.frames.get(u) in frames for u in g)]
        for group in found:
            group.add(uid)
        if not found:
            groups.append({uid})

    def split(self, group: set[str], max_days: int | None) -> list[set[str]]:
        """One group per plan (`max_days` None), or per run of plans at most `max_days` apart.
        Objects that several plans share (a structure set, its images) are in each of the groups."""
        plans = sorted(
            (u for u in group if self._kind(u) == "rtplan"),
            key=lambda u: (str(self.objects[u].summary.get("date") or ""), u),
        )
        runs: list[list[str]] = []
        for uid in plans:
            day = _as_date(str(self.objects[uid].summary.get("date") or ""))
            last = runs and _as_date(str(self.objects[runs[-1][-1]].summary.get("date") or ""))
            near = max_days is not None and day and last and (day - last).days <= max_days
            if runs and near:
                runs[-1].append(uid)
            else:
                runs.append([uid])
        if len(runs) < 2:
            return [group]
        parts = [self._reachable(run, group) for run in runs]
        rest = group - set().union(*parts)
        # What hangs on no plan (a dose without reference, a second image) stays in sight of all.
        return [part | rest for part in parts]

    def _reachable(self, plans: Iterable[str], group: set[str]) -> set[str]:
        found = set(plans)
        for uid in group:  # doses and records point at their plan
            if self._kind(uid) in ("rtdose", "record") and any(
                link.target in found for link in self.links[uid]
            ):
                found.add(uid)
        queue = sorted(found)
        while queue:
            for link in self.links[queue.pop()]:
                if self._kind(link.target) in ("rtstruct", "image") and link.target not in found:
                    found.add(link.target)
                    queue.append(link.target)
        return found & group

    # -- the course -------------------------------------------------------------------------------

    def course(self, uids: list[str], dicom_root: str) -> Course:
        """The group as a course, with its planning image chosen and its flags."""
        objects = tuple(_entry(self.objects[u]) for u in uids if u in self.objects)
        series = [self.series[u] for u in uids if u in self.series]
        inside = set(uids)
        links = tuple(link for u in uids for link in self.links.get(u, ()) if link.target in inside)
        flags = [flag for u in uids for flag in self.flags.get(u, ())]
        flags += [flag for u in uids for flag in _own_flags(self._node(u), u)]
        patient_id, mismatch = _patient_of([self._node(u) for u in uids])
        planning, reason = self._planning_image(series, links)
        images = tuple(self._image(s, s.key == planning) for s in series)
        flags += [flag for flag in (mismatch, reason) if flag is not None]
        return Course(patient_id, "", dicom_root, images, objects, links, tuple(flags))

    def _planning_image(
        self, series: list[ImageSeries], links: Sequence[Link]
    ) -> tuple[str, Flag | None]:
        """The series that a structure set references; else the one with the most slices,
        flagged."""
        if not series:
            return "", None
        chosen = [s.key for s in series if s.key in self.corrections.planning_images]
        if chosen:
            return chosen[0], None
        votes = Counter(
            link.target
            for link in links
            if link.target in self.series
            and link.how in (REFERENCED, BY_USER)
            and self._kind(link.source) == "rtstruct"
        )
        if votes:
            return min(votes, key=lambda key: (-votes[key], -self.series[key].n_files, key)), None
        # CT before others: contours and doses live on it.
        best = min(series, key=lambda s: (s.modality != "CT", -s.n_files, s.key))
        if len(series) == 1:
            return best.key, None
        others = ", ".join(
            f"{s.description or s.modality} ({s.n_files})" for s in series if s != best
        )
        message = (
            f"no structure set names its images; the series with the most slices "
            f"({best.description or best.modality}, {best.n_files} files) was taken as planning "
            f"image, not {others}; choose another one in overrides.yaml (planning_image)"
        )
        return best.key, Flag("planning-image-by-size", "warning", message, (best.key,))

    def _image(self, series: ImageSeries, planning: bool) -> ImageEntry:
        return ImageEntry(
            key=series.key,
            modality=series.modality,
            series_uid=series.series_uid,
            study_uid=series.study_uid,
            frame_uid=series.frame_uid,
            patient_id=series.patient_id,
            description=series.description,
            study_date=series.study_date,
            files=tuple(self.inputs.files_of(series.key)),
            role=PLANNING if planning else SECONDARY,
            flags=tuple(series.flags),
        )


class _DisjointSets:
    """Union-find over hashable items."""

    def __init__(self, items: Iterable[str]) -> None:
        self.parent = {item: item for item in items}

    def find(self, item: str) -> str:
        while self.parent[item] != item:
            self.parent[item] = self.parent[self.parent[item]]
            item = self.parent[item]
        return item

    def join(self, *items: str) -> None:
        known = [item for item in items if item in self.parent]
        for item in known[1:]:
            self.parent[self.find(item)] = self.find(known[0])

    def groups(self) -> list[set[str]]:
        groups: dict[str, set[str]] = defaultdict(set)
        for item in self.parent:
            groups[self.find(item)].add(item)
        return list(groups.values())


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


def _frame_of(item: DicomObject) -> str:
    """The object's frame of reference. A structure set may name it for its images or ROIs only."""
    if item.frame_uid or item.kind != "rtstruct":
        return item.frame_uid
    named = [frame.get("frame_uid") for frame in item.summary.get("frames") or ()]
    named += [roi.get("frame_uid") for roi in item.summary.get("rois") or ()]
    frames = {frame for frame in named if frame}
    return frames.pop() if len(frames) == 1 else ""


def _entry(item: DicomObject) -> ObjectEntry:
    return ObjectEntry(
        kind=item.kind,
        sop_uid=item.sop_uid,
        path=item.path,
        patient_id=item.patient_id,
        study_uid=item.study_uid,
        frame_uid=_frame_of(item),
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


def _as_date(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None
