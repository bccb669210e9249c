"""The index of a folder of DICOM: every file's header, read once, in one SQLite file.

    with Index("index.sqlite") as index:
        report = index.update("/data/export")
        for dose in index.objects("rtdose"):
            ...

A file is known by its path below the folder, size and modification time: what is unchanged is not
opened again, what has gone leaves the index. Rows are committed in batches, so a killed run leaves
a valid index that the next run completes. Patient names and birth dates are never stored.
"""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

from ..errors import DataError, UsageError
from ..platform import available_cores
from .content import value_digest
from .index_db import Database, file_name, stored_name
from .index_read import read_all
from .index_rows import IMAGE, Entry, FileRow, ObjectRow
from .index_table import describe
from .index_walk import walk_folder
from .scan import content_digest

__all__ = ["DicomObject", "ImageSeries", "Index", "IndexReport", "UnreadableFile", "describe"]

log = logging.getLogger(__name__)

COMMIT_EVERY_S = 1.0  # what a killed run may have to read again
OF_VALUES = "values:"  # marks the digests of files whose bytes differ from a namesake's

_OBJECT = ", ".join(ObjectRow._fields[: ObjectRow._fields.index("series_key")])
# Files of one SOP Instance UID are one object; a file without the UID is an object of its own.
_INSTANCE = "CASE sop_uid WHEN '' THEN path ELSE sop_uid END"
# Bare columns beside min() are those of the row that has the minimum (SQLite documents it).
_SERIES = f"""
WITH instances AS (
    SELECT min(path) AS first, count(*) AS files, objects.* FROM objects JOIN files ON file = id
    WHERE kind = '{IMAGE}' GROUP BY series_key, {_INSTANCE}
)
SELECT min(first), count(DISTINCT patient_id), sum(files) - count(*),
    count(DISTINCT nullif(position, '')), group_concat(DISTINCT flags),
    series_key, patient_id, study_uid, series_uid, frame_uid, modality, sop_class_uid,
    series_description, study_date, count(*), series_number, rows, columns, sum(frames)
FROM instances GROUP BY series_key
ORDER BY patient_id, study_date, study_uid, CAST(series_number AS INTEGER), series_key
"""


@dataclass(frozen=True)
class DicomObject:
    """One readable DICOM file; `path` is relative to the indexed folder, with `/`.

    `kind` is image, rtstruct, rtplan, rtdose, record, reg, seg or other: by SOP Class UID, where
    that says nothing by Modality. `summary` is that of `headers.summarise`, `{}` for images.
    """

    path: str
    kind: str
    sop_class_uid: str
    modality: str
    patient_id: str
    study_uid: str
    series_uid: str
    sop_uid: str
    frame_uid: str
    study_date: str = ""
    series_date: str = ""
    series_time: str = ""
    series_number: str = ""
    series_description: str = ""
    summary: dict[str, object] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageSeries:
    """Images that share a Series Instance UID, or `missing-uid:..` where they came without one.

    `n_files` counts each SOP instance once; `n_frames` is the number of slices in them.
    """

    key: str
    patient_id: str
    study_uid: str
    series_uid: str
    frame_uid: str
    modality: str
    sop_class_uid: str
    description: str
    study_date: str
    n_files: int
    series_number: str = ""
    rows: int = 0
    columns: int = 0
    n_frames: int = 0
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class UnreadableFile:
    """A file or folder that gave no object. `damaged` means a broken DICOM file or one that may be:
    an error. Otherwise it is simply no DICOM."""

    path: str
    reason: str
    damaged: bool


@dataclass(frozen=True)
class IndexReport:
    """What an update did: `files` seen, of them `new` (read now, because new or changed) and
    `unchanged`; `removed` rows of files that have gone; `unreadable` rows in the index. `messages`
    are sentences for the user."""

    files: int
    new: int
    unchanged: int
    removed: int
    unreadable: int
    seconds: float
    messages: tuple[str, ...] = ()


