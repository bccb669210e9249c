"""Results tables: Parquet is the record, CSV and one XLSX workbook are copies for people.

Values that are not known stay empty. Columns and rows have a fixed order, so that two runs over the
same courses write the same files.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..platform import atomic_path
from .codebook import layout, ordered

if TYPE_CHECKING:
    import pandas
    import pyarrow
    import xlsxwriter.format
    import xlsxwriter.worksheet

log = logging.getLogger(__name__)

FAILURE_COLUMNS = tuple(layout("failures"))
ROW_ORDER = (
    "patient_id",
    "course_id",
    "stage",
    "source",
    "roi_number",
    "roi_name",
    "dose_source",
    "structure_set_uid",
    "dose_gy",
    "item",
    "error",
)

# So many rows are in memory while a table is written, and stand in a row group of its file.
_BLOCK_ROWS, _GROUP_ROWS = 500, 20_000
# Millions of rows that nobody scrolls through.
NOT_IN_WORKBOOK = ("dvh_curves",)

# Limits of the XLSX format (ECMA-376 as Excel implements it).
XLSX_ROWS, XLSX_COLUMNS, XLSX_TEXT = 1_048_576, 16_384, 32_767
_WIDTHS = (6, 48)  # narrowest and widest column, in characters
_WIDTH_ROWS = 200  # rows looked at for a column's width
_FORMULA = re.compile(r"[=+\-@\t\r]")  # what spreadsheets take for the start of a formula
_BREAKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]*[\x00-\x1f\x7f-\x9f\u2028\u2029]\s*")


# -- reading --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Joined:
    """A table of the whole cohort on disk: its Parquet file, columns, number of rows, and (path,
    reason) of every course file left out."""

    path: Path
    columns: tuple[str, ...]
    rows: int
    failures: tuple[tuple[Path, str], ...] = ()


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

    def frames() -> Iterator[pandas.DataFrame]:
        waiting: list[pyarrow.Table] = []
        for path in sources.paths:
            if (part := sources.read(path)) is not None:
                waiting.append(part)
            # Many small courses at once: what is done once a frame would take most of the time.
            if sum(part.num_rows for part in waiting) >= _GROUP_ROWS:
                yield _arranged_parts(waiting, name)
                waiting.clear()
        if waiting:
            yield _arranged_parts(waiting, name)

    rows = _write_parts(frames(), schema, folder, name, csv=csv)
    return Joined(folder / f"{name}.parquet", tuple(columns), rows, tuple(sources.failures))


def stream_rows(
    rows: Iterable[Mapping[str, object]],
    types: Mapping[str, pyarrow.DataType],
    folder: Path,
    name: str,
    *,
    csv: bool = False,
) -> Joined:
    """Write `<name>.parquet` (and CSV) from rows in their final order, some hundred at a time in
    memory. `types` names all columns. Raises `OutputError` when the folder cannot be written."""
    import pyarrow

    columns = ordered(name, types)
    schema = pyarrow.schema([(column, types[column]) for column in columns])
    rest = iter(rows)

    def frames() -> Iterator[pandas.DataFrame]:
        while block := list(islice(rest, _BLOCK_ROWS)):
            yield rows_frame(block, name)[columns]

    number = _write_parts(frames(), schema, folder, name, csv=csv)
    return Joined(folder / f"{name}.parquet", tuple(columns), number)


def _write_parts(
    frames: Iterable[pandas.DataFrame],
    schema: pyarrow.Schema,
    folder: Path,
    name: str,
    *,
    csv: bool,
) -> int:
    """Write a table frame by frame; returns the number of rows."""
    import pyarrow
    import pyarrow.parquet

    rows = 0
    with ExitStack() as stack:
        target = stack.enter_context(atomic_path(folder / f"{name}.parquet"))
        text = stack.enter_context(atomic_path(folder / f"{name}.csv")) if csv else None
        # Closed before the files get their names, as Windows needs it.
        writer = stack.enter_context(pyarrow.parquet.ParquetWriter(target, schema))
        if text is not None:
            _append_csv(schema.empty_table().to_pandas(), text, header=True)
        for frame in frames:
            writer.write_table(pyarrow.Table.from_pandas(frame, schema, preserve_index=False))
            rows += len(frame)
            if text is not None:
                _append_csv(frame, text)
    return rows


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

    table = pyarrow.parquet.ParquetFile(path).read()
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


def metrics_columns(columns: Iterable[str]) -> list[str]:
    """The columns of DVH metrics in their fixed order; see `codebook.ordered`."""
    return ordered("dvh_metrics", columns)


def _arranged_parts(parts: Sequence[pyarrow.Table], table: str) -> pandas.DataFrame:
    """The parts below each other, the rows of each in the fixed order."""
    import pyarrow

    frame = pyarrow.concat_tables(parts, promote_options="permissive").to_pandas()
    number = np.repeat(np.arange(len(parts)), [part.num_rows for part in parts])
    by_rows = arranged(frame, table, keep_index=True)
    order = np.argsort(number[by_rows.index], kind="stable")
    return by_rows.iloc[order].reset_index(drop=True)


def arranged(frame: pandas.DataFrame, table: str, *, keep_index: bool = False) -> pandas.DataFrame:
    """The frame with its columns and rows in the fixed order of this table, numbered anew or with
    their old index."""
    frame = frame[ordered(table, frame.columns)]
    keys = [name for name in ROW_ORDER if name in frame.columns]
    if not keys or frame.empty:
        return frame if keep_index else frame.reset_index(drop=True)
    new = not keep_index
    return frame.sort_values(keys, kind="stable", na_position="first", ignore_index=new)


def rows_frame(rows: Iterable[Mapping[str, object]], table: str) -> pandas.DataFrame:
    """Rows as a frame with all columns of the table's layout (and any others), in the fixed order.

    Bytes of a file name that are no text are written as `\\udcxx`: pandas takes no others.
    """
    import pandas

    plain = [
        {
            name: v.encode("utf-8", "backslashreplace").decode() if isinstance(v, str) else v
            for name, v in row.items()
        }
        for row in rows
    ]
    columns = dict.fromkeys([*layout(table), *(name for row in plain for name in row)])
    return arranged(pandas.DataFrame(plain, columns=list(columns)), table)


# -- Parquet and CSV ------------------------------------------------------------------------------


def write_table(
    frame: pandas.DataFrame, folder: Path, name: str, *, csv: bool = False, parquet: bool = True
) -> list[Path]:
    """Write `<name>.parquet` and, on request, `<name>.csv`; returns what was written.

    CSV is UTF-8 without a byte order mark, as programs expect it; for Excel there is the workbook.
    In CSV a text that a spreadsheet would run as a formula gets a leading apostrophe, and line
    breaks inside a cell become blanks; Parquet and XLSX hold the text as it is.
    Raises `OutputError` when the folder cannot be written.
    """
    written = []
    if parquet:
        with atomic_path(folder / f"{name}.parquet") as temporary:
            frame.to_parquet(temporary, index=False)
        written.append(folder / f"{name}.parquet")
    if csv:
        with atomic_path(folder / f"{name}.csv") as temporary:
            _append_csv(frame, temporary, header=True)
        written.append(folder / f"{name}.csv")
    return written


def _append_csv(frame: pandas.DataFrame, path: Path, *, header: bool = False) -> None:
    _harmless(frame).to_csv(
        path, mode="a", header=header, index=False, encoding="utf-8", lineterminator="\n"
    )


def _harmless(frame: pandas.DataFrame) -> pandas.DataFrame:
    def safe(text: str) -> str:
        text = _BREAKS.sub(" ", text)
        return f"'{text}" if _FORMULA.match(text) else text

    return _map_text(frame, safe).rename(columns=safe)


def _map_text(frame: pandas.DataFrame, change: Callable[[str], str]) -> pandas.DataFrame:
    """The frame with `change` applied to every text; each distinct text is looked at once."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    changed = {}
    for number, name in enumerate(frame.columns):
        column = frame.iloc[:, number]
        if is_numeric_dtype(column) or is_bool_dtype(column):
            continue
        texts = {v: change(v) for v in column.unique() if isinstance(v, str)}
        if any(old != new for old, new in texts.items()):
            changed[name] = column.map(lambda v, t=texts: t.get(v, v) if isinstance(v, str) else v)
    return frame.assign(**changed) if changed else frame


