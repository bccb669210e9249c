"""The configuration as commented YAML, made from the keys themselves so that it cannot drift."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from .keys import Config
from .section import Section

WIDTH = 100
HEADER = """\
# Configuration of RT Pipeline. Every key may be left out; then it has the default that stands here.
# Write DVH metrics in quotes. Relative paths count from the folder of this file.
"""
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_RESERVED = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def defaults_yaml() -> str:
    """All keys with their defaults, each with a comment that explains it."""
    return to_yaml(Config())


def to_yaml(config: Config) -> str:
    """A configuration as YAML with the same comments; `load_config` reads it back as equal."""
    return HEADER + "".join(f"{line}\n" for line in _section(config, 0))


def _section(section: Section, indent: int) -> list[str]:
    lines: list[str] = []
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        margin = " " * indent
        if indent == 0:
            lines.append("")
        lines += [f"{margin}# {line}" for line in _comment(field, indent)]
        if isinstance(value, Section):
            lines += [f"{margin}{key}:", *_section(value, indent + 2)]
        elif isinstance(value, tuple) and any(isinstance(item, Section) for item in value):
            lines += [f"{margin}{key}:", *(f"{margin}  - {one_line(item)}" for item in value)]
        else:
            lines.append(f"{margin}{key}: {one_line(value)}")
    return lines


def _comment(field: FieldInfo, indent: int) -> list[str]:
    text = field.description or ""
    choices = choices_of(field.annotation)
    if choices:
        text += f". One of: {', '.join(choices)}"
    width = WIDTH - indent - 2
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return lines + [f"example: {example}" for example in field.examples or ()]


def choices_of(annotation: object) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(choice for part in get_args(annotation) for choice in choices_of(part))


def one_line(value: object) -> str:
    """A value on one line (YAML flow style)."""
    if isinstance(value, Section):  # an entry of a list: only what differs from the default
        return one_line({key: getattr(value, key) for key in value.model_fields_set})
    if isinstance(value, Mapping):
        pairs = (f"{one_line(key)}: {one_line(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(one_line(item) for item in value) + "]"
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int | float):
        return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
    return _text(value.as_posix() if isinstance(value, Path) else str(value))


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)