class Index:
    """One index file, made when it does not exist; a context manager.

    Raises UsageError when `db_path` is a file of another kind, OutputError when it cannot be
    written or another run holds it.
    """

    def __init__(self, db_path: str | Path) -> None:
        self._path = Path(db_path)
        self._messages: list[str] = []
        self._db = Database(self._path, self._say)

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; everything is committed already."""
        self._db.close()

    @property
    def root(self) -> Path:
        """The folder that was indexed last. Raises UsageError before the first update."""
        for (path,) in self._db.query("SELECT path FROM root"):
            return Path(file_name(path))
        raise UsageError(f"{self._path} holds no folder yet; index one first")

    def update(
        self,
        root: str | Path,
        *,
        jobs: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> IndexReport:
        """Makes the index that of the folder `root` as it is now.

        `jobs` processes read headers where that pays (default: all cores); `progress` is told how
        many files of how many are done. Raises UsageError when `root` is not a readable folder.
        """
        began = time.perf_counter()
        root = Path(root)
        if not root.is_dir():
            raise UsageError(f"{root} is not a folder; give the folder that holds the DICOM files")
        root = root.resolve()
        try:
            walk = walk_folder(root, self._path)
        except OSError as error:
            raise UsageError(
                f"{root} cannot be read ({error.strerror}); give access to it"
            ) from error
        for folder in walk.outputs:
            self._say(f"{folder} is an output folder of RT Pipeline and was not indexed")

        known = self._known(root)
        unchanged = 0
        todo: list[Entry] = []
        stale: dict[str, int] = {}
        for entry in walk.files:
            row = known.pop(entry[0], None)
            if row is not None and row[:3] == entry:
                unchanged += 1
                continue
            todo.append(entry)
            if row is not None:
                stale[entry[0]] = row[3]
        for failed in walk.unreadable:
            if row := known.pop(failed.entry[0], None):
                stale[failed.entry[0]] = row[3]
        if known or walk.unreadable:
            gone = [row[3] for row in known.values()]
            gone += [stale[row.entry[0]] for row in walk.unreadable if row.entry[0] in stale]
            self._db.store(gone, walk.unreadable)
        for rows in self._batches(str(root), todo, unchanged, jobs or available_cores(), progress):
            names = (row.entry[0] for row in rows)
            self._db.store([stale[name] for name in names if name in stale], rows)
        ((unreadable,),) = self._db.query("SELECT count(*) FROM files WHERE reason <> ''")
        messages, self._messages = tuple(self._messages), []
        return IndexReport(
            files=len(walk.files),
            new=len(todo),
            unchanged=unchanged,
            removed=len(known),
            unreadable=unreadable,
            seconds=time.perf_counter() - began,
            messages=messages,
        )

    def objects(self, kind: str | None = None) -> list[DicomObject]:
        """All objects of one kind, or all that are no images, in the order of their paths.

        Files with the same SOP Instance UID and content are one object (its first path). With
        different content each is there, flagged `duplicate-uid-different-content`.
        """
        where = f"kind <> '{IMAGE}'" if kind is None else "kind = ?"
        values = () if kind is None else (kind,)
        repeated, conflicting = set(), set()
        for uid, paths, identical in self._duplicates(where, values):
            repeated.update(paths[1:] if identical else ())
            conflicting.update(() if identical else [uid])
        found = []
        for path, *fields, flags, summary in self._db.query(
            f"SELECT path, {_OBJECT}, flags, summary FROM objects JOIN files ON file = id "
            f"WHERE {where} ORDER BY path",
            values,
        ):
            if (name := file_name(path)) in repeated:
                continue
            item = DicomObject(
                name, *fields, json.loads(summary) if summary else {}, tuple(flags.split())
            )
            if item.sop_uid in conflicting:
                item = replace(item, flags=(*item.flags, "duplicate-uid-different-content"))
            found.append(item)
        return found

    def series(self) -> list[ImageSeries]:
        """All image series, by patient, study date and series number.

        Flags are those of the files, and `patient-id-mismatch`, `duplicate-instances`,
        `positions-repeat` (phases of a 4D series, or several acquisitions in one).
        """
        found = []
        for _, patients, copies, positions, flags, *fields in self._db.query(_SERIES):
            series = ImageSeries(*fields)
            marks = [mark for text in flags.split(",") for mark in text.split()]
            marks += ["patient-id-mismatch"] * (patients > 1)
            marks += ["duplicate-instances"] * (copies > 0)
            marks += ["positions-repeat"] * (0 < positions < series.n_files)
            found.append(replace(series, flags=tuple(dict.fromkeys(marks))))
        return found

    def series_files(self, key: str) -> list[str]:
        """The files of a series, each SOP instance once, by instance number."""
        return [
            file_name(path)
            for path, _ in self._db.query(
                "SELECT min(path), instance_number FROM objects JOIN files ON file = id "
                f"WHERE kind = '{IMAGE}' AND series_key = ? GROUP BY {_INSTANCE} "
                "ORDER BY instance_number, path",
                (key,),
            )
        ]

    def unreadable(self) -> list[UnreadableFile]:
        """Files and folders that gave no object, in the order of their paths."""
        return [
            UnreadableFile(file_name(path), reason, bool(damaged))
            for path, reason, damaged in self._db.query(
                "SELECT path, reason, damaged FROM files WHERE reason <> '' ORDER BY path"
            )
        ]

    def duplicates(self) -> list[tuple[str, list[str], bool]]:
        """SOP Instance UIDs of more than one file: `(uid, paths, identical)`.

        Contents are compared after the file meta information, by a digest that the index keeps;
        where that differs, by their values (`content.value_digest`).
        """
        return self._duplicates("1")

    def _say(self, message: str) -> None:
        log.warning(message)
        self._messages.append(message)

    def _known(self, root: Path) -> dict[str, tuple[str, int, int, int]]:
        """Path, size, mtime_ns and id of what the index has of this folder, by path."""
        before = [file_name(path) for (path,) in self._db.query("SELECT path FROM root")]
        if before != [str(root)]:
            # Equal names, sizes and times in another folder do not make its files the same.
            if before:
                self._say(f"{self._path} was the index of {before[0]}; {root} is read anew")
            with self._db.writing() as connection:
                connection.execute("DELETE FROM files")
                connection.execute("DELETE FROM root")
                connection.execute("INSERT INTO root VALUES (?)", [stored_name(str(root))])
            return {}
        rows = self._db.query("SELECT path, size, mtime_ns, id FROM files")
        known = {row[0]: row for row in rows}
        for path in [path for path in known if isinstance(path, bytes)]:
            name = file_name(path)
            known[name] = (name, *known.pop(path)[1:])
        return known

    def _batches(
        self,
        root: str,
        todo: Sequence[Entry],
        unchanged: int,
        jobs: int,
        progress: Callable[[int, int], None] | None,
    ) -> Iterator[list[FileRow]]:
        """The rows of the files to read, in portions worth a commit."""
        done, total = unchanged, unchanged + len(todo)
        batch: list[FileRow] = []
        began = time.perf_counter()
        for rows in read_all(root, todo, jobs):
            batch += rows
            done += len(rows)
            if progress is not None:
                progress(done, total)
            if time.perf_counter() - began > COMMIT_EVERY_S:
                yield batch
                batch, began = [], time.perf_counter()
        yield batch

    def _duplicates(
        self, where: str, values: Sequence[str] = ()
    ) -> list[tuple[str, list[str], bool]]:
        rows = self._db.query(
            "SELECT sop_uid, path, digest, id FROM objects JOIN files ON file = id "
            f"WHERE sop_uid IN (SELECT sop_uid FROM objects WHERE sop_uid <> '' AND {where} "
            "GROUP BY sop_uid HAVING count(*) > 1) ORDER BY sop_uid, path",
            values,
        )
        digests: dict[str, dict[str, str]] = defaultdict(dict)
        ids = {file_name(path): file for _, path, _, file in rows}
        known = {file_name(path): digest for _, path, digest, _ in rows}
        for uid, path, digest, _ in rows:
            name = file_name(path)
            digests[uid][name] = self._digest(name) if digest is None else digest
        for own in digests.values():
            if len(set(own.values())) > 1:  # perhaps the same object in another transfer syntax
                own |= {name: self._value_digest(name, digest) for name, digest in own.items()}
        fresh = [
            (digest, ids[name])
            for own in digests.values()
            for name, digest in own.items()
            if digest != known[name]
        ]
        if fresh:
            with self._db.writing() as connection:
                connection.executemany("UPDATE files SET digest = ? WHERE id = ?", fresh)
        return [(uid, list(found), len(set(found.values())) == 1) for uid, found in digests.items()]

    def _digest(self, name: str) -> str:
        try:
            return content_digest(self.root / name)
        except OSError as error:
            raise DataError(
                f"{name} has gone since it was indexed ({error.strerror}); index the folder again"
            ) from error

    def _value_digest(self, name: str, digest: str) -> str:
        """The digest of a file's values; what cannot be read keeps that of its bytes."""
        if digest.startswith(OF_VALUES):
            return digest
        try:
            return OF_VALUES + value_digest(self.root / name)
        except DataError:
            return OF_VALUES + digest