# -- XLSX -----------------------------------------------------------------------------------------


def write_workbook(tables: Mapping[str, pandas.DataFrame | Joined], path: Path) -> None:
    """One workbook with a sheet per table, written row by row, also from disk.

    Numbers are numbers, texts are texts whatever they start with, unknown values are empty cells.
    A table beyond the format's limits is cut, and its first line says so; those of
    `NOT_IN_WORKBOOK` are only named.
    Raises `OutputError` when the file cannot be written.
    """
    import xlsxwriter

    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
    }
    with atomic_path(path) as temporary, xlsxwriter.Workbook(temporary, options) as workbook:
        # The only value that would differ between two runs over the same courses.
        workbook.set_properties({"created": datetime(2000, 1, 1)})
        header = workbook.add_format({"bold": True, "bottom": 1})
        for name, table in tables.items():
            sheet = workbook.add_worksheet(name[:31])
            rows = table.rows if isinstance(table, Joined) else len(table)
            if name in NOT_IN_WORKBOOK:
                note = f"{rows:,} rows, too many for a sheet: see {name}.parquet"
                sheet.write_string(0, 0, note)
            else:
                _write_sheet(sheet, name, _parts(table), rows, header)


def _parts(table: pandas.DataFrame | Joined) -> Iterator[pandas.DataFrame]:
    """The table in pieces, the first one even where it has no rows."""
    if not isinstance(table, Joined):
        yield table
        return
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(table.path) as file:
        yield file.schema_arrow.empty_table().to_pandas()
        for batch in file.iter_batches(_BLOCK_ROWS):
            yield batch.to_pandas()


