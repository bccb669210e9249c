"""A course: the connected plans, doses, structure sets and images of one patient, as a folder of
facts.

`linking.py` makes courses out of an index; this module holds what a course is, reads and writes its
`course.json`, and opens a course folder for people (`open_course`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas

    from .model import Contours, Dose, Volume

SCHEMA = 1
COURSE_FILE = "course.json"
# Of a course folder: contours that a person changed.
EDITED_FOLDER = "edited"

REFERENCED, BY_FRAME, BY_STUDY, BY_USER = "referenced", "frame-of-reference", "study", "user"
PLANNING, SECONDARY = "planning", "secondary"


@dataclass(frozen=True)
class Flag:
    """Something a person should know: an id, a severity (info, warning, error), a sentence, and the
    UIDs that it concerns."""

    id: str
    severity: str
    message: str
    objects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Link:
    """One object refers to another; `how` is `referenced`, `frame-of-reference`, `study` or
    `user`."""

    source: str
    target: str
    how: str


@dataclass(frozen=True)
class ImageEntry:
    """One image series of a course; `files` are relative to the DICOM folder."""

    key: str
    modality: str
    series_uid: str
    study_uid: str
    frame_uid: str
    patient_id: str
    description: str
    study_date: str
    files: tuple[str, ...]
    role: str = SECONDARY
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class ObjectEntry:
    """One RT object of a course (`kind`: rtplan, rtdose, rtstruct, record, reg, seg); `summary`
    holds the parsed header as `dicom.headers` gives it."""

    kind: str
    sop_uid: str
    path: str
    patient_id: str
    study_uid: str
    frame_uid: str
    study_date: str
    summary: dict
    flags: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The label that its planning system gave it, or an empty string."""
        return str(self.summary.get("label") or "")


