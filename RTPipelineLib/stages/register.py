"""Stage `register`: rigid registrations of planning CTs, offered where nothing joins the frames of
reference of a course's doses (`dose.registration: offer`).

`registration/offer_<n>.dcm` are Spatial Registrations, `registration/offers.json` says how far each
can be trusted. None is used before a person accepts it: its UID under dose, registrations in
`overrides.yaml`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..course import PLANNING, Course, ImageEntry
from ..dicom.dataset import read_dataset
from ..dicom.image import read_series
from ..dicom.new_object import write_dataset
from ..dicom.write_registration import registration_dataset
from ..dose.offer import rigid_offer
from ..errors import DataError
from ..platform import write_json
from . import DONE, FAILED, SKIPPED, Outcome, Problem, Stage, Task

OFFER = "offer"
OFFERS_FILE = "registration/offers.json"


@dataclass(frozen=True)
class _Pair:
    """Two frames of reference that nothing joins, and the CT to register in each."""

    registered_frame: str
    source_frame: str
    fixed: ImageEntry | None
    moving: ImageEntry | None


def _inputs(course: Course) -> Sequence[Path]:
    images = {i.key: i for pair in _pairs(course) for i in (pair.fixed, pair.moving) if i}
    return [path for image in images.values() for path in course.image_paths(image)]


def _run(task: Task) -> Outcome:
    if task.config.dose.registration != OFFER:
        return Outcome(SKIPPED, "registrations are offered on request (dose.registration: offer)")
    pairs = _pairs(task.course)
    if not pairs:
        return Outcome(SKIPPED, "one frame of reference, or registrations join them all")
    offers: list[dict[str, object]] = []
    problems: list[Problem] = []
    for number, pair in enumerate(pairs, start=1):
        task.progress(number - 1, len(pairs), "registration")
        try:
            offer = _offer(task, pair, number)
        except DataError as error:
            path = getattr(error, "path", None) or ""
            problems.append(Problem("registration", "error", str(error), path))
            continue
        offers.append(offer)
        message = (
            f"registration {offer['uid']} is offered for the frames of reference "
            f"{pair.source_frame} and {pair.registered_frame}: correlation "
            f"{offer['correlation']:.3f}, {100 * float(offer['overlap']):.0f} % overlap, "
            f"{offer['inverse_mm']:.1f} mm off when made the other way round. Look at it, and "
            "accept it by its UID under dose, registrations in overrides.yaml"
        )
        problems.append(Problem("registration-unapproved", "warning", message, str(offer["file"])))
    write_json(task.output / "offers.json", {"offers": offers})
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors and not offers:
        return Outcome(FAILED, errors[0].message, tuple(problems))
    return Outcome(DONE, "", tuple(problems))


def _offer(task: Task, pair: _Pair, number: int) -> dict[str, object]:
    """Make one registration and write it; returns its facts."""
    if pair.fixed is None or pair.moving is None:
        frame = pair.registered_frame if pair.fixed is None else pair.source_frame
        raise DataError(
            f"no registration can be offered: there is no CT in the frame of reference {frame}; "
            "export it, or a registration"
        )
    paths = [task.course.image_paths(image) for image in (pair.fixed, pair.moving)]
    found = rigid_offer(*(read_series(files) for files in paths))
    text = f"RT Pipeline offer, correlation {found.correlation:.3f}, {found.inverse_mm:.1f} mm"
    header = read_dataset(paths[0][0], stop_before_pixels=True)
    ds = registration_dataset(
        found.matrix, pair.source_frame, pair.registered_frame, patient_from=header, text=text
    )
    name = f"offer_{number}.dcm"
    write_dataset(task.output / name, ds)
    return {
        "uid": str(ds.SOPInstanceUID),
        "file": f"registration/{name}",
        "frames": [pair.source_frame, pair.registered_frame],
        "series": [pair.moving.series_uid, pair.fixed.series_uid],
        "correlation": found.correlation,
        "overlap": found.overlap,
        "inverse_mm": found.inverse_mm,
    }


def _pairs(course: Course) -> list[_Pair]:
    """Every frame of the course's doses that nothing joins to the frame of its planning image (of
    its last dose, where that has none)."""
    frames = list(dict.fromkeys(d.frame_uid for d in course.of_kind("rtdose") if d.frame_uid))
    if len(frames) < 2:
        return []
    planning = course.planning_image
    fixed = planning.frame_uid if planning and planning.frame_uid in frames else frames[-1]
    joined = {fixed}
    links = [{*(r.summary.get("frames") or ()), r.frame_uid} for r in course.of_kind("reg")]
    while new := [link for link in links if link & joined and not link <= joined]:
        joined = joined.union(*new)
    return [
        _Pair(fixed, frame, _image_of(course, fixed), _image_of(course, frame))
        for frame in frames
        if frame not in joined
    ]


def _image_of(course: Course, frame: str) -> ImageEntry | None:
    """The planning CT of a frame of reference, else its largest CT."""
    images = [i for i in course.images if i.frame_uid == frame and i.modality == "CT"]
    return max(images, key=lambda i: (i.role == PLANNING, len(i.files), i.key), default=None)


STAGE = Stage(
    name="register",
    folder="registration",
    run=_run,
    inputs=_inputs,
    parts=("objects",),  # of the images only those that are registered count: the inputs
    sections=("dose.registration",),
)
