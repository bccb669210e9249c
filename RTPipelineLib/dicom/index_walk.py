"""Every file below a folder with its size and time, whatever stands in the way."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from .index_rows import RETRY, Entry, FileRow, cannot_be_read

# Both lie at the top of an output folder of RT Pipeline, and together nowhere else.
_OUTPUT_MARKS = {"run.json", "index.sqlite"}


@dataclass(slots=True)
class Walk:
    """What lies below a root, paths relative to it with `/`.

    `files` are the regular files, `unreadable` what could not be looked at, `outputs` the output
    folders of RT Pipeline, which were not entered.
    """

    files: list[Entry] = field(default_factory=list)
    unreadable: list[FileRow] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


def walk_folder(root: Path, database: Path) -> Walk:
    """Lists all files below `root` except the index itself and its journals.

    Links to folders are followed after all real folders, each folder once, so that loops end and a
    folder is known by its own path. Raises OSError when `root` itself cannot be listed.
    """
    walk = Walk()
    seen: set[tuple[int, int]] = set()
    own = _own_files(root, database)
    folders, links = [""], []
    while folders or links:
        if not folders:
            links.sort(reverse=True)
            folders.append(links.pop())
        folder = folders.pop()
        path = root / folder if folder else root
        try:
            # st_ino of a DirEntry is 0 on Windows; a stat of its own is not.
            status = path.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(path) as found:
                entries = list(found)
        except OSError as error:
            if not folder:
                raise
            walk.unreadable.append(FileRow((folder, 0, RETRY), cannot_be_read(error), True, None))
            continue
        if folder and len(_OUTPUT_MARKS.intersection(entry.name for entry in entries)) == 2:
            walk.outputs.append(folder)
            continue
        prefix = f"{folder}/" if folder else ""
        for entry in entries:
            name = prefix + entry.name
            try:
                if entry.is_file():
                    status = entry.stat()
                    if name not in own:
                        walk.files.append((name, status.st_size, status.st_mtime_ns))
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                elif entry.is_dir():
                    links.append(name)
                else:
                    walk.unreadable.append(FileRow((name, 0, RETRY), _special(entry), False, None))
            except OSError as error:
                walk.unreadable.append(FileRow((name, 0, RETRY), cannot_be_read(error), True, None))
    return walk


def _own_files(root: Path, database: Path) -> set[str]:
    """The index and what SQLite puts beside it, as paths below the root, if they lie there."""
    try:
        name = database.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return set()
    return {name + ending for ending in ("", "-journal", "-wal", "-shm", ".damaged")}


def _special(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return "it is a link to nothing"
    return "it is not a regular file"
