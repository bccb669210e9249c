"""What the pages of a report are built from: tables, badges and values as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from numbers import Real
from urllib.parse import quote

from .content import Value
from .markup import Content, Markup, element, joined

SHORT = 28  # characters that are not broken into lines
UNKNOWN = "\N{EN DASH}"

_STATUS = {
    "done": "good",
    "agrees": "good",
    "pass": "good",
    "partial": "warn",
    "needs-decision": "warn",
    "tolerable": "warn",
    "differs": "warn",
    "failed": "bad",
    "error": "bad",
    "refused": "bad",
    "fail": "bad",
    "warning": "warn",
    "accepted": "good",
    "rejected": "bad",
    "flagged": "warn",
    "out of date": "warn",
    "no name": "warn",
}


def nothing(what: str) -> Markup:
    """A sentence in place of an empty section."""
    return element("p", what[:1].upper() + what[1:] + ".", class_="soft")


def badge(text: str, status: str = "") -> Markup:
    """A status in its colour; `status` where the text says more than that."""
    return element("span", text, class_=f"badge {_STATUS.get(status or text, 'calm')}")


def table(
    name: str,
    titles: Sequence[Content],
    rows: Sequence[Sequence[Content]],
    numbers: Iterable[int] = (),
    long: Iterable[int] = (),
) -> Markup:
    """A table whose first column heads its rows; it scrolls sideways, by keyboard too."""
    kinds = dict.fromkeys(numbers, "number") | dict.fromkeys(long, "long")
    head = element(
        "tr", *(element("th", t, scope="col", class_=kinds.get(n)) for n, t in enumerate(titles))
    )
    body = []
    for row in rows:
        classes = [_classes(kinds.get(n), content) for n, content in enumerate(row)]
        cells = [element("td", c, class_=k or None) for c, k in zip(row, classes, strict=True)][1:]
        first = element("th", row[0], scope="row", class_=classes[0] or None)
        body.append(element("tr", first, *cells))
    whole = element("table", element("thead", head), element("tbody", joined(*body)))
    return element("div", whole, class_="scroll", tabindex=0, role="region", aria_label=name)


def _classes(kind: str | None, content: Content) -> str:
    """The classes of a cell; numbers never wrap."""
    return kind if kind == "number" else " ".join(filter(None, (kind, wrapping(content))))


def wrapping(content: Content) -> str | None:
    """Short names and dates stay on one line; a PatientID of 300 characters may break anywhere."""
    plain = isinstance(content, str) and not isinstance(content, Markup)
    return "short" if plain and len(content) <= SHORT else None


def link_to(label: str, path: str) -> Markup:
    """A link to a file by its relative path; whatever the path holds, it is no other protocol."""
    return element("a", label, href=quote(path, safe="/"), class_=wrapping(label))


def shown(value: Value) -> str:
    """A value as text."""
    missing = value is None or value == "" or (isinstance(value, Real) and not isfinite(value))
    return UNKNOWN if missing else str(value)


def is_number(value: Value) -> bool:
    """True for a finite number."""
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)


def dose_text(value_gy: float, units: str) -> str:
    """A dose as reports show it."""
    return f"{value_gy * 100:.0f}" if units == "cGy" else f"{value_gy:.2f}"


def counted(number: int, what: str) -> str:
    """`3 courses`, `1 course`."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")
