"""The SQLite file of an index: its tables, how it is opened, read and written."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import OutputError, UsageError
from .index_rows import IMAGE, FileRow, ObjectRow

# Raise it with every change of the tables or of what a scan or `headers.summarise` yields: an index
# of another number is made anew.
SCHEMA_VERSION = 1
APPLICATION_ID = 0x52545049  # "RTPI" in SQLite's own header: the file is ours
PATIENCE_S = 30  # for another process that is just writing

_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE root (path NOT NULL);
CREATE TABLE files (
    id INTEGER PRIMARY KEY,
    path NOT NULL UNIQUE,      -- below the root, with /; bytes where it is not valid UTF-8
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    reason TEXT NOT NULL,      -- why there is no object, empty when there is one
    damaged INTEGER NOT NULL,
    digest TEXT                -- of the data set, where a duplicate asked for it
);
CREATE TABLE objects (
    file INTEGER PRIMARY KEY REFERENCES files ON DELETE CASCADE,
    {", ".join(ObjectRow._fields)}
);
CREATE INDEX objects_sop ON objects (sop_uid);
CREATE INDEX objects_series ON objects (series_key) WHERE kind = '{IMAGE}';
CREATE INDEX objects_kind ON objects (kind) WHERE kind <> '{IMAGE}';
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""

Value = str | bytes | int | None
Row = tuple[Value, ...]


class Database:
    """An open index file. `say` takes the sentences for the user.

    Raises UsageError when the path is a file of another kind, OutputError when it cannot be written
    or is in use; a damaged or outdated index is made anew.
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self.path = path
        connection = None
        try:
            connection = self._connect()
            state = self._state(connection)
            if state == "outdated":
                say(f"{path} was made by another version of RT Pipeline; the folder is read anew")
                connection.close()
                path.unlink()
                connection = self._connect()
            if state != "current":
                connection.executescript(_TABLES)
        except sqlite3.DatabaseError as error:
            if connection is not None:
                connection.close()
            if isinstance(error, sqlite3.OperationalError):
                raise self._trouble(error) from error
            connection = self._start_over(say, error)
        except OSError as error:
            raise OutputError(f"{path} cannot be replaced ({error.strerror})") from error
        self._connection = connection

    def close(self) -> None:
        """Closes the file; everything is committed already."""
        self._connection.close()

    def query(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        """All rows of a SELECT."""
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._trouble(error) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it is committed, or nothing."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise self._trouble(error) from error

    def store(self, gone: Iterable[int], rows: Sequence[FileRow]) -> None:
        """Takes the rows of these file ids out and puts `rows` in, in one transaction."""
        with self.writing() as connection:
            connection.executemany("DELETE FROM files WHERE id = ?", [(file,) for file in gone])
            ((last,),) = connection.execute("SELECT ifnull(max(id), 0) FROM files")
            ids = range(last + 1, last + 1 + len(rows))
            connection.executemany(
                "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, NULL)",
                [
                    (file, stored_name(row.entry[0]), *row.entry[1:], row.reason, row.damaged)
                    for file, row in zip(ids, rows, strict=True)
                ],
            )
            places = ", ".join("?" * (1 + len(ObjectRow._fields)))
            connection.executemany(
                f"INSERT INTO objects VALUES ({places})",
                [
                    (file, *row.content)
                    for file, row in zip(ids, rows, strict=True)
                    if row.content is not None
                ],
            )

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=PATIENCE_S, isolation_level=None)
        connection.execute("PRAGMA foreign_keys = ON")
        # A rollback journal, because a write-ahead log needs shared memory that network file
        # systems lack; NORMAL survives a killed process, which is what happens.
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def _state(self, connection: sqlite3.Connection) -> str:
        ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master")
        ((application,),) = connection.execute("PRAGMA application_id")
        ((version,),) = connection.execute("PRAGMA user_version")
        if application != APPLICATION_ID and tables:
            connection.close()
            raise UsageError(
                f"{self.path} is an SQLite file of another program; name another file for the index"
            )
        if not tables:
            return "empty"
        if version != SCHEMA_VERSION:
            return "outdated"
        ((verdict,),) = connection.execute("PRAGMA quick_check(1)")
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        return "current"

    def _start_over(self, say: Callable[[str], None], error: Exception) -> sqlite3.Connection:
        """A new file in the place of a damaged one, which is kept beside it."""
        if self.path.suffix.lower() not in {".sqlite", ".sqlite3", ".db"}:
            raise UsageError(
                f"{self.path} is not an index ({error}); name another file, best with .sqlite"
            ) from error
        kept = self.path.with_name(self.path.name + ".damaged")
        try:
            os.replace(self.path, kept)  # noqa: PTH105 - Path.replace is the same, this is clearer
            self.path.with_name(self.path.name + "-journal").unlink(missing_ok=True)
        except OSError as problem:
            raise OutputError(
                f"{self.path} is damaged and cannot be replaced ({problem})"
            ) from problem
        say(
            f"{self.path} was damaged ({error}); it is kept as {kept.name} and the folder read anew"
        )
        connection = self._connect()
        connection.executescript(_TABLES)
        return connection

    def _trouble(self, error: sqlite3.Error) -> OutputError:
        return OutputError(
            f"the index {self.path} cannot be used ({error}); see that its folder exists, can be "
            "written and has space, that no other run uses it, or delete the file"
        )


def stored_name(name: str) -> str | bytes:
    """A path as the table has it: text, or bytes where the name is not valid Unicode."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def file_name(stored: Value) -> str:
    """The path that `stored_name` stored."""
    return os.fsdecode(stored) if isinstance(stored, bytes) else str(stored)
