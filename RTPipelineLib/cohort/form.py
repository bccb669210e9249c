"""The configuration as a form: every key with its explanation, and what is wrong with a value while
it is typed. The keys are those of the YAML file, read by the same code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ..config import Config, load_config
from ..config.section import Section
from ..config.writing import choices_of, one_line
from ..errors import ConfigError


@dataclass(frozen=True)
class FormRow:
    """One key: its dotted name, its value on one line as in YAML (empty for a section), what it
    means, and the values that it may have where they are few."""

    key: str
    value: str
    explanation: str
    choices: tuple[str, ...]
    is_section: bool


def form_rows(config: Config) -> list[FormRow]:
    """All keys in the order of the file, each section before its keys."""
    return list(_rows(config, ""))


def _rows(section: Section, prefix: str) -> Iterator[FormRow]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        key, text = prefix + name, field.description or ""
        if isinstance(value, Section):
            yield FormRow(key, "", text, (), is_section=True)
            yield from _rows(value, f"{key}.")
            continue
        choices = choices_of(field.annotation)
        if field.annotation is bool:
            choices = ("true", "false")
        yield FormRow(key, one_line(value), text, choices, is_section=False)


def config_text(values: Mapping[str, str]) -> str:
    """YAML of values (on one line, by dotted key) that differ from the defaults."""
    tree: dict[str, object] = {}
    for key, value in values.items():
        *parents, name = key.split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = value
    return "".join(f"{line}\n" for line in _lines(tree, 0))


def _lines(tree: Mapping[str, object], indent: int) -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield f"{' ' * indent}{key}:"
            yield from _lines(value, indent + 2)
        else:
            yield f"{' ' * indent}{key}: {value}"


def read_values(values: Mapping[str, str], folder: Path | None = None) -> Config:
    """The configuration of these values; relative paths count from `folder`. Raises `ConfigError`
    with one line for everything that is wrong."""
    text = config_text(values)
    if folder is None:
        with TemporaryDirectory() as scratch:
            return _read(text, Path(scratch))
    return _read(text, folder)


def _read(text: str, folder: Path) -> Config:
    path = folder / ".form.yaml"
    try:
        path.write_text(text, encoding="utf-8")
        return load_config(path)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written ({error.strerror})") from error
    finally:
        path.unlink(missing_ok=True)


def problem_of(values: Mapping[str, str], key: str) -> str:
    """What is wrong with one value, in words; empty when nothing is."""
    try:
        read_values({key: values[key]} if key in values else {})
    except ConfigError as error:
        return str(error).splitlines()[0].partition(": ")[2]
    return ""


def changed_values(config: Config) -> dict[str, str]:
    """The values that differ from the defaults, on one line by dotted key."""
    usual = {row.key: row.value for row in form_rows(Config())}
    return {
        row.key: row.value
        for row in form_rows(config)
        if not row.is_section and row.value != usual[row.key]
    }


def save(path: Path, values: Mapping[str, str]) -> None:
    """Write the whole commented file. Raises `ConfigError` for wrong values, `OutputError` when the
    file cannot be written."""
    from ..platform import write_text

    write_text(path, read_values(values).to_yaml())
