"""What belongs together: the merge rule, and groups of plans taken apart again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date

from ..course import BY_STUDY
from ..dicom.index import DicomObject
from .graph import NAMES, Graph

FRAME_OR_STUDY, FRAME, STUDY, PLAN = (
    "frame-of-reference-or-ct-study",
    "frame-of-reference",
    "ct-study",
    "plan",
)


def merged(graph: Graph, merge: str) -> list[set[str]]:
    """Connected groups of UIDs under the merge rule; registrations join the groups of their
    frames."""
    sets = _DisjointSets([u for u in [*graph.objects, *graph.series] if graph.kind(u) != "reg"])
    for links in graph.links.values():
        for link in links:
            if link.how != BY_STUDY or merge in (FRAME_OR_STUDY, STUDY):
                sets.join(link.source, link.target)
    if merge != STUDY:
        for members in graph.by_frame.values():
            sets.join(*members)
    if merge in (FRAME_OR_STUDY, STUDY):
        for members in graph.by_study.values():
            sets.join(*(u for u in members if _is_ct_or_rt(graph, u)))
    groups = sets.groups()
    for uid, item in graph.objects.items():
        if item.kind == "reg":
            _join_registration(graph, uid, item, groups)
    return groups


def _is_ct_or_rt(graph: Graph, uid: str) -> bool:
    return uid in graph.objects or graph.series[uid].modality == "CT"


def _join_registration(graph: Graph, uid: str, item: DicomObject, groups: list[set[str]]) -> None:
    frames = set(item.summary.get("frames") or ()) | {graph.frames[uid]}
    frames.discard("")
    found = [g for g in groups if any(graph.frames.get(u) in frames for u in g)]
    for group in found:
        group.add(uid)
    if not found:
        groups.append({uid})


def split(graph: Graph, group: set[str], max_days: int | None) -> list[set[str]]:
    """One group per plan (`max_days` None), or per run of plans at most `max_days` apart.

    Objects that several plans share (a structure set, its images) are in each of the groups. A plan
    without any date stays with the plans of its structure set, else with the first, and is flagged.
    """
    days = {uid: _day(graph, uid) for uid in sorted(group) if graph.kind(uid) == "rtplan"}
    dated = sorted((day, uid) for uid, day in days.items() if day is not None)
    undated = [uid for uid, day in days.items() if day is None]
    runs: list[list[str]] = []
    if max_days is None:
        runs = [[uid] for uid in (*undated, *(uid for _, uid in dated))]
    else:
        for day, uid in dated:
            last = days[runs[-1][-1]] if runs else None
            if last is not None and (day - last).days <= max_days:
                runs[-1].append(uid)
            else:
                runs.append([uid])
        if len(runs) > 1:
            for uid in undated:
                _place_undated(graph, uid, runs)
    if len(runs) < 2:
        return [group]
    parts = [_reachable(graph, run, group) for run in runs]
    rest = group - set().union(*parts)
    # What hangs on no plan (a dose without reference, a second image) stays in sight of all.
    return [part | rest for part in parts]


def _day(graph: Graph, plan: str) -> date | None:
    """A plan's own date, else that of its study."""
    item = graph.objects[plan]
    return as_date(str(item.summary.get("date") or "")) or as_date(item.study_date)


def _place_undated(graph: Graph, plan: str, runs: list[list[str]]) -> None:
    own = _targets(graph, plan, "rtstruct")
    near = (r for r in runs if any(own & _targets(graph, uid, "rtstruct") for uid in r))
    home = next(near, runs[0])
    graph.flag(
        plan,
        "plan-undated",
        "warning",
        f"{NAMES['rtplan']} {graph.objects[plan].path} has no date; it was put with plan "
        f"{graph.objects[home[0]].path}, which max_days_between_plans could not check",
    )
    home.append(plan)


def _reachable(graph: Graph, plans: Iterable[str], group: set[str]) -> set[str]:
    found = set(plans)
    for uid in group:  # doses and records point at their plan
        if graph.kind(uid) in ("rtdose", "record") and found & _targets(graph, uid, "rtplan"):
            found.add(uid)
    for plan in plans:  # or the plan at its doses, where these name none
        doses = _targets(graph, plan, "rtdose")
        found |= {dose for dose in doses if not _targets(graph, dose, "rtplan")}
    queue = sorted(found)
    while queue:
        for link in graph.links[queue.pop()]:
            if graph.kind(link.target) in ("rtstruct", "image") and link.target not in found:
                found.add(link.target)
                queue.append(link.target)
    return found & group


def _targets(graph: Graph, uid: str, kind: str) -> set[str]:
    return {link.target for link in graph.links[uid] if graph.kind(link.target) == kind}


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


def as_date(text: str) -> date | None:
    """The day of a DICOM date; None for what is none."""
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None
