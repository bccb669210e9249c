"""The skeleton of every page: self-contained HTML, no network, readable on paper and aloud."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from importlib import resources

from .cells import badge, nothing, shown, table
from .content import Row
from .markup import Content, Markup, element, joined

RESEARCH_USE = "For research use, not for clinical decisions."
NO_PATIENT_ID = "(no PatientID)"


def page(title: str, head: Sequence[Content], sections: Sequence[Content], script: str = "") -> str:
    """A page that needs nothing but itself: no other file, no network, and no script but the one
    that it is given."""
    style = resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    if script:
        digest = b64encode(sha256(script.encode()).digest()).decode()
        policy += f"; script-src 'sha256-{digest}'"
    document = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=policy),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("title", f"{title} - RT Pipeline"),
            element("link", rel="icon", href="data:,"),
            element("style", Markup(style)),
        ),
        element(
            "body",
            element("p", RESEARCH_USE, class_="notice", role="note"),
            element("header", joined(*head)),
            element("main", joined(*sections)),
            element("footer", element("p", f"RT Pipeline. {RESEARCH_USE}")),
            element("script", Markup(script)) if script else None,
        ),
        lang="en",
    )
    return f"<!DOCTYPE html>\n{document}\n"


def section(title: str, *content: Content) -> Markup:
    """A part of a page under its heading; its `id` is the title in small letters."""
    return element("section", element("h2", title), *content, id=section_id(title))


def section_id(title: str) -> str:
    """Where links to a section lead."""
    return re.sub("[^a-z0-9]+", "-", title.lower()).strip("-")


def contents(titles: Iterable[str]) -> Markup:
    """Links to the sections of a page."""
    links = [element("a", title, href=f"#{section_id(title)}") for title in titles]
    return element("nav", joined(*links), aria_label="Sections of this page")


def pairs(pairs: Iterable[tuple[str, str]]) -> Markup:
    """Names and values below each other."""
    items = [joined(element("dt", name), element("dd", value)) for name, value in pairs]
    return element("dl", joined(*items)) if items else nothing("nothing noted")


def failures_table(failures: Sequence[Row], none: str) -> Markup:
    """Rows of `failures` with the columns that say something."""
    if not failures:
        return nothing(none)
    known = ("patient_id", "course_id", "stage", "item", "severity", "error", "file")
    columns = [name for name in known if any(row.get(name) for row in failures)]
    rows = [
        [
            badge(str(row[c])) if c == "severity" and row.get(c) else shown(row.get(c))
            for c in columns
        ]
        for row in failures
    ]
    long = {n for n, name in enumerate(columns) if name in ("error", "file", "item")}
    named = {"patient_id": "Patient", "course_id": "Course", "error": "Message"}
    titles = [named.get(name, name.capitalize()) for name in columns]
    return table("Failures", titles, rows, long=long)
