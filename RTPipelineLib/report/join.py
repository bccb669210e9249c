"""The same table of many courses as one table of the cohort, with a few courses at a time in
memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .codebook import layout, ordered
from .tables import ROW_ORDER, Joined, write_parts

if TYPE_CHECKING:
    import pyarrow

log = logging.getLogger(__name__)

# So many rows stand in a row group of a file, and so many files are open to be put together: a
# hundred columns of two rows each take more memory by their number than by what they hold.
_GROUP_ROWS, _FILES = 20_000, 64


def join_parquet(paths: Sequence[Path], folder: Path, name: str, *, csv: bool = False) -> Joined:
    """Write `<name>.parquet`, on request also `<name>.csv`, from the same table of many courses,
    with one course at a time in memory.

    The columns are the union over all files (a log line says where some are missing; there they are
    empty), in the order of the layout. The rows are sorted within each file, and the files stand in
    the order in which they are given. A file that is missing, damaged or does not fit the types of
    the most files costs that file only.
    Raises `OutputError` when the folder cannot be written.
    """
    import pyarrow

    sources = _Sources(paths, name)
    columns = ordered(name, sources.schema.names) or layout(name)
    schema = pyarrow.schema(
        [sources.schema.field(c) if sources.paths else (c, pyarrow.null()) for c in columns]
    )

    rows = write_parts(_groups(sources, schema, name), schema, folder, name, csv=csv)
    return Joined(folder / f"{name}.parquet", tuple(columns), rows, tuple(sources.failures))


def _groups(sources: _Sources, schema: pyarrow.Schema, name: str) -> Iterator[pyarrow.Table]:
    """The rows of all files in the order of the files, in parts that are worth a row group."""
    import pyarrow

    group: list[pyarrow.Table] = []
    for part in _parts(sources, name):
        group.append(part.select(schema.names).cast(schema))
        if sum(part.num_rows for part in group) >= _GROUP_ROWS:
            yield pyarrow.concat_tables(group)
            group.clear()
            # Kept for later by the pool, it would be the parent's memory all the same.
            pyarrow.default_memory_pool().release_unused()
    if group:
        yield pyarrow.concat_tables(group)


def _parts(sources: _Sources, name: str) -> Iterator[pyarrow.Table]:
    """The rows of some files at a time."""
    waiting: list[pyarrow.Table] = []
    for path in sources.paths:
        if (part := sources.read(path)) is not None:
            waiting.append(part)
        if len(waiting) == _FILES or sum(part.num_rows for part in waiting) >= _GROUP_ROWS:
            yield _below_each_other(waiting, name)
            waiting.clear()
    if waiting:
        yield _below_each_other(waiting, name)


def _below_each_other(parts: Sequence[pyarrow.Table], name: str) -> pyarrow.Table:
    """The parts in their order, the rows of each in the fixed order of this table, empty values
    first."""
    import pyarrow
    import pyarrow.compute

    table = pyarrow.concat_tables(parts)
    place = np.repeat(np.arange(len(parts)), [part.num_rows for part in parts])
    keys = {"place": pyarrow.chunked_array([place])}
    for column in (column for column in ROW_ORDER if column in table.column_names):
        values = table[column]
        if values.null_count:  # where they stand is an option with two spellings in pyarrow
            keys[f"has {column}"] = values.is_valid()
        if values.null_count < len(values):
            keys[column] = values
    order = pyarrow.compute.sort_indices(pyarrow.table(keys), [(key, "ascending") for key in keys])
    return table.take(order).combine_chunks()


class _Sources:
    """The files of one table that fit together, their common schema, and why others are left
    out. Where types contradict each other, those of the most files count."""

    def __init__(self, paths: Sequence[Path], table: str) -> None:
        import pyarrow
        import pyarrow.parquet

        self.schema = pyarrow.schema([])
        self._asked = paths
        self._reasons: dict[Path, str] = {}
        kinds: dict[pyarrow.Schema, list[Path]] = {}
        for path in paths:
            try:
                own = pyarrow.parquet.read_schema(path).remove_metadata()
            except (OSError, pyarrow.ArrowException) as error:
                self._reasons[path] = _reason(path, error)
                continue
            kinds.setdefault(own, []).append(path)
        fitting: list[tuple[pyarrow.Schema, int]] = []
        for own, members in sorted(kinds.items(), key=lambda kind: -len(kind[1])):
            try:
                joint = pyarrow.unify_schemas([self.schema, own], promote_options="permissive")
            except pyarrow.ArrowException as error:
                self._reasons |= {path: _reason(path, error) for path in members}
                continue
            self.schema = joint
            fitting.append((own, len(members)))
        self.paths = [path for path in paths if path not in self._reasons]
        _report_drift(table, fitting, self.schema)

    @property
    def failures(self) -> list[tuple[Path, str]]:
        """Every file left out so far, in the order in which they were given."""
        return [(path, self._reasons[path]) for path in self._asked if path in self._reasons]

    def read(self, path: Path) -> pyarrow.Table | None:
        """The file's rows in the common schema; None when it turns out to be damaged."""
        import pyarrow

        try:
            lacking = self.schema.empty_table()
            return pyarrow.concat_tables([lacking, _read(path)], promote_options="permissive")
        except (OSError, pyarrow.ArrowException) as error:
            self._reasons[path] = _reason(path, error)
            return None


def _read(path: Path) -> pyarrow.Table:
    import pyarrow.parquet

    table = pyarrow.parquet.ParquetFile(path).read(use_threads=False)
    return table.replace_schema_metadata()


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path.name} is missing; run the course again"
    what = " ".join(str(error).split())
    return f"{path.name} cannot be used ({what}); delete it and run the course again"


def _report_drift(
    table: str, kinds: Sequence[tuple[pyarrow.Schema, int]], schema: pyarrow.Schema
) -> None:
    """Say which columns only some of the files have; `kinds` are schemas and how many have them."""
    lacking = {
        name: sum(count for kind, count in kinds if name not in kind.names)
        for name in ordered(table, schema.names)
    }
    drifted = [f"{name} ({count})" for name, count in lacking.items() if count]
    if drifted:
        log.warning(
            "%s: some of %d courses lack columns, which stay empty there (other settings?): %s",
            table,
            sum(count for _, count in kinds),
            ", ".join(drifted),
        )
