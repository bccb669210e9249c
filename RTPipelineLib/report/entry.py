"""One column of a results table: its name, unit, definition and source."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

NUMBER = r"\d+(?:\.\d+)?"
_PLACEHOLDER = re.compile(r"<(\w+)>")


@dataclass(frozen=True)
class Entry:
    """One column, or one family of columns.

    `optional` ones are absent unless somebody asks for them; a family is always optional.
    """

    column: str
    unit: str
    definition: str
    source: str = ""
    optional: bool = False

    @property
    def is_family(self) -> bool:
        """True when the name has a placeholder."""
        return "<" in self.column

    def match(self, column: str) -> dict[str, str] | None:
        """What stands for the placeholders in this column; None when it is another column."""
        found = _pattern(self.column).fullmatch(column)
        return None if found is None else found.groupdict()

    def filled(self, column: str) -> Entry:
        """The entry of one member of the family."""
        values = self.match(column) or {}
        unit, text = (
            _PLACEHOLDER.sub(lambda m: values.get(m.group(1), m.group()), part)
            for part in (self.unit, self.definition)
        )
        return Entry(column, unit, text, self.source, self.optional)


@cache
def _pattern(column: str) -> re.Pattern[str]:
    parts = _PLACEHOLDER.split(column)
    regex = ""
    for number, part in enumerate(parts):
        if number % 2:
            regex += f"(?P<{part}>{NUMBER if part == 'x' else '.+'})"
        else:
            regex += re.escape(part)
    return re.compile(regex)
