"""YAML to `Config`, with the line and the key of everything that is wrong, all at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ..errors import ConfigError
from .keys import Config
from .section import Section, nearest

Key = tuple[str | int, ...]
T = TypeVar("T", bound=Section)
SHOWN = 60  # characters of a wrong value in a message
_SCALARS = {"bool", "int", "float", "null"}
_EXPECTED = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a text",
    "path_type": "a path",
    "tuple_type": "a list, such as [a, b]",
    "mapping_type": "keys and values",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "model_attributes_type": "keys and values",
    "none_required": "null",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number from {ge:g}",
    "less_than_equal": "a number up to {le:g}",
    "too_short": "at least {min_length} entries",
    "string_too_short": "a text that is not empty",
}


def load_config(path: Path | None) -> Config:
    """The configuration of a file; the defaults for None or an empty file.

    Raises `ConfigError` with one line for everything that is wrong in the file: where, which key,
    what was found and what was expected.
    """
    if path is None:
        return Config()
    return read_section(Path(path), Config)


def read_section(path: Path, model: type[T], *, list_key: str = "") -> T:
    """A YAML file as one part of the configuration, such as `Config` itself.

    With `list_key` the file may also be the bare list that stands under this key. Raises
    `ConfigError` as `load_config` does.
    """
    document = _Document(path.name, _read(path), list_key)
    data = _without_empty_sections(document.data, model)
    try:
        section = model.model_validate_json(
            json.dumps(data), context={"folder": path.resolve().parent}
        )
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            key = _key(detail["loc"], data)
            if key not in document.broken:
                document.report(document.line_of(key), _sentence(detail, data, model))
        section = None
    if document.problems or section is None:
        raise ConfigError("\n".join(text for _, text in sorted(document.problems)))
    return section


def section_of(data: Mapping[str, object], model: type[T], where: str) -> T:
    """Plain values as one part of the configuration. Raises `ConfigError` with one line, beginning
    with `where`, for everything that is wrong in them."""
    try:
        return model.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        details = error.errors(include_url=False)
        lines = [f"{where}.{_sentence(detail, data, model)}" for detail in details]
        raise ConfigError("\n".join(lines)) from None


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error


# -- YAML with lines ------------------------------------------------------------------------------


@dataclass
class _Document:
    """The plain values of a YAML text, the line of every key, and the problems found so far."""

    name: str
    text: str
    list_key: str = ""
    data: dict = field(init=False)
    lines: dict[Key, int] = field(default_factory=dict)
    problems: set[tuple[int, str]] = field(default_factory=set)
    broken: set[Key] = field(default_factory=set)  # keys whose value could not be read at all
    _seen: set[int] = field(default_factory=set)
    _yaml: YAML = field(default_factory=lambda: YAML(typ="safe", pure=True))

    def __post_init__(self) -> None:
        node = self._compose()
        if self.list_key and isinstance(node, SequenceNode):
            self.data = {self.list_key: self._plain(node, (self.list_key,))}
            return
        if node is not None and not isinstance(node, MappingNode):
            if isinstance(node, ScalarNode) and _tag(node) == "null":
                node = None
            else:
                kind = "a list" if isinstance(node, SequenceNode) else "a single value"
                self.report(node.start_mark.line, f"expected keys and values, found {kind}")
                self._stop()
        self.data = {} if node is None else self._plain(node, ())

    def report(self, line: int | None, sentence: str) -> None:
        where = self.name if line is None else f"{self.name}, line {line + 1}"
        self.problems.add((-1 if line is None else line, f"{where}: {sentence}"))

    def line_of(self, key: Key) -> int | None:
        """The line of a key, else of the closest thing around it."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key)

    def _compose(self) -> Node | None:
        try:
            return self._yaml.compose(StringIO(self.text))
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = None if mark is None else mark.line
            self.report(line, self._syntax(error, line))
        except YAMLError as error:
            self.report(None, f"is not valid YAML: {' '.join(str(error).split())}")
        except RecursionError:
            self.report(None, "is nested too deeply to be a configuration")
        self._stop()
        return None

    def _stop(self) -> None:
        raise ConfigError("\n".join(text for _, text in sorted(self.problems)))

    def _syntax(self, error: MarkedYAMLError, line: int | None) -> str:
        lines = self.text.splitlines()
        if line is not None and line < len(lines):
            text = lines[line]
            if "\t" in text[: len(text) - len(text.lstrip())]:
                return "a tab indents this line; YAML allows only spaces there"
            if re.search(r"(%|cc|Gy)\[", text):
                return 'a DVH metric has brackets and must stand in quotes, such as "V20Gy[%]"'
            if re.search(r"operator\s*:\s*>", text):
                return 'an operator that begins with > must stand in quotes: ">="'
        reason = " ".join((error.problem or error.context or "unknown").split())
        return f"is not valid YAML ({reason}); look at this line and the one before it"

    def _plain(self, node: Node, key: Key) -> object:
        if id(node) in self._seen:
            self.report(
                self.line_of(key), f"{_dotted(key)}: write the value again, not as an alias"
            )
            return None
        self._seen.add(id(node))
        if isinstance(node, MappingNode):
            return self._mapping(node, key)
        if isinstance(node, SequenceNode):
            for number, item in enumerate(node.value):
                self.lines[(*key, number)] = item.start_mark.line
            return [self._plain(item, (*key, number)) for number, item in enumerate(node.value)]
        return self._scalar(node, key)

    def _mapping(self, node: MappingNode, key: Key) -> dict:
        values: dict[str, object] = {}
        for name_node, value_node in node.value:
            line = name_node.start_mark.line
            if not isinstance(name_node, ScalarNode) or not name_node.value.isprintable():
                self.report(line, "a key must be a word")
                continue
            name = str(name_node.value)
            inner = (*key, name)
            if inner in self.lines:
                first = self.lines[inner] + 1
                self.report(line, f"{_dotted(inner)} stands twice; the first is in line {first}")
                continue
            self.lines[inner] = line
            values[name] = self._plain(value_node, inner)
        return values

    def _scalar(self, node: ScalarNode, key: Key) -> object:
        tag = _tag(node)
        try:
            if tag in _SCALARS:
                return self._yaml.constructor.construct_object(node)
            if tag in ("str", "timestamp"):
                node.value.encode()  # an escape such as \\ud800 is no character
                return node.value
        except (ValueError, KeyError):
            return self._break(node, key, "this value cannot be read")
        return self._break(node, key, f"tags such as {tag} are not allowed")

    def _break(self, node: Node, key: Key, sentence: str) -> None:
        line = self.line_of(key)
        self.broken.add(key)
        self.report(node.start_mark.line if line is None else line, f"{_dotted(key)}: {sentence}")


