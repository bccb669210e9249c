"""The dose files of a course, brought into one frame of reference and added, also as EQD2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..config import Config
from ..course import Course, ObjectEntry
from ..dicom.dose import dose_grid, read_dose
from ..dicom.dose_stack import find_stacks, join_stack, stack_grid
from ..dicom.new_object import Reference
from ..dicom.registration import Registration, read_registration
from ..dose.accumulate import LazyDose, sum_doses
from ..dose.choices import Choices
from ..dose.eqd2 import Delivery, FractionCourse, sum_converted
from ..dose.parts import WeightedDose
from ..dose.registered import Mapping as FrameMapping
from ..dose.registered import contradictions, into_frame, joined_frames, route
from ..errors import ConfigError, DataError
from ..geometry import Grid
from ..model import Dose
from . import Problem, Task
from .facts import read_facts
from .register import OFFERS_FILE

NEVER = "none"
# Of a dose that was moved by a registration which was offered and a person accepted.
ACCEPTED = "registration-accepted"


@dataclass(frozen=True, eq=False)
class Registrations:
    """The registrations of a course that may join frames of reference, and what is wrong with the
    others."""

    objects: tuple[Registration, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def mappings(self) -> tuple[FrameMapping, ...]:
        """Those that no other contradicts."""
        every = [mapping for item in self.objects for mapping in item.mappings]
        unclear = contradictions(every)
        return tuple(m for m in every if {m.from_frame_uid, m.to_frame_uid} not in unclear)

    @property
    def joined_frames(self) -> tuple[frozenset[str], ...]:
        """The sets of frames that they join."""
        return joined_frames(self.mappings)

    def between(self, frames: Sequence[str], target: str) -> list[Registration]:
        """The ones on the way from each frame to the target."""
        steps = [s for f in frames if f != target for s in route(self.mappings, f, target).steps]
        pairs = [{step.from_frame_uid, step.to_frame_uid} for step in steps]
        return [
            item
            for item in self.objects
            if any({m.from_frame_uid, m.to_frame_uid} in pairs for m in item.mappings)
        ]


def read_registrations(
    course: Course,
    use: str,
    chosen: Sequence[str] = (),
    offers: Mapping[str, Path] | None = None,
) -> Registrations:
    """The registrations of a course under the configured rule `use`.

    `chosen` are those of several for the same frames of reference that count, and those of the
    `offers` (UID: file) that a person has accepted; other offers are never read. Raises
    `ConfigError` for a chosen one that the course does not have.
    """
    entries = course.of_kind("reg")
    files = {entry.sop_uid: course.path_of(entry) for entry in entries}
    accepted = {uid: path for uid, path in (offers or {}).items() if uid in chosen}
    for uid in chosen:
        if uid not in files and uid not in accepted:
            raise ConfigError(f"overrides, dose, registrations: the course has no {uid}")
    if use == NEVER:
        return Registrations()
    objects: list[Registration] = []
    problems: list[Problem] = []
    for uid, path in (files | accepted).items():
        try:
            found = read_registration(path)
        except DataError as error:
            problems.append(Problem("registration", "warning", str(error), str(path)))
            continue
        mark = (ACCEPTED,) if uid in accepted else ()
        objects.append(replace(found, flags=(*found.flags, *mark)))
    pairs = {_frames(m) for item in objects if item.sop_uid in chosen for m in item.mappings}
    objects = [
        item
        for item in objects
        if item.sop_uid in chosen or not pairs & {_frames(m) for m in item.mappings}
    ]
    for pair in contradictions([m for item in objects for m in item.mappings]):
        names = [
            item.sop_uid
            for item in objects
            if any({m.from_frame_uid, m.to_frame_uid} == pair for m in item.mappings)
        ]
        message = (
            f"the registrations {' and '.join(names)} join the frames of reference "
            f"{' and '.join(sorted(pair))} in different ways and are not used; name the one to use "
            "in overrides.yaml under dose, registrations"
        )
        problems.append(Problem("registration", "warning", message))
    return Registrations(tuple(objects), tuple(problems))


def _frames(mapping: FrameMapping) -> frozenset[str]:
    return frozenset({mapping.from_frame_uid, mapping.to_frame_uid})


@dataclass(frozen=True, eq=False)
class CourseDoses:
    """Reads and adds the doses of a course by their UIDs; a dose that was exported frame by frame
    goes by the UID of its lowest frame (`stacks`: that to all of them)."""

    course: Course
    config: Config
    choices: Choices
    registrations: Registrations
    stacks: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, task: Task) -> CourseDoses:
        """The doses of a task's course."""
        choices = Choices.from_mapping(task.overrides.dose)
        members = {uid: gy for m in task.course.sum_of for uid, gy in m.normalisation.items()}
        choices = replace(choices, normalisation={**members, **choices.normalisation})
        use = task.config.dose.registration
        offers = {
            str(offer["uid"]): task.folder / str(offer["file"])
            for offer in read_facts(task.folder, OFFERS_FILE).get("offers") or ()
        }
        registrations = read_registrations(task.course, use, choices.registrations, offers)
        frames = {d.sop_uid: (d.frame_uid, d.summary) for d in task.course.of_kind("rtdose")}
        return cls(task.course, task.config, choices, registrations, find_stacks(frames))

    def entry(self, uid: str) -> ObjectEntry:
        """The RTDOSE with this UID. Raises `DataError` when the course has none."""
        entry = self.course.object(uid)
        if entry is None:
            raise DataError(
                f"the dose {uid} is not among the files of course {self.course.course_id}"
            )
        return entry

    def read(self, uid: str) -> Dose:
        """One dose in Gy, normalised as the user says."""
        normalisation = self.choices.normalisation.get(uid)
        paths = [self.course.path_of(self.entry(member)) for member in self.members((uid,))]
        frames = [read_dose(path, normalisation_gy=normalisation) for path in paths]
        return join_stack(frames) if uid in self.stacks else frames[0]

    def grid_of(self, uid: str) -> Grid:
        """The grid of one dose, from its header."""
        entry = self.entry(uid)
        path = self.course.path_of(entry)
        if uid not in self.stacks:
            return dose_grid(entry.summary, path)
        return stack_grid([self.entry(member).summary for member in self.stacks[uid]], str(path))

    def members(self, uids: Sequence[str]) -> tuple[str, ...]:
        """The objects of these doses, all frames of a stack."""
        return tuple(member for uid in uids for member in self.stacks.get(uid, (uid,)))

    def frame_of(self, uids: Sequence[str]) -> str:
        """The frame of reference of a sum: the one that most of the doses have; among equals one
        that others were registered to. Of a sum of courses that of the last course."""
        frames = [self.entry(uid).frame_uid for uid in uids]
        if self.course.sum_of:
            return frames[-1]
        fixed = {registration.frame_uid for registration in self.registrations.objects}
        return max(frames, key=lambda frame: (frames.count(frame), frame in fixed))

    def total(self, parts: Sequence[WeightedDose]) -> Dose:
        """The weighted sum."""
        uids = [part.sop_uid for part in parts]
        limit = self.config.dose.max_grid_voxels
        lazy, grid, flags = into_frame(*self._where(uids), limit)
        total = sum_doses(lazy, [part.weight for part in parts], grid=grid)
        more = [flag for item in self.used(uids) for flag in item.flags]
        return replace(total, flags=tuple(dict.fromkeys([*total.flags, *flags, *more])))

    def eqd2(self, courses: Sequence[FractionCourse], alpha_beta_gy: float) -> Dose:
        """The sum in 2 Gy fractions. Raises `DoseRefused` for doses that cannot be converted."""
        uids = [uid for item in courses for uid in item.sop_uids]
        lazy, grid, _ = into_frame(*self._where(uids), self.config.dose.max_grid_voxels)
        by_uid = dict(zip(uids, lazy, strict=True))
        plans = {plan.sop_uid: plan for plan in self.course.of_kind("rtplan")}
        deliveries = [
            Delivery(
                tuple(by_uid[uid] for uid in item.sop_uids),
                item.fractions,
                item.weight,
                any(plans[uid].summary.get("ion") for uid in item.plan_uids if uid in plans),
                " ".join(str(self.entry(uid).summary.get("comment")) for uid in item.sop_uids),
            )
            for item in courses
        ]
        return sum_converted(deliveries, alpha_beta_gy, grid=grid)

    def used(self, uids: Sequence[str]) -> list[Registration]:
        """The registrations through which these doses are added."""
        frames = [self.entry(uid).frame_uid for uid in uids]
        return self.registrations.between(frames, self.frame_of(uids))

    def references(self, uids: Sequence[str]) -> tuple[Reference, ...]:
        """The same, as references."""
        return tuple(Reference(item.sop_class_uid, item.sop_uid) for item in self.used(uids))

    def _where(
        self, uids: Sequence[str]
    ) -> tuple[list[LazyDose], list[str], str, tuple[FrameMapping, ...]]:
        lazy = [LazyDose(self.grid_of(uid), partial(self.read, uid)) for uid in uids]
        frames = [self.entry(uid).frame_uid for uid in uids]
        return lazy, frames, self.frame_of(uids), self.registrations.mappings
