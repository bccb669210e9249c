"""Results tables: Parquet is the record, CSV and one XLSX workbook are copies for people.

Values that are not known stay empty. Columns and rows have a fixed order, so that two runs over the
same courses write the same files.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
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

# Limits of the XLSX format (ECMA-376 as Excel implements it).
XLSX_ROWS, XLSX_COLUMNS, XLSX_TEXT = 1_048_576, 16_384, 32_767
_WIDTHS = (6, 48)  # narrowest and widest column, in characters
_WIDTH_ROWS = 200  # rows looked at for a column's width
_FORMULA = re.compile(r"[=+\-@\t\r]")  # what spreadsheets take for the start of a formula
_BREAKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]*[\x00-\x1f\x7f-\x9f\u2028\u2029]\s*")


# -- reading --------------------------------------------------------------------------------------


def concat_parquet(
    paths: Sequence[Path], table: str
) -> tuple[pandas.DataFrame, list[tuple[Path, str]]]:
    """One frame of the same table of many courses, and (path, reason) of every file left out.

    The columns are the union over all files (a log line says where some are missing; there they are
    empty), in the order of the layout; the rows are sorted. A file that is missing, damaged or does
    not fit the others' types costs that file only.
    """
    import pandas
    import pyarrow

    sources = _Sources(paths, table)
    parts = [part for path in sources.paths if (part := sources.read(path)) is not None]
    if not parts:
        return pandas.DataFrame(columns=layout(table)), sources.failures
    return arranged(pyarrow.concat_tables(parts).to_pandas(), table), sources.failures


@dataclass(frozen=True)
class Joined:
    """A table too long for the memory and for a sheet: its columns, its number of rows, and (path,
    reason) of every file left out."""

    columns: tuple[str, ...]
    rows: int
    failures: tuple[tuple[Path, str], ...]


def join_parquet(paths: Sequence[Path], folder: Path, name: str, *, csv: bool = False) -> Joined:
    """Write `<name>.parquet`, on request also `<name>.csv`, from the same table of many courses.

    As `concat_parquet` and `write_table`, but with one course at a time in memory: the rows are
    sorted within each file, and the files stand in the order in which they are given.
    Raises `OutputError` when the folder cannot be written.
    """
    import pyarrow
    import pyarrow.parquet

    sources = _Sources(paths, name)
    columns = ordered(name, sources.schema.names) or layout(name)
    schema = pyarrow.schema(
        [sources.schema.field(c) if sources.paths else (c, pyarrow.null()) for c in columns]
    )
    rows = 0
    with ExitStack() as stack:
        target = stack.enter_context(atomic_path(folder / f"{name}.parquet"))
        text = stack.enter_context(atomic_path(folder / f"{name}.csv")) if csv else None
        # Closed before the files get their names, as Windows needs it.
        writer = stack.enter_context(pyarrow.parquet.ParquetWriter(target, schema))
        if text is not None:
            _append_csv(schema.empty_table().to_pandas(), text, header=True)
        for path in sources.paths:
            if (part := sources.read(path)) is None:
                continue
            frame = arranged(part.to_pandas(), name)
            writer.write_table(pyarrow.Table.from_pandas(frame, schema, preserve_index=False))
            rows += len(frame)
            if text is not None:
                _append_csv(frame, text)
    return Joined(tuple(columns), rows, tuple(sources.failures))


class _Sources:
    """The files of one table that fit together, their common schema, and why others are left
    out."""

    def __init__(self, paths: Sequence[Path], table: str) -> None:
        import pyarrow
        import pyarrow.parquet

        self.paths: list[Path] = []
        self.schema = pyarrow.schema([])
        self._asked = paths
        self._reasons: dict[Path, str] = {}
        schemas = []
        for path in paths:
            try:
                own = pyarrow.parquet.read_schema(path).remove_metadata()
                joint = pyarrow.unify_schemas([self.schema, own], promote_options="permissive")
            except (OSError, pyarrow.ArrowException) as error:
                self._reasons[path] = _reason(path, error)
                continue
            self.schema = joint
            self.paths.append(path)
            schemas.append(own)
        _report_drift(table, schemas, self.schema)

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


def _report_drift(table: str, parts: Sequence[pyarrow.Schema], schema: pyarrow.Schema) -> None:
    """Say which columns only some of the files have."""
    lacking = {
        name: sum(name not in part.names for part in parts) for name in ordered(table, schema.names)
    }
    drifted = [f"{name} ({count})" for name, count in lacking.items() if count]
    if drifted:
        log.warning(
            "%s: some of %d courses lack columns, which stay empty there (other settings?): %s",
            table,
            len(parts),
            ", ".join(drifted),
        )


def metrics_columns(columns: Iterable[str]) -> list[str]:
    """The columns of DVH metrics in their fixed order; see `codebook.ordered`."""
    return ordered("dvh_metrics", columns)


def arranged(frame: pandas.DataFrame, table: str) -> pandas.DataFrame:
    """The frame with its columns and rows in the fixed order of this table."""
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


def write_workbook(tables: Mapping[str, pandas.DataFrame | Joined], path: Path) -> None:
    """One workbook with a sheet per table, written row by row.

    Numbers are numbers, texts are texts whatever they start with, unknown values are empty cells.
    A table beyond the format's limits is cut, and its first line says so; one that was joined on
    disk is only named.
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
        for name, frame in tables.items():
            sheet = workbook.add_worksheet(name[:31])
            if isinstance(frame, Joined):
                rows = f"{frame.rows:,} rows"
                sheet.write_string(0, 0, f"{rows}, too many for a sheet: see {name}.parquet")
            else:
                _write_sheet(sheet, name, frame, header)


def _write_sheet(
    sheet: xlsxwriter.worksheet.Worksheet,
    name: str,
    frame: pandas.DataFrame,
    header: xlsxwriter.format.Format,
) -> None:
    top = 0
    fits = len(frame) < XLSX_ROWS and frame.shape[1] <= XLSX_COLUMNS
    if not fits:
        top, whole = 1, frame
        frame = frame.iloc[: XLSX_ROWS - 2, :XLSX_COLUMNS]
        note = (
            f"Only {len(frame):,} of {len(whole):,} rows and {frame.shape[1]:,} of "
            f"{whole.shape[1]:,} columns fit here; the whole table is {name}.parquet"
        )
        sheet.write_string(0, 0, note)
    for number, column in enumerate(frame.columns):
        sheet.set_column(number, number, _width(frame.iloc[:_WIDTH_ROWS, number], str(column)))
        sheet.write_string(top, number, str(column), header)
    cells = frame.astype(object).where(frame.notna(), None)
    for row, values in enumerate(cells.itertuples(index=False, name=None), start=top + 1):
        for number, value in enumerate(values):
            _write_cell(sheet, row, number, value)
    sheet.freeze_panes(top + 1, min(2, max(frame.shape[1] - 1, 0)))
    if frame.shape[1]:
        sheet.autofilter(top, 0, top + len(frame), frame.shape[1] - 1)


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