@dataclass(frozen=True)
class Member:
    """A course whose dose is part of a sum of courses.

    `decision` is what its stage `dose` decided (plain values), `normalisation` its user's Gy for
    RELATIVE doses; `problem` says why there is no dose to add.
    """

    course_id: str
    date: str = ""
    decision: dict = field(default_factory=dict)
    normalisation: dict = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Course:
    """One course and everything that belongs to it; what `course.json` holds.

    `sum_of` is empty but for courses that were added on request (`accumulate`): these hold the
    objects of all of their members, in order of treatment.
    """

    patient_id: str
    course_id: str
    dicom_root: str
    images: tuple[ImageEntry, ...] = ()
    objects: tuple[ObjectEntry, ...] = ()
    links: tuple[Link, ...] = ()
    flags: tuple[Flag, ...] = field(default=())
    sum_of: tuple[Member, ...] = ()

    # -- parts ------------------------------------------------------------------------------------

    def of_kind(self, kind: str) -> tuple[ObjectEntry, ...]:
        """All objects of one kind, in the order of the course."""
        return tuple(entry for entry in self.objects if entry.kind == kind)

    @property
    def planning_image(self) -> ImageEntry | None:
        """The image series that the contours were drawn on; None when there is no image."""
        return next((image for image in self.images if image.role == PLANNING), None)

    @property
    def uids(self) -> frozenset[str]:
        """What the course is recognised by when more objects arrive: all its UIDs."""
        return frozenset(entry.sop_uid for entry in self.objects) | frozenset(
            image.key for image in self.images
        )

    def object(self, uid: str) -> ObjectEntry | None:
        """The object with this SOP Instance UID."""
        return next((entry for entry in self.objects if entry.sop_uid == uid), None)

    def targets_of(self, uid: str, kind: str) -> list[tuple[ObjectEntry, str]]:
        """Objects of `kind` that `uid` links to, each with how the link was made."""
        found = []
        for link in self.links:
            if link.source == uid:
                entry = self.object(link.target)
                if entry is not None and entry.kind == kind:
                    found.append((entry, link.how))
        return found

    def path_of(self, entry: ObjectEntry) -> Path:
        """Where the object's file lies."""
        return Path(self.dicom_root) / entry.path

    def image_paths(self, image: ImageEntry) -> list[Path]:
        """Where the files of an image series lie."""
        return [Path(self.dicom_root) / name for name in image.files]

    # -- course.json ------------------------------------------------------------------------------

    def to_dict(self) -> dict:
        """Plain values for `course.json`."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_dict(cls, data: dict) -> Course:
        """The reverse of `to_dict`; raises KeyError or TypeError for what is no course."""
        return cls(
            patient_id=data["patient_id"],
            course_id=data["course_id"],
            dicom_root=data["dicom_root"],
            images=tuple(
                ImageEntry(**{**item, "files": tuple(item["files"]), "flags": tuple(item["flags"])})
                for item in data["images"]
            ),
            objects=tuple(
                ObjectEntry(**{**item, "flags": tuple(item["flags"])}) for item in data["objects"]
            ),
            links=tuple(Link(**item) for item in data["links"]),
            flags=tuple(
                Flag(**{**item, "objects": tuple(item["objects"])}) for item in data["flags"]
            ),
            sum_of=tuple(Member(**item) for item in data.get("sum_of") or ()),
        )


def find_course(out: Path, name: str) -> Path:
    """The folder of the course called `name` (PATIENT/COURSE, or one of both where it is clear).
    Raises `UsageError` with the nearest name."""
    from difflib import get_close_matches

    folders = {f"{f.parent.name}/{f.name}": f for f in course_folders(out)}
    found = [f for n, f in folders.items() if name in (n, f.name, f.parent.name)]
    if name in folders:
        return folders[name]
    if len(found) == 1:
        return found[0]
    near = get_close_matches(name, folders, 1, 0.3)
    names = [f"{f.parent.name}/{f.name}" for f in found[:10]] or near
    hint = f"; did you mean {' or '.join(names)}?" if names else ""
    kind = "several courses are" if found else "no course is"
    raise UsageError(f"--course: {kind} called {name!r} in {out}{hint}")


def read_course(folder: Path) -> Course:
    """The course whose facts lie in `folder`.

    Raises `DataError`, naming the file, when `course.json` is missing, damaged or of another
    schema.
    """
    path = folder / COURSE_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{folder} is not a course folder: it has no {COURSE_FILE}") from None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); delete it and run again to make it anew"
        ) from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise DataError(
            f"{path} has schema {schema}, this version reads {SCHEMA}; delete the file and run "
            "again, or use the version of RT Pipeline that wrote it"
        )
    try:
        return Course.from_dict(data)
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path} is incomplete ({error}); delete it and run again to make it anew"
        ) from error


def course_folders(out: Path) -> list[Path]:
    """Every course folder of an output folder, sorted; hidden and result folders are none."""
    return sorted(path.parent for path in out.glob(f"*/*/{COURSE_FILE}"))


def edited_files(folder: Path) -> list[Path]:
    """The structure sets of a course folder that a person edited, by name."""
    return sorted((folder / EDITED_FOLDER).glob("RS_*.dcm"))


@dataclass(frozen=True)
class OpenCourse:
    """A course folder opened for reading: its facts and, on request, its arrays and tables."""

    folder: Path
    course: Course

    @property
    def patient_id(self) -> str:
        """PatientID as the DICOM objects have it."""
        return self.course.patient_id

    @property
    def course_id(self) -> str:
        """The course's ID within the patient."""
        return self.course.course_id

    def image(self) -> Volume:
        """The planning image, read from its DICOM series. Raises `DataError` when there is none."""
        from .dicom.image import read_series

        image = self.course.planning_image
        if image is None:
            raise DataError(f"course {self.course_id} of {self.patient_id} has no image")
        return read_series(self.course.image_paths(image))

    def doses(self) -> tuple[Dose, ...]:
        """Every dose grid of the course as its planning system exported it."""
        from .dicom.dose import read_dose

        return tuple(read_dose(self.course.path_of(d)) for d in self.course.of_kind("rtdose"))

    def structures(self) -> tuple[Contours, ...]:
        """All ROIs of all structure sets of the course."""
        from .dicom.structures import read_structure_set

        sets = (read_structure_set(self.course.path_of(s)) for s in self.course.of_kind("rtstruct"))
        return tuple(roi for structure_set in sets for roi in structure_set.rois)

    def metrics(self) -> pandas.DataFrame:
        """The course's DVH metrics. Raises `DataError` when the stage `dvh` has not run."""
        import pandas

        path = self.folder / "dvh" / "metrics.parquet"
        if not path.exists():
            raise DataError(f"{path} does not exist; run the stage dvh of this course first")
        return pandas.read_parquet(path)


def open_course(folder: str | Path) -> OpenCourse:
    """Open `OUT/<patient>/<course>`. Raises `DataError` when it is no course folder."""
    folder = Path(folder)
    return OpenCourse(folder, read_course(folder))


def flag_ids(flags: Iterable[Flag]) -> str:
    """Flag ids in one cell of a table, sorted and without repetition."""
    return ";".join(sorted({flag.id for flag in flags}))
