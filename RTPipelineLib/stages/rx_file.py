"""The user's table of prescriptions: CSV or YAML with patient, course, level, target, dose,
fractions."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from ..errors import ConfigError

COLUMNS = ("patient_id", "course_id", "level", "roi", "dose_gy", "fractions")


def read_prescriptions(path: Path, patient_id: str, course_id: str) -> list[dict[str, object]]:
    """Rows `{name, roi, dose_gy, fractions}` of one course; a row with an empty `course_id` is for
    all courses of its patient.

    Raises `ConfigError`, naming file and row, for missing columns and impossible doses.
    """
    rows = _csv_rows(path) if path.suffix.lower() == ".csv" else _yaml_rows(path)
    found = []
    for number, row in enumerate(rows, start=1):
        where = f"{path}, row {number}"
        missing = [name for name in ("patient_id", "dose_gy") if not _text(row, name)]
        if missing:
            raise ConfigError(f"{where}: {' and '.join(missing)} missing; columns are {COLUMNS}")
        if _text(row, "patient_id") != patient_id or _text(row, "course_id") not in ("", course_id):
            continue
        found.append(
            {
                "name": _text(row, "level") or _text(row, "roi"),
                "roi": _text(row, "roi"),
                "dose_gy": _positive(row, "dose_gy", where),
                "fractions": int(_positive(row, "fractions", where))
                if _text(row, "fractions")
                else None,
            }
        )
    return found


def _csv_rows(path: Path) -> list[Mapping[str, object]]:
    """Rows separated by commas or, as spreadsheets write them in many countries, semicolons."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        separator = ";" if ";" in text.partition("\n")[0] else ","
        return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=separator))
    except (OSError, UnicodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read as CSV: {error}") from error


def _yaml_rows(path: Path) -> list[Mapping[str, object]]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        rows = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeError, YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{path}: expected a list of rows with the keys {', '.join(COLUMNS)}")
    return rows


def _text(row: Mapping[str, object], name: str) -> str:
    value = row.get(name)
    return "" if value is None else str(value).strip()


def _positive(row: Mapping[str, object], name: str, where: str) -> float:
    text = _text(row, name).replace(",", ".")
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ConfigError(f"{where}: {name} must be a number above 0, found {text!r}")
    return value