def _tag(node: Node) -> str:
    return str(node.tag).removeprefix("tag:yaml.org,2002:")


def _without_empty_sections(data: Mapping[str, object], model: type[Section]) -> dict[str, object]:
    """`dvh:` with all its keys commented out is null in YAML; it means the defaults."""
    kept: dict[str, object] = {}
    for key, value in data.items():
        inner = model.model_fields[key].annotation if key in model.model_fields else None
        if isinstance(inner, type) and issubclass(inner, Section):
            if value is None:
                continue
            if isinstance(value, dict):
                value = _without_empty_sections(value, inner)
        kept[key] = value
    return kept


# -- sentences ------------------------------------------------------------------------------------


def _sentence(detail: ErrorDetails, data: dict, model: type[Section]) -> str:
    kind, key, found = detail["type"], _key(detail["loc"], data), _shown(detail["input"])
    context = detail.get("ctx", {})
    if kind == "extra_forbidden":
        return f"{_dotted(key)} is not a key; {_hint(key, model)}"
    if kind == "missing":
        return f"{_dotted(key)} needs the key {detail['loc'][-1]}"
    if kind == "value_error":
        return f"{_dotted(key)}: {context['error']}"
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", context["expected"])
        close = nearest(detail["input"], choices)
        hint = f"did you mean {close}? " if close else ""
        return f"{_dotted(key)}: {found} is not possible; {hint}one of: {', '.join(choices)}"
    if kind in _EXPECTED:
        return f"{_dotted(key)}: expected {_EXPECTED[kind].format(**context)}, found {found}"
    return f"{_dotted(key)}: {detail['msg']}, found {found}"


def _key(loc: Key, data: object) -> Key:
    """The part of pydantic's location that exists in the data (it also holds names of types)."""
    key: list[str | int] = []
    for part in loc:
        here = isinstance(data, dict) and part in data
        if here or (isinstance(data, list) and isinstance(part, int)):
            key.append(part)
            data = data[part]
    return tuple(key)


def _hint(key: Key, model: type[Section]) -> str:
    """What the user may have meant by an unknown key."""
    siblings = _section_at(key[:-1], model).model_fields
    close = nearest(key[-1], siblings)
    if close:
        return f"did you mean {close}?"
    elsewhere = [
        f"{name}.{key[-1]}"
        for name, field in model.model_fields.items()
        for inner in _sections_in(field.annotation)
        if key[-1] in inner.model_fields
    ]
    if elsewhere:
        return f"did you mean {elsewhere[0]}?"
    return f"known here: {', '.join(siblings)}"


def _section_at(key: Key, section: type[Section]) -> type[Section]:
    for part in key:
        if part in section.model_fields:
            section = next(_sections_in(section.model_fields[part].annotation), section)
    return section


def _sections_in(annotation: object) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for part in get_args(annotation):
        yield from _sections_in(part)


def _dotted(key: Key) -> str:
    """`structures.derived[2].name`, entries counted from 1."""
    text = ""
    for part in key:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".") or "the file"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "keys and values"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return repr(value if len(value) <= SHOWN else value[:SHOWN] + "...")
    return json.dumps(value)