def _write_sheet(
    sheet: xlsxwriter.worksheet.Worksheet,
    name: str,
    parts: Iterator[pandas.DataFrame],
    rows: int,
    header: xlsxwriter.format.Format,
) -> None:
    first = next(parts)
    if first.empty:
        second = next(parts, None)
        first = first if second is None else second
    columns, top, room = first.shape[1], 0, rows
    if rows >= XLSX_ROWS or columns > XLSX_COLUMNS:
        top, room = 1, min(rows, XLSX_ROWS - 2)
        shown = min(columns, XLSX_COLUMNS)
        note = (
            f"Only {room:,} of {rows:,} rows and {shown:,} of {columns:,} columns fit here; the "
            f"whole table is {name}.parquet"
        )
        log.warning("results.xlsx, sheet %s: %s", name, note)
        sheet.write_string(0, 0, note)
        columns = shown
    head = first.iloc[:_WIDTH_ROWS, :columns]
    for number, column in enumerate(head.columns):
        sheet.set_column(number, number, _width(head.iloc[:, number], str(column)))
        sheet.write_string(top, number, str(column), header)
    row = top
    for frame in chain([first], parts):
        part = frame.iloc[: top + room - row, :columns]
        cells = part.astype(object).where(part.notna(), None)
        for row, values in enumerate(cells.itertuples(index=False, name=None), start=row + 1):  # noqa: B020
            for number, value in enumerate(values):
                _write_cell(sheet, row, number, value)
    sheet.freeze_panes(top + 1, min(2, max(columns - 1, 0)))
    if columns:
        sheet.autofilter(top, 0, top + room, columns - 1)


def _write_cell(
    sheet: xlsxwriter.worksheet.Worksheet, row: int, column: int, value: object
) -> None:
    if isinstance(value, str):
        if len(value) > XLSX_TEXT:
            value = value[: XLSX_TEXT - 1] + "…"
        if value:
            sheet.write_string(row, column, value)
    elif isinstance(value, bool | np.bool_):
        sheet.write_boolean(row, column, bool(value))
    elif isinstance(value, int | float | np.number):
        if math.isfinite(value):
            sheet.write_number(row, column, value)
        elif math.isinf(value):
            sheet.write_string(row, column, str(float(value)))
    elif value is not None:
        sheet.write_string(row, column, str(value)[:XLSX_TEXT])


def _width(column: pandas.Series, name: str) -> int:
    texts = (f"{v:.6g}" if isinstance(v, float) else str(v) for v in column.dropna())
    longest = max(map(len, texts), default=0)
    narrowest, widest = _WIDTHS
    return min(max(longest + 1, len(name) + 3, narrowest), widest)
