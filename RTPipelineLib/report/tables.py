"""Results tables: Parquet is the record, CSV and one XLSX workbook are copies for people.

Values that are not known stay empty. Columns and rows have a fixed order, so that two runs over the
same courses write the same files.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
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

_BLOCK_ROWS = 500  # in memory while rows are written
# Millions of rows, or a thousand columns, that nobody scrolls through.
NOT_IN_WORKBOOK = ("dvh_curves", "radiomics", "radiomics_long")

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

    def parts() -> Iterator[pyarrow.Table]:
        while block := list(islice(rest, _BLOCK_ROWS)):
            frame = rows_frame(block, name)[columns]
            yield pyarrow.Table.from_pandas(frame, schema, preserve_index=False)

    number = write_parts(parts(), schema, folder, name, csv=csv)
    return Joined(folder / f"{name}.parquet", tuple(columns), number)


def write_parts(
    parts: Iterable[pyarrow.Table],
    schema: pyarrow.Schema,
    folder: Path,
    name: str,
    *,
    csv: bool,
) -> int:
    """Write a table part by part; returns the number of rows. Raises `OutputError` when the folder
    cannot be written."""
    import pyarrow.parquet

    rows = 0
    with ExitStack() as stack:
        target = stack.enter_context(atomic_path(folder / f"{name}.parquet"))
        text = stack.enter_context(atomic_path(folder / f"{name}.csv")) if csv else None
        # Closed before the files get their names, as Windows needs it.
        writer = stack.enter_context(pyarrow.parquet.ParquetWriter(target, schema))
        if text is not None:
            _append_csv(schema.empty_table().to_pandas(), text, header=True)
        for part in parts:
            writer.write_table(part)
            rows += part.num_rows
            if text is not None:
                _append_csv(part.to_pandas(), text)
    return rows


def metrics_columns(columns: Iterable[str]) -> list[str]:
    """The columns of DVH metrics in their fixed order; see `codebook.ordered`."""
    return ordered("dvh_metrics", columns)


def arranged(frame: pandas.DataFrame, table: str) -> pandas.DataFrame:
    """The frame with its columns and rows in the fixed order of this table, numbered anew."""
    frame = frame[ordered(table, frame.columns)]
    keys = [name for name in ROW_ORDER if name in frame.columns]
    if not keys or frame.empty:
        return frame.reset_index(drop=True)
    return frame.sort_values(keys, kind="stable", na_position="first", ignore_index=True)


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


def can_write_workbook() -> bool:
    """Whether the extra `xlsx` is installed."""
    return find_spec("xlsxwriter") is not None


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
